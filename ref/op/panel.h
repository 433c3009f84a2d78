/* The matrix product of convolutions and linear layers: C (+)= A B, where B is laid out in panels and then multiplied by many tiles of A.
 *
 * OpenBLAS lays out both factors anew at every call. A convolution multiplies every tile of patches by the same weights, and its tiles are
 * narrow where channels are few. So weights are laid out once here, and patches are read where they lie, through pointers to their pieces.
 * The order of OpenBLAS's sums, besides, depends on the processor. Here it is part of the contract: an element is one chain of fused
 * multiply-adds over the rows of B in rising order, from zero. It depends on its row of A and its column of B alone, not on the tile, nor
 * on how long the processor's vectors are; and it is the order in which a thread of a GPU adds (cuda/gemm.h).
 *
 * Panel j holds columns [j W, (j + 1) W) of B, row after row, W reals each, with zeros behind the last column. Only panel_pack uses several
 * threads; the other functions run on the calling one.
 */
#ifndef EDIY_OP_PANEL_H
#define EDIY_OP_PANEL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/real.h"

#define panel_rows REAL_NAME(panel_rows)
#define panel_rows_rounded REAL_NAME(panel_rows_rounded)
#define panel_size REAL_NAME(panel_size)
#define panel_pack REAL_NAME(panel_pack)
#define panel_product REAL_NAME(panel_product)
#define panel_transposed_size REAL_NAME(panel_transposed_size)
#define panel_sums_size REAL_NAME(panel_sums_size)
#define panel_product_transposed REAL_NAME(panel_product_transposed)
#define panel_sums_add REAL_NAME(panel_sums_add)

enum {
  PANEL_ALIGN = 64,
  PANEL_DEPTH = 256,    /* rows of B that C is computed from at a time: as many of a panel stay in the nearest cache */
  PANEL_ROWS_MOST = 12, /* rows of the kernel, on any processor at most */
};

#ifndef EDIY_OP_PANEL_INTO
#define EDIY_OP_PANEL_INTO
/* What a product does with C: SET overwrites it with the chains, ADD adds whole chains to it, GO_ON takes it for the beginning of the same
 * chains and continues them. */
enum panel_into { PANEL_SET, PANEL_ADD, PANEL_GO_ON };
#endif

/* Reals that a B of depth x columns takes in panels. */
ptrdiff_t panel_size(ptrdiff_t depth, ptrdiff_t columns);

/* Lays out rows [at, at + count) of B: row at + k, column j is b[k * row + j * column]. On all threads. */
void panel_pack(ptrdiff_t depth, ptrdiff_t columns, const real *b, ptrdiff_t row, ptrdiff_t column, ptrdiff_t at, ptrdiff_t count,
                real *panels);

/* Rows of A, each in pieces of `length` reals that may lie anywhere: element k of row i is at[k / length * stride + i][k % length].
 * A piece has panel_rows_rounded(rows) pointers (stride is no less). Those behind the last row point to any other row: it is read, and has
 * no influence. */
struct panel_rows {
  const real *const *at;
  ptrdiff_t stride, length;
};

/* rows, rounded up to whole blocks of the kernel: by fewer than PANEL_ROWS_MOST. */
ptrdiff_t panel_rows_rounded(ptrdiff_t rows);

/* C (rows x columns, ldc apart) from A (rows x depth) times columns [first, first + columns) of B; c points at column `first`, a multiple
 * of PANEL_ALIGN. With PANEL_ADD depth is at most PANEL_DEPTH. C may not overlap A. */
void panel_product(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const struct panel_rows *a, const real *panels, ptrdiff_t first,
                   enum panel_into into, real *c, ptrdiff_t ldc);

/* S (rows x columns) from A^T B, for weight gradients: a is depth x rows, lda apart; b has depth rows, whose first `columns` elements are
 * taken. depth is at most PANEL_DEPTH, and into is not PANEL_ADD. S lies in panels of columns, as B would, in panel_sums_size(rows,
 * columns) reals; panel_sums_add spreads it out. scratch: panel_transposed_size(rows) reals. */
ptrdiff_t panel_transposed_size(ptrdiff_t rows);
ptrdiff_t panel_sums_size(ptrdiff_t rows, ptrdiff_t columns);
void panel_product_transposed(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const real *a, ptrdiff_t lda, const struct panel_rows *b,
                              enum panel_into into, real *sums, real *scratch);

/* C (rows x columns, ldc apart) = S, or C += S if accumulate. */
void panel_sums_add(ptrdiff_t rows, ptrdiff_t columns, const real *sums, bool accumulate, real *c, ptrdiff_t ldc);

#endif
