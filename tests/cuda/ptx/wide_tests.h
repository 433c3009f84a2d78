/* What test_ptx.c asks of a warpgroup's multiplications: warpgroup.cpp has the contract. */
#ifndef EDIY_TESTS_CUDA_PTX_WIDE_TESTS_H
#define EDIY_TESTS_CUDA_PTX_WIDE_TESTS_H

#include "cuda/ptx/counts.h"
#include "cuda/ptx/tensor_core.h"
#include "cuda/wide_products.h"

/* c, summed as the machine's tensor cores do. */
static void sum_wide(struct wide_numbers n, real *c) {
  const char *name = getenv("EDIY_PTX_CORE");
  const struct tensor_core *core = tensor_core_named(name ? name : "h100");
  memcpy(c, n.c, (size_t)(WIDE_ROWS * n.columns) * sizeof *c);
  for (int row = 0; row < WIDE_ROWS; row++)
    for (int column = 0; column < n.columns; column += TENSOR_COLUMNS)
      for (int k = 0; k < WIDE_DEPTH; k += 16) {
        float b[16][TENSOR_COLUMNS];
        for (int depth = 0; depth < 16; depth++) memcpy(b[depth], n.b + (k + depth) * n.columns + column, sizeof b[depth]);
        tensor_core_add(core, core->bf16_group, 16, n.a + row * WIDE_DEPTH + k, (const float(*)[TENSOR_COLUMNS])b,
                        c + row * n.columns + column);
      }
}

/* Integers: the exact sums; numbers at random: the sums of tensor cores. */
static void warpgroups_multiply_however_tiles_lie(void **state) {
  (void)state;
  static real expected[WIDE_ROWS * WIDE_COLUMNS], exact[WIDE_ROWS * WIDE_COLUMNS];
  for (int whole = 0; whole < 2; whole++)
    for (int columns = 64; columns <= WIDE_COLUMNS; columns *= 2) {
      struct wide_numbers n = wide_numbers(columns, whole);
      sum_wide(n, expected), sum_whole(n, exact);
      for (int i = 0; whole && i < WIDE_ROWS * columns; i++) assert_true(expected[i] == exact[i]);
      multiply_however_tiles_lie(n, expected);
      free_wide_numbers(n);
    }
}

static void mistakes_of_warpgroups_are_reported(void **state) {
  (void)state;
  static const char *const words[WIDE_MISTAKES] = {[WIDE_STORED_UNSHOWN] = "reads what was written without fence.proxy.async",
                                                   [WIDE_UNSHOWN] = "reads what was written without fence.proxy.async",
                                                   [WIDE_SHOWN_EARLY] = "reads what was written without fence.proxy.async",
                                                   [WIDE_SHOWN_BY_ONE] = "reads what was written without fence.proxy.async",
                                                   [WIDE_SHOWN_LATE] = "reads what was written without fence.proxy.async",
                                                   [WIDE_WRITTEN_AGAIN] = "reads what was written without fence.proxy.async",
                                                   [WIDE_NO_BARRIER] = "in no order: shared memory",
                                                   [WIDE_NO_FENCE] = "no wgmma.fence since the last wgmma.commit_group",
                                                   [WIDE_ONE_FENCE] = "no wgmma.fence since the last wgmma.commit_group",
                                                   [WIDE_NO_WAIT] = "a thread ends with multiplications that nobody waited for",
                                                   [WIDE_NOT_COMMITTED] = "a thread ends with multiplications that nobody waited for",
                                                   [WIDE_WAIT_FOR_ALL_BUT] = "a thread ends with multiplications that nobody waited for",
                                                   [WIDE_WRITTEN] = "an accumulator was written before it had been waited for",
                                                   [WIDE_SHIFTED] = "an accumulator belongs to the multiplication of line",
                                                   [WIDE_MOVED] = "an accumulator is a copy of one that was not waited for",
                                                   [WIDE_OVERWRITTEN] =
                                                       "shared memory changed under a multiplication that nobody waited for",
                                                   [WIDE_NO_BARRIER_BEHIND] = "in no order: shared memory",
                                                   [WIDE_HALF_A_WARP] = "not all lanes of its mask come here: only 0000ffff",
                                                   [WIDE_THREE_WARPS] = "there are no four whole warps for its warpgroup",
                                                   [WIDE_A_WARP_AWAY] = "the warps of a warpgroup have not multiplied the same",
                                                   [WIDE_A_WARP_APART] = "the warps of a warpgroup have not multiplied the same",
                                                   [WIDE_A_LANE_APART] = "lanes have different descriptors"};
  static real expected[WIDE_ROWS * 64];
  struct wide_numbers n = wide_numbers(64, false);
  sum_wide(n, expected);
  for (int i = 0; i < WIDE_MISTAKES * 4; i++) { /* whoever comes first */
    int mistake = i / 4;
    shim_seed((uint64_t)i);
    struct wide p = mistaken_wide(n, (enum wide_mistake)mistake, 0, 0);
    if (words[mistake]) {
      was_reported(words[mistake]);
      continue;
    }
    if (mistake != WIDE_READ_EARLY) assert_same_bits(p.c, expected, WIDE_ROWS * 64);
    real *c = device_read(p.c, WIDE_ROWS * 64);
    for (int e = 0; e < WIDE_ROWS * 64; e++) assert_true(mistake != WIDE_READ_EARLY || isnan(c[e]));
    free(c);
    device_end();
  }
  free_wide_numbers(n);
}

/* a lies along in 64 bytes: eight rows are 512 bytes; b across in 128: 1024. Their arrays are of 2 x 8 KiB. */
static void descriptors_that_are_not_known_are_reported(void **state) {
  (void)state;
  enum { START = 0, LEADING = 16, STRIDE = 32, BASE = 49, SWIZZLE = 62 };
#define BYTES(n, field) ((uint64_t)((n) / 16) << (field))
  static const struct {
    uint64_t add_a, add_b;
    const char *words;                         /* null: is known */
  } cases[] = {{BYTES(512, LEADING), 0, NULL}, /* is not used */
               {(uint64_t)1 << 14, 0, "a descriptor that is not known here"},
               {(uint64_t)1 << 47, 0, "a descriptor that is not known here"},
               {(uint64_t)1 << BASE, 0, "a descriptor that is not known here"},
               {(uint64_t)1 << 53, 0, "a descriptor that is not known here"},
               {(uint64_t)1 << SWIZZLE, 0, "a descriptor that is not known here"}, /* 2 + 1: of 32 bytes */
               {(uint64_t)2 << SWIZZLE, 0, "a descriptor that is not known here"}, /* 2 + 2: none */
               {BYTES(48, START), 0, "a tile begins inside of a swizzle's 512 bytes"},
               {BYTES(256, START), 0, "a tile begins inside of a swizzle's 512 bytes"},
               {0, BYTES(16, START), "a tile begins inside of a swizzle's 1024 bytes"},
               {0, BYTES(512, START), "a tile begins inside of a swizzle's 1024 bytes"},
               {BYTES(64, STRIDE), 0, "no multiples of a swizzle's 512"},
               {0, BYTES(512, STRIDE), "no multiples of a swizzle's 1024"},
               {0, BYTES(512, LEADING), "no multiples of a swizzle's 1024"},
               {BYTES(0x20000, START), 0, "an operand begins in no shared array"},
               {BYTES(17408 - 512, STRIDE), 0, "an operand goes beyond the shared array that it begins in"}, /* from a's to b's */
               {0, BYTES(16384, STRIDE), "an operand goes beyond the shared array that it begins in"}};
#undef BYTES
  struct wide_numbers n = wide_numbers(64, true);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    mistaken_wide(n, WIDE_SOUND, cases[i].add_a, cases[i].add_b);
    if (cases[i].words)
      was_reported(cases[i].words);
    else
      device_end();
  }
  free_wide_numbers(n);
}

static void warpgroups_are_counted(void **state) {
  (void)state;
  struct wide_numbers n = wide_numbers(64, true);
  struct counts *c = ptx_counts_of("multiply<sound_shape>"), before = *c;
  ptx_counts = true;
  mistaken_wide(n, WIDE_SOUND, 0, 0);
  ptx_counts = false;
  assert_int_equal(c->launches - before.launches, 1);
  assert_int_equal(c->mma - before.mma, 4 * WIDE_SLABS * 2 * 64 / 8);
  free_wide_numbers(n);
  device_end();
}

#endif
