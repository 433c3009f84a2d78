/* Sums of equal terms, whose roundings are alike and add up: a plain sum in float of the gradients of a mean, column by column, is right,
 * and is judged so; one that is wrong is not. */
#include <string.h>

#include "oracle/candidate.h"
#include "oracle/memory_case.h"
#include "support/cmocka.h"

enum { ROWS = 1000, MOST = 300 };

/* Gradients: the column's number in each row, or (relu) 0 in every third. */
static struct memory_case m;
static double d[ROWS * MOST], x[ROWS * MOST];
static float sum[MOST];
static struct error err;

/* other: of the last column; the rest have `usual`. */
static void gradients(ptrdiff_t columns, double usual, double other, bool zeros) {
  for (ptrdiff_t i = 0; i < ROWS * columns; i++) {
    d[i] = (double)(float)(i % columns == columns - 1 ? other : usual);
    if (zeros && i / columns % 3 == 0) d[i] = 0;
    x[i] = (double)((float)(i % 37) - 18) / 16;
  }
}

static void give(const char *name, int ndim, const ptrdiff_t *shape, double *data) {
  struct tensor t = tensor_make(DTYPE_F64, data, ndim, shape, "%s", name);
  memory_case_give(&m, name, &t);
}

static void linear_case(ptrdiff_t columns) {
  static double w[MOST];
  memory_case_begin(&m, "linear", "case");
  memory_case_flag(&m, "bias", true);
  give("in.x", 2, (ptrdiff_t[]){ROWS, 1}, x), give("param.weight", 2, (ptrdiff_t[]){columns, 1}, w), give("param.bias", 1, &columns, w);
  give("grad_out.y", 2, (ptrdiff_t[]){ROWS, columns}, d);
  memory_case_expect(&m, "grad_param.bias", DTYPE_F64, 1, &columns);
  if (!memory_case_end(&m, &err)) fail_msg("%s", err.text);
}

static void norm_case(ptrdiff_t columns) {
  static double ones[MOST], zeros[MOST];
  for (int i = 0; i < MOST; i++) ones[i] = 1;
  memory_case_begin(&m, "norm", "case");
  memory_case_text(&m, "mode", "train"), memory_case_number(&m, "eps", 1e-5), memory_case_number(&m, "momentum", 0.1);
  memory_case_flag(&m, "relu", false), memory_case_flag(&m, "residual", false);
  give("in.x", 2, (ptrdiff_t[]){ROWS, columns}, x), give("grad_out.y", 2, (ptrdiff_t[]){ROWS, columns}, d);
  give("param.gamma", 1, &columns, ones), give("param.beta", 1, &columns, zeros);
  give("in.running_mean", 1, &columns, zeros), give("in.running_var", 1, &columns, ones);
  memory_case_expect(&m, "grad_param.beta", DTYPE_F64, 1, &columns);
  if (!memory_case_end(&m, &err)) fail_msg("%s", err.text);
}

/* One row after the other, times `factor`. */
static enum judgement judge(const char *name, ptrdiff_t columns, ptrdiff_t rows, float factor, char *text, size_t size) {
  for (ptrdiff_t k = 0; k < columns; k++) {
    sum[k] = 0;
    for (ptrdiff_t i = 0; i < rows; i++) sum[k] += (float)d[i * columns + k];
    sum[k] *= factor;
  }
  struct tensor result = tensor_make(DTYPE_F32, sum, 1, &columns, "%s", name);
  struct judged_file j = {0};
  if (!candidate_judge_tensors(&m.file, &result, 1, &precision_classes[PRECISION_FP32], CHAIN_USUAL, true, &j, &err))
    fail_msg("%s", err.text);
  assert_int_equal(j.count, 1);
  judged_text(&j.tensor[0].finding, text, size);
  enum judgement judgement = j.tensor[0].judgement;
  judged_free(&j);
  return judgement;
}

static const double numbers[] = {0.001, 1.0 / 784, -0.003, 0.1, 1.0 / 3};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

/* 8 columns and 300: the rules "rms" and "bias" are of many elements, and few may be too few to tell small faults. Columns of one number,
 * and of two. */
static void plain_sums_of_equal_gradients_pass(void **state) {
  (void)state;
  for (int op = 0; op < 2; op++) {
    const char *name = op ? "grad_param.beta" : "grad_param.bias";
    for (int i = 0; i < NUMBERS * 8; i++) {
      const ptrdiff_t columns = i / NUMBERS % 2 ? MOST : 8;
      const bool zeros = i / NUMBERS / 2 % 2, apart = i / NUMBERS / 4 % 2;
      char text[600];
      gradients(columns, numbers[i % NUMBERS], apart ? 0.7 : numbers[i % NUMBERS], zeros);
      if (op)
        norm_case(columns);
      else
        linear_case(columns);
      enum judgement right = judge(name, columns, ROWS, 1, text, sizeof text);
      if (right != JUDGED_PASS && !(right == JUDGED_VACUOUS && columns < MOST))
        fail_msg("%s of %g, %td columns, zeros %d: %s", name, numbers[i % NUMBERS], columns, (int)zeros, text);
      assert_int_equal(judge(name, columns, ROWS - 1 - zeros, 1, text, sizeof text), JUDGED_MISMATCH);
      assert_int_equal(judge(name, columns, ROWS, 1.0005f, text, sizeof text), JUDGED_MISMATCH);
      memory_case_free(&m);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(plain_sums_of_equal_gradients_pass)};
  return cmocka_run_group_tests_name("equal terms", tests, NULL, NULL);
}
