/* Dot products and lengths of rows on the device: twins of ref/op/sum.h and ref/op/unit.h, with the same bits.
 *
 * The reference sums a row in eight partial sums, one for each place modulo eight, and joins them in order. Here the eight are eight
 * neighbouring lanes of a warp, which read neighbouring elements. Every lane of the warp has to call these together. */
#ifndef EDIY_CUDA_ROWS_H
#define EDIY_CUDA_ROWS_H

#include <math.h>

#include "cuda/number.h"
#include "op/unit.h"

enum { LANES = 8 };

/* The partial sums of eight lanes, added in order; all eight get the sum. */
__device__ static inline double join_lanes(double lane) {
  double sum = 0;
  for (int l = 0; l < LANES; l++) sum += __shfl_sync((unsigned)WHOLE_WARP, lane, l, LANES);
  return sum;
}

/* sum over k of a[k] b[k] in double. a may be b. */
template <class T> __device__ static inline double row_products(ptrdiff_t c, const T *a, const T *b) {
  double lane = 0;
  for (ptrdiff_t k = threadIdx.x % LANES; k < c; k += LANES) lane += (double)widen(a[k]) * (double)widen(b[k]);
  return join_lanes(lane);
}

/* 1 / sqrt(max(square, guard)); a NaN stays NaN. */
__device__ static inline double row_inverse(double square) { return 1.0 / sqrt(square < UNIT_GUARD ? UNIT_GUARD : square); }

/* Whether row_inverse stopped at the guard. */
__device__ static inline bool row_is_guarded(double inverse) { return inverse == 1.0 / sqrt(UNIT_GUARD); }

#endif
