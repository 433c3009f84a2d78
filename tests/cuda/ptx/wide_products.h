/* What test_ptx.c asks of a warpgroup's multiplications: kernels.h has the kernels, warpgroup.cpp the contract. */
#ifndef EDIY_TESTS_CUDA_PTX_WIDE_PRODUCTS_H
#define EDIY_TESTS_CUDA_PTX_WIDE_PRODUCTS_H

#include "cuda/device.h"
#include "cuda/ptx/counts.h"
#include "cuda/ptx/kernels.h"
#include "cuda/ptx/tensor_core.h"
#include "cuda/reported.h"

enum { WIDE_SLABS = 5, WIDE_DEPTH = WIDE_SLABS * PTX_SLAB, WIDE_COLUMNS = 128 };

/* Numbers in bf16; a is [row][depth], b [depth][column]. */
struct wide_numbers {
  int columns;
  real *a, *b, *c;
};

static inline struct wide_numbers wide_numbers(int columns, bool whole) {
  struct wide_numbers n = {columns, NULL, NULL, NULL};
  int count[] = {PTX_WIDE_ROWS * WIDE_DEPTH, WIDE_DEPTH * columns, PTX_WIDE_ROWS * columns};
  real **all[] = {&n.a, &n.b, &n.c};
  for (int i = 0; i < 3; i++) {
    *all[i] = whole ? test_ints(count[i], 8, (uint32_t)i) : test_normal(count[i], (uint32_t)i);
    if (i < 2) test_round_to_bf16(*all[i], count[i]);
  }
  return n;
}
static inline void free_wide_numbers(struct wide_numbers n) { free(n.a), free(n.b), free(n.c); }

/* rows x columns the other way round, in bf16 in device memory. */
static inline void *device_transposed(const real *x, int rows, int columns) {
  real *y = test_reals((ptrdiff_t)rows * columns);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
  void *p = device_from_bf16(y, (ptrdiff_t)rows * columns);
  free(y);
  return p;
}

static inline struct ptx_wide device_wide(struct wide_numbers n, enum ptx_lie a_lies, enum ptx_lie b_lies) {
  bool along_a = a_lies == PTX_ALONG_64 || a_lies == PTX_ALONG_128, along_b = b_lies == PTX_ALONG_64 || b_lies == PTX_ALONG_128;
  struct ptx_wide p = {n.columns, WIDE_SLABS, a_lies, b_lies, NULL, NULL, device_from(n.c, PTX_WIDE_ROWS * n.columns)};
  p.a = along_a ? device_from_bf16(n.a, PTX_WIDE_ROWS * WIDE_DEPTH) : device_transposed(n.a, PTX_WIDE_ROWS, WIDE_DEPTH);
  p.b = along_b ? device_transposed(n.b, WIDE_DEPTH, n.columns) : device_from_bf16(n.b, WIDE_DEPTH * n.columns);
  return p;
}

/* c, summed as the machine's tensor cores do. */
static inline void sum_wide(struct wide_numbers n, real *c) {
  const char *name = getenv("EDIY_PTX_CORE");
  const struct tensor_core *core = tensor_core_named(name ? name : "h100");
  memcpy(c, n.c, (size_t)(PTX_WIDE_ROWS * n.columns) * sizeof *c);
  for (int row = 0; row < PTX_WIDE_ROWS; row++)
    for (int column = 0; column < n.columns; column += TENSOR_COLUMNS)
      for (int k = 0; k < WIDE_DEPTH; k += 16) {
        float b[16][TENSOR_COLUMNS];
        for (int depth = 0; depth < 16; depth++) memcpy(b[depth], n.b + (k + depth) * n.columns + column, sizeof b[depth]);
        tensor_core_add(core, core->bf16_group, 16, n.a + row * WIDE_DEPTH + k, (const float(*)[TENSOR_COLUMNS])b,
                        c + row * n.columns + column);
      }
}

/* Integers: the exact sums; numbers at random: the sums of tensor cores to the bit. */
static void warpgroups_multiply_however_tiles_lie(void **state) {
  (void)state;
  static real expected[PTX_WIDE_ROWS * WIDE_COLUMNS];
  for (int whole = 0; whole < 2; whole++)
    for (int columns = 64; columns <= WIDE_COLUMNS; columns *= 2) {
      struct wide_numbers n = wide_numbers(columns, whole);
      sum_wide(n, expected);
      for (int i = 0; whole && i < PTX_WIDE_ROWS * columns; i++) {
        double sum = (double)n.c[i];
        for (int k = 0; k < WIDE_DEPTH; k++) sum += (double)n.a[i / columns * WIDE_DEPTH + k] * (double)n.b[k * columns + i % columns];
        assert_true((double)expected[i] == sum);
      }
      for (int lies = 0; lies < PTX_LIES * PTX_LIES; lies++) {
        shim_seed((uint64_t)lies);
        struct ptx_wide p = device_wide(n, (enum ptx_lie)(lies / PTX_LIES), (enum ptx_lie)(lies % PTX_LIES));
        ptx_wide(&p);
        assert_same_bits(p.c, expected, PTX_WIDE_ROWS * columns);
        device_end();
      }
      free_wide_numbers(n);
    }
}

static struct ptx_wide mistaken_wide(struct wide_numbers n, enum ptx_wide_mistake mistake, uint64_t add_a, uint64_t add_b) {
  struct ptx_wide p = device_wide(n, PTX_ALONG_64, PTX_ACROSS_128);
  ptx_wide_mistaken(mistake, &p, add_a, add_b);
  return p;
}

static void mistakes_of_warpgroups_are_reported(void **state) {
  (void)state;
  static const char *const words[PTX_WIDE_MISTAKES] = {
      [PTX_WIDE_STORED_UNSHOWN] = "reads what was written without fence.proxy.async",
      [PTX_WIDE_UNSHOWN] = "reads what was written without fence.proxy.async",
      [PTX_WIDE_SHOWN_EARLY] = "reads what was written without fence.proxy.async",
      [PTX_WIDE_SHOWN_BY_ONE] = "reads what was written without fence.proxy.async",
      [PTX_WIDE_SHOWN_LATE] = "reads what was written without fence.proxy.async",
      [PTX_WIDE_WRITTEN_AGAIN] = "reads what was written without fence.proxy.async",
      [PTX_WIDE_NO_BARRIER] = "in no order: shared memory",
      [PTX_WIDE_NO_FENCE] = "no wgmma.fence since the last wgmma.commit_group",
      [PTX_WIDE_ONE_FENCE] = "no wgmma.fence since the last wgmma.commit_group",
      [PTX_WIDE_NO_WAIT] = "a thread ends with multiplications that nobody waited for",
      [PTX_WIDE_NOT_COMMITTED] = "a thread ends with multiplications that nobody waited for",
      [PTX_WIDE_WAIT_FOR_ALL_BUT] = "a thread ends with multiplications that nobody waited for",
      [PTX_WIDE_WRITTEN] = "an accumulator was written before it had been waited for",
      [PTX_WIDE_SHIFTED] = "an accumulator belongs to the multiplication of line",
      [PTX_WIDE_MOVED] = "an accumulator is a copy of one that was not waited for",
      [PTX_WIDE_OVERWRITTEN] = "shared memory changed under a multiplication that nobody waited for",
      [PTX_WIDE_NO_BARRIER_BEHIND] = "in no order: shared memory",
      [PTX_WIDE_HALF_A_WARP] = "not all lanes of its mask come here: only 0000ffff",
      [PTX_WIDE_THREE_WARPS] = "there are no four whole warps for its warpgroup",
      [PTX_WIDE_A_WARP_AWAY] = "the warps of a warpgroup have not multiplied the same",
      [PTX_WIDE_A_WARP_APART] = "the warps of a warpgroup have not multiplied the same",
      [PTX_WIDE_A_LANE_APART] = "lanes have different descriptors"};
  static real expected[PTX_WIDE_ROWS * 64];
  struct wide_numbers n = wide_numbers(64, false);
  sum_wide(n, expected);
  for (int i = 0; i < PTX_WIDE_MISTAKES * 4; i++) { /* whoever comes first */
    int mistake = i / 4;
    shim_seed((uint64_t)i);
    struct ptx_wide p = mistaken_wide(n, (enum ptx_wide_mistake)mistake, 0, 0);
    if (words[mistake]) {
      was_reported(words[mistake]);
      continue;
    }
    if (mistake != PTX_WIDE_READ_EARLY) assert_same_bits(p.c, expected, PTX_WIDE_ROWS * 64);
    real *c = device_read(p.c, PTX_WIDE_ROWS * 64);
    for (int e = 0; e < PTX_WIDE_ROWS * 64; e++) assert_true(mistake != PTX_WIDE_READ_EARLY || isnan(c[e]));
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
    mistaken_wide(n, PTX_WIDE_SOUND, cases[i].add_a, cases[i].add_b);
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
  mistaken_wide(n, PTX_WIDE_SOUND, 0, 0);
  ptx_counts = false;
  assert_int_equal(c->launches - before.launches, 1);
  assert_int_equal(c->mma - before.mma, 4 * WIDE_SLABS * 2 * 64 / 8);
  free_wide_numbers(n);
  device_end();
}

#endif
