/* The linear layer on tensor cores against the plain 1x1 convolution of m images of one pixel, of rounded operands, in both classes: exact
 * for integers, else within the bound of its sum. Bias is added to the sum before it is rounded; its gradient has the reference's bits. */
#include "cuda/classes.h"

static const struct linear shapes[] = {{1, 1, 1},   {3, 5, 7},    {2, 72, 8},    {66, 8, 72},
                                       {5, 1, 130}, {1100, 3, 2}, {1100, 16, 8}, {7, 200, 264}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static struct conv as_conv(const struct linear *g) {
  return (struct conv){.n = g->m, .h = 1, .w = 1, .c = g->i, .k = g->o, .r = 1, .s = 1, .stride = 1, .pad = 0, .p = 1, .q = 1};
}

static real *filled(ptrdiff_t n, bool ints, uint32_t stream) { return ints ? test_ints(n, INT_RANGE, stream) : test_normal(n, stream); }

static void forward(const struct backend *c, const struct linear *g, bool ints, bool bias) {
  struct conv conv = as_conv(g);
  ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
  real *raw_x = filled(xs, ints, 1), *raw_w = filled(ws, ints, 2), *b = filled(g->o, ints, 3);
  real *x = test_operand(c, raw_x, xs), *w = test_operand(c, raw_w, ws), *ax = test_magnitudes(x, xs), *aw = test_magnitudes(w, ws);
  real *expected = test_reals(ys), *magnitude = test_reals(ys), *y = device_activations(c, ys);
  conv_forward_plain(&conv, x, w, expected);
  conv_forward_plain(&conv, ax, aw, magnitude);
  for (ptrdiff_t i = 0; bias && i < ys; i++) expected[i] += b[i % g->o], magnitude[i] += (real)fabs((double)b[i % g->o]);
  c->linear_forward(g, device_activations_from(c, raw_x, xs), device_activations_from(c, raw_w, ws), bias ? device_from(b, g->o) : NULL, y);
  test_tensor_result(c, true, ints, y, expected, magnitude, ys, g->i, "linear forward");
  free(raw_x), free(raw_w), free(b), free(x), free(w), free(ax), free(aw), free(expected), free(magnitude);
  device_end();
}

static void backward_data(const struct backend *c, const struct linear *g, bool ints, bool accumulate) {
  struct conv conv = as_conv(g);
  ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
  real *raw_dy = filled(ys, ints, 1), *raw_w = filled(ws, ints, 2), *before = filled(xs, ints, 3);
  test_round_activations(c, before, xs);
  real *dy = test_operand(c, raw_dy, ys), *w = test_operand(c, raw_w, ws), *ady = test_magnitudes(dy, ys), *aw = test_magnitudes(w, ws);
  real *expected = test_copy(before, xs), *magnitude = test_magnitudes(before, xs);
  real *dx = accumulate ? device_activations_from(c, before, xs) : device_activations(c, xs);
  conv_backward_data_plain(&conv, dy, w, expected, accumulate);
  conv_backward_data_plain(&conv, ady, aw, magnitude, accumulate);
  c->linear_backward_data(g, device_activations_from(c, raw_dy, ys), device_activations_from(c, raw_w, ws), dx, accumulate);
  test_tensor_result(c, true, ints, dx, expected, magnitude, xs, g->o, "linear backward data");
  free(raw_dy), free(raw_w), free(before), free(dy), free(w), free(ady), free(aw), free(expected), free(magnitude);
  device_end();
}

static void backward_weights(const struct backend *c, const struct linear *g, bool ints, bool bias) {
  struct conv conv = as_conv(g);
  ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
  real *raw_x = filled(xs, ints, 1), *raw_dy = filled(ys, ints, 2), *dw = filled(ws, ints, 3), *db = filled(g->o, ints, 4);
  test_round_activations(c, raw_dy, ys); /* db is the sum of what is in memory, not of operands */
  real *x = test_operand(c, raw_x, xs), *dy = test_operand(c, raw_dy, ys), *ax = test_magnitudes(x, xs), *ady = test_magnitudes(dy, ys);
  real *expected = test_copy(dw, ws), *magnitude = test_magnitudes(dw, ws), *dev_dw = device_from(dw, ws), *dev_db = device_from(db, g->o);
  conv_backward_weights_plain(&conv, x, dy, expected);
  conv_backward_weights_plain(&conv, ax, ady, magnitude);
  c->linear_backward_weights(g, device_activations_from(c, raw_x, xs), device_activations_from(c, raw_dy, ys), dev_dw, bias ? dev_db : NULL,
                             device_scratch(c->linear_scratch(g)));
  test_tensor_result(c, false, ints, dev_dw, expected, magnitude, ws, g->m, "linear backward weights");
  const struct backend *cpu = backend_reference();
  void *scratch = malloc(cpu->linear_scratch(g) + 1);
  cpu->linear_backward_weights(g, raw_x, raw_dy, dw, bias ? db : NULL, scratch);
  assert_same_bits(dev_db, db, g->o); /* in double and in order in both */
  free(raw_x), free(raw_dy), free(dw), free(db), free(x), free(dy), free(ax), free(ady), free(expected), free(magnitude), free(scratch);
  device_end();
}

static void forward_is_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 4 * CLASSES * SHAPES; i++) forward(class_of(i / 4), &shapes[i / 4 / CLASSES], i % 2, i / 2 % 2);
}

static void backward_data_is_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 4 * CLASSES * SHAPES; i++) backward_data(class_of(i / 4), &shapes[i / 4 / CLASSES], i % 2, i / 2 % 2);
}

static void backward_weights_adds_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 4 * CLASSES * SHAPES; i++) backward_weights(class_of(i / 4), &shapes[i / 4 / CLASSES], i % 2, i / 2 % 2);
}

/* 1 + 2^-8 is a tie, which the bias decides. */
static void bias_is_in_the_sum_that_is_rounded(void **state) {
  (void)state;
  const struct backend *c = device_backend_in(CUDA_BF16);
  static const struct linear g = {1, 2, 2};
  real x[] = {1, 0x1p-8f}, w[] = {1, 1, 1, 1}, b[] = {0x1p-20f, -0x1p-20f};
  real *y = device_activations(c, 2);
  c->linear_forward(&g, device_activations_from(c, x, 2), device_activations_from(c, w, 4), device_from(b, 2), y);
  real *got = device_read_activations(c, y, 2);
  assert_true(got[0] == 0x1.02p0f && got[1] == 1);
  free(got);
  device_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(forward_is_the_sum), cmocka_unit_test(backward_data_is_the_sum),
                                     cmocka_unit_test(backward_weights_adds_the_sum), cmocka_unit_test(bias_is_in_the_sum_that_is_rounded)};
  return cmocka_run_group_tests_name("cuda tensor linear", tests, NULL, NULL);
}
