/* Decisions of a candidate are carried into the truth: gradients then flow the candidate's way, forward values stay, and what was changed
 * is counted and measured. The networks here are made-up events of the trace. */
#include "oracle/decisions.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "support/cmocka.h"

static const ptrdiff_t shape[4] = {1, 2, 2, 1};

static void send(const struct trace *trace, enum phase phase, const char *layer, const char *tensor, enum dtype dtype, void *data) {
  struct trace_event e = {.phase = phase, .network = "online", .view = 1, .layer = layer, .tensor = tensor};
  e.data = tensor_make(dtype, data, 4, shape, "%s.%s", layer, tensor);
  trace->see(trace->context, &e);
}

static void relus_are_opened_and_closed(void **state) {
  (void)state;
  struct decisions d = {0};
  struct trace record = decisions_record(&d), force = decisions_force(&d);
  float candidate[4] = {2, 0, 4e-7F, 0};
  double truth[4] = {2, 1e-7, 0, 0}, dy[4] = {1, 2, 3, 4};
  send(&record, PHASE_FORWARD, "bn1", "y", DTYPE_F32, candidate);
  send(&record, PHASE_BACKWARD, "bn1", "dy", DTYPE_F32, candidate); /* only outputs are recorded */
  send(&force, PHASE_FORWARD, "bn1", "y", DTYPE_F64, truth);
  assert_true(truth[0] == 2 && truth[1] == 1e-7 && truth[2] == DBL_MIN && truth[3] == 0);
  send(&force, PHASE_BACKWARD, "bn1", "dweight", DTYPE_F64, dy);
  send(&force, PHASE_BACKWARD, "bn2", "dy", DTYPE_F64, dy);
  assert_true(dy[1] == 2);
  send(&force, PHASE_BACKWARD, "bn1", "dy", DTYPE_F64, dy);
  assert_true(dy[0] == 1 && dy[1] == 0 && dy[2] == 3 && dy[3] == 4);
  assert_false(d.broken);
  assert_int_equal(d.next, d.count);
  assert_int_equal(d.flips, 2);
  assert_int_equal(d.seen, 4);
  assert_true(d.widest == (double)4e-7F / 2);
  assert_non_null(strstr(d.where, "online view 1 bn1 [2]"));
  decisions_free(&d);
}

/* A layer runs once a view and step: the gradient meets the closings of its latest pass. */
static void closings_belong_to_one_pass(void **state) {
  (void)state;
  struct decisions d = {0};
  struct trace record = decisions_record(&d), force = decisions_force(&d);
  float first[4] = {0, 1, 1, 1}, second[4] = {1, 1, 1, 0};
  double truth[4] = {1, 1, 1, 1}, dy[4] = {1, 1, 1, 1};
  send(&record, PHASE_FORWARD, "bn1", "y", DTYPE_F32, first);
  send(&record, PHASE_FORWARD, "bn1", "y", DTYPE_F32, second);
  send(&force, PHASE_FORWARD, "bn1", "y", DTYPE_F64, truth);
  send(&force, PHASE_FORWARD, "bn1", "y", DTYPE_F64, truth);
  send(&force, PHASE_BACKWARD, "bn1", "dy", DTYPE_F64, dy);
  assert_true(dy[0] == 1 && dy[3] == 0);
  decisions_free(&d);
}

/* A value below zero says that the layer has no ReLU. */
static void outputs_with_a_sign_are_left_alone(void **state) {
  (void)state;
  struct decisions d = {0};
  struct trace record = decisions_record(&d), force = decisions_force(&d);
  float candidate[4] = {-1, 0, 1, 1};
  double truth[4] = {-1, 1e-7, 1, 1};
  send(&record, PHASE_FORWARD, "downsample.1", "y", DTYPE_F32, candidate);
  send(&force, PHASE_FORWARD, "downsample.1", "y", DTYPE_F64, truth);
  assert_int_equal(d.flips, 0);
  assert_false(d.broken);
  decisions_free(&d);
}

/* The window of a 2x2 plane holds all four: the candidate's winner gets just above the truth's. */
static void winners_of_the_max_pool_are_raised(void **state) {
  (void)state;
  struct decisions d = {0};
  struct trace record = decisions_record(&d), force = decisions_force(&d);
  float candidate[4] = {3, 3.000001F, 0, 1}, pooled[4] = {3.000001F, 0, 0, 0};
  double truth[4] = {3.000001, 3, 0, 1};
  send(&record, PHASE_FORWARD, "bn1", "y", DTYPE_F32, candidate);
  send(&record, PHASE_FORWARD, "maxpool", "y", DTYPE_F32, pooled);
  send(&force, PHASE_FORWARD, "bn1", "y", DTYPE_F64, truth);
  assert_true(truth[1] == nextafter(3.000001, 4) && truth[0] == 3.000001);
  assert_int_equal(d.flips, 1);
  assert_true(fabs(d.widest - 1e-6 / 3.000001) < 1e-15);
  decisions_free(&d);
}

static void runs_of_other_networks_are_noticed(void **state) {
  (void)state;
  float candidate[4] = {1, 1, 1, 1};
  double truth[4] = {1, 1, 1, 1};
  struct decisions d = {0};
  struct trace record = decisions_record(&d), force = decisions_force(&d);
  send(&record, PHASE_FORWARD, "bn1", "y", DTYPE_F32, candidate);
  send(&force, PHASE_FORWARD, "bn2", "y", DTYPE_F64, truth);
  assert_true(d.broken);
  decisions_free(&d);
  record = decisions_record(&d), force = decisions_force(&d);
  send(&force, PHASE_FORWARD, "bn1", "y", DTYPE_F64, truth); /* one more than was recorded */
  assert_true(d.broken);
  decisions_free(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(relus_are_opened_and_closed),        cmocka_unit_test(closings_belong_to_one_pass),
      cmocka_unit_test(outputs_with_a_sign_are_left_alone), cmocka_unit_test(winners_of_the_max_pool_are_raised),
      cmocka_unit_test(runs_of_other_networks_are_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
