/* The pools' twins: the reference's bits, and its indices where values tie; where activations are bf16, those bits rounded once. */
#include "cuda/activations.h"

/* Channels one by one, in pieces of 16 bytes, and rows of several blocks of threads. */
static const struct pool shapes[] = {{1, 1, 1, 1}, {2, 7, 5, 3}, {1, 8, 8, 33}, {3, 2, 1, 4}, {2, 1, 6, 2}, {2, 5, 7, 16}, {1, 3, 70, 32}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

enum fill { FILL_NORMAL, FILL_TIES, FILL_NAN, FILLS };

static real *filled(ptrdiff_t n, enum fill fill) {
  real *x = fill == FILL_TIES ? test_ints(n, 1, 1) : test_normal(n, 1);
  for (ptrdiff_t i = 0; fill == FILL_NAN && i < n; i += 3) x[i] = (real)NAN;
  return x;
}

static void max(enum cuda_precision precision, struct pool g, enum fill fill) {
  const struct backend *gpu = device_backend_in(precision), *cpu = backend_reference();
  ptrdiff_t in = g.n * g.h * g.w * g.c, out = g.n * maxpool_out(g.h) * maxpool_out(g.w) * g.c;
  real *x = filled(in, fill), *y = test_reals(out), *dy = test_normal(out, 2), *dx = test_reals(in);
  int32_t *index = calloc((size_t)out, sizeof *index), *dev_index = device_poisoned((size_t)out * sizeof *index);
  assert_non_null(index);
  test_round_activations(gpu, x, in), test_round_activations(gpu, dy, out);
  real *dev_x = device_activations_from(gpu, x, in), *dev_y = device_activations(gpu, out);
  real *dev_dy = device_activations_from(gpu, dy, out), *dev_dx = device_activations(gpu, in), *alone = device_activations(gpu, out);
  cpu->maxpool_forward(&g, x, y, index);
  gpu->maxpool_forward(&g, dev_x, dev_y, dev_index);
  assert_same_bits(dev_index, index, out);
  assert_same_activations(gpu, dev_y, y, out);
  gpu->maxpool_forward(&g, dev_x, alone, NULL);
  assert_same_activations(gpu, alone, y, out);
  cpu->maxpool_backward(&g, dy, index, dx);
  gpu->maxpool_backward(&g, dev_dy, dev_index, dev_dx);
  assert_same_activations(gpu, dev_dx, dx, in);
  free(x), free(y), free(dy), free(dx), free(index);
  device_end();
}

static void maximum_has_the_same_bits_and_indices(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES * FILLS; i++) {
    max(CUDA_FP32, shapes[i / FILLS], (enum fill)(i % FILLS));
    max(CUDA_BF16, shapes[i / FILLS], (enum fill)(i % FILLS));
  }
}

static void average_has_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 2 * SHAPES; i++) {
    const struct backend *gpu = device_backend_in(i % 2 ? CUDA_BF16 : CUDA_FP32), *cpu = backend_reference();
    struct pool g = shapes[i / 2];
    ptrdiff_t in = g.n * g.h * g.w * g.c, out = g.n * g.c;
    real *x = test_normal(in, 1), *y = test_reals(out), *dy = test_normal(out, 2), *dx = test_normal(in, 3);
    test_round_activations(gpu, x, in), test_round_activations(gpu, dy, out), test_round_activations(gpu, dx, in);
    real *dev_x = device_activations_from(gpu, x, in), *dev_y = device_activations(gpu, out);
    real *dev_dy = device_activations_from(gpu, dy, out), *dev_dx = device_activations_from(gpu, dx, in);
    real *fresh = device_activations(gpu, in);
    cpu->avgpool_forward(&g, x, y);
    gpu->avgpool_forward(&g, dev_x, dev_y);
    assert_same_activations(gpu, dev_y, y, out);
    cpu->avgpool_backward(&g, dy, dx, true);
    gpu->avgpool_backward(&g, dev_dy, dev_dx, true);
    assert_same_activations(gpu, dev_dx, dx, in);
    cpu->avgpool_backward(&g, dy, dx, false);
    gpu->avgpool_backward(&g, dev_dy, fresh, false);
    assert_same_activations(gpu, fresh, dx, in);
    free(x), free(y), free(dy), free(dx);
    device_end();
  }
}

/* dx + dy over images of one cell, which is what is written: the sum in float, rounded to nearest, ties to even, with overflow and
 * denormals. */
static void bf16_is_rounded_to_nearest_even(void **state) {
  (void)state;
  const struct backend *gpu = device_backend_in(CUDA_BF16);
  const float pairs[][2] = {{1, 0x1p-8f},
                            {1, 0x1.02p-8f},
                            {1.0078125f, 0x1p-8f},
                            {-1, -0x1p-8f},
                            {1, -0x1p-9f},
                            {1, 0x1p-9f},
                            {0x1.fep127f, 0x1p119f},
                            {0x1.fep127f, 0x1.fep118f},
                            {-0x1.fep127f, -0x1p119f},
                            {0x1p-133f, 0x1p-133f},
                            {0x1p-133f, 0},
                            {INFINITY, 1},
                            {INFINITY, -INFINITY}};
  enum { PAIRS = sizeof pairs / sizeof pairs[0] };
  real dx[PAIRS], dy[PAIRS];
  for (int i = 0; i < PAIRS; i++) dx[i] = pairs[i][0], dy[i] = pairs[i][1];
  real *dev_dx = device_activations_from(gpu, dx, PAIRS), *dev_dy = device_activations_from(gpu, dy, PAIRS);
  gpu->avgpool_backward(&(struct pool){.n = PAIRS, .h = 1, .w = 1, .c = 1}, dev_dy, dev_dx, true);
  for (int i = 0; i < PAIRS; i++) dx[i] += dy[i];
  assert_same_activations(gpu, dev_dx, dx, PAIRS);
  device_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(maximum_has_the_same_bits_and_indices), cmocka_unit_test(average_has_the_same_bits),
                                     cmocka_unit_test(bf16_is_rounded_to_nearest_even)};
  return cmocka_run_group_tests_name("cuda pool", tests, NULL, NULL);
}
