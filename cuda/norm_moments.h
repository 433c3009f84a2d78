/* The sums of a batch norm's chunks of rows: those of norm.cu's first pass over x, which a convolution may leave in its place where it
 * stores x (tensor_gemm.h). Twin of tile_moments in ref/op/norm_sums.c, and its bits. */
#ifndef EDIY_CUDA_NORM_MOMENTS_H
#define EDIY_CUDA_NORM_MOMENTS_H

#include <math.h>

#include "cuda/number.h"
#include "op/norm.h"

enum { CHUNK_ROWS = 128 /* the reference's cut, which fixes the order of the sums */ };
constexpr double CHUNK_SHARE = 1.0 / CHUNK_ROWS; /* exact: a product with it has the quotient's bits */

static inline ptrdiff_t chunk_count(ptrdiff_t rows) { return (rows + CHUNK_ROWS - 1) / CHUNK_ROWS; }

/* Where the two sums of a part lie, channel by channel. */
__host__ __device__ static inline ptrdiff_t part_sums(ptrdiff_t c, ptrdiff_t part, int which) { return (2 * part + which) * c; }

/* What a thread knows of its channels of a chunk: sums of x - first and of its square. */
template <int N> struct moments {
  double first[N], sum[N], square[N];

  template <class T> __device__ void add(const struct numbers<T, N> &x) {
    UNROLL for (int e = 0; e < N; e++) {
      double d = (double)widen(x.x[e]) - first[e];
      sum[e] += d;
      square[e] += d * d;
    }
  }
  template <class T> __device__ void begin(const struct numbers<T, N> &x) {
    UNROLL for (int e = 0; e < N; e++) first[e] = isfinite(widen(x.x[e])) ? (double)widen(x.x[e]) : 0.0;
  }
};

/* What is left of the rows of a chunk, in the channels from c on. */
template <int N>
__device__ static inline void leave_moments(const struct moments<N> &m, ptrdiff_t channels, ptrdiff_t chunk, ptrdiff_t c, ptrdiff_t rows,
                                            double *sums) {
  UNROLL for (int e = 0; e < N; e++) {
    double product = m.sum[e] * m.sum[e];
    sums[part_sums(channels, chunk, 0) + c + e] = (double)rows * m.first[e] + m.sum[e];
    sums[part_sums(channels, chunk, 1) + c + e] = m.square[e] - (rows == CHUNK_ROWS ? product * CHUNK_SHARE : product / (double)rows);
  }
}

/* The same of a tensor in memory: the first pass of cuda_norm_forward_train alone. */
void norm_moments_launch(const struct norm *g, const float *x, double *moments);
void norm_moments_launch(const struct norm *g, const struct bf16 *x, double *moments);

#endif
