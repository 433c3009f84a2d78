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
#endif

#define linear_scratch REAL_NAME(linear_scratch)
#define linear_forward REAL_NAME(linear_forward)
#define linear_backward_data REAL_NAME(linear_backward_data)
#define linear_backward_weights REAL_NAME(linear_backward_weights)

/* Scratch of linear_backward_weights, in reals; depends on the shape only. May be 0. */
ptrdiff_t linear_scratch(const struct linear *g);

/* y: overwritten. b: null for none. One sum in real inside gemm, which b is the first term of. */
void linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y);

/* dx = dy w. dx: overwritten, or added to if accumulate. */
void linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate);

/* dw += dy^T x, by conv_backward_weights: rows are cut into chunks by the shape only, summed in real, joined in order in double.
 * db[o] += sum over rows of dy, in double, in order, rounded once; db null for none. */
void linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, real *scratch);

#endif
