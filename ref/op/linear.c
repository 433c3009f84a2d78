#include "op/linear.h"

#include <string.h>

#include "base/size.h"
#include "op/conv.h"
#include "op/panel.h"

enum {
  COLUMNS = 128,  /* of a product at a time: with PANEL_DEPTH rows of weights, what a thread lays out on its stack */
  ROWS = 224,     /* of a product at a time: a block of them stays in the second-level cache */
  ITEMS = 16,     /* enough to share out: where COLUMNS make fewer, rows are cut as well */
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

/* C (m x n) (+)= A (m x depth) B, where element (k, j) of B is b[k * row + j * column]. */
static void multiply(ptrdiff_t m, ptrdiff_t n, ptrdiff_t depth, const real *a, const real *b, ptrdiff_t row, ptrdiff_t column,
                     bool accumulate, real *c) {
  ptrdiff_t across = size_ceil_div(n, COLUMNS), band = size_ceil_div(m, size_min(size_ceil_div(ITEMS, across), size_ceil_div(m, ROWS)));
  ptrdiff_t items = across * size_ceil_div(m, band);
#pragma omp parallel for schedule(dynamic) if (items > 1)
  for (ptrdiff_t item = 0; item < items; item++) {
    ptrdiff_t first = item / across * band, end = size_min(first + band, m);
    ptrdiff_t j = item % across * COLUMNS, columns = size_min(COLUMNS, n - j);
    real panels[PANEL_DEPTH * COLUMNS];
    const real *at[ROWS + PANEL_ROWS_MOST];
    for (ptrdiff_t k = 0; k < depth; k += PANEL_DEPTH) {
      ptrdiff_t count = size_min(PANEL_DEPTH, depth - k);
      panel_pack(count, columns, b + k * row + j * column, row, column, 0, count, panels);
      for (ptrdiff_t i = first; i < end; i += ROWS) {
        ptrdiff_t rows = size_min(ROWS, end - i), stride = panel_rows_rounded(rows);
        for (ptrdiff_t t = 0; t < stride; t++) at[t] = a + size_min(i + t, end - 1) * depth + k;
        const struct panel_rows block = {.at = at, .stride = stride, .length = count};
        panel_product(rows, columns, count, &block, panels, 0, accumulate || k > 0, c + i * n + j, n);
      }
    }
  }
}

void linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  if (b) {
#pragma omp parallel for schedule(static)
    for (ptrdiff_t row = 0; row < g->m; row++) memcpy(y + row * g->o, b, (size_t)g->o * sizeof(real));
  }
  multiply(g->m, g->o, g->i, x, w, 1, g->i, b, y);
}

void linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  multiply(g->m, g->i, g->o, dy, w, g->i, 1, accumulate, dx);
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
