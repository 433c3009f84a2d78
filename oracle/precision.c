#include "oracle/precision.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define FP64                                                                                                                               \
  { 53, -1074, DBL_MAX }
#define FP32                                                                                                                               \
  { 24, -149, FLT_MAX }
#define FP32_RZ                                                                                                                            \
  { 23, -149, FLT_MAX } /* rounding toward zero is off by up to twice as much */
#define TF32                                                                                                                               \
  { 11, -136, 0x1.ffcp127 }
#define BF16                                                                                                                               \
  { 8, -133, 0x1.fep127 }
#define FP16                                                                                                                               \
  { 11, -24, 65504 }
#define FP8                                                                                                                                \
  { 4, -9, 448 } /* E4M3 of the OCP 8-bit floating point specification */

const struct precision_class precision_classes[PRECISION_COUNT] = {
    {"fp64", FP64, FP64, FP64, FP32, false, false},      {"fp32", FP32, FP32, FP32, TF32, false, false},
    {"tf32", TF32, FP32, FP32, BF16, false, false},      {"bf16", BF16, FP32, BF16, FP8, false, false},
    {"fp16", FP16, FP32, FP16, BF16, false, false},      {"bf16-out", FP32, FP32, BF16, FP8, false, false},
    {"fp32-rz", FP32, FP32_RZ, FP32, TF32, true, false},
};

double unit_roundoff(const struct number_format *f) { return ldexp(1, -f->bits); }

double number_round(const struct number_format *f, double x) {
  int exponent;
  if (x == 0 || !isfinite(x) || f->bits == 53) return x;
  if (fabs(x) >= 0x1p-100 && fabs(x) < 0x1p120 &&
      f->least < -130) { /* a normal number of the format: cut and round the significand's bits */
    uint64_t bits, last = (uint64_t)1 << (53 - f->bits);
    memcpy(&bits, &x, sizeof bits);
    bits += last / 2 - 1 + ((bits / last) & 1);
    bits &= ~(last - 1);
    memcpy(&x, &bits, sizeof x);
    return x;
  }
  frexp(x, &exponent); /* 0.5 <= |x| 2^-exponent < 1 */
  int quantum = exponent - f->bits > f->least ? exponent - f->bits : f->least;
  double y = ldexp(nearbyint(ldexp(x, -quantum)), quantum);
  return fabs(y) > f->largest ? copysign(INFINITY, x) : y;
}
