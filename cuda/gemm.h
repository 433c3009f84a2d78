/* The matrix product C = A B, tiled through shared memory, in plain float arithmetic: for every shape, where tensor_gemm.h asks for whole
 * pieces, and simple enough to be read first.
 *
 * A block computes a TILE x TILE tile of C. It walks along the depth in slabs: all threads load a slab of A (TILE x SLAB_DEPTH) and one of
 * B (SLAB_DEPTH x TILE) into shared memory, wait, and then each thread adds SLAB_DEPTH products to its own EACH x EACH elements of C, kept
 * in registers. Every loaded number is used TILE times.
 *
 *        B     A thread's elements are EACH neighbouring rows by EACH neighbouring columns, so that 2 EACH reads of shared memory feed
 *     A  C     EACH * EACH fused multiply-adds.
 *
 * The matrices need not exist: a product type P says what A and B hold at an index and where a row of C starts. A convolution's
 * patches are so gathered while they are loaded (implicit GEMM). P, passed by value, has
 *
 *     number, result     the types of A and B, and of C, in memory
 *     rows, columns      of C
 *     first, last        the depth to sum over
 *     begin(z)           narrows these to the part of the work that blockIdx.z = z stands for
 *     A_ALONG_DEPTH, B_ALONG_DEPTH   whether neighbours in memory are neighbours in depth: then so are the threads that load
 *     at_a(a, i, d), at_b(b, d, j)   the element, inside rows, columns and depth, as a float
 *     row_at(i)          offset of the start of a row of C, whose columns are contiguous
 *     accumulate, NORMED, norm       what becomes of a sum (ending.h)
 *
 * Order: an element is one chain of fused multiply-adds in float, from the first depth to the last, by one thread. It does not depend on
 * the tile it lies in, nor on anything that happens at run time.
 */
#ifndef EDIY_CUDA_GEMM_H
#define EDIY_CUDA_GEMM_H

#include <math.h>

#include "cuda/ending.h"

enum {
  TILE = 64,           /* rows and columns of C a block */
  SLAB_DEPTH = 16,     /* depth in shared memory at a time: 8.3 KiB, many blocks fit on a multiprocessor */
  EACH = 4,            /* rows and columns of C a thread */
  THREADS_ACROSS = 16, /* threads across a tile, TILE / EACH */
  GEMM_THREADS = THREADS_ACROSS * THREADS_ACROSS
};

template <class P>
__global__ static void __launch_bounds__(GEMM_THREADS)
    gemm(P p, const typename P::number *a, const typename P::number *b, const float *bias, typename P::result *c) {
  SHARED(float, slab_a, [SLAB_DEPTH][TILE + 1]); /* one more column: a column of a slab lies in different banks */
  SHARED(float, slab_b, [SLAB_DEPTH][TILE + 1]);
  const int thread = (int)threadIdx.x, top = (int)blockIdx.x * TILE, left = (int)blockIdx.y * TILE;
  const int down = thread / THREADS_ACROSS * EACH, right = thread % THREADS_ACROSS * EACH;
  float sum[EACH][EACH] = {};

  p.begin((int)blockIdx.z);
  for (int slab = p.first; slab < p.last; slab += SLAB_DEPTH) {
    for (int e = thread; e < SLAB_DEPTH * TILE; e += GEMM_THREADS) {
      int d = P::A_ALONG_DEPTH ? e % SLAB_DEPTH : e / TILE, i = P::A_ALONG_DEPTH ? e / SLAB_DEPTH : e % TILE;
      slab_a[d][i] = i < p.rows - top && d < p.last - slab ? p.at_a(a, top + i, slab + d) : 0.0f;
    }
    for (int e = thread; e < SLAB_DEPTH * TILE; e += GEMM_THREADS) {
      int d = P::B_ALONG_DEPTH ? e % SLAB_DEPTH : e / TILE, j = P::B_ALONG_DEPTH ? e / SLAB_DEPTH : e % TILE;
      slab_b[d][j] = j < p.columns - left && d < p.last - slab ? p.at_b(b, slab + d, left + j) : 0.0f;
    }
    __syncthreads();
    for (int d = 0; d < SLAB_DEPTH; d++) {
      float u[EACH], v[EACH];
      for (int i = 0; i < EACH; i++) u[i] = slab_a[d][down + i], v[i] = slab_b[d][right + i];
      for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) sum[i][j] = fmaf(u[i], v[j], sum[i][j]);
    }
    __syncthreads();
  }
  for (int j = 0; j < EACH && right + j < p.columns - left; j++) {
    struct ending<P, 1> end;
    end.begin(bias, left + right + j);
    end.take_channels(p, left + right + j, 1);
    for (int i = 0; i < EACH && down + i < p.rows - top; i++) {
      ptrdiff_t at = p.row_at(top + down + i) + left + right + j;
      c[at] = narrow<typename P::result>(end.of_one(p, 0, sum[i][j], at, c + at));
    }
  }
}

static inline int tiles_of(int size) { return (size + TILE - 1) / TILE; }

enum { MOST_PARTS = 65535 }; /* blocks of a grid in its third dimension */

/* Launches p over a C of at most this many rows and columns, parts times (begin). */
template <class P>
static void gemm_launch(const P &p, int rows, int columns, int parts, const typename P::number *a, const typename P::number *b,
                        const float *bias, typename P::result *c) {
  LAUNCH(gemm<P>, dim3((unsigned)tiles_of(rows), (unsigned)tiles_of(columns), (unsigned)parts), dim3(GEMM_THREADS), 0, cuda_stream(), p, a,
         b, bias, c);
}

#endif
