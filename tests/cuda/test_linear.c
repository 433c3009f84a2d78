/* The linear layer's twins against the plain 1x1 convolution of m images of one pixel: within the bound of a sum in float, exact for
 * integers. */
#include "cuda/products.h"

static const struct linear shapes[] = {{1, 1, 1}, {3, 5, 7}, {2, 70, 3}, {66, 3, 65}, {5, 1, 130}, {1100, 3, 2}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], INT_RANGE = 3 };

static struct conv as_conv(const struct linear *g) {
  return (struct conv){.n = g->m, .h = 1, .w = 1, .c = g->i, .k = g->o, .r = 1, .s = 1, .stride = 1, .pad = 0, .p = 1, .q = 1};
}

static real *filled(ptrdiff_t n, bool ints, uint32_t stream) { return ints ? test_ints(n, INT_RANGE, stream) : test_normal(n, stream); }

static void check(const real *device, const real *expected, const real *magnitude, ptrdiff_t n, ptrdiff_t length, bool ints) {
  double *bound = test_product_bound(magnitude, n, length);
  for (ptrdiff_t i = 0; ints && i < n; i++) bound[i] = 0;
  assert_within(device, expected, bound, n);
  free(bound);
}

static void forward(const struct linear *g, bool ints, bool bias) {
  struct conv conv = as_conv(g);
  ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
  real *x = filled(xs, ints, 1), *w = filled(ws, ints, 2), *b = filled(g->o, ints, 3);
  real *ax = test_magnitudes(x, xs), *aw = test_magnitudes(w, ws), *expected = test_reals(ys), *magnitude = test_reals(ys);
  conv_forward_plain(&conv, x, w, expected);
  conv_forward_plain(&conv, ax, aw, magnitude);
  /* One more term, and one more rounding of the expected value, which the bound has room for: it counts two more. */
  for (ptrdiff_t i = 0; bias && i < ys; i++) expected[i] += b[i % g->o], magnitude[i] += (real)fabs((double)b[i % g->o]);
  real *y = device_reals(ys);
  device_backend()->linear_forward(g, device_from(x, xs), device_from(w, ws), bias ? device_from(b, g->o) : NULL, y);
  check(y, expected, magnitude, ys, g->i + 1, ints);
  free(x), free(w), free(b), free(ax), free(aw), free(expected), free(magnitude);
  device_end();
}

static void forward_is_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 4 * SHAPES; i++) forward(&shapes[i / 4], i % 2, i / 2 % 2);
}

static void backward_data(const struct linear *g, bool ints, bool accumulate) {
  struct conv conv = as_conv(g);
  ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
  real *dy = filled(ys, ints, 1), *w = filled(ws, ints, 2), *before = filled(xs, ints, 3);
  real *ady = test_magnitudes(dy, ys), *aw = test_magnitudes(w, ws), *expected = test_copy(before, xs),
       *magnitude = test_magnitudes(before, xs);
  conv_backward_data_plain(&conv, dy, w, expected, accumulate);
  conv_backward_data_plain(&conv, ady, aw, magnitude, accumulate);
  real *dx = accumulate ? device_from(before, xs) : device_reals(xs);
  device_backend()->linear_backward_data(g, device_from(dy, ys), device_from(w, ws), dx, accumulate);
  check(dx, expected, magnitude, xs, g->o, ints);
  free(dy), free(w), free(before), free(ady), free(aw), free(expected), free(magnitude);
  device_end();
}

static void backward_data_is_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 4 * SHAPES; i++) backward_data(&shapes[i / 4], i % 2, i / 2 % 2);
}

static void backward_weights(const struct linear *g, bool ints, bool bias) {
  const struct backend *b = device_backend(), *cpu = backend_reference();
  struct conv conv = as_conv(g);
  ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
  real *x = filled(xs, ints, 1), *dy = filled(ys, ints, 2), *dw = filled(ws, ints, 3), *db = filled(g->o, ints, 4);
  real *ax = test_magnitudes(x, xs), *ady = test_magnitudes(dy, ys), *magnitude = test_magnitudes(dw, ws), *expected = test_copy(dw, ws);
  real *dev_dw = device_from(dw, ws), *dev_db = device_from(db, g->o);
  b->linear_backward_weights(g, device_from(x, xs), device_from(dy, ys), dev_dw, bias ? dev_db : NULL,
                             device_scratch(b->linear_scratch(g)));
  conv_backward_weights_plain(&conv, x, dy, expected);
  conv_backward_weights_plain(&conv, ax, ady, magnitude);
  check(dev_dw, expected, magnitude, ws, g->m, ints);
  void *scratch = malloc(cpu->linear_scratch(g) + 1);
  cpu->linear_backward_weights(g, x, dy, dw, bias ? db : NULL, scratch);
  assert_same_bits(dev_db, db, g->o); /* in double and in order in both */
  free(x), free(dy), free(dw), free(db), free(ax), free(ady), free(magnitude), free(expected), free(scratch);
  device_end();
}

static void backward_weights_adds_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 4 * SHAPES; i++) backward_weights(&shapes[i / 4], i % 2, i / 2 % 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(forward_is_the_sum), cmocka_unit_test(backward_data_is_the_sum),
                                     cmocka_unit_test(backward_weights_adds_the_sum)};
  return cmocka_run_group_tests_name("cuda linear", tests, NULL, NULL);
}
