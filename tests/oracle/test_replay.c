/* Replay of a small network's steps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/replay_rows.h"
#include "support/cmocka.h"
#include "support/recorded.h"
#include "train/schedule.h"

enum { MOST_NAMES = 64 };

struct counts {
  int judged, given, vacuous, wrong, incomplete;
  double closest;
  char failed[MOST_NAMES][TENSOR_MAX_NAME]; /* wrong or incomplete, in order */
  char rule[MOST_NAMES][96];
  bool quiet;
};

static bool count(void *context, const struct replay_row *row) {
  struct counts *c = context;
  char text[600];
  const struct judged *j = &row->judged;
  *(row->given ? &c->given : &c->judged) += 1;
  c->vacuous += j->judgement == JUDGED_VACUOUS;
  c->wrong += j->judgement == JUDGED_MISMATCH;
  c->incomplete += j->judgement == JUDGED_INCOMPLETE;
  if (j->judgement == JUDGED_PASS && j->profiled && j->profile.ratio > c->closest) c->closest = j->profile.ratio;
  if (j->judgement == JUDGED_PASS) return true;
  int failed = c->wrong + c->incomplete;
  if (j->judgement != JUDGED_VACUOUS && failed <= MOST_NAMES) {
    snprintf(c->failed[failed - 1], sizeof c->failed[0], "%s", j->finding.tensor);
    snprintf(c->rule[failed - 1], sizeof c->rule[0], "%s", j->finding.rule);
  }
  judged_text(&j->finding, text, sizeof text);
  if (!c->quiet) print_message("  %s %s %s\n", judgement_names[j->judgement], text, j->accepted ? j->accepted : "");
  return true;
}

/* table: null for the dump's own tensors. */
static struct counts replayed_on(const struct dump *d, const struct backend_f32 *table, bool quiet) {
  struct units u;
  struct error err;
  struct counts c = {.quiet = quiet};
  struct replay r = {.u = &u, .options = {.precision = -1, .table = table}, .see = count, .context = &c};
  if (!units_open(&u, d, &err) || !replay_open(&r, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < u.count; i++) {
    if (!replay_unit(&r, &u.unit[i], &err)) fail_msg("%s", err.text);
  }
  replay_extra(&r);
  replay_close(&r);
  units_close(&u);
  return c;
}

static struct counts replayed(const struct dump *d, bool quiet) { return replayed_on(d, NULL, quiet); }

/* ---- right steps --------------------------------------------------------------------------------------------------------------------- */

/* Every option of a step, several together where they do not meet. */
enum option {
  DEFAULT,
  PREDICTOR_ACCUMULATION,
  RANDOM_INSTANCES_TWO_STEPS,
  BATCH_TEACHER_STOPGRAD_DOT,
  PLAIN_BYOL,
  OPENSELFSUP_NO_BYOL,
  BOTTLENECKS,
  OPTIONS
};
static const char *const option_names[] = {"default",
                                           "region predictor, accumulation 2",
                                           "random sampler, instance negatives, two steps",
                                           "teacher.bn batch, stopgrad, dot products",
                                           "plain BYOL",
                                           "openselfsup, lambda 1, 1, 0",
                                           "bottlenecks, cifar stem"};

static struct recorded_options with(enum option which) {
  struct recorded_options o = recorded_small();
  struct model_config *c = &o.config;
  if (which == PREDICTOR_ACCUMULATION) c->region_predictor = true, o.micro_batches = 2;
  if (which == RANDOM_INSTANCES_TWO_STEPS) c->sampler = SAMPLER_RANDOM, c->negative = NEGATIVE_INSTANCE, o.steps = 2;
  if (which == BATCH_TEACHER_STOPGRAD_DOT) { c->teacher_batch = true, c->stopgrad = RDEM_STOPGRAD_MATCH, c->similarity = SIMILARITY_DOT; }
  if (which == PLAIN_BYOL) c->regions = c->teacher = false, c->lambda_rdem = c->lambda_riem = 0;
  if (which == OPENSELFSUP_NO_BYOL) c->lars.variant = LARS_OPENSELFSUP, c->lambda_byol = 0;
  if (which == BOTTLENECKS) c->arch.block = BLOCK_BOTTLENECK, c->arch.stem = STEM_CIFAR, c->height = c->width = 16;
  return o;
}

static void right_steps_pass_with_every_option_and_nothing_is_vacuous(void **state) {
  (void)state;
  for (enum option which = 0; which < OPTIONS; which++) {
    struct dump d;
    struct recorded_options o = with(which);
    o.seed = which + 1;
    recorded_make(&d, &o);
    struct counts c = replayed(&d, false);
    print_message("%s: %d judged, %d given, closest %.2g\n", option_names[which], c.judged, c.given, c.closest);
    assert_int_equal(c.judged + c.given, d.count);
    recorded_free(&d);
    if (c.wrong + c.incomplete + c.vacuous != 0)
      fail_msg("%s: %d wrong, %d incomplete, %d vacuous", option_names[which], c.wrong, c.incomplete, c.vacuous);
  }
}

/* ---- one fault, in one call of one operation ----------------------------------------------------------------------------------------- */

/* The call that goes wrong; counted from 0 over the whole run. */
static int fault_call, calls;
static bool now(void) { return calls++ == fault_call; }
static const struct backend_f32 *right;

static void pad_shifted(const struct conv *g, const float *x, const float *w, float *y, void *scratch) {
  ptrdiff_t row = g->w * g->c, n = g->n * g->h * row;
  if (!now()) {
    right->conv_forward(g, x, w, y, scratch);
    return;
  }
  float *moved = calloc((size_t)n, sizeof *moved);
  assert_non_null(moved);
  memcpy(moved + row, x, (size_t)(n - row) * sizeof *moved); /* one row down, into the next image at its end */
  right->conv_forward(g, moved, w, y, scratch);
  free(moved);
}

static void weights_overwritten(const struct conv *g, const float *x, const float *dy, float *dw, void *scratch) {
  if (now()) memset(dw, 0, (size_t)(g->k * g->r * g->s * g->c) * sizeof *dw);
  right->conv_backward_weights(g, x, dy, dw, scratch);
}

static void gradient_overwritten(const struct conv *g, const float *dy, const float *w, float *dx, bool accumulate, void *scratch) {
  right->conv_backward_data(g, dy, w, dx, accumulate && !(accumulate && now()), scratch);
}

static int norm_fault;
enum { NORM_NO_EPS, NORM_MOMENTUM, NORM_BIASED_RUNNING, NORM_NO_RESIDUAL, NORM_UNBIASED };

static void norm_wrong(const struct norm *g, const float *x, const float *residual, const float *gamma, const float *beta,
                       float *running_mean, float *running_var, float *y, double *mean, double *invstd, void *scratch) {
  struct norm other = *g;
  bool wrong = norm_fault == NORM_NO_RESIDUAL ? residual && now() : now();
  float *before = malloc((size_t)g->c * sizeof *before);
  assert_non_null(before);
  memcpy(before, running_var, (size_t)g->c * sizeof *before);
  if (wrong && norm_fault == NORM_NO_EPS) other.eps = 0;
  if (wrong && norm_fault == NORM_MOMENTUM) other.momentum = 0.11;
  if (wrong && norm_fault == NORM_NO_RESIDUAL) residual = NULL;
  right->norm_forward_train(&other, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  for (ptrdiff_t k = 0; wrong && norm_fault == NORM_BIASED_RUNNING && k < g->c; k++) {
    double v = 1 / (invstd[k] * invstd[k]) - g->eps;
    running_var[k] = (float)((double)before[k] + g->momentum * (v - (double)before[k]));
  }
  for (ptrdiff_t i = 0; wrong && norm_fault == NORM_UNBIASED && i < g->m * g->c; i++) { /* of a layer without residual and ReLU */
    ptrdiff_t k = i % g->c;
    y[i] = (float)(((double)y[i] - (double)beta[k]) * sqrt((double)(g->m - 1) / (double)g->m) + (double)beta[k]);
  }
  free(before);
}

static void norm_backward_wrong(const struct norm *g, const float *x, const float *y, const float *gamma, const double *mean,
                                const double *invstd, const float *dy, float *dx, float *dresidual, float *dgamma, float *dbeta,
                                void *scratch) {
  struct norm open = *g;
  if (now()) open.relu = false; /* the mask forgotten */
  right->norm_backward_train(&open, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
}

static void pool_overwrites(const struct pool *g, const float *dy, const int32_t *index, float *dx) {
  right->maxpool_backward(g, dy, index, dx);
  if (!now()) return;
  ptrdiff_t cells = maxpool_out(g->h) * maxpool_out(g->w);
  for (ptrdiff_t i = 0; i < g->n * cells * g->c; i++) {
    ptrdiff_t image = i / g->c / cells;
    dx[(image * g->h * g->w + index[i]) * g->c + i % g->c] = dy[i];
  }
}

static void loss_half(const struct loss *g, const float *q, const float *z, double scale, double *value, float *dq, void *scratch) {
  right->loss_byol(g, q, z, now() ? scale / 2 : scale, value, dq, scratch);
}

static void argmax_for_argmin(const struct match *g, const float *t, int32_t *d, void *scratch) {
  if (now()) {
    right->match_invariance(g, t, t, d, scratch);
  } else {
    right->match_diversity(g, t, d, scratch);
  }
}

/* What lars_update was given in the call that matters, and where. */
static const float *theta_at;
static float *theta_before;

static void lars_watched(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const float *g, float *w, float *m) {
  if (adapt && !theta_at) {
    theta_before = malloc((size_t)size * sizeof *theta_before);
    assert_non_null(theta_before);
    memcpy(theta_before, w, (size_t)size * sizeof *w);
    theta_at = w;
  }
  right->lars_update(o, size, adapt, lr, g, w, m);
}

static void average_of_old_weights(ptrdiff_t size, double tau, const float *theta, float *xi) {
  right->ema_update(size, tau, theta == theta_at ? theta_before : theta, xi);
}

static void other_denominator(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const float *g, float *w, float *m) {
  struct lars other = *o;
  if (now()) other.trust = 0.00101;
  right->lars_update(&other, size, adapt, lr, g, w, m);
}

/* tau of the next step in a run of 2000 steps from 0.99: a change of 1 - tau by 1.5 / 2000. */
static void later_tau(ptrdiff_t size, double tau, const float *theta, float *xi) {
  right->ema_update(size, now() ? tau + (1 - tau) * 1.5 / 2000 : tau, theta, xi);
}

static void install(struct backend_f32 *b, int which) {
  switch (which) {
  case 0: b->conv_forward = pad_shifted; break;
  case 1: b->conv_backward_weights = weights_overwritten; break;
  case 2: b->conv_backward_data = gradient_overwritten; break;
  case 3:
  case 4:
  case 5:
  case 6:
  case 7:
    b->norm_forward_train = norm_wrong;
    norm_fault = which - 3;
    break;
  case 8: b->norm_backward_train = norm_backward_wrong; break;
  case 9: b->maxpool_backward = pool_overwrites; break;
  case 10: b->loss_byol = loss_half; break;
  case 11: b->match_diversity = argmax_for_argmin; break;
  case 12: b->lars_update = lars_watched, b->ema_update = average_of_old_weights; break;
  case 13: b->lars_update = other_denominator; break;
  default: b->ema_update = later_tau; break;
  }
}

/* The calls are those of the small network: 12 convolutions a pass (teacher twice, target twice, online twice). What fails must be all of
 * what is named, and nothing else: not before it, and not behind it either. */
static const struct {
  const char *name;
  int which, call;
  const char *failing[3];
} faults[] = {
    {"conv: padding shifted", 0, 0, {"0.0/forward/teacher/1/conv1/y"}},
    {"conv: padding shifted, in the online network", 0, 4 * 12 + 1, {"0.0/forward/online/1/layer1.0.conv1/y"}},
    {"conv: gradient of the weights overwrites", 1, 12 + 11, {"0.0/backward/online/2/conv1/dweight"}},
    {"conv: gradient of the input overwrites", 2, 0, {"0.0/backward/online/1/layer3.0.bn2/dy"}},
    {"norm: no epsilon", 3, 0, {"0.0/forward/target/1/bn1/y"}},
    {"norm: momentum", 4, 3, {"0.0/forward/target/1/layer2.0.bn1/running_mean", "0.0/forward/target/1/layer2.0.bn1/running_var"}},
    {"norm: running variance biased", 5, 2, {"0.0/forward/target/1/layer1.0.bn2/running_var"}},
    {"norm: no residual", 6, 1, {"0.0/forward/target/1/layer2.0.bn2/y"}},
    {"norm: unbiased variance", 7, 4, {"0.0/forward/target/1/layer2.0.downsample.1/y"}},
    {"norm: ReLU's mask forgotten",
     8,
     2,
     {"0.0/backward/online/1/projector.1/dweight", "0.0/backward/online/1/projector.1/dbias", "0.0/backward/online/1/projector.0/dy"}},
    {"max pool: overlapping windows overwrite", 9, 0, {"0.0/backward/online/1/bn1/dy"}},
    {"loss: half the gradient", 10, 1, {"0.0/backward/online/2/predictor.3/dy"}},
    {"match: argmax for argmin", 11, 1, {"0.0/match/-/2/rdem/index"}},
    {"average of the weights before the step", 12, 0, {"0.0/ema/target/0/conv1.weight/parameter"}},
    {"LARS: trust 1 per cent off",
     13,
     0,
     {"0.0/optimiser/online/0/conv1.weight/momentum", "0.0/optimiser/online/0/conv1.weight/parameter"}},
    {"average: tau of the next step", 14, 3, {"0.0/ema/target/0/layer1.0.conv1.weight/parameter"}},
};

static void each_fault_is_found_where_it_is_and_nowhere_else(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    struct dump d;
    struct recorded_options o = recorded_small();
    struct backend_f32 b = *backend_reference_f32();
    right = backend_reference_f32();
    fault_call = faults[i].call, calls = 0;
    theta_at = NULL, theta_before = NULL;
    install(&b, faults[i].which);
    o.backend = &b;
    recorded_make(&d, &o);
    free(theta_before);
    struct counts c = replayed(&d, true);
    recorded_free(&d);
    int expected = 0;
    for (; expected < 3 && faults[i].failing[expected]; expected++) {
      if (expected < c.wrong && strcmp(c.failed[expected], faults[i].failing[expected]) == 0) continue;
      fail_msg("%s: %s is not found; found: %d, first %s", faults[i].name, faults[i].failing[expected], c.wrong, c.failed[0]);
    }
    if (c.wrong != expected || c.incomplete != 0) fail_msg("%s: also found: %s", faults[i].name, c.failed[expected]);
  }
}

/* A backend is judged on the inputs of a right dump: the layer in which it goes wrong, and no other. */
static void a_backend_is_judged_on_the_dumps_inputs(void **state) {
  (void)state;
  struct recorded_options o = recorded_small();
  struct backend_f32 b = *backend_reference_f32();
  struct dump d;
  o.config.region_predictor = true, o.micro_batches = 2;
  recorded_make(&d, &o);
  struct counts c = replayed_on(&d, &b, false);
  assert_int_equal(c.wrong + c.incomplete + c.vacuous, 0);
  right = backend_reference_f32();
  fault_call = 3, calls = 0;
  b.conv_forward = pad_shifted;
  c = replayed_on(&d, &b, true);
  assert_int_equal(c.wrong, 1);
  assert_string_equal(c.failed[0], "0.0/forward/teacher/1/layer2.0.conv1/y");
  recorded_free(&d);
}

static ptrdiff_t long_chain(const struct conv *g, int direction) { return 2000 + 1000 * direction + g->k; }

/* A backend says how long its sums are, and a dump of the reference declares nothing of that: a right kernel would be rejected. */
static void a_backends_own_chains_are_allowed(void **state) {
  (void)state;
  static const struct {
    const char *name;
    double chain;
  } expected[] = {{"0.0/forward/teacher/1/layer1.0.conv1/y", 2000 + 8},
                  {"0.0/backward/online/1/layer1.0.conv1/dweight", 4000 + 8},
                  {"0.0/backward/online/1/layer1.0.bn1/dy", 3000 + 8}, /* layer1.0.conv2 reads it */
                  {"0.0/forward/teacher/1/layer1.0.bn1/y", 1024}};
  enum { EXPECTED = sizeof expected / sizeof *expected };
  struct recorded_options o = recorded_small();
  struct backend_f32 b = *backend_reference_f32();
  struct dump d;
  struct units u;
  struct error err;
  int seen = 0;
  b.conv_chain = long_chain;
  recorded_make(&d, &o);
  if (!units_open(&u, &d, &err)) fail_msg("%s", err.text);
  const struct replay r = {.u = &u, .options = {.precision = -1, .table = &b}};
  for (int i = 0; i < u.count; i++) {
    struct unit_work w;
    struct replay_backend made = {.count = 0};
    if (u.unit[i].kind != UNIT_FORWARD && u.unit[i].kind != UNIT_GRADIENT && u.unit[i].kind != UNIT_WEIGHTS) continue;
    if (!unit_work_make(&w, &u, &u.unit[i], false, &err) || !replay_on_backend(&r, &w, &made, &err)) fail_msg("%s", err.text);
    for (int k = 0; k < made.count * EXPECTED; k++) {
      const struct dump_entry *e = &made.entry[k / EXPECTED];
      if (strcmp(e->data.name, expected[k % EXPECTED].name) != 0) continue;
      assert_true(e->chain == expected[k % EXPECTED].chain);
      seen++;
    }
    replay_backend_free(&made);
    unit_work_free(&w);
  }
  assert_int_equal(seen, EXPECTED);
  units_close(&u);
  recorded_free(&d);
}

/* ---- what is there and what is not --------------------------------------------------------------------------------------------------- */

/* The only tensors that fail are these, with this rule (or a part of it). */
static void expect_failing(const struct dump *d, int count, const char *const *names, const char *rule) {
  struct counts c = replayed(d, true);
  for (int i = 0; i < count; i++) {
    if (i >= c.wrong + c.incomplete || strcmp(c.failed[i], names[i]) != 0) fail_msg("%s is not found; first: %s", names[i], c.failed[0]);
    if (i == 0 && !strstr(c.rule[0], rule)) fail_msg("%s: rule %s, expected %s", names[i], c.rule[0], rule);
  }
  if (c.wrong + c.incomplete != count) fail_msg("also found: %s: %s", c.failed[count], c.rule[count]);
}

static void missing_extra_and_misshapen_tensors_are_failures(void **state) {
  (void)state;
  struct recorded_options o = recorded_small();
  struct dump d;
  recorded_make(&d, &o);
  /* a tensor that nothing reads, and one that the next reads */
  recorded_remove(&d, "0.0/loss/online/1/byol/value");
  expect_failing(&d, 1, (const char *const[]){"0.0/loss/online/1/byol/value"}, "missing");
  recorded_copy(&d, "0.0/loss/online/2/byol/value", "0.0/loss/online/1/byol/value");
  expect_failing(&d, 1, (const char *const[]){"0.0/loss/online/1/byol/value"}, "element"); /* another view's */
  recorded_free(&d);

  recorded_make(&d, &o);
  recorded_remove(&d, "0.0/backward/online/2/avgpool/dy");
  struct counts c = replayed(&d, true);
  assert_int_equal(c.incomplete, 2); /* itself, and what it was added to */
  assert_string_equal(c.failed[0], "0.0/backward/online/2/avgpool/dy");
  assert_string_equal(c.failed[1], "0.0/backward/online/2/layer4.0.bn2/dy");
  assert_non_null(strstr(c.rule[1], "cannot be judged without 0.0/backward/online/2/avgpool/dy"));
  recorded_free(&d);

  recorded_make(&d, &o);
  recorded_copy(&d, "0.0/loss/online/2/byol/value", "0.0/loss/online/2/total/value");
  expect_failing(&d, 1, (const char *const[]){"0.0/loss/online/2/total/value"}, "extra");
  struct dump_entry *e = recorded_entry(&d, "0.0/forward/target/2/local_projector.3/y");
  e->data.shape[0] = 1, e->data.shape[1] *= o.config.batch;
  recorded_remove(&d, "0.0/loss/online/2/total/value");
  expect_failing(&d, 1, (const char *const[]){"0.0/forward/target/2/local_projector.3/y"}, "shape");
  recorded_free(&d);
}

static void a_nan_is_found_and_forgives_nothing(void **state) {
  (void)state;
  struct recorded_options o = recorded_small();
  struct dump d;
  recorded_make(&d, &o);
  ((float *)recorded_entry(&d, "0.0/optimiser/online/0/predictor.3.weight/parameter")->data.data)[7] = NAN;
  expect_failing(&d, 1, (const char *const[]){"0.0/optimiser/online/0/predictor.3.weight/parameter"}, "not finite");
  recorded_free(&d);
}

/* A gradient that is handed on must be the one that was accumulated, to the last bit. */
static void the_optimisers_gradient_is_the_accumulated_one(void **state) {
  (void)state;
  struct recorded_options o = recorded_small();
  struct dump d;
  recorded_make(&d, &o);
  float *g = recorded_entry(&d, "0.0/optimiser/online/0/bn1.bias/gradient")->data.data;
  g[2] = nextafterf(g[2], 1);
  expect_failing(&d, 1, (const char *const[]){"0.0/optimiser/online/0/bn1.bias/gradient"}, "exact");
  recorded_free(&d);
}

/* Rates must follow from the schedule of the manifest; a dump of random indices must hold indices. */
static void rates_and_drawn_indices_are_checked(void **state) {
  (void)state;
  struct recorded_options o = recorded_small();
  struct dump d;
  o.config.sampler = SAMPLER_RANDOM;
  recorded_make(&d, &o);
  struct schedule s = schedule_make(0.5, 256, 1, 10, 40, 0.99);
  json_t *step = json_array_get(json_object_get(d.manifest, "steps"), 0);
  json_object_set_new(d.manifest, "schedule",
                      json_pack("{s:f,s:i,s:i,s:i,s:i,s:f}", "base_lr", 0.5, "batch", 256, "warmup_epochs", 1, "epochs", 10,
                                "steps_per_epoch", 40, "tau0", 0.99));
  json_object_set_new(step, "step", json_integer(100));
  json_object_set_new(step, "lr", json_real(schedule_lr(&s, 100)));
  json_object_set_new(step, "tau", json_real(schedule_tau(&s, 101)));
  struct counts c = replayed(&d, true);
  assert_string_equal(c.failed[0], "0.0/schedule/-/0/tau/value");
  assert_true(c.wrong > 1 && strncmp(c.failed[1], "0.0/optimiser/", 14) == 0); /* the numbers were made with other rates */

  int32_t *index = recorded_entry(&d, "0.0/match/-/1/rdem/index")->data.data;
  index[1] = 1; /* region 1 itself */
  c = replayed(&d, true);
  assert_string_equal(c.failed[1], "0.0/match/-/1/rdem/index");
  assert_string_equal(c.rule[1], "R-DEM never draws the region itself");
  index[1] = -1;
  c = replayed(&d, true);
  assert_string_equal(c.failed[1], "0.0/match/-/1/rdem/index");
  assert_string_equal(c.rule[1], "no such region");
  assert_true(c.incomplete > 0); /* the losses that read it */
  recorded_free(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(right_steps_pass_with_every_option_and_nothing_is_vacuous),
      cmocka_unit_test(each_fault_is_found_where_it_is_and_nowhere_else),
      cmocka_unit_test(a_backend_is_judged_on_the_dumps_inputs),
      cmocka_unit_test(a_backends_own_chains_are_allowed),
      cmocka_unit_test(missing_extra_and_misshapen_tensors_are_failures),
      cmocka_unit_test(a_nan_is_found_and_forgives_nothing),
      cmocka_unit_test(the_optimisers_gradient_is_the_accumulated_one),
      cmocka_unit_test(rates_and_drawn_indices_are_checked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
