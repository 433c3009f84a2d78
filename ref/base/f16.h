/* f16: half precision of IEEE 754, 5 bits of exponent and 11 of significand (one implied). Weights that others have stored so are read;
 * nothing is computed in it, nor written. */
#ifndef EDIY_BASE_F16_H
#define EDIY_BASE_F16_H

#include <stdint.h>
#include <string.h>

/* Exact. */
static inline float f16_widen(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ffu;
  if (exponent == 0) return (sign ? -0x1p-24f : 0x1p-24f) * (float)fraction; /* zero, or subnormal, which in a float is none */
  const uint32_t bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

#endif
