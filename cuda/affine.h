/* Batch norm of one channel whose statistics are known, as an element goes through it: the elements of norm.cu, and the end of a
 * convolution that a norm in evaluation follows. */
#ifndef EDIY_CUDA_AFFINE_H
#define EDIY_CUDA_AFFINE_H

#include <math.h>

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

/* A norm that follows a convolution in evaluation: its channels, computed once a launch, and what else its elements need. */
template <class T> struct following_norm {
  const struct affine *channel;
  const T *residual; /* as the convolution's output, or null */
  bool relu;
};

/* A thread a channel. */
__global__ static void running_affines(ptrdiff_t c, double eps, const float *gamma, const float *beta, const float *running_mean,
                                       const float *running_var, struct affine *channel) {
  ptrdiff_t i = item_of_thread();
  if (i < c) channel[i] = affine_of((double)running_mean[i], inverse_deviation(eps, (double)running_var[i]), gamma[i], beta[i]);
}

static inline size_t following_norm_scratch(ptrdiff_t channels) { return (size_t)channels * sizeof(struct affine); }

/* scratch: following_norm_scratch bytes. */
template <class T>
static struct following_norm<T> following_norm_of(const struct norm *g, const T *residual, const float *gamma, const float *beta,
                                                  const float *running_mean, const float *running_var, void *scratch) {
  struct affine *channel = (struct affine *)scratch;
  LAUNCH(running_affines, blocks_for(g->c), dim3(BLOCK_THREADS), 0, cuda_stream(), g->c, g->eps, gamma, beta, running_mean, running_var,
         channel);
  return {channel, residual, g->relu};
}

#endif
