#include "op/pool.h"

#include <assert.h>

#include "base/size.h"

enum { WINDOW = 3, STRIDE = 2, PAD = 1 };

/* A NaN beats every number, and the first of several wins: then "first maximum" holds with NaN as the largest value. */
static inline int beats(real v, real best) { return (v > best) | ((v != v) & (best == best)); }

/* One window. The taps are visited in row-major order, so a later equal value never replaces the first maximum. indexed: false leaves index
 * alone; a constant of the two calls below, so that the innermost loop does not ask. */
static inline void maxpool_window(const struct pool *g, const real *plane, ptrdiff_t p, ptrdiff_t q, bool indexed, real *y,
                                  int32_t *index) {
  ptrdiff_t top = size_max(0, p * STRIDE - PAD), bottom = size_min(g->h, p * STRIDE - PAD + WINDOW);
  ptrdiff_t left = size_max(0, q * STRIDE - PAD), right = size_min(g->w, q * STRIDE - PAD + WINDOW);
  int32_t first = (int32_t)(top * g->w + left);
  for (ptrdiff_t k = 0; k < g->c; k++) {
    y[k] = plane[first * g->c + k];
    if (indexed) index[k] = first;
  }
  for (ptrdiff_t h = top; h < bottom; h++)
    for (ptrdiff_t w = left; w < right; w++) {
      int32_t here = (int32_t)(h * g->w + w);
      const real *x = plane + here * g->c;
#pragma omp simd
      for (ptrdiff_t k = 0; k < g->c; k++) {
        real v = x[k], best = y[k];
        int wins = beats(v, best);
        y[k] = wins ? v : best;
        if (indexed) index[k] = wins ? here : index[k];
      }
    }
}

void maxpool_forward(const struct pool *g, const real *x, real *y, int32_t *index) {
  assert(g->h >= 1 && g->w >= 1 && g->h <= INT32_MAX / g->w);
  ptrdiff_t ph = maxpool_out(g->h), pw = maxpool_out(g->w), plane = g->h * g->w * g->c;
#pragma omp parallel for schedule(static) if (g->n * ph > 1)
  for (ptrdiff_t i = 0; i < g->n * ph; i++)
    for (ptrdiff_t q = 0; q < pw; q++) {
      ptrdiff_t at = (i * pw + q) * g->c;
      if (index)
        maxpool_window(g, x + i / ph * plane, i % ph, q, true, y + at, index + at);
      else
        maxpool_window(g, x + i / ph * plane, i % ph, q, false, y + at, NULL);
    }
}

/* Gathered, not scattered: every input asks the (at most four) windows that hold it, in their order, whether it won. Rows of inputs
 * are then independent, and every sum has one order. */
void maxpool_backward(const struct pool *g, const real *dy, const int32_t *index, real *dx) {
  ptrdiff_t c = g->c, ph = maxpool_out(g->h), pw = maxpool_out(g->w);
#pragma omp parallel for schedule(static) if (g->n * g->h > 1)
  for (ptrdiff_t i = 0; i < g->n * g->h; i++) {
    ptrdiff_t n = i / g->h, h = i % g->h;
    for (ptrdiff_t w = 0; w < g->w; w++) {
      int32_t here = (int32_t)(h * g->w + w);
      real *d = dx + (i * g->w + w) * c;
      for (ptrdiff_t k = 0; k < c; k++) d[k] = 0;
      /* Window p holds rows 2p - 1 .. 2p + 1: row h is in windows h/2 to (h+1)/2, rounded down. */
      for (ptrdiff_t p = h / STRIDE; p <= size_min((h + PAD) / STRIDE, ph - 1); p++)
        for (ptrdiff_t q = w / STRIDE; q <= size_min((w + PAD) / STRIDE, pw - 1); q++) {
          ptrdiff_t at = ((n * ph + p) * pw + q) * c;
          for (ptrdiff_t k = 0; k < c; k++) d[k] += index[at + k] == here ? dy[at + k] : 0;
        }
    }
  }
}

/* A task of the averages: one image and a block of channels. */
enum { AVERAGE_CHANNELS = 256 };

void avgpool_forward(const struct pool *g, const real *x, real *y) {
  assert(g->h >= 1 && g->w >= 1);
  ptrdiff_t cells = g->h * g->w, blocks = size_ceil_div(g->c, AVERAGE_CHANNELS);
#pragma omp parallel for schedule(static) if (g->n * blocks > 1)
  for (ptrdiff_t t = 0; t < g->n * blocks; t++) {
    ptrdiff_t n = t / blocks, channel = t % blocks * AVERAGE_CHANNELS, channels = size_min(AVERAGE_CHANNELS, g->c - channel);
    double sum[AVERAGE_CHANNELS] = {0};
    for (ptrdiff_t i = 0; i < cells; i++) {
      const real *xi = x + (n * cells + i) * g->c + channel;
      for (ptrdiff_t k = 0; k < channels; k++) sum[k] += (double)xi[k];
    }
    for (ptrdiff_t k = 0; k < channels; k++) y[n * g->c + channel + k] = (real)(sum[k] / (double)cells);
  }
}

void avgpool_backward(const struct pool *g, const real *dy, real *dx, bool accumulate) {
  assert(g->h >= 1 && g->w >= 1);
  ptrdiff_t cells = g->h * g->w, blocks = size_ceil_div(g->c, AVERAGE_CHANNELS);
#pragma omp parallel for schedule(static) if (g->n * blocks > 1)
  for (ptrdiff_t t = 0; t < g->n * blocks; t++) {
    ptrdiff_t n = t / blocks, channel = t % blocks * AVERAGE_CHANNELS, channels = size_min(AVERAGE_CHANNELS, g->c - channel);
    real share[AVERAGE_CHANNELS];
    for (ptrdiff_t k = 0; k < channels; k++) share[k] = (real)((double)dy[n * g->c + channel + k] / (double)cells);
    for (ptrdiff_t i = 0; i < cells; i++) {
      real *d = dx + (n * cells + i) * g->c + channel;
      for (ptrdiff_t k = 0; k < channels; k++) d[k] = accumulate ? d[k] + share[k] : share[k];
    }
  }
}
