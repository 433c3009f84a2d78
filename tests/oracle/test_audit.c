/* The audit finds what a careless rule would accept, and nothing with a rule that looks at every element. */
#include <math.h>
#include <string.h>

#include "oracle/audit.h"
#include "support/cmocka.h"

enum { ROWS = 4, CHANNELS = 50, SIZE = ROWS * CHANNELS };
static double y[SIZE], before[SIZE], other[SIZE], lower[SIZE];

static struct measure measure_of_numbers(void) {
  struct measure m = {.p = &precision_classes[PRECISION_FP32], .y = y, .lower = lower};
  m.truth = tensor_make(DTYPE_F64, y, 2, (ptrdiff_t[]){ROWS, CHANNELS}, "y");
  for (int i = 0; i < SIZE; i++) {
    y[i] = (double)(float)sin(1 + i);
    before[i] = 0.9 * y[i], other[i] = y[(i + 7) % SIZE], lower[i] = y[i];
  }
  return m;
}

static double distance(const double *c, int first, int end) {
  double most = 0;
  for (int i = first; i < end; i++) most = fmax(most, fabs(c[i] - y[i]));
  return most;
}

static bool everything(const void *context, const double *c) { return (void)context, distance(c, 0, SIZE) < 1e-6; }
static bool all_but_the_last(const void *context, const double *c) { return (void)context, distance(c, 0, SIZE - 64) < 1e-6; }
static bool within_a_thousandth(const void *context, const double *c) { return (void)context, distance(c, 0, SIZE) < 1e-3; }
static bool small_numbers(const void *context, const double *c) { return (void)context, distance(c, 0, SIZE) < 0.11; }
static bool anything(const void *context, const double *c) { return (void)context, (void)c, true; }

static bool mean_alone(const void *context, const double *c) {
  double sum = 0;
  (void)context;
  for (int i = 0; i < SIZE; i++) sum += c[i] - y[i];
  return fabs(sum) < 1e-6;
}

static bool squares_alone(const void *context, const double *c) {
  double sum = 0;
  (void)context;
  for (int i = 0; i < SIZE; i++) sum += c[i] * c[i] - y[i] * y[i];
  return fabs(sum) < 1e-6;
}

static const char *accepted_by(audit_rule *rule, const struct measure *m) {
  const char *accepted;
  struct error err;
  assert_true(audit(m, true, rule, NULL, y, &accepted, &err));
  return accepted;
}

static void each_careless_rule_is_found(void **state) {
  (void)state;
  struct measure m = measure_of_numbers();
  assert_null(accepted_by(everything, &m));
  assert_string_equal(accepted_by(anything, &m), "zeros");
  assert_string_equal(accepted_by(mean_alone, &m), "the mean of each channel");
  assert_string_equal(accepted_by(squares_alone, &m), "another order of the batch");
  assert_string_equal(accepted_by(within_a_thousandth, &m), "the next lower precision");
  assert_string_equal(accepted_by(all_but_the_last, &m), "zeros at its end");
}

/* Stale memory: with lower precision out of the way, what was there before, and the other pass. */
static void stale_numbers_are_found_where_there_are_some(void **state) {
  (void)state;
  struct measure m = measure_of_numbers();
  for (int i = 0; i < SIZE; i++) lower[i] = 5;
  assert_null(accepted_by(small_numbers, &m));
  m.start = before;
  assert_string_equal(accepted_by(small_numbers, &m), "what was there before");
  m.start = NULL;
  m.other = other;
  assert_null(accepted_by(small_numbers, &m));
  for (int i = 0; i < SIZE; i++) other[i] = y[i] + 0.1;
  assert_string_equal(accepted_by(small_numbers, &m), "the same tensor of the pass before");
}

/* Of a constant tensor the mean and any order are right; of zeros nothing is wrong. */
static void what_is_right_to_the_bit_proves_nothing(void **state) {
  (void)state;
  struct measure m = measure_of_numbers();
  for (int i = 0; i < SIZE; i++) y[i] = lower[i] = 0;
  assert_null(accepted_by(anything, &m));
}

/* A wrong tensor that is the candidate's to the bit is no other tensor, whatever the truth's last digits are. */
static void what_is_the_candidates_own_proves_nothing(void **state) {
  (void)state;
  struct measure m = measure_of_numbers();
  double c[SIZE];
  const char *accepted;
  struct error err;
  for (int i = 0; i < SIZE; i++) c[i] = lower[i] = (1 + i % 50) / 64.0, y[i] = c[i] + 1e-9; /* numbers of tf32 */
  assert_true(audit(&m, true, within_a_thousandth, NULL, c, &accepted, &err));
  assert_null(accepted);
  lower[7] += 0.0005;
  assert_true(audit(&m, true, within_a_thousandth, NULL, c, &accepted, &err));
  assert_string_equal(accepted, "the next lower precision");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_careless_rule_is_found),
      cmocka_unit_test(stale_numbers_are_found_where_there_are_some),
      cmocka_unit_test(what_is_right_to_the_bit_proves_nothing),
      cmocka_unit_test(what_is_the_candidates_own_proves_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
