#include "op/finite.h"

#include <math.h>

void halt_unless_finite(ptrdiff_t n, const real *gradient, struct loss_sums *sums) {
  int bad = !isfinite(sums->sum.total);
#pragma omp parallel for schedule(static) reduction(| : bad)
  for (ptrdiff_t i = 0; i < n; i++) bad |= !isfinite(gradient[i]);
  if (bad) sums->halt = 1;
}
