/* What the tests of products share: rounding on the host, and bounds of their sums.
 *
 * Operands are rounded on the host as the contract says, and the plain forms give what the products of the rounded ones come to; then only
 * the sum and the rounding of the result are left. */
#ifndef EDIY_TESTS_CUDA_CLASSES_H
#define EDIY_TESTS_CUDA_CLASSES_H

#include "cuda/activations.h"
#include "cuda/products.h"

enum { INT_RANGE = 3 };

/* ---- rounding ------------------------------------------------------------------------------------------------------------------------ */

/* To tf32: the nearest multiple of 2^(e - 10) for the exponent e, ties away from zero. */
static inline float test_to_tf32(float x) {
  int exponent;
  if (!isfinite(x) || x == 0) return x;
  frexp((double)x, &exponent); /* one more than e */
  double unit = ldexp(1, exponent - 11);
  return (float)copysign(floor(fabs((double)x) / unit + 0.5) * unit, (double)x);
}

/* As an operand of the table's products, which in fp32 are of the numbers themselves. */
static inline real *test_operand(const struct backend *b, const real *x, ptrdiff_t n) {
  real *y = test_reals(n);
  bool whole = strcmp(b->name, "cuda") == 0;
  for (ptrdiff_t i = 0; i < n; i++) y[i] = whole ? x[i] : stores_bf16(b) ? test_to_bf16(x[i]) : test_to_tf32(x[i]);
  return y;
}

/* ---- bounds ---------------------------------------------------------------------------------------------------------------------------
 *
 * In fp32 a sum is a chain of fused multiply-adds: at most u S a product, S = sum |a| |b|; a zero more adds nothing. On tensor cores
 * products of operands are exact (11 + 11 bits at most). Their sum is not a chain of rounded additions: tensor cores align the products of
 * a group of at least four, and what was summed so far, to the largest of them and cut off what is below its last place, as they do in the
 * end (Fasi, Higham, Mikaitis, Pranesh, Numerical behavior of NVIDIA tensor cores, 2021). So to a group of k products belong at most k + 2
 * cuts of at most 2 u times the largest term, itself at most S: with k >= 4, at most 3 u S a product. The chain is of whole
 * slabs, 32 depths at most. What is accumulated to, bias, joins and the expected value, rounded once, take u S each. A result in bf16 is
 * rounded once more. */
static inline double *test_tensor_bound(const struct backend *b, const real *magnitude, const real *expected, ptrdiff_t n, ptrdiff_t length,
                                        bool half) {
  bool chain = strcmp(b->name, "cuda") == 0;
  double *bound = malloc((size_t)n * sizeof *bound), terms = ((chain ? (double)length : 3.0 * (double)(length + 32)) + 4) * REAL_ROUNDOFF;
  if (!bound) abort();
  for (ptrdiff_t i = 0; i < n; i++) {
    bound[i] = terms / (1 - terms) * (double)magnitude[i] * (1 + 2 * REAL_ROUNDOFF);
    if (half) bound[i] += BF16_ROUNDOFF * (fabs((double)expected[i]) + bound[i]);
  }
  return bound;
}

/* device, activations or floats, against the exact sums rounded to float. Integers: sums below 2^24 are exact in any order and
 * with any cuts, so the very bits are expected. */
static inline void test_tensor_result(const struct backend *b, bool activations, bool ints, const real *device, const real *expected,
                                      const real *magnitude, ptrdiff_t n, ptrdiff_t length, const char *what) {
  bool half = activations && stores_bf16(b);
  real *got = half ? device_read_bf16(device, n) : device_read(device, n);
  double *bound = test_tensor_bound(b, magnitude, expected, n, length, half);
  for (ptrdiff_t i = 0; i < n; i++) {
    real exact = half ? test_to_bf16(expected[i]) : expected[i];
    double e = ints ? fabs((double)got[i] - (double)exact) : fabs((double)got[i] - (double)expected[i]), allowed = ints ? 0 : bound[i];
    if (!(e <= allowed))
      fail_msg("%s, %s: [%td] is %.9g, expected %.9g: off by %.3g, allowed %.3g", b->name, what, i, (double)got[i],
               ints ? (double)exact : (double)expected[i], e, allowed);
  }
  free(got), free(bound);
}

#endif
