#include "op/norm.h"

#include <assert.h>
#include <math.h>

#include "base/size.h"

/* The m x c matrix is cut into tiles: a chunk of rows by a block of channels. 1024 channels keep the coefficients of a tile in the
 * first-level cache (24 KiB as floats); 2^15 elements are worth a task. With many channels and few rows (a projector's 16 x 4096) the
 * blocks of channels are what is shared out. */
enum { TILE_CHANNELS = 1024, TILE_ELEMENTS = 1 << 15, JOIN_CHANNELS = 32 };

struct tile {
  ptrdiff_t chunk, row, rows, channel, channels;
};

static ptrdiff_t chunk_rows(const struct norm *g) { return TILE_ELEMENTS / size_min(g->c, TILE_CHANNELS); }
static ptrdiff_t chunk_count(const struct norm *g) { return size_ceil_div(g->m, chunk_rows(g)); }
static ptrdiff_t tile_count(const struct norm *g) { return chunk_count(g) * size_ceil_div(g->c, TILE_CHANNELS); }

static struct tile tile_at(const struct norm *g, ptrdiff_t t) {
  ptrdiff_t blocks = size_ceil_div(g->c, TILE_CHANNELS), rows = chunk_rows(g);
  struct tile a = {.chunk = t / blocks, .channel = t % blocks * TILE_CHANNELS};
  a.row = a.chunk * rows;
  a.rows = size_min(rows, g->m - a.row);
  a.channels = size_min(TILE_CHANNELS, g->c - a.channel);
  return a;
}

/* Chunks are joined in groups, and groups with each other, so that no chain of additions is much longer than twice the root of their
 * number: on a device a chain is what a thread does. The smallest power of two whose square is at least that number. */
static ptrdiff_t group_chunks(const struct norm *g) {
  ptrdiff_t chunks = 1;
  while (chunks * chunks < chunk_count(g)) chunks *= 2;
  return chunks;
}
static ptrdiff_t group_count(const struct norm *g) { return size_ceil_div(chunk_count(g), group_chunks(g)); }

/* Two sums a chunk and channel, as many a group and channel, and two joined sums a channel. */
ptrdiff_t norm_scratch(const struct norm *g) { return (2 * (chunk_count(g) + group_count(g)) + 2) * g->c; }

/* Where the sums of a chunk lie, channel by channel, in the scratch, where those of the groups stand behind those of the last chunk, and
 * the joined ones behind the last group's; and those of a rank among the sums of all ranks. */
static ptrdiff_t chunk_sums(const struct norm *g, ptrdiff_t chunk, int which) { return (2 * chunk + which) * g->c; }

/* ---- Arithmetic of one element ------------------------------------------------------------------------------------------------------
 *
 * The statistics are doubles, the elements are real, and the loops over elements stay in real. A mean far larger than the deviation
 * (100 and 0.01) must then not be rounded to real before it is subtracted: it is split into hi + lo, the nearest real and the nearest
 * real to what is left, and (x - hi) - lo has a relative error of at most about two roundings: x - hi is exact when x is within a
 * factor of two of hi (Sterbenz), otherwise rounded once; lo is within u^2 |mean| of the remainder, u the unit roundoff. In double lo
 * is 0. The mean of the gradient is treated the same way. */
static void split(double value, real *hi, real *lo) {
  *hi = (real)value;
  *lo = (real)(value - (double)*hi);
}

static double inverse_deviation(const struct norm *g, double variance) { return 1.0 / sqrt(variance + g->eps); }

/* ---- Statistics --------------------------------------------------------------------------------------------------------------------- */

/* Sum over the rows of a tile, and the sum of squared differences from the mean of the tile, in one pass: with d = x - x_0, x_0 the first
 * row,
 *     sum of x = rows x_0 + sum of d,    sum of (x - mean)^2 = sum of d^2 - (sum of d)^2 / rows.
 * The subtraction is harmless because x_0 is one of the rows: the sum of squared differences is at least (x_0 - mean)^2 rows / (rows - 1),
 * hence the sum of d^2 at most rows times it, and so often enlarged are relative errors of about rows 2^-53 (Chan, Golub, LeVeque 1983 on
 * shifted data). */
static void tile_moments(const struct norm *g, struct tile a, const real *x, double *scratch) {
  double first[TILE_CHANNELS], sum[TILE_CHANNELS] = {0}, square[TILE_CHANNELS] = {0};
  x += a.row * g->c + a.channel;
  for (ptrdiff_t c = 0; c < a.channels; c++) first[c] = isfinite(x[c]) ? (double)x[c] : 0; /* infinite means stay infinite */
  for (ptrdiff_t i = 0; i < a.rows; i++) {
    const real *xi = x + i * g->c;
#pragma omp simd
    for (ptrdiff_t c = 0; c < a.channels; c++) {
      double d = (double)xi[c] - first[c];
      sum[c] += d;
      square[c] += d * d;
    }
  }
  double rows = (double)a.rows;
  double *sums = scratch + chunk_sums(g, a.chunk, 0) + a.channel, *squares = scratch + chunk_sums(g, a.chunk, 1) + a.channel;
  for (ptrdiff_t c = 0; c < a.channels; c++) sums[c] = rows * first[c] + sum[c], squares[c] = square[c] - sum[c] * sum[c] / rows;
}

/* What sums are joined of: `count` parts of `rows` rows each, the last maybe of fewer, m in all. The chunks of a group, groups, or
 * ranks. */
struct parts {
  ptrdiff_t count, rows, m;
};

static struct parts chunks_of(const struct norm *g, ptrdiff_t group) {
  ptrdiff_t first = group * group_chunks(g), count = size_min(group_chunks(g), chunk_count(g) - first), rows = chunk_rows(g);
  return (struct parts){count, rows, size_min(count * rows, g->m - first * rows)};
}
static struct parts groups_of(const struct norm *g) { return (struct parts){group_count(g), group_chunks(g) * chunk_rows(g), g->m}; }
static struct parts ranks_of(const struct norm *g, int ranks) { return (struct parts){ranks, g->m, ranks * g->m}; }

/* The sum and the squared differences from the mean of all parts of some channels, joined in order (Chan, Golub, LeVeque 1979): with m_k
 * rows, mean mu_k and squares S_k in part k,
 *     mu = sum of m_k mu_k / m,    m v = sum of S_k + m_k (mu_k - mu)^2. */
static void join_moments(const struct norm *g, struct parts parts, ptrdiff_t channel, ptrdiff_t channels, const double *sums, double *sum,
                         double *square) {
  double mean[JOIN_CHANNELS];
  for (ptrdiff_t c = 0; c < channels; c++) sum[c] = square[c] = 0;
  for (ptrdiff_t k = 0; k < parts.count; k++) {
    const double *part = sums + chunk_sums(g, k, 0) + channel;
    for (ptrdiff_t c = 0; c < channels; c++) sum[c] += part[c];
  }
  for (ptrdiff_t c = 0; c < channels; c++) mean[c] = sum[c] / (double)parts.m;
  for (ptrdiff_t k = 0; k < parts.count; k++) {
    const double *part = sums + chunk_sums(g, k, 0) + channel, *squares = sums + chunk_sums(g, k, 1) + channel;
    double mk = (double)size_min(parts.rows, parts.m - k * parts.rows);
    for (ptrdiff_t c = 0; c < channels; c++) {
      double difference = part[c] / mk - mean[c];
      square[c] += squares[c] + mk * difference * difference;
    }
  }
}

static void update_running(const struct norm *g, ptrdiff_t m, double mean, double variance, real *running_mean, real *running_var) {
  double unbiased = m > 1 ? variance * (double)m / (double)(m - 1) : variance;
  *running_mean = (real)((double)*running_mean + g->momentum * (mean - (double)*running_mean));
  *running_var = (real)((double)*running_var + g->momentum * (unbiased - (double)*running_var));
}

/* ---- Forward ------------------------------------------------------------------------------------------------------------------------ */

/* y = gamma invstd (x - mean) + beta [+ residual] [then max(., 0)] on a tile. mean, invstd: of its first channel on. */
static void tile_normalise(const struct norm *g, struct tile a, const real *x, const real *residual, const real *gamma, const real *beta,
                           const double *mean, const double *invstd, real *y) {
  real hi[TILE_CHANNELS], lo[TILE_CHANNELS], slope[TILE_CHANNELS], shift[TILE_CHANNELS];
  for (ptrdiff_t c = 0; c < a.channels; c++) {
    split(mean[c], &hi[c], &lo[c]);
    slope[c] = (real)((double)gamma[a.channel + c] * invstd[c]);
    shift[c] = beta[a.channel + c];
  }
  for (ptrdiff_t i = 0; i < a.rows; i++) {
    ptrdiff_t at = (a.row + i) * g->c + a.channel;
    const real *xi = x + at, *ri = residual ? residual + at : NULL;
    real *yi = y + at;
#pragma omp simd
    for (ptrdiff_t c = 0; c < a.channels; c++) {
      real v = ((xi[c] - hi[c]) - lo[c]) * slope[c] + shift[c];
      if (ri) v += ri[c];
      yi[c] = g->relu && v <= 0 ? 0 : v; /* as relu_forward: NaN stays NaN */
    }
  }
}

static double *group_sums(const struct norm *g, double *scratch) { return scratch + chunk_sums(g, chunk_count(g), 0); }

/* A piece of the work of joining groups: some channels of one. */
struct piece {
  ptrdiff_t group, channel, channels;
};

static ptrdiff_t piece_count(const struct norm *g) { return group_count(g) * size_ceil_div(g->c, JOIN_CHANNELS); }
static struct piece piece_at(const struct norm *g, ptrdiff_t p) {
  ptrdiff_t blocks = size_ceil_div(g->c, JOIN_CHANNELS), channel = p % blocks * JOIN_CHANNELS;
  return (struct piece){p / blocks, channel, size_min(JOIN_CHANNELS, g->c - channel)};
}

/* The loops below share out their work among the threads of the parallel region they are called in. */

/* Sums of the chunks and of the groups. */
static void take_moments(const struct norm *g, const real *x, double *scratch) {
  ptrdiff_t tiles = tile_count(g), pieces = piece_count(g);
#pragma omp for schedule(static)
  for (ptrdiff_t t = 0; t < tiles; t++) tile_moments(g, tile_at(g, t), x, scratch);
#pragma omp for schedule(static)
  for (ptrdiff_t p = 0; p < pieces; p++) {
    struct piece a = piece_at(g, p);
    double *to = group_sums(g, scratch) + chunk_sums(g, a.group, 0) + a.channel;
    join_moments(g, chunks_of(g, a.group), a.channel, a.channels, scratch + chunk_sums(g, a.group * group_chunks(g), 0), to, to + g->c);
  }
}

static void finish_moments(const struct norm *g, struct parts parts, const double *sums, real *running_mean, real *running_var,
                           double *mean, double *invstd) {
#pragma omp for schedule(static)
  for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS) {
    double sum[JOIN_CHANNELS], square[JOIN_CHANNELS];
    ptrdiff_t channels = size_min(JOIN_CHANNELS, g->c - channel);
    join_moments(g, parts, channel, channels, sums, sum, square);
    for (ptrdiff_t i = 0, c = channel; i < channels; i++, c++) {
      double variance = square[i] / (double)parts.m;
      mean[c] = sum[i] / (double)parts.m;
      invstd[c] = inverse_deviation(g, variance);
      update_running(g, parts.m, mean[c], variance, &running_mean[c], &running_var[c]);
    }
  }
}

static void normalise(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta, const double *mean,
                      const double *invstd, real *y) {
  ptrdiff_t tiles = tile_count(g);
#pragma omp for schedule(static)
  for (ptrdiff_t t = 0; t < tiles; t++) {
    struct tile a = tile_at(g, t);
    tile_normalise(g, a, x, residual, gamma, beta, mean + a.channel, invstd + a.channel, y);
  }
}

void norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta, real *running_mean,
                        real *running_var, real *y, double *mean, double *invstd, double *scratch) {
  assert(g->m >= 1 && g->c >= 1);
#pragma omp parallel if (tile_count(g) > 1)
  {
    take_moments(g, x, scratch);
    finish_moments(g, groups_of(g), group_sums(g, scratch), running_mean, running_var, mean, invstd);
    normalise(g, x, residual, gamma, beta, mean, invstd, y);
  }
}

void norm_rank_moments(const struct norm *g, const real *x, double *sums, double *scratch) {
  assert(g->m >= 1 && g->c >= 1);
#pragma omp parallel if (tile_count(g) > 1)
  {
    take_moments(g, x, scratch);
#pragma omp for schedule(static)
    for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS)
      join_moments(g, groups_of(g), channel, size_min(JOIN_CHANNELS, g->c - channel), group_sums(g, scratch), sums + channel,
                   sums + g->c + channel);
  }
}

void norm_rank_forward(const struct norm *g, int ranks, const double *sums, const real *x, const real *residual, const real *gamma,
                       const real *beta, real *running_mean, real *running_var, real *y, double *mean, double *invstd) {
#pragma omp parallel if (tile_count(g) > 1)
  {
    finish_moments(g, ranks_of(g, ranks), sums, running_mean, running_var, mean, invstd);
    normalise(g, x, residual, gamma, beta, mean, invstd, y);
  }
}

/* The running statistics of a tile's channels, as the mean and 1 / sqrt(v + eps) that training computes. */
static void tile_running(const struct norm *g, struct tile a, const real *running_mean, const real *running_var, double *mean,
                         double *invstd) {
  for (ptrdiff_t c = 0; c < a.channels; c++) {
    mean[c] = (double)running_mean[a.channel + c];
    invstd[c] = inverse_deviation(g, (double)running_var[a.channel + c]);
  }
}

void norm_forward_eval(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                       const real *running_mean, const real *running_var, real *y) {
  assert(g->m >= 1 && g->c >= 1);
  ptrdiff_t tiles = tile_count(g);
#pragma omp parallel for schedule(static) if (tiles > 1)
  for (ptrdiff_t t = 0; t < tiles; t++) {
    double mean[TILE_CHANNELS], invstd[TILE_CHANNELS];
    struct tile a = tile_at(g, t);
    tile_running(g, a, running_mean, running_var, mean, invstd);
    tile_normalise(g, a, x, residual, gamma, beta, mean, invstd, y);
  }
}

/* ---- Backward ----------------------------------------------------------------------------------------------------------------------- */

/* Sums over the rows of a tile: d, and d (x - mean), with d the gradient behind the ReLU. */
static void tile_gradient_sums(const struct norm *g, struct tile a, const real *x, const real *y, const double *mean, const real *dy,
                               double *scratch) {
  double sum[TILE_CHANNELS] = {0}, product[TILE_CHANNELS] = {0};
  for (ptrdiff_t i = 0; i < a.rows; i++) {
    ptrdiff_t at = (a.row + i) * g->c + a.channel;
    const real *xi = x + at, *yi = g->relu ? y + at : NULL, *dyi = dy + at;
#pragma omp simd
    for (ptrdiff_t c = 0; c < a.channels; c++) {
      real d = dyi[c];
      if (yi) d = yi[c] > 0 ? d : 0;
      sum[c] += (double)d;
      product[c] += (double)d * ((double)xi[c] - mean[c]);
    }
  }
  double *sums = scratch + chunk_sums(g, a.chunk, 0) + a.channel, *products = scratch + chunk_sums(g, a.chunk, 1) + a.channel;
  for (ptrdiff_t c = 0; c < a.channels; c++) sums[c] = sum[c], products[c] = product[c];
}

static double *joined_sums(const struct norm *g, double *scratch) { return group_sums(g, scratch) + chunk_sums(g, group_count(g), 0); }

/* Joins the parts of some channels in order. joined: of all channels, the two sums as a part has them. */
static void join_gradient(const struct norm *g, struct parts parts, ptrdiff_t channel, ptrdiff_t channels, const double *sums,
                          double *joined) {
  for (int which = 0; which < 2; which++) {
    double *to = joined + chunk_sums(g, 0, which) + channel;
    for (ptrdiff_t c = 0; c < channels; c++) to[c] = 0;
    for (ptrdiff_t k = 0; k < parts.count; k++) {
      const double *sum = sums + chunk_sums(g, k, which) + channel;
      for (ptrdiff_t c = 0; c < channels; c++) to[c] += sum[c];
    }
  }
}

/* dbeta += sum d, dgamma += sum d (x - mean) invstd, of one channel. */
static void add_gradient(const struct norm *g, ptrdiff_t c, double invstd, const double *joined, real *dgamma, real *dbeta) {
  dbeta[c] = (real)((double)dbeta[c] + joined[chunk_sums(g, 0, 0) + c]);
  dgamma[c] = (real)((double)dgamma[c] + joined[chunk_sums(g, 0, 1) + c] * invstd);
}

/* dx of a tile through the statistics of m rows; dresidual = d. dx may be dy: every element is read before it is written. */
static void tile_gradient_train(const struct norm *g, struct tile a, const real *x, const real *y, const real *gamma, const double *mean,
                                const double *invstd, ptrdiff_t m, const double *sums, const double *products, const real *dy, real *dx,
                                real *dresidual) {
  real hi[TILE_CHANNELS], lo[TILE_CHANNELS], slope[TILE_CHANNELS], dhi[TILE_CHANNELS], dlo[TILE_CHANNELS], pull[TILE_CHANNELS];
  for (ptrdiff_t c = 0; c < a.channels; c++) {
    split(mean[c], &hi[c], &lo[c]);
    split(sums[c] / (double)m, &dhi[c], &dlo[c]);
    slope[c] = (real)((double)gamma[a.channel + c] * invstd[c]);
    pull[c] = (real)(products[c] / (double)m * invstd[c] * invstd[c]); /* xhat mean(d xhat) = (x - mean) pull */
  }
  for (ptrdiff_t i = 0; i < a.rows; i++) {
    ptrdiff_t at = (a.row + i) * g->c + a.channel;
    const real *xi = x + at, *yi = g->relu ? y + at : NULL, *dyi = dy + at;
    real *dxi = dx + at, *dri = dresidual ? dresidual + at : NULL;
#pragma omp simd
    for (ptrdiff_t c = 0; c < a.channels; c++) {
      real d = dyi[c];
      if (yi) d = yi[c] > 0 ? d : 0;
      if (dri) dri[c] = d;
      dxi[c] = slope[c] * (((d - dhi[c]) - dlo[c]) - ((xi[c] - hi[c]) - lo[c]) * pull[c]);
    }
  }
}

/* Shared out as the loops of forward are. */

/* From the sums of the chunks those of the groups, of those the joined ones. */
static void join_gradients(const struct norm *g, double *scratch, double *joined) {
  ptrdiff_t pieces = piece_count(g);
#pragma omp for schedule(static)
  for (ptrdiff_t p = 0; p < pieces; p++) {
    struct piece a = piece_at(g, p);
    join_gradient(g, chunks_of(g, a.group), a.channel, a.channels, scratch + chunk_sums(g, a.group * group_chunks(g), 0),
                  group_sums(g, scratch) + chunk_sums(g, a.group, 0));
  }
#pragma omp for schedule(static)
  for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS)
    join_gradient(g, groups_of(g), channel, size_min(JOIN_CHANNELS, g->c - channel), group_sums(g, scratch), joined);
}

static void take_gradient_sums(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd, const real *dy,
                               real *dgamma, real *dbeta, double *joined, double *scratch) {
  ptrdiff_t tiles = tile_count(g);
#pragma omp for schedule(static)
  for (ptrdiff_t t = 0; t < tiles; t++) {
    struct tile a = tile_at(g, t);
    tile_gradient_sums(g, a, x, y, mean + a.channel, dy, scratch);
  }
  join_gradients(g, scratch, joined);
#pragma omp for schedule(static)
  for (ptrdiff_t c = 0; c < g->c; c++) add_gradient(g, c, invstd[c], joined, dgamma, dbeta);
}

/* m: the rows that the joined sums are of. */
static void gradient(const struct norm *g, ptrdiff_t m, const double *joined, const real *x, const real *y, const real *gamma,
                     const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual) {
  ptrdiff_t tiles = tile_count(g);
  const double *products = joined + g->c;
#pragma omp for schedule(static)
  for (ptrdiff_t t = 0; t < tiles; t++) {
    struct tile a = tile_at(g, t);
    ptrdiff_t c = a.channel;
    tile_gradient_train(g, a, x, y, gamma, mean + c, invstd + c, m, joined + c, products + c, dy, dx, dresidual);
  }
}

void norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean, const double *invstd,
                         const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, double *scratch) {
  assert(g->m >= 1 && g->c >= 1 && (y || !g->relu));
  double *joined = joined_sums(g, scratch);
#pragma omp parallel if (tile_count(g) > 1)
  {
    take_gradient_sums(g, x, y, mean, invstd, dy, dgamma, dbeta, joined, scratch);
    gradient(g, g->m, joined, x, y, gamma, mean, invstd, dy, dx, dresidual);
  }
}

void norm_rank_gradient(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd, const real *dy,
                        real *dgamma, real *dbeta, double *sums, double *scratch) {
  assert(g->m >= 1 && g->c >= 1 && (y || !g->relu));
#pragma omp parallel if (tile_count(g) > 1)
  take_gradient_sums(g, x, y, mean, invstd, dy, dgamma, dbeta, sums, scratch);
}

void norm_rank_backward(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                        const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, double *scratch) {
#pragma omp parallel if (tile_count(g) > 1)
  {
#pragma omp for schedule(static)
    for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS)
      join_gradient(g, ranks_of(g, ranks), channel, size_min(JOIN_CHANNELS, g->c - channel), sums, scratch);
    gradient(g, ranks * g->m, scratch, x, y, gamma, mean, invstd, dy, dx, dresidual);
  }
}

/* dx of a tile with constant statistics; dresidual = d. */
static void tile_gradient_eval(const struct norm *g, struct tile a, const real *y, const real *gamma, const double *invstd, const real *dy,
                               real *dx, real *dresidual) {
  real slope[TILE_CHANNELS];
  for (ptrdiff_t c = 0; c < a.channels; c++) slope[c] = (real)((double)gamma[a.channel + c] * invstd[c]);
  for (ptrdiff_t i = 0; i < a.rows; i++) {
    ptrdiff_t at = (a.row + i) * g->c + a.channel;
    const real *yi = g->relu ? y + at : NULL, *dyi = dy + at;
    real *dxi = dx + at, *dri = dresidual ? dresidual + at : NULL;
#pragma omp simd
    for (ptrdiff_t c = 0; c < a.channels; c++) {
      real d = dyi[c];
      if (yi) d = yi[c] > 0 ? d : 0;
      if (dri) dri[c] = d;
      dxi[c] = slope[c] * d;
    }
  }
}

void norm_backward_eval(const struct norm *g, const real *x, const real *y, const real *gamma, const real *running_mean,
                        const real *running_var, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, double *scratch) {
  assert(g->m >= 1 && g->c >= 1 && (y || !g->relu));
  ptrdiff_t tiles = tile_count(g);
  double *joined = joined_sums(g, scratch);
#pragma omp parallel if (tiles > 1)
  {
#pragma omp for schedule(static)
    for (ptrdiff_t t = 0; t < tiles; t++) { /* the sums read the tile of dy before dx, which may be dy, is written */
      double mean[TILE_CHANNELS], invstd[TILE_CHANNELS];
      struct tile a = tile_at(g, t);
      tile_running(g, a, running_mean, running_var, mean, invstd);
      tile_gradient_sums(g, a, x, y, mean, dy, scratch);
      tile_gradient_eval(g, a, y, gamma, invstd, dy, dx, dresidual);
    }
    join_gradients(g, scratch, joined);
#pragma omp for schedule(static)
    for (ptrdiff_t c = 0; c < g->c; c++) add_gradient(g, c, inverse_deviation(g, (double)running_var[c]), joined, dgamma, dbeta);
  }
}
