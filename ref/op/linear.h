/* Linear layer: y = x w^T + b. x: m x i, w: o x i, b: o, y: m x o; row-major. */
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

/* Scratch of linear_backward_weights, in reals; depends on the shape only. */
ptrdiff_t linear_scratch(const struct linear *g);

/* y: overwritten. b: null for none. */
void linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y);

/* dx = dy w. dx: overwritten, or added to if accumulate. */
void linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate);

/* dw += dy^T x; db[o] += sum over rows of dy (in double, in order), db null for none. Rows are cut into chunks by the shape only and
 * joined in order. */
void linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, real *scratch);

#endif
