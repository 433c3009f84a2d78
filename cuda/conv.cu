/* Convolution in fp32 (conv_tensor.h). Twin of ref/op/conv.c. */
#include "cuda/conv_tensor.h"

/* Partial dw of backward weights, and copies of x and w with whole pieces of channels where theirs are none. */
size_t cuda_conv_scratch(const struct conv *g) { return conv_scratch_tensor<float>(g); }

/* In every class. Where a tile has a chunk's rows; else y is small, and a pass over it costs little. */
size_t cuda_conv_moments(const struct conv *g) {
  ptrdiff_t rows = g->n * g->p * g->q;
  return tensor_tile_for(rows, g->k, 1) == TILE_64_64 ? 0 : (size_t)part_sums(g->k, chunk_count(rows), 0) * sizeof(double);
}

/* y: overwritten. Each y is one chain of fused multiply-adds over r, s, c in that order, in float. */
void cuda_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  conv_forward_tensor<fp32_arithmetic>(g, x, w, nullptr, y, scratch);
  cuda_launched("conv_forward");
}

/* y: overwritten, with the bits of cuda_conv_forward. moments: the bits that the sums in cuda_norm_forward_train's first pass have. */
void cuda_conv_forward_moments(const struct conv *g, const real *x, const real *w, real *y, double *moments, void *scratch) {
  conv_forward_moments_tensor<fp32_arithmetic>(g, x, w, y, moments, scratch);
  cuda_launched("conv_forward_moments");
}

/* y: overwritten; may not be the residual. The bits of cuda_conv_forward and cuda_norm_forward_eval, one after the other. */
void cuda_conv_norm_forward_eval(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                 const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                 void *scratch) {
  conv_norm_forward_tensor<fp32_arithmetic>(g, n, x, w, residual, gamma, beta, running_mean, running_var, y, scratch);
  cuda_launched("conv_norm_forward_eval");
}

/* dx: overwritten, or added to if accumulate. Each sum is one chain over r, s, k in that order, in float. */
void cuda_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *) {
  conv_backward_data_tensor<fp32_arithmetic>(g, dy, w, dx, accumulate);
  cuda_launched("conv_backward_data");
}

/* dw: accumulated. Each chunk's sum is one chain over its positions in order, in float; chunks are joined to dw in order, in double,
 * rounded once. */
void cuda_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  conv_backward_weights_tensor<fp32_arithmetic>(g, x, dy, dw, scratch);
  cuda_launched("conv_backward_weights");
}
