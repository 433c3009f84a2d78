/* What the tests of the operations share: poison, doubles, difference quotients, thread counts. */
#ifndef EDIY_TESTS_OP_NUMERIC_H
#define EDIY_TESTS_OP_NUMERIC_H

#include <omp.h>
#include <string.h>

#include "support/cmocka.h"

#include "support/support.h"

/* Outputs that must be overwritten start as NaN, which no comparison lets pass. One element more than asked for stands behind the
 * array and must keep its NaN: nothing writes past the end. */
static inline real *test_poisoned(ptrdiff_t n) {
  real *p = test_reals(n + 1);
  for (ptrdiff_t i = 0; i <= n; i++) p[i] = (real)NAN;
  return p;
}
#define assert_end_untouched(p, n) assert_true(isnan((p)[n]))

static inline double *test_doubles(ptrdiff_t n) {
  double *p = malloc((size_t)(n > 0 ? n : 1) * sizeof *p);
  if (!p) abort();
  for (ptrdiff_t i = 0; i < n; i++) p[i] = NAN;
  return p;
}

static inline double *test_widened(const real *x, ptrdiff_t n) {
  double *p = test_doubles(n);
  for (ptrdiff_t i = 0; i < n; i++) p[i] = (double)x[i];
  return p;
}

/* |a[i] - b[i]| <= bound, a real and b double. */
#define assert_all_near(a, b, n, bound) test_near(a, b, n, bound, #a, __FILE__, __LINE__)
static inline void test_near(const real *a, const double *b, ptrdiff_t n, double bound, const char *what, const char *file, int line) {
  for (ptrdiff_t i = 0; i < n; i++)
    if (!(fabs((double)a[i] - b[i]) <= bound)) {
      print_error("%s[%td] is %.17g, expected %.17g: off by %.3g, allowed %.3g\n", what, i, (double)a[i], b[i], fabs((double)a[i] - b[i]),
                  bound);
      _fail(file, line);
    }
}

/* gradient[i] = df/dx[i] in double, by the central quotient of fourth order,
 *     (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12 h,    error h^4 f'''''/30 + 1.5 * 2^-53 |f| / h.
 * With h = 2^-10 and functions of order 1 to 100 of inputs of order 1 both parts stay below 1e-10 (a fifth derivative below 3e3). */
#define DIFFERENCE_ERROR 1e-10
static inline void test_difference(double (*f)(const void *context), const void *context, double *x, ptrdiff_t n, double *gradient) {
  const double h = 0x1p-10;
  for (ptrdiff_t i = 0; i < n; i++) {
    double at = x[i], value[4], offset[4] = {h, -h, 2 * h, -2 * h};
    for (int k = 0; k < 4; k++) {
      x[i] = at + offset[k];
      value[k] = f(context);
    }
    x[i] = at;
    gradient[i] = (8 * (value[0] - value[1]) - (value[2] - value[3])) / (12 * h);
  }
}

/* Results must be the same bits with every one of these. */
static const int thread_counts[] = {1, 2, 3, 5};
enum { THREAD_COUNTS = sizeof thread_counts / sizeof thread_counts[0] };

#endif
