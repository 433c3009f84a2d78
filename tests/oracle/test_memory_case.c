/* Cases without a file: the verdict is that of the same case in a file, only what is expected is computed, and what is asked for wrongly is
 * said. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "oracle/candidate.h"
#include "oracle/memory_case.h"
#include "oracle/operations.h"
#include "support/cmocka.h"

enum { N = 2, H = 5, W = 4, C = 6, K = 7, X = N * H * W * C, Y = N * H * W * K, WEIGHTS = K * 3 * 3 * C };
static const ptrdiff_t xs[] = {N, H, W, C}, ys[] = {N, H, W, K}, ws[] = {K, 3, 3, C};

struct numbers {
  float x[X], w[WEIGHTS], dy[Y];
};

static struct tensor tensor_of(float *data, int count, int ndim, const ptrdiff_t *shape, uint32_t stream) {
  struct philox g = philox_stream(7, PHILOX_TEST, stream, 0, 0);
  for (int i = 0; i < count; i++) data[i] = (float)philox_normal(&g);
  return tensor_make(DTYPE_F32, data, ndim, shape, "numbers");
}

static void conv_case(struct memory_case *m, struct numbers *n) {
  struct tensor x = tensor_of(n->x, X, 4, xs, 0), w = tensor_of(n->w, WEIGHTS, 4, ws, 1), dy = tensor_of(n->dy, Y, 4, ys, 2);
  memory_case_begin(m, "conv", "layer");
  memory_case_integer(m, "stride", 1);
  memory_case_integer(m, "pad", 1);
  memory_case_give(m, "in.x", &x);
  memory_case_give(m, "param.weight", &w);
  memory_case_give(m, "grad_out.y", &dy);
}

/* The result of the reference in float, copied. */
static float *result_of(const struct case_file *c, const char *name, ptrdiff_t count) {
  struct case_run run;
  struct error err;
  if (!run_begin(&run, c, &err) || !case_compute(&run, 32)) fail_msg("%s", err.text);
  const struct tensor *t = run_result(&run, name);
  float *copy = malloc((size_t)count * sizeof *copy);
  assert_true(copy && t && tensor_count(t) == count);
  memcpy(copy, t->data, (size_t)count * sizeof *copy);
  run_end(&run);
  return copy;
}

static enum judgement judged_as(const struct case_file *c, const struct tensor *t, int count, struct finding *f) {
  struct judged_file j;
  struct error err;
  if (!candidate_judge_tensors(c, t, count, &precision_classes[PRECISION_FP32], CHAIN_USUAL, true, &j, &err)) fail_msg("%s", err.text);
  enum judgement worst = j.worst;
  for (int i = 0; i < j.count; i++) {
    if (j.tensor[i].judgement == worst) *f = j.tensor[i].finding;
    assert_true(!j.tensor[i].profiled || (j.tensor[i].profile.ratio >= 0 && j.tensor[i].profile.ulp[0] <= j.tensor[i].profile.ulp[2]));
  }
  judged_free(&j);
  return worst;
}

static void only_what_is_expected_is_computed_and_judged(void **state) {
  (void)state;
  struct numbers n;
  struct memory_case m;
  struct error err;
  struct finding f = {0};
  conv_case(&m, &n);
  memory_case_expect(&m, "grad_in.x", DTYPE_F32, 4, xs);
  assert_true(memory_case_end(&m, &err));

  struct case_run run;
  assert_true(run_begin(&run, &m.file, &err) && case_compute(&run, 32));
  assert_null(run_result(&run, "out.y"));
  assert_null(run_result(&run, "grad_param.weight"));
  run_end(&run);

  float *dx = result_of(&m.file, "grad_in.x", X);
  struct tensor t[] = {tensor_make(DTYPE_F32, dx, 4, xs, "grad_in.x"), tensor_make(DTYPE_F32, dx, 4, xs, "out.y")};
  assert_int_equal(judged_as(&m.file, t, 1, &f), JUDGED_PASS);
  assert_int_equal(judged_as(&m.file, t, 2, &f), JUDGED_INCOMPLETE); /* one too many */
  assert_int_equal(judged_as(&m.file, t, 0, &f), JUDGED_INCOMPLETE);
  dx[((1 * H + 2) * W + 3) * C + 4] += 1e-3f;
  assert_int_equal(judged_as(&m.file, t, 1, &f), JUDGED_MISMATCH);
  assert_string_equal(f.where, "[1, 2, 3, 4]");
  free(dx);
  memory_case_free(&m);
}

/* A backward pass alone has no y of the candidate: the ReLU is the truth's. */
static void a_relu_without_the_candidates_output_is_the_truths(void **state) {
  (void)state;
  static float x[X], dy[X], gamma[C], beta[C], mean[C], var[C];
  const ptrdiff_t c = C;
  struct memory_case m;
  struct error err;
  struct finding f = {0};
  struct tensor given[] = {tensor_of(x, X, 4, xs, 0),    tensor_of(dy, X, 4, xs, 1),   tensor_of(gamma, C, 1, &c, 2),
                           tensor_of(beta, C, 1, &c, 3), tensor_of(mean, C, 1, &c, 4), tensor_of(var, C, 1, &c, 5)};
  static const char *const names[] = {"in.x", "grad_out.y", "param.gamma", "param.beta", "in.running_mean", "in.running_var"};
  for (int i = 0; i < C; i++) var[i] = 1;
  memory_case_begin(&m, "norm", "bn");
  memory_case_text(&m, "mode", "train");
  memory_case_number(&m, "eps", 1e-5);
  memory_case_number(&m, "momentum", 0.1);
  memory_case_flag(&m, "relu", true);
  memory_case_flag(&m, "residual", false);
  for (int i = 0; i < 6; i++) memory_case_give(&m, names[i], &given[i]);
  memory_case_expect(&m, "grad_in.x", DTYPE_F32, 4, xs);
  assert_true(memory_case_end(&m, &err));
  float *dx = result_of(&m.file, "grad_in.x", X);
  struct tensor t = tensor_make(DTYPE_F32, dx, 4, xs, "grad_in.x");
  assert_int_equal(judged_as(&m.file, &t, 1, &f), JUDGED_PASS);
  dx[3] *= -1;
  assert_int_equal(judged_as(&m.file, &t, 1, &f), JUDGED_MISMATCH);
  free(dx);
  memory_case_free(&m);
}

static void what_does_not_fit_is_said_at_the_end(void **state) {
  (void)state;
  struct memory_case m;
  struct error err;
  float one = 1;
  const ptrdiff_t shape = 1, two = 2;
  struct tensor t = tensor_make(DTYPE_F32, &one, 1, &shape, "one");
  memory_case_begin(&m, "conv", "layer");
  memory_case_give_as(&m, "in.x", &t, 1, &two);
  assert_false(memory_case_end(&m, &err));
  assert_non_null(strstr(err.text, "layer: a tensor is given in a shape of another size"));
  memory_case_free(&m);
  memory_case_begin(&m, "conv", "layer");
  for (int i = 0; i <= MEMORY_CASE_TENSORS; i++) memory_case_give(&m, "in.x", &t);
  assert_false(memory_case_end(&m, &err));
  assert_non_null(strstr(err.text, "too many tensors"));
  memory_case_free(&m);
  memory_case_begin(&m, "norm", "layer");
  memory_case_number(&m, "eps", NAN);
  assert_false(memory_case_end(&m, &err));
  assert_non_null(strstr(err.text, "layer: a number among the attributes is not finite"));
  memory_case_free(&m);
}

/* The quick form of rounding against the definition: the nearest multiple of the last place, halves to even. */
static void numbers_are_rounded_to_the_nearest_of_the_format(void **state) {
  (void)state;
  struct philox g = philox_stream(1, PHILOX_TEST, 0, 0, 0);
  for (int p = 0; p < PRECISION_COUNT; p++) {
    const struct number_format *f = &precision_classes[p].in;
    for (int i = 0; i < 20000; i++) {
      int exponent;
      double x = ldexp(philox_normal(&g), (int)philox_below(&g, 60) - 30);
      if (i % 4 == 0) x = ldexp(nearbyint(ldexp(x, 8)), -8) + ldexp(1, -9); /* many halves */
      frexp(x, &exponent);
      int quantum = exponent - f->bits > f->least ? exponent - f->bits : f->least;
      double y = ldexp(nearbyint(ldexp(x, -quantum)), quantum);
      if (fabs(y) > f->largest) y = copysign(INFINITY, x);
      assert_true(number_round(f, x) == y);
    }
  }
  assert_true(number_round(&precision_classes[PRECISION_FP32].in, 1e39) == INFINITY);
  assert_true(number_round(&precision_classes[PRECISION_FP32].in, 0x1p-149) == 0x1p-149);
  assert_true(number_round(&precision_classes[PRECISION_FP32].in, 0x1.8p-150) == 0x1p-149);
}

/* What a kernel of a class must not compute in, by docs/oracle.md: 1 and half a unit of its last place, and its largest number. */
static void the_next_lower_precision_is_as_documented(void **state) {
  (void)state;
  static const struct {
    enum precision class;
    int bits;
    double largest;
  } lower[] = {
      {PRECISION_FP64, 24, FLT_MAX},   {PRECISION_FP32, 11, 0x1.ffcp127}, {PRECISION_TF32, 8, 0x1.fep127},     {PRECISION_BF16, 4, 448},
      {PRECISION_FP16, 8, 0x1.fep127}, {PRECISION_BF16_OUT, 4, 448},      {PRECISION_FP32_RZ, 11, 0x1.ffcp127}};
  for (int k = 0; k < PRECISION_COUNT; k++) {
    const struct number_format *f = &precision_classes[lower[k].class].lower;
    double half = ldexp(1, -lower[k].bits);
    assert_true(number_round(f, 1 + half) == 1 && number_round(f, 1 + 1.01 * half) == 1 + 2 * half);
    assert_true(number_round(f, lower[k].largest) == lower[k].largest && isinf(number_round(f, 1.1 * lower[k].largest)));
  }
  assert_true(number_round(&precision_classes[PRECISION_BF16].lower, 0x1p-9) == 0x1p-9); /* E4M3's smallest */
  assert_true(number_round(&precision_classes[PRECISION_BF16].lower, 0x0.7p-9) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_what_is_expected_is_computed_and_judged), cmocka_unit_test(a_relu_without_the_candidates_output_is_the_truths),
      cmocka_unit_test(what_does_not_fit_is_said_at_the_end),         cmocka_unit_test(numbers_are_rounded_to_the_nearest_of_the_format),
      cmocka_unit_test(the_next_lower_precision_is_as_documented),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
