/* Digests: sketches are as defined, do not depend on how a tensor is cut, and estimate the distance of two tensors. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/digest.h"
#include "oracle/distance.h"
#include "oracle/formula.h"

#include "support/cmocka.h"
#include "support/support.h"

#define Y "0.0/forward/online/1/conv1/y"

enum { N = 300000 /* more than a window */ };

static float *x, *y; /* x normal, y a copy */

static int enter(void **state) {
  (void)state;
  x = test_reals(N), y = test_reals(N);
  test_fill_normal(x, N, 1);
  memcpy(y, x, N * sizeof *x);
  return 0;
}

static int leave(void **state) {
  (void)state;
  free(x), free(y);
  return 0;
}

/* The estimate is within what digest.h says of chi-square with 16 degrees of freedom: of 400 names, 99.9 % of each within 0.47 to 1.61. */
static void sketches_estimate_the_distance(void **state) {
  (void)state;
  enum { NAMES = 400 };
  struct digest a, b;
  int outside = 0;
  double mean = 0;
  for (int i = 0; i < 5000; i++) y[i] += 0.01f * x[(i * 17 + 5) % 5000];
  struct distance exact = {.where = -1};
  distance_add(&exact, DTYPE_F32, x, DTYPE_F32, y, 5000);
  for (int k = 0; k < NAMES; k++) {
    struct tensor t = tensor_make(DTYPE_F32, x, 1, (ptrdiff_t[]){5000}, "0.0/forward/online/1/conv%d/y", k);
    digest_tensor(&a, &t);
    t.data = y;
    digest_tensor(&b, &t);
    double ratio = digest_compare(t.name, DTYPE_F32, 5000, a.value, b.value).l2 / distance_l2(&exact, false);
    outside += !(ratio > 0.47 && ratio < 1.61);
    mean += ratio * ratio / NAMES;
  }
  assert_true(outside <= 4);          /* expected 0.4; more than 4 once in 16,000 */
  assert_true(fabs(mean - 1) < 0.09); /* five standard deviations of sqrt(2 / 16 / 400) */
}

/* A difference in one channel of 16 is spread over all projections, too. */
static void one_channel_is_estimated_as_well(void **state) {
  (void)state;
  enum { NAMES = 400, COUNT = 16 * 500 };
  struct digest a, b;
  int outside = 0;
  for (int i = 5; i < COUNT; i += 16) y[i] += 0.01f * x[i + 3];
  struct distance exact = {.where = -1};
  distance_add(&exact, DTYPE_F32, x, DTYPE_F32, y, COUNT);
  for (int k = 0; k < NAMES; k++) {
    struct tensor t = tensor_make(DTYPE_F32, x, 1, (ptrdiff_t[]){COUNT}, "0.0/forward/online/1/conv%d/y", k);
    digest_tensor(&a, &t);
    t.data = y;
    digest_tensor(&b, &t);
    double ratio = digest_compare(t.name, DTYPE_F32, COUNT, a.value, b.value).l2 / distance_l2(&exact, false);
    outside += !(ratio > 0.47 && ratio < 1.61);
  }
  assert_true(outside <= 4);
}

/* Fed in pieces, by one thread or several, in either precision of the same numbers: the same bits. */
static void digests_do_not_depend_on_pieces(void **state) {
  (void)state;
  struct digest whole, pieces;
  struct tensor t = tensor_make(DTYPE_F32, x, 2, (ptrdiff_t[]){N / 100, 100}, Y);
  digest_tensor(&whole, &t);
  digest_begin(&pieces, Y, DTYPE_F32, N);
  for (ptrdiff_t i = 0; i < N; i += DIGEST_BLOCK) digest_add(&pieces, x + i, N - i < DIGEST_BLOCK ? N - i : DIGEST_BLOCK);
  digest_end(&pieces);
  assert_memory_equal(whole.value, pieces.value, DIGEST_SKETCH_LENGTH * sizeof(double));
  double *wide = malloc(N * sizeof *wide), abs = 0, squares = 0, most = 0;
  for (int i = 0; i < N; i++) {
    wide[i] = (double)x[i];
    abs += fabs(wide[i]), squares += wide[i] * wide[i], most = fmax(most, fabs(wide[i]));
  }
  t.data = wide, t.dtype = DTYPE_F64;
  digest_tensor(&pieces, &t);
  assert_memory_equal(whole.value, pieces.value, DIGEST_SKETCH_LENGTH * sizeof(double));
  /* sums of 300,000 doubles in two orders */
  assert_true(fabs(whole.value[DIGEST_ABS] - abs) < 1e-10 * abs);
  assert_true(fabs(whole.value[DIGEST_NORM] - sqrt(squares)) < 1e-10 * sqrt(squares));
  assert_true(whole.value[DIGEST_MAX] == most);
  assert_true(fabs(wide[(int)whole.value[DIGEST_MAX_INDEX]]) == most);
  free(wide);
}

/* Projections as digest.h says them, plainly, on a size that fills no block, chunk or group. */
static void projections_are_as_defined(void **state) {
  (void)state;
  enum { COUNT = 1234 + 65536 + 1 };
  struct digest g;
  struct tensor t = tensor_make(DTYPE_F32, x, 1, (ptrdiff_t[]){COUNT}, Y);
  digest_tensor(&g, &t);
  double sum[DIGEST_PROJECTIONS] = {0};
  for (int i = 0; i < COUNT; i++) {
    uint64_t word = splitmix64(fnv1a64("sketch:" Y) + (uint64_t)i / 16);
    sum[(i % 16) ^ (int)(word >> 60)] += word >> (i % 16) & 1 ? (double)x[i] : -(double)x[i];
  }
  /* 4,173 roundings of sums of some hundreds, in either order */
  for (int j = 0; j < DIGEST_PROJECTIONS; j++) assert_true(fabs(g.value[DIGEST_PROJECTION + j] - sum[j]) < 1e-9);
}

/* Which form a digest has, and how long it is, as docs/golden-format.md has it. */
static void small_tensors_are_kept_whole(void **state) {
  (void)state;
  static const enum dtype floats[] = {DTYPE_F32, DTYPE_F64, DTYPE_BF16}, integers[] = {DTYPE_I32, DTYPE_I64, DTYPE_U8};
  for (int k = 0; k < 3; k++) {
    assert_int_equal(digest_form(floats[k], 26), DIGEST_WHOLE);
    assert_int_equal(digest_length(floats[k], 26), 1 + 26);
    assert_int_equal(digest_form(floats[k], 27), DIGEST_SKETCH);
    assert_int_equal(digest_length(floats[k], 27), 1 + 26);
    assert_int_equal(digest_form(integers[k], 1024), DIGEST_WHOLE);
    assert_int_equal(digest_length(integers[k], 1024), 1 + 1024);
    assert_int_equal(digest_form(integers[k], 1025), DIGEST_HISTOGRAM);
    assert_int_equal(digest_length(integers[k], 1025), 1 + 32);
  }
}

static struct digest_distance apart(enum dtype dtype, void *a, void *b, ptrdiff_t count) {
  static struct digest of_a, of_b;
  struct tensor t = tensor_make(dtype, a, 1, &count, Y);
  digest_tensor(&of_a, &t);
  t.data = b;
  digest_tensor(&of_b, &t);
  return digest_compare(Y, dtype, count, of_a.value, of_b.value);
}

static void distances_are_as_defined(void **state) {
  (void)state;
  float a[5] = {3, 0, -4, 0, 12}, b[5] = {3, 1, -6, 0, 12};
  struct digest_distance d = apart(DTYPE_F32, a, b, 5);
  assert_true(d.off == sqrt(5) && d.norm == 13 && d.l2 == sqrt(5) / 13 && d.lower == d.l2 && d.max == 12 && d.finite_alike);
  assert_true(d.where == 2 && d.worst == 2 && d.a == -4 && d.b == -6 && d.zeros_apart == 1);
  b[4] = INFINITY;
  assert_false(apart(DTYPE_F32, a, b, 5).finite_alike);
  a[4] = INFINITY;
  assert_true(apart(DTYPE_F32, a, b, 5).finite_alike);
  static int32_t i[2048], j[2048];
  for (int k = 0; k < 2048; k++) i[k] = j[k] = k % 64;
  for (int k = 0; k < 10; k++) j[k] += 5;
  assert_true(apart(DTYPE_I32, i, i, 1024).l2 == 0 && apart(DTYPE_I32, i, j, 1024).l2 == sqrt(2 * 10.0 / 1024));
  assert_true(apart(DTYPE_I32, i, i, 2048).l2 == 0);
  d = apart(DTYPE_I32, i, j, 2048); /* 0 to 9 become 5 to 14: five bins lose one, five others gain one */
  assert_true(d.l2 == sqrt(2 * 5.0 / 2048) && d.lower == d.l2 && d.where == -1);
}

/* What a sketch knows besides its projections: norms and sums are a lower bound, whatever the signs; zeros, and single elements. */
static void sketches_know_norms_zeros_and_samples(void **state) {
  (void)state;
  enum { COUNT = 5000 };
  const double root = sqrt(COUNT);
  for (int k = 0; k < COUNT; k++) y[k] = 1.5f * x[k];
  struct digest_distance d = apart(DTYPE_F32, x, y, COUNT);
  assert_true(fabs(d.lower - 0.5) < 1e-6 && fabs(d.off / d.l2 / d.norm - 1) < 1e-12 && fabs(d.l2 / 0.5 - 1) < 0.61 && d.zeros_apart == 0 &&
              d.finite_alike);
  for (int j = 0; j < 4; j++) {
    ptrdiff_t place = (ptrdiff_t)(formula_bits(0, "sampled:" Y, (uint64_t)j) % COUNT);
    memcpy(y, x, COUNT * sizeof *x);
    y[place] += 100;
    d = apart(DTYPE_F32, x, y, COUNT);
    assert_true(d.where == place && d.b == (double)y[place] && d.a == (double)x[place] && fabs(d.off / 100 - 1) < 1e-5);
  }
  for (int k = 0; k < COUNT; k++) x[k] = k % 2 ? 1 : -1, y[k] = k % 2 ? 2 : 0; /* norms 1 and sqrt(2), sums of |x| alike, distance 1 */
  d = apart(DTYPE_F32, x, y, COUNT);
  assert_true(fabs(d.lower - (sqrt(2) - 1)) < 1e-9 && d.zeros_apart == COUNT / 2 && d.norm == root && d.max == 1);
  for (int k = 0; k < COUNT; k++) x[k] = 1, y[k] = k == 0 ? (float)root : 0; /* norms alike, sums of |x| not: root and 1 of it */
  assert_true(fabs(apart(DTYPE_F32, x, y, COUNT).lower - (1 - 1 / root)) < 1e-6);
  memcpy(y, x, COUNT * sizeof *x);
  y[77] = NAN;
  assert_false(apart(DTYPE_F32, x, y, COUNT).finite_alike);
}

int main(void) {
#define EACH(test) cmocka_unit_test_setup_teardown(test, enter, leave)
  const struct CMUnitTest tests[] = {
      EACH(sketches_estimate_the_distance),        EACH(one_channel_is_estimated_as_well), EACH(projections_are_as_defined),
      EACH(digests_do_not_depend_on_pieces),       EACH(small_tensors_are_kept_whole),     EACH(distances_are_as_defined),
      EACH(sketches_know_norms_zeros_and_samples),
  };
  return cmocka_run_group_tests_name("digests", tests, NULL, NULL);
}
