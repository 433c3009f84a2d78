/* The linear layer's twins have the reference's bits; and, compiled for whatever processor, they are the plain 1x1 convolution of m images
 * of one pixel: within the bound of a sum in float, exact for integers. */
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

static void results_are_the_reference_s(void **state) {
  (void)state;
  static const struct linear more[] = {{3, 600, 9}, {2500, 12, 9}, {7, 40, 300}}; /* blocks of depth, chunks of rows */
  device_needs_fused_reference();
  const struct backend *b = device_backend(), *cpu = backend_reference();
  for (int i = 0; i < SHAPES + 3; i++) {
    const struct linear *g = i < SHAPES ? &shapes[i] : &more[i - SHAPES];
    ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
    real *x = test_normal(xs, 1), *w = test_normal(ws, 2), *bias = test_normal(g->o, 3), *dy = test_normal(ys, 4), *y = test_reals(ys);
    real *dx = test_normal(xs, 5), *dw = test_normal(ws, 6), *db = test_normal(g->o, 7);
    real *dev_x = device_from(x, xs), *dev_w = device_from(w, ws), *dev_bias = device_from(bias, g->o), *dev_dy = device_from(dy, ys);
    real *dev_y = device_reals(ys), *dev_dx = device_from(dx, xs), *dev_dw = device_from(dw, ws), *dev_db = device_from(db, g->o);
    for (int with = 0; with < 2; with++) {
      cpu->linear_forward(g, x, w, with ? bias : NULL, y);
      b->linear_forward(g, dev_x, dev_w, with ? dev_bias : NULL, dev_y);
      assert_same_bits(dev_y, y, ys);
      cpu->linear_backward_data(g, dy, w, dx, !with);
      b->linear_backward_data(g, dev_dy, dev_w, dev_dx, !with);
      assert_same_bits(dev_dx, dx, xs);
    }
    void *scratch = malloc(cpu->linear_scratch(g) + 1);
    assert_non_null(scratch);
    cpu->linear_backward_weights(g, x, dy, dw, db, scratch);
    b->linear_backward_weights(g, dev_x, dev_dy, dev_dw, dev_db, device_scratch(b->linear_scratch(g)));
    assert_same_bits(dev_dw, dw, ws);
    assert_same_bits(dev_db, db, g->o);
    free(x), free(w), free(bias), free(dy), free(y), free(dx), free(dw), free(db), free(scratch);
    device_end();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(forward_is_the_sum), cmocka_unit_test(backward_data_is_the_sum),
                                     cmocka_unit_test(backward_weights_adds_the_sum), cmocka_unit_test(results_are_the_reference_s)};
  return cmocka_run_group_tests_name("cuda linear", tests, NULL, NULL);
}
