/* ediy_oracle.h: kernels handed over as functions. The right ones are the reference in float behind the interface; each is then spoiled in
 * the ways in which kernels go wrong, in each of its results. */
#include <pthread.h>
#include <stdint.h>

#include "oracle/judged_kernels.h"

static void right_kernels_pass(void **state) {
  (void)state;
  const ediy_oracle_options usual = {.cases = 24};
  for (int i = 0; i < ALL; i++) {
    const ediy_oracle_verdict *v = judge(&all[i].kernel, RIGHT, "", &usual, NULL);
    expect(EDIY_ORACLE_PASS, ": pass, ", v);
    assert_int_equal(strncmp(v->text, all[i].name, strlen(all[i].name)), 0);
    assert_int_equal(v->cases, 24);
    assert_true(v->ratio > 0 ? v->ratio < 1 : v->ratio == 0);
    assert_true((v->tensor[0] != 0) == (strstr(v->text, "; closest to its limit: ") != NULL));
  }
  const ediy_oracle_kernel match = {.match_diversity = diversity, .match_invariance = invariance};
  expect(EDIY_ORACLE_PASS, "match: pass", judge(&match, RIGHT, "", &usual, NULL));
  /* All at once, and each function alone. */
  ediy_oracle_kernel k = all[0].kernel;
  k.ema = ema, k.linear_backward = linear_d;
  expect(EDIY_ORACLE_PASS, "conv, linear, ema: pass", judge(&k, RIGHT, "", &few, NULL));
  const ediy_oracle_kernel alone[] = {
      {.conv_backward_weights = conv_dw}, {.norm_backward = norm_d}, {.norm_forward = norm_y}, {.match_diversity = diversity}};
  for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) expect(EDIY_ORACLE_PASS, ": pass", judge(&alone[i], RIGHT, "", &few, NULL));
}

static void every_fault_in_every_result_is_found(void **state) {
  (void)state;
  static const struct {
    enum fault fault;
    const char *words;
  } faults[] = {
      {FACTOR, ""}, {UNWRITTEN, "nan"}, {SHIFTED, ""}, {NANS, "nan"}, {BEYOND, "behind the end of"}, {UNDERRUN, "before the start of"}};
  int tried = 0;
  for (int i = 0; i < ALL; i++) {
    for (int r = 0; r < 7 && all[i].result[r]; r++) {
      for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        bool hit;
        const ediy_oracle_verdict *v = judge(&all[i].kernel, faults[f].fault, all[i].result[r], &few, &hit);
        if (!hit) fail_msg("%s %s: the fault was never made", all[i].name, all[i].result[r]);
        if (v->status != EDIY_ORACLE_MISMATCH || !strstr(v->text, faults[f].words) || !strstr(v->text, "oracle case make op="))
          fail_msg("%s %s, fault %d: %s", all[i].name, all[i].result[r], (int)faults[f].fault, v->text);
        tried++;
      }
    }
  }
  print_message("%d faults\n", tried);
  const ediy_oracle_kernel match = {.match_diversity = diversity, .match_invariance = invariance};
  expect(EDIY_ORACLE_MISMATCH, "out.d1", judge(&match, SHIFTED, "diversity", &few, NULL));
  expect(EDIY_ORACLE_MISMATCH, "out.s12", judge(&match, SHIFTED, "invariance", &few, NULL));
}

/* Seen only because the kernel is called again in the same memory. */
static void what_is_kept_or_changes_between_calls_is_found(void **state) {
  (void)state;
  for (int i = 0; i < ALL; i++) {
    const char *at = all[i].result[0];
    const ediy_oracle_verdict *v = judge(&all[i].kernel, STALE, at, &few, NULL);
    expect(EDIY_ORACLE_MISMATCH, ", in the second call, on other inputs in the same memory; the case: oracle case make op=", v);
    assert_non_null(strstr(v->text, " seed=3000001 ")); /* of those inputs */
  }
  expect(EDIY_ORACLE_NONDETERMINISTIC, "out.y has other bits", judge(&all[1].kernel, UNSTEADY, "y", &few, NULL));
}

/* An element beside x is read, and goes into y[0]. */
static enum { ADDED, MULTIPLIED_BY_ZERO, LARGEST, SMALLEST, USES } use;
static ptrdiff_t beside; /* -1, or from the end of x */
static int conv_reading(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  float read = beside < 0 ? x[beside] : x[g->n * g->h * g->w * g->c + beside];
  int status = conv_y(context, g, x, w, y);
  if (use == ADDED) y[0] += read;
  if (use == MULTIPLIED_BY_ZERO) y[0] += 0 * read;
  if (use == LARGEST) y[0] = fmaxf(y[0], read);
  if (use == SMALLEST) y[0] = fminf(y[0], read);
  return status;
}

/* A row too many, as where h > H stands for h >= H: with zeros beside the image it would be right. */
static void what_is_read_beside_an_input_is_found(void **state) {
  (void)state;
  static const ptrdiff_t places[] = {-1, 0, 4000};
  const ediy_oracle_kernel k = {.conv_forward = conv_reading};
  const ediy_oracle_options one = {.shape = "n=1 h=7 w=8 c=16 k=16 fill=normal"};
  for (int i = 0; i < 3; i++) {
    for (use = 0; use < USES; use++) {
      beside = places[i];
      const ediy_oracle_verdict *v = judge(&k, RIGHT, "", &one, NULL);
      if (v->status == EDIY_ORACLE_PASS) fail_msg("use %d of what stands at %td passes: %s", (int)use, beside, v->text);
    }
  }
}

/* Begins with what stands in y, and goes on by fmaxf or fminf, which pass NaN by. */
static bool smallest;
static int maxpool_on(void *context, const ediy_oracle_pool *g, const float *x, float *y) {
  ptrdiff_t size = g->n * g->p * g->q * g->c;
  float *right = scratch_of(size, sizeof *right);
  int status = maxpool_y(context, g, x, right);
  for (ptrdiff_t i = 0; i < size; i++) y[i] = smallest ? fminf(y[i], right[i]) : fmaxf(y[i], right[i]);
  free(right);
  return status;
}

static void an_output_that_was_never_begun_is_found(void **state) {
  (void)state;
  const ediy_oracle_kernel k = {.maxpool_forward = maxpool_on};
  smallest = false;
  expect(EDIY_ORACLE_MISMATCH, "(exact): off by 8.5e+37, allowed 0, in the second call", judge(&k, RIGHT, "", &few, NULL));
  smallest = true;
  expect(EDIY_ORACLE_NONDETERMINISTIC, "maxpool: out.y has other bits", judge(&k, RIGHT, "", &few, NULL));
}

static int conv_but_last(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  ptrdiff_t size = g->n * g->p * g->q * g->k;
  float *whole = scratch_of(size, sizeof *whole);
  conv_y(context, g, x, w, whole);
  memcpy(y, whole, (size_t)(size - 1) * sizeof *y);
  free(whole);
  return 0;
}

static int calls_until_declined;
static int conv_tired(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  return calls_until_declined-- == 0 ? EDIY_ORACLE_DECLINE : conv_y(context, g, x, w, y);
}

static void the_conduct_of_a_kernel_is_judged(void **state) {
  (void)state;
  expect(EDIY_ORACLE_MISMATCH, "changed its input in.x", judge(&all[0].kernel, TO_INPUT, "", &few, NULL));
  expect(EDIY_ORACLE_MISMATCH, "norm_forward returned 7", judge(&all[2].kernel, ERROR_CODE, "", &few, NULL));
  expect(EDIY_ORACLE_INCOMPLETE, "maxpool: incomplete: maxpool_forward declined all of 12 cases; ",
         judge(&all[4].kernel, DECLINES_ALL, "", &few, NULL));
  const ediy_oracle_kernel lazy = {.conv_forward = conv_but_last};
  expect(EDIY_ORACLE_MISMATCH, "nan, expected ", judge(&lazy, RIGHT, "", &few, NULL));
  const ediy_oracle_kernel tired = {.conv_forward = conv_tired};
  for (int i = 1; i < 3; i++) {
    calls_until_declined = i;
    expect(EDIY_ORACLE_MISMATCH,
           i == 1 ? "conv_forward declined a shape that it had taken, in the second call" : "had taken, in the third call",
           judge(&tired, RIGHT, "", &few, NULL));
  }
}

/* For a program that reads the verdict: the fields say the operation, and the array where there is one, not the closest result so far. */
static void conduct_is_told_in_the_fields(void **state) {
  (void)state;
  const ediy_oracle_kernel tired = {.conv_forward = conv_tired};
  calls_until_declined = 4; /* the second call of the second case: by then there is a closest result */
  const struct {
    const ediy_oracle_kernel *kernel;
    enum fault fault;
    const char *at, *operation, *tensor;
  } each[] = {{&all[0].kernel, BEYOND, "y", "conv", "out.y"},
              {&all[2].kernel, UNDERRUN, "dgamma", "norm", "grad_param.gamma"},
              {&all[0].kernel, TO_INPUT, "", "conv", "in.x"},
              {&all[2].kernel, ERROR_CODE, "", "norm", ""},
              {&tired, RIGHT, "", "conv", ""}};
  for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
    const ediy_oracle_verdict *v = judge(each[i].kernel, each[i].fault, each[i].at, &few, NULL);
    expect(EDIY_ORACLE_MISMATCH, each[i].operation, v);
    assert_string_equal(v->operation, each[i].operation);
    assert_string_equal(v->tensor, each[i].tensor);
    assert_true(isinf(v->ratio));
  }
}

static int never(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  (void)context, (void)x, (void)w;
  y[g->n * g->p * g->q * g->k - 1] = 1; /* was never to be read */
  return EDIY_ORACLE_DECLINE;
}
static int norm_never(void *context, const ediy_oracle_norm *g, const float *x, const float *residual, const float *gamma,
                      const float *beta, float *running_mean, float *running_var, float *y, float *saved) {
  (void)context, (void)x, (void)residual, (void)gamma, (void)beta, (void)running_mean, (void)running_var, (void)y;
  saved[0] = (float)g->c;
  return EDIY_ORACLE_DECLINE;
}
static int norm_own_scratch(void *context, const ediy_oracle_norm *g, const float *x, const float *y, const float *gamma,
                            const float *saved, const float *dy, float *dx, float *dresidual, float *dgamma, float *dbeta) {
  (void)context, (void)g, (void)x, (void)y, (void)gamma, (void)saved, (void)dy, (void)dx, (void)dresidual, (void)dgamma, (void)dbeta;
  fail_msg("called on what its forward did not save");
  return 0;
}

/* What one function does not take is no reason to let the others go. */
static void what_is_declined_leaves_out_nothing_else(void **state) {
  (void)state;
  const ediy_oracle_verdict *v = judge(&all[0].kernel, DECLINES_SOME, "", &few, NULL);
  expect(EDIY_ORACLE_PASS, "; conv_forward declined ", v);
  assert_true(v->declined > 0 && v->declined < 12 && v->cases == 12);
  assert_int_equal(v->tensors, 2 * (3 * 12 - v->declined));
  expect(EDIY_ORACLE_MISMATCH, "conv: grad_in.x",
         judge(&(ediy_oracle_kernel){.conv_forward = never, .conv_backward_data = conv_dx}, FACTOR, "dx", &few, NULL));
  v = judge(&(ediy_oracle_kernel){.conv_forward = never, .conv_backward_data = conv_dx}, RIGHT, "", &few, NULL);
  expect(EDIY_ORACLE_INCOMPLETE, "conv: incomplete: conv_forward declined all of 12 cases; ", v);
  expect(EDIY_ORACLE_INCOMPLETE, "; else nothing is wrong, 24 tensors of 12 cases as fp32", v);
  assert_int_equal(v->declined, 12);
  /* Nor to let the operations go that come later. */
  expect(EDIY_ORACLE_MISMATCH, "ema: out.target.0.0",
         judge(&(ediy_oracle_kernel){.conv_forward = never, .ema = ema}, FACTOR, "xi", &few, NULL));
  expect(EDIY_ORACLE_INCOMPLETE, "conv, ema: incomplete: conv_forward declined all of 12 cases; ",
         judge(&(ediy_oracle_kernel){.conv_forward = never, .ema = ema}, RIGHT, "", &few, NULL));
  expect(EDIY_ORACLE_INCOMPLETE, "norm_forward declined all of 12 cases, norm_backward declined all of 12 cases",
         judge(&(ediy_oracle_kernel){.norm_forward = norm_never, .norm_backward = norm_own_scratch}, RIGHT, "", &few, NULL));
}

/* Off by as much in one direction as in the other, the other way. */
static int byol_apart(void *context, const ediy_oracle_regions *g, const float *q, const float *z, float *value, float *dq) {
  static int calls;
  int status = byol(context, g, q, z, value, dq);
  float off = calls++ % 2 ? 0.25f : -0.25f;
  for (ptrdiff_t b = 0; b < g->b; b++) value[b] += off;
  return status;
}

static void each_direction_of_a_loss_is_judged(void **state) {
  (void)state;
  const ediy_oracle_kernel k = {.loss_byol = byol_apart};
  expect(EDIY_ORACLE_MISMATCH, "byol: out.byol1[0] is ", judge(&k, RIGHT, "", &few, NULL));
}

static int last_region(void *context, const ediy_oracle_regions *g, const float *t, int32_t *index) {
  (void)context, (void)t;
  for (ptrdiff_t i = 0; i < g->b * g->n; i++) index[i] = (int32_t)g->n - 1;
  return 0;
}

/* Of equals the last, where nothing but order tells them apart: there is no number that it is off by, and it is beyond its limit. */
static void a_tie_is_named(void **state) {
  (void)state;
  const ediy_oracle_options o = {.shape = "n=1 h=2 w=2 c=4 dot=yes fill=onehot"};
  const ediy_oracle_kernel k = {.match_diversity = last_region};
  const ediy_oracle_verdict *v = judge(&k, RIGHT, "", &o, NULL);
  expect(EDIY_ORACLE_MISMATCH, "out.d1[0, 0] is 3, expected 1 (a tie: the lowest index wins); the case: ", v);
  assert_true(v->ratio > 1);
}

/* Inputs of 100 +- 0.01 are a few numbers in half precision: nothing can be told from the normalised ones. */
static void what_cannot_be_told_is_vacuous(void **state) {
  (void)state;
  const ediy_oracle_options o = {.precision = EDIY_ORACLE_FP16, .shape = "n=2 h=8 w=8 c=16 fill=offset"};
  const ediy_oracle_kernel k = {.norm_forward = norm_y};
  expect(EDIY_ORACLE_VACUOUS, "VACUOUS", judge(&k, RIGHT, "", &o, NULL));
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------------ */

struct witness {
  pthread_t thread;
  ediy_oracle_verdict v;
  bool strayed, unaligned;
};

static int relu_that_witnesses(void *context, ptrdiff_t size, const float *x, float *y) {
  struct witness *w = context;
  w->strayed |= !pthread_equal(w->thread, pthread_self());
  w->unaligned |= (uintptr_t)x % 64 != 0 || (uintptr_t)y % 64 != 0;
  for (ptrdiff_t i = 0; i < size; i++) y[i] = x[i] > 0 ? x[i] : 0;
  return 0;
}

static int conv_that_witnesses(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  struct spoiler right = {.fault = RIGHT, .at = ""};
  struct witness *seen = context;
  seen->strayed |= !pthread_equal(seen->thread, pthread_self());
  seen->unaligned |= (uintptr_t)x % 64 != 0 || (uintptr_t)w % 64 != 0 || (uintptr_t)y % 64 != 0;
  return conv_y(&right, g, x, w, y);
}

static void *judge_alone(void *context) {
  struct witness *w = context;
  ediy_oracle_kernel k = {.context = w, .relu_forward = relu_that_witnesses, .conv_forward = conv_that_witnesses};
  w->thread = pthread_self();
  ediy_oracle_judge(&k, &few, &w->v);
  return NULL;
}

/* Vector instructions load from aligned addresses, and what a function keeps by thread it finds again. */
static void functions_get_aligned_arrays_in_the_thread_that_judges(void **state) {
  (void)state;
  enum { THREADS = 4 };
  struct witness one = {0}, each[THREADS];
  pthread_t thread[THREADS];
  memset(each, 0, sizeof each);
  judge_alone(&one);
  expect(EDIY_ORACLE_PASS, "conv, relu: pass", &one.v);
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&thread[i], NULL, judge_alone, &each[i]), 0);
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
  for (int i = 0; i < THREADS; i++) {
    assert_string_equal(each[i].v.text, one.v.text);
    assert_false(each[i].strayed || each[i].unaligned || one.strayed || one.unaligned);
  }
}
int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(right_kernels_pass),
      cmocka_unit_test(every_fault_in_every_result_is_found),
      cmocka_unit_test(what_is_kept_or_changes_between_calls_is_found),
      cmocka_unit_test(what_is_read_beside_an_input_is_found),
      cmocka_unit_test(an_output_that_was_never_begun_is_found),
      cmocka_unit_test(the_conduct_of_a_kernel_is_judged),
      cmocka_unit_test(conduct_is_told_in_the_fields),
      cmocka_unit_test(what_is_declined_leaves_out_nothing_else),
      cmocka_unit_test(each_direction_of_a_loss_is_judged),
      cmocka_unit_test(a_tie_is_named),
      cmocka_unit_test(what_cannot_be_told_is_vacuous),
      cmocka_unit_test(functions_get_aligned_arrays_in_the_thread_that_judges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
