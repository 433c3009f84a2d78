/* Numbers by formula, digests and exact sums, against published and hand-computed answers. */
#include "oracle/formula.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "oracle/exact_sum.h"
#include "support/cmocka.h"

/* The FNV authors' test vectors for "" , "a" and "foobar". */
static void fnv1a64_has_the_published_answers(void **state) {
  (void)state;
  assert_int_equal(fnv1a64(""), 0xcbf29ce484222325);
  assert_int_equal(fnv1a64("a"), 0xaf63dc4c8601ec8c);
  assert_int_equal(fnv1a64("foobar"), 0x85944171f73967e8);
}

/* The generator's first outputs from seeds 0 (as in Java's SplittableRandom and xoshiro's seeding code) and 1234567. */
static void splitmix64_has_the_published_answers(void **state) {
  (void)state;
  assert_int_equal(splitmix64(0), 0xe220a8397b1dcdaf);
  assert_int_equal(splitmix64(0x9e3779b97f4a7c15), 0x6e789e6aa1b965f4); /* the second output of seed 0 */
  assert_int_equal(splitmix64(1234567), 0x599ed017fb08fc85);
}

/* Every value is what the formula of formula.h says, computed here in another way: from the integer, not from t. */
static void units_are_24_bits(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 1000; i++) {
    uint64_t bits = splitmix64((7 ^ fnv1a64("conv1.weight")) + i);
    double t = formula_unit(7, "conv1.weight", i);
    assert_true(t == ((double)(bits >> 40) - 8388608.0) / 8388608.0);
    assert_true(t >= -1 && t < 1 && (double)(float)t == t);
  }
}

/* |w| <= sqrt(6 / fan_in), gamma in [0.5, 1.5) or a quarter of it, beta in [-0.1, 0.1); all exact in float. */
static void parameters_have_their_ranges(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int ndim;
    ptrdiff_t shape[4];
    double low, high;
  } kinds[] = {{"conv1.weight", 4, {8, 2, 3, 3}, -0.57735027, 0.57735027},
               {"projector.0.weight", 2, {9, 24}, -0.5, 0.5},
               {"layer1.0.bn1.weight", 1, {144}, 0.5, 1.5},
               {"layer1.0.bn3.weight", 1, {144}, 0.125, 0.375},
               {"bn1.running_var", 1, {144}, 0.5, 1.5},
               {"bn1.bias", 1, {144}, -0.1000001, 0.1000001},
               {"bn1.running_mean", 1, {144}, -0.1000001, 0.1000001}};
  struct error err;
  double x[256];
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    ptrdiff_t count = 1;
    for (int d = 0; d < kinds[k].ndim; d++) count *= kinds[k].shape[d];
    assert_true(formula_parameter(3, kinds[k].name, kinds[k].ndim, kinds[k].shape, x, &err));
    double least = x[0], most = x[0];
    for (ptrdiff_t i = 0; i < count; i++) {
      assert_true((double)(float)x[i] == x[i]);
      least = fmin(least, x[i]), most = fmax(most, x[i]);
    }
    assert_true(least >= kinds[k].low && most <= kinds[k].high);
    assert_true(most - least > 0.9 * (kinds[k].high - kinds[k].low)); /* 144 uniform draws: less happens once in 10^5 */
  }
  ptrdiff_t one = 1;
  assert_false(formula_parameter(3, "bn1.num_batches_tracked", 1, &one, x, &err));
}

/* An image has one colour, blocks of eight pixels, and noise; the last blocks are cut at the border. */
static void images_are_the_sum_of_three_scales(void **state) {
  (void)state;
  enum { H = 9, W = 10 };
  double x[2 * H * W * 3];
  formula_image(11, "view1", 2, H, W, x);
  for (ptrdiff_t l = 0; l < 2; l++) {
    for (ptrdiff_t i = 0; i < H; i++) {
      for (ptrdiff_t j = 0; j < W; j++) {
        for (ptrdiff_t c = 0; c < 3; c++) {
          double u = formula_unit(11, "view1.image", (uint64_t)(3 * l + c));
          double v = formula_unit(11, "view1.block", (uint64_t)(((l * 2 + i / 8) * 2 + j / 8) * 3 + c));
          double w = formula_unit(11, "view1.pixel", (uint64_t)(((l * H + i) * W + j) * 3 + c));
          volatile float rounded = (float)(u + v / 2 + w / 4); /* gcc 12 leaves the rounding out of some lanes (Makefile) */
          assert_true(x[((l * H + i) * W + j) * 3 + c] == (double)rounded);
        }
      }
    }
  }
}

static double sum_of(const double *x, int n) {
  struct exact_sum s = {0};
  for (int i = 0; i < n; i++) exact_sum_add(&s, x[i]);
  return exact_sum_value(&s);
}

/* Sums that a running double, and a compensated one, get wrong; the last ones are halves, to even and pushed over by a third part. */
static void sums_are_rounded_once(void **state) {
  (void)state;
  assert_true(sum_of(NULL, 0) == 0);
  assert_true(sum_of((double[]){1e100, 1.0, -1e100}, 3) == 1.0);
  assert_true(sum_of((double[]){1e308, 1e-308, 1.0, -1e308, 0x1p-60, -1.0}, 6) == 0x1p-60 + 1e-308);
  assert_true(sum_of((double[]){0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}, 10) == 1.0);
  assert_true(sum_of((double[]){1.0, 0x1p-53}, 2) == 1.0);
  assert_true(sum_of((double[]){1.0, 0x1p-53, 0x1p-110}, 3) == 1.0 + 0x1p-52);
  assert_true(sum_of((double[]){1.0 + 0x1p-52, 0x1p-53, -0x1p-110}, 3) == 1.0 + 0x1p-52);
  assert_true(isnan(sum_of((double[]){1.0, NAN}, 2)));
  assert_true(isinf(sum_of((double[]){INFINITY, 1e308}, 2)));
}

/* The same terms in another order: the same bits. */
static void sums_do_not_depend_on_the_order(void **state) {
  (void)state;
  enum { N = 500 };
  double x[N], reversed[N];
  for (int i = 0; i < N; i++) {
    x[i] = ldexp(formula_unit(5, "x", (uint64_t)i), (int)(formula_bits(5, "exponent", (uint64_t)i) % 200) - 100);
    reversed[N - 1 - i] = x[i];
  }
  assert_true(sum_of(x, N) == sum_of(reversed, N));
}

/* Powers of four, all that a double has: all but 26 of them become parts of their own. Taken off again they leave the first. */
static void sums_of_the_widest_range_have_room(void **state) {
  (void)state;
  struct exact_sum s = {0}, random = {0};
  for (int e = -1074; e < 1024; e += 2) exact_sum_add(&s, ldexp(1, e));
  assert_int_equal(s.count, 1023);
  assert_true(exact_sum_value(&s) == 0x1.5555555555555p1022); /* 1.0101...: what is left is less than half of the last place */
  for (int e = 1022; e > -1074; e -= 2) exact_sum_add(&s, -ldexp(1, e));
  assert_true(exact_sum_value(&s) == 0x1p-1074);
  double x[2000];
  for (int i = 0; i < 2000; i++) {
    double whole = 0x1p52 + (double)(formula_bits(5, "whole", (uint64_t)i) >> 12);
    x[i] = ldexp(i % 3 ? whole : -whole, (int)(formula_bits(5, "exponent", (uint64_t)i) % 2034) - 1074);
    exact_sum_add(&random, x[i]);
  }
  for (int i = 1999; i >= 0; i--) exact_sum_add(&random, -x[i]);
  assert_true(exact_sum_value(&random) == 0);
}

static void sums_beyond_the_range_are_infinite(void **state) {
  (void)state;
  assert_true(sum_of((double[]){DBL_MAX, DBL_MAX, -DBL_MAX}, 3) == INFINITY);
  assert_true(sum_of((double[]){-DBL_MAX, 1, -DBL_MAX, 1}, 4) == -INFINITY);
  assert_true(isnan(sum_of((double[]){DBL_MAX, DBL_MAX, -INFINITY}, 3)));
  struct exact_sum s = {0};
  for (int i = 0; i < 3; i++) exact_sum_add(&s, DBL_MAX / 2);
  const int count = s.count;
  for (int e = -1074; e < 900; e += 2) exact_sum_add(&s, ldexp(1, e));
  assert_true(s.count == count && exact_sum_value(&s) == INFINITY); /* parts half done are added to no more */
}

static void digests_are_what_they_say(void **state) {
  (void)state;
  float x[6] = {3, -4, 0, 1, -1, 2};
  double d[DIGEST_SIZE], dot = 0;
  struct tensor t = tensor_make(DTYPE_F32, x, 2, (ptrdiff_t[]){2, 3}, "x");
  formula_digest(9, "grad_in.x", &t, d);
  for (uint64_t i = 0; i < 6; i++) dot += (double)x[i] * formula_unit(9, "digest:grad_in.x", i);
  assert_true(d[DIGEST_SUM] == 1 && d[DIGEST_SUM_ABS] == 11 && d[DIGEST_L2] == sqrt(31));
  assert_true(d[DIGEST_DOT] == dot); /* six products of 3 and 24 bits: exact in any order */
  for (uint64_t j = 0; j < 16; j++) assert_true(d[DIGEST_SAMPLES + j] == (double)x[formula_bits(9, "sample:grad_in.x", j) % 6]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fnv1a64_has_the_published_answers),
      cmocka_unit_test(splitmix64_has_the_published_answers),
      cmocka_unit_test(units_are_24_bits),
      cmocka_unit_test(parameters_have_their_ranges),
      cmocka_unit_test(images_are_the_sum_of_three_scales),
      cmocka_unit_test(sums_are_rounded_once),
      cmocka_unit_test(sums_do_not_depend_on_the_order),
      cmocka_unit_test(sums_of_the_widest_range_have_room),
      cmocka_unit_test(sums_beyond_the_range_are_infinite),
      cmocka_unit_test(digests_are_what_they_say),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
