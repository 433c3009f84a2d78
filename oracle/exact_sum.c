#include "oracle/exact_sum.h"

#include <assert.h>
#include <math.h>

void exact_sum_add(struct exact_sum *s, double x) {
  if (!isfinite(x) || s->special != 0) { /* NaN compares unequal to 0, too */
    s->special += x;
    return;
  }
  int kept = 0;
  for (int i = 0; i < s->count; i++) {
    double y = s->part[i];
    if (fabs(x) < fabs(y)) {
      double larger = y;
      y = x, x = larger;
    }
    double high = x + y, low = y - (high - x); /* high + low = x + y exactly, as |x| >= |y| (Dekker 1971) */
    if (!isfinite(high)) {
      s->special = high;
      return;
    }
    if (low != 0) s->part[kept++] = low;
    x = high;
  }
  assert(kept < EXACT_SUM_PARTS);
  s->part[kept] = x;
  s->count = kept + 1;
}

double exact_sum_value(const struct exact_sum *s) {
  if (s->special != 0) return s->special;
  int i = s->count - 1;
  if (i < 0) return 0;
  double high = s->part[i--], low = 0;
  while (i >= 0 && low == 0) { /* from the largest part down, as long as adding is exact */
    double x = high, y = s->part[i--];
    high = x + y;
    low = y - (high - x);
  }
  /* high is the sum of two parts rounded to even. If that was a tie, and the parts below have the sign of low, the true sum lies beyond
   * the tie, on low's side. */
  if (i >= 0 && ((low < 0 && s->part[i] < 0) || (low > 0 && s->part[i] > 0))) {
    double twice = 2 * low, beyond = high + twice;
    if (twice == beyond - high) high = beyond;
  }
  return high;
}
