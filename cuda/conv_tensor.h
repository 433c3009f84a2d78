/* Convolution in one class of precision at a time: three implicit products of tensor_gemm.h. A is the arithmetic (tensor_sums.h), T the
 * type of activations and weights, float (fp32, tf32) or bf16; gradients of weights and bias are float. The functions of the table are in
 * conv.cu and linear.cu (fp32) and made by tensor_table.h in tensor_tf32.cu, tensor_bf16.cu and tensor_wgmma.cu; the linear layer is the
 * convolution of images of one pixel with a bias.
 *
 * Numbers are brought in whole pieces of 16 bytes, 4 floats or 8 of bf16. Where channels of x are no multiple of that, forward and
 * backward weights work on a copy of x (and of w) with zeros beside them (pad.h), in scratch. What remains goes the slow way
 * (conv_plain.h): backward weights where K is no multiple, backward data where K or C is none, a linear layer (which has no scratch)
 * where its inputs are none, a kernel of more than MOST_SIDE rows or columns, tensors that do not begin at a multiple of 16 bytes. */
#ifndef EDIY_CUDA_CONV_TENSOR_H
#define EDIY_CUDA_CONV_TENSOR_H

#include "cuda/conv_plain.h"
#include "cuda/pad.h"
#include "cuda/shared.h"
#include "cuda/tensor_gemm.h"

template <class T> static bool is_whole_row(ptrdiff_t channels) { return channels % depth_of<T>::PIECE == 0; }

/* Whether patches of so many rows, columns and channels can be brought in pieces of T (tensor_operand.h). */
template <class T> static bool is_whole_patch(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t channels, ptrdiff_t width) {
  return is_whole_row<T>(channels) && rows <= MOST_SIDE && columns <= MOST_SIDE && rows * width <= INT32_MAX / channels;
}

/* ---- chunks and scratch -------------------------------------------------------------------------------------------------------------- */

/* The convolution over the channels that a copy with zeros has. */
template <class T> static struct conv padded(const struct conv *g) {
  struct conv wide = *g;
  wide.c = padded_channels<T>(g->c);
  return wide;
}

/* Positions of x that backward weights sums one after the other, the reference's; how many such chunks; and the tile, where each element
 * of dw is computed so many times. */
struct tensor_cut {
  enum tensor_tile tile;
  int chunk, chunks;
};

template <class T> static struct tensor_cut tensor_cut_of(const struct conv *g) {
  ptrdiff_t width = g->r * g->s * padded_channels<T>(g->c), rows = g->n * g->p * g->q, chunk = conv_chunk(g);
  int chunks = (int)((rows + chunk - 1) / chunk);
  return {tensor_tile_for(g->k, width, chunks), (int)chunk, chunks};
}

/* In front of the copies: partial dw. Whole pieces, as their rows are where copies follow. */
template <class T> static size_t scratch_in_front(const struct conv *g) {
  struct conv wide = padded<T>(g);
  int chunks = tensor_cut_of<T>(g).chunks;
  return chunks > 1 || wide.c > g->c ? (size_t)chunks * (size_t)(g->k * g->r * g->s * wide.c) * sizeof(float) : 0;
}

template <class T> static size_t conv_scratch_tensor(const struct conv *g) {
  ptrdiff_t wide = padded_channels<T>(g->c), copies = wide > g->c ? (g->n * g->h * g->w + g->k * g->r * g->s) * wide : 0;
  return scratch_in_front<T>(g) + (size_t)copies * sizeof(T);
}

/* x and w with whole pieces a pixel: themselves, or copies in scratch, which is null where there is none; then x is null as well. */
template <class T> struct whole_operands {
  struct conv g;
  const T *x, *w;
};
template <class T> static struct whole_operands<T> whole_operands_of(const struct conv *g, const T *x, const T *w, void *scratch) {
  struct conv wide = padded<T>(g);
  if (wide.c == g->c) return {wide, x, w};
  if (!scratch) return {wide, nullptr, nullptr};
  ptrdiff_t pixels = g->n * g->h * g->w, taps = g->k * g->r * g->s;
  T *wide_x = (T *)((char *)scratch + scratch_in_front<T>(g)), *wide_w = wide_x + pixels * wide.c;
  pad_launch(pixels, g->c, x, wide_x);
  if (w) pad_launch(taps, g->c, w, wide_w);
  return {wide, wide_x, w ? wide_w : w};
}

/* ---- forward ------------------------------------------------------------------------------------------------------------------------- */

/* y (positions x K) = patches of x (positions x RSC) times w^T (RSC x K), plus bias. */
template <class A>
struct tensor_forward {
  typedef A arithmetic;
  typedef typename A::number number, result;
  template <int TILE> using a_place = patches_along<number, TILE, 1>;
  template <int TILE> using b_place = rows_along<number, TILE>;
  static const bool NORMED = false, SUMMED = false;
  struct patches_along_view a;
  struct rows_along_view b;
  int rows, columns, depth, chunk;
  bool accumulate;

  __device__ ptrdiff_t row_at(int row, int) const { return (ptrdiff_t)row * columns; }
};

/* The same, and a norm in evaluation behind it. */
template <class A> struct tensor_forward_norm : tensor_forward<A> {
  static const bool NORMED = true;
  struct following_norm<typename A::number> norm;
};

/* The same, and sums of y's channels besides. */
template <class A> struct tensor_forward_moments : tensor_forward<A> {
  static const bool SUMMED = true;
  double *moments;
};

/* P: one of these, of which everything but what it adds is set here. False, with nothing done: it has to be computed the slow way. */
template <class P, class T>
static bool forward_in_tiles(P p, const struct conv *given, const T *x, const T *w, const float *bias, T *y, void *scratch) {
  if (!is_whole_patch<T>(given->r, given->s, padded_channels<T>(given->c), given->w)) return false;
  struct whole_operands<T> from = whole_operands_of(given, x, w, scratch);
  if (!from.x || !is_whole(from.x) || !is_whole(from.w)) return false;
  const struct conv *g = &from.g;
  p.rows = (int)(g->n * g->p * g->q), p.columns = (int)g->k, p.depth = p.chunk = (int)(g->r * g->s * g->c);
  p.a.height = (int)g->h, p.a.width = (int)g->w, p.a.channels = (int)g->c;
  p.a.positions = p.rows, p.a.stride = (int)g->stride, p.a.up = p.a.left = -(int)g->pad;
  p.a.position = radices_of((int)g->p, (int)g->q), p.a.tap = radices_of((int)g->s, (int)g->c), p.a.tap_rows = (int)g->r;
  p.b = {p.columns, p.depth};
  tensor_launch(p, tensor_tile_for(p.rows, p.columns, 1), 1, from.x, from.w, bias, y);
  return true;
}

template <class A, class T>
static void conv_forward_tensor(const struct conv *g, const T *x, const T *w, const float *bias, T *y, void *scratch) {
  if (!forward_in_tiles(tensor_forward<A>(), g, x, w, bias, y, scratch)) forward_plain(plain_forward<A>(), g, x, w, bias, y);
}

/* y: overwritten; may not be the residual. Between the two nothing is rounded to T. */
template <class A, class T>
static void conv_norm_forward_tensor(const struct conv *g, const struct norm *n, const T *x, const T *w, const T *residual,
                                     const float *gamma, const float *beta, const float *running_mean, const float *running_var, T *y,
                                     void *scratch) {
  struct tensor_forward_norm<A> p = {};
  struct plain_forward_norm<A> plain = {};
  p.norm = plain.norm = following_norm_of(n, residual, gamma, beta, running_mean, running_var);
  if (!forward_in_tiles(p, g, x, w, nullptr, y, scratch)) forward_plain(plain, g, x, w, nullptr, y);
}

/* moments: cuda_conv_moments bytes. */
template <class A, class T>
static void conv_forward_moments_tensor(const struct conv *g, const T *x, const T *w, T *y, double *moments, void *scratch) {
  struct tensor_forward_moments<A> p = {};
  p.moments = moments;
  if (forward_in_tiles(p, g, x, w, nullptr, y, scratch)) return;
  struct norm n = {};
  n.m = g->n * g->p * g->q, n.c = g->k;
  forward_plain(plain_forward<A>(), g, x, w, nullptr, y);
  norm_moments_launch(&n, y, moments);
}

/* ---- backward data ------------------------------------------------------------------------------------------------------------------- */

/* Rows h = a + stride i of dx (phase a of stride) meet the kernel rows r = r0 + stride t with r0 = (a + pad) mod stride only, in dy row
 * (h + pad - r) / stride = floor((a + pad) / stride) + i - t. Columns likewise. Each of the stride^2 phases is one product,
 *     dx (positions of the phase x C) = patches of dy, backwards (positions x taps K) times w under those taps (taps K x C),
 * and writes elements that no other phase writes. */
template <class A> struct tensor_backward_data {
  typedef A arithmetic;
  typedef typename A::number number, result;
  template <int TILE> using a_place = patches_along<number, TILE, -1>;
  template <int TILE> using b_place = weights_across<number, TILE>;
  static const bool NORMED = false, SUMMED = false;
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

template <class A, class T> static void conv_backward_data_tensor(const struct conv *g, const T *dy, const T *w, T *dx, bool accumulate) {
  if (!is_whole_patch<T>(g->r, g->s, g->k, g->q) || !is_whole_row<T>(g->c) || !is_whole(dy) || !is_whole(w))
    return backward_data_plain<A>(g, dy, w, dx, accumulate);
  struct tensor_backward_data<A> p = {};
  int pad = (int)g->pad;
  p.accumulate = accumulate, p.columns = (int)g->c, p.stride = (int)g->stride, p.height = (int)g->h, p.width = (int)g->w;
  p.a.height = (int)g->p, p.a.width = (int)g->q, p.a.channels = (int)g->k, p.a.stride = 1;
  p.b.indices = p.columns, p.b.kernel_r = (int)g->r, p.b.kernel_s = (int)g->s, p.b.stride = p.stride;
  int across = (int)size_min(g->stride, g->w), phases = (int)size_min(g->stride, g->h) * across;
  for (int phase = 0; phase < phases; phase++) {
    p.up = phase / across, p.left = phase % across;
    p.b.r = (p.up + pad) % p.stride, p.b.s = (p.left + pad) % p.stride;
    p.a.up = (p.up + pad) / p.stride, p.a.left = (p.left + pad) / p.stride;
    p.a.position = radices_of(every(p.height, p.up, p.stride), every(p.width, p.left, p.stride));
    p.rows = p.a.positions = (int)g->n * p.a.position.mid * p.a.position.low;
    int taps_r = every((int)g->r, p.b.r, p.stride), taps_s = every((int)g->s, p.b.s, p.stride);
    if (taps_s == 0) taps_r = 0, taps_s = 1; /* a radix */
    p.a.tap = p.b.tap = radices_of(taps_s, (int)g->k), p.a.tap_rows = p.b.tap_rows = taps_r;
    p.depth = p.chunk = taps_r * taps_s * (int)g->k;
    if (p.rows == 0 || (accumulate && p.depth == 0)) continue;
    tensor_launch(p, tensor_tile_for(p.rows, p.columns, 1), 1, dy, w, (const float *)nullptr, dx);
  }
}

/* ---- backward weights ---------------------------------------------------------------------------------------------------------------- */

/* A chunk's dw (K x RSC) = dy^T (K x positions) times patches of x (positions x RSC), to its own partial dw; a single chunk is added to dw
 * itself. */
template <class A> struct tensor_backward_weights {
  typedef A arithmetic;
  typedef typename A::number number;
  typedef float result;
  template <int TILE> using a_place = rows_across<number, TILE>;
  template <int TILE> using b_place = patches_across<number, TILE>;
  static const bool NORMED = false, SUMMED = false;
  struct rows_across_view a;
  struct patches_across_view b;
  int rows, columns, depth, chunk;
  bool accumulate;

  __device__ ptrdiff_t row_at(int row, int part) const { return ((ptrdiff_t)part * rows + row) * columns; }
};

template <class A, class T>
static void conv_backward_weights_tensor(const struct conv *given, const T *x, const T *dy, float *dw, void *scratch) {
  struct conv wide = padded<T>(given);
  struct tensor_cut cut = tensor_cut_of<T>(given);
  float *partials = (float *)scratch;
  bool joined = cut.chunks > 1, fits = is_whole_patch<T>(wide.r, wide.s, wide.c, wide.w) && is_whole_row<T>(wide.k) && is_whole(dy);
  struct whole_operands<T> from = {};
  if (fits) from = whole_operands_of(given, x, (const T *)nullptr, scratch);
  if (!from.x || !is_whole(from.x)) return backward_weights_plain<A>(given, cut.chunk, cut.chunks, x, dy, partials, dw);
  const struct conv *g = &from.g;
  bool apart = g->c > given->c;
  struct tensor_backward_weights<A> p = {};
  p.rows = p.a.indices = (int)g->k, p.columns = (int)(g->r * g->s * g->c);
  p.depth = (int)(g->n * g->p * g->q), p.chunk = cut.chunk, p.accumulate = !joined && !apart;
  p.b.height = (int)g->h, p.b.width = (int)g->w, p.b.channels = (int)g->c, p.b.stride = (int)g->stride, p.b.pad = (int)g->pad;
  p.b.position = radices_of((int)g->p, (int)g->q), p.b.tap = radices_of((int)g->s, (int)g->c);
  tensor_launch(p, cut.tile, cut.chunks, dy, from.x, (const float *)nullptr, p.accumulate ? dw : partials);
  if (apart)
    join_padded_launch(g->k * g->r * g->s, given->c, g->c, cut.chunks, partials, dw);
  else if (joined)
    join_partials_launch((ptrdiff_t)p.rows * p.columns, cut.chunks, partials, dw);
}

#endif
