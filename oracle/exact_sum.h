/* Sums of doubles that are rounded once, at the end: the value does not depend on the order of the terms, so that two programs that
 * hold the same numbers have the same sum (it is what Python's math.fsum gives).
 *
 * Shewchuk 1997 ("Adaptive precision floating-point arithmetic and fast robust geometric predicates"): the running sum is kept as an
 * expansion, doubles that do not overlap, in rising magnitude, whose exact sum is the exact sum of the terms so far. Where that leaves the
 * range of a double the sum is infinite, whatever comes after.
 */
#ifndef EDIY_ORACLE_EXACT_SUM_H
#define EDIY_ORACLE_EXACT_SUM_H

#include <stddef.h>

/* A part may be as narrow as one bit, but there is a zero bit between it and the next: adding to an expansion of which that is true leaves
 * one of which it is true (nonadjacent: Shewchuk's theorem 10, of rounding to even). From the smallest denormal to the largest double there
 * are 2098 bits: every second one is the last of a part. (1, 4, 16, ... from 2^-1074 on leave 1023.) */
enum { EXACT_SUM_PARTS = 2098 / 2 };

struct exact_sum { /* zero-initialised: an empty sum */
  double part[EXACT_SUM_PARTS];
  int count;
  double special; /* sum from the first term on that is NaN or infinite, which has no expansion, or makes the sum so far overflow; else 0 */
};

void exact_sum_add(struct exact_sum *s, double x);

/* The sum, rounded to the nearest double, halves to even. */
double exact_sum_value(const struct exact_sum *s);

#endif
