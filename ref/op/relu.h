/* y = max(x, 0) alone. In the networks the ReLU is part of the norm in front of it (norm.h); here it stands for the oracle, which judges
 * kernels that have it apart. */
#ifndef EDIY_OP_RELU_H
#define EDIY_OP_RELU_H

#include <stddef.h>

#include "base/real.h"

#define relu_forward REAL_NAME(relu_forward)
#define relu_backward REAL_NAME(relu_backward)

/* y[i] = x[i] > 0 ? x[i] : 0, but NaN stays NaN. May be in place. */
void relu_forward(ptrdiff_t size, const real *x, real *y);

/* dx[i] = y[i] > 0 ? dy[i] : 0: the gradient at exactly 0 is 0. May be in place. */
void relu_backward(ptrdiff_t size, const real *y, const real *dy, real *dx);

#endif
