/* Floats to bf16: what a table of bf16 stores, and what a library takes. */
#ifndef EDIY_CUDA_CONVERT_H
#define EDIY_CUDA_CONVERT_H

#include "cuda/number.h"
#include "cuda/runtime.h"

/* Each rounded to nearest, ties to even. A thread C::WIDE neighbours; the last has what is left. */
template <class C> __global__ static void convert_to_bf16(ptrdiff_t size, const float *from, struct bf16 *to) {
  enum { FLOATS = C::WIDE < 4 ? C::WIDE : 4 };
  ptrdiff_t first = item_of_thread() * C::WIDE;
  if (first + C::WIDE <= size) {
    struct numbers<struct bf16, C::WIDE> y;
    UNROLL for (int i = 0; i < C::WIDE; i += FLOATS) {
      struct numbers<float, FLOATS> x = load_numbers<FLOATS>(from + first + i);
      UNROLL for (int e = 0; e < FLOATS; e++) y.x[i + e] = round_to_bf16(x.x[e]);
    }
    store_numbers(to + first, y);
  } else {
    for (ptrdiff_t i = first; i < size; i++) to[i] = round_to_bf16(from[i]);
  }
}

template <class C> static inline void launch_convert_by(ptrdiff_t size, const float *from, struct bf16 *to) {
  LAUNCH(convert_to_bf16<C>, blocks_for((size + C::WIDE - 1) / C::WIDE), dim3(BLOCK_THREADS), 0, cuda_stream(), size, from, to);
}

static inline void launch_convert(ptrdiff_t size, const float *from, struct bf16 *to) {
  BY_PIECES(launch_convert_by, struct bf16, in_pieces<struct bf16>(0, from, to), size, from, to);
}

#endif
