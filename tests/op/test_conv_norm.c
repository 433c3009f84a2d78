/* A convolution with the norm behind it, in evaluation, as one operation: the bits of the two one after the other, with any number of
 * threads. */
#include <omp.h>
#include <string.h>

#include "op/conv.h"
#include "support/cmocka.h"
#include "support/support.h"

static const struct {
  ptrdiff_t n, h, w, c, k, kernel, stride;
} shapes[] = {
    {1, 1, 1, 1, 1, 1, 1},     /* one number */
    {2, 9, 7, 3, 5, 3, 2},     /* odd sizes, gathered */
    {1, 40, 41, 3, 64, 7, 2},  /* the stem; several tiles of rows, the last short */
    {3, 20, 21, 16, 70, 3, 1}, /* a panel that is not full */
    {1, 5, 6, 20, 1100, 1, 1}, /* few rows: columns shared out */
    {9, 20, 21, 7, 600, 1, 1}, /* many rows: columns of a tile in three turns */
    {2, 7, 7, 300, 40, 1, 1},  /* several blocks of depth */
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static real *normal(ptrdiff_t n, uint32_t stream) {
  real *x = test_reals(n);
  test_fill_normal(x, n, stream);
  return x;
}

/* `with`: bit 0 a ReLU, bit 1 a residual. */
static void check(int shape, int with, int threads) {
  struct error err;
  struct conv g;
  ptrdiff_t kernel = shapes[shape].kernel, k = shapes[shape].k;
  if (!conv_make(&g, shapes[shape].n, shapes[shape].h, shapes[shape].w, shapes[shape].c, k, kernel, kernel, shapes[shape].stride,
                 kernel / 2, &err))
    fail_msg("%s", err.text);
  ptrdiff_t out = g.n * g.p * g.q * k;
  const struct norm n = {.m = out / k, .c = k, .eps = 1e-5, .relu = with & 1};
  real *x = normal(g.n * g.h * g.w * g.c, 1), *w = normal(k * kernel * kernel * g.c, 2), *residual = with & 2 ? normal(out, 3) : NULL;
  real *gamma = normal(k, 4), *beta = normal(k, 5), *mean = normal(k, 6), *var = normal(k, 7);
  for (ptrdiff_t i = 0; i < k; i++) var[i] = (real)0.1 + var[i] * var[i];
  omp_set_num_threads(threads);
  real *scratch = test_reals(conv_scratch(&g, threads)), *between = test_reals(out), *expected = test_reals(out), *y = test_reals(out);
  conv_forward(&g, x, w, between, scratch);
  norm_forward_eval(&n, between, residual, gamma, beta, mean, var, expected);
  for (ptrdiff_t i = 0; i < out; i++) y[i] = (real)NAN;
  conv_norm_forward_eval(&g, &n, x, w, residual, gamma, beta, mean, var, y, scratch);
  assert_memory_equal(y, expected, (size_t)out * sizeof(real));
  free(x), free(w), free(residual), free(gamma), free(beta), free(mean), free(var), free(scratch), free(between), free(expected), free(y);
}

static void the_bits_are_those_of_the_two(void **state) {
  (void)state;
  int before = omp_get_max_threads();
  for (int shape = 0; shape < SHAPES; shape++)
    for (int with = 0; with < 4; with++) check(shape, with, 1 + (shape + with) % 3);
  omp_set_num_threads(before);
}

/* NaN stays where it is, through the ReLU as well; and what a norm makes of an infinity. */
static void what_is_not_finite_is_passed_on(void **state) {
  (void)state;
  struct error err;
  struct conv g;
  if (!conv_make(&g, 1, 2, 2, 1, 2, 1, 1, 1, 0, &err)) fail_msg("%s", err.text);
  const struct norm n = {.m = 4, .c = 2, .eps = 0, .relu = true};
  const real x[] = {1, (real)NAN, (real)INFINITY, -1}, w[] = {1, -1}, one[] = {1, 1}, zero[] = {0, 0};
  real *scratch = test_reals(conv_scratch(&g, omp_get_max_threads())), y[8];
  conv_norm_forward_eval(&g, &n, x, w, NULL, one, zero, zero, one, y, scratch);
  assert_true(y[0] == 1 && y[1] == 0 && isnan(y[2]) && isnan(y[3]) && isinf(y[4]) && y[5] == 0 && y[6] == 0 && y[7] == 1);
  free(scratch);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_bits_are_those_of_the_two), cmocka_unit_test(what_is_not_finite_is_passed_on)};
  return cmocka_run_group_tests_name("conv and norm " REAL_SUFFIX, tests, NULL, NULL);
}
