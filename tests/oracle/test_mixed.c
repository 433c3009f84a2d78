/* Backends in mixed precision: what is right passes, and is held to no less than it declares. On the host: the reference with activations
 * in bf16 between its operations (bf16_table.h). real is float. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/dump_steps.h"
#include "oracle/mixed.h"
#include "oracle/mutants/plain.h"
#include "oracle/replay.h"
#include "oracle/trial.h"
#include "support/cmocka.h"
#include "train/folder.h"

#include "support/bf16_table.h"

/* ---- single operations --------------------------------------------------------------------------------------------------------------- */

enum { MOST_PRODUCTS = 1 << 16 };

/* A case of this operation and fill, run and judged. Returns the first tensor that is wrong, or null. Of the rest what is named in
 * `only`. */
static const char *wrong_in(int op, int fill, uint64_t seed, const struct backend *table, enum precision declared) {
  static char name[TENSOR_MAX_NAME];
  struct trial *t = calloc(1, sizeof *t);
  struct make_options *o = calloc(1, sizeof *o);
  struct case_run results;
  struct conduct conduct;
  struct judged_file j;
  struct error err;
  assert_true(t && o);
  make_defaults(o);
  o->op = op, o->seed = (int64_t)seed;
  make_draw(o);
  make_draw_more(o);
  make_limit(o, MOST_PRODUCTS);
  o->fill = fill;
  if (!trial_make(t, o, table, &err) || !trial_run(t, table, true, &results, &conduct, &err) ||
      !trial_judge_mixed(t, &results, declared, CHAIN_USUAL, &j, &err)) {
    fail_msg("%s", err.text);
  }
  const struct judged *failure = trial_failure(&j);
  if (failure) snprintf(name, sizeof name, "%s", failure->finding.tensor);
  if (!failure && conduct.kind != CONDUCT_GOOD) fail_msg("%s", conduct.text);
  judged_free(&j);
  run_end(&results);
  trial_free(t);
  free(t), free(o);
  return failure ? name : NULL;
}

/* Numbers that a half format has fewer bits for are not for products (docs/oracle.md). */
static bool means_something(int op, int fill) { return fill != FILL_DENORMAL || (op != MAKE_CONV && op != MAKE_LINEAR); }

static void all_fills_pass(const struct backend *table, enum precision declared, uint64_t seed) {
  for (int op = 0; op < MAKE_RANDOM; op++)
    for (int fill = 0; fill < MAKE_FILLS; fill++) {
      if (!means_something(op, fill)) continue;
      const char *wrong = wrong_in(op, fill, seed + (uint64_t)(op * MAKE_FILLS + fill), table, declared);
      if (wrong) fail_msg("%s, fill %d: %s of %s is rejected", make_op_name(op), fill, wrong, table->name);
    }
}

static void bf16_passes_whatever_is_in_it(void **state) {
  (void)state;
  const struct backend table = backend_bf16_over(backend_reference());
  all_fills_pass(&table, PRECISION_BF16, 1);
  all_fills_pass(&table, PRECISION_BF16, 1000);
}

/* In other orders of summation as well. */
static void bf16_passes_in_any_order(void **state) {
  (void)state;
  for (int sum = 0; sum < PLAIN_SUMS; sum++) {
    plain_choose(&(struct plain_choice){.sum = (enum plain_sum)sum, .fused = sum % 2, .precision = PRECISION_FP32});
    const struct backend table = backend_bf16_over(backend_plain());
    all_fills_pass(&table, PRECISION_BF16, 2000 + 100 * (uint64_t)sum);
  }
  plain_choose(&(struct plain_choice){.precision = PRECISION_FP32});
}

/* The plain backend rounds the operands of every operation to tf32, of which products alone may. */
static void tf32_is_of_products_alone(void **state) {
  (void)state;
  plain_choose(&(struct plain_choice){.precision = PRECISION_TF32});
  struct backend table = *backend_plain();
  assert_null(wrong_in(MAKE_CONV, FILL_NORMAL, 3, &table, PRECISION_TF32));
  assert_null(wrong_in(MAKE_LINEAR, FILL_NORMAL, 3, &table, PRECISION_TF32));
  assert_non_null(wrong_in(MAKE_NORM, FILL_NORMAL, 3, &table, PRECISION_TF32));
  assert_non_null(wrong_in(MAKE_LOSS, FILL_NORMAL, 3, &table, PRECISION_TF32));
  assert_non_null(wrong_in(MAKE_CONV, FILL_NORMAL, 3, &table, PRECISION_FP32));
  plain_choose(&(struct plain_choice){.precision = PRECISION_FP32});
}

static void bf16_is_neither_fp32_nor_tf32(void **state) {
  (void)state;
  static const int ops[] = {MAKE_CONV, MAKE_LINEAR, MAKE_NORM, MAKE_AVGPOOL, MAKE_LOSS};
  const struct backend table = backend_bf16_over(backend_reference());
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
    assert_non_null(wrong_in(ops[i], FILL_NORMAL, 5, &table, PRECISION_FP32));
    assert_non_null(wrong_in(ops[i], FILL_NORMAL, 5, &table, PRECISION_TF32));
  }
}

/* ---- faults -------------------------------------------------------------------------------------------------------------------------- */

static float stored(float x) { return bf16_widen(bf16_round(x)); }

/* The sum of every product is rounded to bf16 after each addition. */
static void linear_in_bf16(const struct linear *g, const float *x, const float *w, const float *b, float *y) {
  for (ptrdiff_t m = 0; m < g->m; m++)
    for (ptrdiff_t o = 0; o < g->o; o++) {
      float sum = 0;
      for (ptrdiff_t i = 0; i < g->i; i++) sum = stored(sum + x[m * g->i + i] * w[o * g->i + i]);
      y[m * g->o + o] = sum + (b ? b[o] : 0);
    }
}

/* The gradient of weights is rounded to bf16, and is a float for the sake of what is added to it. */
static void weights_in_bf16(const struct linear *g, const float *x, const float *dy, float *dw, float *db, void *scratch) {
  backend_reference()->linear_backward_weights(g, x, dy, dw, db, scratch);
  for (ptrdiff_t i = 0; i < g->o * g->i; i++) dw[i] = stored(dw[i]);
}

/* Statistics as they would be kept with the activations. */
static void norm_with_statistics_in_bf16(const struct norm *g, const float *x, const float *residual, const float *gamma, const float *beta,
                                         float *running_mean, float *running_var, float *y, double *mean, double *invstd, void *scratch) {
  backend_reference()->norm_forward_train(g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  for (ptrdiff_t c = 0; c < g->c; c++)
    running_mean[c] = stored(running_mean[c]), mean[c] = (double)stored((float)mean[c]), invstd[c] = (double)stored((float)invstd[c]);
  for (ptrdiff_t i = 0; i < g->m * g->c; i++) {
    ptrdiff_t c = i % g->c;
    float v = (x[i] - (float)mean[c]) * (float)((double)gamma[c] * invstd[c]) + beta[c] + (residual ? residual[i] : 0);
    y[i] = g->relu && v <= 0 ? 0 : v;
  }
}

/* A mean that is added up in bf16. */
static void average_in_bf16(const struct pool *g, const float *x, float *y) {
  for (ptrdiff_t i = 0; i < g->n * g->c; i++) {
    float sum = 0;
    for (ptrdiff_t k = 0; k < g->h * g->w; k++) sum = stored(sum + x[(i / g->c * g->h * g->w + k) * g->c + i % g->c]);
    y[i] = sum / (float)(g->h * g->w);
  }
}

/* Found in most cases; in none but the tensor that it spoils. */
static void is_found(const struct backend *inner, int op, const char *tensor) {
  enum { CASES = 8 };
  const struct backend table = backend_bf16_over(inner);
  int found = 0;
  for (uint64_t seed = 0; seed < CASES; seed++) {
    const char *wrong = wrong_in(op, FILL_NORMAL, 20 + seed, &table, PRECISION_BF16);
    if (wrong && strncmp(wrong, tensor, strlen(tensor)) != 0) fail_msg("%s is rejected for %s", wrong, tensor);
    found += wrong != NULL;
  }
  if (found < CASES / 2) fail_msg("%s: found in %d of %d cases", tensor, found, CASES);
}

static void sums_in_bf16_are_found(void **state) {
  (void)state;
  struct backend inner = *backend_reference();
  inner.linear_forward = linear_in_bf16;
  is_found(&inner, MAKE_LINEAR, "out.y");
  inner = *backend_reference();
  inner.avgpool_forward = average_in_bf16;
  is_found(&inner, MAKE_AVGPOOL, "out.y");
}

static void floats_that_are_only_bf16_are_found(void **state) {
  (void)state;
  struct backend inner = *backend_reference();
  inner.linear_backward_weights = weights_in_bf16;
  is_found(&inner, MAKE_LINEAR, "grad_param.weight");
  inner = *backend_reference();
  inner.norm_forward_train = norm_with_statistics_in_bf16;
  is_found(&inner, MAKE_NORM, "");
}

/* ---- sums of tensor cores ------------------------------------------------------------------------------------------------------------ */

static float cut_to_float(double x) {
  float f = (float)x;
  return fabs((double)f) > fabs(x) ? nextafterf(f, 0) : f;
}

/* Four products at a time, each sum rounded toward zero; times `factor`. */
static double factor = 1;
static void weights_cut(const struct linear *g, const float *x, const float *dy, float *dw, float *db, void *scratch) {
  enum { AT_A_TIME = 4 };
  for (ptrdiff_t o = 0; o < g->o; o++)
    for (ptrdiff_t i = 0; i < g->i; i++) {
      float sum = 0;
      for (ptrdiff_t m = 0; m < g->m; m += AT_A_TIME) {
        double few = (double)sum;
        for (ptrdiff_t k = m; k < m + AT_A_TIME && k < g->m; k++) few += (double)dy[k * g->o + o] * (double)x[k * g->i + i];
        sum = cut_to_float(few);
      }
      dw[o * g->i + i] = (float)((double)dw[o * g->i + i] + factor * (double)sum);
    }
  float *unused = calloc((size_t)(g->o * g->i) + 1, sizeof *unused);
  if (!unused) abort();
  backend_reference()->linear_backward_weights(g, x, dy, unused, db, scratch);
  free(unused);
}

/* m rows, all of one sign or of both. */
static bool rows_are_rejected(ptrdiff_t m, int fill) {
  struct backend inner = *backend_reference();
  inner.linear_backward_weights = weights_cut;
  const struct backend table = backend_bf16_over(&inner);
  struct trial *t = calloc(1, sizeof *t);
  struct make_options *o = calloc(1, sizeof *o);
  struct case_run results;
  struct conduct conduct;
  struct judged_file j;
  struct error err;
  assert_true(t && o);
  make_defaults(o);
  o->op = MAKE_LINEAR, o->m = m, o->i = 48, o->o = 40, o->fill = fill, o->seed = 7;
  if (!trial_make(t, o, &table, &err) || !trial_run(t, &table, false, &results, &conduct, &err) ||
      !trial_judge_mixed(t, &results, PRECISION_BF16, (double)m, &j, &err)) {
    fail_msg("%s", err.text);
  }
  bool rejected = trial_failure(&j) != NULL;
  if (rejected && factor == 1) {
    char text[600];
    judged_text(&trial_failure(&j)->finding, text, sizeof text);
    print_message("%td rows: %s\n", m, text);
  }
  judged_free(&j);
  run_end(&results);
  trial_free(t);
  free(t), free(o);
  return rejected;
}

static void sums_rounded_toward_zero_pass_and_a_factor_does_not(void **state) {
  (void)state;
  for (ptrdiff_t m = 64; m <= 4096; m *= 4) {
    factor = 1;
    assert_false(rows_are_rejected(m, FILL_NORMAL));
    assert_false(rows_are_rejected(m, FILL_OFFSET));
    factor = 1.0001;
    if (!rows_are_rejected(m, FILL_NORMAL)) fail_msg("%td rows", m);
  }
  factor = 1;
}

/* ---- whole steps --------------------------------------------------------------------------------------------------------------------- */

struct counts {
  int judged, failed;
  char first[TENSOR_MAX_NAME];
};

static bool count(void *context, const struct replay_row *row) {
  struct counts *c = context;
  c->judged++;
  if (row->judged.judgement == JUDGED_PASS) return true;
  if (c->failed++ == 0) snprintf(c->first, sizeof c->first, "%s", row->judged.finding.tensor);
  return true;
}

/* The steps of these keys on the table, dumped, read, and replayed as this class (-1: as declared). */
static struct counts replayed(const struct backend *table, enum precision declared, const char *more, int as) {
  static struct step_source source;
  char folder[FOLDER_PATH], out[FOLDER_PATH + 8], text[7][128], *keys[7];
  static const char *const common[] = {"backbone=small", "stem=cifar", "size=16", "batch=4", "projector.hidden=8", "projector.out=4"};
  struct error err;
  for (int i = 0; i < 7; i++) snprintf(keys[i] = text[i], sizeof text[i], "%s", i < 6 ? common[i] : more);
  folder_make(folder);
  snprintf(out, sizeof out, "%s/dump", folder);
  const struct step_backend b = {.name = table->name, .precision = declared, .mixed = true, .f32 = table};
  const struct dump_steps_options run = {.steps = 1, .kind = DUMP_FULL};
  struct dump_steps_result result;
  struct dump d;
  struct units u;
  struct counts c = {0};
  if (!step_source_open(&source, 7, keys, STEP_FORMULA, 0, &err) || !dump_steps(&source, &b, &run, out, &result, &err) ||
      !dump_open(&d, out, &err) || !units_open(&u, &d, &err)) {
    fail_msg("%s", err.text);
  }
  struct replay r = {.u = &u, .options = {.precision = as}, .see = count, .context = &c};
  if (!replay_open(&r, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < u.count; i++)
    if (!replay_unit(&r, &u.unit[i], &err)) fail_msg("%s", err.text);
  replay_extra(&r);
  replay_close(&r);
  units_close(&u);
  dump_close(&d);
  step_source_close(&source);
  folder_remove(folder);
  return c;
}

static void a_whole_step_in_bf16_is_right_in_every_tensor(void **state) {
  (void)state;
  static const char *const options[] = {"accumulate=2", "region.predictor=mlp", "rdem.negative=instance", "teacher.bn=batch"};
  const struct backend table = backend_bf16_over(backend_reference());
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    struct counts c = replayed(&table, PRECISION_BF16, options[i], -1);
    if (c.failed) fail_msg("%s: %d of %d tensors, first %s", options[i], c.failed, c.judged, c.first);
    assert_true(c.judged > 500);
  }
}

static void a_step_in_bf16_is_no_step_in_another_class(void **state) {
  (void)state;
  const struct backend table = backend_bf16_over(backend_reference());
  assert_true(replayed(&table, PRECISION_BF16, "seed=1", PRECISION_FP32).failed > 100);
  assert_true(replayed(&table, PRECISION_BF16, "seed=1", PRECISION_TF32).failed > 100);
}

static void a_sum_in_bf16_is_found_where_it_is(void **state) {
  (void)state;
  struct backend inner = *backend_reference();
  inner.linear_forward = linear_in_bf16;
  const struct backend table = backend_bf16_over(&inner);
  struct counts c = replayed(&table, PRECISION_BF16, "seed=1", -1);
  assert_true(c.failed > 0);
  assert_string_equal(c.first, "0.0/forward/target/1/local_projector.0/y");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bf16_passes_whatever_is_in_it),
                                     cmocka_unit_test(bf16_passes_in_any_order),
                                     cmocka_unit_test(tf32_is_of_products_alone),
                                     cmocka_unit_test(bf16_is_neither_fp32_nor_tf32),
                                     cmocka_unit_test(sums_in_bf16_are_found),
                                     cmocka_unit_test(floats_that_are_only_bf16_are_found),
                                     cmocka_unit_test(sums_rounded_toward_zero_pass_and_a_factor_does_not),
                                     cmocka_unit_test(a_whole_step_in_bf16_is_right_in_every_tensor),
                                     cmocka_unit_test(a_step_in_bf16_is_no_step_in_another_class),
                                     cmocka_unit_test(a_sum_in_bf16_is_found_where_it_is)};
  return cmocka_run_group_tests_name("mixed precision", tests, NULL, NULL);
}
