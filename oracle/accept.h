/* The acceptance rule: is this tensor right, for a kernel of this precision, in whatever order it sums?
 *
 * Truth y: the reference in double, on the candidate's own inputs. Reference r: the reference in the declared precision. Gauge G: what
 * the terms of the element add up to in absolute value (gauge.h). An error e = c - y means nothing until it is divided by G.
 *
 *   not finite  c is NaN or infinite where y is not, or the other way round
 *   exact       where every partial sum in any order is exact: c = y
 *   element     |e| <= u_out |y| + (4 sqrt(L) + 2) u_acc G + u_in min(2 G, 6 G2) + 4 denormals + (4 sqrt(L) + 2) denormals / 2
 *   rms         rms(e / G) <= 3 max(rms((r - y) / G), 0.3 u_acc, sqrt(L) / 3 u_acc rms(s / G)); below 64 elements
 *               6 in place of 3, and the largest is 0.3 u_in rms(G2 / G) at least; of a single element u_acc / 3
 *   bias        |beta| <= 6 sd(beta) + 6 u_acc + 2 u_in + 3 |beta of r| + shared, beta the factor of s in e (least squares
 *               with weights 1 / G^2), from 256 elements and 8 groups on; s = y, or y - start where the operation adds to what was there;
 *               of sums that are rounded toward zero + L / 16 u_acc, which also stands in place of sqrt(L) / 3 u_acc where it is more,
 *               and L / 16 u_acc |y| beside the terms of "element"
 *
 * u: unit roundoffs of the class (precision.h). L: additions one after the other; G2: root of the sum of squared terms.
 * - element: 4 sqrt(L) u G is four standard deviations of L roundings of partial sums that are never larger than G; the two more are the
 *   product and the last addition. A rounding of a number below the normal ones is one of half a denormal. Rounding both inputs moves a
 *   sum by at most 2 u_in G, and hardly by more than six of its standard deviations.
 * - rms: what catches a kernel that works in less than it declares. The third term is a plain chain over terms of one sign: its partial
 *   sums grow to y, and their roundings (0.4 u each, on k y / L) add up to 0.4 / sqrt(3) sqrt(L) u y; over terms of both signs it is
 *   nothing. s is |y|, and what such sums within the operation (a mean) carry into y. Terms that are all one number are rounded alike, and
 *   roundings add up to L / 4 u y, not to sqrt(L): the gauges of batch norm, average pooling and bias gradients know them (gauge.h).
 *   Of few elements r may be close to y by luck: then the 0.3 u that rounding inputs evenly leaves counts in its place. A single element is
 *   no mean of anything: a product and a sum that both are off by their whole roundoff are right, and leave 2 u_acc.
 * - bias: what catches a factor of 1.00001. sd is that of what beta leaves over of the errors in each group: an element,
 *   a channel in batch norm, a row of cosines. Inputs
 *   cut, not rounded, shrink a product by up to 2 u_in. shared is what all elements may be off by together: a common factor of the
 *   increment (norms, a rounded tau), common u_acc; a rounded factor of what was there before, kept u_acc sum(start z) / sum(s z).
 *   Sums rounded toward zero, as tensor cores add up four products or more at a time: the partial sum after k of n additions is k / n y on
 *   average, and loses half of u_acc of itself, so that y is too small by n / 4 u_acc of it, n = L / 4. In a sum of terms of both signs the
 *   partial sums keep a sign for long, and so do the roundings.
 * - A tensor that several operations contribute to (a gradient with several consumers, a gradient that is accumulated): y, r, G and L are
 *   sums over them, and in place of |y| stand the sizes of what was rounded on the way, as each contribution may be stored before it is
 *   added.
 * Every comparison is written so that NaN fails it. Where the gauge, or anything else that an element's allowance is made of, is not finite
 * and y is (Winograd's mixes an infinite input into a whole tile), nothing is known of the element's error: c = y, and no other rule counts
 * it.
 */
#ifndef EDIY_ORACLE_ACCEPT_H
#define EDIY_ORACLE_ACCEPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/tensor.h"
#include "oracle/compare.h"
#include "oracle/precision.h"

struct yardstick {
  const struct tensor *truth;   /* shape and name */
  const double *y, *r, *g, *g2; /* one for each element; g2 may be g */
  const double *start;          /* null, or what was there before */
  const double *sizes;          /* null for |y|, or what is rounded to the output format on the way to y, added up */
  const double *carried;        /* null, or what the errors of sums within the operation are carried into y by */
  double chain;                 /* L */
  double common;                /* roundoffs that one factor of the whole increment may be off by: norms (gauge_optimise.c); 0: none */
  double kept;                  /* roundoffs that the factor of start may be off by, where one is stored as a number: 1 - momentum, tau */
  bool exact;
  bool rows_share; /* errors of one row depend on each other: cosines, whose rows share a length */
  bool cancels; /* y is what roundings of the inputs leave of a sum that is zero: no factor of it means anything, rule "bias" is silent */
  bool channels_share; /* errors of one channel depend on each other: batch norm, whose channels share a mean and a deviation */
};

/* Judges c, one double for each element of the truth. f->tensor: kept. Rule, where, candidate, expected, error, allowed: of the rule that
 * is broken, or of the one that came closest to it; absolute for element and exact, in gauges for rms, a factor for bias. The result does
 * not depend on the number of threads. quick: stops at the first part that breaks a rule, so that the worst element may lie behind it. */
void accept_tensor(const struct yardstick *m, const struct precision_class *p, const double *c, bool quick, struct finding *f);

/* What an element may be off by, the rules "element" and "exact": out size + cut |y| + acc G + in min(2 G, 6 G2) + least; 0 where not
 * finite. */
struct allowance {
  double out, cut, acc, in, least;
};
struct allowance accept_allowance(const struct yardstick *m, const struct precision_class *p);
double accept_allowed(const struct yardstick *m, const struct allowance *a, ptrdiff_t i);

#endif
