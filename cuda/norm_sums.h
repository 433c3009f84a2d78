/* What norm.cu sums: the shape cut into chunks and groups of them, and the kernels from rows to joined sums. Twin of
 * ref/op/norm_sums.c. */
#ifndef EDIY_CUDA_NORM_SUMS_H
#define EDIY_CUDA_NORM_SUMS_H

#include <math.h>

#include "cuda/affine.h"
#include "cuda/norm_moments.h"
#include "cuda/norm_rows.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

enum {
  SUM_THREADS = 64,         /* of a block that sums: small, to share out few threads evenly */
  ENOUGH_SUMMING = 1 << 15, /* threads: where there would be fewer, each has fewer channels */
  JOIN_CHANNELS = 4,        /* of a block that joins, at least: 32 bytes of sums */
  JOIN_GROUPS = 64,         /* that it has a row of threads for, at most ... */
  JOIN_THREADS = 128,       /* ... and threads, at least */
  PARTS_AT_ONCE = 16        /* whose sums a thread that joins asks for at once */
};

/* 1 / rows where rows is a power of two, as a chunk's are: a product with it then has the quotient's bits. Else 0. */
static double exact_share(ptrdiff_t rows) { return (rows & (rows - 1)) == 0 ? 1.0 / (double)rows : 0.0; }

/* What sums are joined of, as in the reference: the chunks of a group, groups, or ranks. share: exact_share(rows). */
struct parts {
  ptrdiff_t count, rows, m;
  double share;
};

/* The shape, the chunks that the rows are cut into, and the groups that chunks are joined in. */
struct norm_shape {
  ptrdiff_t m, c, chunks, together, groups;
  double eps, momentum;
  bool relu;
  unsigned char *signs;
};

static struct norm_shape shape_of(const struct norm *g) {
  ptrdiff_t chunks = chunk_count(g->m), together = 1;
  while (together * together < chunks) together *= 2;
  return {g->m, g->c, chunks, together, (chunks + together - 1) / together, g->eps, g->momentum, g->relu, g->signs};
}

__host__ __device__ static inline struct parts groups_of(const struct norm_shape &g) {
  return {g.groups, g.together * CHUNK_ROWS, g.m, CHUNK_SHARE / (double)g.together};
}
static struct parts ranks_of(const struct norm *g, int ranks) { return {ranks, g->m, ranks * g->m, exact_share(g->m)}; }

/* In the scratch the sums of the groups stand behind those of the last chunk, and the lines of the gradient behind the last group's. */
static double *group_sums(const struct norm_shape &g, double *scratch) { return scratch + part_sums(g.c, g.chunks, 0); }
static float *gradient_lines(const struct norm_shape &g, double *scratch) {
  return (float *)(scratch + part_sums(g.c, g.chunks + g.groups, 0));
}

/* The rows of chunk k are [k rows, ...) and this many. */
__device__ static inline ptrdiff_t chunk_rows(const struct norm_shape &g, ptrdiff_t chunk) {
  ptrdiff_t left = g.m - chunk * CHUNK_ROWS;
  return left < CHUNK_ROWS ? left : (ptrdiff_t)CHUNK_ROWS;
}

/* The chunks of a group. */
__device__ static inline struct parts chunks_of(const struct norm_shape &g, ptrdiff_t group) {
  ptrdiff_t first = group * g.together, left = g.chunks - first, count = left < g.together ? left : g.together;
  ptrdiff_t rows = g.m - first * CHUNK_ROWS, most = count * CHUNK_ROWS;
  return {count, CHUNK_ROWS, rows < most ? rows : most, CHUNK_SHARE};
}

/* The channels of a thread that sums. whole: rows come in pieces. */
static int summed_channels(const struct norm_shape &g, bool whole) {
  int n = whole ? SUM_CHANNELS : 1;
  while (n > 1 && g.chunks * (g.c / n) < ENOUGH_SUMMING) n /= 2;
  return n;
}

/* Of the kernels that sum: threads and blocks, and a thread's chunk. */
static dim3 sum_threads(ptrdiff_t across) { return threads_across(across, SUM_THREADS); }
static dim3 sum_blocks(ptrdiff_t chunks, ptrdiff_t across) {
  dim3 threads = sum_threads(across);
  return blocks_across((chunks + threads.y - 1) / threads.y, across, threads);
}
template <enum way WAY> __device__ static inline ptrdiff_t chunk_of_thread() { return block_down<WAY>() * blockDim.y + threadIdx.y; }

/* A block that joins has some channels across, and down a row of threads a group of chunks, or every so many-th: a thread joins the chunks
 * of its groups, and those of the first row join the groups. */
static dim3 join_threads(const struct norm_shape &g) {
  unsigned high = 1;
  while (high < JOIN_GROUPS && high < g.groups) high *= 2;
  return dim3(high * JOIN_CHANNELS < JOIN_THREADS ? JOIN_THREADS / high : (unsigned)JOIN_CHANNELS, high);
}
static dim3 join_blocks(const struct norm_shape &g) {
  unsigned wide = join_threads(g).x;
  return dim3((unsigned)((g.c + wide - 1) / wide));
}

/* One of the two sums of some parts of a channel, which are asked for together. */
struct some_parts {
  double x[PARTS_AT_ONCE];

  /* Of the first `left` parts from there on, and 0, which changes no sum that began as 0, for others. */
  __device__ void load(ptrdiff_t channels, ptrdiff_t left, const double *from) {
    UNROLL for (int k = 0; k < PARTS_AT_ONCE; k++) x[k] = k < left ? from[part_sums(channels, k, 0)] : 0;
  }
  /* sum and what is here, added in order. */
  __device__ double added_to(double sum) const {
    UNROLL for (int k = 0; k < PARTS_AT_ONCE; k++) sum += x[k];
    return sum;
  }
};

/* ---- Statistics --------------------------------------------------------------------------------------------------------------------- */

/* Adds the first `left` of some rows. */
template <class C> __device__ static inline void add_rows(struct moments<C::WIDE> &m, const struct some_rows<C> &rows, ptrdiff_t left) {
  if (left >= rows.ROWS) {
    UNROLL for (int k = 0; k < rows.ROWS; k++) m.add(rows.x[k]);
  } else {
    UNROLL for (int k = 0; k < rows.ROWS; k++) if (k < left) m.add(rows.x[k]);
  }
}

/* Sum over the rows of a chunk, and of squared differences from the mean of the chunk, in one pass (the reference says how). Some rows are
 * under way while others are added. */
template <class C> __global__ static void chunk_moments(struct norm_shape g, const typename C::type *x, double *scratch) {
  enum { N = C::WIDE, ROWS = some_rows<C>::ROWS };
  ptrdiff_t chunk = chunk_of_thread<FROM_FIRST>(), c = first_channel<N>();
  if (chunk >= g.chunks || c >= g.c) return;
  ptrdiff_t rows = chunk_rows(g, chunk);
  const typename C::type *from = x + chunk * CHUNK_ROWS * g.c + c;
  struct some_rows<C> now = {}, next = {};
  struct moments<N> m = {};
  now.load(from, g.c, rows);
  m.begin(now.x[0]);
  for (ptrdiff_t row = 0; row < rows; row += ROWS) {
    next.load(from + (row + ROWS) * g.c, g.c, rows - row - ROWS);
    add_rows(m, now, rows - row);
    now = next;
  }
  leave_moments(m, g.c, chunk, c, rows, scratch);
}

/* S_k + m_k (mu_k - mu)^2 of a part. */
__device__ static inline double squares_about(double mean, double squares, double rows, double own_mean) {
  double difference = own_mean - mean;
  return squares + rows * difference * difference;
}

/* The sum and the squared differences from the mean of all parts of a channel, joined in order (Chan, Golub, LeVeque 1979). All parts but
 * the last have the same number of rows; where its share is exact, no division stands between the loads of one part and the next. */
__device__ static inline void join_parts(struct parts parts, ptrdiff_t channels, const double *sums, ptrdiff_t c, double *sum,
                                         double *square) {
  const double *squares = sums + part_sums(channels, 0, 1) + c;
  double s = 0, q = 0, rows = (double)parts.rows;
  sums += c;
  for (ptrdiff_t k = 0; k < parts.count; k += PARTS_AT_ONCE) {
    struct some_parts part;
    part.load(channels, parts.count - k, sums + part_sums(channels, k, 0));
    s = part.added_to(s);
  }
  double mean = s / (double)parts.m;
  ptrdiff_t quick = !(parts.share > 0) ? 0 : parts.m < parts.count * parts.rows ? parts.count - 1 : parts.count;
  for (ptrdiff_t k = 0; k < quick; k += PARTS_AT_ONCE) {
    struct some_parts part, about;
    part.load(channels, quick - k, sums + part_sums(channels, k, 0));
    about.load(channels, quick - k, squares + part_sums(channels, k, 0));
    UNROLL for (int i = 0; i < PARTS_AT_ONCE; i++) about.x[i] =
        i < quick - k ? squares_about(mean, about.x[i], rows, part.x[i] * parts.share) : 0;
    q = about.added_to(q);
  }
  for (ptrdiff_t k = quick; k < parts.count; k++) {
    ptrdiff_t at = part_sums(channels, k, 0), left = parts.m - k * parts.rows;
    double own = left < parts.rows ? (double)left : rows;
    q += squares_about(mean, squares[at], own, sums[at] / own);
  }
  *sum = s, *square = q;
}

/* Of each group from its chunks, in the scratch, by all threads of a block that joins. */
__device__ static inline void group_moments(const struct norm_shape &g, const double *chunks, double *groups, ptrdiff_t c) {
  if (c < g.c)
    for (ptrdiff_t group = threadIdx.y; group < g.groups; group += blockDim.y)
      join_parts(chunks_of(g, group), g.c, chunks + part_sums(g.c, group * g.together, 0), c, &groups[part_sums(g.c, group, 0) + c],
                 &groups[part_sums(g.c, group, 1) + c]);
  __syncthreads();
}

/* Statistics of a channel from its parts, and the running statistics moved. */
__device__ static inline void take_statistics(const struct norm_shape &g, struct parts parts, const double *sums, ptrdiff_t c,
                                              float *running_mean, float *running_var, double *mean, double *invstd) {
  double sum, square, m = (double)parts.m;
  join_parts(parts, g.c, sums, c, &sum, &square);
  double mu = sum / m, variance = square / m;
  mean[c] = mu;
  invstd[c] = inverse_deviation(g.eps, variance);
  double unbiased = parts.m > 1 ? variance * m / (double)(parts.m - 1) : variance;
  running_mean[c] = (float)((double)running_mean[c] + g.momentum * (mu - (double)running_mean[c]));
  running_var[c] = (float)((double)running_var[c] + g.momentum * (unbiased - (double)running_var[c]));
}

/* From the chunks' sums to statistics. */
__global__ static void join_moments(struct norm_shape g, const double *chunks, double *groups, float *running_mean, float *running_var,
                                    double *mean, double *invstd) {
  ptrdiff_t c = item_of_thread();
  group_moments(g, chunks, groups, c);
  if (c < g.c && threadIdx.y == 0) take_statistics(g, groups_of(g), groups, c, running_mean, running_var, mean, invstd);
}

/* From the chunks' sums to those of all rows here, sum x and sum (x - their mean)^2: 2 x c. */
__global__ static void own_moments(struct norm_shape g, const double *chunks, double *groups, double *sums) {
  ptrdiff_t c = item_of_thread();
  group_moments(g, chunks, groups, c);
  if (c < g.c && threadIdx.y == 0)
    join_parts(groups_of(g), g.c, groups, c, &sums[part_sums(g.c, 0, 0) + c], &sums[part_sums(g.c, 0, 1) + c]);
}

/* From the sums of all ranks to statistics. A thread a channel. */
__global__ static void join_rank_moments(struct norm_shape g, struct parts ranks, const double *sums, float *running_mean,
                                         float *running_var, double *mean, double *invstd) {
  ptrdiff_t c = item_of_thread();
  if (c < g.c) take_statistics(g, ranks, sums, c, running_mean, running_var, mean, invstd);
}

/* Sums of the chunks. whole: rows come in pieces. */
template <class C> static void take_moments_by(const struct norm_shape &g, const typename C::type *x, double *scratch) {
  ptrdiff_t across = g.c / C::WIDE;
  LAUNCH(chunk_moments<C>, sum_blocks(g.chunks, across), sum_threads(across), 0, cuda_stream(), g, x, scratch);
}
template <class T> static void take_moments(const struct norm_shape &g, bool whole, const T *x, double *scratch) {
  BY_CHANNELS(take_moments_by, T, summed_channels(g, whole), g, x, scratch);
}

/* ---- Gradients ---------------------------------------------------------------------------------------------------------------------- */

/* Sums of a thread's channels over the rows of a chunk: d, and d (x - mean). */
template <class K> struct gradient_sums {
  enum { N = K::WIDE, ROWS = some_gradient_rows<K>::ROWS };
  double mean[N], sum[N], product[N];

  __device__ void add(const struct row_of_gradient<K> &row) {
    UNROLL for (int e = 0; e < N; e++) {
      double d = (double)row.behind(e);
      sum[e] += d;
      product[e] += d * ((double)widen(row.x.x[e]) - mean[e]);
    }
  }
  __device__ void add(const struct some_gradient_rows<K> &rows, ptrdiff_t left) {
    if (left >= ROWS) {
      UNROLL for (int k = 0; k < ROWS; k++) add(rows.row[k]);
    } else {
      UNROLL for (int k = 0; k < ROWS; k++) if (k < left) add(rows.row[k]);
    }
  }
};

template <class K>
__global__ static void chunk_gradient_sums(struct norm_shape g, const typename K::type *x, const double *mean, const typename K::type *dy,
                                           double *scratch) {
  enum { N = K::WIDE, ROWS = some_gradient_rows<K>::ROWS };
  ptrdiff_t chunk = chunk_of_thread<FROM_BEHIND>(), c = first_channel<N>();
  if (chunk >= g.chunks || c >= g.c) return;
  ptrdiff_t rows = chunk_rows(g, chunk), from = chunk * CHUNK_ROWS * g.c + c;
  struct some_gradient_rows<K> now = {}, next = {};
  struct gradient_sums<K> s = {};
  now.load(x, g.signs, dy, from, g.c, rows);
  UNROLL for (int e = 0; e < N; e++) s.mean[e] = mean[c + e];
  for (ptrdiff_t row = 0; row < rows; row += ROWS) {
    next.load(x, g.signs, dy, from + (row + ROWS) * g.c, g.c, rows - row - ROWS);
    s.add(now, rows - row);
    now = next;
  }
  UNROLL for (int e = 0; e < N; e++) {
    scratch[part_sums(g.c, chunk, 0) + c + e] = s.sum[e];
    scratch[part_sums(g.c, chunk, 1) + c + e] = s.product[e];
  }
}

/* The two sums of all parts of a channel, joined in order. */
__device__ static inline void sum_parts(ptrdiff_t count, ptrdiff_t channels, const double *sums, ptrdiff_t c, double *sum,
                                        double *product) {
  const double *products = sums + part_sums(channels, 0, 1) + c;
  double s = 0, p = 0;
  sums += c;
  for (ptrdiff_t k = 0; k < count; k += PARTS_AT_ONCE) {
    struct some_parts part, of_products;
    part.load(channels, count - k, sums + part_sums(channels, k, 0));
    of_products.load(channels, count - k, products + part_sums(channels, k, 0));
    s = part.added_to(s), p = of_products.added_to(p);
  }
  *sum = s, *product = p;
}

/* What the elements of dx take of a channel, numbers that are computed in double and rounded once: c floats each. */
enum gradient_line { MEAN_HI, MEAN_LO, GRADIENT_HI, GRADIENT_LO, SLOPE, PULL, GRADIENT_LINES };

/* Of a channel whose m rows have these sums. */
__device__ static inline void write_lines(const struct norm_shape &g, ptrdiff_t c, ptrdiff_t m, double sum, double product, float gamma,
                                          double mean, double invstd, float *lines) {
  lines += c;
  split(mean, &lines[MEAN_HI * g.c], &lines[MEAN_LO * g.c]);
  split(sum / (double)m, &lines[GRADIENT_HI * g.c], &lines[GRADIENT_LO * g.c]);
  lines[SLOPE * g.c] = (float)((double)gamma * invstd);
  lines[PULL * g.c] = (float)(product / (double)m * invstd * invstd); /* xhat mean(d xhat) = (x - mean) pull */
}

/* From the chunks' sums to those of all rows here, in the first row of a block that joins; whether this thread is in it and has a channel.
 * dbeta += sum d, dgamma += sum d (x - mean) invstd. */
__device__ static inline bool join_own_gradient(const struct norm_shape &g, const double *chunks, double *groups, const double *invstd,
                                                double *sum, double *product, float *dgamma, float *dbeta) {
  ptrdiff_t c = item_of_thread();
  if (c < g.c)
    for (ptrdiff_t group = threadIdx.y; group < g.groups; group += blockDim.y)
      sum_parts(chunks_of(g, group).count, g.c, chunks + part_sums(g.c, group * g.together, 0), c, &groups[part_sums(g.c, group, 0) + c],
                &groups[part_sums(g.c, group, 1) + c]);
  __syncthreads();
  if (c >= g.c || threadIdx.y != 0) return false;
  sum_parts(g.groups, g.c, groups, c, sum, product);
  dbeta[c] = (float)((double)dbeta[c] + *sum);
  dgamma[c] = (float)((double)dgamma[c] + *product * invstd[c]);
  return true;
}

/* From the chunks' sums to dgamma, dbeta and the lines. */
__global__ static void join_gradient(struct norm_shape g, const double *chunks, double *groups, const float *gamma, const double *mean,
                                     const double *invstd, float *lines, float *dgamma, float *dbeta) {
  ptrdiff_t c = item_of_thread();
  double sum, product;
  if (join_own_gradient(g, chunks, groups, invstd, &sum, &product, dgamma, dbeta))
    write_lines(g, c, g.m, sum, product, gamma[c], mean[c], invstd[c], lines);
}

/* From the chunks' sums to dgamma, dbeta and the sums of all rows here: 2 x c. */
__global__ static void own_gradient(struct norm_shape g, const double *chunks, double *groups, const double *invstd, double *sums,
                                    float *dgamma, float *dbeta) {
  ptrdiff_t c = item_of_thread();
  double sum, product;
  if (join_own_gradient(g, chunks, groups, invstd, &sum, &product, dgamma, dbeta))
    sums[part_sums(g.c, 0, 0) + c] = sum, sums[part_sums(g.c, 0, 1) + c] = product;
}

/* From the sums of all ranks to the lines. A thread a channel. */
__global__ static void join_rank_gradient(struct norm_shape g, struct parts ranks, const double *sums, const float *gamma,
                                          const double *mean, const double *invstd, float *lines) {
  ptrdiff_t c = item_of_thread();
  double sum, product;
  if (c >= g.c) return;
  sum_parts(ranks.count, g.c, sums, c, &sum, &product);
  write_lines(g, c, ranks.m, sum, product, gamma[c], mean[c], invstd[c], lines);
}

template <class K>
static void chunk_gradients_by(const struct norm_shape &g, const typename K::type *x, const double *mean, const typename K::type *dy,
                               double *scratch) {
  ptrdiff_t across = g.c / K::WIDE;
  LAUNCH(chunk_gradient_sums<K>, sum_blocks(g.chunks, across), sum_threads(across), 0, cuda_stream(), g, x, mean, dy, scratch);
}
template <class C>
static void chunk_gradients(const struct norm_shape &g, const typename C::type *x, const double *mean, const typename C::type *dy,
                            double *scratch) {
  typedef kind_of_norm<C, false, false> plain;
  typedef kind_of_norm<C, true, false> with_relu;
  if (g.relu)
    chunk_gradients_by<with_relu>(g, x, mean, dy, scratch);
  else
    chunk_gradients_by<plain>(g, x, mean, dy, scratch);
}

/* Sums of the chunks. whole: rows come in pieces. */
template <class T>
static void take_gradient_sums(const struct norm_shape &g, bool whole, const T *x, const double *mean, const T *dy, double *scratch) {
  BY_CHANNELS(chunk_gradients, T, summed_channels(g, whole), g, x, mean, dy, scratch);
}

#endif
