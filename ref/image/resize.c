/* Bicubic resize of a window of bytes (the definition is at augment_resize in augment.h).
 *
 * One output row at a time: the window's rows under it are summed into one row of reals (vertical; reads the bytes in order, a vector of
 * them at a time), and that row, which is then in the cache, is summed to the output's pixels (horizontal). Nothing larger than a row is
 * kept between the two. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "image/augment.h"

/* Keys' cubic for a = -1/2 (Keys, "Cubic convolution interpolation for digital image processing", 1981). */
static double cubic(double x) {
  x = fabs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

/* One axis: n_in pixels to n_out. */
struct axis {
  int n_in, n_out, taps;
  double ratio, scale; /* n_in / n_out; s */
};

/* The support is open and 4 s long, so that it holds at most ceil(4 s) pixels. */
static struct axis axis_of(int n_in, int n_out, bool antialias) {
  double ratio = (double)n_in / n_out, scale = antialias ? fmax(ratio, 1) : 1;
  return (struct axis){.n_in = n_in, .n_out = n_out, .taps = (int)fmin(n_in, ceil(4 * scale)), .ratio = ratio, .scale = scale};
}

/* The axis.taps weights of output i; returns the first input they are for. A tap outside the support has weight 0. */
static int axis_weights(const struct axis *axis, int i, real *weight) {
  double centre = (i + 0.5) * axis->ratio, sum = 0;
  double after = floor(centre - 0.5 - 2 * axis->scale) + 1; /* the first pixel whose middle is inside the support */
  int first = (int)fmax(0, fmin(after, axis->n_in - axis->taps));
  for (int k = 0; k < axis->taps; k++) sum += cubic((first + k + 0.5 - centre) / axis->scale);
  for (int k = 0; k < axis->taps; k++) weight[k] = (real)(cubic((first + k + 0.5 - centre) / axis->scale) / sum);
  return first;
}

/* Reals behind the row of sums: the horizontal pass loads four reals for a pixel's three. */
enum { LANES = 4, OVERREAD = LANES - 3 };

/* Scratch: weights of one output row, weights of every output column, the row of sums, first columns (an int is no larger than a real). */
ptrdiff_t augment_resize_scratch(int window_h, int window_w, int size_h, int size_w) {
  struct axis v = axis_of(window_h, size_h, true), h = axis_of(window_w, size_w, true);
  return v.taps + (ptrdiff_t)size_w * h.taps + (ptrdiff_t)window_w * 3 + OVERREAD + size_w;
}

/* The two inner loops hold their sums in registers. Inlined into their caller, gcc 12 spills them and takes twice the time. */
#define OUT_OF_LINE __attribute__((noinline))

/* Bytes widened and summed side by side: VECTOR at a time, and BLOCKS of these, so that the sums fill four registers of 32 bytes. */
enum { VECTOR = 8, BLOCKS = 4 * 32 / (VECTOR * sizeof(real)) };

/* sum[x] = weight[0] row0[x] + weight[1] row1[x] + ..., rows `stride` bytes apart, x < n. */
static OUT_OF_LINE void add_rows(const uint8_t *row, ptrdiff_t stride, const real *weight, int taps, ptrdiff_t n, real *restrict sum) {
  ptrdiff_t x = 0;
  for (; x + BLOCKS * VECTOR <= n; x += BLOCKS * VECTOR) {
    real s[BLOCKS][VECTOR] = {0};
    for (int k = 0; k < taps; k++) {
      const uint8_t *from = row + k * stride + x;
      for (int b = 0; b < BLOCKS; b++)
        for (int j = 0; j < VECTOR; j++) s[b][j] += weight[k] * (real)from[b * VECTOR + j];
    }
    memcpy(sum + x, s, sizeof s);
  }
  for (; x < n; x++) {
    real s = 0;
    for (int k = 0; k < taps; k++) s += weight[k] * (real)row[k * stride + x];
    sum[x] = s;
  }
}

/* y[j] = the taps weights of column j on the row of sums from first[j] on, j < columns. A pixel's three sums are the first three of four
 * lanes; the pragma keeps the compiler from making vectors of taps instead. */
static OUT_OF_LINE void add_columns(const real *sum, const int *first, const real *weight, int taps, int columns, real *y) {
  for (int j = 0; j < columns; j++, weight += taps, y += 3) {
    const real *x = sum + first[j];
    real s[LANES] = {0};
    for (int k = 0; k < taps; k++, x += 3)
#pragma omp simd
      for (int c = 0; c < LANES; c++) s[c] += weight[k] * x[c];
    if (j + 1 < columns)
      memcpy(y, s, sizeof s); /* the fourth is overwritten by the next pixel */
    else
      memcpy(y, s, 3 * sizeof *y);
  }
}

void augment_resize_part(const uint8_t *rgb, int height, int width, int top, int left, int window_h, int window_w, int size_h, int size_w,
                         int part_top, int part_left, int part_h, int part_w, bool antialias, bool clip, real *y, real *scratch) {
  assert(top >= 0 && left >= 0 && window_h >= 1 && window_w >= 1 && top <= height - window_h && left <= width - window_w);
  assert(part_top >= 0 && part_left >= 0 && part_h >= 1 && part_w >= 1 && part_top <= size_h - part_h && part_left <= size_w - part_w);
  struct axis rows = axis_of(window_h, size_h, antialias), columns = axis_of(window_w, size_w, antialias);
  real *row_weight = scratch, *column_weight = row_weight + rows.taps, *sum = column_weight + (ptrdiff_t)part_w * columns.taps;
  int *first = (int *)(sum + (ptrdiff_t)window_w * 3 + OVERREAD);
  ptrdiff_t n = (ptrdiff_t)window_w * 3, stride = (ptrdiff_t)width * 3;
  for (int j = 0; j < part_w; j++) first[j] = 3 * axis_weights(&columns, part_left + j, column_weight + (ptrdiff_t)j * columns.taps);
  sum[n] = 0; /* the overread */

  for (int i = 0; i < part_h; i++, y += (ptrdiff_t)part_w * 3) {
    int r = axis_weights(&rows, part_top + i, row_weight);
    add_rows(rgb + (top + r) * stride + (ptrdiff_t)left * 3, stride, row_weight, rows.taps, n, sum);
    add_columns(sum, first, column_weight, columns.taps, part_w, y);
    for (int x = 0; x < 3 * part_w; x++) y[x] /= 255; /* at the end, so that whole numbers of bytes stay exact */
    if (clip) augment_clip((ptrdiff_t)part_w * 3, y);
  }
}

void augment_resize(const uint8_t *rgb, int height, int width, int top, int left, int window_h, int window_w, int size_h, int size_w,
                    bool antialias, bool clip, real *y, real *scratch) {
  augment_resize_part(rgb, height, width, top, left, window_h, window_w, size_h, size_w, 0, 0, size_h, size_w, antialias, clip, y, scratch);
}
