/* L2 normalisation of rows: u = x / sqrt(max(sum x^2, 1e-12)) (the guard of BYOL's official code). */
#ifndef EDIY_OP_UNIT_H
#define EDIY_OP_UNIT_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/real.h"

#define UNIT_GUARD 1e-12 /* not a hyper-parameter: a constant of the method, the nearest double */

/* 1 / sqrt(max(square, guard)); a NaN stays NaN. */
static inline double unit_inverse(double square) { return 1.0 / sqrt(square < UNIT_GUARD ? UNIT_GUARD : square); }

/* Whether unit_inverse stopped at the guard: the divisor is then a constant of the gradient. */
static inline bool unit_is_guarded(double inverse) { return inverse == 1.0 / sqrt(UNIT_GUARD); }

#define unit_forward REAL_NAME(unit_forward)

/* x, u: m x c. inverse (m), overwritten: 1 / sqrt(max(sum x^2, guard)); sums in double. May be in place. (The losses take the gradient
 * through the division where they use it, op/loss.c.) */
void unit_forward(ptrdiff_t m, ptrdiff_t c, const real *x, real *u, double *inverse);

#endif
