/* A share (accuracy) with its 95 % confidence interval.
 *
 * Wilson's score interval (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
 * Statistical Association 22, 1927, 209-212): the set of p for which |s - p| <= z sqrt(p (1 - p) / n), that is, with s = hits / n,
 *
 *     (s + z^2 / 2n  -+  z sqrt(s (1 - s) / n + z^2 / 4n^2)) / (1 + z^2 / n)
 *
 * It stays inside [0, 1] and is meaningful at 0 and n hits, where the textbook s -+ z sqrt(s (1 - s) / n) has width zero. It says how much
 * of a difference can be the choice of test images; it says nothing about another seed of the training.
 */
#ifndef EDIY_EVAL_INTERVAL_H
#define EDIY_EVAL_INTERVAL_H

#include <assert.h>
#include <math.h>
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

#endif
