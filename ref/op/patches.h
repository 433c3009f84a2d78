/* A window that moves over a map, and the rows of its patch matrix (im2col), as the product of op/panel.h takes them: pointers to where
 * the channels of each tap are, so that patches stay where they are; those of few channels are gathered, unless backwards. */
#ifndef EDIY_OP_PATCHES_H
#define EDIY_OP_PATCHES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/real.h"
#include "base/size.h"
#include "op/panel.h"

#define patches_size REAL_NAME(patches_size)
#define patch_rows REAL_NAME(patch_rows)

/* Over a map of images x rows x columns x channels. Row (n, i, j) of the patch matrix holds, tap after tap (u, v), the channels of
 * map[n, i step + first_row + u, j step + first_column + v], or zeros outside the map; with - u and - v if backwards. */
#ifndef EDIY_OP_PATCHES_WINDOW
#define EDIY_OP_PATCHES_WINDOW
struct window {
  ptrdiff_t rows, columns, channels; /* the map */
  ptrdiff_t out_rows, out_columns;   /* positions of the window in an image */
  ptrdiff_t step, first_row, first_column, taps_r, taps_s;
  bool backwards;
};

/* Columns of the patch matrix. */
static inline ptrdiff_t window_depth(const struct window *v) { return v->taps_r * v->taps_s * v->channels; }

/* Parts of a scratch start this many reals apart at least, so that threads share no cache line. */
enum { PATCHES_LINE = 16 };
static inline ptrdiff_t patches_line(ptrdiff_t n) { return size_ceil_div(n, PATCHES_LINE) * PATCHES_LINE; }
#endif

/* Reals of scratch that patch_rows needs for so many rows of a window of so many taps; aligned for pointers. */
ptrdiff_t patches_size(ptrdiff_t rows, ptrdiff_t taps, ptrdiff_t channels, bool backwards);

/* Rows [from, to) of the patch matrix, as long as scratch, map and zeros stay. zeros: as many as there are channels. */
struct panel_rows patch_rows(const struct window *v, const real *map, ptrdiff_t from, ptrdiff_t to, const real *zeros, real *scratch);

#endif
