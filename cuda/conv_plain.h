/* Convolution as three implicit matrix products of gemm.h, for every shape, in an arithmetic of tensor_sums.h: what conv_tensor.h falls
 * back to where numbers do not come in whole pieces, and what cuda.conv=plain takes for every shape. Nothing is gathered in memory: the
 * loads of a tile find each element of a patch where it is. Sums are chains of fused multiply-adds of the operands of the class. */
#ifndef EDIY_CUDA_CONV_PLAIN_H
#define EDIY_CUDA_CONV_PLAIN_H

#include "base/size.h"
#include "cuda/gemm.h"
#include "cuda/shared.h"
#include "cuda/tensor_sums.h"
#include "op/conv.h"

/* The sizes as int, in which a GPU divides ten times faster: conv_make sees to it that positions and depths fit. Offsets into tensors do
 * not, and are computed in ptrdiff_t. */
struct conv_shape {
  int n, h, w, c, k, r, s, stride, pad, p, q;
};

static struct conv_shape shape_of(const struct conv *g) {
  return {(int)g->n, (int)g->h, (int)g->w, (int)g->c, (int)g->k, (int)g->r, (int)g->s, (int)g->stride, (int)g->pad, (int)g->p, (int)g->q};
}

/* Of `size` things every stride-th from `from` on. */
__host__ __device__ static inline int every(int size, int from, int stride) {
  return from < size ? (size - from + stride - 1) / stride : 0;
}

template <class A> struct plain_product {
  typedef typename A::number number, result;
  static const bool NORMED = false;
  struct conv_shape g;
  int rows, columns, first, last;
  bool accumulate;

  /* x[n, p stride + r - pad, q stride + s - pad, c] for position (n, p, q) and tap (r, s, c), both row-major; 0 outside the image. */
  __device__ float patch_element(const number *x, int position, int tap) const {
    int c = tap % g.c, s = tap / g.c % g.s, r = tap / g.c / g.s;
    int q = position % g.q, p = position / g.q % g.p, n = position / g.q / g.p;
    int h = p * g.stride + r - g.pad, w = q * g.stride + s - g.pad;
    return h >= 0 && h < g.h && w >= 0 && w < g.w ? A::operand(x[(((ptrdiff_t)n * g.h + h) * g.w + w) * g.c + c]) : 0.0f;
  }
};

/* ---- forward ------------------------------------------------------------------------------------------------------------------------- */

/* y (positions x K) = patches of x (positions x RSC) times w^T (RSC x K), plus bias. */
template <class A> struct plain_forward : plain_product<A> {
  typedef typename A::number number;
  static const bool A_ALONG_DEPTH = true, B_ALONG_DEPTH = true;

  __device__ void begin(int) {}
  __device__ float at_a(const number *x, int position, int tap) const { return this->patch_element(x, position, tap); }
  __device__ float at_b(const number *w, int tap, int k) const { return A::operand(w[(ptrdiff_t)k * this->last + tap]); }
  __device__ ptrdiff_t row_at(int position) const { return (ptrdiff_t)position * this->columns; }
};

/* The same, and a norm in evaluation behind it. */
template <class A> struct plain_forward_norm : plain_forward<A> {
  static const bool NORMED = true;
  struct following_norm<typename A::number> norm;
};

/* P: one of these, of which everything but the norm is set here. */
template <class P, class T> static void forward_plain(P p, const struct conv *g, const T *x, const T *w, const float *bias, T *y) {
  p.g = shape_of(g), p.rows = p.g.n * p.g.p * p.g.q, p.columns = p.g.k, p.last = p.g.r * p.g.s * p.g.c;
  gemm_launch(p, p.rows, p.columns, 1, x, w, bias, y);
}

/* ---- backward data ------------------------------------------------------------------------------------------------------------------- */

/* Rows h = a + stride i of dx (phase a of stride) meet the kernel rows r = r0 + stride t with r0 = (a + pad) mod stride only, in dy row
 * p = (h + pad - r) / stride. Columns likewise. Each of the stride^2 phases is one product,
 *     dx (positions of the phase x C) = dy under those taps (positions x taps K) times w (taps K x C),
 * and writes elements that no other phase writes. Phases of which the image has no pixel are left out. */
template <class A> struct plain_backward_data : plain_product<A> {
  typedef typename A::number number;
  static const bool A_ALONG_DEPTH = true, B_ALONG_DEPTH = false;
  using plain_product<A>::g;
  int first_phase, phases_across;         /* of this launch; of all, those whose a is the same */
  int a, b, r0, s0, taps_s, down, across; /* the phase; its rows and columns of pixels */

  __device__ void begin(int phase) {
    a = (first_phase + phase) / phases_across, b = (first_phase + phase) % phases_across;
    r0 = (a + g.pad) % g.stride, s0 = (b + g.pad) % g.stride;
    taps_s = every(g.s, s0, g.stride);
    down = every(g.h, a, g.stride), across = every(g.w, b, g.stride);
    this->rows = g.n * down * across;
    this->last = every(g.r, r0, g.stride) * taps_s * g.k;
  }
  __device__ float at_a(const number *dy, int position, int tap) const {
    int k = tap % g.k, s = s0 + tap / g.k % taps_s * g.stride, r = r0 + tap / g.k / taps_s * g.stride;
    int w = b + position % across * g.stride, h = a + position / across % down * g.stride, n = position / across / down;
    int above = h + g.pad - r, before = w + g.pad - s; /* multiples of stride, perhaps negative */
    if (above < 0 || before < 0 || above / g.stride >= g.p || before / g.stride >= g.q) return 0.0f;
    return A::operand(dy[(((ptrdiff_t)n * g.p + above / g.stride) * g.q + before / g.stride) * g.k + k]);
  }
  __device__ float at_b(const number *w, int tap, int c) const {
    int k = tap % g.k, s = s0 + tap / g.k % taps_s * g.stride, r = r0 + tap / g.k / taps_s * g.stride;
    return A::operand(w[(((ptrdiff_t)k * g.r + r) * g.s + s) * g.c + c]);
  }
  __device__ ptrdiff_t row_at(int position) const {
    int w = b + position % across * g.stride, h = a + position / across % down * g.stride, n = position / across / down;
    return (((ptrdiff_t)n * g.h + h) * g.w + w) * g.c;
  }
};

template <class A, class T> static void backward_data_plain(const struct conv *g, const T *dy, const T *w, T *dx, bool accumulate) {
  struct plain_backward_data<A> p = {};
  p.g = shape_of(g), p.accumulate = accumulate, p.columns = p.g.c;
  p.phases_across = (int)size_min(g->stride, g->w);
  int most = p.g.n * every(p.g.h, 0, p.g.stride) * every(p.g.w, 0, p.g.stride), phases = (int)size_min(g->stride, g->h) * p.phases_across;
  for (; p.first_phase < phases; p.first_phase += MOST_PARTS) /* more than a grid is deep: strides of 256 and more */
    gemm_launch(p, most, p.columns, (int)size_min(MOST_PARTS, phases - p.first_phase), dy, w, nullptr, dx);
}

/* ---- backward weights ---------------------------------------------------------------------------------------------------------------- */

/* A chunk's dw (K x RSC) = dy^T (K x positions) times patches of x (positions x RSC), to its own partial dw; a single chunk is added to
 * dw itself. */
template <class A> struct plain_backward_weights : plain_product<A> {
  typedef typename A::number number;
  typedef float result;
  static const bool A_ALONG_DEPTH = false, B_ALONG_DEPTH = false;
  int chunk, part;

  __device__ void begin(int z) {
    part = z, this->first = z * chunk;
    this->last = this->last - this->first > chunk ? this->first + chunk : this->last;
  }
  __device__ float at_a(const number *dy, int k, int position) const { return A::operand(dy[(ptrdiff_t)position * this->rows + k]); }
  __device__ float at_b(const number *x, int position, int tap) const { return this->patch_element(x, position, tap); }
  __device__ ptrdiff_t row_at(int k) const { return ((ptrdiff_t)part * this->rows + k) * this->columns; }
};

/* partials: room for those of more than one chunk. */
template <class A, class T>
static void backward_weights_plain(const struct conv *g, int chunk, int chunks, const T *x, const T *dy, float *partials, float *dw) {
  struct plain_backward_weights<A> p = {};
  p.g = shape_of(g), p.chunk = chunk, p.accumulate = chunks == 1;
  p.rows = p.g.k, p.columns = p.g.r * p.g.s * p.g.c, p.last = p.g.n * p.g.p * p.g.q;
  gemm_launch(p, p.rows, p.columns, chunks, dy, x, nullptr, chunks > 1 ? partials : dw);
  if (chunks > 1) join_partials_launch(g->k * g->r * g->s * g->c, chunks, partials, dw);
}

#endif
