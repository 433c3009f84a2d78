/* The pools' twins: the reference's bits, and its indices where values tie. */
#include "cuda/device.h"

static const struct pool shapes[] = {{1, 1, 1, 1}, {2, 7, 5, 3}, {1, 8, 8, 33}, {3, 2, 1, 4}, {2, 1, 6, 2}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

enum fill { FILL_NORMAL, FILL_TIES, FILL_NAN, FILLS };

static real *filled(ptrdiff_t n, enum fill fill) {
  real *x = fill == FILL_TIES ? test_ints(n, 1, 1) : test_normal(n, 1);
  for (ptrdiff_t i = 0; fill == FILL_NAN && i < n; i += 3) x[i] = (real)NAN;
  return x;
}

static void max(struct pool g, enum fill fill) {
  const struct backend *gpu = device_backend(), *cpu = backend_reference();
  ptrdiff_t in = g.n * g.h * g.w * g.c, out = g.n * maxpool_out(g.h) * maxpool_out(g.w) * g.c;
  real *x = filled(in, fill), *y = test_reals(out), *dy = test_normal(out, 2), *dx = test_reals(in);
  int32_t *index = calloc((size_t)out, sizeof *index), *dev_index = device_poisoned((size_t)out * sizeof *index);
  assert_non_null(index);
  real *dev_x = device_from(x, in), *dev_y = device_reals(out), *dev_dy = device_from(dy, out), *dev_dx = device_reals(in);
  cpu->maxpool_forward(&g, x, y, index);
  gpu->maxpool_forward(&g, dev_x, dev_y, dev_index);
  assert_same_bits(dev_index, index, out);
  if (fill != FILL_NAN) assert_same_bits(dev_y, y, out); /* which NaN a GPU writes is its own affair */
  cpu->maxpool_backward(&g, dy, index, dx);
  gpu->maxpool_backward(&g, dev_dy, dev_index, dev_dx);
  assert_same_bits(dev_dx, dx, in);
  free(x), free(y), free(dy), free(dx), free(index);
  device_end();
}

static void maximum_has_the_same_bits_and_indices(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES * FILLS; i++) max(shapes[i / FILLS], (enum fill)(i % FILLS));
}

static void average_has_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct backend *gpu = device_backend(), *cpu = backend_reference();
    struct pool g = shapes[i];
    ptrdiff_t in = g.n * g.h * g.w * g.c, out = g.n * g.c;
    real *x = test_normal(in, 1), *y = test_reals(out), *dy = test_normal(out, 2), *dx = test_normal(in, 3);
    real *dev_x = device_from(x, in), *dev_y = device_reals(out), *dev_dy = device_from(dy, out), *dev_dx = device_from(dx, in),
         *fresh = device_reals(in);
    cpu->avgpool_forward(&g, x, y);
    gpu->avgpool_forward(&g, dev_x, dev_y);
    assert_same_bits(dev_y, y, out);
    cpu->avgpool_backward(&g, dy, dx, true);
    gpu->avgpool_backward(&g, dev_dy, dev_dx, true);
    assert_same_bits(dev_dx, dx, in);
    cpu->avgpool_backward(&g, dy, dx, false);
    gpu->avgpool_backward(&g, dev_dy, fresh, false);
    assert_same_bits(fresh, dx, in);
    free(x), free(y), free(dy), free(dx);
    device_end();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(maximum_has_the_same_bits_and_indices), cmocka_unit_test(average_has_the_same_bits)};
  return cmocka_run_group_tests_name("cuda pool", tests, NULL, NULL);
}
