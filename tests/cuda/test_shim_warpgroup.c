/* The shim's multiplications by warpgroups: operands and sums are where the PTX ISA has them, and kernels that are wrong on purpose come
 * out wrong or are reported. The launches that fail say so on standard error. */
#include <math.h>

#include "cuda/wide_products.h"

/* Integers: exact in any order. */
static void operands_are_where_they_are_documented(void **state) {
  (void)state;
  static real exact[WIDE_ROWS * WIDE_COLUMNS];
  for (int columns = 64; columns <= WIDE_COLUMNS; columns *= 2) {
    struct wide_numbers n = wide_numbers(columns, true);
    sum_whole(n, exact);
    multiply_however_tiles_lie(n, exact);
    free_wide_numbers(n);
  }
}

/* Null: is not reported. What differs between a warp's own way to memory and that of tensor cores, and between the warps of a group, the
 * shim does not know. */
static void mistakes_are_reported(void **state) {
  (void)state;
  static const char ended[] = "a thread ends with 4 multiplications that it has not waited for";
  static const struct {
    enum wide_mistake mistake;
    const char *words;
  } mistakes[] = {{WIDE_NO_FENCE, "multiply_tiles: no begin_products before the first of a group"},
                  {WIDE_ONE_FENCE, "multiply_tiles: no begin_products before the first of a group"},
                  {WIDE_NO_WAIT, ended},
                  {WIDE_NOT_COMMITTED, "a thread ends with 2 multiplications"},
                  {WIDE_WAIT_FOR_ALL_BUT, "a thread ends with 2 multiplications"},
                  {WIDE_OVERWRITTEN, "shared memory changed under a multiplication that nobody had waited for"},
                  {WIDE_HALF_A_WARP, "multiply_tiles with mask ffffffff is reached by lanes 0000ffff only"},
                  {WIDE_THREE_WARPS, "multiply_tiles: not whole warpgroups"},
                  {WIDE_A_LANE_APART, "multiply_tiles: lanes differ in their operands"},
                  {WIDE_STORED, NULL}};
  static real exact[WIDE_ROWS * 64];
  struct wide_numbers n = wide_numbers(64, true);
  sum_whole(n, exact);
  for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++)
    for (uint64_t seed = 0; seed < 4; seed++) { /* whoever comes first */
      shim_seed(seed);
      struct wide p = mistaken_wide(n, mistakes[i].mistake, 0, 0);
      if (mistakes[i].words) {
        was_reported(mistakes[i].words);
        continue;
      }
      assert_same_bits(p.c, exact, WIDE_ROWS * 64);
      device_end();
    }
  free_wide_numbers(n);
}

/* Sums that are looked at, added to elsewhere or copied before they have been waited for, and operands that nobody has waited for. */
static void what_is_not_waited_for_comes_out_wrong(void **state) {
  (void)state;
  static const enum wide_mistake mistakes[] = {WIDE_READ_EARLY, WIDE_SHIFTED, WIDE_MOVED, WIDE_NO_BARRIER};
  static real exact[WIDE_ROWS * 64];
  struct wide_numbers n = wide_numbers(64, true);
  sum_whole(n, exact);
  for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
    struct wide p = mistaken_wide(n, mistakes[i], 0, 0);
    int wrong = shim_failure()[0] != 0; /* or is reported: what a thread still copies may change what another one multiplies */
    shim_clear();
    real *c = device_read(p.c, WIDE_ROWS * 64);
    for (int e = 0; e < WIDE_ROWS * 64; e++) {
      wrong += !(c[e] == exact[e]);
      assert_true(mistakes[i] != WIDE_READ_EARLY || isnan(c[e]));
    }
    assert_true(wrong > 0);
    free(c);
    device_end();
  }
  free_wide_numbers(n);
}

/* a lies along in 64 bytes, in an array of 16 KiB. */
static void descriptors_that_are_not_known_are_reported(void **state) {
  (void)state;
  static const struct {
    uint64_t add_a, add_b;
    const char *words;
  } cases[] = {{(uint64_t)1 << 14, 0, "a descriptor that is not known here"},
               {(uint64_t)1 << 49, 0, "a descriptor that is not known here"},
               {(uint64_t)1 << 62, 0, "a descriptor that is not known here"}, /* 2 + 1: of 32 bytes */
               {0, (uint64_t)0x3000, "a descriptor that is not known here"},  /* begins nowhere */
               {(uint64_t)0x200 << 32, 0, "a descriptor leads out of its shared array"}};
  struct wide_numbers n = wide_numbers(64, true);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    mistaken_wide(n, WIDE_SOUND, cases[i].add_a, cases[i].add_b), was_reported(cases[i].words);
  free_wide_numbers(n);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(operands_are_where_they_are_documented), cmocka_unit_test(mistakes_are_reported),
                                     cmocka_unit_test(what_is_not_waited_for_comes_out_wrong),
                                     cmocka_unit_test(descriptors_that_are_not_known_are_reported)};
  return cmocka_run_group_tests_name("cuda shim warpgroup", tests, NULL, NULL);
}
