/* Means over ranks of what every rank has sent: a thread an element, summed in the order of the ranks in double and rounded once, as the
 * reference's rank_mean (ref/op/backend.c). */
#include "cuda/runtime.h"
#include "cuda/twins.h"

__global__ static void mean_of_parts(int ranks, ptrdiff_t n, const float *parts, float *to) {
  ptrdiff_t i = item_of_thread();
  if (i >= n) return;
  double sum = 0;
  for (int k = 0; k < ranks; k++) sum += (double)parts[k * n + i];
  to[i] = (float)(sum / ranks);
}

/* to: overwritten; may be one of the parts. */
void cuda_rank_mean(int ranks, ptrdiff_t n, const real *parts, real *to) {
  LAUNCH(mean_of_parts, blocks_for(n), dim3(BLOCK_THREADS), 0, cuda_stream(), ranks, n, parts, to);
  cuda_launched("rank_mean");
}
