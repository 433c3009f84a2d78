/* Measures of a tensor that several operations contribute to, and what is said of errors beside the verdict. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/measure.h"
#include "oracle/memory_case.h"
#include "oracle/operations.h"
#include "support/cmocka.h"

enum { SIZE = 4 };

static double *copy_of(const double x[SIZE]) {
  double *p = malloc(SIZE * sizeof *p);
  assert_non_null(p);
  memcpy(p, x, SIZE * sizeof *p);
  return p;
}

/* y, and r, G, G2 and what is left of it in lower precision. */
static struct measure measure_of(enum precision precision, const double x[SIZE], double chain) {
  double g[SIZE], g2[SIZE], r[SIZE], lower[SIZE];
  for (int i = 0; i < SIZE; i++) g[i] = 2 * fabs(x[i]) + 1, g2[i] = g[i] / 4, r[i] = x[i] + 0.01, lower[i] = x[i] + 0.1;
  struct measure m = {.p = &precision_classes[precision], .chain = chain, .exact = true};
  m.y = copy_of(x), m.r = copy_of(r), m.g = copy_of(g), m.g2 = copy_of(g2), m.lower = copy_of(lower);
  m.truth = tensor_make(DTYPE_F64, m.y, 1, (ptrdiff_t[]){SIZE}, "t");
  return m;
}

static void contributions_add_up(void **state) {
  (void)state;
  static const double a[SIZE] = {1, -2, 3, 0}, b[SIZE] = {-4, 5, 6, 0.5}, grown[SIZE] = {1, 2, 3, 4};
  const struct number_format *out = &precision_classes[PRECISION_BF16].out;
  struct measure m = measure_of(PRECISION_BF16, a, 10), part = measure_of(PRECISION_BF16, b, 5);
  struct error err;
  part.carried = copy_of(grown), part.channels_share = true;
  for (int times = 1; times <= 2; times++) {
    const double r0[SIZE] = {m.r[0], m.r[1], m.r[2], m.r[3]};
    assert_true(measure_add(&m, &part, &err));
    for (int i = 0; i < SIZE; i++) {
      double g = 2 * fabs(a[i]) + 1, h = 2 * fabs(b[i]) + 1;
      assert_true(m.y[i] == a[i] + times * b[i] && m.g[i] == g + times * h && m.carried[i] == times * grown[i]);
      assert_true(fabs(m.g2[i] - sqrt(g * g + times * h * h) / 4) < 1e-12);
      assert_true(m.sizes[i] == fabs(a[i]) + times * fabs(b[i])); /* what is rounded on the way, not what it comes to */
      assert_true(m.r[i] == number_round(out, r0[i] + part.r[i]) && fabs(m.lower[i] - m.y[i] - 0.1 * (times + 1)) < 1e-12);
    }
    assert_true(m.chain == 10 + 5 * times && !m.exact && m.channels_share && !m.rows_share);
    part.channels_share = false;
  }
  part.rows_share = true;
  part.sizes = copy_of(grown);
  assert_true(measure_add(&m, &part, &err));
  assert_true(m.rows_share && m.sizes[3] == 0 + 2 * 0.5 + 4);
  measure_free(&m), measure_free(&part);
}

static void what_was_there_is_added_to(void **state) {
  (void)state;
  static const double x[SIZE] = {1, -2, 3, 0};
  double before[SIZE] = {0.5, 4, -3, 2};
  const struct tensor t = tensor_make(DTYPE_F64, before, 1, (ptrdiff_t[]){SIZE}, "before");
  struct error err;
  struct measure m = measure_of(PRECISION_BF16, x, 10);
  const double r0 = m.r[1], g2 = m.g2[1];
  assert_true(measure_add_start(&m, &t, &err));
  for (int i = 0; i < SIZE; i++) assert_true(m.y[i] == x[i] + before[i] && m.g[i] == 2 * fabs(x[i]) + 1 + fabs(before[i]));
  assert_true(m.start[1] == 4 && m.chain == 11 && !m.exact);
  assert_true(m.r[1] == number_round(&m.p->out, r0 + 4) && fabs(m.g2[1] - sqrt(g2 * g2 + 16)) < 1e-12 && fabs(m.lower[1] - 2.1) < 1e-12);
  measure_free(&m);
  memset(before, 0, sizeof before);
  m = measure_of(PRECISION_BF16, x, 10);
  assert_true(measure_add_start(&m, &t, &err));
  assert_true(m.exact && m.chain == 10 && m.y[1] == -2); /* nothing was there: the sum is as it was */
  measure_free(&m);
}

/* Errors of 0, 1, 4 and 64 units of a last place; of what is allowed 2^-13 and less, and more than all of it. */
static void errors_are_described(void **state) {
  (void)state;
  static const double x[SIZE] = {1, 1.5, -1, 1};
  const double unit = 0x1p-23, units[SIZE] = {0, 1, -4, 64};
  struct measure m = measure_of(PRECISION_FP32, x, 16);
  struct finding f = {.error = 3, .allowed = 4};
  struct error_profile profile;
  double c[SIZE], off = 0, norm = 0;
  for (int i = 0; i < SIZE; i++) c[i] = x[i] + units[i] * unit, off += units[i] * unit * units[i] * unit, norm += x[i] * x[i];
  m.exact = false;
  measure_profile(&m, c, &f, &profile);
  assert_true(profile.ratio == 0.75 && fabs(profile.l2 - sqrt(off / norm)) < 1e-15);
  assert_true(profile.ulp[2] == 64 && fabs(profile.ulp[0] - 1) < 0.1 && fabs(profile.ulp[1] / 64 - 1) < 0.1);
  /* allowed: (18 G + |y|) u with G = 3, 4 and 3: 27.5, 36.75, 27.5 units */
  double expected[16] = {[0] = 1, [15 - 6] = 1, [15 - 3] = 1, [15] = 1};
  assert_memory_equal(profile.histogram, expected, sizeof expected);
  c[0] = NAN;
  measure_profile(&m, c, &f, &profile);
  assert_true(isinf(profile.ulp[2]) && profile.histogram[15] == 2);
  measure_free(&m);
}

/* Where an operation has no gauge: what a float run of the file may be off by, in roundoffs of the declared inputs. */
static void without_a_gauge_the_relative_rule_is_scaled(void **state) {
  (void)state;
  static const double scale[PRECISION_COUNT] = {[PRECISION_FP32] = 1,      [PRECISION_TF32] = 0x1p13, [PRECISION_BF16] = 0x1p16,
                                                [PRECISION_FP16] = 0x1p13, [PRECISION_BF16_OUT] = 1,  [PRECISION_FP32_RZ] = 1};
  float x[SIZE] = {1, 2, 3, 4};
  const ptrdiff_t shape[] = {2, 2};
  const struct tensor t = tensor_make(DTYPE_F32, x, 2, shape, "x");
  struct memory_case c;
  struct error err;
  memory_case_begin(&c, "linear", "linear");
  memory_case_flag(&c, "bias", false);
  memory_case_give(&c, "in.x", &t), memory_case_give(&c, "param.weight", &t);
  memory_case_expect(&c, "out.y", DTYPE_F64, 2, shape);
  assert_true(memory_case_end(&c, &err));
  for (int p = 0; p < PRECISION_COUNT; p++) {
    struct bench b = {.original = &c.file, .work = &c.file, .p = &precision_classes[p], .err = &err};
    struct measure m;
    assert_true(run_begin(&b.truth, &c.file, &err) && case_compute(&b.truth, 64) && measure_make(&b, "out.y", &m));
    double expected = p == PRECISION_FP64 ? 2e-6 * 0x1p-29 + 1e-13 : 2e-6 * scale[p];
    assert_true(m.relative && !m.zero && fabs(m.tolerance.peak / expected - 1) < 1e-12 && m.y[3] == 25);
    for (int beyond = 0; beyond < 2; beyond++) {
      struct finding f = {0};
      double y[SIZE] = {5, 11, 11 + 25 * expected * (beyond ? 1.001 : 0.999), 25};
      measure_judge(&m, y, false, &f);
      assert_true(f.pass == !beyond);
    }
    measure_free(&m);
    run_end(&b.truth);
  }
  memory_case_free(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(contributions_add_up),
      cmocka_unit_test(what_was_there_is_added_to),
      cmocka_unit_test(errors_are_described),
      cmocka_unit_test(without_a_gauge_the_relative_rule_is_scaled),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
