/* Batch normalisation. Twin of ref/op/norm.c, and the same bits: statistics are summed in double over the reference's chunks of rows and joined
 * in its order, elements go through the same roundings in float. T is what activations are stored as: bf16 ones are widened, and what would
 * be written as float is rounded once more.
 *
 * Three kernels a direction, as three loops there: sums of a chunk (a thread a chunk and channel), joining (a thread a channel), elements. */
#include <math.h>

#include "cuda/number.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

enum {
  TILE_CHANNELS = 1024,    /* the reference's cut ... */
  TILE_ELEMENTS = 1 << 15, /* ... of the rows into chunks, which fixes the order of the sums */
  ELEMENT_CHANNELS = 32,   /* a block of the element kernels: a warp's worth of channels, ... */
  ELEMENT_ROWS = 8,        /* ... this many rows of threads ... */
  ELEMENT_BAND = 128       /* ... over so many rows: the coefficients of a channel are computed once for 16 elements */
};

static ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* The shape, and the chunks that the rows are cut into. */
struct norm_shape {
  ptrdiff_t m, c, rows, chunks;
  double eps, momentum;
  bool relu;
};

/* The rows of all ranks, of which each has m: one chunk a rank. */
static struct norm_shape shape_of_ranks(const struct norm *g, int ranks) {
  return {ranks * g->m, g->c, g->m, ranks, g->eps, g->momentum, g->relu};
}

static struct norm_shape shape_of(const struct norm *g) {
  ptrdiff_t rows = TILE_ELEMENTS / smaller(g->c, TILE_CHANNELS);
  return {g->m, g->c, rows, (g->m + rows - 1) / rows, g->eps, g->momentum, g->relu};
}

/* In doubles as the reference's: two sums a chunk and channel, and two joined sums a channel. */
size_t cuda_norm_scratch(const struct norm *g) { return (size_t)((2 * shape_of(g).chunks + 2) * g->c) * sizeof(double); }

/* Where in the scratch the sums of a chunk lie, channel by channel; the joined ones stand behind those of the last chunk. */
__device__ static inline ptrdiff_t chunk_sums(const struct norm_shape &g, ptrdiff_t chunk, int which) { return (2 * chunk + which) * g.c; }

/* value = hi + lo, the nearest float and the nearest float to what is left: a mean far larger than the deviation is subtracted in two
 * steps (the reference has the error analysis). */
__device__ static inline void split(double value, float *hi, float *lo) {
  *hi = (float)value;
  *lo = (float)(value - (double)*hi);
}

__device__ static inline double inverse_deviation(const struct norm_shape &g, double variance) { return 1.0 / sqrt(variance + g.eps); }

/* The rows of chunk k are [k rows, ...) and this many. */
__device__ static inline ptrdiff_t chunk_rows(const struct norm_shape &g, ptrdiff_t chunk) {
  ptrdiff_t left = g.m - chunk * g.rows;
  return left < g.rows ? left : g.rows;
}

/* ---- Statistics --------------------------------------------------------------------------------------------------------------------- */

/* Sum over the rows of a chunk, then the sum of squared differences from the mean of the chunk. */
template <class T> __global__ static void chunk_moments(struct norm_shape g, const T *x, double *scratch) {
  ptrdiff_t i = item_of_thread();
  if (i >= g.chunks * g.c) return;
  ptrdiff_t chunk = i / g.c, c = i % g.c, rows = chunk_rows(g, chunk);
  const T *from = x + chunk * g.rows * g.c + c;
  double sum = 0, square = 0;
  for (ptrdiff_t row = 0; row < rows; row++) sum += (double)widen(from[row * g.c]);
  double mean = sum / (double)rows;
  for (ptrdiff_t row = 0; row < rows; row++) {
    double difference = (double)widen(from[row * g.c]) - mean;
    square += difference * difference;
  }
  scratch[chunk_sums(g, chunk, 0) + c] = sum;
  scratch[chunk_sums(g, chunk, 1) + c] = square;
}

/* The sum and the squared differences from the mean of all chunks of a channel, joined in order (Chan, Golub, LeVeque 1979). */
__device__ static void join_chunks(const struct norm_shape &g, const double *sums, ptrdiff_t c, double *sum, double *square) {
  *sum = *square = 0;
  for (ptrdiff_t k = 0; k < g.chunks; k++) *sum += sums[chunk_sums(g, k, 0) + c];
  double mean = *sum / (double)g.m;
  for (ptrdiff_t k = 0; k < g.chunks; k++) {
    double rows = (double)chunk_rows(g, k), difference = sums[chunk_sums(g, k, 0) + c] / rows - mean;
    *square += sums[chunk_sums(g, k, 1) + c] + rows * difference * difference;
  }
}

/* Statistics of a channel from its chunks, and the running statistics moved. */
__global__ static void join_moments(struct norm_shape g, const double *sums, float *running_mean, float *running_var, double *mean,
                                    double *invstd) {
  ptrdiff_t c = item_of_thread();
  if (c >= g.c) return;
  double sum, square;
  join_chunks(g, sums, c, &sum, &square);
  double mu = sum / (double)g.m, variance = square / (double)g.m;
  mean[c] = mu;
  invstd[c] = inverse_deviation(g, variance);
  double unbiased = g.m > 1 ? variance * (double)g.m / (double)(g.m - 1) : variance;
  running_mean[c] = (float)((double)running_mean[c] + g.momentum * (mu - (double)running_mean[c]));
  running_var[c] = (float)((double)running_var[c] + g.momentum * (unbiased - (double)running_var[c]));
}

/* ---- Forward ------------------------------------------------------------------------------------------------------------------------ */

/* The rows that a thread of an element kernel walks over in its channel. */
__device__ static inline ptrdiff_t band_first() { return (ptrdiff_t)blockIdx.x * ELEMENT_BAND + threadIdx.y; }
__device__ static inline ptrdiff_t band_last(const struct norm_shape &g) {
  ptrdiff_t end = ((ptrdiff_t)blockIdx.x + 1) * ELEMENT_BAND;
  return end < g.m ? end : g.m;
}
__device__ static inline ptrdiff_t band_channel() { return (ptrdiff_t)blockIdx.y * ELEMENT_CHANNELS + threadIdx.x; }

static dim3 band_blocks(const struct norm *g) {
  return dim3((unsigned)((g->m + ELEMENT_BAND - 1) / ELEMENT_BAND), (unsigned)((g->c + ELEMENT_CHANNELS - 1) / ELEMENT_CHANNELS));
}
static dim3 band_threads() { return dim3(ELEMENT_CHANNELS, ELEMENT_ROWS); }

/* y = gamma invstd (x - mean) + beta [+ residual] [then max(., 0)] in one channel of some rows. */
template <class T>
__device__ static void normalise_rows(const struct norm_shape &g, ptrdiff_t c, double mean, double invstd, const T *x, const T *residual,
                                      const float *gamma, const float *beta, T *y) {
  float hi, lo, slope = (float)((double)gamma[c] * invstd), shift = beta[c];
  split(mean, &hi, &lo);
  for (ptrdiff_t row = band_first(); row < band_last(g); row += ELEMENT_ROWS) {
    ptrdiff_t at = row * g.c + c;
    float v = ((widen(x[at]) - hi) - lo) * slope + shift;
    if (residual) v += widen(residual[at]);
    y[at] = narrow<T>(g.relu && v <= 0 ? 0.0f : v); /* NaN stays NaN */
  }
}

template <class T>
__global__ static void normalise_batch(struct norm_shape g, const T *x, const T *residual, const float *gamma, const float *beta,
                                       const double *mean, const double *invstd, T *y) {
  ptrdiff_t c = band_channel();
  if (c < g.c) normalise_rows(g, c, mean[c], invstd[c], x, residual, gamma, beta, y);
}

template <class T>
static void forward_train_as(const struct norm *g, const T *x, const T *residual, const float *gamma, const float *beta,
                             float *running_mean, float *running_var, T *y, double *mean, double *invstd, void *scratch) {
  struct norm_shape shape = shape_of(g);
  double *sums = (double *)scratch;
  LAUNCH(chunk_moments<T>, blocks_for(shape.chunks * g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape, x, sums);
  LAUNCH(join_moments, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape, sums, running_mean, running_var, mean, invstd);
  LAUNCH(normalise_batch<T>, band_blocks(g), band_threads(), 0, cuda_stream(), shape, x, residual, gamma, beta, mean, invstd, y);
  cuda_launched("norm_forward_train");
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

template <class T>
__global__ static void normalise_running(struct norm_shape g, const T *x, const T *residual, const float *gamma, const float *beta,
                                         const float *running_mean, const float *running_var, T *y) {
  ptrdiff_t c = band_channel();
  if (c < g.c) normalise_rows(g, c, (double)running_mean[c], inverse_deviation(g, (double)running_var[c]), x, residual, gamma, beta, y);
}

template <class T>
static void forward_eval_as(const struct norm *g, const T *x, const T *residual, const float *gamma, const float *beta,
                            const float *running_mean, const float *running_var, T *y) {
  LAUNCH(normalise_running<T>, band_blocks(g), band_threads(), 0, cuda_stream(), shape_of(g), x, residual, gamma, beta, running_mean,
         running_var, y);
  cuda_launched("norm_forward_eval");
}

/* y: overwritten. */
void cuda_norm_forward_eval(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                            const real *running_mean, const real *running_var, real *y) {
  forward_eval_as(g, x, residual, gamma, beta, running_mean, running_var, y);
}

/* x, residual, y: bf16. */
void cuda_norm_forward_eval_bf16(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                 const real *running_mean, const real *running_var, real *y) {
  forward_eval_as(g, activations<bf16>(x), activations<bf16>(residual), gamma, beta, running_mean, running_var, activations<bf16>(y));
}

/* ---- Backward ----------------------------------------------------------------------------------------------------------------------- */

/* The gradient behind the ReLU. y is read only with one. */
template <class T> __device__ static inline float behind_relu(const struct norm_shape &g, const T *y, const T *dy, ptrdiff_t at) {
  return g.relu && !(widen(y[at]) > 0) ? 0.0f : widen(dy[at]);
}

/* Sums over the rows of a chunk: d, and d (x - mean). */
template <class T>
__global__ static void chunk_gradient_sums(struct norm_shape g, const T *x, const T *y, const double *mean, const T *dy, double *scratch) {
  ptrdiff_t i = item_of_thread();
  if (i >= g.chunks * g.c) return;
  ptrdiff_t chunk = i / g.c, c = i % g.c, rows = chunk_rows(g, chunk), from = chunk * g.rows * g.c + c;
  double sum = 0, product = 0, mu = mean[c];
  for (ptrdiff_t row = 0; row < rows; row++) {
    double d = (double)behind_relu(g, y, dy, from + row * g.c);
    sum += d;
    product += d * ((double)widen(x[from + row * g.c]) - mu);
  }
  scratch[chunk_sums(g, chunk, 0) + c] = sum;
  scratch[chunk_sums(g, chunk, 1) + c] = product;
}

/* Joins the chunks of a channel in order; joined: 2 x c. dbeta += sum d, dgamma += sum d (x - mean) invstd, unless they are null. */
__global__ static void join_gradient(struct norm_shape g, const double *sums, const double *invstd, double *joined, float *dgamma,
                                     float *dbeta) {
  ptrdiff_t c = item_of_thread();
  if (c >= g.c) return;
  double sum[2] = {0, 0};
  for (int which = 0; which < 2; which++) {
    for (ptrdiff_t k = 0; k < g.chunks; k++) sum[which] += sums[chunk_sums(g, k, which) + c];
    joined[chunk_sums(g, 0, which) + c] = sum[which];
  }
  if (!dgamma) return;
  dbeta[c] = (float)((double)dbeta[c] + sum[0]);
  dgamma[c] = (float)((double)dgamma[c] + sum[1] * invstd[c]);
}

/* dx through the statistics of m rows; dresidual = d. dx may be dy: an element is read before it is written, by the same thread. */
template <class T>
__global__ static void gradient_elements(struct norm_shape g, ptrdiff_t m, const T *x, const T *y, const float *gamma, const double *mean,
                                         const double *invstd, const double *joined, const T *dy, T *dx, T *dresidual) {
  ptrdiff_t c = band_channel();
  if (c >= g.c) return;
  float hi, lo, dhi, dlo, slope = (float)((double)gamma[c] * invstd[c]);
  split(mean[c], &hi, &lo);
  split(joined[chunk_sums(g, 0, 0) + c] / (double)m, &dhi, &dlo);
  float pull = (float)(joined[chunk_sums(g, 0, 1) + c] / (double)m * invstd[c] * invstd[c]); /* xhat mean(d xhat) = (x - mean) pull */
  for (ptrdiff_t row = band_first(); row < band_last(g); row += ELEMENT_ROWS) {
    ptrdiff_t at = row * g.c + c;
    float d = behind_relu(g, y, dy, at);
    if (dresidual) dresidual[at] = narrow<T>(d);
    dx[at] = narrow<T>(slope * (((d - dhi) - dlo) - ((widen(x[at]) - hi) - lo) * pull));
  }
}

template <class T>
static void gradient_sums_as(const struct norm *g, const T *x, const T *y, const double *mean, const double *invstd, const T *dy,
                             float *dgamma, float *dbeta, double *joined, double *sums) {
  struct norm_shape shape = shape_of(g);
  LAUNCH(chunk_gradient_sums<T>, blocks_for(shape.chunks * g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape, x, y, mean, dy, sums);
  LAUNCH(join_gradient, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape, sums, invstd, joined, dgamma, dbeta);
}

template <class T>
static void backward_train_as(const struct norm *g, const T *x, const T *y, const float *gamma, const double *mean, const double *invstd,
                              const T *dy, T *dx, T *dresidual, float *dgamma, float *dbeta, void *scratch) {
  struct norm_shape shape = shape_of(g);
  double *sums = (double *)scratch, *joined = sums + 2 * shape.chunks * g->c;
  gradient_sums_as(g, x, y, mean, invstd, dy, dgamma, dbeta, joined, sums);
  LAUNCH(gradient_elements<T>, band_blocks(g), band_threads(), 0, cuda_stream(), shape, g->m, x, y, gamma, mean, invstd, joined, dy, dx,
         dresidual);
  cuda_launched("norm_backward_train");
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

/* Of the rows here, sum x and sum (x - their mean)^2: 2 x c. */
__global__ static void own_moments(struct norm_shape g, const double *chunks, double *sums) {
  ptrdiff_t c = item_of_thread();
  if (c < g.c) join_chunks(g, chunks, c, &sums[chunk_sums(g, 0, 0) + c], &sums[chunk_sums(g, 0, 1) + c]);
}

template <class T> static void rank_moments_as(const struct norm *g, const T *x, double *sums, void *scratch) {
  struct norm_shape shape = shape_of(g);
  double *chunks = (double *)scratch;
  LAUNCH(chunk_moments<T>, blocks_for(shape.chunks * g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape, x, chunks);
  LAUNCH(own_moments, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape, chunks, sums);
  cuda_launched("norm_rank_moments");
}

template <class T>
static void rank_forward_as(const struct norm *g, int ranks, const double *sums, const T *x, const T *residual, const float *gamma,
                            const float *beta, float *running_mean, float *running_var, T *y, double *mean, double *invstd) {
  LAUNCH(join_moments, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape_of_ranks(g, ranks), sums, running_mean, running_var,
         mean, invstd);
  LAUNCH(normalise_batch<T>, band_blocks(g), band_threads(), 0, cuda_stream(), shape_of(g), x, residual, gamma, beta, mean, invstd, y);
  cuda_launched("norm_rank_forward");
}

template <class T>
static void rank_backward_as(const struct norm *g, int ranks, const double *sums, const T *x, const T *y, const float *gamma,
                             const double *mean, const double *invstd, const T *dy, T *dx, T *dresidual, void *scratch) {
  double *joined = (double *)scratch;
  LAUNCH(join_gradient, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), shape_of_ranks(g, ranks), sums, invstd, joined,
         (float *)nullptr, (float *)nullptr);
  LAUNCH(gradient_elements<T>, band_blocks(g), band_threads(), 0, cuda_stream(), shape_of(g), ranks * g->m, x, y, gamma, mean, invstd,
         joined, dy, dx, dresidual);
  cuda_launched("norm_rank_backward");
}

/* sums: 2 x c, overwritten. */
void cuda_norm_rank_moments(const struct norm *g, const real *x, double *sums, void *scratch) { rank_moments_as(g, x, sums, scratch); }
void cuda_norm_rank_moments_bf16(const struct norm *g, const real *x, double *sums, void *scratch) {
  rank_moments_as(g, activations<bf16>(x), sums, scratch);
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
  gradient_sums_as(g, x, y, mean, invstd, dy, dgamma, dbeta, sums, (double *)scratch);
  cuda_launched("norm_rank_gradient");
}
void cuda_norm_rank_gradient_bf16(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd,
                                  const real *dy, real *dgamma, real *dbeta, double *sums, void *scratch) {
  gradient_sums_as(g, activations<bf16>(x), activations<bf16>(y), mean, invstd, activations<bf16>(dy), dgamma, dbeta, sums,
                   (double *)scratch);
  cuda_launched("norm_rank_gradient");
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
