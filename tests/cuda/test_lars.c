/* The twins of LARS and of the moving average have the reference's bits. */
#include "cuda/device.h"

/* Of a norm: one piece; two; 256 pieces, of more than 8192 elements, the last not whole and whole. */
static const ptrdiff_t sizes[] = {1, 7, 255, 8193, 20000, 256 * 8192 + 9, 256 * 8193};
enum { SIZES = sizeof sizes / sizeof sizes[0], SHORT = 5 /* of them */ };

enum fill { FILL_NORMAL, FILL_NO_GRADIENT, FILL_NO_WEIGHT, FILLS };

static void update(ptrdiff_t n, enum fill fill, enum lars_variant variant, bool adapt) {
  const struct backend *gpu = device_backend(), *cpu = backend_reference();
  struct lars o = {.variant = variant, .trust = 1e-3, .momentum = 0.9, .weight_decay = fill == FILL_NO_GRADIENT ? 0 : 1e-2};
  const double lr = 0.7;
  real *g = test_normal(n, 1), *w = test_normal(n, 2), *m = test_normal(n, 3);
  for (ptrdiff_t i = 0; i < n; i++) g[i] *= fill == FILL_NO_GRADIENT ? 0 : 1, w[i] *= fill == FILL_NO_WEIGHT ? 0 : 1;
  real *dev_g = device_from(g, n), *dev_w = device_from(w, n), *dev_m = device_from(m, n);
  cpu->lars_update(&o, n, adapt, lr, g, w, m);
  gpu->lars_update(&o, n, adapt, lr, dev_g, dev_w, dev_m);
  assert_same_bits(dev_m, m, n);
  assert_same_bits(dev_w, w, n);
  free(g), free(w), free(m);
  device_end();
}

static void updates_agree(void **state) {
  (void)state;
  for (int i = 0; i < SHORT; i++)
    for (int fill = 0; fill < FILLS; fill++)
      for (int option = 0; option < 4; option++) update(sizes[i], (enum fill)fill, option % 2 ? LARS_BYOL : LARS_OPENSELFSUP, option / 2);
}

/* What a trust ratio is in double, a sum in float hardly shows. But where m holds the negative of d times the ratio, rounded, what is left
 * is its rounding error, and in this the last bits of the ratio count. */
static void norms_have_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 2 * SIZES; i++) {
    ptrdiff_t n = sizes[i / 2];
    struct lars o = {.variant = i % 2 ? LARS_BYOL : LARS_OPENSELFSUP, .trust = 1e-3, .momentum = 1, .weight_decay = 1e-2};
    real *g = test_normal(n, 1), *w = test_normal(n, 2), *m = test_reals(n), *w_after = test_copy(w, n);
    for (ptrdiff_t j = 0; j < n; j++) m[j] = 0;
    backend_reference()->lars_update(&o, n, true, 0.7, g, w_after, m);
    for (ptrdiff_t j = 0; j < n; j++) m[j] = -m[j];
    real *dev_g = device_from(g, n), *dev_w = device_from(w, n), *dev_m = device_from(m, n);
    backend_reference()->lars_update(&o, n, true, 0.7, g, w, m);
    device_backend()->lars_update(&o, n, true, 0.7, dev_g, dev_w, dev_m);
    assert_same_bits(dev_m, m, n);
    free(g), free(w), free(m), free(w_after);
    device_end();
  }
}

static void average_has_the_same_bits(void **state) {
  (void)state;
  static const double taus[] = {0, 0.3, 0.996, 1};
  for (int i = 0; i < SHORT * 4; i++) {
    ptrdiff_t n = sizes[i / 4];
    real *theta = test_normal(n, 1), *xi = test_normal(n, 2), *dev_theta = device_from(theta, n), *dev_xi = device_from(xi, n);
    backend_reference()->ema_update(n, taus[i % 4], theta, xi);
    device_backend()->ema_update(n, taus[i % 4], dev_theta, dev_xi);
    assert_same_bits(dev_xi, xi, n);
    free(theta), free(xi);
    device_end();
  }
}

/* Tensors of one block, in any order and with gaps between, updated in one pass and one by one: the same bits, and the gaps as they
 * were. */
static const ptrdiff_t together[] = {300, 1, 20000, 64, 8193, 255, 1024, 7};
enum { TOGETHER = sizeof together / sizeof together[0], GAP = 5 };

static void updates_together_have_the_bits_of_single_ones(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  for (int variant = 0; variant < 2; variant++) {
    struct lars o = {.variant = (enum lars_variant)variant, .trust = 1e-3, .momentum = 0.9, .weight_decay = 1e-2};
    struct lars_part part[TOGETHER];
    ptrdiff_t size = GAP;
    for (int i = TOGETHER - 1; i >= 0; i--) {
      part[i] = (struct lars_part){size, together[i], i % 3 != 1};
      size += together[i] + GAP;
    }
    real *g = test_normal(size, 1), *w = test_normal(size, 2), *m = test_normal(size, 3);
    real *dev_g = device_from(g, size), *all_w = device_from(w, size), *all_m = device_from(m, size);
    real *one_w = device_from(w, size), *one_m = device_from(m, size);
    b->lars_update_all(&o, TOGETHER, part, 0.7, NULL, dev_g, all_w, all_m);
    for (int i = 0; i < TOGETHER; i++) {
      ptrdiff_t at = part[i].at;
      b->lars_update(&o, part[i].size, part[i].adapt, 0.7, dev_g + at, one_w + at, one_m + at);
    }
    real *expected_w = device_read(one_w, size), *expected_m = device_read(one_m, size);
    assert_same_bits(all_w, expected_w, size);
    assert_same_bits(all_m, expected_m, size);
    assert_true(memcmp(expected_w, w, (size_t)GAP * sizeof *w) == 0 && memcmp(expected_w + GAP, w + GAP, sizeof *w) != 0);
    free(g), free(w), free(m), free(expected_w), free(expected_m);
    device_end();
  }
}

static void averages_together_have_the_same_bits(void **state) {
  (void)state;
  struct ema_part part[TOGETHER];
  ptrdiff_t from = GAP, to = 0;
  for (int i = 0; i < TOGETHER; i++) {
    part[i] = (struct ema_part){from, to, together[i]};
    from += together[i] + 2 * GAP, to += together[i] + GAP;
  }
  real *theta = test_normal(from, 1), *xi = test_normal(to, 2), *dev_theta = device_from(theta, from), *dev_xi = device_from(xi, to);
  device_backend()->ema_update_all(TOGETHER, part, 0.3, NULL, dev_theta, dev_xi);
  for (int i = 0; i < TOGETHER; i++) backend_reference()->ema_update(part[i].size, 0.3, theta + part[i].from, xi + part[i].to);
  assert_same_bits(dev_xi, xi, to);
  free(theta), free(xi);
  device_end();
}

/* Wherever the one number is that is not finite, or the loss; what lies behind does not count, and a halt that is there stays. */
static void what_is_not_finite_is_found(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  static const real bad[] = {INFINITY, -INFINITY, NAN};
  enum { SIZE = 20011 };
  struct loss_sums sound = {.sum = {.total = 1}}, lost = {.sum = {.total = -INFINITY}}, halted = {.halt = 1}, found;
  real *x = test_normal(SIZE, 1), *dev = device_from(x, SIZE);
  struct loss_sums *sums = device_from_bytes(&sound, sizeof sound);
#define HALTS(from, size)                                                                                                                  \
  (b->upload(sums, &(from), sizeof sound), b->halt_unless_finite(size, dev, sums), b->download(&found, sums, sizeof found), found.halt)
  assert_true(!HALTS(sound, SIZE) && !HALTS(sound, 0) && HALTS(lost, SIZE) == 1 && HALTS(lost, 0) == 1 && HALTS(halted, SIZE) == 1);
  assert_true(found.sum.total == halted.sum.total);
  static const ptrdiff_t at[] = {0, 255, 256, 8191, 8192, SIZE - 1};
  for (int i = 0; i < 18; i++) {
    b->upload(dev + at[i / 3], &bad[i % 3], sizeof *x);
    assert_true(HALTS(sound, SIZE) == 1);
    assert_true(HALTS(sound, at[i / 3]) == 0);
    b->upload(dev + at[i / 3], &x[at[i / 3]], sizeof *x);
  }
#undef HALTS
  free(x);
  device_end();
}

/* The forms of many tensors do nothing where the word is not zero. */
static void a_halt_leaves_everything(void **state) {
  (void)state;
  enum { N = 3000 };
  const struct backend *b = device_backend();
  const int64_t words[] = {0, 1};
  int64_t *halt = device_from_bytes(words, sizeof words);
  const struct lars o = {.trust = 1e-3, .momentum = 0.9, .weight_decay = 1e-2};
  const struct lars_part lars = {0, N, true};
  const struct ema_part ema = {0, 0, N};
  real *g = test_normal(N, 1), *w = test_normal(N, 2), *dev_g = device_from(g, N);
  for (int i = 1; i >= 0; i--) {
    real *dev_w = device_from(w, N), *dev_m = device_from(w, N), *xi = device_from(w, N);
    b->lars_update_all(&o, 1, &lars, 0.7, halt + i, dev_g, dev_w, dev_m);
    b->ema_update_all(1, &ema, 0.5, halt + i, dev_g, xi);
    real *const now[] = {device_read(dev_w, N), device_read(dev_m, N), device_read(xi, N)};
    for (int k = 0; k < 3; k++) {
      assert_true((memcmp(now[k], w, N * sizeof *w) == 0) == (i == 1));
      free(now[k]);
    }
  }
  free(g), free(w);
  device_end();
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(updates_agree),
                                     cmocka_unit_test(norms_have_the_same_bits),
                                     cmocka_unit_test(average_has_the_same_bits),
                                     cmocka_unit_test(average_is_exact_at_both_ends),
                                     cmocka_unit_test(updates_together_have_the_bits_of_single_ones),
                                     cmocka_unit_test(averages_together_have_the_same_bits),
                                     cmocka_unit_test(what_is_not_finite_is_found),
                                     cmocka_unit_test(a_halt_leaves_everything)};
  return cmocka_run_group_tests_name("cuda lars", tests, NULL, NULL);
}
