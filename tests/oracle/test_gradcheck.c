/* The reference's gradients are what central differences say, and what is no gradient is refused. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/gradcheck.h"
#include "oracle/make_case.h"
#include "support/cmocka.h"

static bool made_and_checked(int op, int64_t seed, bool stopgrad, struct gradcheck *g, int *count, struct error *err) {
  struct make_options *o = calloc(1, sizeof *o);
  struct made_case *made = calloc(1, sizeof *made);
  assert_true(o && made);
  make_defaults(o);
  o->op = op, o->seed = seed, o->n = 3, o->h = 4, o->w = 3, o->c = 5, o->k = 4, o->before = true, o->residual = true,
  o->stopgrad = stopgrad;
  if (!make_inputs(made, o, err)) fail_msg("%s", err->text);
  bool ok = gradcheck_case(&made->file, (uint64_t)seed, g, count, err);
  made_case_free(made);
  free(made);
  free(o);
  return ok;
}

static void gradients_are_differences(void **state) {
  (void)state;
  static const int ops[] = {MAKE_CONV, MAKE_LINEAR, MAKE_NORM, MAKE_RELU, MAKE_MAXPOOL, MAKE_AVGPOOL, MAKE_LOSS};
  int decided = 0;
  for (int i = 0; i < 7; i++) {
    for (int64_t seed = 1; seed < 4; seed++) {
      struct gradcheck g[GRADCHECK_MOST];
      struct error err;
      int count;
      if (!made_and_checked(ops[i], seed, false, g, &count, &err)) fail_msg("%s", err.text);
      for (int k = 0; k < count; k++) {
        if (!g[k].pass) fail_msg("%s of operation %d: off by %g, allowed %g", g[k].gradient, ops[i], g[k].error, g[k].allowed);
        decided += g[k].decided;
      }
    }
  }
  assert_true(decided >= 7 * 3);
}

static void what_has_no_gradient_is_refused(void **state) {
  (void)state;
  struct gradcheck g[GRADCHECK_MOST];
  struct error err;
  int count;
  assert_false(made_and_checked(MAKE_MATCH, 1, false, g, &count, &err));
  assert_non_null(strstr(err.text, "operation match has no gradients"));
  assert_false(made_and_checked(MAKE_LOSS, 1, true, g, &count, &err));
  assert_non_null(strstr(err.text, "rdem_stopgrad match"));
}

int main(void) {
  omp_set_num_threads(1); /* shapes too small to share out */
  const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_differences), cmocka_unit_test(what_has_no_gradient_is_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
