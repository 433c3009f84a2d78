/* Means with their intervals. Wilson's, of shares, are tested with what makes them (test_knn.c). */
#include "eval/interval.h"

#include "support/cmocka.h"

#include "support/support.h"

/* Student's 97.5 % points: in closed form for one and two degrees of freedom; else as tables have them, to three places. */
static void students_points_are_the_published_ones(void **state) {
  (void)state;
  assert_true(fabs(student_t(1) - tan(0.475 * acos(-1.0))) < 1e-13 * student_t(1));
  assert_true(fabs(student_t(2) - 0.95 * sqrt(2 / (1 - 0.95 * 0.95))) < 1e-14 * student_t(2));
  static const struct {
    ptrdiff_t freedom;
    double t;
  } known[] = {{3, 3.182},  {4, 2.776},  {5, 2.571},  {6, 2.447},  {9, 2.262},
               {10, 2.228}, {29, 2.045}, {30, 2.042}, {60, 2.000}, {120, 1.980}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) assert_true(fabs(student_t(known[i].freedom) - known[i].t) < 5.1e-4);
  /* with more they go down to the normal distribution's: t = z + (z^3 + z) / 4f + O(1 / f^2) */
  const double z = WILSON_Z;
  for (ptrdiff_t f = 1000; f <= 1001; f++) assert_true(fabs(student_t(f) - z - (z * z * z + z) / (4 * (double)f)) < 10.0 / (double)(f * f));
}

static void a_mean_by_hand(void **state) {
  (void)state;
  const double x[4] = {1, 3, 5, 7}; /* mean 4, squares about it 20, s / sqrt(n) = sqrt(20 / 3 / 4) */
  struct mean m = mean_of(4, x);
  double half = student_t(3) * sqrt(20.0 / 12);
  assert_true(m.count == 4 && m.value == 4);
  assert_true(fabs(m.low - (4 - half)) < 1e-14 && fabs(m.high - (4 + half)) < 1e-14);
  const double same[3] = {2.5, 2.5, 2.5};
  m = mean_of(3, same);
  assert_true(m.low == 2.5 && m.value == 2.5 && m.high == 2.5);
}

/* Of one value nothing is known about another. */
static void one_value_has_no_interval(void **state) {
  (void)state;
  const double x = 3;
  struct mean one = mean_of(1, &x), none = mean_of(0, NULL);
  assert_true(one.value == 3 && one.low == -INFINITY && one.high == INFINITY);
  assert_true(none.count == 0 && none.value == 0 && none.low == -INFINITY && none.high == INFINITY);
}

/* Draws of 5 normal numbers of mean 1: the interval holds 1 in 95 % of 4000; six standard errors sqrt(.95 .05 / 4000) are 0.0207. A normal
 * interval in place of Student's would hold it in 88 %. */
static void intervals_hold_the_mean_as_often_as_they_say(void **state) {
  (void)state;
  enum { DRAWS = 4000, EACH = 5 };
  real *x = test_reals(DRAWS * EACH);
  int held = 0;
  test_fill_normal(x, DRAWS * EACH, 1);
  for (int i = 0; i < DRAWS; i++) {
    double draw[EACH];
    for (int j = 0; j < EACH; j++) draw[j] = 1 + (double)x[i * EACH + j];
    struct mean m = mean_of(EACH, draw);
    held += m.low <= 1 && 1 <= m.high;
  }
  assert_true(fabs(held / (double)DRAWS - 0.95) < 0.0207);
  free(x);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(students_points_are_the_published_ones), cmocka_unit_test(a_mean_by_hand),
                                     cmocka_unit_test(one_value_has_no_interval),
                                     cmocka_unit_test(intervals_hold_the_mean_as_often_as_they_say)};
  return cmocka_run_group_tests_name("interval " REAL_SUFFIX, tests, NULL, NULL);
}
