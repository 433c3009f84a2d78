#include "op/patches.h"

#include <string.h>

enum { TAP_LEAST = 16 }; /* channels; with fewer a patch is gathered, with so many each tap is read where it is */

/* Rows [from, to) of the patch matrix. */
static void gather_patches(const struct window *v, const real *map, ptrdiff_t from, ptrdiff_t to, real *patches) {
  const size_t pixel = (size_t)v->channels * sizeof(real);
  ptrdiff_t j = from % v->out_columns, i = from / v->out_columns % v->out_rows, n = from / v->out_columns / v->out_rows;
  for (ptrdiff_t t = from; t < to; t++) {
    ptrdiff_t top = i * v->step + v->first_row, left = j * v->step + v->first_column;
    /* Taps [lo, hi) of every window row are inside the map's columns, and contiguous there. */
    ptrdiff_t lo = size_min(size_max(-left, 0), v->taps_s), hi = size_max(size_min(v->columns - left, v->taps_s), lo);
    for (ptrdiff_t row = top; row < top + v->taps_r; row++) {
      if (row < 0 || row >= v->rows || lo == hi) {
        memset(patches, 0, (size_t)v->taps_s * pixel);
      } else {
        memset(patches, 0, (size_t)lo * pixel);
        memcpy(patches + lo * v->channels, map + ((n * v->rows + row) * v->columns + left + lo) * v->channels, (size_t)(hi - lo) * pixel);
        memset(patches + hi * v->channels, 0, (size_t)(v->taps_s - hi) * pixel);
      }
      patches += v->taps_s * v->channels;
    }
    if (++j == v->out_columns) {
      j = 0;
      if (++i == v->out_rows) i = 0, n++;
    }
  }
}

/* For rows t in [from, to) of the patch matrix, at[tap * stride + t - from] = where the channels of the tap are, or zeros. */
static void point_at_taps(const struct window *v, const real *map, ptrdiff_t from, ptrdiff_t to, const real *zeros, const real **at,
                          ptrdiff_t stride) {
  ptrdiff_t sign = v->backwards ? -1 : 1;
  for (ptrdiff_t t = from, end; t < to; at += end - t, t = end) { /* one row of positions */
    ptrdiff_t j = t % v->out_columns, i = t / v->out_columns % v->out_rows, n = t / v->out_columns / v->out_rows;
    end = size_min(to, t + v->out_columns - j);
    for (ptrdiff_t tap = 0; tap < v->taps_r * v->taps_s; tap++) {
      ptrdiff_t row = i * v->step + v->first_row + sign * (tap / v->taps_s), left = v->first_column + sign * (tap % v->taps_s);
      /* Positions [lo, hi) of the row are inside the map's columns. */
      bool inside = row >= 0 && row < v->rows && left < v->columns;
      ptrdiff_t lo = inside ? size_ceil_div(size_max(-left, 0), v->step) : 0, hi = inside ? size_ceil_div(v->columns - left, v->step) : 0;
      for (ptrdiff_t q = 0; q < end - t; q++) {
        ptrdiff_t pixel = (n * v->rows + row) * v->columns + left + (j + q) * v->step;
        at[tap * stride + q] = j + q >= lo && j + q < hi ? map + pixel * v->channels : zeros;
      }
    }
  }
}

/* Whether patches are gathered: those of few channels, such as an image's. */
static bool is_gathered(ptrdiff_t channels, bool backwards) { return channels < TAP_LEAST && !backwards; }

/* Reals that n pointers take. */
static ptrdiff_t pointers(ptrdiff_t n) { return patches_line(size_ceil_div(n * (ptrdiff_t)sizeof(real *), sizeof(real))); }

ptrdiff_t patches_size(ptrdiff_t rows, ptrdiff_t taps, ptrdiff_t channels, bool backwards) {
  bool gathered = is_gathered(channels, backwards);
  return pointers(panel_rows_rounded(rows) * (gathered ? 1 : taps)) + (gathered ? patches_line(rows * taps * channels) : 0);
}

struct panel_rows patch_rows(const struct window *v, const real *map, ptrdiff_t from, ptrdiff_t to, const real *zeros, real *scratch) {
  ptrdiff_t rows = to - from, stride = panel_rows_rounded(rows), depth = window_depth(v);
  bool gathered = is_gathered(v->channels, v->backwards);
  const real **at = (const real **)(void *)scratch;
  struct panel_rows a = {.at = at, .stride = stride, .length = gathered ? depth : v->channels};
  if (gathered) {
    real *patches = scratch + pointers(stride);
    gather_patches(v, map, from, to, patches);
    for (ptrdiff_t t = 0; t < rows; t++) at[t] = patches + t * depth;
  } else {
    point_at_taps(v, map, from, to, zeros, at, stride);
  }
  for (ptrdiff_t piece = 0; piece < depth / a.length; piece++)
    for (ptrdiff_t t = rows; t < stride; t++) at[piece * stride + t] = at[piece * stride + rows - 1];
  return a;
}
