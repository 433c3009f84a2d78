#include "op/linear.h"

#include <string.h>

#include "base/blas.h"
#include "base/size.h"
#include "op/conv.h"

enum { BIAS_BLOCK = 64 }; /* columns of dy summed at a time: a few cache lines of every row */

/* A linear layer is a 1x1 convolution of m images of one pixel. */
static struct conv as_conv(const struct linear *g) {
  return (struct conv){.n = g->m, .h = 1, .w = 1, .c = g->i, .k = g->o, .r = 1, .s = 1, .stride = 1, .pad = 0, .p = 1, .q = 1};
}

/* No patches are gathered for such a convolution, so threads need none of their own. */
ptrdiff_t linear_scratch(const struct linear *g) {
  struct conv conv = as_conv(g);
  return conv_scratch(&conv, 1);
}

void linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  if (b) {
#pragma omp parallel for schedule(static)
    for (ptrdiff_t row = 0; row < g->m; row++) memcpy(y + row * g->o, b, (size_t)g->o * sizeof(real));
  }
  gemm_rows(0, 1, g->m, g->o, g->i, 1, x, g->i, w, g->i, b ? 1 : 0, y, g->o);
}

void linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  gemm_rows(0, 0, g->m, g->i, g->o, 1, dy, g->o, w, g->i, accumulate, dx, g->i);
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
