/* bf16: the upper half of a float, 8 bits of exponent and 8 of significand (one implied). Kept in uint16_t on the host, where nothing is
 * computed in it. */
#ifndef EDIY_BASE_BF16_H
#define EDIY_BASE_BF16_H

#include <stdint.h>
#include <string.h>

/* Exact. */
static inline float bf16_widen(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* To nearest, ties to even; what is beyond the largest bf16 by half a unit becomes infinite; a NaN stays one. */
static inline uint16_t bf16_round(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40); /* quiet, so that cutting leaves it a NaN */
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

#endif
