/* The number formats of activations on the device: float, and bf16 (8 bits of exponent, 8 of significand, as float's upper half). A kernel
 * that is a template over the type T of its activations reads them with widen and writes them with narrow<T>; what it computes in is float
 * or double either way. */
#ifndef EDIY_CUDA_NUMBER_H
#define EDIY_CUDA_NUMBER_H

#include <stdint.h>
#include <string.h>

#include "base/bf16.h"
#include "cuda/launch.h"

struct bf16 {
  uint16_t bits;
};

__host__ __device__ static inline float widen(float x) { return x; }

__host__ __device__ static inline float widen(struct bf16 x) {
#ifdef __CUDA_ARCH__
  return __uint_as_float((uint32_t)x.bits << 16);
#else
  return bf16_widen(x.bits);
#endif
}

/* As bf16_round; a NaN becomes the one that the instruction gives. */
__host__ __device__ static inline struct bf16 round_to_bf16(float x) {
#ifdef __CUDA_ARCH__
  struct bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  return {bf16_round(x)};
#endif
}

template <class T> __host__ __device__ inline T narrow(float x);
template <> __host__ __device__ inline float narrow<float>(float x) { return x; }
template <> __host__ __device__ inline struct bf16 narrow<struct bf16>(float x) {
  return round_to_bf16(x);
}

/* Numbers that are read and written together: 16 bytes at most are one access of memory. */
enum {
  PIECE_BYTES = 16
};
template <class T> struct pieces_of {
  enum { NUMBERS = PIECE_BYTES / (int)sizeof(T) };
};
template <class T, int N> struct numbers { T x[N]; };
/* Their bytes as words, which compilers load and store at once. */
template <int BYTES> struct alignas(BYTES) words { uint32_t word[BYTES / (int)sizeof(uint32_t)]; };

/* from, to: aligned to the bytes of N numbers. */
template <int N, class T> __device__ static inline struct numbers<T, N> load_numbers(const T *from) {
  struct numbers<T, N> y;
  if constexpr (N == 1) {
    y.x[0] = *from;
  } else {
    struct words<N *(int)sizeof(T)> w = *reinterpret_cast<const struct words<N *(int)sizeof(T)> *>(from);
    memcpy(y.x, w.word, sizeof y.x);
  }
  return y;
} template <class T, int N> __device__ static inline void store_numbers(T *to, const struct numbers<T, N> &y) {
  if constexpr (N == 1) {
    *to = y.x[0];
  } else {
    struct words<N *(int)sizeof(T)> w;
    memcpy(w.word, y.x, sizeof y.x);
    *reinterpret_cast<struct words<N *(int)sizeof(T)> *>(to) = w;
  }
}

/* What a kernel works on: N neighbouring channels of T a thread. */
template <class T, int N> struct channels_of {
  typedef T type;
  enum { WIDE = N };
};

/* Whether a row of channels is whole pieces, and all of these tensors (null: none) begin where a piece may. */
template <class T, class... P> static inline bool in_pieces(ptrdiff_t channels, const P *...p) {
  return channels % pieces_of<T>::NUMBERS == 0 && ((reinterpret_cast<uintptr_t>(p) % PIECE_BYTES == 0) && ...);
}

/* form<channels_of<T, ...>> with the channels of a piece, or with one where that cannot be; the arguments are handed on. */
#define BY_PIECES(form, T, whole, ...)                                                                                                     \
  do {                                                                                                                                     \
    typedef channels_of<T, pieces_of<T>::NUMBERS> wide;                                                                                    \
    typedef channels_of<T, 1> single;                                                                                                      \
    if (whole)                                                                                                                             \
      form<wide>(__VA_ARGS__);                                                                                                             \
    else                                                                                                                                   \
      form<single>(__VA_ARGS__);                                                                                                           \
  } while (0)

/* Activations as the table hands them over, whose pointers are of real whatever is stored. */
template <class T> static inline T *activations(float *x) { return (T *)x; }
template <class T> static inline const T *activations(const float *x) { return (const T *)x; }

#endif
