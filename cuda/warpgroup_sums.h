/* What multiplies a slab in tensor_gemm.h on Hopper: the tensor cores by warpgroup.h, which read operands in shared memory themselves. To
 * be compiled for sm_90a. See tensor_sums.h. */
#ifndef EDIY_CUDA_WARPGROUP_SUMS_H
#define EDIY_CUDA_WARPGROUP_SUMS_H

#include "cuda/tensor_sums.h"
#include "cuda/warpgroup.h"

/* A warp has, of every 64 rows of the tile, 16 in all columns. The multiplication of a slab goes on while the next one is begun. */
template <class K> struct warpgroup_sums {
  enum { M = K::TILE_ROWS / WARPGROUP_ROWS, N = K::TILE_COLUMNS, SUMS = M * N / 2, BLOCKS = SUMS > 64 ? 2 : SUMS > 32 ? 3 : 4 };
  float sum[M][N / 2] = {};

  __device__ void begin() { show_copies(), begin_products(); }
  __device__ void step(const unsigned char *stage, int step, int, int) {
    static const bool A = K::a_operand::ALONG, B = K::b_operand::ALONG;
    uint64_t b = tile_descriptor<B>(stage + K::TILE_ROWS * SLAB_BYTES, 0, step);
    UNROLL for (int i = 0; i < M; i++) multiply_tiles<N, A, B>(sum[i], tile_descriptor<A>(stage, i, step), b);
  }
  __device__ void end() { commit_products(), wait_for_products<K::LAG>(); }
  __device__ void finish() {
    wait_for_products<0>();
    UNROLL for (int i = 0; i < M; i++) hold_sums(sum[i]);
  }

  __device__ void put(float *staged, int half, int warp, int lane) const {
    int row = warp * 16 + lane / 4; /* of 64 */
    UNROLL for (int i = 0; i < M; i++) {
      if (M > 1 ? i != half : warp / 2 != half) continue;
      float *at = staged + (M > 1 ? row : row - half * (int)K::DOWN) * K::PITCH + lane % 4 * 2;
      UNROLL for (int e = 0; e < N / 2; e++) at[e / 2 % 2 * 8 * K::PITCH + e / 4 * 8 + e % 2] = sum[i][e];
    }
  }
};

struct warpgroup_arithmetic : bf16_arithmetic {
  enum { LAG = 1 };
  template <class K> using sums = warpgroup_sums<K>;
};

#endif
