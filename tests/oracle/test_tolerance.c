/* What results of a case may be off by where there is no gauge, and what becomes of a tensor that the file cannot decide: compare.c derives
 * the numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/compare.h"
#include "oracle/memory_case.h"
#include "oracle/operations.h"
#include "support/cmocka.h"

/* Of the case of this name and operation, at this precision; measured is what the file says of out.y, 0 if nothing. */
static struct tolerance allowed_for(const char *op, const char *name, const char *result, int bits, double measured) {
  struct case_file c = {.op = op, .attributes = json_pack("{s:s}", "transform", "flip"), .float32 = json_pack("{s:f}", "out.y", measured)};
  struct case_run at = {.file = &c};
  double y = 1;
  const ptrdiff_t one = 1;
  struct tensor expected = tensor_make(DTYPE_F64, &y, 1, &one, "%s", result);
  snprintf(c.name, sizeof c.name, "%s", name);
  if (measured > 0) c.float32_l2 = json_pack("{s:f}", "out.y", measured / 2);
  struct tolerance t = compare_tolerance(&at, bits, &expected, result);
  json_decref(c.attributes), json_decref(c.float32), json_decref(c.float32_l2);
  return t;
}

static void what_is_allowed_is_as_derived(void **state) {
  (void)state;
  struct tolerance t = allowed_for("linear", "linear/a", "out.y", 32, 0);
  assert_true(t.peak == 2e-6 && isinf(t.l2) && t.scale == 0);
  t = allowed_for("linear", "linear/a", "out.y", 32, 1e-6);
  assert_true(fabs(t.peak / 1e-5 - 1) < 1e-12 && fabs(t.l2 / 5e-6 - 1) < 1e-12);
  static const struct {
    const char *op;
    double uncertain;
  } wide[] = {{"linear", 1e-13}, {"backbone", 5e-13}, {"step", 1e-10}};
  for (int k = 0; k < 3; k++) {
    t = allowed_for(wide[k].op, "x/a", "out.y", 64, 1e-6);
    assert_true(fabs(t.peak / (1e-5 * 0x1p-29 + wide[k].uncertain) - 1) < 1e-12);
    assert_true(fabs(t.l2 / (5e-6 * 0x1p-29 + wide[k].uncertain) - 1) < 1e-12);
  }
  static const struct {
    const char *op, *name, *result;
    bool exact;
  } kinds[] = {{"linear", "linear/int_a", "out.y", true},   {"relu", "relu/a", "grad_in.x", true},
               {"maxpool", "maxpool/a", "out.y", true},     {"maxpool", "maxpool/a", "grad_in.x", false},
               {"augment", "augment/a", "out.image", true}, {"linear", "int_linear/a", "out.y", false},
               {"linear", "linear/a_int_b", "out.y", false}};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
    assert_true((allowed_for(kinds[k].op, kinds[k].name, kinds[k].result, 32, 0).peak == 0) == kinds[k].exact);
}

/* One result of a case, off by this much of its largest number, of which the file says that PyTorch's float run was off by `measured`:
 * judged beside the truth in double, with these decisions. */
static struct verdict judged_beside_truth(struct memory_case *m, const char *name, double measured, double off, const struct decisions *d) {
  struct case_run run, truth;
  struct verdict v;
  struct error err;
  m->file.float32 = json_pack("{s:f}", name, measured);
  if (!memory_case_end(m, &err) || !run_begin(&run, &m->file, &err) || !case_compute(&run, 32) || !run_begin(&truth, &m->file, &err) ||
      !case_compute(&truth, 64))
    fail_msg("%s", err.text);
  const struct tensor *is = run_result(&run, name), *right = run_result(&truth, name);
  float *x = is->data;
  double *expected = calloc((size_t)tensor_count(right), sizeof *expected), most = 0; /* zeros: a file that says something else */
  assert_non_null(expected);
  for (ptrdiff_t i = 0; i < tensor_count(right); i++) most = fmax(most, fabs(tensor_at(right, i)));
  x[1] += (float)(off * most);
  for (int i = 0; i < m->file.file.count; i++)
    if (strcmp(m->tensor[i].name, name) == 0) m->tensor[i].data = expected;
  assert_true(compare_case(&run, 32, &truth, d, &v, &err));
  run_end(&run), run_end(&truth);
  free(expected);
  json_decref(m->file.float32);
  memory_case_free(m);
  return v;
}

static struct verdict judged_linear(double measured, double off, const struct decisions *d) {
  static float x[6] = {1, 2, 3, -1, 0, 2}, w[6] = {1, 0, -1, 2, 1, 1};
  struct memory_case m;
  const ptrdiff_t xs[] = {2, 3}, ys[] = {2, 2};
  const struct tensor in = tensor_make(DTYPE_F32, x, 2, xs, "in.x"), weight = tensor_make(DTYPE_F32, w, 2, xs, "param.weight");
  memory_case_begin(&m, "linear", "linear");
  memory_case_flag(&m, "bias", false);
  memory_case_give(&m, "in.x", &in), memory_case_give(&m, "param.weight", &weight);
  memory_case_expect(&m, "out.y", DTYPE_F64, 2, ys);
  return judged_beside_truth(&m, "out.y", measured, off, d);
}

static struct verdict judged_momentum(double measured, double off, const struct decisions *d) {
  static float w[3] = {1, -2, 3}, mom[3] = {0.5F, 1, -1}, g[3] = {4, 1, 2};
  static double lr = 0.1;
  struct memory_case m;
  const ptrdiff_t three = 3, one = 1;
  struct tensor t[] = {tensor_make(DTYPE_F32, w, 1, &three, "param.weight.0"),
                       tensor_make(DTYPE_F32, mom, 1, &three, "in.momentum.weight.0"),
                       tensor_make(DTYPE_F32, g, 1, &three, "in.grad.0.weight.0"), tensor_make(DTYPE_F64, &lr, 1, &one, "in.lr")};
  memory_case_begin(&m, "lars", "lars");
  memory_case_text(&m, "variant", "byol"), memory_case_integer(&m, "steps", 1);
  memory_case_number(&m, "trust", 1), memory_case_number(&m, "momentum", 0.9), memory_case_number(&m, "weight_decay", 0);
  for (int i = 0; i < 4; i++) memory_case_give(&m, t[i].name, &t[i]);
  memory_case_expect(&m, "out.momentum.0.weight.0", DTYPE_F64, 1, &three);
  return judged_beside_truth(&m, "out.momentum.0.weight.0", measured, off, d);
}

/* Ten times what PyTorch was off by, and at most ten times 3e-4, or 3e-3 of a momentum buffer. Decisions: none further from zero than ten
 * times what the forward pass was off by, and of all that were looked at no more than 4 times that, and one. */
static void what_the_file_cannot_decide_is_held_to_the_truth(void **state) {
  (void)state;
  const struct decisions none = {0};
  static const struct {
    bool momentum;
    double measured, limit;
  } limits[] = {{false, 1e-4, 1e-3}, {false, 1e-2, 3e-3}, {true, 1e-4, 1e-3}, {true, 2e-3, 2e-2}, {true, 1e-1, 3e-2}};
  for (size_t k = 0; k < sizeof limits / sizeof *limits; k++) {
    for (int beyond = 0; beyond < 2; beyond++) {
      double off = limits[k].limit * (beyond ? 1.01 : 0.99);
      struct verdict v =
          limits[k].momentum ? judged_momentum(limits[k].measured, off, &none) : judged_linear(limits[k].measured, off, &none);
      if (v.failures != beyond) fail_msg("limit %g, off by %g: %d failures", limits[k].limit, off, v.failures);
      assert_int_equal(v.unsteady, limits[k].measured > (limits[k].momentum ? 3e-3 : 3e-4));
      verdict_free(&v);
    }
  }
  for (int beyond = 0; beyond < 2; beyond++) { /* ten times 1e-3 */
    struct decisions d = {.seen = 1000, .flips = 41, .widest = beyond ? 0.0101 : 0.0099};
    struct verdict v = judged_linear(1e-3, 0, &d);
    assert_int_equal(v.failures, beyond);
    assert_string_equal(v.finding[v.count - 1].rule, "furthest ReLU that decided otherwise");
    verdict_free(&v);
    d.flips += beyond, d.widest = 0.0099; /* 1 + 4 * 0.01 * 1000 */
    v = judged_linear(1e-3, 0, &d);
    assert_int_equal(v.failures, beyond);
    verdict_free(&v);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_allowed_is_as_derived),
      cmocka_unit_test(what_the_file_cannot_decide_is_held_to_the_truth),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
