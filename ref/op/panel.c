#include "op/panel.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/size.h"
#include "base/vector.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

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
  KERNEL_FEW = 4,               /* rows of the second kernel of A^T B, for the rows that the first leaves over */
  PACK_ROWS = 16,               /* rows of a panel laid out at a time, where its columns are apart: a cache line of each */
  CROWDED = 4096,               /* bytes: rows this far apart share one set of most processors' first-level cache */
  COPY_APART = PANEL_DEPTH + 16 /* reals between rows that are copied out of a crowd */
};
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real))));

_Static_assert(PANEL_ALIGN % WIDTH == 0, "columns are dealt out in whole panels");
_Static_assert((int)KERNEL_ROWS <= (int)PANEL_ROWS_MOST, "callers leave room for pointers behind the last row");

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

/* a b + c in every lane, rounded once; twice on a processor that has no such instruction. */
static inline vector multiply_add(real a, vector b, vector c) {
#if defined(__AVX512F__) && EDIY_REAL_BITS == 32
  return (vector)_mm512_fmadd_ps(_mm512_set1_ps(a), (__m512)b, (__m512)c);
#elif defined(__AVX512F__)
  return (vector)_mm512_fmadd_pd(_mm512_set1_pd(a), (__m512d)b, (__m512d)c);
#elif defined(__AVX__) && defined(__FMA__) && EDIY_REAL_BITS == 32
  return (vector)_mm256_fmadd_ps(_mm256_set1_ps(a), (__m256)b, (__m256)c);
#elif defined(__AVX__) && defined(__FMA__)
  return (vector)_mm256_fmadd_pd(_mm256_set1_pd(a), (__m256d)b, (__m256d)c);
#elif defined(__aarch64__) && EDIY_REAL_BITS == 32
  return (vector)vfmaq_n_f32((float32x4_t)c, (float32x4_t)b, a);
#elif defined(__aarch64__)
  return (vector)vfmaq_n_f64((float64x2_t)c, (float64x2_t)b, a);
#else
  return a * b + c;
#endif
}

static inline vector load(const real *p) { return *(const vector *)p; }
static inline void store(real *p, vector v) { *(vector *)p = v; }

ptrdiff_t panel_rows_rounded(ptrdiff_t rows) { return size_ceil_div(rows, KERNEL_ROWS) * KERNEL_ROWS; }

/* c (rows x WIDTH) from elements [from, from + depth) of the first rows of a, `step` reals apart, times b (depth x WIDTH). Meanwhile
 * `depth` cache lines from `ahead` on are prefetched, unless it is null. rows and step are constants wherever this is called. */
static inline __attribute__((always_inline)) void multiply(int rows, ptrdiff_t step, ptrdiff_t from, ptrdiff_t depth,
                                                           const struct panel_rows *a, const real *b, enum panel_into into, real *c,
                                                           ptrdiff_t ldc, const char *ahead) {
  vector sum[KERNEL_ROWS][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
    sum[i][0] = sum[i][1] = (vector){0};
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + LANES, 1);
  }
  if (into == PANEL_GO_ON) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) sum[i][0] = load(c + i * ldc), sum[i][1] = load(c + i * ldc + LANES);
  }
  const real *const *at = a->at + from / a->length * a->stride;
  for (ptrdiff_t first = from % a->length; depth > 0; first = 0, at += a->stride) {
    const real *row[KERNEL_ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) row[i] = at[i] + first * step;
    ptrdiff_t run = size_min(a->length - first, depth);
    for (ptrdiff_t k = 0; k < run; k++, b += WIDTH) {
      if (ahead) __builtin_prefetch(ahead), ahead += CACHE_LINE;
      vector b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 16
      for (int i = 0; i < rows; i++) {
        real element = row[i][k * step];
        sum[i][0] = multiply_add(element, b0, sum[i][0]);
        sum[i][1] = multiply_add(element, b1, sum[i][1]);
      }
    }
    depth -= run;
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
    real *ci = c + i * ldc;
    store(ci, into == PANEL_ADD ? load(ci) + sum[i][0] : sum[i][0]);
    store(ci + LANES, into == PANEL_ADD ? load(ci + LANES) + sum[i][1] : sum[i][1]);
  }
}

/* Without and with prefetching: a test of `ahead` in the loop would cost more than a twentieth of its speed. */
static __attribute__((noinline)) void kernel(ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                                             enum panel_into into, real *c, ptrdiff_t ldc) {
  multiply(KERNEL_ROWS, 1, from, depth, a, b, into, c, ldc, NULL);
}
static __attribute__((noinline)) void kernel_ahead(ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                                                   enum panel_into into, real *c, ptrdiff_t ldc, const char *ahead) {
  multiply(KERNEL_ROWS, 1, from, depth, a, b, into, c, ldc, ahead);
}

/* The same of `height` rows of A that `transpose` has laid side by side: element k of row i is a[k * height + i]. */
static inline __attribute__((always_inline)) void multiply_transposed(int height, ptrdiff_t depth, const real *a, const real *b,
                                                                      enum panel_into into, real *c) {
  const real *at[KERNEL_ROWS];
  for (int i = 0; i < height; i++) at[i] = a + i;
  const struct panel_rows rows = {.at = at, .stride = height, .length = depth};
  multiply(height, height, 0, depth, &rows, b, into, c, WIDTH, NULL);
}
static __attribute__((noinline)) void kernel_transposed(ptrdiff_t depth, const real *a, const real *b, enum panel_into into, real *c) {
  multiply_transposed(KERNEL_ROWS, depth, a, b, into, c);
}
static __attribute__((noinline)) void kernel_transposed_few(ptrdiff_t depth, const real *a, const real *b, enum panel_into into, real *c) {
  multiply_transposed(KERNEL_FEW, depth, a, b, into, c);
}

/* The product for a block of rows x columns. One that is smaller than the kernel's is computed whole beside C, and its part copied. */
static void block_product(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                          enum panel_into into, real *c, ptrdiff_t ldc, const char *ahead) {
  if (rows == KERNEL_ROWS && columns == WIDTH) {
    if (ahead)
      kernel_ahead(from, depth, a, b, into, c, ldc, ahead);
    else
      kernel(from, depth, a, b, into, c, ldc);
    return;
  }
  real block[KERNEL_ROWS * WIDTH] = {0};
  if (into == PANEL_GO_ON)
    for (ptrdiff_t i = 0; i < rows; i++) memcpy(block + i * WIDTH, c + i * ldc, (size_t)columns * sizeof(real));
  kernel(from, depth, a, b, into == PANEL_GO_ON ? into : PANEL_SET, block, WIDTH);
  for (ptrdiff_t i = 0; i < rows; i++)
    for (ptrdiff_t j = 0; j < columns; j++)
      c[i * ldc + j] = into == PANEL_ADD ? c[i * ldc + j] + block[i * WIDTH + j] : block[i * WIDTH + j];
}

/* The rows of a from row i on. */
static struct panel_rows rows_from(const struct panel_rows *a, ptrdiff_t i) {
  return (struct panel_rows){.at = a->at + i, .stride = a->stride, .length = a->length};
}

/* Bytes from the first row to the second. */
static ptrdiff_t rows_apart(const struct panel_rows *a) { return (ptrdiff_t)((uintptr_t)a->at[1] - (uintptr_t)a->at[0]); }

/* One block of depth of the product, panel by panel. At the first panel the rows of A are not in a cache yet: while one block of them is
 * multiplied, the next is prefetched. */
static void by_panels(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                      ptrdiff_t panel, enum panel_into into, real *c, ptrdiff_t ldc) {
  for (ptrdiff_t j = 0; j < columns; j += WIDTH, b += panel)
    for (ptrdiff_t i = 0; i < rows; i += KERNEL_ROWS) {
      struct panel_rows block = rows_from(a, i);
      const char *ahead = NULL;
      if (j == 0 && i + KERNEL_ROWS < rows) ahead = (const char *)(block.at[from / a->length * a->stride + KERNEL_ROWS] + from % a->length);
      block_product(size_min(KERNEL_ROWS, rows - i), size_min(WIDTH, columns - j), from, depth, &block, b, into, c + i * ldc + j, ldc,
                    ahead);
    }
}

/* The same where the kernel's rows would evict each other from the first-level cache: each block of them is copied and meets all panels. */
static void by_rows(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t from, ptrdiff_t depth, const struct panel_rows *a, const real *b,
                    ptrdiff_t panel, enum panel_into into, real *c, ptrdiff_t ldc) {
  real copy[KERNEL_ROWS * COPY_APART];
  const real *at[KERNEL_ROWS];
  const struct panel_rows block = {.at = at, .stride = KERNEL_ROWS, .length = depth};
  for (ptrdiff_t i = 0; i < rows; i += KERNEL_ROWS) {
    for (ptrdiff_t l = 0; l < KERNEL_ROWS; l++) {
      at[l] = copy + l * COPY_APART;
      memcpy(copy + l * COPY_APART, a->at[i + l] + from, (size_t)depth * sizeof(real));
    }
    for (ptrdiff_t j = 0; j < columns; j += WIDTH)
      block_product(size_min(KERNEL_ROWS, rows - i), size_min(WIDTH, columns - j), 0, depth, &block, b + j / WIDTH * panel, into,
                    c + i * ldc + j, ldc, NULL);
  }
}

void panel_product(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const struct panel_rows *a, const real *panels, ptrdiff_t first,
                   enum panel_into into, real *c, ptrdiff_t ldc) {
  assert(first % WIDTH == 0 && depth > 0 && (into != PANEL_ADD || depth <= PANEL_DEPTH));
  bool crowded = a->length == depth && depth > PANEL_DEPTH && rows_apart(a) % CROWDED == 0;
  for (ptrdiff_t k = 0; k < depth; k += PANEL_DEPTH)
    (crowded ? by_rows : by_panels)(rows, columns, k, size_min(PANEL_DEPTH, depth - k), a, panels + first * depth + k * WIDTH,
                                    WIDTH * depth, k > 0 ? PANEL_GO_ON : into, c, ldc);
}

/* ---- A^T B ------------------------------------------------------------------------------------------------------------------ */

/* Rows of A^T in whole blocks of the first kernel; the second takes the others, KERNEL_FEW at a time. */
static ptrdiff_t whole_rows(ptrdiff_t rows) { return rows / KERNEL_ROWS * KERNEL_ROWS; }
static ptrdiff_t transposed_rows(ptrdiff_t rows) {
  return whole_rows(rows) + size_ceil_div(rows - whole_rows(rows), KERNEL_FEW) * KERNEL_FEW;
}

ptrdiff_t panel_transposed_size(ptrdiff_t rows) { return transposed_rows(rows) * PANEL_DEPTH; }
ptrdiff_t panel_sums_size(ptrdiff_t rows, ptrdiff_t columns) { return transposed_rows(rows) * size_ceil_div(columns, WIDTH) * WIDTH; }

/* The rows of A^T as multiply_transposed reads them, block after block; zeros behind the last row. */
static void transpose(ptrdiff_t rows, ptrdiff_t depth, const real *a, ptrdiff_t lda, real *transposed) {
  ptrdiff_t whole = whole_rows(rows);
  for (ptrdiff_t k = 0; k < depth; k++, a += lda) {
    for (ptrdiff_t i = 0; i < whole; i += KERNEL_ROWS) memcpy(transposed + i * depth + k * KERNEL_ROWS, a + i, KERNEL_ROWS * sizeof(real));
    for (ptrdiff_t i = whole; i < rows; i += KERNEL_FEW)
      for (ptrdiff_t l = i; l < i + KERNEL_FEW; l++) transposed[i * depth + k * KERNEL_FEW + l - i] = l < rows ? a[l] : 0;
  }
}

/* Columns [first, first + width) of all rows of b as a panel. */
static void gather_panel(const struct panel_rows *b, ptrdiff_t first, ptrdiff_t width, ptrdiff_t depth, real *panel) {
  const real *const *at = b->at + first / b->length * b->stride;
  for (ptrdiff_t lane = 0, column = first % b->length, n; lane < width; lane += n, column = 0, at += b->stride) {
    n = size_min(width - lane, b->length - column);
    for (ptrdiff_t k = 0; k < depth; k++) {
      if (n == WIDTH)
        memcpy(panel + k * WIDTH, at[k] + column, WIDTH * sizeof(real));
      else
        memcpy(panel + k * WIDTH + lane, at[k] + column, (size_t)n * sizeof(real));
    }
  }
  if (width == WIDTH) return;
  for (ptrdiff_t k = 0; k < depth; k++) memset(panel + k * WIDTH + width, 0, (size_t)(WIDTH - width) * sizeof(real));
}

/* Prefetches rows [from, to) of what gather_panel will read. */
static void prefetch_panel(const struct panel_rows *b, ptrdiff_t first, ptrdiff_t from, ptrdiff_t to) {
  const real *const *at = b->at + first / b->length * b->stride;
  for (ptrdiff_t k = from; k < to; k++)
    for (ptrdiff_t lane = 0; lane < WIDTH; lane += CACHE_LINE / (ptrdiff_t)sizeof(real))
      __builtin_prefetch(at[k] + first % b->length + lane);
}

void panel_product_transposed(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const real *a, ptrdiff_t lda, const struct panel_rows *b,
                              enum panel_into into, real *sums, real *scratch) {
  assert(depth > 0 && depth <= PANEL_DEPTH && into != PANEL_ADD);
  real panel[PANEL_DEPTH * WIDTH];
  transpose(rows, depth, a, lda, scratch);
  ptrdiff_t share = size_ceil_div(depth * KERNEL_ROWS, rows); /* rows of the next panel to prefetch with each block of rows of A^T */
  for (ptrdiff_t j = 0; j < columns; j += WIDTH) {
    gather_panel(b, j, size_min(WIDTH, columns - j), depth, panel);
    for (ptrdiff_t i = 0, height, asked = 0; i < rows; i += height, sums += height * WIDTH) {
      height = i < whole_rows(rows) ? KERNEL_ROWS : KERNEL_FEW;
      if (j + WIDTH < columns) prefetch_panel(b, j + WIDTH, asked, size_min(asked + share, depth));
      asked = size_min(asked + share, depth);
      (height == KERNEL_ROWS ? kernel_transposed : kernel_transposed_few)(depth, scratch + i * depth, panel, into, sums);
    }
  }
}

void panel_sums_add(ptrdiff_t rows, ptrdiff_t columns, const real *sums, bool accumulate, real *c, ptrdiff_t ldc) {
  for (ptrdiff_t j = 0; j < columns; j += WIDTH, sums += transposed_rows(rows) * WIDTH)
    for (ptrdiff_t i = 0; i < rows; i++)
      for (ptrdiff_t l = 0; l < size_min(WIDTH, columns - j); l++)
        c[i * ldc + j + l] = accumulate ? c[i * ldc + j + l] + sums[i * WIDTH + l] : sums[i * WIDTH + l];
}
