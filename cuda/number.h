/* The number formats of activations on the device: float, and bf16 (8 bits of exponent, 8 of significand, as float's upper half). A kernel
 * that is a template over the type T of its activations reads them with widen and writes them with narrow<T>; what it computes in is float or
 * double either way. */
#ifndef EDIY_CUDA_NUMBER_H
#define EDIY_CUDA_NUMBER_H

#include <stdint.h>
#include <string.h>

#include "cuda/launch.h"

struct bf16 {
  uint16_t bits;
};

__host__ __device__ static inline float widen(float x) { return x; }

__host__ __device__ static inline float widen(struct bf16 x) {
  uint32_t bits = (uint32_t)x.bits << 16;
  float wide;
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

/* To nearest, ties to even; what is beyond the largest bf16 by half a unit becomes infinite; a NaN stays one. */
__host__ __device__ static inline struct bf16 round_to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {(uint16_t)(bits >> 16 | 0x40)};
  return {(uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

template <class T> __host__ __device__ inline T narrow(float x);
template <> __host__ __device__ inline float narrow<float>(float x) { return x; }
template <> __host__ __device__ inline struct bf16 narrow<struct bf16>(float x) {
  return round_to_bf16(x);
}

/* Activations as the table hands them over, whose pointers are of real whatever is stored. */
template <class T>
static inline T *activations(float *x) {
  return (T *)x;
}
template <class T> static inline const T *activations(const float *x) { return (const T *)x; }

#endif
