/* A share (accuracy) and a mean, each with its 95 % confidence interval. An interval says how much of a difference can be the choice of
 * test images; it says nothing about another seed of the training.
 *
 * Of a share: Wilson's score interval (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
 * the American Statistical Association 22, 1927, 209-212): the set of p for which |s - p| <= z sqrt(p (1 - p) / n), that is, with
 * s = hits / n,
 *
 *     (s + z^2 / 2n  -+  z sqrt(s (1 - s) / n + z^2 / 4n^2)) / (1 + z^2 / n)
 *
 * It stays inside [0, 1] and is meaningful at 0 and n hits, where the textbook s -+ z sqrt(s (1 - s) / n) has width zero.
 *
 * Of a mean: Student's ("The probable error of a mean", Biometrika 6, 1908, 1-25), with s^2 = sum (x - mean)^2 / (n - 1),
 *
 *     mean -+ t s / sqrt(n),    P(|T| < t) = 0.95 for n - 1 degrees of freedom
 *
 * which holds for normal values, and for others the better the more there are. Values measured on the same images are compared by the mean
 * of their differences, image by image, not by whether two intervals overlap.
 */
#ifndef EDIY_EVAL_INTERVAL_H
#define EDIY_EVAL_INTERVAL_H

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#define WILSON_Z 1.959963984540054 /* the 97.5 % point of the standard normal: 95 % two-sided */

struct share {
  ptrdiff_t hits, count;
  double value, low, high; /* hits / count and its interval; count = 0: value 0, interval [0, 1] */
};

/* 0 <= hits <= count. */
static inline struct share share_of(ptrdiff_t hits, ptrdiff_t count) {
  assert(0 <= hits && hits <= count);
  if (count == 0) return (struct share){0, 0, 0, 0, 1};
  double n = (double)count, s = (double)hits / n, z2 = WILSON_Z * WILSON_Z;
  double middle = s + z2 / (2 * n), half = WILSON_Z * sqrt(s * (1 - s) / n + z2 / (4 * n * n)), scale = 1 + z2 / n;
  /* At 0 and n hits one end is 0 or 1 exactly, which rounding would miss. */
  return (struct share){hits, count, s, hits == 0 ? 0 : (middle - half) / scale, hits == count ? 1 : (middle + half) / scale};
}

struct mean {
  ptrdiff_t count;
  double value, low, high; /* count < 2: the interval has no ends, -inf and inf; count = 0: value 0 */
};

/* P(|T| < sqrt(freedom) tan(angle)) for Student's T: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4. */
static inline double student_within(double angle, ptrdiff_t freedom) {
  static const double pi = 3.14159265358979323846;
  const bool odd = freedom % 2;
  double cosine = cos(angle), term = odd ? cosine : 1, sum = 0;
  for (ptrdiff_t i = odd ? 3 : 2; i <= freedom; i += 2) { /* products of 2/3, 4/5, ... or 1/2, 3/4, ... with squared cosines */
    sum += term;
    term *= cosine * cosine * (double)(i - 1) / (double)i;
  }
  return odd ? 2 / pi * (angle + sin(angle) * sum) : sin(angle) * sum;
}

/* The 97.5 % point of Student's distribution, freedom >= 1: by halving the interval that its angle is in. */
static inline double student_t(ptrdiff_t freedom) {
  assert(freedom >= 1);
  double low = 0, high = 1.57079632679489661923;
  for (int i = 0; i < 60; i++) {
    double middle = (low + high) / 2;
    if (student_within(middle, freedom) < 0.95)
      low = middle;
    else
      high = middle;
  }
  return sqrt((double)freedom) * tan(high);
}

static inline struct mean mean_of(ptrdiff_t count, const double *x) {
  assert(count >= 0);
  double sum = 0, squares = 0, n = (double)count;
  for (ptrdiff_t i = 0; i < count; i++) sum += x[i];
  if (count < 2) return (struct mean){count, sum, -INFINITY, INFINITY};
  double value = sum / n;
  for (ptrdiff_t i = 0; i < count; i++) squares += (x[i] - value) * (x[i] - value);
  double half = student_t(count - 1) * sqrt(squares / (n - 1) / n);
  return (struct mean){count, value, value - half, value + half};
}

#endif
