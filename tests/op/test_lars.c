/* LARS and the moving average: two steps by hand for both variants, the cases where a norm is zero, long tensors. */
#include "op/lars.h"

#include "op/numeric.h"

static void step(enum lars_variant variant, double trust, double momentum, double decay, bool adapt, double lr, const real g[2], real w[2],
                 real m[2]) {
  struct lars o = {variant, trust, momentum, decay};
  lars_update(&o, 2, adapt, lr, g, w, m);
}

#define assert_pair(a, x, y) assert_true((a)[0] == (real)(x) && (a)[1] == (real)(y))

/* w = (3, 4), g = (-9, -12), decay 1: d = (-6, -8), |w| = 5, |g| = 15, |d| = 10, trust 1/2. Every number is exact. */
static void byol_by_hand(void **state) {
  (void)state;
  real w[2] = {3, 4}, m[2] = {2, 4};
  const real g[2] = {-9, -12}, second[2] = {0, 0};
  step(LARS_BYOL, 0.5, 0.5, 1, true, 2, g, w, m);
  assert_pair(m, 1 - 1.5, 2 - 2.0); /* half of m, and d times 0.5 5 / 10 */
  assert_pair(w, 3 + 1.0, 4);       /* lr 2 times m */
  step(LARS_BYOL, 0.5, 0.5, 0, true, 4, second, w, m);
  assert_pair(m, -0.25, 0); /* d = 0 is not adapted; the learning rate of this step multiplies the whole buffer */
  assert_pair(w, 5, 4);
}

/* The same with the denominator |g| + wd |w| = 20, and the learning rate inside the buffer. */
static void openselfsup_by_hand(void **state) {
  (void)state;
  real w[2] = {3, 4}, m[2] = {2, 4};
  const real g[2] = {-9, -12}, second[2] = {0, 0};
  step(LARS_OPENSELFSUP, 0.5, 0.5, 1, true, 2, g, w, m);
  assert_pair(m, 1 - 1.5, 2 - 2.0); /* half of m, and lr 2 times d times 0.5 5 / 20 */
  assert_pair(w, 3 + 0.5, 4);
  step(LARS_OPENSELFSUP, 0.5, 0.5, 0, true, 4, second, w, m);
  assert_pair(m, -0.25, 0); /* what is in the buffer keeps the learning rate it went in with */
  assert_pair(w, 3.75, 4);
}

static void not_adapted_is_plain_momentum(void **state) {
  (void)state;
  for (int variant = 0; variant < 2; variant++) {
    real w[2] = {3, 4}, m[2] = {2, 4};
    const real g[2] = {8, -8};
    step((enum lars_variant)variant, 0.5, 0.5, 1, false, 0.25, g, w, m); /* no decay, no ratio */
    if (variant == LARS_BYOL)
      assert_pair(m, 9, -6);
    else
      assert_pair(m, 3, 0);
    assert_pair(w, variant == LARS_BYOL ? 0.75 : 0, variant == LARS_BYOL ? 5.5 : 4);
  }
}

static void zero_norms(void **state) {
  (void)state;
  for (int variant = 0; variant < 2; variant++) {
    enum lars_variant v = (enum lars_variant)variant;
    real zero[2] = {0, 0}, w[2] = {0, 0}, m[2] = {0, 0};
    const real g[2] = {6, 8};
    step(v, 0.5, 0.5, 1, true, 1, g, w, m); /* zero parameter: the ratio is 1 */
    assert_pair(m, 6, 8);
    assert_pair(w, -6, -8);
    real w2[2] = {3, 4}, m2[2] = {0, 0};
    step(v, 0.5, 0.5, 0, true, 1, zero, w2, m2); /* zero gradient, no decay: nothing moves */
    assert_pair(m2, 0, 0);
    assert_pair(w2, 3, 4);
    step(v, 0.5, 0.5, 2, true, 1, zero, w2, m2); /* zero gradient, decay: d = wd w is adapted to trust w, whatever wd */
    assert_pair(m2, 1.5, 2);
    assert_pair(w2, 1.5, 2);
  }
}

/* Norms of long tensors: many chunks and a tail; the size without any element. */
static void long_tensor_equals_the_definition(void **state) {
  (void)state;
  static const ptrdiff_t sizes[] = {0, 1, 7, 8192, 8193, 25000, 64 * 8192 + 13};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
    for (int variant = 0; variant < 2; variant++) {
      ptrdiff_t n = sizes[s];
      struct lars o = {(enum lars_variant)variant, 0.001, 0.9, 1e-2};
      real *g = test_reals(n), *start_w = test_reals(n), *start_m = test_reals(n), *first_w = NULL, *first_m = NULL;
      test_fill_normal(g, n, 1), test_fill_normal(start_w, n, 2), test_fill_normal(start_m, n, 3);
      for (int t = 0; t < THREAD_COUNTS; t++) {
        omp_set_num_threads(thread_counts[t]);
        real *w = test_reals(n), *m = test_reals(n);
        double ww = 0, gg = 0, dd = 0, lr = 0.3;
        memcpy(w, start_w, (size_t)n * sizeof(real)), memcpy(m, start_m, (size_t)n * sizeof(real));
        double *w0 = test_widened(w, n), *m0 = test_widened(m, n);
        for (ptrdiff_t i = 0; i < n; i++) {
          ww += w0[i] * w0[i];
          gg += (double)g[i] * (double)g[i];
          double d = (double)g[i] + o.weight_decay * w0[i];
          dd += d * d;
        }
        double ratio = o.trust * sqrt(ww) / (variant == LARS_BYOL ? sqrt(dd) : sqrt(gg) + o.weight_decay * sqrt(ww));
        lars_update(&o, n, true, lr, g, w, m);
        for (ptrdiff_t i = 0; i < n; i++) {
          double d = ratio * ((double)g[i] + o.weight_decay * w0[i]);
          m0[i] = 0.9 * m0[i] + (variant == LARS_BYOL ? d : lr * d);
          w0[i] -= variant == LARS_BYOL ? lr * m0[i] : m0[i];
        }
        /* m and w are rounded once each, and below 8; sums of n squares in double are within n roundings */
        double bound = (2 * REAL_ROUNDOFF + (double)(n + 16) * 0x1p-53 * 0.001) * 8;
        assert_all_near(m, m0, n, bound);
        assert_all_near(w, w0, n, bound);
        if (t == 0) first_w = w, first_m = m;
        assert_memory_equal(w, first_w, (size_t)n * sizeof(real));
        assert_memory_equal(m, first_m, (size_t)n * sizeof(real));
        if (t > 0) free(w), free(m);
        free(w0), free(m0);
      }
      free(g), free(start_w), free(start_m), free(first_w), free(first_m);
    }
}

/* A squared norm of 2^150 would overflow float, and one of 2^-150 vanish: the norms are in double. */
static void norms_do_not_overflow(void **state) {
  (void)state;
  for (int sign = -1; sign <= 1; sign += 2) {
    real size = (real)ldexp(1, 75 * sign), w[2] = {3 * size, 4 * size}, m[2] = {0, 0};
    const real g[2] = {6 * size, 8 * size};
    step(LARS_BYOL, 0.5, 0, 0, true, 1, g, w, m);
    assert_pair(m, 1.5 * size, 2 * size);
  }
}

static void moving_average_by_hand(void **state) {
  (void)state;
  const real theta[3] = {4, -8, (real)1e-20};
  real xi[3] = {0, 8, 1};
  ema_update(2, 0.75, theta, xi);
  assert_pair(xi, 1, 4);
  ema_update(3, 1, theta, xi);
  assert_true(xi[0] == 1 && xi[1] == 4 && xi[2] == 1); /* tau = 1: nothing moves */
  ema_update(3, 0, theta, xi);
  assert_memory_equal(xi, theta, sizeof theta); /* tau = 0: a copy, though 1 + (1e-20 - 1) is 0 */
  enum { N = 50001 };
  real *long_theta = test_reals(N), *long_xi = test_reals(N);
  test_fill_int(long_theta, N, 100, 1);
  for (int t = 0; t < THREAD_COUNTS; t++) {
    omp_set_num_threads(thread_counts[t]);
    test_fill_int(long_xi, N, 100, 2);
    real first = long_xi[N - 1];
    ema_update(N, 0.5, long_theta, long_xi);
    assert_true(long_xi[N - 1] == (first + long_theta[N - 1]) / 2);
  }
  free(long_theta), free(long_xi);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(byol_by_hand),
      cmocka_unit_test(openselfsup_by_hand),
      cmocka_unit_test(not_adapted_is_plain_momentum),
      cmocka_unit_test(zero_norms),
      cmocka_unit_test(long_tensor_equals_the_definition),
      cmocka_unit_test(norms_do_not_overflow),
      cmocka_unit_test(moving_average_by_hand),
  };
  return cmocka_run_group_tests_name("lars " REAL_SUFFIX, tests, NULL, NULL);
}
