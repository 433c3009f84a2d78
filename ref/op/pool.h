/* Pooling: 3x3/2 maximum with padding 1, and the global average. Maps are N H W C. */
#ifndef EDIY_OP_POOL_H
#define EDIY_OP_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/real.h"

#ifndef EDIY_OP_POOL_SHAPE
#define EDIY_OP_POOL_SHAPE
struct pool {
  ptrdiff_t n, h, w, c; /* input */
};
static inline ptrdiff_t maxpool_out(ptrdiff_t size) { return (size + 2 - 3) / 2 + 1; } /* rows or columns of the output */
#endif

#define maxpool_forward REAL_NAME(maxpool_forward)
#define maxpool_backward REAL_NAME(maxpool_backward)
#define avgpool_forward REAL_NAME(avgpool_forward)
#define avgpool_backward REAL_NAME(avgpool_backward)

/* y[n,p,q,c] = max of x over the 3x3 window at (2p - 1, 2q - 1); padding never wins. index: h W + w of the winner in its
 * plane, the first maximum in row-major order (PyTorch's choice); null where no backward follows. y, index (N P Q C): overwritten.
 * A NaN wins. */
void maxpool_forward(const struct pool *g, const real *x, real *y, int32_t *index);

/* dx[index] += dy, overlapping windows add, in the order of the windows. dx: overwritten (zeros where nothing won). */
void maxpool_backward(const struct pool *g, const real *dy, const int32_t *index, real *dx);

/* y[n,c] = mean over h, w of x, summed in double in row-major order. y: N x C, overwritten. */
void avgpool_forward(const struct pool *g, const real *x, real *y);

/* dx[n,h,w,c] = dy[n,c] / (H W). dx: overwritten, or added to if accumulate. */
void avgpool_backward(const struct pool *g, const real *dy, real *dx, bool accumulate);

#endif
