/* Whether all numbers of an array are finite: a block looks at each piece, the host at one flag a block. Without a twin in ref/op: on the host
 * it is a loop where it is needed (ref/train/watch.c). */
#include <math.h>

#include "cuda/runtime.h"
#include "cuda/twins.h"

enum { FLAGS = 256, PIECE = 1 << 13 /* elements a block at least */ };

__global__ static void find_not_finite(ptrdiff_t size, ptrdiff_t piece, const float *x, int *flag) {
  SHARED(int, found, [BLOCK_THREADS]);
  ptrdiff_t first = (ptrdiff_t)blockIdx.x * piece, last = size - first > piece ? first + piece : size;
  int any = 0;
  for (ptrdiff_t i = first + threadIdx.x; i < last; i += BLOCK_THREADS) any |= !isfinite(x[i]);
  found[threadIdx.x] = any;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int t = 1; t < BLOCK_THREADS; t++) any |= found[t];
  flag[blockIdx.x] = any;
}

/* Waits. After a failure of the device: false, since download fills the flags with ones. */
bool cuda_all_finite(ptrdiff_t n, const real *x) {
  static_assert(FLAGS * sizeof(int) <= OWN_SCRATCH, "room for the flags");
  if (n == 0) return true;
  ptrdiff_t piece = (n + FLAGS - 1) / FLAGS;
  if (piece < PIECE) piece = PIECE;
  int blocks = (int)((n + piece - 1) / piece), flag[FLAGS], any = 0;
  LAUNCH(find_not_finite, dim3((unsigned)blocks), dim3(BLOCK_THREADS), 0, cuda_stream(), n, piece, x, (int *)cuda_own_scratch());
  cuda_launched("all_finite");
  cuda_download(flag, cuda_own_scratch(), (size_t)blocks * sizeof *flag);
  for (int i = 0; i < blocks; i++) any |= flag[i];
  return !any;
}
