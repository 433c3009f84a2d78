/* Batch norm of one channel whose statistics are known, as an element goes through it: the elements of norm.cu, and the end of a
 * convolution that a norm in evaluation follows. */
#ifndef EDIY_CUDA_AFFINE_H
#define EDIY_CUDA_AFFINE_H

#include <math.h>

#include "cuda/number.h"
#include "cuda/runtime.h"
#include "op/norm.h"

/* value = hi + lo, the nearest float and the nearest float to what is left: a mean far larger than the deviation is subtracted in two
 * steps (ref/op/norm.c has the error analysis). */
__device__ static inline void split(double value, float *hi, float *lo) {
  *hi = (float)value;
  *lo = (float)(value - (double)*hi);
}

__device__ static inline double inverse_deviation(double eps, double variance) { return 1.0 / sqrt(variance + eps); }

/* gamma invstd (x - mean) + beta. */
struct affine {
  float hi, lo, slope, shift;
};

__device__ static inline struct affine affine_of(double mean, double invstd, float gamma, float beta) {
  struct affine a;
  split(mean, &a.hi, &a.lo);
  a.slope = (float)((double)gamma * invstd), a.shift = beta;
  return a;
}

/* a(x) [+ residual] [then max(., 0)]; NaN stays NaN. */
__device__ static inline float normalised(const struct affine &a, float x, bool add, float residual, bool relu) {
  float v = ((x - a.hi) - a.lo) * a.slope + a.shift;
  if (add) v += residual;
  return relu && v <= 0 ? 0.0f : v;
}

/* Its bytes as words, for shared memory. */
typedef struct words<(int)sizeof(struct affine)> affine_words;
__device__ static inline affine_words packed_affine(const struct affine &a) {
  affine_words w;
  memcpy(w.word, &a, sizeof w);
  return w;
}
__device__ static inline struct affine unpacked_affine(affine_words w) { /* by value: one access of memory */
  struct affine a;
  memcpy(&a, w.word, sizeof a);
  return a;
}

/* A norm that follows a convolution in evaluation, and what its elements need. */
template <class T> struct following_norm {
  const float *gamma, *beta, *running_mean, *running_var;
  double eps;
  const T *residual; /* as the convolution's output, or null */
  bool relu;

  __device__ struct affine of(int c) const {
    return affine_of((double)running_mean[c], inverse_deviation(eps, (double)running_var[c]), gamma[c], beta[c]);
  }
};

template <class T>
static struct following_norm<T> following_norm_of(const struct norm *g, const T *residual, const float *gamma, const float *beta,
                                                  const float *running_mean, const float *running_var) {
  return {gamma, beta, running_mean, running_var, g->eps, residual, g->relu};
}

#endif
