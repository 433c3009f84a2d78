/* Products of a warpgroup (faulty_warpgroup.h) and their operands: for the tests of whatever runs them. */
#ifndef EDIY_TESTS_CUDA_WIDE_PRODUCTS_H
#define EDIY_TESTS_CUDA_WIDE_PRODUCTS_H

#include "cuda/device.h"
#include "cuda/faulty_warpgroup.h"
#include "cuda/reported.h"

enum { WIDE_SLABS = 5, WIDE_DEPTH = WIDE_SLABS * WIDE_SLAB, WIDE_COLUMNS = 128 };

/* Numbers in bf16; a is [row][depth], b [depth][column]. */
struct wide_numbers {
  int columns;
  real *a, *b, *c;
};

static inline struct wide_numbers wide_numbers(int columns, bool whole) {
  struct wide_numbers n = {columns, NULL, NULL, NULL};
  int count[] = {WIDE_ROWS * WIDE_DEPTH, WIDE_DEPTH * columns, WIDE_ROWS * columns};
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

static inline struct wide device_wide(struct wide_numbers n, enum lies a_lies, enum lies b_lies) {
  bool along_a = a_lies == LIES_ALONG_64 || a_lies == LIES_ALONG_128, along_b = b_lies == LIES_ALONG_64 || b_lies == LIES_ALONG_128;
  struct wide p = {n.columns, WIDE_SLABS, a_lies, b_lies, NULL, NULL, device_from(n.c, WIDE_ROWS * n.columns)};
  p.a = along_a ? device_from_bf16(n.a, WIDE_ROWS * WIDE_DEPTH) : device_transposed(n.a, WIDE_ROWS, WIDE_DEPTH);
  p.b = along_b ? device_transposed(n.b, WIDE_DEPTH, n.columns) : device_from_bf16(n.b, WIDE_DEPTH * n.columns);
  return p;
}

/* LIES_ALONG_64, LIES_ACROSS_128. */
static inline struct wide mistaken_wide(struct wide_numbers n, enum wide_mistake mistake, uint64_t add_a, uint64_t add_b) {
  struct wide p = device_wide(n, LIES_ALONG_64, LIES_ACROSS_128);
  multiply_wide_mistaken(mistake, &p, add_a, add_b);
  return p;
}

/* c + a b, of integers: exact. */
static inline void sum_whole(struct wide_numbers n, real *c) {
  for (int i = 0; i < WIDE_ROWS * n.columns; i++) {
    double sum = (double)n.c[i];
    for (int k = 0; k < WIDE_DEPTH; k++) sum += (double)n.a[i / n.columns * WIDE_DEPTH + k] * (double)n.b[k * n.columns + i % n.columns];
    c[i] = (real)sum;
  }
}

/* Whatever swizzle the operands have: these sums, to the bit. */
static inline void multiply_however_tiles_lie(struct wide_numbers n, const real *expected) {
  for (int lies = 0; lies < LIES * LIES; lies++) {
    shim_seed((uint64_t)lies);
    struct wide p = device_wide(n, (enum lies)(lies / LIES), (enum lies)(lies % LIES));
    multiply_wide(&p);
    assert_same_bits(p.c, expected, WIDE_ROWS * n.columns);
    device_end();
  }
}

#endif
