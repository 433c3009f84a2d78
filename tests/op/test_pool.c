/* Pooling: a hand-drawn map, the plain definition on integers full of ties, and the average both ways. */
#include "op/pool.h"

#include "op/numeric.h"

/* One channel, 4 x 4 -> 2 x 2. The windows are cut off at the top and on the left: rows and columns {0, 1} and {1, 2, 3}. */
static void hand_drawn(void **state) {
  (void)state;
  struct pool g = {1, 4, 4, 1};
  const real x[16] = {5, 5, 1, 2, 0, 5, 7, 7, -1, 9, 9, 0, 9, 2, 3, 9};
  const real y[4] = {5, 7, 9, 9}, dy[4] = {1, 2, 4, 8}, dx[16] = {1, 0, 0, 0, 0, 0, 2, 0, 0, 12, 0, 0, 0, 0, 0, 0};
  const int32_t index[4] = {0, 6, 9, 9};
  real *out = test_poisoned(4), *back = test_poisoned(16);
  int32_t where[4] = {-1, -1, -1, -1};
  maxpool_forward(&g, x, out, where);
  maxpool_backward(&g, dy, where, back);
  assert_memory_equal(where, index, sizeof index);
  assert_all_equal(out, y, 4);
  assert_all_equal(back, dx, 16); /* cell 9 wins two windows */
  assert_end_untouched(out, 4), assert_end_untouched(back, 16);
  free(out), free(back);
}

/* The definition: scan the window, take the first that is greater than all before it. Integers, so every sum is exact. */
static void plain_maxpool(const struct pool *g, const real *x, const real *dy, real *y, int32_t *index, real *dx) {
  ptrdiff_t ph = maxpool_out(g->h), pw = maxpool_out(g->w);
  memset(dx, 0, (size_t)(g->n * g->h * g->w * g->c) * sizeof(real));
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t p = 0; p < ph; p++)
      for (ptrdiff_t q = 0; q < pw; q++)
        for (ptrdiff_t c = 0; c < g->c; c++) {
          ptrdiff_t out = ((n * ph + p) * pw + q) * g->c + c, best = -1;
          for (ptrdiff_t h = 2 * p - 1; h <= 2 * p + 1; h++)
            for (ptrdiff_t w = 2 * q - 1; w <= 2 * q + 1; w++) {
              if (h < 0 || h >= g->h || w < 0 || w >= g->w) continue;
              ptrdiff_t at = ((n * g->h + h) * g->w + w) * g->c + c;
              if (best < 0 || x[at] > x[best]) best = at, index[out] = (int32_t)(h * g->w + w);
            }
          y[out] = x[best];
          dx[best] += dy[out];
        }
}

static void maximum_equals_the_definition(void **state) {
  (void)state;
  static const struct pool shapes[] = {{1, 1, 1, 1}, {2, 1, 5, 3}, {2, 2, 2, 4}, {3, 7, 6, 5}, {2, 9, 11, 64}, {1, 12, 8, 67}};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    const struct pool *g = &shapes[s];
    ptrdiff_t in = g->n * g->h * g->w * g->c, out = g->n * maxpool_out(g->h) * maxpool_out(g->w) * g->c;
    real *x = test_reals(in), *dy = test_reals(out), *y = test_poisoned(out), *dx = test_poisoned(in), *y0 = test_reals(out),
         *dx0 = test_reals(in);
    int32_t *index = malloc((size_t)out * sizeof *index), *index0 = malloc((size_t)out * sizeof *index0);
    test_fill_int(x, in, 2, 1), test_fill_int(dy, out, 8, 2);
    for (int negative = 0; negative < 2; negative++) { /* all below zero: padding with zeros would win */
      if (negative)
        for (ptrdiff_t i = 0; i < in; i++) x[i] -= 10;
      plain_maxpool(g, x, dy, y0, index0, dx0);
      for (int t = 0; t < THREAD_COUNTS; t++) {
        omp_set_num_threads(thread_counts[t]);
        for (ptrdiff_t i = 0; i < in; i++) dx[i] = (real)NAN;
        maxpool_forward(g, x, y, index);
        maxpool_backward(g, dy, index, dx);
        assert_memory_equal(index, index0, (size_t)out * sizeof *index);
        assert_all_equal(y, y0, out);
        assert_all_equal(dx, dx0, in);
        for (ptrdiff_t i = 0; i < out; i++) y[i] = (real)NAN;
        maxpool_forward(g, x, y, NULL);
        assert_all_equal(y, y0, out);
      }
    }
    assert_end_untouched(y, out), assert_end_untouched(dx, in);
    free(x), free(dy), free(y), free(dx), free(y0), free(dx0), free(index), free(index0);
  }
}

/* The first NaN of a window wins, over infinity too; a window of minus infinities has its first cell as the winner. */
static void nan_wins_and_infinity_is_a_number(void **state) {
  (void)state;
  struct pool g = {1, 2, 2, 2}; /* channel 0: inf, NaN, 3, NaN; channel 1: all minus infinity */
  const real x[8] = {(real)INFINITY, (real)-INFINITY, (real)NAN, (real)-INFINITY, 3, (real)-INFINITY, (real)NAN, (real)-INFINITY};
  real y[2] = {0, 0};
  int32_t index[2] = {-1, -1};
  maxpool_forward(&g, x, y, index);
  assert_true(isnan(y[0]) && index[0] == 1);
  assert_true(y[1] == (real)-INFINITY && index[1] == 0);
}

/* H W = 16 and integers: every mean is a multiple of 1/16, exact. c = 300 is more than one block of channels. */
static void average_is_exact_on_integers(void **state) {
  (void)state;
  struct pool g = {3, 2, 8, 300};
  ptrdiff_t in = g.n * 16 * g.c, out = g.n * g.c;
  real *x = test_reals(in), *y = test_poisoned(out), *y0 = test_reals(out), *dy = test_reals(out), *dx = test_poisoned(in),
       *dx0 = test_reals(in);
  test_fill_int(x, in, 50, 1), test_fill_int(dy, out, 50, 2);
  for (ptrdiff_t i = 0; i < in; i++) {
    ptrdiff_t at = i / (16 * g.c) * g.c + i % g.c;
    y0[at] += x[i] / 16;
    dx0[i] = dy[at] / 16;
  }
  for (int t = 0; t < THREAD_COUNTS; t++) {
    omp_set_num_threads(thread_counts[t]);
    avgpool_forward(&g, x, y);
    avgpool_backward(&g, dy, dx, false);
    assert_all_equal(y, y0, out);
    assert_all_equal(dx, dx0, in);
  }
  avgpool_backward(&g, dy, dx, true); /* added */
  for (ptrdiff_t i = 0; i < in; i++) dx0[i] *= 2;
  assert_all_equal(dx, dx0, in);
  assert_end_untouched(y, out), assert_end_untouched(dx, in);
  free(x), free(y), free(y0), free(dy), free(dx), free(dx0);
}

/* 2^24 + 1 is no float: a running sum in float would lose the ones, and the mean, 2^22 + 1, would come out wrong. */
static void average_sums_in_double(void **state) {
  (void)state;
  struct pool g = {1, 2, 2, 1};
  const real x[4] = {16777216, 1, 1, 2};
  real y = 0;
  avgpool_forward(&g, x, &y);
  assert_true(y == 4194305);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hand_drawn),
      cmocka_unit_test(maximum_equals_the_definition),
      cmocka_unit_test(nan_wins_and_infinity_is_a_number),
      cmocka_unit_test(average_is_exact_on_integers),
      cmocka_unit_test(average_sums_in_double),
  };
  return cmocka_run_group_tests_name("pool " REAL_SUFFIX, tests, NULL, NULL);
}
