/* How far two tensors are apart, in one pass over both, in windows of any size.
 *
 * Sums are in double, eight lanes over all windows of a tensor. Numbers that are not finite count where they differ (NaN equals NaN,
 * whatever its bits; infinity the same infinity) and are left out of the sums. Zeros of either sign are equal.
 */
#ifndef EDIY_ORACLE_DISTANCE_H
#define EDIY_ORACLE_DISTANCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/tensor.h"

enum { DISTANCE_CHUNK = 1024 };

struct distance {             /* zero-initialised: nothing seen */
  double off[8], norm[8];     /* lanes of sum (b - a)^2 and sum a^2 */
  ptrdiff_t seen, differ;     /* elements; those of unequal values */
  double worst;               /* largest |b - a|; infinite where one only is finite */
  ptrdiff_t where;            /* flat index of the first that far off, where differ > 0 */
  double a, b;                /* there */
  ptrdiff_t zeros_apart;      /* elements that are 0 in one only */
  double max;                 /* largest |a| */
  ptrdiff_t not_finite_apart; /* elements that are finite in one only, or not finite in two ways */
};

/* n elements of both; pointers may be unaligned. */
void distance_add(struct distance *d, enum dtype dtype_a, const void *a, enum dtype dtype_b, const void *b, ptrdiff_t n);

/* |b - a| / |a|; 0 where they are equal; infinite where a is 0 and b is not. Of integers (indices), the same of one-hot rows: sqrt(2
 * differ / seen). */
double distance_l2(const struct distance *d, bool integers);

double distance_norm(const struct distance *d); /* |a| */

bool dtype_is_float(enum dtype dtype);

/* n <= DISTANCE_CHUNK elements as doubles. */
void doubles_of(enum dtype dtype, const void *data, ptrdiff_t n, double *x);

#endif
