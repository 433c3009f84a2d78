/* Dot products of rows in double. Eight partial sums, one for each place modulo eight, are joined in order: a fixed order of
 * additions that a compiler may still put into vector registers, and that depends on the length alone. */
#ifndef EDIY_OP_SUM_H
#define EDIY_OP_SUM_H

#include <stddef.h>

#include "base/real.h"

#define sum_products REAL_NAME(sum_products)
#define sum_products_wide REAL_NAME(sum_products_wide)

/* sum over i of a[i] b[i], in double. a may be b. */
static inline double sum_products(ptrdiff_t size, const real *a, const real *b) {
  enum { LANES = 8 };
  double lane[LANES] = {0}, sum = 0;
  ptrdiff_t whole = size / LANES * LANES;
  for (ptrdiff_t i = 0; i < whole; i += LANES)
    for (int l = 0; l < LANES; l++) lane[l] += (double)a[i + l] * (double)b[i + l];
  for (ptrdiff_t i = whole; i < size; i++) lane[i - whole] += (double)a[i] * (double)b[i];
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

/* The same with a second row that is already in double. */
static inline double sum_products_wide(ptrdiff_t size, const real *a, const double *b) {
  enum { LANES = 8 };
  double lane[LANES] = {0}, sum = 0;
  ptrdiff_t whole = size / LANES * LANES;
  for (ptrdiff_t i = 0; i < whole; i += LANES)
    for (int l = 0; l < LANES; l++) lane[l] += (double)a[i + l] * b[i + l];
  for (ptrdiff_t i = whole; i < size; i++) lane[i - whole] += (double)a[i] * b[i];
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

#endif
