/* Whether the gradient of a step may be used. Twin of ref/op/finite.c: a block looks at each piece, then one at what they found. */
#include <math.h>

#include "cuda/runtime.h"
#include "cuda/twins.h"

enum { FLAGS = BLOCK_THREADS, PIECE = 1 << 13 /* elements a block at least */ };

/* Whether any thread of the block says so; thread 0 gets it. */
__device__ static int any_of_block(int any) {
  SHARED(int, found, [BLOCK_THREADS]);
  found[threadIdx.x] = any;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int t = 1; t < BLOCK_THREADS; t++) any |= found[t];
  return any;
}

__global__ static void find_not_finite(ptrdiff_t size, ptrdiff_t piece, const float *x, int *flag) {
  ptrdiff_t first = (ptrdiff_t)blockIdx.x * piece, last = size - first > piece ? first + piece : size;
  int any = 0;
  for (ptrdiff_t i = first + threadIdx.x; i < last; i += BLOCK_THREADS) any |= !isfinite(x[i]);
  any = any_of_block(any);
  if (threadIdx.x == 0) flag[blockIdx.x] = any;
}

__global__ static void halt_if_found(int flags, const int *flag, struct loss_sums *sums) {
  int any = any_of_block((int)threadIdx.x < flags ? flag[threadIdx.x] : 0);
  if (threadIdx.x == 0 && (any || !isfinite(sums->sum.total))) sums->halt = 1;
}

void cuda_halt_unless_finite(ptrdiff_t n, const real *gradient, struct loss_sums *sums) {
  static_assert(FLAGS * sizeof(int) <= OWN_SCRATCH, "room for the flags");
  int *flag = (int *)cuda_own_scratch();
  ptrdiff_t piece = (n + FLAGS - 1) / FLAGS;
  if (piece < PIECE) piece = PIECE;
  int blocks = (int)((n + piece - 1) / piece);
  if (blocks > 0) LAUNCH(find_not_finite, dim3((unsigned)blocks), dim3(BLOCK_THREADS), 0, cuda_stream(), n, piece, gradient, flag);
  LAUNCH(halt_if_found, dim3(1), dim3(BLOCK_THREADS), 0, cuda_stream(), blocks, flag, sums);
  cuda_launched("halt_unless_finite");
}
