/* Sums in the order that op/panel.h promises, to compare bits with. */
#ifndef EDIY_TESTS_OP_CHAIN_H
#define EDIY_TESTS_OP_CHAIN_H

#include <math.h>
#include <stddef.h>

#include "base/real.h"

/* A multiply-add as the kernel has it: fused wherever the processor can. */
static inline real multiply_add(real a, real b, real c) {
#if !defined(__FMA__) && !defined(__AVX512F__) && !defined(__aarch64__)
  return (real)(a * b) + c;
#elif EDIY_REAL_BITS == 32
  return fmaf(a, b, c);
#else
  return fma(a, b, c);
#endif
}

/* The sum of a[k * step_a] b[k * step_b], k below depth, as panel.h says; start: what it is added to, null for nothing. */
static inline real chain(ptrdiff_t depth, const real *a, ptrdiff_t step_a, const real *b, ptrdiff_t step_b, const real *start) {
  real total = start ? *start : 0;
  for (ptrdiff_t from = 0; from < depth; from += 256) {
    real sum = 0;
    for (ptrdiff_t k = from; k < depth && k < from + 256; k++) sum = multiply_add(a[k * step_a], b[k * step_b], sum);
    total = start || from > 0 ? total + sum : sum;
  }
  return total;
}

#endif
