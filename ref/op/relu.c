#include "op/relu.h"

enum { WORTH_THREADS = 1 << 15 }; /* elements below which waking threads costs more than the loop */

void relu_forward(ptrdiff_t size, const real *x, real *y) {
#pragma omp parallel for simd schedule(static) if (parallel : size > WORTH_THREADS)
  for (ptrdiff_t i = 0; i < size; i++) y[i] = x[i] <= 0 ? 0 : x[i]; /* false for NaN */
}

void relu_backward(ptrdiff_t size, const real *y, const real *dy, real *dx) {
#pragma omp parallel for simd schedule(static) if (parallel : size > WORTH_THREADS)
  for (ptrdiff_t i = 0; i < size; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}
