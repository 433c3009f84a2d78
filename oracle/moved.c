/* real is float here. */
#include "oracle/moved.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "base/size.h"

static struct backend moved;
static uint32_t draw_number, calls; /* the stream: one for each call of an operation, so that threads do not matter */

enum { CHAIN = 1024, PIECE = 4096 /* elements that one stream moves */ };

/* ---- moving ------------------------------------------------------------------------------------------------------------------------- */

static void *take(ptrdiff_t n, size_t element) {
  void *p = calloc((size_t)(n > 0 ? n : 1), element);
  if (!p) abort(); /* a backend has no way to fail; the run has taken gigabytes before */
  return p;
}

static real *squares(const real *x, ptrdiff_t n) {
  real *y = take(n, sizeof *y);
#pragma omp parallel for simd schedule(static)
  for (ptrdiff_t i = 0; i < n; i++) y[i] = x[i] * x[i];
  return y;
}

static double chain(ptrdiff_t length) { return sqrt((double)size_min(length, CHAIN)); }

static double uniform(struct philox *g) { return sqrt(3.0) * (2 * philox_uniform(g) - 1); /* of variance 1 */ }

static struct philox stream(uint32_t call, ptrdiff_t piece) {
  return philox_stream(1, PHILOX_TEST, 10, draw_number << 20 | call, (uint32_t)piece);
}

/* y: n sums of `length` products, sum2: the sums of their squares. */
static void move(real *y, const real *sum2, ptrdiff_t n, ptrdiff_t length) {
  const double u = REAL_ROUNDOFF, g2 = u * (0.41 * chain(length) + 0.58), own = u * 0.33 * chain(length);
  const uint32_t call = calls++;
#pragma omp parallel for schedule(static)
  for (ptrdiff_t p = 0; p < size_ceil_div(n, PIECE); p++) {
    struct philox g = stream(call, p);
    for (ptrdiff_t i = p * PIECE; i < size_min(n, (p + 1) * PIECE); i++)
      y[i] = (real)((double)y[i] + uniform(&g) * (g2 * sqrt((double)sum2[i]) + own * fabs((double)y[i])));
  }
}

/* ---- products ----------------------------------------------------------------------------------------------------------------------- */

static void conv_forward_moved(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  ptrdiff_t n = g->n * g->p * g->q * g->k, depth = g->r * g->s * g->c;
  real *x2 = squares(x, g->n * g->h * g->w * g->c), *w2 = squares(w, g->k * depth), *sum2 = take(n, sizeof *sum2);
  backend_reference()->conv_forward(g, x2, w2, sum2, scratch);
  backend_reference()->conv_forward(g, x, w, y, scratch);
  move(y, sum2, n, depth);
  free(x2), free(w2), free(sum2);
}

static void conv_backward_data_moved(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch) {
  ptrdiff_t n = g->n * g->h * g->w * g->c, depth = g->r * g->s * g->k;
  real *dy2 = squares(dy, g->n * g->p * g->q * g->k), *w2 = squares(w, depth * g->c), *sum2 = take(n, sizeof *sum2);
  backend_reference()->conv_backward_data(g, dy2, w2, sum2, false, scratch);
  backend_reference()->conv_backward_data(g, dy, w, dx, accumulate, scratch);
  move(dx, sum2, n, depth);
  free(dy2), free(w2), free(sum2);
}

static void conv_backward_weights_moved(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  ptrdiff_t n = g->k * g->r * g->s * g->c, depth = g->n * g->p * g->q;
  real *x2 = squares(x, g->n * g->h * g->w * g->c), *dy2 = squares(dy, depth * g->k), *sum2 = take(n, sizeof *sum2);
  backend_reference()->conv_backward_weights(g, x2, dy2, sum2, scratch);
  backend_reference()->conv_backward_weights(g, x, dy, dw, scratch);
  move(dw, sum2, n, depth);
  free(x2), free(dy2), free(sum2);
}

static void linear_forward_moved(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  ptrdiff_t n = g->m * g->o;
  real *x2 = squares(x, g->m * g->i), *w2 = squares(w, g->o * g->i), *sum2 = take(n, sizeof *sum2);
  backend_reference()->linear_forward(g, x2, w2, NULL, sum2);
  backend_reference()->linear_forward(g, x, w, b, y);
  move(y, sum2, n, g->i);
  free(x2), free(w2), free(sum2);
}

static void linear_backward_data_moved(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  ptrdiff_t n = g->m * g->i;
  real *dy2 = squares(dy, g->m * g->o), *w2 = squares(w, g->o * g->i), *sum2 = take(n, sizeof *sum2);
  backend_reference()->linear_backward_data(g, dy2, w2, sum2, false);
  backend_reference()->linear_backward_data(g, dy, w, dx, accumulate);
  move(dx, sum2, n, g->o);
  free(dy2), free(w2), free(sum2);
}

static void linear_backward_weights_moved(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  ptrdiff_t n = g->o * g->i;
  real *x2 = squares(x, g->m * g->i), *dy2 = squares(dy, g->m * g->o), *sum2 = take(n, sizeof *sum2);
  real *bias2 = db ? take(g->o, sizeof *bias2) : NULL;
  backend_reference()->linear_backward_weights(g, x2, dy2, sum2, NULL, scratch);
  backend_reference()->linear_backward_weights(g, x, dy, dw, db, scratch);
  move(dw, sum2, n, g->m);
  for (ptrdiff_t i = 0; db && i < g->m * g->o; i++) bias2[i % g->o] += dy2[i];
  if (db) move(db, bias2, g->o, g->m);
  free(x2), free(dy2), free(sum2), free(bias2);
}

/* ---- batch norm --------------------------------------------------------------------------------------------------------------------- */

/* Moves mean and variance of each channel, as sums over m rows, and the running statistics by what follows. */
static void move_statistics(const struct norm *g, real *running_mean, real *running_var, double *mean, double *invstd) {
  const double u = REAL_ROUNDOFF, m = (double)g->m, unbiased = g->m > 1 ? m / (m - 1) : 1;
  struct philox random = stream(calls++, 0);
  for (ptrdiff_t c = 0; c < g->c; c++) {
    double variance = 1 / (invstd[c] * invstd[c]) - g->eps, rms = sqrt(fmax(variance, 0) + mean[c] * mean[c]);
    double of_mean = uniform(&random) * u * chain(g->m) * (0.41 * rms / sqrt(m) + 0.33 * fabs(mean[c]));
    double of_variance = uniform(&random) * u * (0.33 * chain(g->m) + 2) * variance;
    running_mean[c] = (real)((double)running_mean[c] + g->momentum * of_mean);
    running_var[c] = (real)((double)running_var[c] + g->momentum * unbiased * of_variance);
    mean[c] += of_mean;
    invstd[c] = 1 / sqrt(fmax(variance + of_variance, 0) + g->eps);
  }
}

static void norm_forward_train_moved(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                     real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  backend_reference()->norm_forward_train(g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  move_statistics(g, running_mean, running_var, mean, invstd);
  const uint32_t call = calls++;
#pragma omp parallel for schedule(static)
  for (ptrdiff_t p = 0; p < size_ceil_div(g->m * g->c, PIECE); p++) {
    struct philox random = stream(call, p);
    for (ptrdiff_t i = p * PIECE; i < size_min(g->m * g->c, (p + 1) * PIECE); i++) {
      ptrdiff_t c = i % g->c;
      double scaled = (double)gamma[c] * (((double)x[i] - mean[c]) * invstd[c]), z = scaled + (double)beta[c];
      if (residual) z += (double)residual[i];
      z += uniform(&random) * REAL_ROUNDOFF * (fabs(scaled) + fabs(z));
      y[i] = (real)(g->relu && !(z > 0) ? 0 : z);
    }
  }
}

static void norm_backward_train_moved(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                      const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                      void *scratch) {
  ptrdiff_t n = g->m * g->c;
  real *gamma2 = take(g->c, sizeof *gamma2), *beta2 = take(g->c, sizeof *beta2), *d = take(n, sizeof *d);
  for (ptrdiff_t i = 0; i < n; i++) {
    ptrdiff_t c = i % g->c;
    d[i] = g->relu && !(y[i] > 0) ? 0 : dy[i];
    real term = d[i] * (real)(((double)x[i] - mean[c]) * invstd[c]);
    gamma2[c] += term * term, beta2[c] += d[i] * d[i];
  }
  backend_reference()->norm_backward_train(g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
  move(dgamma, gamma2, g->c, g->m);
  move(dbeta, beta2, g->c, g->m);
  const uint32_t call = calls++;
#pragma omp parallel for schedule(static)
  for (ptrdiff_t p = 0; p < size_ceil_div(n, PIECE); p++) {
    struct philox random = stream(call, p);
    for (ptrdiff_t i = p * PIECE; i < size_min(n, (p + 1) * PIECE); i++) {
      double term = fabs((double)gamma[i % g->c] * invstd[i % g->c] * (double)d[i]);
      dx[i] = (real)((double)dx[i] + uniform(&random) * REAL_ROUNDOFF * (term + fabs((double)dx[i])));
    }
  }
  free(gamma2), free(beta2), free(d);
}

const struct backend *backend_moved(uint32_t draw) {
  moved = *backend_reference();
  moved.name = "moved";
  draw_number = draw, calls = 0;
  moved.conv_forward = conv_forward_moved;
  moved.conv_norm_forward_eval = NULL;
  moved.conv_backward_data = conv_backward_data_moved;
  moved.conv_backward_weights = conv_backward_weights_moved;
  moved.linear_forward = linear_forward_moved;
  moved.linear_backward_data = linear_backward_data_moved;
  moved.linear_backward_weights = linear_backward_weights_moved;
  moved.norm_forward_train = norm_forward_train_moved;
  moved.norm_backward_train = norm_backward_train_moved;
  return &moved;
}
