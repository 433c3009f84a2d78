/* Decisions within rounding are accepted one by one, and not in numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/candidate.h"
#include "oracle/memory_case.h"
#include "support/cmocka.h"

enum { ROWS = 40, CHANNELS = 100, SIZE = ROWS * CHANNELS };

/* What rounding may move a result by: of the norm G = 2 |x| + |beta| = 3 and a chain of its rows; of two similarities of 1, a chain of two,
 * G = 2 each, and the rounding of both. */
#define ALLOWED ((4 * sqrt(ROWS) + 2) * 0x1p-24 * 3)
#define MATCH_ALLOWED (2 * ((4 * sqrt(2) + 2) * 2 + 1) * 0x1p-24)

/* What a decision that is `far` of what rounding may move it by turns with, and how many may have turned (decide.h). */
static double probability(double far) { return 0.5 * erfc(4 * far / sqrt(2)); }
static double as_float(double far, double allowed) { return (1 - (double)(float)(1 - far * allowed)) / allowed; } /* of 1 - far */
static double may_turn(double mean, double variance) { return mean + 3.1 * sqrt(variance) + 3; }

static struct judged judged_of(const struct memory_case *m, const struct tensor *t) {
  struct judged_file j;
  struct error err;
  if (!candidate_judge_tensors(&m->file, t, 1, &precision_classes[PRECISION_FP32], CHAIN_USUAL, true, &j, &err)) fail_msg("%s", err.text);
  struct judged result = j.tensor[0];
  judged_free(&j);
  return result;
}

/* ---- ReLU ---------------------------------------------------------------------------------------------------------------------------- */

/* A norm that adds 1 to x (mean 0, variance 1, beta 1), with ReLU; y is the candidate. */
static struct judged judged_norm(float x[SIZE], float y[SIZE]) {
  static float gamma[CHANNELS], beta[CHANNELS], mean[CHANNELS], var[CHANNELS];
  const ptrdiff_t shape[] = {ROWS, CHANNELS}, c = CHANNELS;
  struct tensor given[] = {tensor_make(DTYPE_F32, x, 2, shape, "x"), tensor_make(DTYPE_F32, gamma, 1, &c, "g"),
                           tensor_make(DTYPE_F32, beta, 1, &c, "b"), tensor_make(DTYPE_F32, mean, 1, &c, "m"),
                           tensor_make(DTYPE_F32, var, 1, &c, "v")};
  static const char *const names[] = {"in.x", "param.gamma", "param.beta", "in.running_mean", "in.running_var"};
  struct memory_case m;
  struct error err;
  for (int k = 0; k < CHANNELS; k++) gamma[k] = beta[k] = var[k] = 1;
  memory_case_begin(&m, "norm", "bn");
  memory_case_text(&m, "mode", "eval");
  memory_case_number(&m, "eps", 0);
  memory_case_number(&m, "momentum", 0.1);
  memory_case_flag(&m, "relu", true);
  memory_case_flag(&m, "residual", false);
  for (int i = 0; i < 5; i++) memory_case_give(&m, names[i], &given[i]);
  memory_case_expect(&m, "out.y", DTYPE_F32, 2, shape);
  struct tensor t = tensor_make(DTYPE_F32, y, 2, shape, "out.y");
  if (!memory_case_end(&m, &err)) fail_msg("%s", err.text);
  struct judged result = judged_of(&m, &t);
  memory_case_free(&m);
  return result;
}

/* In each row the first channel and the last are -1 + delta: delta is `far` of what rounding may move them by, and in the first so many the
 * candidate has decided otherwise. */
static struct judged judged_with(double far, int turned) {
  static float x[SIZE], y[SIZE];
  for (int i = 0; i < SIZE; i++) {
    bool close = i % CHANNELS == 0 || i % CHANNELS == CHANNELS - 1;
    x[i] = close ? (float)(-1 + far * ALLOWED) : (float)(1 + i % 13);
    y[i] = x[i] + 1 > 0 ? x[i] + 1 : 0;
    if (close && turned-- > 0) y[i] = far > 0 ? 0 : 0x1p-30f;
  }
  if (far < 0) y[1] *= 1 + 0x1p-23f; /* further off than a small number where there should be none */
  return judged_norm(x, y);
}

static void a_few_decisions_turn_by_rounding_and_many_do_not(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    const double far = k ? 0.9 : 0.25, each = ROWS * probability(as_float(far, ALLOWED)); /* of a channel; there are two */
    const int most = (int)may_turn(2 * each, 2 * each * (1 + each));
    assert_int_equal(judged_with(far, 0).judgement, JUDGED_PASS);
    assert_int_equal(judged_with(far, most).judgement, JUDGED_PASS);
    struct judged many = judged_with(far, most + 1);
    assert_int_equal(many.judgement, JUDGED_MISMATCH);
    assert_string_equal(many.finding.rule, "number of ReLUs that decided otherwise");
    assert_true(many.finding.error == most + 1);
    assert_true(fabs(many.finding.allowed / may_turn(2 * each, 2 * each * (1 + each)) - 1) < 1e-4);
  }
}

/* One that is further from zero than rounding moves it: closed by the candidate it is a wrong element; open, it may be a small one. */
static void a_relu_that_rounding_cannot_turn_is_named(void **state) {
  (void)state;
  assert_int_equal(judged_with(0.97, 1).judgement, JUDGED_PASS);
  assert_int_equal(judged_with(-0.97, 1).judgement, JUDGED_PASS);
  assert_string_equal(judged_with(1.03, 1).finding.rule, "element");
  struct finding f = judged_with(-1.03, 1).finding;
  assert_string_equal(f.rule, "ReLU decided otherwise");
  assert_string_equal(f.where, "[0, 0]");
  assert_true(f.candidate == 0x1p-30 && f.expected == 0);
  assert_true(fabs(f.error / ALLOWED - 1.03) < 0.01 && fabs(f.allowed / ALLOWED - 1) < 0.01);
}

/* As ref/op/norm.c: NaN stays NaN, and what is infinite is open or closed by its sign. */
static void a_relu_lets_nan_through(void **state) {
  (void)state;
  static const struct {
    float x, y;
    bool right;
    const char *rule;
  } pairs[] = {{NAN, NAN, true, ""},          {NAN, 0, false, "not finite"},         {NAN, 1, false, "not finite"},
               {1, NAN, false, "not finite"}, {INFINITY, INFINITY, true, ""},        {INFINITY, 0, false, "not finite"},
               {-INFINITY, 0, true, ""},      {-INFINITY, NAN, false, "not finite"}, {-INFINITY, 0x1p-149f, false, "element"}};
  static float x[SIZE], y[SIZE];
  for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
    for (int i = 0; i < SIZE; i++) x[i] = (float)(1 + i % 13), y[i] = x[i] + 1;
    x[CHANNELS + 3] = pairs[k].x, y[CHANNELS + 3] = pairs[k].y;
    struct judged j = judged_norm(x, y);
    if (j.finding.pass != pairs[k].right) fail_msg("%g for an input of %g", (double)pairs[k].y, (double)pairs[k].x);
    if (j.finding.pass) continue;
    assert_string_equal(j.finding.rule, pairs[k].rule);
    assert_string_equal(j.finding.where, "[1, 3]");
  }
}

/* ---- matched regions ----------------------------------------------------------------------------------------------------------------- */

/* Two images of REGIONS regions, all (1, 0); of the other view region 2 is (1, 0), too, region 1 less by `far` of what rounding may move
 * both, and the others are none. In the first so many regions the candidate has chosen region `chosen`. */
enum { REGIONS = 30, IMAGES = 2 };
static struct judged judged_match_of(double far, int turned, int chosen, float last) {
  static float t1[IMAGES * REGIONS * 2], t2[IMAGES * REGIONS * 2];
  static int32_t s12[IMAGES * REGIONS];
  const ptrdiff_t shape[] = {IMAGES, REGIONS, 2}, cells[] = {IMAGES, REGIONS}, sims[] = {IMAGES, REGIONS, REGIONS};
  struct memory_case m;
  struct error err;
  for (int i = 0; i < IMAGES * REGIONS; i++) {
    t1[2 * i] = 1, t1[2 * i + 1] = t2[2 * i + 1] = 0;
    t2[2 * i] = i % REGIONS == 2 ? 1 : i % REGIONS == 1 ? (float)(1 - far * MATCH_ALLOWED) : 0;
    s12[i] = turned-- > 0 ? chosen : 2;
  }
  t2[2 * REGIONS - 2] = last;
  memory_case_begin(&m, "match", "match");
  memory_case_text(&m, "similarity", "dot");
  struct tensor a = tensor_make(DTYPE_F32, t1, 3, shape, "a"), b = tensor_make(DTYPE_F32, t2, 3, shape, "b");
  memory_case_give(&m, "in.t1", &a), memory_case_give(&m, "in.t2", &b);
  memory_case_expect(&m, "out.s12", DTYPE_I32, 2, cells);
  memory_case_expect(&m, "out.sim12", DTYPE_F32, 3, sims);
  struct tensor t = tensor_make(DTYPE_I32, s12, 2, cells, "out.s12");
  if (!memory_case_end(&m, &err)) fail_msg("%s", err.text);
  struct judged result = judged_of(&m, &t);
  memory_case_free(&m);
  return result;
}

static struct judged judged_match(double far, int turned, int chosen) { return judged_match_of(far, turned, chosen, 0); }

static void a_region_is_matched_otherwise_within_rounding(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    const double far = k ? 0.9 : 0.25, each = REGIONS * probability(as_float(far, MATCH_ALLOWED));
    const int most = (int)may_turn(IMAGES * each, IMAGES * each * (1 + each));
    assert_int_equal(judged_match(far, 0, 1).judgement, JUDGED_PASS);
    assert_int_equal(judged_match(far, most, 1).judgement, JUDGED_PASS);
    struct judged many = judged_match(far, most + 1, 1);
    assert_string_equal(many.finding.rule, "number of regions matched otherwise");
    assert_true(many.finding.error == most + 1);
    assert_true(fabs(many.finding.allowed / may_turn(IMAGES * each, IMAGES * each * (1 + each)) - 1) < 1e-4);
  }
  assert_int_equal(judged_match(0.97, 1, 1).judgement, JUDGED_PASS);
  struct finding f = judged_match(1.03, 1, 1).finding;
  assert_string_equal(f.rule, "similarity");
  assert_string_equal(f.where, "[0, 0]");
  assert_true(f.candidate == 1 && f.expected == 2);
  assert_true(fabs(f.error / MATCH_ALLOWED - as_float(1.03, MATCH_ALLOWED)) < 1e-4 && fabs(f.allowed / MATCH_ALLOWED - 1) < 1e-4);
  f = judged_match(0.9, 1, REGIONS).finding;
  assert_string_equal(f.rule, "no such region");
  assert_false(judged_match(0.9, 1, -1).finding.pass);
  f = judged_match(0, 1, 2).finding; /* the lower of two that are one: sums of these numbers are exact */
  assert_string_equal(f.rule, "a tie: the lowest index wins");
  assert_true(f.candidate == 2 && f.expected == 1);
}

/* Region 29 of the first image: it is chosen nowhere, and changes nothing about the others. */
static void a_similarity_that_is_no_number_says_nothing_of_the_others(void **state) {
  (void)state;
  static const float none[] = {NAN, -INFINITY};
  for (int k = 0; k < 2; k++) {
    assert_int_equal(judged_match_of(0.9, 0, 1, none[k]).judgement, JUDGED_PASS);
    assert_int_equal(judged_match_of(0.9, 1, 1, none[k]).judgement, JUDGED_PASS);
    struct finding f = judged_match_of(0.9, 1, REGIONS - 1, none[k]).finding;
    assert_false(f.pass);
    assert_string_equal(f.rule, "similarity");
    assert_string_equal(judged_match_of(0.9, REGIONS, 1, none[k]).finding.rule, "number of regions matched otherwise");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_few_decisions_turn_by_rounding_and_many_do_not),
      cmocka_unit_test(a_relu_that_rounding_cannot_turn_is_named),
      cmocka_unit_test(a_relu_lets_nan_through),
      cmocka_unit_test(a_region_is_matched_otherwise_within_rounding),
      cmocka_unit_test(a_similarity_that_is_no_number_says_nothing_of_the_others),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
