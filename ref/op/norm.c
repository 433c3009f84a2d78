#include "op/norm.h"

#include <assert.h>
#include <math.h>

#include "base/size.h"

/* The m x c matrix is cut into tiles: a chunk of rows by a block of channels. 1024 channels keep the coefficients of a tile in the
 * first-level cache (24 KiB as floats); 2^15 elements stay in the second-level cache between the two passes over a tile (256 KiB as
 * doubles) and are worth a task. With many channels and few rows (a projector's 16 x 4096) the blocks of channels are what is shared
 * out. */
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

/* Two sums a chunk and channel, and two joined sums a channel. */
ptrdiff_t norm_scratch(const struct norm *g) { return (2 * chunk_count(g) + 2) * g->c; }

/* Where in the scratch the sums of a chunk lie, channel by channel; the joined ones stand behind those of the last chunk. */
static ptrdiff_t chunk_sums(const struct norm *g, ptrdiff_t chunk, int which) { return (2 * chunk + which) * g->c; }
static ptrdiff_t joined_sums(const struct norm *g, int which) { return chunk_sums(g, chunk_count(g), which); }

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

/* Sum over the rows of a tile, then the sum of squared differences from the mean of the tile, while it is still in the cache. */
static void tile_moments(const struct norm *g, struct tile a, const real *x, double *scratch) {
  double sum[TILE_CHANNELS] = {0}, mean[TILE_CHANNELS], square[TILE_CHANNELS] = {0};
  x += a.row * g->c + a.channel;
  for (ptrdiff_t i = 0; i < a.rows; i++) {
    const real *xi = x + i * g->c;
#pragma omp simd
    for (ptrdiff_t c = 0; c < a.channels; c++) sum[c] += (double)xi[c];
  }
  for (ptrdiff_t c = 0; c < a.channels; c++) mean[c] = sum[c] / (double)a.rows;
  for (ptrdiff_t i = 0; i < a.rows; i++) {
    const real *xi = x + i * g->c;
#pragma omp simd
    for (ptrdiff_t c = 0; c < a.channels; c++) {
      double difference = (double)xi[c] - mean[c];
      square[c] += difference * difference;
    }
  }
  double *sums = scratch + chunk_sums(g, a.chunk, 0) + a.channel, *squares = scratch + chunk_sums(g, a.chunk, 1) + a.channel;
  for (ptrdiff_t c = 0; c < a.channels; c++) sums[c] = sum[c], squares[c] = square[c];
}

/* Joins the chunks of some channels in order (Chan, Golub, LeVeque 1979): with m_k rows, mean mu_k and squares S_k in chunk k,
 *     mu = sum of m_k mu_k / m,    m v = sum of S_k + m_k (mu_k - mu)^2. */
static void join_moments(const struct norm *g, ptrdiff_t channel, ptrdiff_t channels, const double *scratch, double *mean,
                         double *variance) {
  ptrdiff_t chunks = chunk_count(g), rows = chunk_rows(g);
  for (ptrdiff_t c = 0; c < channels; c++) mean[c] = variance[c] = 0;
  for (ptrdiff_t k = 0; k < chunks; k++) {
    const double *sum = scratch + chunk_sums(g, k, 0) + channel;
    for (ptrdiff_t c = 0; c < channels; c++) mean[c] += sum[c];
  }
  for (ptrdiff_t c = 0; c < channels; c++) mean[c] /= (double)g->m;
  for (ptrdiff_t k = 0; k < chunks; k++) {
    const double *sum = scratch + chunk_sums(g, k, 0) + channel, *square = scratch + chunk_sums(g, k, 1) + channel;
    double mk = (double)size_min(rows, g->m - k * rows);
    for (ptrdiff_t c = 0; c < channels; c++) {
      double difference = sum[c] / mk - mean[c];
      variance[c] += square[c] + mk * difference * difference;
    }
  }
  for (ptrdiff_t c = 0; c < channels; c++) variance[c] /= (double)g->m;
}

static void update_running(const struct norm *g, double mean, double variance, real *running_mean, real *running_var) {
  double unbiased = g->m > 1 ? variance * (double)g->m / (double)(g->m - 1) : variance;
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

void norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta, real *running_mean,
                        real *running_var, real *y, double *mean, double *invstd, double *scratch) {
  assert(g->m >= 1 && g->c >= 1);
  ptrdiff_t tiles = tile_count(g);
#pragma omp parallel if (tiles > 1)
  {
#pragma omp for schedule(static)
    for (ptrdiff_t t = 0; t < tiles; t++) tile_moments(g, tile_at(g, t), x, scratch);
#pragma omp for schedule(static)
    for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS) {
      double variance[JOIN_CHANNELS];
      ptrdiff_t channels = size_min(JOIN_CHANNELS, g->c - channel);
      join_moments(g, channel, channels, scratch, mean + channel, variance);
      for (ptrdiff_t i = 0, c = channel; i < channels; i++, c++) {
        invstd[c] = inverse_deviation(g, variance[i]);
        update_running(g, mean[c], variance[i], &running_mean[c], &running_var[c]);
      }
    }
#pragma omp for schedule(static)
    for (ptrdiff_t t = 0; t < tiles; t++) {
      struct tile a = tile_at(g, t);
      tile_normalise(g, a, x, residual, gamma, beta, mean + a.channel, invstd + a.channel, y);
    }
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

/* Joins the chunks of some channels in order; the joined sums stay in the scratch. */
static void join_gradient(const struct norm *g, ptrdiff_t channel, ptrdiff_t channels, double *scratch) {
  ptrdiff_t chunks = chunk_count(g);
  for (int which = 0; which < 2; which++) {
    double *joined = scratch + joined_sums(g, which) + channel;
    for (ptrdiff_t c = 0; c < channels; c++) joined[c] = 0;
    for (ptrdiff_t k = 0; k < chunks; k++) {
      const double *sum = scratch + chunk_sums(g, k, which) + channel;
      for (ptrdiff_t c = 0; c < channels; c++) joined[c] += sum[c];
    }
  }
}

/* dbeta += sum d, dgamma += sum d (x - mean) invstd, of one channel. */
static void add_gradient(const struct norm *g, ptrdiff_t c, double invstd, const double *scratch, real *dgamma, real *dbeta) {
  dbeta[c] = (real)((double)dbeta[c] + scratch[joined_sums(g, 0) + c]);
  dgamma[c] = (real)((double)dgamma[c] + scratch[joined_sums(g, 1) + c] * invstd);
}

/* dx of a tile through the batch statistics; dresidual = d. dx may be dy: every element is read before it is written. */
static void tile_gradient_train(const struct norm *g, struct tile a, const real *x, const real *y, const real *gamma, const double *mean,
                                const double *invstd, const double *sums, const double *products, const real *dy, real *dx,
                                real *dresidual) {
  real hi[TILE_CHANNELS], lo[TILE_CHANNELS], slope[TILE_CHANNELS], dhi[TILE_CHANNELS], dlo[TILE_CHANNELS], pull[TILE_CHANNELS];
  for (ptrdiff_t c = 0; c < a.channels; c++) {
    split(mean[c], &hi[c], &lo[c]);
    split(sums[c] / (double)g->m, &dhi[c], &dlo[c]);
    slope[c] = (real)((double)gamma[a.channel + c] * invstd[c]);
    pull[c] = (real)(products[c] / (double)g->m * invstd[c] * invstd[c]); /* xhat mean(d xhat) = (x - mean) pull */
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

void norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean, const double *invstd,
                         const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, double *scratch) {
  assert(g->m >= 1 && g->c >= 1 && (y || !g->relu));
  ptrdiff_t tiles = tile_count(g);
#pragma omp parallel if (tiles > 1)
  {
#pragma omp for schedule(static)
    for (ptrdiff_t t = 0; t < tiles; t++) {
      struct tile a = tile_at(g, t);
      tile_gradient_sums(g, a, x, y, mean + a.channel, dy, scratch);
    }
#pragma omp for schedule(static)
    for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS) {
      ptrdiff_t channels = size_min(JOIN_CHANNELS, g->c - channel);
      join_gradient(g, channel, channels, scratch);
      for (ptrdiff_t c = channel; c < channel + channels; c++) add_gradient(g, c, invstd[c], scratch, dgamma, dbeta);
    }
#pragma omp for schedule(static)
    for (ptrdiff_t t = 0; t < tiles; t++) {
      struct tile a = tile_at(g, t);
      tile_gradient_train(g, a, x, y, gamma, mean + a.channel, invstd + a.channel, scratch + joined_sums(g, 0) + a.channel,
                          scratch + joined_sums(g, 1) + a.channel, dy, dx, dresidual);
    }
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
#pragma omp for schedule(static)
    for (ptrdiff_t channel = 0; channel < g->c; channel += JOIN_CHANNELS) {
      ptrdiff_t channels = size_min(JOIN_CHANNELS, g->c - channel);
      join_gradient(g, channel, channels, scratch);
      for (ptrdiff_t c = channel; c < channel + channels; c++)
        add_gradient(g, c, inverse_deviation(g, (double)running_var[c]), scratch, dgamma, dbeta);
    }
  }
}
