#include "op/norm_sums.h"

#include "base/size.h"

enum { CHUNK_ROWS = 128, JOIN_CHANNELS = 32 };

static ptrdiff_t chunk_count(const struct norm *g) { return size_ceil_div(g->m, CHUNK_ROWS); }
ptrdiff_t tile_count(const struct norm *g) { return chunk_count(g) * size_ceil_div(g->c, TILE_CHANNELS); }

struct tile tile_at(const struct norm *g, ptrdiff_t t) {
  ptrdiff_t blocks = size_ceil_div(g->c, TILE_CHANNELS);
  struct tile a = {.chunk = t / blocks, .channel = t % blocks * TILE_CHANNELS};
  a.row = a.chunk * CHUNK_ROWS;
  a.rows = size_min(CHUNK_ROWS, g->m - a.row);
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

/* Where the sums of a part lie, channel by channel, in the scratch or among those of all ranks. */
static ptrdiff_t part_sums(const struct norm *g, ptrdiff_t part, int which) { return (2 * part + which) * g->c; }
double *group_sums(const struct norm *g, double *scratch) { return scratch + part_sums(g, chunk_count(g), 0); }
double *joined_sums(const struct norm *g, double *scratch) { return scratch + part_sums(g, chunk_count(g) + group_count(g), 0); }

static struct parts chunks_of(const struct norm *g, ptrdiff_t group) {
  ptrdiff_t first = group * group_chunks(g), count = size_min(group_chunks(g), chunk_count(g) - first);
  return (struct parts){count, CHUNK_ROWS, size_min(count * CHUNK_ROWS, g->m - first * CHUNK_ROWS)};
}
struct parts groups_of(const struct norm *g) {
  return (struct parts){group_count(g), group_chunks(g) * CHUNK_ROWS, g->m};
}
struct parts ranks_of(const struct norm *g, int ranks) {
  return (struct parts){ranks, g->m, ranks * g->m};
}

/* A piece of the work of joining groups: some channels of one. */
struct piece {
  ptrdiff_t group, channel, channels;
};

static ptrdiff_t piece_count(const struct norm *g) { return group_count(g) * size_ceil_div(g->c, JOIN_CHANNELS); }
static struct piece piece_at(const struct norm *g, ptrdiff_t p) {
  ptrdiff_t blocks = size_ceil_div(g->c, JOIN_CHANNELS), channel = p % blocks * JOIN_CHANNELS;
  return (struct piece){p / blocks, channel, size_min(JOIN_CHANNELS, g->c - channel)};
}

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
  double *sums = scratch + part_sums(g, a.chunk, 0) + a.channel, *squares = scratch + part_sums(g, a.chunk, 1) + a.channel;
  for (ptrdiff_t c = 0; c < a.channels; c++) sums[c] = rows * first[c] + sum[c], squares[c] = square[c] - sum[c] * sum[c] / rows;
}

/* The sum and the squared differences from the mean of all parts of some channels, joined in order (Chan, Golub, LeVeque 1979): with m_k
 * rows, mean mu_k and squares S_k in part k,
 *     mu = sum of m_k mu_k / m,    m v = sum of S_k + m_k (mu_k - mu)^2. */
static void join_parts(const struct norm *g, struct parts parts, ptrdiff_t channel, ptrdiff_t channels, const double *sums, double *sum,
                       double *square) {
  double mean[JOIN_CHANNELS];
  for (ptrdiff_t c = 0; c < channels; c++) sum[c] = square[c] = 0;
  for (ptrdiff_t k = 0; k < parts.count; k++) {
    const double *part = sums + part_sums(g, k, 0) + channel;
    for (ptrdiff_t c = 0; c < channels; c++) sum[c] += part[c];
  }
  for (ptrdiff_t c = 0; c < channels; c++) mean[c] = sum[c] / (double)parts.m;
  for (ptrdiff_t k = 0; k < parts.count; k++) {
    const double *part = sums + part_sums(g, k, 0) + channel, *squares = sums + part_sums(g, k, 1) + channel;
    double mk = (double)size_min(parts.rows, parts.m - k * parts.rows);
    for (ptrdiff_t c = 0; c < channels; c++) {
      double difference = part[c] / mk - mean[c];
      square[c] += squares[c] + mk * difference * difference;
    }
  }
}

/* Of each group from its chunks. */
static void group_moments(const struct norm *g, double *scratch) {
  ptrdiff_t pieces = piece_count(g);
#pragma omp for schedule(static)
  for (ptrdiff_t p = 0; p < pieces; p++) {
    struct piece a = piece_at(g, p);
    double *to = group_sums(g, scratch) + part_sums(g, a.group, 0) + a.channel;
    join_parts(g, chunks_of(g, a.group), a.channel, a.channels, scratch + part_sums(g, a.group * group_chunks(g), 0), to, to + g->c);
  }
}

void own_moments(const struct norm *g, const double *groups, double *sums) {
#pragma omp for schedule(static)
  for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS)
    join_parts(g, groups_of(g), channel, size_min(JOIN_CHANNELS, g->c - channel), groups, sums + channel, sums + g->c + channel);
}

static void update_running(const struct norm *g, ptrdiff_t m, double mean, double variance, real *running_mean, real *running_var) {
  double unbiased = m > 1 ? variance * (double)m / (double)(m - 1) : variance;
  *running_mean = (real)((double)*running_mean + g->momentum * (mean - (double)*running_mean));
  *running_var = (real)((double)*running_var + g->momentum * (unbiased - (double)*running_var));
}

void join_moments(const struct norm *g, struct parts parts, const double *sums, real *running_mean, real *running_var, double *mean,
                  double *invstd) {
#pragma omp for schedule(static)
  for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS) {
    double sum[JOIN_CHANNELS], square[JOIN_CHANNELS];
    ptrdiff_t channels = size_min(JOIN_CHANNELS, g->c - channel);
    join_parts(g, parts, channel, channels, sums, sum, square);
    for (ptrdiff_t i = 0, c = channel; i < channels; i++, c++) {
      double variance = square[i] / (double)parts.m;
      mean[c] = sum[i] / (double)parts.m;
      invstd[c] = inverse_deviation(g, variance);
      update_running(g, parts.m, mean[c], variance, &running_mean[c], &running_var[c]);
    }
  }
}

void take_moments(const struct norm *g, const real *x, double *scratch) {
  ptrdiff_t tiles = tile_count(g);
#pragma omp for schedule(static)
  for (ptrdiff_t t = 0; t < tiles; t++) tile_moments(g, tile_at(g, t), x, scratch);
  group_moments(g, scratch);
}

/* ---- Gradients ---------------------------------------------------------------------------------------------------------------------- */

void tile_gradient_sums(const struct norm *g, struct tile a, const real *x, const real *y, const double *mean, const real *dy,
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
  double *sums = scratch + part_sums(g, a.chunk, 0) + a.channel, *products = scratch + part_sums(g, a.chunk, 1) + a.channel;
  for (ptrdiff_t c = 0; c < a.channels; c++) sums[c] = sum[c], products[c] = product[c];
}

/* Joins the parts of some channels in order. joined: of all channels, the two sums as a part has them. */
static void sum_parts(const struct norm *g, struct parts parts, ptrdiff_t channel, ptrdiff_t channels, const double *sums, double *joined) {
  for (int which = 0; which < 2; which++) {
    double *to = joined + part_sums(g, 0, which) + channel;
    for (ptrdiff_t c = 0; c < channels; c++) to[c] = 0;
    for (ptrdiff_t k = 0; k < parts.count; k++) {
      const double *sum = sums + part_sums(g, k, which) + channel;
      for (ptrdiff_t c = 0; c < channels; c++) to[c] += sum[c];
    }
  }
}

void group_gradient(const struct norm *g, double *scratch) {
  ptrdiff_t pieces = piece_count(g);
#pragma omp for schedule(static)
  for (ptrdiff_t p = 0; p < pieces; p++) {
    struct piece a = piece_at(g, p);
    sum_parts(g, chunks_of(g, a.group), a.channel, a.channels, scratch + part_sums(g, a.group * group_chunks(g), 0),
              group_sums(g, scratch) + part_sums(g, a.group, 0));
  }
}

void join_gradient(const struct norm *g, struct parts parts, const double *sums, double *joined) {
#pragma omp for schedule(static)
  for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS)
    sum_parts(g, parts, channel, size_min(JOIN_CHANNELS, g->c - channel), sums, joined);
}

void add_gradient(const struct norm *g, ptrdiff_t c, double invstd, const double *joined, real *dgamma, real *dbeta) {
  dbeta[c] = (real)((double)dbeta[c] + joined[part_sums(g, 0, 0) + c]);
  dgamma[c] = (real)((double)dgamma[c] + joined[part_sums(g, 0, 1) + c] * invstd);
}

void take_gradient_sums(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd, const real *dy,
                        real *dgamma, real *dbeta, double *joined, double *scratch) {
  ptrdiff_t tiles = tile_count(g);
#pragma omp for schedule(static)
  for (ptrdiff_t t = 0; t < tiles; t++) {
    struct tile a = tile_at(g, t);
    tile_gradient_sums(g, a, x, y, mean + a.channel, dy, scratch);
  }
  group_gradient(g, scratch);
  join_gradient(g, groups_of(g), group_sums(g, scratch), joined);
#pragma omp for schedule(static)
  for (ptrdiff_t c = 0; c < g->c; c++) add_gradient(g, c, invstd[c], joined, dgamma, dbeta);
}
