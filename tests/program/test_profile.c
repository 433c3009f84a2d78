/* The profile of a step: on a table whose clock moves by what each operation is said to take, every second is counted once, with its kind
 * and with its stage. */
#include "model/step.h"
#include "program/profile.h"

#include "support/cmocka.h"
#include "support/small_model.h"

#include "support/support.h"

static double now, marks[BACKEND_MARKS];
static int highest;
static void mark(int m) { marks[m] = now, highest = m > highest ? m : highest; }
static double seconds_between(int first, int second) { return marks[second] - marks[first]; }

/* Powers of 1000 apart, so that a sum says what it is made of. */
enum { CONV = 1, LINEAR = 1000, NORM_BACKWARD = 2, MATCH = 3, LOSS = 5, LARS = 7, AVERAGE = 11, ZERO = 13 };

static const struct backend *ref;
static void conv_forward_slowly(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  ref->conv_forward(g, x, w, y, scratch);
  now += CONV;
}
static void linear_forward_slowly(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  ref->linear_forward(g, x, w, b, y);
  now += LINEAR;
}
static void norm_backward_slowly(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                 const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                 void *scratch) {
  ref->norm_backward_train(g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
  now += NORM_BACKWARD;
}
static void match_slowly(const struct match *g, const real *t, int32_t *d, void *scratch) {
  ref->match_diversity(g, t, d, scratch);
  now += MATCH;
}
static void loss_slowly(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *scratch) {
  ref->loss_byol(g, q, z, scale, value, dq, scratch);
  now += LOSS;
}
static void lars_slowly(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  ref->lars_update(o, size, adapt, lr, g, w, m);
  now += LARS;
}
static void average_slowly(ptrdiff_t size, double tau, const real *theta, real *xi) {
  ref->ema_update(size, tau, theta, xi);
  now += AVERAGE;
}
static void zero_slowly(void *to, size_t bytes) {
  ref->zero(to, bytes);
  now += ZERO;
}

static int joined;
static void conv_norm_slowly(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                             const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                             void *scratch) {
  real *between = test_reals(n->m * n->c);
  ref->conv_forward(g, x, w, between, scratch);
  ref->norm_forward_eval(n, between, residual, gamma, beta, running_mean, running_var, y);
  free(between);
  joined++, now += CONV;
}

static struct backend slow_table(void) {
  ref = backend_reference();
  struct backend b = *ref;
  b.mark = mark, b.seconds_between = seconds_between;
  b.conv_norm_forward_eval = NULL; /* would go past conv_forward_slowly */
  b.conv_forward = conv_forward_slowly, b.linear_forward = linear_forward_slowly, b.norm_backward_train = norm_backward_slowly;
  b.match_diversity = match_slowly, b.loss_byol = loss_slowly, b.lars_update = lars_slowly, b.ema_update = average_slowly;
  b.zero = zero_slowly;
  return b;
}

static int layers_of(const struct branch *n, enum layer_kind kind) {
  int count = 0;
  for (int i = 0; i < n->net.layers; i++) count += n->net.layer[i].kind == kind;
  return count;
}
static int trained(const struct branch *n) {
  int count = 0;
  for (int i = 0; i < n->net.parameters; i++) count += n->net.parameter[i].role != ROLE_STATISTIC;
  return count;
}

/* One step of a small model on this table; its views are freed with it by the caller. */
enum { BATCH = 2, SIDE = 64 };
static void step_on(const struct backend *timed, const struct backend *plain, enum negative negative, struct model *m,
                    const struct profile_peaks *peaks, struct profile *p) {
  struct model_config c = small_model(BATCH, SIDE);
  struct error err = {0};
  c.arch.stem = STEM_IMAGENET; /* with a max pool */
  c.negative = negative;
  if (!model_create(m, &c, plain, &err) || !model_initialise(m, 1, &err)) fail_msg("%s", err.text);
  m->backend = timed;
  real *views[2] = {test_reals(BATCH * SIDE * SIDE * 3), test_reals(BATCH * SIDE * SIDE * 3)};
  for (uint32_t v = 0; v < 2; v++) test_fill_normal(views[v], BATCH * SIDE * SIDE * 3, v);
  profile_begin_step(peaks);
  model_zero_gradient(m);
  profile_end_stage(STAGE_OTHER);
  model_accumulate(m, (const real *const[]){views[0], views[1]}, 1, &profile_trace);
  profile_end_stage(STAGE_LOSSES);
  model_halt_unless_finite(m);
  model_update(m, 0.1, 0.99, NULL);
  *p = profile_end_step();
  m->backend = plain;
  free(views[0]), free(views[1]);
}

static void every_second_is_counted_once(void **state) {
  (void)state;
  struct backend slow = slow_table();
  struct model m;
  struct profile p;
  now = 0;
  step_on(profile_backend(&slow), &slow, NEGATIVE_REGION, &m, &(struct profile_peaks){0, 0}, &p);
  double parts = 0, stages = 0;
  for (int i = 0; i < PARTS; i++) parts += p.part[i].seconds;
  for (int i = 0; i < STAGES; i++) stages += p.stage[i].seconds;
  assert_true(parts == marks[highest] - marks[0] && stages == parts);

  int convs = layers_of(&m.teacher, LAYER_CONV), heads = layers_of(&m.online, LAYER_LINEAR),
      target_heads = layers_of(&m.target, LAYER_LINEAR);
  assert_true(convs > 5 && heads > target_heads && target_heads > 0);
  assert_true(p.part[PART_CONV_FORWARD].seconds == 6 * CONV * convs && p.part[PART_CONV_FORWARD].calls == 6 * convs);
  assert_true(p.part[PART_HEADS_FORWARD].seconds == 2 * LINEAR * (heads + target_heads));
  assert_true(p.stage[STAGE_TEACHER].seconds == 2 * CONV * convs);
  assert_true(p.stage[STAGE_TARGET].seconds == 2 * (CONV * convs + LINEAR * target_heads));
  assert_true(p.stage[STAGE_ONLINE].seconds == 2 * (CONV * convs + LINEAR * heads));
  assert_true(p.stage[STAGE_MATCH].seconds == 2 * MATCH);
  assert_true(p.stage[STAGE_LOSSES].seconds == 2 * (LOSS + 2 * ZERO)); /* byol and the regions start from zero gradients */
  assert_true(p.stage[STAGE_BACKWARD].seconds == 2 * NORM_BACKWARD * layers_of(&m.online, LAYER_NORM));
  assert_true(p.stage[STAGE_LARS].seconds == LARS * trained(&m.online));
  assert_true(p.stage[STAGE_AVERAGE].seconds == AVERAGE * trained(&m.target));
  assert_true(p.stage[STAGE_OTHER].seconds == 2 * ZERO);
  model_free(&m);
}

/* What a backend computes as one is timed so, in its stage, as the model has it without a profile. */
static void what_is_joined_is_timed_as_one(void **state) {
  (void)state;
  struct backend slow = slow_table();
  struct model m;
  struct profile p;
  slow.conv_norm_forward_eval = conv_norm_slowly;
  joined = 0;
  step_on(profile_backend(&slow), &slow, NEGATIVE_REGION, &m, &(struct profile_peaks){0, 0}, &p);
  int convs = layers_of(&m.teacher, LAYER_CONV), together = 0;
  for (int i = 0; i < m.teacher.net.layers; i++) together += m.teacher.plan.joined[i];
  assert_true(together > 0);
  assert_int_equal(joined, 2 * together);
  int norms = layers_of(&m.teacher, LAYER_NORM) + layers_of(&m.target, LAYER_NORM) + layers_of(&m.online, LAYER_NORM);
  assert_int_equal(p.part[PART_NORM_FORWARD].calls, 2 * (norms - together)); /* the joined ones are not computed once more */
  assert_true(p.stage[STAGE_TEACHER].seconds == 2 * CONV * convs && p.part[PART_CONV_FORWARD].calls == 6 * convs);
  model_free(&m);
}

/* Nothing of a step is left for the next. */
static void a_step_begins_anew(void **state) {
  (void)state;
  struct backend slow = slow_table();
  const struct backend *timed = profile_backend(&slow);
  real x[2];
  for (int stage = 0; stage < STAGES; stage++) {
    profile_begin_step(&(struct profile_peaks){0, 0});
    timed->zero(x, sizeof x);
    profile_end_stage((enum stage)stage);
    struct profile p = profile_end_step();
    for (int i = 0; i < STAGES; i++) assert_true(p.stage[i].seconds == (i == stage ? ZERO : 0));
  }
}

/* The floor of an operation is the longer of its arithmetic and its bytes: arithmetic for a convolution of many channels at a slow
 * multiplier, bytes at slow memory; and zero where no peak is known. */
static void floors_are_the_longer_of_two(void **state) {
  (void)state;
  struct backend slow = slow_table();
  struct model m;
  struct profile by_flops, by_bytes, none;
  step_on(profile_backend(&slow), &slow, NEGATIVE_REGION, &m, &(struct profile_peaks){1, 1e30}, &by_flops);
  model_free(&m);
  step_on(profile_backend(&slow), &slow, NEGATIVE_REGION, &m, &(struct profile_peaks){1e30, 1}, &by_bytes);
  model_free(&m);
  step_on(profile_backend(&slow), &slow, NEGATIVE_REGION, &m, &(struct profile_peaks){0, 0}, &none);
  model_free(&m);
  assert_true(by_flops.part[PART_CONV_FORWARD].floor == by_flops.part[PART_CONV_FORWARD].flops);
  assert_true(by_bytes.part[PART_CONV_FORWARD].floor == by_bytes.part[PART_CONV_FORWARD].bytes);
  assert_true(by_bytes.part[PART_AVERAGE].floor == by_bytes.part[PART_AVERAGE].bytes && by_bytes.part[PART_AVERAGE].bytes > 0);
  assert_true(none.part[PART_CONV_FORWARD].floor == 0 && none.part[PART_CONV_FORWARD].flops > 0);
}

/* On the host's clock: some time in each stage. */
static void the_reference_is_timed_by_the_host(void **state) {
  (void)state;
  const struct backend *b = backend_reference();
  struct model m;
  struct profile p;
  step_on(profile_backend(b), b, NEGATIVE_REGION, &m, &(struct profile_peaks){0, 0}, &p);
  for (int i = 0; i < STAGES; i++) assert_true(p.stage[i].seconds > 0 && p.stage[i].calls > 0);
  model_free(&m);
}

/* Every operation is handed on as it was asked for. */
static void a_timed_step_has_the_bits_of_a_plain_one(void **state) {
  (void)state;
  static const enum negative negatives[] = {NEGATIVE_REGION, NEGATIVE_INSTANCE};
  const struct backend *b = backend_reference();
  for (int i = 0; i < 2; i++) {
    struct model timed, plain;
    struct profile p;
    step_on(profile_backend(b), b, negatives[i], &timed, &(struct profile_peaks){0, 0}, &p);
    step_on(b, b, negatives[i], &plain, &(struct profile_peaks){0, 0}, &p);
    const size_t bytes = (size_t)plain.online.net.state_size * sizeof(real);
    assert_memory_equal(timed.online.state, plain.online.state, bytes);
    assert_memory_equal(timed.momentum, plain.momentum, bytes);
    assert_memory_equal(timed.target.state, plain.target.state, (size_t)plain.target.net.state_size * sizeof(real));
    assert_memory_equal(timed.sums, plain.sums, sizeof *plain.sums);
    model_free(&timed), model_free(&plain);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_second_is_counted_once),
                                     cmocka_unit_test(what_is_joined_is_timed_as_one),
                                     cmocka_unit_test(a_step_begins_anew),
                                     cmocka_unit_test(floors_are_the_longer_of_two),
                                     cmocka_unit_test(the_reference_is_timed_by_the_host),
                                     cmocka_unit_test(a_timed_step_has_the_bits_of_a_plain_one)};
  return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
