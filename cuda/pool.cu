/* Pooling. Twin of ref/op/pool.c, and the same bits: a maximum has no rounding, and sums have the reference's order. One thread an element
 * everywhere; neighbouring threads are neighbouring channels. T is what activations are stored as. */
#include "cuda/number.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

enum { WINDOW = 3, STRIDE = 2, PAD = 1 };

/* A NaN beats every number, and the first of several wins. */
__device__ static inline bool beats(float v, float best) { return v > best || (v != v && best == best); }

/* An element of the output visits its window in row-major order, so a later equal value never replaces the first maximum. */
template <class T>
__global__ static void maxpool_forward_kernel(struct pool g, ptrdiff_t ph, ptrdiff_t pw, const T *x, T *y, int32_t *index) {
  ptrdiff_t i = item_of_thread();
  if (i >= g.n * ph * pw * g.c) return;
  ptrdiff_t k = i % g.c, q = i / g.c % pw, p = i / g.c / pw % ph, n = i / g.c / pw / ph;
  ptrdiff_t top = p * STRIDE - PAD, left = q * STRIDE - PAD, bottom = top + WINDOW, right = left + WINDOW;
  if (top < 0) top = 0;
  if (left < 0) left = 0;
  if (bottom > g.h) bottom = g.h;
  if (right > g.w) right = g.w;
  const T *plane = x + n * g.h * g.w * g.c + k;
  ptrdiff_t first = top * g.w + left;
  float best = widen(plane[first * g.c]);
  for (ptrdiff_t h = top; h < bottom; h++)
    for (ptrdiff_t w = left; w < right; w++) {
      float v = widen(plane[(h * g.w + w) * g.c]);
      if (beats(v, best)) best = v, first = h * g.w + w;
    }
  y[i] = narrow<T>(best);
  index[i] = (int32_t)first;
}

template <class T> static void maxpool_forward_as(const struct pool *g, const T *x, T *y, int32_t *index) {
  ptrdiff_t ph = maxpool_out(g->h), pw = maxpool_out(g->w);
  LAUNCH(maxpool_forward_kernel<T>, blocks_for(g->n * ph * pw * g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, ph, pw, x, y, index);
  cuda_launched("maxpool_forward");
}

/* y, index: overwritten. */
void cuda_maxpool_forward(const struct pool *g, const real *x, real *y, int32_t *index) { maxpool_forward_as(g, x, y, index); }

/* x, y: bf16. */
void cuda_maxpool_forward_bf16(const struct pool *g, const real *x, real *y, int32_t *index) {
  maxpool_forward_as(g, activations<bf16>(x), activations<bf16>(y), index);
}

/* Gathered: an input asks the windows that hold it (row h is in windows h/2 to (h+1)/2, rounded down), in their order, whether it won. The sum
 * is in float. */
template <class T>
__global__ static void maxpool_backward_kernel(struct pool g, ptrdiff_t ph, ptrdiff_t pw, const T *dy, const int32_t *index, T *dx) {
  ptrdiff_t i = item_of_thread();
  if (i >= g.n * g.h * g.w * g.c) return;
  ptrdiff_t k = i % g.c, w = i / g.c % g.w, h = i / g.c / g.w % g.h, n = i / g.c / g.w / g.h;
  int32_t here = (int32_t)(h * g.w + w);
  float sum = 0;
  for (ptrdiff_t p = h / STRIDE; p <= (h + PAD) / STRIDE && p < ph; p++)
    for (ptrdiff_t q = w / STRIDE; q <= (w + PAD) / STRIDE && q < pw; q++) {
      ptrdiff_t at = ((n * ph + p) * pw + q) * g.c + k;
      sum += index[at] == here ? widen(dy[at]) : 0.0f;
    }
  dx[i] = narrow<T>(sum);
}

template <class T> static void maxpool_backward_as(const struct pool *g, const T *dy, const int32_t *index, T *dx) {
  LAUNCH(maxpool_backward_kernel<T>, blocks_for(g->n * g->h * g->w * g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, maxpool_out(g->h),
         maxpool_out(g->w), dy, index, dx);
  cuda_launched("maxpool_backward");
}

/* dx: overwritten (zeros where nothing won). */
void cuda_maxpool_backward(const struct pool *g, const real *dy, const int32_t *index, real *dx) { maxpool_backward_as(g, dy, index, dx); }

/* dy, dx: bf16. */
void cuda_maxpool_backward_bf16(const struct pool *g, const real *dy, const int32_t *index, real *dx) {
  maxpool_backward_as(g, activations<bf16>(dy), index, activations<bf16>(dx));
}

/* A thread an average: images x channels of them. */
template <class T> __global__ static void avgpool_forward_kernel(struct pool g, const T *x, T *y) {
  ptrdiff_t i = item_of_thread(), cells = g.h * g.w;
  if (i >= g.n * g.c) return;
  const T *from = x + i / g.c * cells * g.c + i % g.c;
  double sum = 0;
  for (ptrdiff_t cell = 0; cell < cells; cell++) sum += (double)widen(from[cell * g.c]);
  y[i] = narrow<T>((float)(sum / (double)cells));
}

template <class T> static void avgpool_forward_as(const struct pool *g, const T *x, T *y) {
  LAUNCH(avgpool_forward_kernel<T>, blocks_for(g->n * g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, x, y);
  cuda_launched("avgpool_forward");
}

/* y: overwritten; summed in double in row-major order. */
void cuda_avgpool_forward(const struct pool *g, const real *x, real *y) { avgpool_forward_as(g, x, y); }

/* x, y: bf16. */
void cuda_avgpool_forward_bf16(const struct pool *g, const real *x, real *y) {
  avgpool_forward_as(g, activations<bf16>(x), activations<bf16>(y));
}

template <class T> __global__ static void avgpool_backward_kernel(struct pool g, const T *dy, T *dx, bool accumulate) {
  ptrdiff_t i = item_of_thread(), cells = g.h * g.w;
  if (i >= g.n * cells * g.c) return;
  float share = (float)((double)widen(dy[i / g.c / cells * g.c + i % g.c]) / (double)cells);
  dx[i] = narrow<T>(accumulate ? widen(dx[i]) + share : share);
}

template <class T> static void avgpool_backward_as(const struct pool *g, const T *dy, T *dx, bool accumulate) {
  LAUNCH(avgpool_backward_kernel<T>, blocks_for(g->n * g->h * g->w * g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, dy, dx, accumulate);
  cuda_launched("avgpool_backward");
}

/* dx: overwritten, or added to if accumulate. */
void cuda_avgpool_backward(const struct pool *g, const real *dy, real *dx, bool accumulate) { avgpool_backward_as(g, dy, dx, accumulate); }

/* dy, dx: bf16. */
void cuda_avgpool_backward_bf16(const struct pool *g, const real *dy, real *dx, bool accumulate) {
  avgpool_backward_as(g, activations<bf16>(dy), activations<bf16>(dx), accumulate);
}
