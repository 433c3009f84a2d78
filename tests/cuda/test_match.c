/* Matching's twin: the reference's indices, whatever ties; of rows in bf16, those of the same numbers in float. */
#include "cuda/activations.h"

static const struct { ptrdiff_t b, n, c; } shapes[] = {{1, 1, 1}, {2, 4, 3}, {3, 17, 18}, {1, 49, 40}, {5, 9, 16}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

enum fill { FILL_NORMAL, FILL_INTS, FILL_TWINS, FILL_ZEROS, FILL_NAN, FILLS };

/* t and a second view. TWINS: every row of a view is there twice or more. ZEROS: some rows are zero. NAN: one row is not a number. */
static void fill_views(real *const view[2], ptrdiff_t b, ptrdiff_t n, ptrdiff_t c, enum fill fill) {
  for (int v = 0; v < 2; v++) {
    if (fill == FILL_INTS)
      test_fill_int(view[v], b * n * c, 1, 1 + (uint32_t)v);
    else
      test_fill_normal(view[v], b * n * c, 1 + (uint32_t)v);
    for (ptrdiff_t row = 0; row < b * n; row++)
      for (ptrdiff_t k = 0; k < c; k++) {
        real *at = &view[v][row * c + k];
        if (fill == FILL_TWINS) *at = view[v][(row / n * n + row % n % ((n + 1) / 2)) * c + k];
        if (fill == FILL_ZEROS && row % 3 == 1) *at = 0;
        if (fill == FILL_NAN && row % n == 1) *at = (real)NAN;
      }
  }
}

static void match(enum cuda_precision precision, int i, enum fill fill, enum similarity similarity) {
  const struct backend *gpu = device_backend_in(precision), *cpu = backend_reference();
  struct match g = {.b = shapes[i].b, .n = shapes[i].n, .c = shapes[i].c, .similarity = similarity};
  ptrdiff_t size = g.b * g.n * g.c, rows = g.b * g.n;
  real *view[2] = {test_reals(size), test_reals(size)};
  fill_views(view, g.b, g.n, g.c, fill);
  for (int v = 0; v < 2; v++) test_round_activations(gpu, view[v], size);
  real *dev[2] = {device_activations_from(gpu, view[0], size), device_activations_from(gpu, view[1], size)};
  int32_t *expected = calloc((size_t)rows, sizeof *expected), *index = device_poisoned((size_t)rows * sizeof *index);
  void *scratch = device_scratch(gpu->match_scratch(&g)), *host_scratch = malloc(cpu->match_scratch(&g));
  assert_true(expected && host_scratch);
  cpu->match_diversity(&g, view[0], expected, host_scratch);
  gpu->match_diversity(&g, dev[0], index, scratch);
  assert_same_bits(index, expected, rows);
  cpu->match_invariance(&g, view[0], view[1], expected, host_scratch);
  gpu->match_invariance(&g, dev[0], dev[1], index, scratch);
  assert_same_bits(index, expected, rows);
  cpu->match_invariance(&g, view[0], view[0], expected, host_scratch);
  gpu->match_invariance(&g, dev[0], dev[0], index, scratch);
  assert_same_bits(index, expected, rows);
  free(view[0]), free(view[1]), free(expected), free(host_scratch);
  device_end();
}

static void indices_are_the_reference_s(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++)
    for (int fill = 0; fill < FILLS; fill++)
      for (int similarity = 0; similarity < 2; similarity++) {
        match(CUDA_FP32, i, (enum fill)fill, (enum similarity)similarity);
        match(CUDA_BF16, i, (enum fill)fill, (enum similarity)similarity);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(indices_are_the_reference_s)};
  return cmocka_run_group_tests_name("cuda match", tests, NULL, NULL);
}
