/* What becomes of the float sums of a product (gemm.h, tensor_gemm.h) before they are rounded to C's type. The product P says
 *
 *     result       the type of C in memory
 *     accumulate   whether the sum is added to C
 *     NORMED       whether a norm in evaluation follows, and then
 *     norm         it (affine.h); there is no bias then, and nothing is added to
 *
 * Bias is added in float, then what C held; or the norm follows. The result is rounded once, by whoever stores it. */
#ifndef EDIY_CUDA_ENDING_H
#define EDIY_CUDA_ENDING_H

#include "cuda/affine.h"
#include "cuda/number.h"

/* Of sums in PIECE neighbouring columns. */
template <class P, int PIECE> struct ending {
  typedef typename P::result R;
  struct affine channel[P::NORMED ? PIECE : 1];
  const float *bias;

  __device__ void begin(const float *biases, int column) { bias = biases ? biases + column : biases; }

  /* And, where a norm follows, its channels: computed here, or by others. columns: of these, that C has. */
  __device__ void take_channels(const P &p, int column, int columns) {
    if constexpr (P::NORMED) UNROLL for (int e = 0; e < PIECE; e++) if (e < columns) channel[e] = p.norm.of(column + e);
  }
  __device__ void take_channels(const affine_words *all, int apart, int columns) {
    UNROLL for (int e = 0; e < PIECE; e++) if (e < columns) channel[e] = unpacked_affine(all[e * apart]);
  }

  /* Of column e; at: where it stands in C, `offset` numbers from its start. */
  __device__ float of_one(const P &p, int e, float y, ptrdiff_t offset, const R *at) const {
    if constexpr (P::NORMED)
      return normalised(channel[e], y, p.norm.residual, p.norm.residual ? widen(p.norm.residual[offset]) : 0.0f, p.norm.relu);
    if (bias) y += bias[e];
    return p.accumulate ? y + widen(*at) : y;
  }

  /* Of all columns, pieces of 16 bytes in memory. */
  __device__ void of_piece(const P &p, float (&y)[PIECE], ptrdiff_t offset, const R *at) const {
    struct numbers<R, PIECE> before;
    const R *from = at;
    bool added = p.accumulate;
    if constexpr (P::NORMED) from = p.norm.residual + offset, added = p.norm.residual;
    if (added) before = load_numbers<PIECE>(from);
    UNROLL for (int e = 0; e < PIECE; e++) {
      if constexpr (P::NORMED) {
        y[e] = normalised(channel[e], y[e], added, added ? widen(before.x[e]) : 0.0f, p.norm.relu);
        continue;
      }
      if (bias) y[e] += bias[e];
      if (added) y[e] += widen(before.x[e]);
    }
  }
};

#endif
