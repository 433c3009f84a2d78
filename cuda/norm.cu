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
  BAND_ROWS = 16,   /* of a thread that computes elements: its coefficients are made once for them */
  FORWARD_ROWS = 4, /* that it asks for at once */
  BACKWARD_ROWS = 2
};

/* In doubles as the reference's: two sums a chunk and channel, as many a group and channel, and two joined sums a channel. */
size_t cuda_norm_scratch(const struct norm *g) {
  struct norm_shape shape = shape_of(g);
  return (size_t)((2 * (shape.chunks + shape.groups) + 2) * g->c) * sizeof(double);
}

/* ---- Elements ----------------------------------------------------------------------------------------------------------------------- */

/* A thread has BAND_ROWS rows, as far apart as the block is high. */
static dim3 band_threads(ptrdiff_t across) { return threads_across(across, BLOCK_THREADS); }
static dim3 band_blocks(ptrdiff_t m, ptrdiff_t across) {
  dim3 threads = band_threads(across);
  ptrdiff_t high = (ptrdiff_t)threads.y * BAND_ROWS;
  return dim3((unsigned)((m + high - 1) / high), (unsigned)((across + threads.x - 1) / threads.x));
}
__device__ static inline ptrdiff_t band_row(int k) { return ((ptrdiff_t)blockIdx.x * BAND_ROWS + k) * blockDim.y + threadIdx.y; }

/* y = gamma invstd (x - mean) + beta [+ residual] [then max(., 0)] in the channels from c on of the rows of a band. */
template <class T, int N>
__device__ static void normalise_band(const struct norm_shape &g, const struct affine (&a)[N], ptrdiff_t c, const T *x, const T *residual,
                                      T *y) {
  for (int band = 0; band < BAND_ROWS; band += FORWARD_ROWS) {
    struct numbers<T, N> in[FORWARD_ROWS], add[FORWARD_ROWS];
    UNROLL for (int k = 0; k < FORWARD_ROWS; k++) {
      ptrdiff_t row = band_row(band + k), at = row * g.c + c;
      if (row >= g.m) continue;
      in[k] = load_numbers<N>(x + at);
      if (residual) add[k] = load_numbers<N>(residual + at);
    }
    UNROLL for (int k = 0; k < FORWARD_ROWS; k++) {
      ptrdiff_t row = band_row(band + k);
      if (row >= g.m) continue;
      struct numbers<T, N> out;
      UNROLL for (int e = 0; e < N; e++) out.x[e] =
          narrow<T>(normalised(a[e], widen(in[k].x[e]), residual, residual ? widen(add[k].x[e]) : 0.0f, g.relu));
      store_numbers(y + row * g.c + c, out);
    }
  }
}

template <class C>
__global__ static void normalise_batch(struct norm_shape g, const typename C::type *x, const typename C::type *residual, const float *gamma,
                                       const float *beta, const double *mean, const double *invstd, typename C::type *y) {
  ptrdiff_t c = first_channel<C::WIDE>();
  if (c >= g.c) return;
  struct affine a[C::WIDE];
  UNROLL for (int e = 0; e < C::WIDE; e++) a[e] = affine_of(mean[c + e], invstd[c + e], gamma[c + e], beta[c + e]);
  normalise_band(g, a, c, x, residual, y);
}

template <class C>
__global__ static void normalise_running(struct norm_shape g, const typename C::type *x, const typename C::type *residual,
                                         const float *gamma, const float *beta, const float *running_mean, const float *running_var,
                                         typename C::type *y) {
  ptrdiff_t c = first_channel<C::WIDE>();
  if (c >= g.c) return;
  struct affine a[C::WIDE];
  UNROLL for (int e = 0; e < C::WIDE; e++) a[e] =
      affine_of((double)running_mean[c + e], inverse_deviation(g.eps, (double)running_var[c + e]), gamma[c + e], beta[c + e]);
  normalise_band(g, a, c, x, residual, y);
}

/* ---- Forward ------------------------------------------------------------------------------------------------------------------------ */

template <class C>
static void normalise(const struct norm_shape &g, const typename C::type *x, const typename C::type *residual, const float *gamma,
                      const float *beta, const double *mean, const double *invstd, typename C::type *y) {
  LAUNCH(normalise_batch<C>, band_blocks(g.m, g.c / C::WIDE), band_threads(g.c / C::WIDE), 0, cuda_stream(), g, x, residual, gamma, beta,
         mean, invstd, y);
}

template <class C>
static void forward_train_by(const struct norm *g, const typename C::type *x, const typename C::type *residual, const float *gamma,
                             const float *beta, float *running_mean, float *running_var, typename C::type *y, double *mean, double *invstd,
                             double *scratch) {
  struct norm_shape shape = shape_of(g);
  take_moments(shape, C::WIDE > 1, x, scratch);
  LAUNCH(join_moments, join_blocks(shape), join_threads(shape), 0, cuda_stream(), shape, scratch, group_sums(shape, scratch), running_mean,
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

template <class C>
static void forward_eval_by(const struct norm *g, const typename C::type *x, const typename C::type *residual, const float *gamma,
                            const float *beta, const float *running_mean, const float *running_var, typename C::type *y) {
  ptrdiff_t across = g->c / C::WIDE;
  LAUNCH(normalise_running<C>, band_blocks(g->m, across), band_threads(across), 0, cuda_stream(), shape_of(g), x, residual, gamma, beta,
         running_mean, running_var, y);
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

/* dx through the statistics of m rows; dresidual = d. dx may be dy: an element is read before it is written, by the same thread. */
template <class K>
__global__ static void gradient_elements(struct norm_shape g, ptrdiff_t m, const typename K::type *x, const typename K::type *y,
                                         const float *gamma, const double *mean, const double *invstd, const double *joined,
                                         const typename K::type *dy, typename K::type *dx, typename K::type *dresidual) {
  enum { N = K::WIDE };
  typedef typename K::type T;
  ptrdiff_t c = first_channel<N>();
  if (c >= g.c) return;
  float hi[N], lo[N], dhi[N], dlo[N], slope[N], pull[N];
  UNROLL for (int e = 0; e < N; e++) {
    split(mean[c + e], &hi[e], &lo[e]);
    split(joined[part_sums(g.c, 0, 0) + c + e] / (double)m, &dhi[e], &dlo[e]);
    slope[e] = (float)((double)gamma[c + e] * invstd[c + e]);
    /* xhat mean(d xhat) = (x - mean) pull */
    pull[e] = (float)(joined[part_sums(g.c, 0, 1) + c + e] / (double)m * invstd[c + e] * invstd[c + e]);
  }
  for (int band = 0; band < BAND_ROWS; band += BACKWARD_ROWS) {
    struct row_of_gradient<K> in[BACKWARD_ROWS];
    UNROLL for (int k = 0; k < BACKWARD_ROWS; k++) {
      ptrdiff_t row = band_row(band + k);
      if (row < g.m) in[k].load(x, y, dy, row * g.c + c);
    }
    UNROLL for (int k = 0; k < BACKWARD_ROWS; k++) {
      ptrdiff_t row = band_row(band + k), at = row * g.c + c;
      if (row >= g.m) continue;
      struct numbers<T, N> out, skip;
      UNROLL for (int e = 0; e < N; e++) {
        float d = in[k].behind(e);
        skip.x[e] = narrow<T>(d);
        out.x[e] = narrow<T>(slope[e] * (((d - dhi[e]) - dlo[e]) - ((widen(in[k].x.x[e]) - hi[e]) - lo[e]) * pull[e]));
      }
      if (K::SKIP) store_numbers(dresidual + at, skip);
      store_numbers(dx + at, out);
    }
  }
}

template <class K>
static void gradient_by(const struct norm *g, ptrdiff_t m, const typename K::type *x, const typename K::type *y, const float *gamma,
                        const double *mean, const double *invstd, const double *joined, const typename K::type *dy, typename K::type *dx,
                        typename K::type *dresidual) {
  ptrdiff_t across = g->c / K::WIDE;
  LAUNCH(gradient_elements<K>, band_blocks(g->m, across), band_threads(across), 0, cuda_stream(), shape_of(g), m, x, y, gamma, mean, invstd,
         joined, dy, dx, dresidual);
}
template <class C>
static void gradient(const struct norm *g, ptrdiff_t m, const typename C::type *x, const typename C::type *y, const float *gamma,
                     const double *mean, const double *invstd, const double *joined, const typename C::type *dy, typename C::type *dx,
                     typename C::type *dresidual) {
  BY_KIND(gradient_by, C, g->relu, dresidual, g, m, x, y, gamma, mean, invstd, joined, dy, dx, dresidual);
}

template <class C>
static void backward_train_by(const struct norm *g, const typename C::type *x, const typename C::type *y, const float *gamma,
                              const double *mean, const double *invstd, const typename C::type *dy, typename C::type *dx,
                              typename C::type *dresidual, float *dgamma, float *dbeta, double *scratch) {
  double *joined = joined_sums(shape_of(g), scratch);
  take_gradient_sums(g, C::WIDE > 1, x, y, mean, invstd, dy, dgamma, dbeta, joined, scratch);
  gradient<C>(g, g->m, x, y, gamma, mean, invstd, joined, dy, dx, dresidual);
  cuda_launched("norm_backward_train");
}

template <class T>
static void backward_train_as(const struct norm *g, const T *x, const T *y, const float *gamma, const double *mean, const double *invstd,
                              const T *dy, T *dx, T *dresidual, float *dgamma, float *dbeta, void *scratch) {
  BY_PIECES(backward_train_by, T, in_pieces<T>(g->c, x, y, dy, dx, dresidual), g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma,
            dbeta, (double *)scratch);
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
  take_moments(shape, in_pieces<T>(g->c, x), x, scratch);
  LAUNCH(own_moments, join_blocks(shape), join_threads(shape), 0, cuda_stream(), shape, scratch, group_sums(shape, scratch), sums);
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
                             float *dgamma, float *dbeta, double *sums, void *scratch) {
  take_gradient_sums(g, in_pieces<T>(g->c, x, y, dy), x, y, mean, invstd, dy, dgamma, dbeta, sums, (double *)scratch);
  cuda_launched("norm_rank_gradient");
}

template <class T>
static void rank_backward_as(const struct norm *g, int ranks, const double *sums, const T *x, const T *y, const float *gamma,
                             const double *mean, const double *invstd, const T *dy, T *dx, T *dresidual, void *scratch) {
  double *joined = (double *)scratch;
  LAUNCH(join_rank_gradient, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), g->c, (ptrdiff_t)ranks, sums, joined);
  BY_PIECES(gradient, T, in_pieces<T>(g->c, x, y, dy, dx, dresidual), g, ranks * g->m, x, y, gamma, mean, invstd, joined, dy, dx,
            dresidual);
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
  rank_gradient_as(g, x, y, mean, invstd, dy, dgamma, dbeta, sums, scratch);
}
void cuda_norm_rank_gradient_bf16(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd,
                                  const real *dy, real *dgamma, real *dbeta, double *sums, void *scratch) {
  rank_gradient_as(g, activations<bf16>(x), activations<bf16>(y), mean, invstd, activations<bf16>(dy), dgamma, dbeta, sums, scratch);
}

/* sums: of all ranks. dx: overwritten; may be dy. dresidual: null or overwritten. */
void cuda_norm_rank_backward(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                             const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, void *scratch) {
  rank_backward_as(g, ranks, sums, x, y, gamma, mean, invstd, dy, dx, dresidual, scratch);
}
void cuda_norm_rank_backward_bf16(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                                  const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, void *scratch) {
  rank_backward_as(g, ranks, sums, activations<bf16>(x), activations<bf16>(y), gamma, mean, invstd, activations<bf16>(dy),
                   activations<bf16>(dx), activations<bf16>(dresidual), scratch);
}
