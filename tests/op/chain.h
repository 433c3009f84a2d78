/* Sums in the order that op/panel.h promises, to compare bits with. */
#ifndef EDIY_TESTS_OP_CHAIN_H
#define EDIY_TESTS_OP_CHAIN_H

#include <math.h>
#include <stddef.h>

#include "base/real.h"
#include "support/fused.h"

/* A multiply-add as the kernel has it: fused wherever the processor can. */
static inline real multiply_add(real a, real b, real c) {
#if !TEST_FUSED
  return (real)(a * b) + c;
#elif EDIY_REAL_BITS == 32
  return fmaf(a, b, c);
#else
  return fma(a, b, c);
#endif
}

/* The sum of a[k * step_a] b[k * step_b], k below depth, as panel.h says: sum and the products one after the other, or these alone. */
static inline real chain_from(real sum, ptrdiff_t depth, const real *a, ptrdiff_t step_a, const real *b, ptrdiff_t step_b) {
  for (ptrdiff_t k = 0; k < depth; k++) sum = multiply_add(a[k * step_a], b[k * step_b], sum);
  return sum;
}
static inline real chain(ptrdiff_t depth, const real *a, ptrdiff_t step_a, const real *b, ptrdiff_t step_b) {
  return chain_from(0, depth, a, step_a, b, step_b);
}

/* What backward weights adds to start (conv.h): a chain, or one for each chunk of the depth, joined in double. */
static inline real chain_of_chunks(ptrdiff_t depth, ptrdiff_t chunk, const real *a, ptrdiff_t step_a, const real *b, ptrdiff_t step_b,
                                   real start) {
  if (chunk >= depth) return start + chain(depth, a, step_a, b, step_b);
  double sum = (double)start;
  for (ptrdiff_t from = 0; from < depth; from += chunk)
    sum += (double)chain(depth - from < chunk ? depth - from : chunk, a + from * step_a, step_a, b + from * step_b, step_b);
  return (real)sum;
}

#endif
