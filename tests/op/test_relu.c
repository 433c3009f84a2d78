/* The ReLU at its corner, and rows of length one: exact triangles, difference quotients, the guard. */
#include "op/relu.h"

#include "op/numeric.h"
#include "op/unit.h"

static void relu_at_its_corner(void **state) {
  (void)state;
  const real x[6] = {-2, (real)-0.0, 0, 3, (real)-INFINITY, (real)INFINITY}, expected[6] = {0, 0, 0, 3, 0, (real)INFINITY};
  const real dy[6] = {1, 2, 4, 8, 16, 32}, gradient[6] = {0, 0, 0, 8, 0, 32};
  real *y = test_poisoned(6), *dx = test_poisoned(6), nan = (real)NAN;
  relu_forward(6, x, y);
  relu_backward(6, y, dy, dx);
  assert_memory_equal(y, expected, sizeof expected); /* bits: minus zero becomes zero */
  assert_all_equal(dx, gradient, 6);
  assert_end_untouched(y, 6), assert_end_untouched(dx, 6);
  relu_forward(1, &nan, y);
  assert_true(isnan(y[0]));
  free(y), free(dx);
}

static void relu_in_place_with_any_threads(void **state) {
  (void)state;
  enum { N = 100003 };
  real *x = test_reals(N), *y = test_poisoned(N), *d = test_reals(N), *e = test_reals(N);
  for (int t = 0; t < THREAD_COUNTS; t++) {
    omp_set_num_threads(thread_counts[t]);
    test_fill_int(x, N, 3, 1), test_fill_int(d, N, 3, 2);
    relu_forward(N, x, y);
    relu_backward(N, y, d, e);
    for (int i = 0; i < N; i++) assert_true(y[i] == (x[i] > 0 ? x[i] : 0) && e[i] == (x[i] > 0 ? d[i] : 0));
    relu_forward(N, x, x);
    relu_backward(N, y, d, d);
    assert_all_equal(x, y, N);
    assert_all_equal(d, e, N);
  }
  assert_end_untouched(y, N);
  free(x), free(y), free(d), free(e);
}

/* Lengths 5 and 1/4; a row below the guard is multiplied by 1e6; a zero row stays zero; NaN is not hidden by the guard. */
static void unit_rows_by_hand(void **state) {
  (void)state;
  const real x[10] = {3, 4, 0, (real)-0.25, (real)0x1p-30, 0, 0, 0, (real)NAN, 1};
  real *u = test_poisoned(10);
  double inverse[5];
  unit_forward(5, 2, x, u, inverse);
  assert_true(u[0] == (real)(3 * (1.0 / 5)) && u[1] == (real)(4 * (1.0 / 5)) && u[2] == 0 && u[3] == -1);
  assert_true(u[4] == (real)(0x1p-30 * inverse[2]) && fabs(inverse[2] - 1e6) <= 2e6 * 0x1p-53 && u[5] == 0);
  assert_true(u[6] == 0 && u[7] == 0 && isnan(u[8]) && isnan(u[9]));
  assert_true(!unit_is_guarded(inverse[0]) && unit_is_guarded(inverse[2]) && unit_is_guarded(inverse[3]) && !unit_is_guarded(inverse[4]));
  assert_end_untouched(u, 10);
  free(u);
}

struct rows {
  ptrdiff_t m, c;
  double *x, *weight;
};

static double objective(const void *context) {
  const struct rows *r = context;
  double sum = 0;
  for (ptrdiff_t i = 0; i < r->m; i++) {
    double square = 0, product = 0;
    for (ptrdiff_t k = 0; k < r->c; k++) {
      square += pow(r->x[i * r->c + k], 2);
      product += r->x[i * r->c + k] * r->weight[i * r->c + k];
    }
    sum += product / sqrt(fmax(square, 1e-12));
  }
  return sum;
}

static void unit_gradient_is_the_difference_quotient(void **state) {
  (void)state;
  enum { M = 4, C = 11, N = M * C };
  real *x = test_reals(N), *du = test_reals(N), *u = test_poisoned(N), *dx = test_poisoned(N);
  test_fill_normal(x, N, 1), test_fill_normal(du, N, 2);
  struct rows r = {M, C, test_widened(x, N), test_widened(du, N)};
  double *expected = test_doubles(N), inverse[M];
  unit_forward(M, C, x, u, inverse);
  unit_backward(M, C, u, inverse, du, dx);
  test_difference(objective, &r, r.x, N, expected);
  /* u is rounded once, at most 1/2 u each; its product with du of length below 4 sqrt(11), twice; dx once. Lengths are above 1. */
  assert_all_near(dx, expected, N, 4 * REAL_ROUNDOFF * 4 * sqrt(C) + DIFFERENCE_ERROR);
  assert_end_untouched(dx, N);
  unit_backward(M, C, u, inverse, du, du);
  assert_all_equal(du, dx, N); /* in place */
  unit_forward(M, C, x, x, inverse);
  assert_all_equal(x, u, N);
  free(x), free(du), free(u), free(dx), free(expected), free(r.x), free(r.weight);
}

/* Below the guard the divisor is a constant, so du is multiplied by 1e6, also along the row. */
static void unit_gradient_below_the_guard(void **state) {
  (void)state;
  const real x[4] = {(real)0x1p-22, (real)0x1p-23, 0, 0}, du[4] = {3, -5, 7, 9};
  real u[4], dx[4];
  double inverse[2];
  unit_forward(2, 2, x, u, inverse);
  unit_backward(2, 2, u, inverse, du, dx);
  for (int i = 0; i < 4; i++) assert_true(dx[i] == (real)(inverse[i / 2] * (double)du[i]) && fabs(inverse[i / 2] - 1e6) < 1e-9);
}

static void unit_threads_do_not_change_a_bit(void **state) {
  (void)state;
  enum { M = 203, C = 130, N = M * C };
  real *x = test_reals(N), *du = test_reals(N), *u = test_reals(N), *dx = test_reals(N), *u0 = test_reals(N), *dx0 = test_reals(N);
  double inverse[M];
  test_fill_normal(x, N, 1), test_fill_normal(du, N, 2);
  for (int t = 0; t < THREAD_COUNTS; t++) {
    omp_set_num_threads(thread_counts[t]);
    unit_forward(M, C, x, t ? u : u0, inverse);
    unit_backward(M, C, t ? u : u0, inverse, du, t ? dx : dx0);
    if (t) assert_memory_equal(u, u0, N * sizeof(real)), assert_memory_equal(dx, dx0, N * sizeof(real));
  }
  free(x), free(du), free(u), free(dx), free(u0), free(dx0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(relu_at_its_corner),
      cmocka_unit_test(relu_in_place_with_any_threads),
      cmocka_unit_test(unit_rows_by_hand),
      cmocka_unit_test(unit_gradient_is_the_difference_quotient),
      cmocka_unit_test(unit_gradient_below_the_guard),
      cmocka_unit_test(unit_threads_do_not_change_a_bit),
  };
  return cmocka_run_group_tests_name("relu and unit " REAL_SUFFIX, tests, NULL, NULL);
}
