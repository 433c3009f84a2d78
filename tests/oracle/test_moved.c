/* What drift is measured by: sums are moved by the standard deviation that moved.h derives, no more and no less, in each draw by other
 * numbers. Of n uniform numbers of variance 1 the mean square is 1 within five times sqrt(0.8 / n); the result's rounding is in it, too. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "op/conv.h"
#include "op/linear.h"
#include "op/norm.h"
#include "oracle/moved.h"
#include "support/cmocka.h"
#include "support/support.h"

/* Differences in units of what is expected: their mean square, and none beyond sqrt(3) and what the rounding adds. */
struct spread {
  double squares, n;
};

static void see(struct spread *s, double difference, double deviation, double value) {
  assert_true(fabs(difference) <= sqrt(3.0) * deviation + 2 * REAL_ROUNDOFF * fabs(value));
  if (deviation == 0) return; /* of nothing */
  s->squares += difference * difference / (deviation * deviation), s->n += 1;
}

#define assert_spread(s) spread_is(&(s), #s, __LINE__)
static void spread_is(const struct spread *s, const char *what, int line) {
  double mean = s->squares / s->n, luck = 5 * sqrt(0.8 / s->n);
  if (!(mean > 1 - luck && mean < 1.05 + luck)) fail_msg("line %d: mean square of %s is %.3f, of %g", line, what, mean, s->n);
}

/* Of a sum of products whose squares add up to sum2. */
static double deviation_of(double sum2, double y, double length) {
  double chain = sqrt(fmin(length, 1024));
  return REAL_ROUNDOFF * ((0.41 * chain + 0.58) * sqrt(sum2) + 0.33 * chain * fabs(y));
}

static void see_all(struct spread *s, const real *is, const real *was, const double *sum2, ptrdiff_t n, double length) {
  for (ptrdiff_t i = 0; i < n; i++) see(s, (double)is[i] - (double)was[i], deviation_of(sum2[i], (double)was[i], length), (double)was[i]);
}

static real *normals(ptrdiff_t n, uint32_t stream) {
  real *x = test_reals(n);
  test_fill_normal(x, n, stream);
  return x;
}

static double square(double x) { return x * x; }

static void convolutions_are_moved_as_derived(void **state) {
  (void)state;
  const struct conv g = {.n = 2, .h = 12, .w = 12, .c = 16, .k = 24, .r = 3, .s = 3, .stride = 1, .pad = 1, .p = 12, .q = 12};
  const struct backend *right = backend_reference(), *moved = backend_moved(1);
  const ptrdiff_t xn = g.n * g.h * g.w * g.c, yn = g.n * g.p * g.q * g.k, wn = g.k * g.r * g.s * g.c;
  real *x = normals(xn, 1), *w = normals(wn, 2), *dy = normals(yn, 3), *scratch = test_reals(conv_scratch(&g, 16));
  real *y[2] = {test_reals(yn), test_reals(yn)}, *dx[2] = {normals(xn, 4), normals(xn, 4)}, *dw[2] = {normals(wn, 5), normals(wn, 5)};
  double *y2 = calloc((size_t)yn, sizeof *y2), *dx2 = calloc((size_t)xn, sizeof *dx2), *dw2 = calloc((size_t)wn, sizeof *dw2);
  assert_true(y2 && dx2 && dw2);
  for (ptrdiff_t i = 0; i < yn * g.r * g.s * g.c; i++) {
    ptrdiff_t c = i % g.c, s = i / g.c % g.s, r = i / g.c / g.s % g.r, at = i / g.c / g.s / g.r, k = at % g.k, q = at / g.k % g.q;
    ptrdiff_t p = at / g.k / g.q % g.p, n = at / g.k / g.q / g.p, h = p + r - 1, v = q + s - 1;
    if (h < 0 || h >= g.h || v < 0 || v >= g.w) continue;
    ptrdiff_t of_x = ((n * g.h + h) * g.w + v) * g.c + c, of_w = ((k * g.r + r) * g.s + s) * g.c + c;
    y2[at] += square((double)x[of_x] * (double)w[of_w]);
    dx2[of_x] += square((double)dy[at] * (double)w[of_w]);
    dw2[of_w] += square((double)dy[at] * (double)x[of_x]);
  }
  const struct backend *tables[] = {right, moved};
  for (int b = 0; b < 2; b++) {
    tables[b]->conv_forward(&g, x, w, y[b], scratch);
    tables[b]->conv_backward_data(&g, dy, w, dx[b], true, scratch);
    tables[b]->conv_backward_weights(&g, x, dy, dw[b], scratch);
  }
  struct spread forward = {0}, data = {0}, weights = {0};
  see_all(&forward, y[1], y[0], y2, yn, 3 * 3 * 16);
  see_all(&data, dx[1], dx[0], dx2, xn, 3 * 3 * 24);
  see_all(&weights, dw[1], dw[0], dw2, wn, 2 * 12 * 12);
  assert_spread(forward);
  assert_spread(data);
  assert_spread(weights);
  free(x), free(w), free(dy), free(scratch), free(y2), free(dx2), free(dw2);
  for (int b = 0; b < 2; b++) free(y[b]), free(dx[b]), free(dw[b]);
}

static void linear_layers_are_moved_as_derived(void **state) {
  (void)state;
  static const struct linear sizes[] = {{.m = 80, .i = 64, .o = 96}, {.m = 40, .i = 2000, .o = 100}}; /* chains of 1024 at most */
  for (int k = 0; k < 2; k++) {
    const struct linear g = sizes[k];
    const struct backend *tables[] = {backend_reference(), backend_moved(1)};
    const ptrdiff_t xn = g.m * g.i, yn = g.m * g.o, wn = g.o * g.i;
    real *x = normals(xn, 1), *w = normals(wn, 2), *dy = normals(yn, 3), *bias = normals(g.o, 6),
         *scratch = test_reals(linear_scratch(&g, omp_get_max_threads()));
    real *y[2] = {test_reals(yn), test_reals(yn)}, *dx[2] = {normals(xn, 4), normals(xn, 4)}, *dw[2] = {normals(wn, 5), normals(wn, 5)};
    real *db[2] = {test_reals(g.o), test_reals(g.o)};
    double *y2 = calloc((size_t)yn, sizeof *y2), *dx2 = calloc((size_t)xn, sizeof *dx2), *dw2 = calloc((size_t)wn, sizeof *dw2);
    double *db2 = calloc((size_t)g.o, sizeof *db2);
    assert_true(y2 && dx2 && dw2 && db2);
    for (ptrdiff_t m = 0; m < g.m; m++) {
      for (ptrdiff_t o = 0; o < g.o; o++) {
        ptrdiff_t at = m * g.o + o;
        for (ptrdiff_t i = 0; i < g.i; i++) {
          y2[at] += square((double)x[m * g.i + i] * (double)w[o * g.i + i]);
          dx2[m * g.i + i] += square((double)dy[at] * (double)w[o * g.i + i]);
          dw2[o * g.i + i] += square((double)dy[at] * (double)x[m * g.i + i]);
        }
        db2[o] += square((double)dy[at]);
      }
    }
    for (int b = 0; b < 2; b++) {
      tables[b]->linear_forward(&g, x, w, bias, y[b]);
      tables[b]->linear_backward_data(&g, dy, w, dx[b], true);
      tables[b]->linear_backward_weights(&g, x, dy, dw[b], db[b], scratch);
    }
    struct spread forward = {0}, data = {0}, weights = {0}, biases = {0};
    see_all(&forward, y[1], y[0], y2, yn, (double)g.i);
    see_all(&data, dx[1], dx[0], dx2, xn, (double)g.o);
    see_all(&weights, dw[1], dw[0], dw2, wn, (double)g.m);
    see_all(&biases, db[1], db[0], db2, g.o, (double)g.m);
    assert_spread(forward);
    assert_spread(data);
    assert_spread(weights);
    assert_spread(biases);
    free(x), free(w), free(dy), free(bias), free(scratch), free(y2), free(dx2), free(dw2), free(db2);
    for (int b = 0; b < 2; b++) free(y[b]), free(dx[b]), free(dw[b]), free(db[b]);
  }
}

/* Statistics by what sums over the rows are off by; results and gradients by a unit of their terms, from the moved ones. */
static void batch_norm_is_moved_as_derived(void **state) {
  (void)state;
  enum { M = 30, C = 400, N = M * C };
  const double u = REAL_ROUNDOFF, chain = sqrt(M);
  const struct norm g = {.m = M, .c = C, .eps = 1e-3, .momentum = 0.5, .relu = true};
  const struct backend *tables[] = {backend_reference(), backend_moved(1)};
  real *x = normals(N, 1), *residual = normals(N, 2), *dy = normals(N, 3), *gamma = normals(C, 4), *beta = normals(C, 5);
  real *rm[2], *rv[2], *y[2], *dx[2], *dresidual = test_reals(N), *dgamma[2], *dbeta[2];
  double *scratch = calloc((size_t)norm_scratch(&g) + 1, sizeof *scratch);
  static double mean[2][C], invstd[2][C];
  assert_non_null(scratch);
  for (ptrdiff_t i = 0; i < N; i++) x[i] += (real)(i % C % 3);
  for (int b = 0; b < 2; b++) {
    rm[b] = test_reals(C), rv[b] = test_reals(C), y[b] = test_reals(N), dx[b] = test_reals(N), dgamma[b] = test_reals(C),
    dbeta[b] = test_reals(C);
    tables[b]->norm_forward_train(&g, x, residual, gamma, beta, rm[b], rv[b], y[b], mean[b], invstd[b], scratch);
    tables[b]->norm_backward_train(&g, x, y[0], gamma, mean[0], invstd[0], dy, dx[b], dresidual, dgamma[b], dbeta[b], scratch);
  }
  struct spread means = {0}, variances = {0}, results = {0}, gammas = {0}, betas = {0}, gradients = {0};
  for (int c = 0; c < C; c++) {
    double v[2], gamma2 = 0, beta2 = 0;
    for (int b = 0; b < 2; b++) v[b] = 1 / square(invstd[b][c]) - g.eps;
    double rms = sqrt(v[0] + square(mean[0][c])), of_mean = mean[1][c] - mean[0][c];
    see(&means, of_mean, u * chain * (0.41 * rms / sqrt(M) + 0.33 * fabs(mean[0][c])), 0);
    see(&variances, v[1] - v[0], u * (0.33 * chain + 2) * v[0], 0);
    assert_true(fabs((double)rm[1][c] - (double)rm[0][c] - 0.5 * of_mean) <= 2 * u * fabs((double)rm[0][c]));
    assert_true(fabs((double)rv[1][c] - (double)rv[0][c] - 0.5 * M / (M - 1) * (v[1] - v[0])) <= 2 * u * (double)rv[0][c]);
    for (int r = 0; r < M; r++) {
      int i = r * C + c;
      double scaled = (double)gamma[c] * ((double)x[i] - mean[1][c]) * invstd[1][c], z = scaled + (double)beta[c] + (double)residual[i];
      if (z > 1e-3)
        see(&results, (double)y[1][i] - z, u * (fabs(scaled) + z), z);
      else if (z < -1e-3)
        assert_true(y[1][i] == 0);
      double d = y[0][i] > 0 ? (double)dy[i] : 0;
      gamma2 += square(d * ((double)x[i] - mean[0][c]) * invstd[0][c]), beta2 += d * d;
      double deviation = u * (fabs((double)gamma[c] * invstd[0][c] * d) + fabs((double)dx[0][i]));
      see(&gradients, (double)dx[1][i] - (double)dx[0][i], deviation, (double)dx[0][i]);
    }
    see(&gammas, (double)dgamma[1][c] - (double)dgamma[0][c], deviation_of(gamma2, (double)dgamma[0][c], M), (double)dgamma[0][c]);
    see(&betas, (double)dbeta[1][c] - (double)dbeta[0][c], deviation_of(beta2, (double)dbeta[0][c], M), (double)dbeta[0][c]);
  }
  assert_spread(means);
  assert_spread(variances);
  assert_spread(gammas);
  assert_spread(betas);
  /* their own rounding, a third of a unit squared, is of the size of the unit */
  assert_true(results.squares / results.n > 0.95 && results.squares / results.n < 1.35);
  assert_true(gradients.squares / gradients.n > 0.95 && gradients.squares / gradients.n < 1.35);
  free(x), free(residual), free(dy), free(gamma), free(beta), free(dresidual), free(scratch);
  for (int b = 0; b < 2; b++) free(rm[b]), free(rv[b]), free(y[b]), free(dx[b]), free(dgamma[b]), free(dbeta[b]);
}

static void each_draw_and_each_call_has_numbers_of_its_own(void **state) {
  (void)state;
  const struct linear g = {.m = 100, .i = 4, .o = 100}; /* three pieces */
  real *x = normals(400, 1), *w = normals(400, 2), *y[4];
  for (int k = 0; k < 4; k++) y[k] = test_reals(10000);
  backend_moved(1)->linear_forward(&g, x, w, NULL, y[0]);
  const struct backend *same = backend_moved(1);
  same->linear_forward(&g, x, w, NULL, y[1]);
  same->linear_forward(&g, x, w, NULL, y[2]);
  backend_moved(2)->linear_forward(&g, x, w, NULL, y[3]);
  assert_memory_equal(y[0], y[1], 10000 * sizeof(real));
  for (int k = 2; k < 4; k++) {
    int equal = 0;
    for (int i = 0; i < 10000; i++) equal += y[k][i] == y[1][i];
    assert_true(equal < 5000); /* moves of a unit or two, as floats */
  }
  free(x), free(w);
  for (int k = 0; k < 4; k++) free(y[k]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(convolutions_are_moved_as_derived),
      cmocka_unit_test(linear_layers_are_moved_as_derived),
      cmocka_unit_test(batch_norm_is_moved_as_derived),
      cmocka_unit_test(each_draw_and_each_call_has_numbers_of_its_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
