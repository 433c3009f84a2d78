/* The schedules of docs/method.md, "Optimisation", at points where their values are known without a cosine, and their shape in between. */
#include "support/cmocka.h"
#include "support/support.h"
#include "train/schedule.h"

/* ediy-1000 on ImageNet: the paper's initial rate 3.2 is the peak, of base rate 0.2 at batch 4096; the factor 16 between them is exact. */
static struct schedule paper(void) { return schedule_make(0.2, 4096, 10, 1000, 312, 0.996); }

static void near(double a, double b) {
  /* values below 4; a handful of roundings of 2^-53 relative */
  if (!(fabs(a - b) <= 4 * 8 * 0x1p-53)) fail_msg("%.17g, expected %.17g", a, b);
}

static void counts_optimiser_steps(void **state) {
  (void)state;
  struct schedule s = paper();
  assert_int_equal(s.steps, 312000);
  assert_int_equal(s.warmup, 3120);
  near(s.peak, 3.2);
}

static void known_points(void **state) {
  (void)state;
  struct schedule s = paper();
  near(schedule_lr(&s, 0), 0);
  near(schedule_lr(&s, 1), 3.2 / 3120);
  near(schedule_lr(&s, 1560), 1.6);
  near(schedule_lr(&s, 3120), 3.2);                              /* cos 0 */
  near(schedule_lr(&s, 3120 + (312000 - 3120) / 3), 0.75 * 3.2); /* cos 60 deg = 1/2 */
  near(schedule_lr(&s, 3120 + (312000 - 3120) / 2), 1.6);        /* cos 90 deg */
  near(schedule_lr(&s, 312000), 0);
  near(schedule_tau(&s, 0), 0.996);
  near(schedule_tau(&s, 104000), 0.997); /* 1 - 0.004 * 3/4 */
  near(schedule_tau(&s, 156000), 0.998);
  near(schedule_tau(&s, 312000), 1);
}

static void rises_then_falls_and_tau_rises(void **state) {
  (void)state;
  struct schedule s = schedule_make(0.3, 64, 2, 7, 9, 0.99);
  for (int64_t k = 0; k < s.steps; k++) {
    assert_true(k < s.warmup ? schedule_lr(&s, k + 1) > schedule_lr(&s, k) : schedule_lr(&s, k + 1) < schedule_lr(&s, k));
    assert_true(schedule_tau(&s, k + 1) > schedule_tau(&s, k));
  }
}

static void without_warm_up_starts_at_the_peak(void **state) {
  (void)state;
  struct schedule s = schedule_make(0.5, 256, 0, 3, 5, 0.9);
  near(schedule_lr(&s, 0), 0.5);
}

static void a_run_shorter_than_its_warm_up_ends_at_rate_zero(void **state) {
  (void)state;
  struct schedule s = schedule_make(0.5, 256, 10, 3, 5, 0.9);
  assert_int_equal(s.warmup, s.steps);
  near(schedule_lr(&s, 14), 0.5 * 14 / 15);
  near(schedule_lr(&s, 15), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(counts_optimiser_steps), cmocka_unit_test(known_points),
                                     cmocka_unit_test(rises_then_falls_and_tau_rises), cmocka_unit_test(without_warm_up_starts_at_the_peak),
                                     cmocka_unit_test(a_run_shorter_than_its_warm_up_ends_at_rate_zero)};
  return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
