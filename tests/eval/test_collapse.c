/* Diagnostics of collapse: closed forms, and the plain form of the mean cosine. */
#include "eval/collapse.h"

#include "support/cmocka.h"

#include "support/support.h"

static double scratch[4096];

static void std_of_known_rows(void **state) {
  (void)state;
  /* rows +-e_0 and +-e_1, scaled: mean 0, each feature is +-1 in half of the rows and 0 in the others */
  real x[12] = {3, 0, 0, -5, 0, 0, 0, 7, 0, 0, -2, 0};
  double std[3], mean = collapse_std(4, 3, x, std, scratch);
  assert_true(fabs(std[0] - sqrt(.5)) < 1e-15 && fabs(std[1] - sqrt(.5)) < 1e-15 && std[2] == 0);
  assert_true(fabs(mean - 2 * sqrt(.5) / 3) < 1e-15);
  assert_true(collapse_std(4, 3, x, NULL, scratch) == mean);
}

static void spread_features_have_std_one_over_root_d(void **state) {
  (void)state;
  enum { M = 2000, D = 16 };
  real *x = test_reals(M * D);
  test_fill_normal(x, M * D, 1);
  /* The mean square of a feature is 1/D; a mean of M D numbers of relative deviation sqrt(2) has a relative standard error of
   * sqrt(2 / (M D)) = 0.008, half of it in the root; six of them, and a bias of 1/(2 M) from the mean. */
  assert_true(fabs(collapse_std(M, D, x, NULL, scratch) * sqrt(D) - 1) < 6 * 0.004 + 1.0 / M);
  free(x);
}

static void collapsed_features_keep_their_digits(void **state) {
  (void)state;
  /* unit rows (cos a, sin a) with a = +-h: the deviations are 0 in the first feature, to second order, and sin h in the second */
  real h = (real)0x1p-10, x[4] = {1, h, 1, -h};
  double std[2], length = sqrt(1 + 0x1p-20);
  collapse_std(2, 2, x, std, scratch);
  assert_true(std[0] < 1e-16 && fabs(std[1] * length / 0x1p-10 - 1) < 1e-14);
}

static void cosine_is_the_mean_over_ordered_pairs(void **state) {
  (void)state;
  enum { B = 3, N = 7, C = 11 };
  real x[B * N * C];
  test_fill_normal(x, B * N * C, 2);
  for (int k = 0; k < C; k++) x[k] = 0; /* a zero region has cosine 0 with all */
  double image[B], total = 0, mean = collapse_cosine(B, N, C, x, image, scratch);
  for (int b = 0; b < B; b++) {
    double plain = 0;
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) {
        const real *u = x + (b * N + i) * C, *v = x + (b * N + j) * C;
        double uv = 0, uu = 0, vv = 0;
        for (int k = 0; k < C; k++) uv += (double)u[k] * (double)v[k], uu += (double)u[k] * (double)u[k], vv += (double)v[k] * (double)v[k];
        if (i != j) plain += uv / sqrt(fmax(uu, 1e-12) * fmax(vv, 1e-12));
      }
    plain /= N * (N - 1);
    assert_true(fabs(image[b] - plain) < N * N * C * 0x1p-53);
    total += plain / B;
  }
  assert_true(fabs(mean - total) < N * N * C * 0x1p-53);
}

static void cosine_of_equal_opposite_and_single_regions(void **state) {
  (void)state;
  real same[6] = {1, 2, 2, 4, 3, 6}, opposite[4] = {1, -1, -2, 2};
  double image;
  assert_true(fabs(collapse_cosine(1, 3, 2, same, &image, scratch) - 1) < 1e-15);
  assert_true(fabs(collapse_cosine(1, 2, 2, opposite, NULL, scratch) + 1) < 1e-15);
  assert_true(collapse_cosine(2, 1, 2, opposite, NULL, scratch) == 0);
}

static void entropy_from_one_match_to_all_different(void **state) {
  (void)state;
  int32_t index[12] = {2, 2, 2, 2, 3, 0, 1, 2, 1, 1, 3, 3};
  double image[3], mean = collapse_entropy(3, 4, index, image, scratch);
  assert_true(image[0] == 0 && fabs(image[1] - log(4)) < 1e-15 && fabs(image[2] - log(2)) < 1e-15);
  assert_true(fabs(mean - log(2)) < 1e-15);
}

static void the_size_of_features_does_not_matter(void **state) {
  (void)state;
  real x[40], y[40];
  test_fill_normal(x, 40, 3);
  for (int i = 0; i < 40; i++) y[i] = x[i] * (real)0x1p10; /* exact */
  assert_true(fabs(collapse_std(8, 5, x, NULL, scratch) - collapse_std(8, 5, y, NULL, scratch)) < 1e-15);
  assert_true(fabs(collapse_cosine(2, 4, 5, x, NULL, scratch) - collapse_cosine(2, 4, 5, y, NULL, scratch)) < 1e-15);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(std_of_known_rows),
                                     cmocka_unit_test(spread_features_have_std_one_over_root_d),
                                     cmocka_unit_test(collapsed_features_keep_their_digits),
                                     cmocka_unit_test(cosine_is_the_mean_over_ordered_pairs),
                                     cmocka_unit_test(cosine_of_equal_opposite_and_single_regions),
                                     cmocka_unit_test(entropy_from_one_match_to_all_different),
                                     cmocka_unit_test(the_size_of_features_does_not_matter)};
  return cmocka_run_group_tests_name("collapse " REAL_SUFFIX, tests, NULL, NULL);
}
