/* Sums of doubles that are rounded once, at the end: the value does not depend on the order of the terms, so that two programs that
 * hold the same numbers have the same sum (it is what Python's math.fsum gives).
 *
 * Shewchuk 1997 ("Adaptive precision floating-point arithmetic and fast robust geometric predicates"): the running sum is kept as an
 * expansion, doubles that do not overlap, in rising magnitude, whose exact sum is the exact sum of the terms so far.
 */
#ifndef EDIY_ORACLE_EXACT_SUM_H
#define EDIY_ORACLE_EXACT_SUM_H

#include <stddef.h>

/* Non-overlapping doubles: 2098 bits from the smallest denormal to the largest double, 53 a part, and one for the carry. */
enum { EXACT_SUM_PARTS = 2098 / 53 + 2 };

struct exact_sum { /* zero-initialised: an empty sum */
  double part[EXACT_SUM_PARTS];
  int count;
  double special; /* sum of the terms that are NaN or infinite, which have no expansion */
};

void exact_sum_add(struct exact_sum *s, double x);

/* The sum, rounded to the nearest double, halves to even. */
double exact_sum_value(const struct exact_sum *s);

#endif
