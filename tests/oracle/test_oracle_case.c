/* `oracle case FILE candidate=OUT`: results of a kernel, right and spoiled. */
#include <math.h>

#include "oracle/results.h"

/* Exit status, and a part of what was printed on either stream. */
static void right_results_pass(void **state) {
  (void)state;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  program_expect(0, "conv: pass, 3 tensors as fp32", judged(&r, r.count, "conv.safetensors", ""));
}

static void a_nan_is_found_where_it_is(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("n=2 h=8 w=8 c=16 k=16");
  struct results r = right_results("conv.safetensors");
  values(&r, "grad_in.x", &n)[((1 * 8 + 2) * 8 + 3) * 16 + 4] = NAN;
  program_expect(MISMATCH, "conv: grad_in.x[1, 2, 3, 4] is nan, expected ", judged(&r, r.count, "conv.safetensors", ""));
}

static void one_element_is_found_where_it_is(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  float most = 0;
  make_conv("n=2 h=8 w=8 c=16 k=16");
  struct results r = right_results("conv.safetensors");
  float *y = values(&r, "out.y", &n);
  for (ptrdiff_t i = 0; i < n; i++) most = fmaxf(most, fabsf(y[i]));
  y[((0 * 8 + 7) * 8 + 5) * 16 + 15] += 1e-3f * most;
  const struct outcome *o = judged(&r, r.count, "conv.safetensors", "");
  program_expect(MISMATCH, "conv: out.y[0, 7, 5, 15] is ", o);
  program_expect(MISMATCH, "(element)", o);
  program_expect(MISMATCH, "again: oracle case conv.safetensors candidate=candidate.safetensors precision=fp32", o);
}

/* A factor so small that every element, and the rms, is within rounding: y is a sum of 576 terms of both signs, of which |y| is a
 * twentieth. */
static void a_factor_is_found(void **state) {
  (void)state;
  static const struct {
    float factor;
    const char *rule;
  } cases[] = {{1.00001f, "(rms)"}, {1.0000008f, "(bias)"}};
  for (int k = 0; k < 2; k++) {
    ptrdiff_t n = 0;
    make_conv("c=64");
    struct results r = right_results("conv.safetensors");
    float *y = values(&r, "out.y", &n);
    for (ptrdiff_t i = 0; i < n; i++) y[i] = (float)((double)y[i] * (double)cases[k].factor);
    program_expect(MISMATCH, cases[k].rule, judged(&r, r.count, "conv.safetensors", ""));
  }
}

static void lower_precision_is_found_unless_it_is_declared(void **state) {
  (void)state;
  make_conv("");
  struct results r = rounded_results("conv.safetensors", PRECISION_TF32);
  program_expect(MISMATCH, "conv: out.y[", judged(&r, r.count, "conv.safetensors", "precision=fp32"));
  r = rounded_results("conv.safetensors", PRECISION_TF32);
  program_expect(0, "pass, 3 tensors as tf32", judged(&r, r.count, "conv.safetensors", "precision=tf32"));
}

/* Then a kernel that rounds them itself is right in a class that does not. */
static void inputs_can_be_made_in_lower_precision(void **state) {
  (void)state;
  static const struct {
    const char *key;
    enum precision precision;
  } formats[] = {{"round=tf32", PRECISION_TF32}, {"round=bf16", PRECISION_BF16}};
  for (int i = 0; i < 2; i++) {
    make_conv("");
    struct results r = rounded_results("conv.safetensors", formats[i].precision);
    program_expect(MISMATCH, "conv: out.y[", judged(&r, r.count, "conv.safetensors", ""));
    make_conv(formats[i].key);
    r = rounded_results("conv.safetensors", formats[i].precision);
    program_expect(0, "pass, 3 tensors as fp32;", judged(&r, r.count, "conv.safetensors", ""));
    r = rounded_results("conv.safetensors", formats[i].precision);
    program_expect(0, "pass, 3 tensors as fp32-rz;", judged(&r, r.count, "conv.safetensors", "precision=fp32-rz"));
  }
}

static void missing_and_extra_tensors_are_incomplete(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  program_expect(INCOMPLETE, "missing", judged(&r, r.count - 1, "conv.safetensors", ""));
  r = right_results("conv.safetensors");
  float *more = calloc(1, sizeof *more);
  assert_non_null(more);
  r.t[r.count++] = tensor_make(DTYPE_F32, more, 0, (ptrdiff_t[]){1}, "out.loss");
  program_expect(INCOMPLETE, "conv: out.loss: extra: the case does not expect it", judged(&r, r.count, "conv.safetensors", ""));
  program_expect(INCOMPLETE, "conv: in.x: extra: an input of the case, and no result",
                 program_run("oracle case conv.safetensors candidate=conv.safetensors"));
  r = right_results("conv.safetensors"); /* a wrong tensor is worse than a missing one */
  values(&r, r.t[0].name, &n)[0] = INFINITY;
  program_expect(MISMATCH, "missing", judged(&r, r.count - 1, "conv.safetensors", ""));
}

/* Moves the results that begin so to the front; how many. */
static int to_the_front(struct results *r, const char *beginning) {
  int count = 0;
  for (int i = 0; i < r->count; i++) {
    if (strncmp(r->t[i].name, beginning, strlen(beginning)) != 0) continue;
    struct tensor t = r->t[count];
    r->t[count++] = r->t[i], r->t[i] = t;
  }
  return count;
}

/* A kernel without gradients has nothing to say of them. */
static void what_is_not_asked_for_may_be_missing(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  program_expect(0, "conv: pass, 1 of 3 tensors as fp32; closest to its limit: out.y (",
                 judged(&r, to_the_front(&r, "out."), "conv.safetensors", "only='out.*'"));
  r = right_results("conv.safetensors");
  program_expect(0, "conv: pass, 2 of 3 tensors as fp32;", judged(&r, to_the_front(&r, "grad_"), "conv.safetensors", "only='grad_*'"));
  r = right_results("conv.safetensors"); /* what is not asked for is not judged, and not too many */
  values(&r, "grad_in.x", &n)[0] = INFINITY;
  program_expect(0, "conv: pass, 1 of 3 tensors as fp32;", judged(&r, r.count, "conv.safetensors", "only=out.y"));
  r = right_results("conv.safetensors");
  values(&r, "out.y", &n)[0] = INFINITY;
  program_expect(MISMATCH, "again: oracle case conv.safetensors candidate=candidate.safetensors precision=fp32 only='out.*'",
                 judged(&r, to_the_front(&r, "out."), "conv.safetensors", "only='out.*'"));
  r = right_results("conv.safetensors");
  program_expect(INCOMPLETE, "conv: grad_in.x: missing", judged(&r, to_the_front(&r, "out."), "conv.safetensors", "only='*[tn].[xy]'"));
}

/* Whatever files are called: given to a shell as it is printed, the command says the same once more. */
static void the_command_of_a_failure_can_be_run(void **state) {
  (void)state;
  static const char *const names[][3] = {
      {"a b", "it's", "; again: oracle case 'a b' candidate='it'\\''s' precision=fp32\n"},
      {"a;b&c", "$(x)\"`~*", "; again: oracle case 'a;b&c' candidate='$(x)\"`~*' precision=fp32\n"},
      {"./a=b", "c-d_e+f:g@h%,i", "; again: oracle case ./a=b candidate=c-d_e+f:g@h%,i precision=fp32\n"}};
  ptrdiff_t n = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    make_conv("");
    struct results r = right_results("conv.safetensors");
    values(&r, "out.y", &n)[0] = NAN;
    program_expect(MISMATCH, "nan", judged(&r, r.count, "conv.safetensors", ""));
    assert_int_equal(rename("conv.safetensors", names[i][0]), 0);
    assert_int_equal(rename("candidate.safetensors", names[i][1]), 0);
    setenv("CASE", names[i][0], 1), setenv("RESULTS", names[i][1], 1);
    program_expect(MISMATCH, names[i][2], program_run("oracle case \"$CASE\" candidate=\"$RESULTS\" | tee said; false"));
    program_expect(0, "", program_run("sed 's/.*; again: //' said >again.sh; sh again.sh >again; cmp said again"));
  }
}

static void other_shapes_orders_and_types_are_found(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("c=8 k=6");
  struct results r = right_results("conv.safetensors");
  for (int i = 0; i < r.count; i++) {
    if (strcmp(r.t[i].name, "out.y") != 0) continue;
    ptrdiff_t channels = r.t[i].shape[3];
    r.t[i].shape[3] = r.t[i].shape[1], r.t[i].shape[1] = channels; /* N C H W */
  }
  program_expect(MISMATCH, "conv: out.y has shape [2, 6, 8, 8], not [2, 8, 8, 6]", judged(&r, r.count, "conv.safetensors", ""));

  r = right_results("conv.safetensors");
  float *y = values(&r, "out.y", &n);
  for (ptrdiff_t i = 0; i < n / 2; i++) {
    float swap = y[i];
    y[i] = y[i + n / 2], y[i + n / 2] = swap;
  }
  program_expect(MISMATCH, "conv: out.y[", judged(&r, r.count, "conv.safetensors", ""));

  r = right_results("conv.safetensors");
  r.t[0].dtype = DTYPE_I32;
  program_expect(MISMATCH, "dtype: numbers are F32, F64 or BF16", judged(&r, r.count, "conv.safetensors", ""));
}

/* Whole numbers: every order of every sum is exact, so the last bit counts. */
static void whole_numbers_are_held_to_the_bit(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("fill=int");
  struct results r = right_results("conv.safetensors");
  values(&r, "grad_param.weight", &n)[5] += 1e-5f;
  program_expect(MISMATCH, "(exact)", judged(&r, r.count, "conv.safetensors", ""));
}

/* Inputs of 100 +- 0.01 are a few numbers in half precision: nothing can be told from the normalised ones. */
static void what_cannot_be_told_is_vacuous(void **state) {
  (void)state;
  program_expect(0, "written", program_run("oracle case make op=norm fill=offset out=norm.safetensors"));
  struct results r = rounded_results("norm.safetensors", PRECISION_FP16);
  program_expect(VACUOUS, "VACUOUS", judged(&r, r.count, "norm.safetensors", "precision=fp16"));
}

static void indices_may_differ_only_within_rounding(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  program_expect(0, "written", program_run("oracle case make op=match out=match.safetensors"));
  struct results r = right_results("match.safetensors");
  for (int i = 0; i < r.count; i++) {
    if (r.t[i].ndim != 2) continue;
    int32_t *index = calloc((size_t)tensor_count(&r.t[i]), sizeof *index);
    assert_non_null(index);
    for (ptrdiff_t j = 0; j < tensor_count(&r.t[i]); j++) index[j] = (int32_t)((float *)r.t[i].data)[j];
    free(r.t[i].data);
    r.t[i].data = index, r.t[i].dtype = DTYPE_I32;
  }
  struct results wrong = r;
  struct error err;
  if (!safetensors_write("candidate.safetensors", r.t, r.count, NULL, &err)) fail_msg("%s", err.text);
  program_expect(0, "pass, 7 tensors", program_run("oracle case match.safetensors candidate=candidate.safetensors"));
  int32_t *s12 = (int32_t *)(void *)values(&wrong, "out.s12", &n);
  s12[3] = (s12[3] + 1) % 64; /* h w = 64 regions */
  program_expect(MISMATCH, "match: out.s12[0, 3] is ", judged(&wrong, wrong.count, "match.safetensors", ""));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(right_results_pass),
      cmocka_unit_test(a_nan_is_found_where_it_is),
      cmocka_unit_test(one_element_is_found_where_it_is),
      cmocka_unit_test(a_factor_is_found),
      cmocka_unit_test(lower_precision_is_found_unless_it_is_declared),
      cmocka_unit_test(inputs_can_be_made_in_lower_precision),
      cmocka_unit_test(missing_and_extra_tensors_are_incomplete),
      cmocka_unit_test(what_is_not_asked_for_may_be_missing),
      cmocka_unit_test(the_command_of_a_failure_can_be_run),
      cmocka_unit_test(other_shapes_orders_and_types_are_found),
      cmocka_unit_test(whole_numbers_are_held_to_the_bit),
      cmocka_unit_test(what_cannot_be_told_is_vacuous),
      cmocka_unit_test(indices_may_differ_only_within_rounding),
  };
  return cmocka_run_group_tests(tests, program_enter, program_leave);
}
