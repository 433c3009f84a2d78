/* Decisions within rounding are accepted one by one, and not in numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/candidate.h"
#include "oracle/memory_case.h"
#include "support/cmocka.h"

enum { ROWS = 40, CHANNELS = 100, SIZE = ROWS * CHANNELS };

/* A norm that adds 1 to x (mean 0, variance 1, beta 1), with ReLU. `close` elements are -1 + delta: delta is 0.9 of what rounding may move
 * them by, and a candidate that has 0 there has decided otherwise. */
static struct judged judged_with(int turned) {
  static float x[SIZE], y[SIZE], gamma[CHANNELS], beta[CHANNELS], mean[CHANNELS], var[CHANNELS];
  const ptrdiff_t shape[] = {ROWS, CHANNELS}, c = CHANNELS;
  struct tensor given[] = {tensor_make(DTYPE_F32, x, 2, shape, "x"), tensor_make(DTYPE_F32, gamma, 1, &c, "g"),
                           tensor_make(DTYPE_F32, beta, 1, &c, "b"), tensor_make(DTYPE_F32, mean, 1, &c, "m"),
                           tensor_make(DTYPE_F32, var, 1, &c, "v")};
  static const char *const names[] = {"in.x", "param.gamma", "param.beta", "in.running_mean", "in.running_var"};
  double delta = 0.9 * (4 * sqrt(ROWS) + 2) * 0x1p-24 * 3; /* G = 2 |x| + |beta| */
  struct memory_case m;
  struct judged_file j;
  struct error err;
  for (int k = 0; k < CHANNELS; k++) gamma[k] = beta[k] = var[k] = 1;
  for (int i = 0; i < SIZE; i++) {
    bool close = i % CHANNELS == 3 || i % 77 == 5;
    x[i] = close ? (float)(-1 + delta) : (float)(1 + i % 13);
    y[i] = x[i] + 1;
    if (close && turned-- > 0) y[i] = 0;
  }
  memory_case_begin(&m, "norm", "bn");
  memory_case_text(&m, "mode", "eval");
  memory_case_number(&m, "eps", 0);
  memory_case_number(&m, "momentum", 0.1);
  memory_case_flag(&m, "relu", true);
  memory_case_flag(&m, "residual", false);
  for (int i = 0; i < 5; i++) memory_case_give(&m, names[i], &given[i]);
  memory_case_expect(&m, "out.y", DTYPE_F32, 2, shape);
  struct tensor t = tensor_make(DTYPE_F32, y, 2, shape, "out.y");
  if (!memory_case_end(&m, &err) ||
      !candidate_judge_tensors(&m.file, &t, 1, &precision_classes[PRECISION_FP32], CHAIN_USUAL, true, &j, &err)) {
    fail_msg("%s", err.text);
  }
  struct judged result = j.tensor[0];
  judged_free(&j);
  memory_case_free(&m);
  return result;
}

static void a_few_decisions_turn_by_rounding_and_many_do_not(void **state) {
  (void)state;
  assert_int_equal(judged_with(0).judgement, JUDGED_PASS);
  assert_int_equal(judged_with(3).judgement, JUDGED_PASS);
  struct judged many = judged_with(30);
  assert_int_equal(many.judgement, JUDGED_MISMATCH);
  assert_string_equal(many.finding.rule, "number of ReLUs that decided otherwise");
  assert_true(many.finding.error == 30 && many.finding.allowed < 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_few_decisions_turn_by_rounding_and_many_do_not),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
