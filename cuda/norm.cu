/* Batch normalisation. Twin of ref/op/norm.c, and the same bits: statistics are summed in double over the reference's chunks of rows and
 * joined in its order, elements go through the same roundings in float. T is what activations are stored as: bf16 ones are widened, and
 * what would be written as float is rounded once more.
 *
 * Kernels are as the loops there: sums of a chunk, joining the chunks of a group and then the groups (norm_sums.h), elements. There is
 * little arithmetic a byte, so a thread has neighbouring channels, which it reads and writes together, and asks for several rows before it
 * uses the first. */
#include "cuda/affine.h"
#include "cuda/norm_sums.h"

enum {
  GRADIENT_CHANNELS = 4,     /* of a thread that computes dx, at most: it has six numbers of each in registers */
  BAND_ROWS = 16,            /* of a thread that computes elements: it has its channels' numbers once for them ... */
  FEWEST_ROWS = 4,           /* ... but fewer where there would not be ... */
  ENOUGH_ELEMENTS = 1 << 17, /* ... as many threads */
  ROWS_AT_ONCE = 2           /* that it asks for before it uses the first */
};

/* As the reference's, two sums a chunk and channel and as many a group and channel; the lines of the gradient; and signs for a backward
 * that is given none. */
size_t cuda_norm_scratch(const struct norm *g) {
  struct norm_shape shape = shape_of(g);
  return (size_t)part_sums(g->c, shape.chunks + shape.groups, 0) * sizeof(double) + (size_t)(GRADIENT_LINES * g->c) * sizeof(float) +
         (g->relu && !g->signs ? cuda_norm_signs(g) : 0);
}

size_t cuda_norm_signs(const struct norm *g) { return (size_t)sign_bytes<float>(g->m * g->c); }
size_t cuda_norm_signs_bf16(const struct norm *g) { return (size_t)sign_bytes<bf16>(g->m * g->c); }

/* A thread a byte of signs. */
template <class T> __global__ static void find_signs(ptrdiff_t count, const T *y, unsigned char *signs) {
  enum { PIECE = pieces_of<T>::NUMBERS };
  ptrdiff_t i = item_of_thread();
  if (i * PIECE >= count) return;
  struct numbers<T, PIECE> some = {};
  UNROLL for (int e = 0; e < PIECE; e++) if (i * PIECE + e < count) some.x[e] = y[i * PIECE + e];
  signs[i] = signs_of(some);
}
template <class T> static void launch_find_signs(const struct norm_shape &g, const T *y) {
  LAUNCH(find_signs<T>, blocks_for(sign_bytes<T>(g.m * g.c)), dim3(BLOCK_THREADS), 0, cuda_stream(), g.m * g.c, y, g.signs);
}

/* The shape with the signs of y, which are found in the scratch where a forward has left none. */
template <class T> static struct norm_shape shape_with_signs(const struct norm *g, const T *y, double *scratch) {
  struct norm_shape shape = shape_of(g);
  if (!g->relu || g->signs) return shape;
  shape.signs = (unsigned char *)(gradient_lines(shape, scratch) + GRADIENT_LINES * g->c);
  launch_find_signs(shape, y);
  return shape;
}

/* ---- Elements ----------------------------------------------------------------------------------------------------------------------- */

/* A thread has as many rows as band_rows says, as far apart as the block is high. */
static int band_rows(ptrdiff_t m, ptrdiff_t across) {
  int rows = BAND_ROWS;
  while (rows > FEWEST_ROWS && m * across / rows < ENOUGH_ELEMENTS) rows /= 2;
  return rows;
}
static dim3 band_threads(ptrdiff_t across) { return threads_across(across, BLOCK_THREADS); }
static dim3 band_blocks(ptrdiff_t m, ptrdiff_t across) {
  dim3 threads = band_threads(across);
  ptrdiff_t high = (ptrdiff_t)threads.y * band_rows(m, across);
  return blocks_across((m + high - 1) / high, across, threads);
}
template <enum way WAY> __device__ static inline ptrdiff_t band_row(int rows, int k) {
  return (block_down<WAY>() * rows + k) * blockDim.y + threadIdx.y;
}

/* y = gamma invstd (x - mean) + beta [+ residual] [then max(., 0)] in the channels from c on of the rows of a band. */
template <class K>
__device__ static void normalise_band(const struct norm_shape &g, int rows, const struct affine (&a)[K::WIDE], ptrdiff_t c,
                                      const typename K::type *x, const typename K::type *residual, typename K::type *y,
                                      unsigned char *signs) {
  enum { N = K::WIDE };
  typedef typename K::type T;
  for (int band = 0; band < rows; band += ROWS_AT_ONCE) {
    struct numbers<T, N> in[ROWS_AT_ONCE], add[ROWS_AT_ONCE];
    UNROLL for (int k = 0; k < ROWS_AT_ONCE; k++) {
      ptrdiff_t row = band_row<FROM_BEHIND>(rows, band + k), at = (row < g.m ? row : g.m - 1) * g.c + c; /* no branch keeps loads apart */
      in[k] = load_numbers<N>(x + at);
      if (K::SKIP) add[k] = load_numbers<N>(residual + at);
    }
    UNROLL for (int k = 0; k < ROWS_AT_ONCE; k++) {
      ptrdiff_t row = band_row<FROM_BEHIND>(rows, band + k);
      if (row >= g.m) continue;
      struct numbers<T, N> out;
      UNROLL for (int e = 0; e < N; e++) out.x[e] =
          narrow<T>(normalised(a[e], widen(in[k].x[e]), K::SKIP, K::SKIP ? widen(add[k].x[e]) : 0.0f, K::RELU));
      store_numbers(y + row * g.c + c, out);
      if (K::RELU && N > 1 && signs) signs[(row * g.c + c) / N] = signs_of(out);
    }
  }
}

/* A thread's channels, each of which one thread of the block computes for all. False: the thread has none. The whole block calls it. */
template <class K, class F> __device__ static bool share_channels(ptrdiff_t channels, F affine_of_channel, struct affine (&a)[K::WIDE]) {
  SHARED(affine_words, all, [K::WIDE][WARP_THREADS]);
  ptrdiff_t first = (ptrdiff_t)blockIdx.x * blockDim.x * K::WIDE;
  for (int i = (int)(threadIdx.y * blockDim.x + threadIdx.x); i < (int)blockDim.x * K::WIDE; i += BLOCK_THREADS) {
    if (first + i >= channels) break;
    all[i % K::WIDE][i / K::WIDE] = packed_affine(affine_of_channel(first + i));
  }
  __syncthreads();
  if (first_channel<K::WIDE>() >= channels) return false;
  UNROLL for (int e = 0; e < K::WIDE; e++) a[e] = unpacked_affine(all[e][threadIdx.x]);
  return true;
}

template <class K>
__global__ static void normalise_batch(struct norm_shape g, int rows, const typename K::type *x, const typename K::type *residual,
                                       const float *gamma, const float *beta, const double *mean, const double *invstd,
                                       typename K::type *y) {
  struct affine a[K::WIDE];
  auto affine_of_channel = [&](ptrdiff_t c) { return affine_of(mean[c], invstd[c], gamma[c], beta[c]); };
  if (share_channels<K>(g.c, affine_of_channel, a)) normalise_band<K>(g, rows, a, first_channel<K::WIDE>(), x, residual, y, g.signs);
}

template <class K>
__global__ static void normalise_running(struct norm_shape g, int rows, const typename K::type *x, const typename K::type *residual,
                                         const float *gamma, const float *beta, const float *running_mean, const float *running_var,
                                         typename K::type *y) {
  struct affine a[K::WIDE];
  auto affine_of_channel = [&](ptrdiff_t c) {
    return affine_of((double)running_mean[c], inverse_deviation(g.eps, (double)running_var[c]), gamma[c], beta[c]);
  };
  if (share_channels<K>(g.c, affine_of_channel, a)) normalise_band<K>(g, rows, a, first_channel<K::WIDE>(), x, residual, y, nullptr);
}

/* ---- Forward ------------------------------------------------------------------------------------------------------------------------ */

template <class K>
static void normalise_by(const struct norm_shape &g, const typename K::type *x, const typename K::type *residual, const float *gamma,
                         const float *beta, const double *mean, const double *invstd, typename K::type *y) {
  ptrdiff_t across = g.c / K::WIDE;
  LAUNCH(normalise_batch<K>, band_blocks(g.m, across), band_threads(across), 0, cuda_stream(), g, band_rows(g.m, across), x, residual,
         gamma, beta, mean, invstd, y);
}
template <class C>
static void normalise(const struct norm_shape &g, const typename C::type *x, const typename C::type *residual, const float *gamma,
                      const float *beta, const double *mean, const double *invstd, typename C::type *y) {
  BY_KIND(normalise_by, C, g.relu, residual, g, x, residual, gamma, beta, mean, invstd, y);
  if (C::WIDE == 1 && g.relu && g.signs) launch_find_signs(g, y);
}

/* Sums of the chunks: what a convolution has left of them, or in the scratch. whole: rows come in pieces. */
template <class T>
static const double *moments_of(const struct norm *g, const struct norm_shape &shape, bool whole, const T *x, double *scratch) {
  if (g->moments) return g->moments;
  take_moments(shape, whole, x, scratch);
  return scratch;
}

void norm_moments_launch(const struct norm *g, const float *x, double *moments) {
  take_moments(shape_of(g), in_pieces<float>(g->c, x), x, moments);
}
void norm_moments_launch(const struct norm *g, const struct bf16 *x, double *moments) {
  take_moments(shape_of(g), in_pieces<bf16>(g->c, x), x, moments);
}

template <class C>
static void forward_train_by(const struct norm *g, const typename C::type *x, const typename C::type *residual, const float *gamma,
                             const float *beta, float *running_mean, float *running_var, typename C::type *y, double *mean, double *invstd,
                             double *scratch) {
  struct norm_shape shape = shape_of(g);
  const double *chunks = moments_of(g, shape, C::WIDE > 1, x, scratch);
  LAUNCH(join_moments, join_blocks(shape), join_threads(shape), 0, cuda_stream(), shape, chunks, group_sums(shape, scratch), running_mean,
         running_var, mean, invstd);
  normalise<C>(shape, x, residual, gamma, beta, mean, invstd, y);
  cuda_launched("norm_forward_train");
}

template <class T>
static void forward_train_as(const struct norm *g, const T *x, const T *residual, const float *gamma, const float *beta,
                             float *running_mean, float *running_var, T *y, double *mean, double *invstd, void *scratch) {
  BY_PIECES(forward_train_by, T, in_pieces<T>(g->c, x, residual, y), g, x, residual, gamma, beta, running_mean, running_var, y, mean,
            invstd, (double *)scratch);
}

/* residual: null, or added before the ReLU. running_mean, running_var: updated. y, mean, invstd: overwritten. */
void cuda_norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                             real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  forward_train_as(g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
}

/* x, residual, y: bf16. */
void cuda_norm_forward_train_bf16(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                  real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  forward_train_as(g, activations<bf16>(x), activations<bf16>(residual), gamma, beta, running_mean, running_var, activations<bf16>(y), mean,
                   invstd, scratch);
}

template <class K>
static void normalise_running_by(const struct norm_shape &g, const typename K::type *x, const typename K::type *residual,
                                 const float *gamma, const float *beta, const float *running_mean, const float *running_var,
                                 typename K::type *y) {
  ptrdiff_t across = g.c / K::WIDE;
  LAUNCH(normalise_running<K>, band_blocks(g.m, across), band_threads(across), 0, cuda_stream(), g, band_rows(g.m, across), x, residual,
         gamma, beta, running_mean, running_var, y);
}
template <class C>
static void forward_eval_by(const struct norm *g, const typename C::type *x, const typename C::type *residual, const float *gamma,
                            const float *beta, const float *running_mean, const float *running_var, typename C::type *y) {
  BY_KIND(normalise_running_by, C, g->relu, residual, shape_of(g), x, residual, gamma, beta, running_mean, running_var, y);
  cuda_launched("norm_forward_eval");
}

/* y: overwritten. */
void cuda_norm_forward_eval(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                            const real *running_mean, const real *running_var, real *y) {
  BY_PIECES(forward_eval_by, float, in_pieces<float>(g->c, x, residual, y), g, x, residual, gamma, beta, running_mean, running_var, y);
}

/* x, residual, y: bf16. */
void cuda_norm_forward_eval_bf16(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                 const real *running_mean, const real *running_var, real *y) {
  BY_PIECES(forward_eval_by, bf16, in_pieces<bf16>(g->c, x, residual, y), g, activations<bf16>(x), activations<bf16>(residual), gamma, beta,
            running_mean, running_var, activations<bf16>(y));
}

/* ---- Backward ----------------------------------------------------------------------------------------------------------------------- */

/* dx through the statistics; dresidual = d. dx may be dy: an element is read before it is written, by the same thread. */
template <class K>
__global__ static void gradient_elements(struct norm_shape g, int rows, const typename K::type *x, const float *lines,
                                         const typename K::type *dy, typename K::type *dx, typename K::type *dresidual) {
  enum { N = K::WIDE };
  typedef typename K::type T;
  ptrdiff_t c = first_channel<N>();
  if (c >= g.c) return;
  struct numbers<float, N> line[GRADIENT_LINES];
  UNROLL for (int k = 0; k < GRADIENT_LINES; k++) line[k] = load_numbers<N>(lines + k * g.c + c);
  for (int band = 0; band < rows; band += ROWS_AT_ONCE) {
    struct row_of_gradient<K> in[ROWS_AT_ONCE] = {};
    UNROLL for (int k = 0; k < ROWS_AT_ONCE; k++) {
      ptrdiff_t row = band_row<FROM_FIRST>(rows, band + k);
      if (row < g.m) in[k].load(x, g.signs, dy, row * g.c + c);
    }
    UNROLL for (int k = 0; k < ROWS_AT_ONCE; k++) {
      ptrdiff_t row = band_row<FROM_FIRST>(rows, band + k), at = row * g.c + c;
      if (row >= g.m) continue;
      struct numbers<T, N> out, skip;
      UNROLL for (int e = 0; e < N; e++) {
        float d = in[k].behind(e), difference = (widen(in[k].x.x[e]) - line[MEAN_HI].x[e]) - line[MEAN_LO].x[e];
        skip.x[e] = narrow<T>(d);
        out.x[e] = narrow<T>(line[SLOPE].x[e] * (((d - line[GRADIENT_HI].x[e]) - line[GRADIENT_LO].x[e]) - difference * line[PULL].x[e]));
      }
      if (K::SKIP) store_numbers(dresidual + at, skip);
      store_numbers(dx + at, out);
    }
  }
}

template <class K>
static void gradient_by(const struct norm_shape &g, const typename K::type *x, const float *lines, const typename K::type *dy,
                        typename K::type *dx, typename K::type *dresidual) {
  ptrdiff_t across = g.c / K::WIDE;
  LAUNCH(gradient_elements<K>, band_blocks(g.m, across), band_threads(across), 0, cuda_stream(), g, band_rows(g.m, across), x, lines, dy,
         dx, dresidual);
}
template <class C>
static void gradient(const struct norm_shape &g, const typename C::type *x, const float *lines, const typename C::type *dy,
                     typename C::type *dx, typename C::type *dresidual) {
  typedef channels_of < typename C::type, (int)C::WIDE<(int)GRADIENT_CHANNELS ? (int)C::WIDE : (int)GRADIENT_CHANNELS> few;
  BY_KIND(gradient_by, few, g.relu, dresidual, g, x, lines, dy, dx, dresidual);
}

template <class C>
static void backward_train_by(const struct norm *g, const typename C::type *x, const typename C::type *y, const float *gamma,
                              const double *mean, const double *invstd, const typename C::type *dy, typename C::type *dx,
                              typename C::type *dresidual, float *dgamma, float *dbeta, double *scratch) {
  struct norm_shape shape = shape_with_signs(g, y, scratch);
  float *lines = gradient_lines(shape, scratch);
  take_gradient_sums(shape, C::WIDE > 1, x, mean, dy, scratch);
  LAUNCH(join_gradient, join_blocks(shape), join_threads(shape), 0, cuda_stream(), shape, scratch, group_sums(shape, scratch), gamma, mean,
         invstd, lines, dgamma, dbeta);
  gradient<C>(shape, x, lines, dy, dx, dresidual);
  cuda_launched("norm_backward_train");
}

template <class T>
static void backward_train_as(const struct norm *g, const T *x, const T *y, const float *gamma, const double *mean, const double *invstd,
                              const T *dy, T *dx, T *dresidual, float *dgamma, float *dbeta, void *scratch) {
  BY_PIECES(backward_train_by, T, in_pieces<T>(g->c, x, dy, dx, dresidual), g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta,
            (double *)scratch);
}

/* dx: overwritten; may be dy. dresidual: null or overwritten. dgamma, dbeta: accumulated. y may be null without relu. */
void cuda_norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                              const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, void *scratch) {
  backward_train_as(g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
}

/* x, y, dy, dx, dresidual: bf16. */
void cuda_norm_backward_train_bf16(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                   const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                   void *scratch) {
  backward_train_as(g, activations<bf16>(x), activations<bf16>(y), gamma, mean, invstd, activations<bf16>(dy), activations<bf16>(dx),
                    activations<bf16>(dresidual), dgamma, dbeta, scratch);
}

/* ---- Over several ranks: the parts between which sums are gathered ------------------------------------------------------------------- */

template <class T> static void rank_moments_as(const struct norm *g, const T *x, double *sums, double *scratch) {
  struct norm_shape shape = shape_of(g);
  const double *chunks = moments_of(g, shape, in_pieces<T>(g->c, x), x, scratch);
  LAUNCH(own_moments, join_blocks(shape), join_threads(shape), 0, cuda_stream(), shape, chunks, group_sums(shape, scratch), sums);
  cuda_launched("norm_rank_moments");
}

template <class C>
static void rank_forward_by(const struct norm *g, int ranks, const double *sums, const typename C::type *x,
                            const typename C::type *residual, const float *gamma, const float *beta, float *running_mean,
                            float *running_var, typename C::type *y, double *mean, double *invstd) {
  LAUNCH(join_rank_moments, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape_of(g), ranks_of(g, ranks), sums, running_mean,
         running_var, mean, invstd);
  normalise<C>(shape_of(g), x, residual, gamma, beta, mean, invstd, y);
  cuda_launched("norm_rank_forward");
}

template <class T>
static void rank_forward_as(const struct norm *g, int ranks, const double *sums, const T *x, const T *residual, const float *gamma,
                            const float *beta, float *running_mean, float *running_var, T *y, double *mean, double *invstd) {
  BY_PIECES(rank_forward_by, T, in_pieces<T>(g->c, x, residual, y), g, ranks, sums, x, residual, gamma, beta, running_mean, running_var, y,
            mean, invstd);
}

template <class T>
static void rank_gradient_as(const struct norm *g, const T *x, const T *y, const double *mean, const double *invstd, const T *dy,
                             float *dgamma, float *dbeta, double *sums, double *scratch) {
  struct norm_shape shape = shape_with_signs(g, y, scratch);
  take_gradient_sums(shape, in_pieces<T>(g->c, x, dy), x, mean, dy, scratch);
  LAUNCH(own_gradient, join_blocks(shape), join_threads(shape), 0, cuda_stream(), shape, scratch, group_sums(shape, scratch), invstd, sums,
         dgamma, dbeta);
  cuda_launched("norm_rank_gradient");
}

template <class T>
static void rank_backward_as(const struct norm *g, int ranks, const double *sums, const T *x, const T *y, const float *gamma,
                             const double *mean, const double *invstd, const T *dy, T *dx, T *dresidual, double *scratch) {
  struct norm_shape shape = shape_with_signs(g, y, scratch);
  float *lines = gradient_lines(shape, scratch);
  LAUNCH(join_rank_gradient, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape, ranks_of(g, ranks), sums, gamma, mean, invstd,
         lines);
  BY_PIECES(gradient, T, in_pieces<T>(g->c, x, dy, dx, dresidual), shape, x, lines, dy, dx, dresidual);
  cuda_launched("norm_rank_backward");
}

/* sums: 2 x c, overwritten. */
void cuda_norm_rank_moments(const struct norm *g, const real *x, double *sums, void *scratch) {
  rank_moments_as(g, x, sums, (double *)scratch);
}
void cuda_norm_rank_moments_bf16(const struct norm *g, const real *x, double *sums, void *scratch) {
  rank_moments_as(g, activations<bf16>(x), sums, (double *)scratch);
}

/* sums: of all ranks. y, mean, invstd: overwritten; running_mean, running_var: updated. */
void cuda_norm_rank_forward(const struct norm *g, int ranks, const double *sums, const real *x, const real *residual, const real *gamma,
                            const real *beta, real *running_mean, real *running_var, real *y, double *mean, double *invstd) {
  rank_forward_as(g, ranks, sums, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd);
}
void cuda_norm_rank_forward_bf16(const struct norm *g, int ranks, const double *sums, const real *x, const real *residual,
                                 const real *gamma, const real *beta, real *running_mean, real *running_var, real *y, double *mean,
                                 double *invstd) {
  rank_forward_as(g, ranks, sums, activations<bf16>(x), activations<bf16>(residual), gamma, beta, running_mean, running_var,
                  activations<bf16>(y), mean, invstd);
}

/* dgamma, dbeta: accumulated. sums: 2 x c, overwritten. */
void cuda_norm_rank_gradient(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd, const real *dy,
                             real *dgamma, real *dbeta, double *sums, void *scratch) {
  rank_gradient_as(g, x, y, mean, invstd, dy, dgamma, dbeta, sums, (double *)scratch);
}
void cuda_norm_rank_gradient_bf16(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd,
                                  const real *dy, real *dgamma, real *dbeta, double *sums, void *scratch) {
  rank_gradient_as(g, activations<bf16>(x), activations<bf16>(y), mean, invstd, activations<bf16>(dy), dgamma, dbeta, sums,
                   (double *)scratch);
}

/* sums: of all ranks. dx: overwritten; may be dy. dresidual: null or overwritten. */
void cuda_norm_rank_backward(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                             const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, void *scratch) {
  rank_backward_as(g, ranks, sums, x, y, gamma, mean, invstd, dy, dx, dresidual, (double *)scratch);
}
void cuda_norm_rank_backward_bf16(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                                  const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, void *scratch) {
  rank_backward_as(g, ranks, sums, activations<bf16>(x), activations<bf16>(y), gamma, mean, invstd, activations<bf16>(dy),
                   activations<bf16>(dx), activations<bf16>(dresidual), (double *)scratch);
}
