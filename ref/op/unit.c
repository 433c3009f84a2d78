#include "op/unit.h"

#include "op/sum.h"

enum { WORTH_THREADS = 1 << 14 }; /* elements below which waking threads costs more than the loop */

void unit_forward(ptrdiff_t m, ptrdiff_t c, const real *x, real *u, double *inverse) {
#pragma omp parallel for schedule(static) if (m * c > WORTH_THREADS)
  for (ptrdiff_t i = 0; i < m; i++) {
    const real *xi = x + i * c;
    real *ui = u + i * c;
    inverse[i] = unit_inverse(sum_products(c, xi, xi));
    for (ptrdiff_t k = 0; k < c; k++) ui[k] = (real)((double)xi[k] * inverse[i]);
  }
}
