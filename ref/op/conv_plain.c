/* Convolution as it is defined, one loop an index, every sum in double and rounded once: what the fast forms are held to. */
#include "op/conv.h"

/* x[n, p stride + r - pad, q stride + s - pad, :], or null where that is outside the image. */
static const real *pixel(const struct conv *g, const real *x, ptrdiff_t n, ptrdiff_t p, ptrdiff_t q, ptrdiff_t r, ptrdiff_t s) {
  ptrdiff_t h = p * g->stride + r - g->pad, w = q * g->stride + s - g->pad;
  if (h < 0 || h >= g->h || w < 0 || w >= g->w) return NULL;
  return x + ((n * g->h + h) * g->w + w) * g->c;
}

void conv_forward_plain(const struct conv *g, const real *x, const real *w, real *y) {
#pragma omp parallel for collapse(2)
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t p = 0; p < g->p; p++)
      for (ptrdiff_t q = 0; q < g->q; q++)
        for (ptrdiff_t k = 0; k < g->k; k++) {
          double sum = 0;
          for (ptrdiff_t r = 0; r < g->r; r++)
            for (ptrdiff_t s = 0; s < g->s; s++) {
              const real *at = pixel(g, x, n, p, q, r, s);
              for (ptrdiff_t c = 0; at && c < g->c; c++) sum += (double)at[c] * (double)w[((k * g->r + r) * g->s + s) * g->c + c];
            }
          y[((n * g->p + p) * g->q + q) * g->k + k] = (real)sum;
        }
}

/* Output row p with p stride + r - pad = h, or -1: none. */
static ptrdiff_t source(ptrdiff_t h, ptrdiff_t r, ptrdiff_t pad, ptrdiff_t stride, ptrdiff_t outputs) {
  ptrdiff_t from = h + pad - r;
  return from >= 0 && from % stride == 0 && from / stride < outputs ? from / stride : -1;
}

void conv_backward_data_plain(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate) {
#pragma omp parallel for collapse(2)
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t h = 0; h < g->h; h++)
      for (ptrdiff_t v = 0; v < g->w; v++)
        for (ptrdiff_t c = 0; c < g->c; c++) {
          real *at = dx + ((n * g->h + h) * g->w + v) * g->c + c;
          double sum = accumulate ? (double)*at : 0;
          for (ptrdiff_t r = 0; r < g->r; r++)
            for (ptrdiff_t s = 0; s < g->s; s++) {
              ptrdiff_t p = source(h, r, g->pad, g->stride, g->p), q = source(v, s, g->pad, g->stride, g->q);
              if (p < 0 || q < 0) continue;
              const real *dy_at = dy + ((n * g->p + p) * g->q + q) * g->k;
              for (ptrdiff_t k = 0; k < g->k; k++) sum += (double)dy_at[k] * (double)w[((k * g->r + r) * g->s + s) * g->c + c];
            }
          *at = (real)sum;
        }
}

void conv_backward_weights_plain(const struct conv *g, const real *x, const real *dy, real *dw) {
#pragma omp parallel for collapse(3)
  for (ptrdiff_t k = 0; k < g->k; k++)
    for (ptrdiff_t r = 0; r < g->r; r++)
      for (ptrdiff_t s = 0; s < g->s; s++)
        for (ptrdiff_t c = 0; c < g->c; c++) {
          real *at = dw + ((k * g->r + r) * g->s + s) * g->c + c;
          double sum = (double)*at;
          for (ptrdiff_t n = 0; n < g->n; n++)
            for (ptrdiff_t p = 0; p < g->p; p++)
              for (ptrdiff_t q = 0; q < g->q; q++) {
                const real *x_at = pixel(g, x, n, p, q, r, s);
                if (x_at) sum += (double)x_at[c] * (double)dy[((n * g->p + p) * g->q + q) * g->k + k];
              }
          *at = (real)sum;
        }
}
