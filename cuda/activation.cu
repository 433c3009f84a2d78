/* What the model hands over as floats, stored as activations and weights are. Without a twin in ref/op: there they are the same numbers. */
#include "cuda/convert.h"
#include "cuda/twins.h"

/* y: bf16, overwritten. */
void cuda_store_activations_bf16(ptrdiff_t n, const real *x, real *y) {
  launch_convert(n, x, activations<bf16>(y));
  cuda_launched("store_activations");
}
