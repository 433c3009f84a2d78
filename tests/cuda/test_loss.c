/* The losses' twins: values and gradients with the reference's bits; where activations are bf16, gradients are those bits rounded once. */
#include "cuda/activations.h"

static const struct { ptrdiff_t b, n, c; } shapes[] = {{1, 1, 1}, {2, 3, 5}, {3, 35, 9}, {2, 49, 260}, {40, 2, 16}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

enum kind { BYOL, RDEM, RDEM_STOPPED, RDEM_INSTANCE, RIEM, KINDS };

/* Random rows; of tiny ones the squares sum to less than the guard, and some are zero. */
static real *rows_of(ptrdiff_t rows, ptrdiff_t c, uint32_t stream, bool tiny) {
  real *x = test_normal(rows * c, stream);
  for (ptrdiff_t row = 0; tiny && row < rows; row++)
    for (ptrdiff_t k = 0; k < c; k++) x[row * c + k] *= row % 3 == 0 ? (real)1e-8 : row % 3 == 1 ? 0 : 1;
  return x;
}

static void run(const struct backend *b, enum kind kind, const struct loss *g, const real *r, const real *target, const int32_t *index,
                double scale, double *value, real *dr, void *scratch) {
  switch (kind) {
  case BYOL: b->loss_byol(g, r, target, scale, value, dr, scratch); break;
  case RDEM: b->loss_rdem(g, r, index, RDEM_STOPGRAD_NONE, scale, value, dr, scratch); break;
  case RDEM_STOPPED: b->loss_rdem(g, r, index, RDEM_STOPGRAD_MATCH, scale, value, dr, scratch); break;
  case RDEM_INSTANCE: b->loss_rdem_instance(g, r, target, index, scale, value, dr, scratch); break;
  case RIEM: b->loss_riem(g, r, target, index, scale, value, dr, scratch); break;
  case KINDS: break;
  }
}

static void loss(enum cuda_precision precision, int i, enum kind kind, bool tiny, double scale, bool gradient) {
  const struct backend *gpu = device_backend_in(precision), *cpu = backend_reference();
  struct loss g = {.b = shapes[i].b, .n = kind == BYOL ? 1 : shapes[i].n, .c = shapes[i].c};
  ptrdiff_t rows = g.b * g.n, size = rows * g.c;
  real *r = rows_of(rows, g.c, 1, tiny), *target = rows_of(rows, g.c, 2, tiny), *dr = test_normal(size, 3);
  int32_t *index = calloc((size_t)rows, sizeof *index);
  double *value = calloc((size_t)g.b, sizeof *value);
  void *host_scratch = malloc(cpu->loss_scratch(&g));
  assert_true(index && value && host_scratch);
  struct philox stream = philox_stream(1, PHILOX_TEST, 2, 4, 0);
  for (ptrdiff_t k = 0; k < rows; k++) index[k] = (int32_t)philox_below(&stream, (uint32_t)(kind == RDEM_INSTANCE ? g.b : g.n));

  test_round_activations(gpu, r, size), test_round_activations(gpu, target, size), test_round_activations(gpu, dr, size);
  real *dev_r = device_activations_from(gpu, r, size), *dev_target = device_activations_from(gpu, target, size);
  real *dev_dr = device_activations_from(gpu, dr, size);
  int32_t *dev_index = device_from_bytes(index, (size_t)rows * sizeof *index);
  double *dev_value = device_doubles(g.b);
  void *scratch = device_scratch(gpu->loss_scratch(&g));
  run(cpu, kind, &g, r, target, index, scale, value, gradient ? dr : NULL, host_scratch);
  run(gpu, kind, &g, dev_r, dev_target, dev_index, scale, dev_value, gradient ? dev_dr : NULL, scratch);
  assert_same_bits(dev_value, value, g.b);
  assert_same_activations(gpu, dev_dr, dr, size);
  free(r), free(target), free(dr), free(index), free(value), free(host_scratch);
  device_end();
}

static void values_and_gradients_have_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++)
    for (int kind = 0; kind < KINDS; kind++)
      for (int tiny = 0; tiny < 2; tiny++) {
        loss(CUDA_FP32, i, (enum kind)kind, tiny, 0.75, true);
        loss(CUDA_BF16, i, (enum kind)kind, tiny, 0.75, true);
      }
}

/* Without a gradient array, or with scale 0, only the value is computed. */
static void values_alone_leave_gradients(void **state) {
  (void)state;
  for (int kind = 0; kind < KINDS; kind++) {
    for (int i = 0; i < 2; i++) {
      enum cuda_precision precision = i ? CUDA_BF16 : CUDA_FP32;
      loss(precision, 1, (enum kind)kind, false, 0.75, false);
      loss(precision, 1, (enum kind)kind, false, 0, true);
    }
  }
}

/* Sums of a micro-batch and of two, of batches on either side of what a block fetches at once; losses that are not there. */
static void the_sum_has_the_same_bits(void **state) {
  (void)state;
  const struct backend *gpu = device_backend();
  static const ptrdiff_t batches[] = {1, 7, 255, 256, 257, 600};
  for (size_t i = 0; i < 2 * sizeof batches / sizeof batches[0]; i++) {
    ptrdiff_t b = batches[i / 2];
    double *value[6], *dev_value[6];
    for (int k = 0; k < 6; k++) {
      struct philox stream = philox_stream(1, PHILOX_TEST, 5, (uint32_t)k, 0);
      if (!(value[k] = malloc((size_t)b * sizeof(double)))) abort();
      for (ptrdiff_t j = 0; j < b; j++) value[k][j] = philox_normal(&stream);
      dev_value[k] = device_from_bytes(value[k], (size_t)b * sizeof(double));
    }
    struct loss_values host = {.byol = {value[4], value[5]}, .lambda_rdem = 0.3, .lambda_riem = 1.7, .lambda_byol = 0.9}, dev = host;
    for (int v = 0; v < 2; v++) dev.byol[v] = dev_value[4 + v];
    for (int v = 0; v < 2 && i % 2; v++) {
      host.rdem[v] = value[v], host.riem[v] = value[2 + v];
      dev.rdem[v] = dev_value[v], dev.riem[v] = dev_value[2 + v];
    }
    struct loss_sums expected = {.halt = 5}, *sums = device_from_bytes(&expected, sizeof expected);
    for (int micro = 0; micro < 2; micro++) {
      loss_collect(b, &host, micro ? 0.3 : 0.7, &expected);
      gpu->loss_collect(b, &dev, micro ? 0.3 : 0.7, sums);
    }
    assert_same_bits((double *)sums, (double *)&expected, sizeof expected / sizeof(double));
    for (int k = 0; k < 6; k++) free(value[k]);
    device_end();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(values_and_gradients_have_the_same_bits),
                                     cmocka_unit_test(values_alone_leave_gradients), cmocka_unit_test(the_sum_has_the_same_bits)};
  return cmocka_run_group_tests_name("cuda loss", tests, NULL, NULL);
}
