/* Compute classes: the precision that a kernel declares to work in, which decides what it may be off by. */
#ifndef EDIY_ORACLE_PRECISION_H
#define EDIY_ORACLE_PRECISION_H

#include <stdbool.h>

enum precision {
  PRECISION_FP64,
  PRECISION_FP32,
  PRECISION_TF32,
  PRECISION_BF16,
  PRECISION_FP16,
  PRECISION_BF16_OUT,
  PRECISION_FP32_RZ,
  PRECISION_COUNT
};

struct number_format {
  int bits;  /* of the significand, the implied one among them: the unit roundoff is 2^-bits */
  int least; /* exponent of the smallest denormal */
  double largest;
};

#define PRECISION_NAMES "fp64 | fp32 | tf32 | bf16 | fp16 | bf16-out | fp32-rz" /* choices of an option, in the order of the enum */

/* Inputs of a case are exact in float. A tf32, bf16 or fp16 kernel rounds them to its input format, multiplies exactly, accumulates in
 * float and rounds its outputs to its output format; a bf16-out kernel reads inputs as they are (of storage in bf16: exactly).
 * A sum of fp32-rz is one of tensor cores: in float, each addition rounded toward zero. */
struct precision_class {
  const char *name;
  struct number_format in, acc, out;
  struct number_format lower; /* the next lower precision: what a kernel that claims this one must not compute in */
  bool cuts;                  /* sums are rounded toward zero, and so are too small by up to what their roundings add up to (accept.h) */
  bool winograd;              /* declared: convolutions 3x3 with stride 1 are computed as F(2x2, 3x3), forward (gauge_winograd.c) */
};

extern const struct precision_class precision_classes[PRECISION_COUNT];

/* 2^-bits, half the distance from 1 to the next number. */
double unit_roundoff(const struct number_format *f);

/* x rounded to the nearest number of the format, halves to even; beyond the largest: infinite. */
double number_round(const struct number_format *f, double x);

#endif
