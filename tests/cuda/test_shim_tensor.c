/* The shim's tensor cores and copies: registers are where the PTX ISA has them, and kernels that are wrong on purpose come out wrong or are
 * reported. The launches that fail say so on standard error. */
#include "cuda/banks.h"
#include "cuda/classes.h"
#include "cuda/one_product.h"
#include "cuda/reported.h"

/* ---- copies -------------------------------------------------------------------------------------------------------------------------- */

static real *copied(enum copy_mistake mistake) {
  real x[COPIED];
  for (int i = 0; i < COPIED; i++) x[i] = (real)i;
  real *dev = device_from(x, COPIED);
  copy_reversed(mistake, dev);
  return dev;
}

static int not_reversed(real *dev) {
  real *x = device_read(dev, COPIED);
  int wrong = 0;
  for (int i = 0; i < COPIED; i++) wrong += !(x[i] == (real)(COPIED - 1 - i));
  free(x);
  return wrong;
}

static void copies_arrive(void **state) {
  (void)state;
  assert_int_equal(not_reversed(copied(COPY_SOUND)), 0);
  assert_int_equal(not_reversed(copied(COPY_SOUND_LARGE)), 0);
  real ones[COPIED], expected[COPIED];
  for (int i = 0; i < COPIED; i++) ones[i] = 1, expected[i] = i < COPIED / 2 ? 0 : 1;
  real *dev = device_from(ones, COPIED);
  copy_absent(dev);
  assert_same_bits(dev, expected, COPIED);
  device_end();
}

static void a_missing_barrier_shows(void **state) {
  (void)state;
  int wrong = 0;
  for (uint64_t seed = 0; seed < 8; seed++) {
    shim_seed(seed);
    wrong += not_reversed(copied(COPY_NO_BARRIER)) > 0;
    device_end();
  }
  assert_int_equal(wrong, 8);
}

/* What was not waited for is NaN, in every thread, and the thread ends with it. */
static void a_missing_wait_shows(void **state) {
  (void)state;
  static const enum copy_mistake mistakes[] = {COPY_NO_WAIT, COPY_WAIT_FOR_ALL_BUT, COPY_NOT_COMMITTED};
  for (int i = 0; i < 3; i++) {
    real *dev = copied(mistakes[i]);
    const char *line = shim_failure();
    assert_non_null(strstr(line, "ends with 1 copies in flight"));
    shim_clear();
    assert_int_equal(not_reversed(dev), COPIED);
    device_end();
  }
}

static void wrong_addresses_and_sizes_are_reported(void **state) {
  (void)state;
  copied(COPY_SHARED_MISALIGNED), was_reported("copy_async: an address is not aligned to 16 bytes");
  copied(COPY_GLOBAL_MISALIGNED), was_reported("copy_async: an address is not aligned to 16 bytes");
  copied(COPY_PAST_END), was_reported("copy_async: an address is not 16 bytes of device memory");
  copied(COPY_FROM_SHARED), was_reported("copy_async: an address is not 16 bytes of device memory");
  copied(COPY_TOO_LARGE), was_reported("65536 bytes of shared memory are asked for, and 49152 are allowed");
  copied(COPY_NONE_GIVEN), was_reported("and the launch gives none");
}

/* ---- products ------------------------------------------------------------------------------------------------------------------------ */

static void mistakes_of_a_warp_are_reported(void **state) {
  (void)state;
  static const struct {
    bool half;
    enum product_mistake mistake;
    const char *words;
  } mistakes[] = {{false, PRODUCT_NOT_ROUNDED, "mma_tf32: an operand was not rounded to tf32"},
                  {true, PRODUCT_HALF_A_WARP, "mma_bf16 with mask ffffffff is reached by lanes 0000ffff only"},
                  {true, PRODUCT_TWO_THINGS, "with mask ffffffff is reached by lanes"},
                  {true, PRODUCT_MISALIGNED, "load_matrices: an address is not aligned to 16 bytes"}};
  for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
    multiply_mistaken(mistakes[i].half, mistakes[i].mistake), was_reported(mistakes[i].words);
}

/* ---- banks --------------------------------------------------------------------------------------------------------------------------- */

/* What warps of the convolution's kernels read by ldmatrix: every matrix in one turn. Large and small tiles, both ways that a tile lies. */
static void no_turn_of_ldmatrix_is_lost(void **state) {
  (void)state;
  static const struct conv shapes[] = {{1, 5, 7, 72, 136, 3, 3, 1, 1, 5, 7}, {256, 1, 64, 8, 128, 1, 1, 1, 0, 1, 64}};
  for (int i = 0; i < 2 * CLASSES; i++) {
    const struct backend *c = class_of(i);
    const struct conv *g = &shapes[i / CLASSES];
    ptrdiff_t xs = g->n * g->h * g->w * g->c, ws = g->k * g->r * g->s * g->c, ys = g->n * g->p * g->q * g->k;
    device_backend();
    shim_bank_conflicts();
    real *x = test_reals(xs), *w = test_reals(ws), *y = test_reals(ys);
    real *dev_x = device_activations_from(c, x, xs), *dev_w = device_from(w, ws), *dev_y = device_activations_from(c, y, ys);
    c->conv_forward(g, dev_x, dev_w, dev_y, NULL);
    c->conv_backward_data(g, dev_y, dev_w, dev_x, false, NULL);
    c->conv_backward_weights(g, dev_x, dev_y, dev_w, device_scratch(c->conv_scratch(g)));
    assert_int_equal(shim_bank_conflicts(), 0);
    free(x), free(w), free(y);
    device_end();
  }
  is_product(true, PRODUCT_SOUND_LOADED); /* rows of 32 bytes: two of eight in each eighth that is used */
  assert_true(shim_bank_conflicts() > 0);
  device_end();
}

/* Everything else that the kernels do with shared memory. */
static void no_turn_of_other_accesses_is_lost(void **state) {
  (void)state;
  for (int tile = 64; tile <= 128; tile += 64) {
    for (int i = 0; i < 4; i++) assert_int_equal(turns_of_pieces(i % 2, tile, i / 2), 1);
    for (int a = 0; a < 2; a++) assert_int_equal(turns_of_words(tile, a), 1);
    for (int i = 0; i < 4; i++) assert_int_equal(turns_of_quads(tile, i % 2, i / 2), 1);
    assert_int_equal(turns_of_results(tile), 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(copies_arrive),
                                     cmocka_unit_test(a_missing_barrier_shows),
                                     cmocka_unit_test(a_missing_wait_shows),
                                     cmocka_unit_test(wrong_addresses_and_sizes_are_reported),
                                     cmocka_unit_test(registers_are_where_they_are_documented),
                                     cmocka_unit_test(mistakes_of_a_warp_are_reported),
                                     cmocka_unit_test(no_turn_of_ldmatrix_is_lost),
                                     cmocka_unit_test(no_turn_of_other_accesses_is_lost)};
  return cmocka_run_group_tests_name("cuda shim tensor", tests, NULL, NULL);
}
