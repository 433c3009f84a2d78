/* The runner and the judge of golden cases, on cases written here: what is right passes in both precisions, and whatever is wrong with a
 * case, a result or an operation is a failure that says so. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle/check.h"
#include "oracle/formula.h"
#include "oracle/operations.h"
#include "support/cmocka.h"
#include "support/folder.h"

static char folder[FOLDER_PATH], path[IN_FOLDER_PATH];

static int make_folder(void **state) {
  (void)state;
  folder_make(folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  return rmdir(folder);
}

/* ---- a linear layer in small integers ----------------------------------------------------------------------------------------------- */

/* y = x w^T + b with x 2x3, w 2x3, b 2, and the gradients of sum(y dy), all by hand. */
struct linear_case {
  double x[6], w[6], b[2], dy[4], y[4], dx[6], dw[6], db[2];
};

static struct linear_case by_hand(void) {
  return (struct linear_case){.x = {1, 2, 3, -1, 0, 2},
                              .w = {1, 0, -1, 2, 1, 1},
                              .b = {10, 20},
                              .dy = {1, 2, -1, 3},
                              .y = {8, 27, 7, 20},
                              .dx = {5, 2, 1, 5, 3, 4},
                              .dw = {2, 2, 1, -1, 4, 12},
                              .db = {0, 5}};
}

enum { LINEAR_TENSORS = 8 };

static void tensors_of(struct linear_case *c, struct tensor t[LINEAR_TENSORS]) {
  ptrdiff_t xs[] = {2, 3}, ys[] = {2, 2}, bs[] = {2};
  t[0] = tensor_make(DTYPE_F64, c->x, 2, xs, "in.x");
  t[1] = tensor_make(DTYPE_F64, c->w, 2, xs, "param.weight");
  t[2] = tensor_make(DTYPE_F64, c->b, 1, bs, "param.bias");
  t[3] = tensor_make(DTYPE_F64, c->dy, 2, ys, "grad_out.y");
  t[4] = tensor_make(DTYPE_F64, c->y, 2, ys, "out.y");
  t[5] = tensor_make(DTYPE_F64, c->dx, 2, xs, "grad_in.x");
  t[6] = tensor_make(DTYPE_F64, c->dw, 2, xs, "grad_param.weight");
  t[7] = tensor_make(DTYPE_F64, c->db, 1, bs, "grad_param.bias");
}

static void write_case(const char *name, const char *op, const char *attrs, const struct tensor *t, int count) {
  struct error err;
  const char *metadata[] = {"format", "ediy-case-1", "op", op, "attrs", attrs, "layout", "NHWC,KRSC", NULL};
  snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
  if (!safetensors_write(path, t, count, metadata, &err)) fail_msg("%s", err.text);
}

/* Opens, checks and removes the file at `path`. Returns the failures; -1 when there was nothing to judge, with the message in text. */
static int judge_file(int bits, char text[1024]) {
  struct case_file c;
  struct verdict v;
  struct error err = {0};
  int failures = -1;
  text[0] = 0;
  if (case_open(&c, path, &err)) {
    if (case_check(&c, bits, false, &v, &err)) {
      failures = v.failures;
      for (int i = 0; i < v.count; i++) {
        if (!v.finding[i].pass) finding_text(&v.finding[i], text, 1024);
      }
      verdict_free(&v);
    }
    case_close(&c);
  }
  if (failures < 0) snprintf(text, 1024, "%s", err.text);
  return failures;
}

static int judge_linear(struct linear_case *c, const char *name, int bits, char text[1024]) {
  struct tensor t[LINEAR_TENSORS];
  tensors_of(c, t);
  write_case(name, "linear", "{\"bias\": true}", t, LINEAR_TENSORS);
  int failures = judge_file(bits, text);
  unlink(path);
  return failures;
}

static void what_is_right_passes(void **state) {
  (void)state;
  struct linear_case c = by_hand();
  char text[1024];
  assert_int_equal(judge_linear(&c, "int_linear", 32, text), 0);
  assert_int_equal(judge_linear(&c, "int_linear", 64, text), 0);
  assert_int_equal(judge_linear(&c, "linear", 32, text), 0);
  assert_int_equal(judge_linear(&c, "linear", 64, text), 0);
}

/* Each element of each expected tensor, wrong by ten times what its precision is allowed: one failure, in that tensor. */
static void a_wrong_element_anywhere_fails(void **state) {
  (void)state;
  char text[1024];
  for (int bits = 32; bits <= 64; bits += 32) {
    double off = bits == 32 ? 2e-5 : 1e-12;
    for (int k = 4; k < LINEAR_TENSORS; k++) {
      struct linear_case c = by_hand();
      struct tensor t[LINEAR_TENSORS];
      tensors_of(&c, t);
      double *data = t[k].data, most = 0;
      ptrdiff_t n = tensor_count(&t[k]);
      for (ptrdiff_t i = 0; i < n; i++) most = fmax(most, fabs(data[i]));
      for (ptrdiff_t i = 0; i < n; i++) {
        double right = data[i];
        data[i] += off * most;
        write_case("linear", "linear", "{\"bias\": true}", t, LINEAR_TENSORS);
        assert_int_equal(judge_file(bits, text), 1);
        assert_non_null(strstr(text, t[k].name));
        data[i] = right;
      }
    }
  }
  unlink(path);
}

/* A case called int_* demands every bit, where another of the same numbers has an allowance. */
static void integers_are_exact(void **state) {
  (void)state;
  struct linear_case c = by_hand();
  char text[1024];
  c.y[0] += 0x1p-20; /* 2^-20 of 8 is 1.2e-7, half a roundoff of float and seven times less than the allowance */
  assert_int_equal(judge_linear(&c, "int_linear", 32, text), 1);
  assert_int_equal(judge_linear(&c, "linear", 32, text), 0);
  assert_int_equal(judge_linear(&c, "linear", 64, text), 1);
}

static void an_expected_nan_or_infinity_is_not_a_number(void **state) {
  (void)state;
  struct linear_case c = by_hand();
  char text[1024];
  c.dx[3] = NAN;
  assert_int_equal(judge_linear(&c, "linear", 64, text), 1);
  c.dx[3] = INFINITY;
  assert_int_equal(judge_linear(&c, "linear", 64, text), 1);
  c = by_hand();
  c.x[4] = NAN; /* then the results are NaN where numbers are expected */
  assert_true(judge_linear(&c, "linear", 64, text) > 0);
  assert_true(judge_linear(&c, "int_linear", 32, text) > 0);
}

/* What goes wrong before there is anything to judge. */
static void a_case_that_does_not_fit_is_refused(void **state) {
  (void)state;
  struct linear_case c = by_hand();
  struct tensor t[LINEAR_TENSORS + 1];
  char text[1024];
  tensors_of(&c, t);

  write_case("linear", "linaer", "{\"bias\": true}", t, LINEAR_TENSORS);
  assert_int_equal(judge_file(32, text), -1);
  assert_non_null(strstr(text, "linaer"));

  write_case("linear", "linear", "{}", t, LINEAR_TENSORS);
  assert_int_equal(judge_file(32, text), -1);
  assert_non_null(strstr(text, "\"bias\""));

  write_case("linear", "linear", "{\"bias\": 1}", t, LINEAR_TENSORS);
  assert_int_equal(judge_file(32, text), -1);
  assert_non_null(strstr(text, "true or false"));

  write_case("linear", "linear", "{\"bias\": false}", t, LINEAR_TENSORS); /* then param.bias is read by nobody */
  assert_int_equal(judge_file(32, text), -1);
  assert_non_null(strstr(text, "param.bias"));

  write_case("linear", "linear", "{\"bias\": true}", t + 1, LINEAR_TENSORS - 1); /* no in.x */
  assert_int_equal(judge_file(64, text), -1);
  assert_non_null(strstr(text, "in.x"));

  write_case("linear", "linear", "{\"bias\": true}", t, 4); /* nothing is expected */
  assert_int_equal(judge_file(64, text), -1);

  t[1].shape[0] = 3, t[1].shape[1] = 2; /* weight 3 x 2 against x 2 x 3 */
  write_case("linear", "linear", "{\"bias\": true}", t, LINEAR_TENSORS);
  assert_int_equal(judge_file(64, text), -1);
  assert_non_null(strstr(text, "param.weight"));

  tensors_of(&c, t);
  snprintf(t[0].name, sizeof t[0].name, "input.x"); /* no such prefix */
  write_case("linear", "linear", "{\"bias\": true}", t, LINEAR_TENSORS);
  assert_int_equal(judge_file(64, text), -1);
  assert_non_null(strstr(text, "input.x"));
  unlink(path);
}

static void a_result_that_is_missing_or_misshapen_fails(void **state) {
  (void)state;
  struct linear_case c = by_hand();
  struct tensor t[LINEAR_TENSORS + 1];
  char text[1024];
  tensors_of(&c, t);
  t[8] = tensor_make(DTYPE_F64, c.db, 1, (ptrdiff_t[]){2}, "out.logits"); /* nothing produces this */
  write_case("linear", "linear", "{\"bias\": true}", t, LINEAR_TENSORS + 1);
  assert_int_equal(judge_file(32, text), 1);
  assert_non_null(strstr(text, "out.logits: missing"));

  snprintf(t[8].name, sizeof t[8].name, "out.y#digest"); /* a digest, but of two numbers, and without a seed */
  write_case("linear", "linear", "{\"bias\": true}", t, LINEAR_TENSORS + 1);
  assert_int_equal(judge_file(32, text), 1);

  t[4] = tensor_make(DTYPE_F64, c.y, 1, (ptrdiff_t[]){4}, "out.y"); /* the same numbers in a row */
  write_case("linear", "linear", "{\"bias\": true}", t, LINEAR_TENSORS);
  assert_int_equal(judge_file(64, text), 1);
  assert_non_null(strstr(text, "[2, 2], not [4]"));
  t[4] = tensor_make(DTYPE_F64, c.y, 2, (ptrdiff_t[]){4, 1}, "out.y"); /* or in a column */
  write_case("linear", "linear", "{\"bias\": true}", t, LINEAR_TENSORS);
  assert_int_equal(judge_file(64, text), 1);
  unlink(path);
}

/* A digest stands for a tensor: right, it passes; each of its twenty numbers is looked at. */
static void digests_are_judged_by_every_number(void **state) {
  (void)state;
  struct linear_case c = by_hand();
  struct tensor t[LINEAR_TENSORS];
  char text[1024];
  double digest[DIGEST_SIZE];
  const char *attrs = "{\"bias\": true, \"formula_seed\": 77}";
  tensors_of(&c, t);
  formula_digest(77, "grad_param.weight", &t[6], digest);
  t[6] = tensor_make(DTYPE_F64, digest, 1, (ptrdiff_t[]){DIGEST_SIZE}, "grad_param.weight#digest");
  for (int bits = 32; bits <= 64; bits += 32) {
    write_case("linear", "linear", attrs, t, LINEAR_TENSORS);
    assert_int_equal(judge_file(bits, text), 0);
    for (int i = 0; i < DIGEST_SIZE; i++) {
      double right = digest[i];
      digest[i] += (bits == 32 ? 1e-5 : 1e-12) * 22; /* 22: the sum of |x|, the largest divisor of an error */
      write_case("linear", "linear", attrs, t, LINEAR_TENSORS);
      assert_int_equal(judge_file(bits, text), 1);
      assert_non_null(strstr(text, "grad_param.weight#digest"));
      digest[i] = right;
    }
  }
  unlink(path);
}

/* ---- indices ------------------------------------------------------------------------------------------------------------------------ */

/* Max pool of one long row that ends in a tie: the winner's index, off by one, is off by 1.7e-6 of itself, which a number in float might
 * be. */
static void indices_are_exact(void **state) {
  (void)state;
  enum { W = 600000, Q = W / 2 };
  double *x = malloc(W * sizeof *x), *y = malloc(Q * sizeof *y);
  int64_t *index = malloc(Q * sizeof *index);
  char text[1024];
  ptrdiff_t xs[] = {1, 1, W, 1}, ys[] = {1, 1, Q, 1};
  const char *attrs = "{\"kernel\": 3, \"stride\": 2, \"pad\": 1}";
  assert_true(x && y && index);
  for (int i = 0; i < W; i++) x[i] = i / 2; /* every odd place ties with the one before it; its window also sees a smaller one */
  for (int q = 0; q < Q; q++) y[q] = x[2 * q], index[q] = 2 * q;
  struct tensor t[] = {tensor_make(DTYPE_F64, x, 4, xs, "in.x"), tensor_make(DTYPE_F64, y, 4, ys, "out.y"),
                       tensor_make(DTYPE_I64, index, 4, ys, "out.index")};
  write_case("tie", "maxpool", attrs, t, 3);
  assert_int_equal(judge_file(32, text), 0);
  index[Q - 1]++;
  write_case("tie", "maxpool", attrs, t, 3);
  assert_int_equal(judge_file(32, text), 1);
  assert_non_null(strstr(text, "is 599998, expected 599999 (exact): off by 1, allowed 0"));
  assert_int_equal(judge_file(64, text), 1);
  unlink(path);
  free(x);
  free(y);
  free(index);
}

/* ---- the comparison itself ---------------------------------------------------------------------------------------------------------- */

static bool passes(const double *expected, const double *candidate, ptrdiff_t n, struct tolerance allowed) {
  struct finding f = {.pass = true};
  double e[8], c[8];
  memcpy(e, expected, (size_t)n * sizeof *e);
  memcpy(c, candidate, (size_t)n * sizeof *c);
  struct tensor a = tensor_make(DTYPE_F64, e, 1, &n, "expected"), b = tensor_make(DTYPE_F64, c, 1, &n, "candidate");
  compare_tensor(&a, &b, &allowed, &f);
  return f.pass;
}

static void errors_are_measured_as_documented(void **state) {
  (void)state;
  const struct tolerance loose = {.peak = 0.01, .l2 = INFINITY}, exact = {.peak = 0, .l2 = INFINITY}, l2 = {.peak = 0.01, .l2 = 0.005};
  const double y[] = {100, 1, 0, -50}, zero[4] = {0};
  assert_true(passes(y, (double[]){100, 1.9, -0.9, -50}, 4, loose)); /* relative to the largest, not to each */
  assert_false(passes(y, (double[]){100, 2.1, 0, -50}, 4, loose));
  assert_false(passes(y, (double[]){100, 1, NAN, -50}, 4, loose));
  assert_false(passes(y, (double[]){100, 1, INFINITY, -50}, 4, loose));
  assert_false(passes((double[]){100, 1, NAN, -50}, y, 4, loose));
  assert_true(passes(y, (double[]){100, 1, -0.0, -50}, 4, exact));
  assert_false(passes(y, (double[]){100, 1, 1e-300, -50}, 4, exact));
  assert_false(passes(y, (double[]){100.9, 1.9, 0.9, -50.9}, 4, l2)); /* each within the peak, but all of them off */
  assert_true(passes(y, (double[]){100.5, 1, 0, -50}, 4, l2));
  assert_true(passes(zero, zero, 4, loose)); /* zeros have no size to be relative to */
  assert_false(passes(zero, (double[]){0, 0, 1e-30, 0}, 4, loose));
  assert_true(passes((double[]){0, 1e-17}, (double[]){1e-16, 0}, 2, (struct tolerance){.peak = 1e-10, .l2 = INFINITY, .scale = 1}));
}

/* What a finding says is of the rule that is broken, and of the number that is furthest beyond its limit. */
static void findings_are_of_the_worst(void **state) {
  (void)state;
  const ptrdiff_t n = 4;
  double y[] = {100, 1, 0, -50}, c[] = {100.9, 1.9, 0.9, -50.9};
  struct tensor expected = tensor_make(DTYPE_F64, y, 1, &n, "y"), candidate = tensor_make(DTYPE_F64, c, 1, &n, "y");
  struct finding f = {0};
  compare_tensor(&expected, &candidate, &(struct tolerance){.peak = 0.01, .l2 = 0.005}, &f);
  assert_string_equal(f.rule, "l2");
  assert_true(fabs(f.error - 1.8 / sqrt(12501)) < 1e-12 && f.allowed == 0.005);
  c[2] = 3;
  compare_tensor(&expected, &candidate, &(struct tolerance){.peak = 0.01, .l2 = 0.005}, &f);
  assert_string_equal(f.where, "[2]");
  assert_true(f.candidate == 3 && f.expected == 0 && fabs(f.error - 0.03) < 1e-12 && f.allowed == 0.01);
  candidate.shape[0] = 3, f.error = 0;
  compare_tensor(&expected, &candidate, &(struct tolerance){.peak = 0.01, .l2 = 0.005}, &f);
  assert_true(isinf(f.error) && !f.pass);
  static const char *const where[] = {" sum is", " sum of |x| is", " L2 norm is", " dot product is", " sample 0 is"};
  struct linear_case l = by_hand();
  struct tensor t[LINEAR_TENSORS];
  char text[1024];
  double digest[DIGEST_SIZE];
  tensors_of(&l, t);
  t[6] = tensor_make(DTYPE_F64, digest, 1, (ptrdiff_t[]){DIGEST_SIZE}, "grad_param.weight#digest");
  struct tensor dw = tensor_make(DTYPE_F64, l.dw, 2, (ptrdiff_t[]){2, 3}, "grad_param.weight");
  for (int i = 0; i < 5; i++) { /* one a hundred times its limit, another, three times as far as it may be */
    formula_digest(77, "grad_param.weight", &dw, digest);
    digest[i] += 100 * 2e-6 * 22, digest[i == 0 ? DIGEST_SIZE - 1 : 0] += 3 * 2e-6 * 22;
    write_case("linear", "linear", "{\"bias\": true, \"formula_seed\": 77}", t, LINEAR_TENSORS);
    assert_int_equal(judge_file(32, text), 1);
    if (!strstr(text, where[i])) fail_msg("%s: %s", where[i], text);
  }
  unlink(path);
}

/* ---- the run's own checks ----------------------------------------------------------------------------------------------------------- */

/* An operation that writes past its output, changes its input, or leaves an element unwritten. */
static void a_run_notices_bad_manners(void **state) {
  (void)state;
  struct linear_case c = by_hand();
  struct tensor t[LINEAR_TENSORS];
  struct case_file file;
  struct error err = {0};
  tensors_of(&c, t);
  write_case("linear", "linear", "{\"bias\": true}", t, LINEAR_TENSORS);
  assert_true(case_open(&file, path, &err));
  for (int manner = 0; manner < 4; manner++) {
    struct case_run run;
    ptrdiff_t xs[2] = {-1, 3}, ws[2] = {2, 3}, bs[1] = {2}, ys[2] = {2, 2};
    assert_true(run_begin(&run, &file, &err));
    const float *x = run_input(&run, DTYPE_F32, 2, xs, "in.x");
    assert_non_null(x);
    assert_int_equal(xs[0], 2);
    assert_non_null(run_input(&run, DTYPE_F32, 2, ws, "param.weight"));
    assert_non_null(run_input(&run, DTYPE_F32, 1, bs, "param.bias"));
    assert_non_null(run_input(&run, DTYPE_F32, 2, ys, "grad_out.y"));
    float *y = run_output(&run, DTYPE_F32, 2, ys, "out.%s", "y");
    assert_non_null(y);
    assert_true(isnan(y[0]) && isnan(y[3])); /* poisoned: what nobody writes cannot pass */
    if (manner == 1) y[4] = 0;
    if (manner == 2) y[-1] = 0;
    float *unconst;
    memcpy(&unconst, &x, sizeof x);
    if (manner == 3) unconst[5] += 1;
    assert_true(run_finish(&run) == (manner == 0));
    if (manner > 0) assert_non_null(strstr(err.text, manner == 3 ? "changed its input in.x" : "wrote outside out.y"));
    run_end(&run);
  }
  case_close(&file);
  unlink(path);
}

/* A NaN without its sign, and no "off by" where there is no number. */
static void what_is_not_finite_reads_well(void **state) {
  (void)state;
  char text[200];
  struct finding f = {.tensor = "out.y", .rule = "not finite", .where = "[0, 1]", .candidate = -NAN, .expected = 2.5, .error = INFINITY};
  finding_text(&f, text, sizeof text);
  assert_string_equal(text, "out.y[0, 1] is nan, expected 2.5 (not finite)");
  f.candidate = 3, f.error = 0.5, f.allowed = 0.25, f.rule = "element";
  finding_text(&f, text, sizeof text);
  assert_string_equal(text, "out.y[0, 1] is 3, expected 2.5 (element): off by 0.5, allowed 0.25");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_not_finite_reads_well),
      cmocka_unit_test(what_is_right_passes),
      cmocka_unit_test(a_wrong_element_anywhere_fails),
      cmocka_unit_test(integers_are_exact),
      cmocka_unit_test(an_expected_nan_or_infinity_is_not_a_number),
      cmocka_unit_test(a_case_that_does_not_fit_is_refused),
      cmocka_unit_test(a_result_that_is_missing_or_misshapen_fails),
      cmocka_unit_test(digests_are_judged_by_every_number),
      cmocka_unit_test(indices_are_exact),
      cmocka_unit_test(errors_are_measured_as_documented),
      cmocka_unit_test(findings_are_of_the_worst),
      cmocka_unit_test(a_run_notices_bad_manners),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
