#include "op/norm.h"

#include <assert.h>

#include "op/norm_sums.h"

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

/* ---- Forward ------------------------------------------------------------------------------------------------------------------------ */

/* y = gamma invstd (x - mean) + beta [+ residual] [then max(., 0)] on a tile. mean, invstd: from its first channel on. y may be x. */
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

/* This loop and that of `gradient` below are shared out, like those of norm_sums.h, among the threads of the parallel region that calls
 * them. */
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
    join_moments(g, groups_of(g), group_sums(g, scratch), running_mean, running_var, mean, invstd);
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

void norm_eval_part(const struct norm *g, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t channel, ptrdiff_t channels, const real *residual,
                    const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y) {
  double mean[TILE_CHANNELS], invstd[TILE_CHANNELS];
  struct tile a = {.row = row, .rows = rows, .channel = channel, .channels = channels};
  assert(channels <= TILE_CHANNELS);
  tile_running(g, a, running_mean, running_var, mean, invstd);
  tile_normalise(g, a, y, residual, gamma, beta, mean, invstd, y);
}

/* ---- Backward ----------------------------------------------------------------------------------------------------------------------- */

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

/* joined: the two sums of every channel, over m rows (of all ranks). */
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
    group_gradient(g, scratch);
    join_gradient(g, groups_of(g), group_sums(g, scratch), joined);
#pragma omp for schedule(static)
    for (ptrdiff_t c = 0; c < g->c; c++) add_gradient(g, c, inverse_deviation(g, (double)running_var[c]), joined, dgamma, dbeta);
  }
}

/* ---- Over several ranks: the parts between which sums are gathered ------------------------------------------------------------------- */

void norm_rank_moments(const struct norm *g, const real *x, double *sums, double *scratch) {
  assert(g->m >= 1 && g->c >= 1);
#pragma omp parallel if (tile_count(g) > 1)
  {
    take_moments(g, x, scratch);
    own_moments(g, group_sums(g, scratch), sums);
  }
}

void norm_rank_forward(const struct norm *g, int ranks, const double *sums, const real *x, const real *residual, const real *gamma,
                       const real *beta, real *running_mean, real *running_var, real *y, double *mean, double *invstd) {
#pragma omp parallel if (tile_count(g) > 1)
  {
    join_moments(g, ranks_of(g, ranks), sums, running_mean, running_var, mean, invstd);
    normalise(g, x, residual, gamma, beta, mean, invstd, y);
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
    join_gradient(g, ranks_of(g, ranks), sums, scratch);
    gradient(g, ranks * g->m, scratch, x, y, gamma, mean, invstd, dy, dx, dresidual);
  }
}
