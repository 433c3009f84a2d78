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

void unit_backward(ptrdiff_t m, ptrdiff_t c, const real *u, const double *inverse, const real *du, real *dx) {
#pragma omp parallel for schedule(static) if (m * c > WORTH_THREADS)
  for (ptrdiff_t i = 0; i < m; i++) {
    const real *ui = u + i * c, *dui = du + i * c;
    real *dxi = dx + i * c;
    double along = unit_is_guarded(inverse[i]) ? 0.0 : sum_products(c, ui, dui);
    for (ptrdiff_t k = 0; k < c; k++) dxi[k] = (real)(inverse[i] * ((double)dui[k] - (double)ui[k] * along));
  }
}
