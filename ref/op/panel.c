/* Compiled with -ffp-contract=fast (Makefile): the multiply-adds of the kernel are meant to be fused. */
#include "op/panel.h"

#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "base/vector.h"

/* The kernel keeps KERNEL_ROWS x 2 vectors of C in registers: with the two vectors of B and one broadcast element of A, 15 of the 16 that
 * AVX2 and SSE have, and 27 of AVX-512's 32. Loads are then fewer than multiply-adds, which are what limits. 64-bit ARM multiplies by an
 * element of a register, and gcc loads those of all rows first: 26 of its 32. */
#if defined(__AVX512F__)
enum { KERNEL_ROWS = 12 };
#elif defined(__aarch64__)
enum { KERNEL_ROWS = 8 };
#else
enum { KERNEL_ROWS = 6 };
#endif
enum {
  LANES = VECTOR_BYTES / sizeof(real),
  WIDTH = 2 * LANES, /* of a panel */
  PANEL_DEPTH = 256  /* rows of B a block: its part of a panel stays in the first-level cache, 224 rows of A in the second */
};
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real))));

_Static_assert(PANEL_ALIGN % WIDTH == 0, "columns are dealt out in whole panels");

ptrdiff_t panel_size(ptrdiff_t depth, ptrdiff_t columns) { return size_ceil_div(columns, WIDTH) * WIDTH * depth; }

/* Rows [from, to) of one panel, whose columns begin at b. */
static void pack_panel(const real *b, ptrdiff_t row, ptrdiff_t column, ptrdiff_t width, ptrdiff_t from, ptrdiff_t to, real *panel) {
  for (ptrdiff_t k = from; k < to; k++) {
    if (column == 1 && width == WIDTH) {
      memcpy(panel + k * WIDTH, b + k * row, WIDTH * sizeof(real));
      continue;
    }
    for (ptrdiff_t i = 0; i < width; i++) panel[k * WIDTH + i] = b[k * row + i * column];
    for (ptrdiff_t i = width; i < WIDTH; i++) panel[k * WIDTH + i] = 0;
  }
}

void panel_pack(ptrdiff_t depth, ptrdiff_t columns, const real *b, ptrdiff_t row, ptrdiff_t column, ptrdiff_t at, ptrdiff_t count,
                real *panels) {
  ptrdiff_t across = size_ceil_div(columns, WIDTH), down = size_ceil_div(count, PANEL_DEPTH), items = across * down;
#pragma omp parallel for schedule(static) if (items > 1)
  for (ptrdiff_t item = 0; item < items; item++) {
    ptrdiff_t j = item / down * WIDTH, from = item % down * PANEL_DEPTH;
    pack_panel(b + j * column, row, column, size_min(WIDTH, columns - j), from, size_min(from + PANEL_DEPTH, count),
               panels + j * depth + at * WIDTH);
  }
}

static inline vector load(const real *p) { return *(const vector *)p; }
static inline void store(real *p, vector v) { *(vector *)p = v; }

/* c (KERNEL_ROWS x WIDTH) (+)= a (KERNEL_ROWS x depth) b (depth x WIDTH). */
static __attribute__((noinline)) void kernel(ptrdiff_t depth, const real *a, ptrdiff_t lda, const real *b, bool add, real *c,
                                             ptrdiff_t ldc) {
  vector sum[KERNEL_ROWS][2];
#pragma GCC unroll 16
  for (int i = 0; i < KERNEL_ROWS; i++) sum[i][0] = sum[i][1] = (vector){0};
  for (ptrdiff_t k = 0; k < depth; k++, b += WIDTH) {
    vector b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 16
    for (int i = 0; i < KERNEL_ROWS; i++) {
      real element = a[i * lda + k];
      sum[i][0] += element * b0;
      sum[i][1] += element * b1;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < KERNEL_ROWS; i++) {
    real *ci = c + i * ldc;
    store(ci, add ? load(ci) + sum[i][0] : sum[i][0]);
    store(ci + LANES, add ? load(ci + LANES) + sum[i][1] : sum[i][1]);
  }
}

/* A block of C smaller than the kernel's: computed whole beside C, from rows that are repeated where A has none. */
static void kernel_edge(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const real *a, ptrdiff_t lda, const real *b, bool add, real *c,
                        ptrdiff_t ldc) {
  real block[KERNEL_ROWS * WIDTH], copy[KERNEL_ROWS * PANEL_DEPTH];
  if (rows < KERNEL_ROWS) {
    for (ptrdiff_t i = 0; i < KERNEL_ROWS; i++) memcpy(copy + i * depth, a + size_min(i, rows - 1) * lda, (size_t)depth * sizeof(real));
    a = copy, lda = depth;
  }
  kernel(depth, a, lda, b, false, block, WIDTH);
  for (ptrdiff_t i = 0; i < rows; i++)
    for (ptrdiff_t j = 0; j < columns; j++) c[i * ldc + j] = add ? c[i * ldc + j] + block[i * WIDTH + j] : block[i * WIDTH + j];
}

void panel_product(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const real *a, ptrdiff_t lda, const real *panels, ptrdiff_t first,
                   bool accumulate, real *c, ptrdiff_t ldc) {
  assert(first % WIDTH == 0 && depth > 0);
  for (ptrdiff_t k = 0; k < depth; k += PANEL_DEPTH) {
    ptrdiff_t block = size_min(PANEL_DEPTH, depth - k);
    bool add = accumulate || k > 0;
    for (ptrdiff_t j = 0; j < columns; j += WIDTH) {
      const real *b = panels + (first + j) * depth + k * WIDTH;
      ptrdiff_t width = size_min(WIDTH, columns - j);
      for (ptrdiff_t i = 0; i < rows; i += KERNEL_ROWS) {
        ptrdiff_t height = size_min(KERNEL_ROWS, rows - i);
        const real *ai = a + i * lda + k;
        real *ci = c + i * ldc + j;
        if (height == KERNEL_ROWS && width == WIDTH)
          kernel(block, ai, lda, b, add, ci, ldc);
        else
          kernel_edge(height, width, block, ai, lda, b, add, ci, ldc);
      }
    }
  }
}
