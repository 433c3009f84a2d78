/* Saliency: shares of known regions, the gradient that they are, and what leaves them as they were. */
#include "eval/saliency.h"

#include "support/cmocka.h"

#include "support/support.h"

#define UNIT 0x1p-53
enum { B = 3, N = 7, C = 11 };
static double scratch[C];

/* Regions as behind a ReLU: about half of the entries 0. */
static void fill_positive(real *x, ptrdiff_t n, uint32_t stream) {
  test_fill_normal(x, n, stream);
  for (ptrdiff_t i = 0; i < n; i++) x[i] = x[i] > 0 ? x[i] : 0;
}

static void close_shares(const double *a, const double *b, ptrdiff_t n, double bound) {
  for (ptrdiff_t i = 0; i < n; i++)
    if (!(fabs(a[i] - b[i]) <= bound)) fail_msg("share %td is %.17g, expected %.17g", i, a[i], b[i]);
}

static void one_region_alone_is_all(void **state) {
  (void)state;
  real r[4 * 2] = {0, 0, 0, 0, 3, 5, 0, 0};
  double share[4];
  saliency_shares(1, 4, 2, r, share, scratch);
  assert_true(share[0] == 0 && share[1] == 0 && share[2] == 1 && share[3] == 0);
  assert_true(saliency_effective(4, share) == 1);
}

static void equal_regions_have_equal_shares(void **state) {
  (void)state;
  real r[4 * 2] = {3, -5, 3, -5, 3, -5, 3, -5};
  double share[4];
  saliency_shares(1, 4, 2, r, share, scratch);
  for (int j = 0; j < 4; j++) assert_true(share[j] == 0.25);
  assert_true(saliency_effective(4, share) == 4);
}

/* Regions at right angles, of lengths a: shares a^2 / sum a^2. Of 8, four empty: 16 and four times 4 of 32. */
static void squares_of_lengths_at_right_angles(void **state) {
  (void)state;
  real r[8 * 5] = {0};
  double share[8];
  for (int j = 0; j < 5; j++) r[j * 5 + j] = j ? 2 : 4;
  saliency_shares(1, 8, 5, r, share, scratch);
  assert_true(share[0] == 0.5 && share[7] == 0);
  for (int j = 1; j < 5; j++) assert_true(share[j] == 0.125);
  assert_true(saliency_effective(8, share) == 3.2);
}

/* (3, 0) and (-1, 0): the feature is (1, 0), and the second region is taken from the first. */
static void a_region_that_points_away_is_negative(void **state) {
  (void)state;
  real r[2 * 2] = {3, 0, -1, 0};
  double share[2];
  saliency_shares(1, 2, 2, r, share, scratch);
  assert_true(share[0] == 1.5 && share[1] == -0.5);
  assert_true(saliency_effective(2, share) == 0.4);
}

static void a_zero_feature_is_shared_equally(void **state) {
  (void)state;
  real none[4 * 2] = {0}, opposite[4 * 2] = {1, 2, -1, -2, 3, 1, -3, -1};
  double share[4];
  for (int k = 0; k < 2; k++) {
    saliency_shares(1, 4, 2, k ? opposite : none, share, scratch);
    for (int j = 0; j < 4; j++) assert_true(share[j] == 0.25);
  }
}

/* Of regions >= 0: the feature's entries are right to N roundings, each dot product and the square to C + 1 more, and a share, of at most
 * 1, to one of the product and one of the division: at most N + 2 (C + 2) each, and as much of their sum, whose additions are N more. */
static void shares_are_positive_and_sum_to_one(void **state) {
  (void)state;
  real r[B * N * C];
  double share[B * N];
  fill_positive(r, B * N * C, 1);
  saliency_shares(B, N, C, r, share, scratch);
  for (int i = 0; i < B; i++) {
    double sum = 0;
    for (int j = 0; j < N; j++) {
      assert_true(share[i * N + j] > 0 && share[i * N + j] < 1);
      sum += share[i * N + j];
    }
    assert_true(fabs(sum - 1) <= (2 * N + 2 * (C + 2)) * UNIT);
    double effective = saliency_effective(N, share + i * N);
    assert_true(effective > 1 && effective < N);
  }
}

static double half_square(const double *r) {
  double sum = 0;
  for (int k = 0; k < C; k++) {
    double g = 0;
    for (int j = 0; j < N; j++) g += r[j * C + k] / N;
    sum += g * g / 2;
  }
  return sum;
}

/* share_j |m|^2 = x_j . dF/dx_j with F = |m|^2 / 2. Its central difference is exact but for rounding, as F is a square: with h = 1/2 it has
 * the errors of two F, each of N + C + 3 roundings of F + its change, and is then multiplied by x. Signed regions. */
static void a_share_is_the_gradient_times_the_region(void **state) {
  (void)state;
  real r[N * C];
  double x[N * C], share[N];
  test_fill_normal(r, N * C, 2);
  for (int i = 0; i < N * C; i++) x[i] = (double)r[i];
  saliency_shares(1, N, C, r, share, scratch);
  const double square = 2 * half_square(x), h = 0.5;
  for (int j = 0; j < N; j++) {
    double product = 0, bound = 0;
    for (int k = 0; k < C; k++) {
      double *entry = &x[j * C + k], whole = *entry;
      *entry = whole + h;
      double above = half_square(x);
      *entry = whole - h;
      double below = half_square(x);
      *entry = whole;
      product += whole * (above - below) / (2 * h);
      bound += 2 * (N + C + 3) * UNIT * (above + below) * fabs(whole) / (2 * h);
    }
    assert_true(fabs(share[j] * square - product) <= bound);
  }
}

static void the_size_of_regions_does_not_matter(void **state) {
  (void)state;
  real r[B * N * C];
  double share[B * N], scaled[B * N];
  fill_positive(r, B * N * C, 3);
  saliency_shares(B, N, C, r, share, scratch);
  for (int i = 0; i < B * N * C; i++) r[i] = r[i] * (real)0x1p-60; /* exact, and so are all products of it */
  saliency_shares(B, N, C, r, scaled, scratch);
  assert_memory_equal(share, scaled, sizeof share);
}

/* Cells and channels have no order: their sums are other sums, and equal to the bound above. */
static void shares_follow_their_regions(void **state) {
  (void)state;
  real r[N * C], moved[N * C];
  double share[N], other[N], expected[N];
  fill_positive(r, N * C, 4);
  for (int j = 0; j < N; j++)
    for (int k = 0; k < C; k++) moved[3 * j % N * C + 5 * k % C] = r[j * C + k];
  saliency_shares(1, N, C, r, share, scratch);
  saliency_shares(1, N, C, moved, other, scratch);
  for (int j = 0; j < N; j++) expected[3 * j % N] = share[j];
  close_shares(other, expected, N, 2 * (N + 2 * (C + 2)) * UNIT);
}

static void images_know_nothing_of_each_other(void **state) {
  (void)state;
  real r[B * N * C];
  double share[B * N], alone[N];
  fill_positive(r, B * N * C, 5);
  saliency_shares(B, N, C, r, share, scratch);
  for (int i = 0; i < B; i++) {
    saliency_shares(1, N, C, r + i * N * C, alone, scratch);
    assert_memory_equal(alone, share + i * N, sizeof alone);
  }
}

/* What is no number comes out as none, for the caller to find, in its image alone. */
static void what_is_no_number_is_not_hidden(void **state) {
  (void)state;
  real r[2 * N * C];
  double share[2 * N];
  const real bad[2] = {(real)NAN, (real)INFINITY};
  for (int k = 0; k < 2; k++) {
    fill_positive(r, 2 * N * C, 6);
    r[4] = bad[k];
    saliency_shares(2, N, C, r, share, scratch);
    assert_false(isfinite(saliency_effective(N, share)));
    assert_true(isfinite(saliency_effective(N, share + N)));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_region_alone_is_all),
                                     cmocka_unit_test(equal_regions_have_equal_shares),
                                     cmocka_unit_test(squares_of_lengths_at_right_angles),
                                     cmocka_unit_test(a_region_that_points_away_is_negative),
                                     cmocka_unit_test(a_zero_feature_is_shared_equally),
                                     cmocka_unit_test(shares_are_positive_and_sum_to_one),
                                     cmocka_unit_test(a_share_is_the_gradient_times_the_region),
                                     cmocka_unit_test(the_size_of_regions_does_not_matter),
                                     cmocka_unit_test(shares_follow_their_regions),
                                     cmocka_unit_test(images_know_nothing_of_each_other),
                                     cmocka_unit_test(what_is_no_number_is_not_hidden)};
  return cmocka_run_group_tests_name("saliency " REAL_SUFFIX, tests, NULL, NULL);
}
