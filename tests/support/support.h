/* What the tests share. Include after cmocka's own headers:
 *
 *     #include "support/cmocka.h"      // stdarg, stddef, setjmp, stdint, cmocka
 *     #include "support/support.h"
 */
#ifndef EDIY_TESTS_SUPPORT_H
#define EDIY_TESTS_SUPPORT_H

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/philox.h"
#include "base/real.h"

/* n reals from calloc, or the test stops. */
static inline real *test_reals(ptrdiff_t n) {
  real *p = calloc((size_t)(n > 0 ? n : 1), sizeof(real));
  if (!p) abort();
  return p;
}

/* |x|, to be freed. */
static inline real *test_magnitudes(const real *x, ptrdiff_t n) {
  real *y = test_reals(n);
  for (ptrdiff_t i = 0; i < n; i++) y[i] = (real)fabs((double)x[i]);
  return y;
}

/* Normal numbers, rounded to float so that both precisions start from the same ones. */
static inline void test_fill_normal(real *x, ptrdiff_t n, uint32_t stream) {
  struct philox g = philox_stream(1, PHILOX_TEST, 0, stream, 0);
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (real)(float)philox_normal(&g);
}

/* Integers in [-range, range]. */
static inline void test_fill_int(real *x, ptrdiff_t n, int range, uint32_t stream) {
  struct philox g = philox_stream(1, PHILOX_TEST, 1, stream, 0);
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (real)((int)philox_below(&g, (uint32_t)(2 * range + 1)) - range);
}

/* max |a - b| <= bound, element by element, NaN failing; says which element was worst. */
#define assert_all_close(a, b, n, bound) test_close(a, b, n, bound, #a, __FILE__, __LINE__)
static inline void test_close(const real *a, const real *b, ptrdiff_t n, double bound, const char *what, const char *file, int line) {
  ptrdiff_t worst = -1;
  double most = 0;
  for (ptrdiff_t i = 0; i < n; i++) {
    double e = fabs((double)a[i] - (double)b[i]);
    if (!(e <= bound) && (worst < 0 || !(e <= most))) worst = i, most = e;
  }
  if (worst >= 0) {
    print_error("%s[%td] is %.17g, expected %.17g: off by %.3g, allowed %.3g\n", what, worst, (double)a[worst], (double)b[worst], most,
                bound);
    _fail(file, line);
  }
}

/* Bit for bit, up to the sign of zero. */
#define assert_all_equal(a, b, n) test_close(a, b, n, 0.0, #a, __FILE__, __LINE__)

static inline double test_max_abs(const real *x, ptrdiff_t n) {
  double m = 0;
  for (ptrdiff_t i = 0; i < n; i++) m = fmax(m, fabs((double)x[i]));
  return m;
}

#endif
