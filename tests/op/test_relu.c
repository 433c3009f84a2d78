/* The ReLU at its corner, and rows of length one: exact triangles, the guard. */
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

static void unit_in_place(void **state) {
  (void)state;
  enum { M = 4, C = 11, N = M * C };
  real *x = test_reals(N), *u = test_poisoned(N);
  double inverse[M], again[M];
  test_fill_normal(x, N, 1);
  unit_forward(M, C, x, u, inverse);
  unit_forward(M, C, x, x, again);
  assert_all_equal(x, u, N);
  assert_memory_equal(again, inverse, sizeof inverse);
  assert_end_untouched(u, N);
  free(x), free(u);
}

static void unit_threads_do_not_change_a_bit(void **state) {
  (void)state;
  enum { M = 203, C = 130, N = M * C };
  real *x = test_reals(N), *u = test_reals(N), *u0 = test_reals(N);
  double inverse[M], inverse0[M];
  test_fill_normal(x, N, 1);
  for (int t = 0; t < THREAD_COUNTS; t++) {
    omp_set_num_threads(thread_counts[t]);
    unit_forward(M, C, x, t ? u : u0, t ? inverse : inverse0);
    if (t) assert_memory_equal(u, u0, N * sizeof(real)), assert_memory_equal(inverse, inverse0, sizeof inverse);
  }
  free(x), free(u), free(u0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(relu_at_its_corner), cmocka_unit_test(relu_in_place_with_any_threads),   cmocka_unit_test(unit_rows_by_hand),
      cmocka_unit_test(unit_in_place),      cmocka_unit_test(unit_threads_do_not_change_a_bit),
  };
  return cmocka_run_group_tests_name("relu and unit " REAL_SUFFIX, tests, NULL, NULL);
}
