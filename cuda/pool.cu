/* Pooling. Twin of ref/op/pool.c, and the same bits: a maximum has no rounding, and sums have the reference's order. A thread has some
 * neighbouring channels of a pixel. T is what activations are stored as. */
#include "cuda/number.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

enum { WINDOW = 3, STRIDE = 2, PAD = 1 };

/* Pixels that threads are given, n images of h x w, and channels in parts: in unsigned, in which a GPU divides several times faster than in
 * ptrdiff_t. A block lies within a row. */
struct pixels {
  unsigned n, h, w, parts, row_blocks;
};
static struct pixels pixels_of(ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t parts) {
  ptrdiff_t row_blocks = (w * parts + BLOCK_THREADS - 1) / BLOCK_THREADS;
  return {(unsigned)n, (unsigned)h, (unsigned)w, (unsigned)parts, (unsigned)row_blocks};
}
static dim3 blocks_of(const struct pixels &p) { return dim3(p.n * p.h * p.row_blocks); }

/* The pixel of this thread, and its first channel; false: none. */
struct place {
  ptrdiff_t n, h, w, channel;
};
template <int N> __device__ static inline bool place_of_thread(const struct pixels &p, struct place *at) {
  unsigned row = blockIdx.x / p.row_blocks, in_row = blockIdx.x % p.row_blocks * BLOCK_THREADS + threadIdx.x, w = in_row / p.parts;
  *at = {(ptrdiff_t)(row / p.h), (ptrdiff_t)(row % p.h), (ptrdiff_t)w, (ptrdiff_t)(in_row % p.parts * N)};
  return w < p.w;
}

/* ---- Maximum ------------------------------------------------------------------------------------------------------------------------ */

/* A NaN beats every number, and the first of several wins. */
__device__ static inline bool beats(float v, float best) { return v > best || (v != v && best == best); }

/* N indices, in pieces. */
template <int N> __device__ static inline void store_indices(int32_t *to, const int32_t (&index)[N]) {
  enum { PIECE = N < pieces_of<int32_t>::NUMBERS ? N : (int)pieces_of<int32_t>::NUMBERS };
  UNROLL for (int e = 0; e < N; e += PIECE) {
    struct numbers<int32_t, PIECE> some;
    memcpy(some.x, index + e, sizeof some.x);
    store_numbers(to + e, some);
  }
}
template <int N> __device__ static inline void load_indices(int32_t (&index)[N], const int32_t *from) {
  enum { PIECE = N < pieces_of<int32_t>::NUMBERS ? N : (int)pieces_of<int32_t>::NUMBERS };
  UNROLL for (int e = 0; e < N; e += PIECE) {
    struct numbers<int32_t, PIECE> some = load_numbers<PIECE>(from + e);
    memcpy(index + e, some.x, sizeof some.x);
  }
}

/* An element of the output visits its window in row-major order, so a later equal value never replaces the first maximum. index: null for
 * none. */
template <class C>
__global__ static void maxpool_forward_kernel(struct pool g, struct pixels out, const typename C::type *x, typename C::type *y,
                                              int32_t *index) {
  enum { N = C::WIDE };
  typedef typename C::type T;
  struct place at;
  if (!place_of_thread<N>(out, &at)) return;
  ptrdiff_t top = at.h * STRIDE - PAD, left = at.w * STRIDE - PAD, bottom = top + WINDOW, right = left + WINDOW;
  if (top < 0) top = 0;
  if (left < 0) left = 0;
  if (bottom > g.h) bottom = g.h;
  if (right > g.w) right = g.w;
  const T *plane = x + at.n * g.h * g.w * g.c + at.channel;
  struct numbers<T, N> best = load_numbers<N>(plane + (top * g.w + left) * g.c);
  int32_t first[N];
  UNROLL for (int e = 0; e < N; e++) first[e] = (int32_t)(top * g.w + left);
  for (ptrdiff_t h = top; h < bottom; h++)
    for (ptrdiff_t w = left; w < right; w++) {
      struct numbers<T, N> v = load_numbers<N>(plane + (h * g.w + w) * g.c);
      UNROLL for (int e = 0; e < N; e++) if (beats(widen(v.x[e]), widen(best.x[e]))) best.x[e] = v.x[e], first[e] = (int32_t)(h * g.w + w);
    }
  ptrdiff_t to = ((at.n * out.h + at.h) * out.w + at.w) * g.c + at.channel;
  store_numbers(y + to, best);
  if (index) store_indices<N>(index + to, first);
}

template <class C> static void maxpool_forward_by(const struct pool *g, const typename C::type *x, typename C::type *y, int32_t *index) {
  struct pixels out = pixels_of(g->n, maxpool_out(g->h), maxpool_out(g->w), g->c / C::WIDE);
  LAUNCH(maxpool_forward_kernel<C>, blocks_of(out), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, out, x, y, index);
  cuda_launched("maxpool_forward");
}

/* y, index: overwritten; index null for none. */
void cuda_maxpool_forward(const struct pool *g, const real *x, real *y, int32_t *index) {
  BY_PIECES(maxpool_forward_by, float, in_pieces<float>(g->c, x, y, index), g, x, y, index);
}

/* x, y: bf16. */
void cuda_maxpool_forward_bf16(const struct pool *g, const real *x, real *y, int32_t *index) {
  BY_PIECES(maxpool_forward_by, bf16, in_pieces<bf16>(g->c, x, y, index), g, activations<bf16>(x), activations<bf16>(y), index);
}

/* Gathered: an input asks the windows that hold it (row h is in windows h/2 to (h+1)/2, rounded down), in their order, whether it won. The
 * sum is in float. */
template <class C>
__global__ static void maxpool_backward_kernel(struct pool g, struct pixels in, ptrdiff_t ph, ptrdiff_t pw, const typename C::type *dy,
                                               const int32_t *index, typename C::type *dx) {
  enum { N = C::WIDE };
  typedef typename C::type T;
  struct place at;
  if (!place_of_thread<N>(in, &at)) return;
  int32_t here = (int32_t)(at.h * g.w + at.w);
  float sum[N] = {};
  for (ptrdiff_t p = at.h / STRIDE; p <= (at.h + PAD) / STRIDE && p < ph; p++)
    for (ptrdiff_t q = at.w / STRIDE; q <= (at.w + PAD) / STRIDE && q < pw; q++) {
      ptrdiff_t from = ((at.n * ph + p) * pw + q) * g.c + at.channel;
      struct numbers<T, N> d = load_numbers<N>(dy + from);
      int32_t winner[N];
      load_indices<N>(winner, index + from);
      UNROLL for (int e = 0; e < N; e++) sum[e] += winner[e] == here ? widen(d.x[e]) : 0.0f;
    }
  struct numbers<T, N> out;
  UNROLL for (int e = 0; e < N; e++) out.x[e] = narrow<T>(sum[e]);
  store_numbers(dx + ((at.n * g.h + at.h) * g.w + at.w) * g.c + at.channel, out);
}

template <class C>
static void maxpool_backward_by(const struct pool *g, const typename C::type *dy, const int32_t *index, typename C::type *dx) {
  struct pixels in = pixels_of(g->n, g->h, g->w, g->c / C::WIDE);
  LAUNCH(maxpool_backward_kernel<C>, blocks_of(in), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, in, maxpool_out(g->h), maxpool_out(g->w), dy,
         index, dx);
  cuda_launched("maxpool_backward");
}

/* dx: overwritten (zeros where nothing won). */
void cuda_maxpool_backward(const struct pool *g, const real *dy, const int32_t *index, real *dx) {
  BY_PIECES(maxpool_backward_by, float, in_pieces<float>(g->c, dy, index, dx), g, dy, index, dx);
}

/* dy, dx: bf16. */
void cuda_maxpool_backward_bf16(const struct pool *g, const real *dy, const int32_t *index, real *dx) {
  BY_PIECES(maxpool_backward_by, bf16, in_pieces<bf16>(g->c, dy, index, dx), g, activations<bf16>(dy), index, activations<bf16>(dx));
}

/* ---- Average ------------------------------------------------------------------------------------------------------------------------ */

/* A thread has channels of an image: pixels are images of one pixel here. */
template <class C>
__global__ static void avgpool_forward_kernel(struct pool g, struct pixels out, const typename C::type *x, typename C::type *y) {
  enum { N = C::WIDE };
  typedef typename C::type T;
  struct place at;
  if (!place_of_thread<N>(out, &at)) return;
  ptrdiff_t cells = g.h * g.w;
  const T *from = x + at.n * cells * g.c + at.channel;
  double sum[N] = {};
  for (ptrdiff_t cell = 0; cell < cells; cell++) {
    struct numbers<T, N> v = load_numbers<N>(from + cell * g.c);
    UNROLL for (int e = 0; e < N; e++) sum[e] += (double)widen(v.x[e]);
  }
  struct numbers<T, N> mean;
  UNROLL for (int e = 0; e < N; e++) mean.x[e] = narrow<T>((float)(sum[e] / (double)cells));
  store_numbers(y + at.n * g.c + at.channel, mean);
}

template <class C> static void avgpool_forward_by(const struct pool *g, const typename C::type *x, typename C::type *y) {
  struct pixels out = pixels_of(g->n, 1, 1, g->c / C::WIDE);
  LAUNCH(avgpool_forward_kernel<C>, blocks_of(out), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, out, x, y);
  cuda_launched("avgpool_forward");
}

/* y: overwritten; summed in double in row-major order. */
void cuda_avgpool_forward(const struct pool *g, const real *x, real *y) {
  BY_PIECES(avgpool_forward_by, float, in_pieces<float>(g->c, x, y), g, x, y);
}

/* x, y: bf16. */
void cuda_avgpool_forward_bf16(const struct pool *g, const real *x, real *y) {
  BY_PIECES(avgpool_forward_by, bf16, in_pieces<bf16>(g->c, x, y), g, activations<bf16>(x), activations<bf16>(y));
}

template <class C>
__global__ static void avgpool_backward_kernel(struct pool g, struct pixels in, const typename C::type *dy, typename C::type *dx,
                                               bool accumulate) {
  enum { N = C::WIDE };
  typedef typename C::type T;
  struct place at;
  if (!place_of_thread<N>(in, &at)) return;
  T *to = dx + ((at.n * g.h + at.h) * g.w + at.w) * g.c + at.channel;
  struct numbers<T, N> d = load_numbers<N>(dy + at.n * g.c + at.channel), out;
  if (accumulate) out = load_numbers<N>(to);
  UNROLL for (int e = 0; e < N; e++) {
    float share = (float)((double)widen(d.x[e]) / (double)(g.h * g.w));
    out.x[e] = narrow<T>(accumulate ? widen(out.x[e]) + share : share);
  }
  store_numbers(to, out);
}

template <class C>
static void avgpool_backward_by(const struct pool *g, const typename C::type *dy, typename C::type *dx, bool accumulate) {
  struct pixels in = pixels_of(g->n, g->h, g->w, g->c / C::WIDE);
  LAUNCH(avgpool_backward_kernel<C>, blocks_of(in), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, in, dy, dx, accumulate);
  cuda_launched("avgpool_backward");
}

/* dx: overwritten, or added to if accumulate. */
void cuda_avgpool_backward(const struct pool *g, const real *dy, real *dx, bool accumulate) {
  BY_PIECES(avgpool_backward_by, float, in_pieces<float>(g->c, dy, dx), g, dy, dx, accumulate);
}

/* dy, dx: bf16. */
void cuda_avgpool_backward_bf16(const struct pool *g, const real *dy, real *dx, bool accumulate) {
  BY_PIECES(avgpool_backward_by, bf16, in_pieces<bf16>(g->c, dy, dx), g, activations<bf16>(dy), activations<bf16>(dx), accumulate);
}
