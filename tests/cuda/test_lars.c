/* LARS' twin within one rounding of the reference, the moving average with its bits. */
#include <float.h>

#include "cuda/device.h"

static const ptrdiff_t sizes[] = {1, 7, 255, 8193, 20000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

enum fill { FILL_NORMAL, FILL_NO_GRADIENT, FILL_NO_WEIGHT, FILLS };

/* The norms are sums of n squares in double in another order: each is off by less than n 2^-53 of itself, their ratio and d by less than
 * (2 n + 8) 2^-53. Rounded to float, m = mu m + d and w - lr m may so end on either side of a halfway point: a spacing of floats apart, beside that
 * error itself. The reference's own m and w are at hand to measure both. */
static void update(ptrdiff_t n, enum fill fill, enum lars_variant variant, bool adapt) {
  const struct backend *gpu = device_backend(), *cpu = backend_reference();
  struct lars o = {.variant = variant, .trust = 1e-3, .momentum = 0.9, .weight_decay = fill == FILL_NO_GRADIENT ? 0 : 1e-2};
  const double lr = 0.7;
  real *g = test_normal(n, 1), *w = test_normal(n, 2), *m = test_normal(n, 3);
  for (ptrdiff_t i = 0; i < n; i++) g[i] *= fill == FILL_NO_GRADIENT ? 0 : 1, w[i] *= fill == FILL_NO_WEIGHT ? 0 : 1;
  real *dev_g = device_from(g, n), *dev_w = device_from(w, n), *dev_m = device_from(m, n);
  real *w_before = test_copy(w, n);
  cpu->lars_update(&o, n, adapt, lr, g, w, m);
  gpu->lars_update(&o, n, adapt, lr, dev_g, dev_w, dev_m);
  double *m_bound = calloc((size_t)n, sizeof(double)), *w_bound = calloc((size_t)n, sizeof(double));
  assert_true(m_bound && w_bound);
  for (ptrdiff_t i = 0; i < n && adapt; i++) {
    double d = fabs((double)g[i]) + fabs((double)w_before[i]),
           off = (double)(2 * n + 8) * 0x1p-53 * d; /* trust ratio below 1: d is more than its part */
    m_bound[i] = off + FLT_EPSILON * fabs((double)m[i]) + FLT_TRUE_MIN;
    w_bound[i] = (variant == LARS_BYOL ? lr : 1) * m_bound[i] + FLT_EPSILON * fabs((double)w[i]) + FLT_TRUE_MIN;
  }
  assert_within(dev_m, m, m_bound, n); /* not adapted: no sum, no difference */
  assert_within(dev_w, w, w_bound, n);
  free(g), free(w), free(m), free(w_before), free(m_bound), free(w_bound);
  device_end();
}

static void updates_agree(void **state) {
  (void)state;
  for (int i = 0; i < SIZES; i++)
    for (int fill = 0; fill < FILLS; fill++)
      for (int option = 0; option < 4; option++) update(sizes[i], (enum fill)fill, option % 2 ? LARS_BYOL : LARS_OPENSELFSUP, option / 2);
}

static void average_has_the_same_bits(void **state) {
  (void)state;
  static const double taus[] = {0, 0.3, 0.996, 1};
  for (int i = 0; i < SIZES * 4; i++) {
    ptrdiff_t n = sizes[i / 4];
    real *theta = test_normal(n, 1), *xi = test_normal(n, 2), *dev_theta = device_from(theta, n), *dev_xi = device_from(xi, n);
    backend_reference()->ema_update(n, taus[i % 4], theta, xi);
    device_backend()->ema_update(n, taus[i % 4], dev_theta, dev_xi);
    assert_same_bits(dev_xi, xi, n);
    free(theta), free(xi);
    device_end();
  }
}

/* Exact at both ends, where xi + (theta - xi) would lose theta beside a large xi. */
static void average_is_exact_at_both_ends(void **state) {
  (void)state;
  const real theta[] = {1, -3}, xi[] = {(real)1e30, 5};
  real *dev_theta = device_from(theta, 2), *dev_xi = device_from(xi, 2);
  device_backend()->ema_update(2, 1, dev_theta, dev_xi);
  assert_same_bits(dev_xi, xi, 2);
  device_backend()->ema_update(2, 0, dev_theta, dev_xi);
  assert_same_bits(dev_xi, theta, 2);
  device_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(updates_agree), cmocka_unit_test(average_has_the_same_bits),
                                     cmocka_unit_test(average_is_exact_at_both_ends)};
  return cmocka_run_group_tests_name("cuda lars", tests, NULL, NULL);
}
