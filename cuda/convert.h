/* Kernels for what libraries take and give in another number format. */
#ifndef EDIY_CUDA_CONVERT_H
#define EDIY_CUDA_CONVERT_H

#include "cuda/number.h"
#include "cuda/runtime.h"

/* Each rounded to nearest, ties to even. A thread an element. */
__global__ static void convert_to_bf16(ptrdiff_t size, const float *from, struct bf16 *to) {
  ptrdiff_t i = item_of_thread();
  if (i < size) to[i] = narrow<struct bf16>(from[i]);
}

static inline void launch_convert(ptrdiff_t size, const float *from, struct bf16 *to) {
  LAUNCH(convert_to_bf16, blocks_for(size), dim3(BLOCK_THREADS), 0, cuda_stream(), size, from, to);
}

#endif
