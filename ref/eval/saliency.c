#include "eval/saliency.h"

#include <assert.h>
#include <string.h>

static void mean_region(ptrdiff_t n, ptrdiff_t c, const real *regions, double *mean) {
  memset(mean, 0, (size_t)c * sizeof *mean);
  for (ptrdiff_t j = 0; j < n; j++)
    for (ptrdiff_t k = 0; k < c; k++) mean[k] += (double)regions[j * c + k];
  for (ptrdiff_t k = 0; k < c; k++) mean[k] /= (double)n;
}

void saliency_shares(ptrdiff_t b, ptrdiff_t n, ptrdiff_t c, const real *regions, double *share, double *scratch) {
  assert(b >= 0 && n >= 1 && c >= 1);
  double *m = scratch;
  for (ptrdiff_t i = 0; i < b; i++) {
    const real *x = regions + i * n * c;
    double square = 0; /* |m|^2 */
    mean_region(n, c, x, m);
    for (ptrdiff_t k = 0; k < c; k++) square += m[k] * m[k];
    for (ptrdiff_t j = 0; j < n; j++) {
      double dot = 0;
      for (ptrdiff_t k = 0; k < c; k++) dot += (double)x[j * c + k] * m[k];
      share[i * n + j] = square == 0 ? 1 / (double)n : dot / ((double)n * square);
    }
  }
}

double saliency_effective(ptrdiff_t n, const double *share) {
  assert(n >= 1);
  double squares = 0;
  for (ptrdiff_t j = 0; j < n; j++) squares += share[j] * share[j];
  return 1 / squares;
}
