/* The machine that runs PTX: instructions give the host's bits, ways that part meet again, and kernels that are wrong on purpose are
 * reported. The launches that fail say so on standard error. */
#include <math.h>

#include "cuda/device.h"
#include "cuda/faulty.h"
#include "cuda/one_product.h"
#include "cuda/ptx/counts.h"
#include "cuda/ptx/kernels.h"
#include "cuda/ptx/tensor_core.h"
#include "cuda/ptx/wide_tests.h"
#include "cuda/reported.h"

/* ---- operations ---------------------------------------------------------------------------------------------------------------------- */

/* Bits that are awkward as numbers of any type. */
static uint64_t awkward(int i) {
  static const double d[] = {0,
                             -0.0,
                             1,
                             -1,
                             1.5,
                             -2.75,
                             3,
                             0x1p-1074,
                             0x1p-1022,
                             -0x1.8p-1060,
                             0x1.fffffffffffffp1023,
                             INFINITY,
                             -INFINITY,
                             NAN,
                             0x1.fffffffp10,
                             1e9,
                             -7.25,
                             0x1.000001p0};
  static const float f[] = {
      0,   -0.f,           1,    -1,     0.5f,         -2.75f, 3, 0x1p-149f, 0x1p-126f, -0x1.8p-140f, 0x1.fffffep127f, INFINITY, -INFINITY,
      NAN, 0x1.fffffep23f, 1e9f, -7.25f, 0x1.000002p0f};
  static const int64_t n[] = {
      0,  1, -1, 2, 7, -7, 255, 256, 65535, 65536, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 0x123456789abcdef, -0x123456789abcdef,
      31, 33};
  enum { EACH = sizeof d / sizeof d[0] };
  uint64_t bits = 0;
  if (i < EACH)
    memcpy(&bits, &d[i], 8);
  else if (i < 2 * EACH)
    memcpy(&bits, &f[i - EACH], 4);
  else
    memcpy(&bits, &n[i - 2 * EACH], 8);
  return bits;
}
enum { AWKWARD = 54, PAIRS = (AWKWARD * AWKWARD + PTX_THREADS - 1) / PTX_THREADS * PTX_THREADS };

/* Device memory of n numbers of 8 bytes; what the kernel left there. */
static uint64_t *device_longs(const uint64_t *x, int n) {
  real *floats = malloc((size_t)n * 8);
  if (!floats) abort();
  memcpy(floats, x, (size_t)n * 8);
  real *dev = device_from(floats, 2 * n);
  free(floats);
  return (uint64_t *)(void *)dev;
}
static void read_longs(uint64_t *x, const uint64_t *dev, int n) {
  real *floats = device_read((const real *)(const void *)dev, 2 * n);
  memcpy(x, floats, (size_t)n * 8);
  free(floats);
}

static void operations_have_the_bits_of_the_host(void **state) {
  (void)state;
  static uint64_t a[PAIRS], b[PAIRS], y[PAIRS];
  for (int i = 0; i < PAIRS; i++) a[i] = awkward(i / AWKWARD % AWKWARD), b[i] = awkward(i % AWKWARD);
  for (int number = 0; number < ptx_operations; number++) {
    uint64_t *dev_y = device_longs(y, PAIRS);
    ptx_on_device(number, PAIRS, device_longs(a, PAIRS), device_longs(b, PAIRS), dev_y);
    read_longs(y, dev_y, PAIRS);
    for (int i = 0; i < PAIRS; i++) {
      uint64_t expected = ptx_on_host(number, a[i], b[i]);
      if (y[i] != expected)
        fail_msg("%s of %#jx and %#jx is %#jx, expected %#jx", ptx_name_of(number), (uintmax_t)a[i], (uintmax_t)b[i], (uintmax_t)y[i],
                 (uintmax_t)expected);
    }
    device_end();
  }
}

static void what_c_leaves_open_is_as_documented(void **state) {
  (void)state;
  static const uint64_t none[PTX_OPEN],
      expected[PTX_OPEN] = {0, 0, UINT64_MAX, (uint64_t)-16, 0x40400000, 0, INT32_MAX, 0, 0xff1234ff, 0xabcdef12};
  uint64_t y[PTX_OPEN], *dev = device_longs(none, PTX_OPEN);
  ptx_open_in_c(dev);
  read_longs(y, dev, PTX_OPEN);
  for (int i = 0; i < PTX_OPEN; i++)
    if (y[i] != expected[i]) fail_msg("[%d] is %#jx, expected %#jx", i, (uintmax_t)y[i], (uintmax_t)expected[i]);
  device_end();
}

/* ---- what threads do together -------------------------------------------------------------------------------------------------------- */

static void ways_that_part_meet_again(void **state) {
  (void)state;
  int steps[PTX_THREADS];
  for (int t = 0; t < PTX_THREADS; t++) {
    steps[t] = 0;
    for (int n = t + 1; n != 1; n = n % 2 ? 3 * n + 1 : n / 2) steps[t]++;
  }
  uint64_t y[PTX_THREADS] = {0}, *dev = device_longs(y, PTX_THREADS);
  ptx_collatz(dev);
  read_longs(y, dev, PTX_THREADS);
  for (int t = 0; t < PTX_THREADS; t++) {
    int sum = 0;
    for (int other = t / 32 * 32; other < t / 32 * 32 + 32; other++) sum += steps[other] % 2 == 0 ? steps[other] : 0;
    assert_int_equal(y[t], steps[t] % 2 ? steps[t] : steps[t] + 1000 * sum);
  }
  device_end();
}

static void shuffles_stay_in_their_part(void **state) {
  (void)state;
  for (int width = 4; width <= 32; width *= 2)
    for (int distance = 0; distance < width; distance += 3)
      for (int down = 0; down < 2; down++) {
        uint64_t y[PTX_THREADS] = {0}, *dev = device_longs(y, PTX_THREADS);
        ptx_shuffle(down, distance, width, dev);
        read_longs(y, dev, PTX_THREADS);
        for (int t = 0; t < PTX_THREADS; t++) {
          int part = t / width * width, from = down ? (t + distance < part + width ? t + distance : t) : part + distance;
          assert_int_equal(y[t], from);
        }
        device_end();
      }
}

static void a_barrier_and_copies_order(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 8; seed++) {
    shim_seed(seed);
    for (int kernel = 0; kernel < 3; kernel++) {
      real x[FAULTY_SIZE];
      for (int i = 0; i < FAULTY_SIZE; i++) x[i] = (real)i;
      real *dev = device_from(x, FAULTY_SIZE);
      if (kernel == 0)
        sound_reverse(dev);
      else
        copy_reversed(kernel == 1 ? COPY_SOUND : COPY_SOUND_LARGE, dev);
      real *y = device_read(dev, FAULTY_SIZE);
      for (int i = 0; i < FAULTY_SIZE; i++) assert_true(y[i] == (real)(FAULTY_SIZE - 1 - i));
      free(y);
    }
    device_end();
  }
}

/* ---- counts -------------------------------------------------------------------------------------------------------------------------- */

/* One row of threads a warp: 256 bytes in 8 sectors asked for and written; 8 bytes further on there is a ninth. Columns of a square array
 * in shared memory lie in one bank. */
static void accesses_are_counted(void **state) {
  (void)state;
  static const uint64_t none[2 * PTX_THREADS];
  ptx_counts = true;
  for (int by = 0; by < 2; by++) {
    struct counts *c = ptx_counts_of("shifted"), before = *c;
    ptx_shift(by, device_longs(none, 2 * PTX_THREADS), device_longs(none, 2 * PTX_THREADS));
    assert_int_equal(c->launches - before.launches, 1);
    assert_int_equal(c->bytes - before.bytes, 2 * PTX_THREADS * 8);
    assert_int_equal(c->sectors - before.sectors, 2 * 2 * 8 + 2 * by);
    device_end();
  }
  for (int along = 0; along < 2; along++) {
    struct counts *c = ptx_counts_of("squared"), before = *c;
    ptx_square(along, device_longs(none, PTX_THREADS));
    assert_int_equal(c->accesses - before.accesses, 1);
    assert_int_equal(c->turns - before.turns, along ? 1 : 32);
    device_end();
  }
  ptx_counts = false;
}

/* ---- mistakes ------------------------------------------------------------------------------------------------------------------------ */

static void mistakes_are_reported(void **state) {
  (void)state;
  static const char *const words[PTX_MISTAKES] = {[PTX_READ_PAST_END] = "8 bytes at an address that is in no allocation",
                                                  [PTX_READ_PAST_SHARED] = "8 bytes at an address that is in no shared array",
                                                  [PTX_READ_HOST] = "8 bytes at an address that is in no allocation",
                                                  [PTX_ODD_ADDRESS] = "8 bytes at an address that is not aligned",
                                                  [PTX_BLOCK_TOO_LARGE] = "kernel bounded: 64 threads a block, and it was compiled for 32",
                                                  [PTX_UNKNOWN] = "not known here: ex2.approx"};
  static const uint64_t none[PTX_THREADS];
  for (int mistake = 0; mistake < PTX_MISTAKES; mistake++)
    ptx_mistaken((enum ptx_mistake)mistake, device_longs(none, PTX_THREADS)), was_reported(words[mistake]);
}

/* In whatever order they come: what was read first and is written then, too. */
static void races_are_reported(void **state) {
  (void)state;
  static const uint64_t none[PTX_THREADS];
  for (int i = 0; i < 64; i++) {
    shim_seed((uint64_t)i / 4);
    ptx_read_and_written(i % 2, i / 2 % 2, device_longs(none, PTX_THREADS));
    was_reported("in no order: device memory");
  }
}

/* The kernels with which the shim is tested, compiled by nvcc. */
static void mistakes_of_the_shims_kernels_are_reported(void **state) {
  (void)state;
  static const struct {
    void (*kernel)(float *);
    const char *words;
  } mistakes[] = {{faulty_partial_barrier, "a thread has ended, and others wait at a barrier"},
                  {faulty_different_barriers, "others wait at another barrier"},
                  {faulty_partial_shuffle, "not all lanes of its mask come here: only 0000ffff"},
                  {faulty_missing_barrier, "in no order: shared memory"},
                  {faulty_drifting_warps, "in no order: shared memory"},
                  {faulty_order_of_blocks, "in no order: device memory"},
                  {faulty_unwritten_shared, "what another one writes, in no order: device memory"}, /* two blocks in one place */
                  {faulty_host_pointer, "in no allocation"},
                  {faulty_grid, "cannot be launched"},
                  {faulty_assertion, "thread: [32] Assertion `at < FAULTY_SIZE` failed"},
                  {faulty_write_past_end, "4 bytes at an address that is in no allocation"},
                  {faulty_write_past_shared, "4 bytes at an address that is in no shared array"}};
  for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
    mistakes[i].kernel(device_reals(FAULTY_SIZE)), was_reported(mistakes[i].words);
}

static void mistakes_of_copies_are_reported(void **state) {
  (void)state;
  static const struct {
    enum copy_mistake mistake;
    const char *words;
  } mistakes[] = {{COPY_NO_WAIT, "a thread ends with copies in flight"},
                  {COPY_WAIT_FOR_ALL_BUT, "a thread ends with copies in flight"},
                  {COPY_NOT_COMMITTED, "a thread ends with copies in flight"},
                  {COPY_NO_BARRIER, "in no order: shared memory"},
                  {COPY_SHARED_MISALIGNED, "16 bytes at an address that is not aligned"},
                  {COPY_GLOBAL_MISALIGNED, "16 bytes at an address that is not aligned"},
                  {COPY_PAST_END, "16 bytes at an address that is in no allocation"},
                  {COPY_FROM_SHARED, "16 bytes at an address that is in no allocation"},
                  {COPY_TOO_LARGE, "65536 bytes of shared memory are asked for, and 49152 are allowed"},
                  {COPY_NONE_GIVEN, "in no shared array"}};
  for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
    copy_reversed(mistakes[i].mistake, device_reals(COPIED)), was_reported(mistakes[i].words);
}

/* ---- how tensor cores add ------------------------------------------------------------------------------------------------------------ */

/* Of one column, the others zero. */
static float summed(const char *core, int group, int depth, const float *a, const float *b, float c) {
  float wide[16][TENSOR_COLUMNS] = {{0}}, sums[TENSOR_COLUMNS] = {c};
  for (int k = 0; k < depth; k++) wide[k][0] = b[k];
  tensor_core_add(tensor_core_named(core), group, depth, a, (const float(*)[TENSOR_COLUMNS])wide, sums);
  return sums[0];
}

/* What GPUs gave; measured.c has the many. */
static void sums_are_cut_as_measured(void **state) {
  (void)state;
  /* Khattak and Mikaitis: 1.5 times 1.5 keeps the exponent of its operands, 2.25 times 1 has one more, and an A100 so loses the rest */
  const float products[] = {1.5f, 0x1p-23f, 0x1p-24f, 0x1p-24f}, as_they_are[] = {1.5f, 1, 1, 1},
              normal[] = {2.25f, 0x1p-23f, 0x1p-24f, 0x1p-24f}, ones[] = {1, 1, 1, 1};
  assert_true(summed("a100", 8, 4, products, as_they_are, 0) == 2.25f + 0x1p-22f);
  assert_true(summed("a100", 8, 4, normal, ones, 0) == 2.25f);
  /* the first line of the authors' files for an H200: bf16, 16 products */
  static const uint32_t a[] = {0x3f7a0000, 0x3f870000, 0xbea60000, 0x3fbf0000, 0xbf3d0000, 0x3ead0000, 0x3f800000, 0x3fe80000,
                               0x3f620000, 0x3f5d0000, 0xbf8c0000, 0x3eb30000, 0x3cf10000, 0x3e9c0000, 0x3f860000, 0x3f590000},
                        b[] = {0x3f190000, 0xbf260000, 0x3ed70000, 0x3e9d0000, 0xbff30000, 0x3ef20000, 0xbfc10000, 0xbf900000,
                               0x3dbf0000, 0xbf310000, 0xbf520000, 0x400e0000, 0xbc710000, 0x401e0000, 0x3e1c0000, 0xbea40000},
                        c = 0x3da2e4f3, d = 0x3de7e010;
  float x[16], y[16], start, end;
  memcpy(x, a, sizeof x), memcpy(y, b, sizeof y), memcpy(&start, &c, sizeof start), memcpy(&end, &d, sizeof end);
  assert_true(summed("h200", 16, 16, x, y, start) == end);
  assert_true(isnan(summed("h100", 16, 2, (const float[]){INFINITY, 1}, (const float[]){0, 1}, 0)));
  assert_null(tensor_core_named("k80"));
}

/* Of 1024 positive products in a chain: no more is lost than the oracle's class fp32-rz allows, L / 16 of 2^-23 (oracle/accept.h). */
static void a_sum_loses_no_more_than_its_class_allows(void **state) {
  (void)state;
  enum { CHAIN = 1024, SUMS = 50 };
  static const char *const cores[] = {"a100", "h100", "b200"};
  for (int i = 0; i < 3; i++) {
    const struct tensor_core *t = tensor_core_named(cores[i]);
    for (int sum = 0; sum < SUMS; sum++) {
      static float a[CHAIN], b[CHAIN][TENSOR_COLUMNS];
      struct philox draw = philox_stream((uint64_t)sum, PHILOX_TEST, 0, 0, 0);
      double exact = 0;
      float c[TENSOR_COLUMNS] = {0};
      for (int k = 0; k < CHAIN; k++) {
        a[k] = test_to_bf16((float)philox_uniform(&draw)), b[k][0] = test_to_bf16((float)philox_uniform(&draw));
        exact += (double)a[k] * (double)b[k][0];
      }
      tensor_core_add(t, t->bf16_group, CHAIN, a, (const float(*)[TENSOR_COLUMNS])b, c);
      double lost = exact - (double)c[0], allowed = CHAIN / 16 * 0x1p-23 * exact;
      if (!(lost >= 0 && lost <= allowed)) fail_msg("%s: %.3g lost, allowed %.3g", cores[i], lost, allowed);
    }
  }
}

/* ---- matrices ------------------------------------------------------------------------------------------------------------------------ */

static void mistakes_of_a_warp_are_reported(void **state) {
  (void)state;
  static const struct {
    bool half;
    enum product_mistake mistake;
    const char *words;
  } mistakes[] = {{false, PRODUCT_NOT_ROUNDED, "an operand of mma was not rounded to tf32"},
                  {true, PRODUCT_HALF_A_WARP, "not all lanes of its mask come here: only 0000ffff"},
                  {true, PRODUCT_TWO_THINGS, "not all lanes of its mask come here"},
                  {true, PRODUCT_MISALIGNED, "16 bytes at an address that is not aligned"}};
  for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
    multiply_mistaken(mistakes[i].half, mistakes[i].mistake), was_reported(mistakes[i].words);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(operations_have_the_bits_of_the_host),
                                     cmocka_unit_test(what_c_leaves_open_is_as_documented),
                                     cmocka_unit_test(ways_that_part_meet_again),
                                     cmocka_unit_test(shuffles_stay_in_their_part),
                                     cmocka_unit_test(a_barrier_and_copies_order),
                                     cmocka_unit_test(accesses_are_counted),
                                     cmocka_unit_test(mistakes_are_reported),
                                     cmocka_unit_test(races_are_reported),
                                     cmocka_unit_test(mistakes_of_the_shims_kernels_are_reported),
                                     cmocka_unit_test(mistakes_of_copies_are_reported),
                                     cmocka_unit_test(sums_are_cut_as_measured),
                                     cmocka_unit_test(a_sum_loses_no_more_than_its_class_allows),
                                     cmocka_unit_test(registers_are_where_they_are_documented),
                                     cmocka_unit_test(mistakes_of_a_warp_are_reported),
                                     cmocka_unit_test(warpgroups_multiply_however_tiles_lie),
                                     cmocka_unit_test(mistakes_of_warpgroups_are_reported),
                                     cmocka_unit_test(descriptors_that_are_not_known_are_reported),
                                     cmocka_unit_test(warpgroups_are_counted)};
  return cmocka_run_group_tests_name("cuda ptx", tests, NULL, NULL);
}
