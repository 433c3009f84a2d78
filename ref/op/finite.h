/* Whether the gradient of a step may be used. */
#ifndef EDIY_OP_FINITE_H
#define EDIY_OP_FINITE_H

#include "op/loss.h"

#define halt_unless_finite REAL_NAME(halt_unless_finite)

/* Sets sums->halt to 1 unless all n numbers of the gradient and sums->sum.total are finite; else leaves it. */
void halt_unless_finite(ptrdiff_t n, const real *gradient, struct loss_sums *sums);

#endif
