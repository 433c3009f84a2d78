#include "op/linear.h"

#include <string.h>

#include "base/size.h"
#include "op/conv.h"
#include "op/panel.h"

enum {
  COLUMNS = 128,  /* of a product at a time: PANEL_DEPTH rows of them are what a thread lays out on its stack */
  ROWS = 224,     /* of a product at a time: PANEL_DEPTH columns of them stay in the second-level cache */
  ITEMS = 16,     /* enough to share out: where blocks of COLUMNS are fewer, rows are cut as well */
  BIAS_BLOCK = 64 /* columns of dy summed at a time: a few cache lines of every row */
};

/* A linear layer is a 1x1 convolution of m images of one pixel. */
static struct conv as_conv(const struct linear *g) {
  return (struct conv){.n = g->m, .h = 1, .w = 1, .c = g->i, .k = g->o, .r = 1, .s = 1, .stride = 1, .pad = 0, .p = 1, .q = 1};
}

ptrdiff_t linear_scratch(const struct linear *g, int threads) {
  struct conv conv = as_conv(g);
  return conv_weights_scratch(&conv, threads);
}

/* C (m x n) from A (m x depth) B, where element (k, j) of B is b[k * row + j * column]. */
struct product {
  ptrdiff_t m, n, depth;
  const real *a, *b;
  ptrdiff_t row, column;
};

/* sums (their rows `apart` reals apart) = rows [from, to) of A times columns [j, j + columns) of B, at most COLUMNS. */
static void multiply_block(const struct product *p, ptrdiff_t from, ptrdiff_t to, ptrdiff_t j, ptrdiff_t columns, real *sums,
                           ptrdiff_t apart) {
  real panels[PANEL_DEPTH * COLUMNS];
  const real *at[ROWS + PANEL_ROWS_MOST];
  for (ptrdiff_t k = 0; k < p->depth; k += PANEL_DEPTH) {
    ptrdiff_t count = size_min(PANEL_DEPTH, p->depth - k);
    panel_pack(count, columns, p->b + k * p->row + j * p->column, p->row, p->column, 0, count, panels);
    for (ptrdiff_t i = from; i < to; i += ROWS) {
      ptrdiff_t rows = size_min(ROWS, to - i), stride = panel_rows_rounded(rows);
      for (ptrdiff_t t = 0; t < stride; t++) at[t] = p->a + size_min(i + t, to - 1) * p->depth + k;
      const struct panel_rows block = {.at = at, .stride = stride, .length = count};
      panel_product(rows, columns, count, &block, panels, 0, k > 0 ? PANEL_GO_ON : PANEL_SET, sums + (i - from) * apart, apart);
    }
  }
}

/* C = A B, plus bias in each row unless that is null; or C += A B if accumulate. A sum is whole before anything is added: to be added to C
 * it is computed beside it, ROWS at a time. */
static void multiply(const struct product *p, const real *bias, bool accumulate, real *c) {
  ptrdiff_t n = p->n, across = size_ceil_div(n, COLUMNS);
  ptrdiff_t bands = size_min(size_ceil_div(ITEMS, across), size_ceil_div(p->m, ROWS)); /* of rows, each an item for every COLUMNS */
  ptrdiff_t band = accumulate ? ROWS : size_ceil_div(p->m, bands);
  ptrdiff_t items = across * size_ceil_div(p->m, band);
#pragma omp parallel for schedule(dynamic) if (items > 1)
  for (ptrdiff_t item = 0; item < items; item++) {
    ptrdiff_t from = item / across * band, to = size_min(from + band, p->m);
    ptrdiff_t j = item % across * COLUMNS, columns = size_min(COLUMNS, n - j);
    real beside[ROWS * COLUMNS], *block = c + from * n + j;
    multiply_block(p, from, to, j, columns, accumulate ? beside : block, accumulate ? columns : n);
    if (!accumulate && !bias) continue;
    for (ptrdiff_t i = 0; i < to - from; i++) {
      const real *added = accumulate ? beside + i * columns : bias + j;
      for (ptrdiff_t l = 0; l < columns; l++) block[i * n + l] += added[l];
    }
  }
}

void linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  const struct product p = {.m = g->m, .n = g->o, .depth = g->i, .a = x, .b = w, .row = 1, .column = g->i};
  multiply(&p, b, false, y);
}

void linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  const struct product p = {.m = g->m, .n = g->i, .depth = g->o, .a = dy, .b = w, .row = g->i, .column = 1};
  multiply(&p, NULL, accumulate, dx);
}

void linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, real *scratch) {
  struct conv conv = as_conv(g);
  conv_backward_weights(&conv, x, dy, dw, scratch);
  if (!db) return;
#pragma omp parallel for schedule(static)
  for (ptrdiff_t from = 0; from < g->o; from += BIAS_BLOCK) {
    ptrdiff_t n = size_min(BIAS_BLOCK, g->o - from);
    double sum[BIAS_BLOCK] = {0};
    for (ptrdiff_t first = 0, rows = linear_bias_rows(g); first < g->m; first += rows) {
      double part[BIAS_BLOCK] = {0};
      for (ptrdiff_t row = first, end = size_min(first + rows, g->m); row < end; row++)
        for (ptrdiff_t o = 0; o < n; o++) part[o] += (double)dy[row * g->o + from + o];
      for (ptrdiff_t o = 0; o < n; o++) sum[o] += part[o];
    }
    for (ptrdiff_t o = 0; o < n; o++) db[from + o] = (real)((double)db[from + o] + sum[o]);
  }
}
