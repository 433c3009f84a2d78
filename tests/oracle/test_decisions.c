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
  float candidate[4] = {0.5F, 0, 4e-7F, 0};
  double truth[4] = {0.5, 1e-7, 0, 0}, dy[4] = {1, 2, 3, 4};
  send(&record, PHASE_FORWARD, "bn1", "y", DTYPE_F32, candidate);
  send(&record, PHASE_BACKWARD, "bn1", "dy", DTYPE_F32, candidate); /* only outputs are recorded */
  send(&force, PHASE_FORWARD, "bn1", "y", DTYPE_F64, truth);
  assert_true(truth[0] == 0.5 && truth[1] == 1e-7 && truth[2] == DBL_MIN && truth[3] == 0);
  send(&force, PHASE_BACKWARD, "bn1", "dweight", DTYPE_F64, dy);
  send(&force, PHASE_BACKWARD, "bn2", "dy", DTYPE_F64, dy);
  assert_true(dy[1] == 2);
  send(&force, PHASE_BACKWARD, "bn1", "dy", DTYPE_F64, dy);
  assert_true(dy[0] == 1 && dy[1] == 0 && dy[2] == 3 && dy[3] == 4);
  assert_false(d.broken);
  assert_int_equal(d.next, d.count);
  assert_int_equal(d.flips, 2);
  assert_int_equal(d.seen, 4);
  assert_true(d.widest == (double)4e-7F / 0.5);
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

/* Windows of 3 x 3 with stride 2 and a border, in every place of a plane: the candidate's winner is raised above the truth's, in order. */
static void every_window_of_the_max_pool_is_looked_at(void **state) {
  (void)state;
  enum { H = 6, W = 7, C = 2, P = 3, Q = 4, X = 2 * H * W * C };
  static float candidate[X], pooled[2 * P * Q * C];
  static double truth[X], expected[X];
  const ptrdiff_t xs[] = {2, H, W, C}, ys[] = {2, P, Q, C};
  struct decisions d = {0};
  struct trace record = decisions_record(&d), force = decisions_force(&d);
  struct trace_event e = {.phase = PHASE_FORWARD, .network = "online", .view = 1, .layer = "bn1", .tensor = "y"};
  for (int i = 0; i < X; i++) candidate[i] = (float)(1 + i * 37 % 101), truth[i] = expected[i] = 1 + i * 53 % 103;
  e.data = tensor_make(DTYPE_F32, candidate, 4, xs, "x");
  record.see(record.context, &e);
  e.layer = "maxpool", e.data = tensor_make(DTYPE_F32, pooled, 4, ys, "y");
  record.see(record.context, &e);
  int flips = 0;
  double widest = 0;
  for (int n = 0; n < 2; n++)
    for (int p = 0; p < P; p++)
      for (int q = 0; q < Q; q++)
        for (int c = 0; c < C; c++) {
          int ours = -1, theirs = -1;
          for (int h = 2 * p - 1; h <= 2 * p + 1; h++)
            for (int w = 2 * q - 1; w <= 2 * q + 1; w++) {
              int at = ((n * H + h) * W + w) * C + c;
              if (h < 0 || w < 0 || h >= H || w >= W) continue;
              if (theirs < 0 || candidate[at] > candidate[theirs]) theirs = at;
              if (ours < 0 || expected[at] > expected[ours]) ours = at;
            }
          if (ours == theirs) continue;
          flips++, widest = fmax(widest, (expected[ours] - expected[theirs]) / 103);
          expected[theirs] = nextafter(expected[ours], INFINITY);
        }
  e.layer = "bn1", e.data = tensor_make(DTYPE_F64, truth, 4, xs, "x");
  force.see(force.context, &e);
  assert_memory_equal(truth, expected, sizeof truth);
  assert_int_equal(d.flips, flips);
  assert_int_equal(d.seen, X + 2 * P * Q * C);
  assert_true(flips > 20 && fabs(d.widest - widest) < 1e-12);
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
      cmocka_unit_test(relus_are_opened_and_closed),
      cmocka_unit_test(closings_belong_to_one_pass),
      cmocka_unit_test(outputs_with_a_sign_are_left_alone),
      cmocka_unit_test(winners_of_the_max_pool_are_raised),
      cmocka_unit_test(every_window_of_the_max_pool_is_looked_at),
      cmocka_unit_test(runs_of_other_networks_are_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
