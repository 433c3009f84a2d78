/* Linear layer: y = x w^T + b. x, dx: m x i; w, dw: o x i; b, db: o; y, dy: m x o; row-major. No arguments may overlap. Results
 * are the same, bit for bit, for any number of threads. */
#ifndef EDIY_OP_LINEAR_H
#define EDIY_OP_LINEAR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/real.h"

#ifndef EDIY_OP_LINEAR_SHAPE
#define EDIY_OP_LINEAR_SHAPE
struct linear {
  ptrdiff_t m, i, o; /* rows, inputs, outputs */
};

/* Rows of a chunk of dy, whose sums are added up for db: the smallest power of two whose square is at least m, so that no chain of
 * additions is much longer than twice the root of m. Larger where chunks times outputs would be more than 2^19 sums. */
enum { LINEAR_BIAS_SUMS = 1 << 19 };
static inline ptrdiff_t linear_bias_rows(const struct linear *g) {
  ptrdiff_t rows = 1;
  while (rows < g->m && (rows * rows < g->m || (g->m + rows - 1) / rows * g->o > LINEAR_BIAS_SUMS)) rows *= 2;
  return rows;
}
#endif

#define linear_scratch REAL_NAME(linear_scratch)
#define linear_forward REAL_NAME(linear_forward)
#define linear_backward_data REAL_NAME(linear_backward_data)
#define linear_backward_weights REAL_NAME(linear_backward_weights)

/* Scratch of linear_backward_weights with this many threads, in reals. Aligned for pointers. */
ptrdiff_t linear_scratch(const struct linear *g, int threads);

/* y: overwritten. b: null for none. One chain of fused multiply-adds in real over i, in order (panel.h), to which b is added. */
void linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y);

/* dx = dy w, one chain over o in order. dx: overwritten, or added to if accumulate. */
void linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate);

/* dw += dy^T x, by conv_backward_weights: rows are cut into chunks by the shape alone, summed in real, joined in order in double.
 * db[o] += sum over rows of dy, in double, in order within chunks of linear_bias_rows, then chunk by chunk, rounded once. db may be
 * null.
 * scratch: linear_scratch(g, omp_get_max_threads()) reals. */
void linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, real *scratch);

#endif
