/* Sizes: signed, in elements unless a name says bytes, and multiplied with a check. */
#ifndef EDIY_BASE_SIZE_H
#define EDIY_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>

/* *product = a * b * c * d if every factor is >= 0 and the product fits; else false. */
static inline bool size_product(ptrdiff_t a, ptrdiff_t b, ptrdiff_t c, ptrdiff_t d, ptrdiff_t *product) {
  ptrdiff_t ab, abc;
  return a >= 0 && b >= 0 && c >= 0 && d >= 0 && !__builtin_mul_overflow(a, b, &ab) && !__builtin_mul_overflow(ab, c, &abc) &&
         !__builtin_mul_overflow(abc, d, product);
}

static inline ptrdiff_t size_min(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t size_max(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }

/* a / b rounded up; b > 0. */
static inline ptrdiff_t size_ceil_div(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

#endif
