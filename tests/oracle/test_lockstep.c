/* Lockstep: equal backends do not drift, unequal ones by what they differ, and a backend that does not repeat itself is found. */
#include <string.h>

#include "oracle/lockstep.h"

#include "support/cmocka.h"
#include "support/support.h"

static struct step_source source;
static struct error err;

static int enter(void **state) {
  (void)state;
  static char keys[][32] = {"preset=sanity", "size=16", "batch=4", "projector.hidden=16", "projector.out=8", "warmup=0", "lr=8"};
  char *key[7];
  for (int i = 0; i < 7; i++) key[i] = keys[i];
  return step_source_open(&source, 7, key, STEP_FORMULA, 0, &err) ? 0 : -1;
}

static int leave(void **state) {
  (void)state;
  step_source_close(&source);
  return 0;
}

static struct step_backend named(const char *name) {
  struct step_backend b;
  if (!step_backend_named(name, &b, &err)) fail_msg("%s", err.text);
  return b;
}

static void equal_backends_do_not_drift(void **state) {
  (void)state;
  const struct step_backend a = named("ref32"), b = named("reference");
  struct lockstep l;
  struct lockstep_step s;
  assert_true(lockstep_begin(&l, &source, &a, &b, &err));
  for (int k = 0; k < 2; k++) {
    if (!lockstep_next(&l, &s, &err)) fail_msg("%s", err.text);
    for (int g = 0; g < LOCKSTEP_GROUPS; g++) assert_true(s.drift[g] == 0);
    assert_true(s.a.total == s.b.total);
    assert_int_equal(s.regions, 4 * 4 * 4); /* both rules and views; four images of 2 x 2 cells */
    assert_int_equal(s.matched_apart, 0);
  }
  assert_int_equal(l.hashes_a.count, l.hashes_b.count);
  assert_memory_equal(l.hashes_a.hash, l.hashes_b.hash, (size_t)l.hashes_a.count * 32);
  lockstep_end(&l);
}

/* LARS with results that are 1e-3 too large: of online's parameters the drift of the first step is 1e-3, up to estimating it from some
 * hundreds of projections (sqrt(2 / 16 / 42) of its square for 42 tensors of one size; of unequal ones up to five times that). */
static struct backend_f32 larger;
static void lars_1_001(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  backend_reference_f32()->lars_update(o, size, adapt, lr, g, w, m);
  for (ptrdiff_t i = 0; i < size; i++) w[i] = (real)((double)w[i] * 1.001);
}

static void drift_is_the_difference(void **state) {
  (void)state;
  const struct step_backend a = named("ref32");
  struct step_backend b = a;
  struct lockstep l;
  struct lockstep_step first, second;
  larger = *backend_reference_f32();
  larger.lars_update = lars_1_001;
  larger.lars_update_all = NULL;
  b.f32 = &larger;
  assert_true(lockstep_begin(&l, &source, &a, &b, &err));
  if (!lockstep_next(&l, &first, &err) || !lockstep_next(&l, &second, &err)) fail_msg("%s", err.text);
  assert_true(first.drift[LOCKSTEP_FORWARD] == 0 && first.drift[LOCKSTEP_GRADIENT] == 0);
  assert_true(first.drift[LOCKSTEP_PARAMETER] > 0.8e-3 && first.drift[LOCKSTEP_PARAMETER] < 1.2e-3);
  assert_true(second.drift[LOCKSTEP_FORWARD] > 0 && second.drift[LOCKSTEP_VIEWS] == 0);
  lockstep_end(&l);
}

/* A convolution whose result depends on how often it was called in the life of the process. */
static struct backend_f32 restless;
static int calls;
static void conv_restless(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  backend_reference_f32()->conv_forward(g, x, w, y, scratch);
  if (calls++ == 100) y[0] += 1;
}

static void what_does_not_repeat_is_found(void **state) {
  (void)state;
  struct step_backend a = named("ref32"), b = a;
  struct lockstep l;
  struct lockstep_step s;
  char where[TENSOR_MAX_NAME];
  bool same;
  restless = *backend_reference_f32();
  restless.conv_forward = conv_restless;
  b.f32 = &restless;
  assert_true(lockstep_begin(&l, &source, &a, &b, &err) && lockstep_next(&l, &s, &err));
  assert_true(lockstep_again(&l.hashes_a, &source, &a, 1, &same, where, &err));
  assert_true(same);
  assert_true(lockstep_again(&l.hashes_b, &source, &b, 1, &same, where, &err));
  assert_false(same); /* call 100 is the 29th of the second run, of 72: the target's fifth of view 1 */
  assert_string_equal(where, "0.0/forward/target/1/layer2.0.conv2/y");
  lockstep_end(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equal_backends_do_not_drift), cmocka_unit_test(drift_is_the_difference),
                                     cmocka_unit_test(what_does_not_repeat_is_found)};
  return cmocka_run_group_tests_name("oracle lockstep", tests, enter, leave);
}
