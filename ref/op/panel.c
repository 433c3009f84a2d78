/* Compiled with -ffp-contract=fast (Makefile): the multiply-adds of the kernel are meant to be fused. */
#include "op/panel.h"

#include <assert.h>
#include <stdint.h>
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
  CACHE_LINE = 64, /* bytes */
  LANES = VECTOR_BYTES / sizeof(real),
  WIDTH = 2 * LANES,            /* of a panel */
  PANEL_DEPTH = 256,            /* rows of B a block: its part of a panel stays in the first-level cache, 224 rows of A in the second */
  PACK_ROWS = 16,               /* rows of a panel laid out at a time, where its columns are apart: a cache line of each */
  CROWDED = 4096,               /* bytes: rows this far apart share one set of most processors' first-level cache */
  COPY_APART = PANEL_DEPTH + 16 /* reals between rows that are copied out of a crowd */
};
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real))));

_Static_assert(PANEL_ALIGN % WIDTH == 0, "columns are dealt out in whole panels");

ptrdiff_t panel_size(ptrdiff_t depth, ptrdiff_t columns) { return size_ceil_div(columns, WIDTH) * WIDTH * depth; }

/* Rows [from, to) of one panel, whose columns begin at b. */
static void pack_panel(const real *b, ptrdiff_t row, ptrdiff_t column, ptrdiff_t width, ptrdiff_t from, ptrdiff_t to, real *panel) {
  if (column == 1 && width == WIDTH) {
    for (ptrdiff_t k = from; k < to; k++) memcpy(panel + k * WIDTH, b + k * row, WIDTH * sizeof(real));
    return;
  }
  for (ptrdiff_t first = from; first < to; first += PACK_ROWS) {
    ptrdiff_t end = size_min(first + PACK_ROWS, to);
    for (ptrdiff_t i = 0; i < width; i++) {
      if (row == 1) __builtin_prefetch(b + size_min(end + PACK_ROWS - 1, to - 1) + i * column);
      for (ptrdiff_t k = first; k < end; k++) panel[k * WIDTH + i] = b[k * row + i * column];
    }
    for (ptrdiff_t k = first; k < end; k++)
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

ptrdiff_t panel_rows_rounded(ptrdiff_t rows) { return size_ceil_div(rows, KERNEL_ROWS) * KERNEL_ROWS; }

/* c (KERNEL_ROWS x WIDTH) (+)= elements [from, from + depth) of the first rows of a times b (depth x WIDTH). Meanwhile as many cache lines
 * from `ahead` on are brought near, if it is not null. */
static inline __attribute__((always_inline)) void multiply(ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                                                           bool add, real *c, ptrdiff_t ldc, const char *ahead) {
  vector sum[KERNEL_ROWS][2];
#pragma GCC unroll 16
  for (int i = 0; i < KERNEL_ROWS; i++) {
    sum[i][0] = sum[i][1] = (vector){0};
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + LANES, 1);
  }
  const real *const *at = a->at + from / a->length * a->stride;
  for (ptrdiff_t first = from % a->length; depth > 0; first = 0, at += a->stride) {
    const real *row[KERNEL_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < KERNEL_ROWS; i++) row[i] = at[i] + first;
    ptrdiff_t run = size_min(a->length - first, depth);
    for (ptrdiff_t k = 0; k < run; k++, b += WIDTH) {
      if (ahead) __builtin_prefetch(ahead), ahead += CACHE_LINE;
      vector b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 16
      for (int i = 0; i < KERNEL_ROWS; i++) {
        real element = row[i][k];
        sum[i][0] += element * b0;
        sum[i][1] += element * b1;
      }
    }
    depth -= run;
  }
#pragma GCC unroll 16
  for (int i = 0; i < KERNEL_ROWS; i++) {
    real *ci = c + i * ldc;
    store(ci, add ? load(ci) + sum[i][0] : sum[i][0]);
    store(ci + LANES, add ? load(ci + LANES) + sum[i][1] : sum[i][1]);
  }
}

/* Both forms of it: a branch in the loop would cost more than a twentieth of its speed. */
static __attribute__((noinline)) void kernel(ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b, bool add, real *c,
                                             ptrdiff_t ldc) {
  multiply(from, depth, a, b, add, c, ldc, NULL);
}
static __attribute__((noinline)) void kernel_ahead(ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b, bool add,
                                                   real *c, ptrdiff_t ldc, const char *ahead) {
  multiply(from, depth, a, b, add, c, ldc, ahead);
}

/* The same for a block of rows x columns, which may be less than the kernel's: then it is computed whole beside C. */
static void block_product(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                          bool add, real *c, ptrdiff_t ldc, const char *ahead) {
  if (rows == KERNEL_ROWS && columns == WIDTH) {
    if (ahead)
      kernel_ahead(from, depth, a, b, add, c, ldc, ahead);
    else
      kernel(from, depth, a, b, add, c, ldc);
    return;
  }
  real block[KERNEL_ROWS * WIDTH];
  kernel(from, depth, a, b, false, block, WIDTH);
  for (ptrdiff_t i = 0; i < rows; i++)
    for (ptrdiff_t j = 0; j < columns; j++) c[i * ldc + j] = add ? c[i * ldc + j] + block[i * WIDTH + j] : block[i * WIDTH + j];
}

/* Rows of the kernel's block at row i. */
static struct panel_rows rows_from(const struct panel_rows *a, ptrdiff_t i) {
  return (struct panel_rows){.at = a->at + i, .stride = a->stride, .length = a->length};
}

static ptrdiff_t rows_apart(const struct panel_rows *a) { return (ptrdiff_t)((uintptr_t)a->at[1] - (uintptr_t)a->at[0]); }

/* One block of depth of the product, panel by panel. For the first panel rows of A come from afar: while a block of them is multiplied, the
 * next is asked for. */
static void by_panels(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                      ptrdiff_t panel, bool add, real *c, ptrdiff_t ldc) {
  for (ptrdiff_t j = 0; j < columns; j += WIDTH, b += panel)
    for (ptrdiff_t i = 0; i < rows; i += KERNEL_ROWS) {
      struct panel_rows block = rows_from(a, i);
      const char *ahead = NULL;
      if (j == 0 && i + KERNEL_ROWS < rows) ahead = (const char *)(block.at[from / a->length * a->stride + KERNEL_ROWS] + from % a->length);
      block_product(size_min(KERNEL_ROWS, rows - i), size_min(WIDTH, columns - j), from, depth, &block, b, add, c + i * ldc + j, ldc,
                    ahead);
    }
}

/* The same where the kernel's rows would put each other out of the nearest cache: each block of them is copied and meets all panels. */
static void by_rows(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                    ptrdiff_t panel, bool add, real *c, ptrdiff_t ldc) {
  real copy[KERNEL_ROWS * COPY_APART];
  const real *at[KERNEL_ROWS];
  const struct panel_rows block = {.at = at, .stride = KERNEL_ROWS, .length = depth};
  for (ptrdiff_t i = 0; i < rows; i += KERNEL_ROWS) {
    for (ptrdiff_t l = 0; l < KERNEL_ROWS; l++) {
      at[l] = copy + l * COPY_APART;
      memcpy(copy + l * COPY_APART, a->at[i + l] + from, (size_t)depth * sizeof(real));
    }
    for (ptrdiff_t j = 0; j < columns; j += WIDTH)
      block_product(size_min(KERNEL_ROWS, rows - i), size_min(WIDTH, columns - j), 0, depth, &block, b + j / WIDTH * panel, add,
                    c + i * ldc + j, ldc, NULL);
  }
}

void panel_product(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const struct panel_rows *a, const real *panels, ptrdiff_t first,
                   bool accumulate, real *c, ptrdiff_t ldc) {
  assert(first % WIDTH == 0 && depth > 0);
  bool crowded = a->length == depth && depth > PANEL_DEPTH && rows_apart(a) % CROWDED == 0;
  for (ptrdiff_t k = 0; k < depth; k += PANEL_DEPTH)
    (crowded ? by_rows : by_panels)(rows, columns, k, size_min(PANEL_DEPTH, depth - k), a, panels + first * depth + k * WIDTH,
                                    WIDTH * depth, accumulate || k > 0, c, ldc);
}
