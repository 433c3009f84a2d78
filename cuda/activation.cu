/* What the model hands over as floats, stored as activations. Without a twin in ref/op: there they are the same numbers. */
#include "cuda/number.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

/* A thread an element. */
__global__ static void round_elements(ptrdiff_t n, const float *x, struct bf16 *y) {
  ptrdiff_t i = item_of_thread();
  if (i < n) y[i] = round_to_bf16(x[i]);
}

/* y: bf16, overwritten. */
void cuda_store_activations_bf16(ptrdiff_t n, const real *x, real *y) {
  LAUNCH(round_elements, blocks_for(n), dim3(BLOCK_THREADS), 0, cuda_stream(), n, x, activations<bf16>(y));
  cuda_launched("store_activations");
}
