/* The linear layer's twins have the reference's bits: of integers, whose sums are exact, whatever either is compiled for. */
#include "cuda/device.h"

static const struct linear shapes[] = {{1, 1, 1},    {3, 5, 7},   {2, 70, 3},    {66, 3, 65}, {5, 1, 130},
                                       {1100, 3, 2}, {3, 600, 9}, {2500, 12, 9}, {7, 40, 300}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], INT_RANGE = 3 };

static real *filled(ptrdiff_t n, bool ints, uint32_t stream) { return ints ? test_ints(n, INT_RANGE, stream) : test_normal(n, stream); }

/* With a bias dx is overwritten, and db is there; without one dx is added to. dw and db are added to. */
static void check(const struct linear *g, bool ints, bool bias) {
  const struct backend *b = device_backend(), *cpu = backend_reference();
  ptrdiff_t xs = g->m * g->i, ws = g->o * g->i, ys = g->m * g->o;
  real *x = filled(xs, ints, 1), *w = filled(ws, ints, 2), *added = filled(g->o, ints, 3), *dy = filled(ys, ints, 4), *y = test_reals(ys);
  real *dx = filled(xs, ints, 5), *dw = filled(ws, ints, 6), *db = filled(g->o, ints, 7);
  real *dev_x = device_from(x, xs), *dev_w = device_from(w, ws), *dev_added = device_from(added, g->o), *dev_dy = device_from(dy, ys);
  real *dev_y = device_reals(ys), *dev_dx = bias ? device_reals(xs) : device_from(dx, xs), *dev_dw = device_from(dw, ws),
       *dev_db = device_from(db, g->o);
  void *scratch = malloc(cpu->linear_scratch(g) + 1);
  assert_non_null(scratch);
  cpu->linear_forward(g, x, w, bias ? added : NULL, y);
  b->linear_forward(g, dev_x, dev_w, bias ? dev_added : NULL, dev_y);
  assert_same_bits(dev_y, y, ys);
  cpu->linear_backward_data(g, dy, w, dx, !bias);
  b->linear_backward_data(g, dev_dy, dev_w, dev_dx, !bias);
  assert_same_bits(dev_dx, dx, xs);
  cpu->linear_backward_weights(g, x, dy, dw, bias ? db : NULL, scratch);
  b->linear_backward_weights(g, dev_x, dev_dy, dev_dw, bias ? dev_db : NULL, device_scratch(b->linear_scratch(g)));
  assert_same_bits(dev_dw, dw, ws);
  assert_same_bits(dev_db, db, g->o);
  free(x), free(w), free(added), free(dy), free(y), free(dx), free(dw), free(db), free(scratch);
  device_end();
}

static void integers_are_exact(void **state) {
  (void)state;
  for (int i = 0; i < 2 * SHAPES; i++) check(&shapes[i / 2], true, i % 2);
}

static void results_are_the_reference_s(void **state) {
  (void)state;
  device_needs_fused_reference();
  for (int i = 0; i < 2 * SHAPES; i++) check(&shapes[i / 2], false, i % 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(integers_are_exact), cmocka_unit_test(results_are_the_reference_s)};
  return cmocka_run_group_tests_name("cuda linear", tests, NULL, NULL);
}
