/* A window that moves over a map, and the rows of its patch matrix (im2col) as the product of op/panel.h takes them: pointers to the
 * channels of each tap. So patches stay where they are; only those of few channels are gathered, and none of a window that is
 * read backwards. */
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
 * map[n, i step + first_row + u, j step + first_column + v], or zeros outside the map; if backwards, - u and - v stand for + u and + v. */
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

/* n, rounded up to whole cache lines: parts of a scratch that belong to different threads then share none. */
enum { PATCHES_LINE = 16 }; /* reals; of floats 64 bytes */
static inline ptrdiff_t patches_line(ptrdiff_t n) { return size_ceil_div(n, PATCHES_LINE) * PATCHES_LINE; }
#endif

/* Reals of scratch, aligned for pointers, that patch_rows needs for so many rows of a window of so many taps and channels. */
ptrdiff_t patches_size(ptrdiff_t rows, ptrdiff_t taps, ptrdiff_t channels, bool backwards);

/* Rows [from, to) of the patch matrix; they are valid while scratch, map and zeros are. zeros: one for each channel. */
struct panel_rows patch_rows(const struct window *v, const real *map, ptrdiff_t from, ptrdiff_t to, const real *zeros, real *scratch);

#endif
