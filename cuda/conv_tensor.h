/* Convolution on tensor cores, for one class of precision at a time: three implicit products of tensor_gemm.h, as conv.cu has three of
 * gemm.h. T is the type of activations and weights, float (tf32) or bf16; gradients of weights and bias are float. The functions of the
 * table are in tensor_tf32.cu and tensor_bf16.cu, and so is the linear layer, the convolution of images of one pixel with a bias. */
#ifndef EDIY_CUDA_CONV_TENSOR_H
#define EDIY_CUDA_CONV_TENSOR_H

#include "cuda/shared.h"
#include "cuda/tensor_gemm.h"

/* Whether a patch of so many rows, columns and channels can be brought in pieces of T (tensor_operand.h). */
template <class T> static bool is_whole_patch(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t channels, ptrdiff_t width) {
  return channels % depth_of<T>::PIECE == 0 && rows * columns <= MOST_TAPS && rows * width <= INT32_MAX / channels;
}

/* ---- forward ---------------------------------------------------------------------------------------------------------------- */

/* y (positions x K) = patches of x (positions x RSC) times w^T (RSC x K), plus bias. */
template <class T> struct tensor_forward {
  typedef T number, result;
  template <int TILE> using a_place = patches_along<T, TILE, 1>;
  template <int TILE> using b_place = rows_along<T, TILE>;
  static const bool A_WHOLE_ALONE = false, NORMED = false;
  struct patches_along_view a;
  struct rows_along_view b;
  int rows, columns, depth, chunk;
  bool accumulate;

  __device__ ptrdiff_t row_at(int row, int) const { return (ptrdiff_t)row * columns; }
};

/* The same, and a norm in evaluation behind it. */
template <class T> struct tensor_forward_norm : tensor_forward<T> {
  static const bool NORMED = true;
  struct following_norm<T> norm;
};

/* P: one of these, of which everything but the norm is set here. */
template <class P, class T> static void forward_tensor(P p, const struct conv *g, const T *x, const T *w, const float *bias, T *y) {
  p.rows = (int)(g->n * g->p * g->q), p.columns = (int)g->k, p.depth = p.chunk = (int)(g->r * g->s * g->c);
  p.a.height = (int)g->h, p.a.width = (int)g->w, p.a.channels = (int)g->c;
  p.a.positions = p.rows, p.a.stride = (int)g->stride, p.a.up = p.a.left = -(int)g->pad;
  p.a.position = {(int)g->p, (int)g->q}, p.a.tap = {(int)g->s, (int)g->c}, p.a.tap_rows = (int)g->r;
  p.b = {p.columns, p.depth};
  bool a_whole = is_whole_patch<T>(g->r, g->s, g->c, g->w) && is_whole(x), b_whole = g->c % depth_of<T>::PIECE == 0 && is_whole(w);
  tensor_launch(p, tensor_tile_for(p.rows, p.columns, 1), 1, a_whole, b_whole, x, w, bias, y);
}

template <class T> static void conv_forward_tensor(const struct conv *g, const T *x, const T *w, const float *bias, T *y) {
  forward_tensor(tensor_forward<T>(), g, x, w, bias, y);
}

/* y: overwritten; may not be the residual. Between the two nothing is rounded to T. */
template <class T>
static void conv_norm_forward_tensor(const struct conv *g, const struct norm *n, const T *x, const T *w, const T *residual,
                                     const float *gamma, const float *beta, const float *running_mean, const float *running_var, T *y,
                                     void *scratch) {
  struct tensor_forward_norm<T> p = {};
  p.norm = following_norm_of(n, residual, gamma, beta, running_mean, running_var, scratch);
  forward_tensor(p, g, x, w, (const float *)nullptr, y);
}

/* ---- backward data ---------------------------------------------------------------------------------------------------------- */

/* Rows h = a + stride i of dx (phase a of stride) meet the kernel rows r = r0 + stride t with r0 = (a + pad) mod stride only, in dy row
 * (h + pad - r) / stride = floor((a + pad) / stride) + i - t. Columns likewise. Each of the stride^2 phases is one product,
 *     dx (positions of the phase x C) = patches of dy, backwards (positions x taps K) times w under those taps (taps K x C),
 * and writes elements that no other phase writes. */
template <class T> struct tensor_backward_data {
  typedef T number, result;
  template <int TILE> using a_place = patches_along<T, TILE, -1>;
  template <int TILE> using b_place = weights_across<T, TILE>;
  static const bool A_WHOLE_ALONE = false, NORMED = false;
  struct patches_along_view a;
  struct weights_across_view b;
  int rows, columns, depth, chunk;
  bool accumulate;
  int height, width, stride, up, left; /* of dx; the phase */

  __device__ ptrdiff_t row_at(int row, int) const {
    struct digits at = digits_of(row, a.position);
    return (((ptrdiff_t)at.high * height + up + stride * at.mid) * width + left + stride * at.low) * columns;
  }
};

/* Of `size` things every stride-th from `from` on. */
static inline int every(int size, int from, int stride) { return from < size ? (size - from + stride - 1) / stride : 0; }

template <class T> static void conv_backward_data_tensor(const struct conv *g, const T *dy, const T *w, T *dx, bool accumulate) {
  struct tensor_backward_data<T> p = {};
  int pad = (int)g->pad;
  p.accumulate = accumulate, p.columns = (int)g->c, p.stride = (int)g->stride, p.height = (int)g->h, p.width = (int)g->w;
  p.a.height = (int)g->p, p.a.width = (int)g->q, p.a.channels = (int)g->k, p.a.stride = 1;
  p.b.indices = p.columns, p.b.kernel_r = (int)g->r, p.b.kernel_s = (int)g->s, p.b.stride = p.stride;
  bool a_whole = is_whole_patch<T>(g->r, g->s, g->k, g->q) && is_whole(dy);
  bool b_whole = g->c % depth_of<T>::PIECE == 0 && is_whole(w);
  for (int phase = 0; phase < p.stride * p.stride; phase++) {
    p.up = phase / p.stride, p.left = phase % p.stride;
    p.b.r = (p.up + pad) % p.stride, p.b.s = (p.left + pad) % p.stride;
    p.a.up = (p.up + pad) / p.stride, p.a.left = (p.left + pad) / p.stride;
    p.a.position = {every(p.height, p.up, p.stride), every(p.width, p.left, p.stride)};
    p.rows = p.a.positions = (int)g->n * p.a.position.mid * p.a.position.low;
    int taps_r = every((int)g->r, p.b.r, p.stride), taps_s = every((int)g->s, p.b.s, p.stride);
    if (taps_s == 0) taps_r = 0, taps_s = 1; /* a radix */
    p.a.tap = p.b.tap = {taps_s, (int)g->k}, p.a.tap_rows = p.b.tap_rows = taps_r;
    p.depth = p.chunk = taps_r * taps_s * (int)g->k;
    if (p.rows == 0 || (accumulate && p.depth == 0)) continue;
    tensor_launch(p, tensor_tile_for(p.rows, p.columns, 1), 1, a_whole, b_whole, dy, w, (const float *)nullptr, dx);
  }
}

/* ---- backward weights ------------------------------------------------------------------------------------------------------- */

/* A chunk's dw (K x RSC) = dy^T (K x positions) times patches of x (positions x RSC), to its own partial dw; a single chunk is added to dw
 * itself. */
template <class T> struct tensor_backward_weights {
  typedef T number;
  typedef float result;
  template <int TILE> using a_place = rows_across<T, TILE>;
  template <int TILE> using b_place = patches_across<T, TILE>;
  static const bool NORMED = false, A_WHOLE_ALONE = true; /* the first layer: three channels of x, many of dy */
  struct rows_across_view a;
  struct patches_across_view b;
  int rows, columns, depth, chunk;
  bool accumulate;

  __device__ ptrdiff_t row_at(int row, int part) const { return ((ptrdiff_t)part * rows + row) * columns; }
};

enum {
  TENSOR_DW_BLOCKS = 512,        /* tiles of dw x chunks: about four blocks for each of some 130 multiprocessors */
  TENSOR_CHUNK_LEAST = 512,      /* positions; writing and joining a partial dw is then a small part of computing it */
  TENSOR_PARTIAL_MOST = 1 << 24, /* floats in all partial dw: 64 MiB */
};

/* Chunks of positions and the tile, by the shape only. */
struct tensor_cut {
  enum tensor_tile tile;
  int chunk, chunks;
};

static struct tensor_cut tensor_cut_of(const struct conv *g) {
  ptrdiff_t width = g->r * g->s * g->c, rows = g->n * g->p * g->q;
  enum tensor_tile tile = tensor_tile_for(g->k, width, TENSOR_DW_BLOCKS);
  int tall = tile == TILE_64_64 ? 64 : 128, wide = tile == TILE_128_128 ? 128 : 64;
  ptrdiff_t tiles = tensor_tiles(g->k, width, tall, wide), chunks = (TENSOR_DW_BLOCKS + tiles - 1) / tiles;
  if (chunks > rows / TENSOR_CHUNK_LEAST) chunks = rows / TENSOR_CHUNK_LEAST;
  if (chunks > TENSOR_PARTIAL_MOST / (g->k * width)) chunks = TENSOR_PARTIAL_MOST / (g->k * width);
  if (chunks < 1) chunks = 1;
  ptrdiff_t chunk = (rows + chunks - 1) / chunks;
  return {tile, (int)chunk, (int)((rows + chunk - 1) / chunk)};
}

static size_t conv_scratch_tensor(const struct conv *g) {
  int chunks = tensor_cut_of(g).chunks;
  size_t partials = chunks > 1 ? (size_t)chunks * (size_t)(g->k * g->r * g->s * g->c) * sizeof(float) : 0;
  size_t channels = following_norm_scratch(g->k);
  return partials > channels ? partials : channels;
}

template <class T> static void conv_backward_weights_tensor(const struct conv *g, const T *x, const T *dy, float *dw, void *scratch) {
  struct tensor_backward_weights<T> p = {};
  struct tensor_cut cut = tensor_cut_of(g);
  p.rows = p.a.indices = (int)g->k, p.columns = (int)(g->r * g->s * g->c);
  p.depth = (int)(g->n * g->p * g->q), p.chunk = cut.chunk, p.accumulate = cut.chunks == 1;
  p.b.height = (int)g->h, p.b.width = (int)g->w, p.b.channels = (int)g->c, p.b.stride = (int)g->stride, p.b.pad = (int)g->pad;
  p.b.position = {(int)g->p, (int)g->q}, p.b.tap = {(int)g->s, (int)g->c};
  bool joined = cut.chunks > 1, a_whole = g->k % depth_of<T>::PIECE == 0 && is_whole(dy),
       b_whole = is_whole_patch<T>(g->r, g->s, g->c, g->w) && is_whole(x);
  tensor_launch(p, cut.tile, cut.chunks, a_whole, b_whole, dy, x, (const float *)nullptr, joined ? (float *)scratch : dw);
  if (joined) join_partials_launch((ptrdiff_t)p.rows * p.columns, cut.chunks, (const float *)scratch, dw);
}

#endif
