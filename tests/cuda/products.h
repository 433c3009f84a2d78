/* Bounds of matrix products, whose sums the twins take in another order than the reference.
 *
 * A sum of products in float, in any order and with or without fused operations, of at most `length` terms is off its exact value by at
 * most
 *     gamma S,   gamma = length u / (1 - length u),   S = sum |a| |b|      (Higham, Accuracy and Stability, section 3.1).
 * S is what the same operation gives on absolute values. The expected value, from the plain form, is the exact sum rounded once and takes
 * another u S; what is accumulated to is one more term. */
#ifndef EDIY_TESTS_CUDA_PRODUCTS_H
#define EDIY_TESTS_CUDA_PRODUCTS_H

#include "cuda/device.h"

/* Turns S, computed in double and rounded up here, into the bound. */
static inline double *test_product_bound(const real *magnitude, ptrdiff_t n, ptrdiff_t length) {
  double *bound = malloc((size_t)(n > 0 ? n : 1) * sizeof *bound), terms = (double)(length + 2) * REAL_ROUNDOFF;
  if (!bound) abort();
  for (ptrdiff_t i = 0; i < n; i++) bound[i] = terms / (1 - terms) * (double)magnitude[i] * (1 + 2 * REAL_ROUNDOFF);
  return bound;
}

#endif
