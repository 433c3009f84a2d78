/* Convolution and the linear layer on tensor cores: activations and weights bf16. */
#include "cuda/conv_tensor.h"

size_t cuda_conv_scratch_bf16(const struct conv *g) { return conv_scratch_tensor<bf16>(g); }

void cuda_conv_forward_bf16(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  conv_forward_tensor<bf16_arithmetic>(g, activations<bf16>(x), activations<bf16>(w), nullptr, activations<bf16>(y), scratch);
  cuda_launched("conv_forward");
}

void cuda_conv_forward_moments_bf16(const struct conv *g, const real *x, const real *w, real *y, double *moments, void *scratch) {
  conv_forward_moments_tensor<bf16_arithmetic>(g, activations<bf16>(x), activations<bf16>(w), activations<bf16>(y), moments, scratch);
  cuda_launched("conv_forward_moments");
}

void cuda_conv_norm_forward_eval_bf16(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                      const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                      void *scratch) {
  conv_norm_forward_tensor<bf16_arithmetic>(g, n, activations<bf16>(x), activations<bf16>(w), activations<bf16>(residual), gamma, beta,
                                            running_mean, running_var, activations<bf16>(y), scratch);
  cuda_launched("conv_norm_forward_eval");
}

void cuda_conv_backward_data_bf16(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *) {
  conv_backward_data_tensor<bf16_arithmetic>(g, activations<bf16>(dy), activations<bf16>(w), activations<bf16>(dx), accumulate);
  cuda_launched("conv_backward_data");
}

void cuda_conv_backward_weights_bf16(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  conv_backward_weights_tensor<bf16_arithmetic>(g, activations<bf16>(x), activations<bf16>(dy), dw, scratch);
  cuda_launched("conv_backward_weights");
}

size_t cuda_linear_scratch_bf16(const struct linear *g) {
  struct conv conv = conv_of_linear(g);
  return conv_scratch_tensor<bf16>(&conv);
}

void cuda_linear_forward_bf16(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  struct conv conv = conv_of_linear(g);
  conv_forward_tensor<bf16_arithmetic>(&conv, activations<bf16>(x), activations<bf16>(w), b, activations<bf16>(y), nullptr);
  cuda_launched("linear_forward");
}

void cuda_linear_backward_data_bf16(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  struct conv conv = conv_of_linear(g);
  conv_backward_data_tensor<bf16_arithmetic>(&conv, activations<bf16>(dy), activations<bf16>(w), activations<bf16>(dx), accumulate);
  cuda_launched("linear_backward_data");
}

void cuda_linear_backward_weights_bf16(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  struct conv conv = conv_of_linear(g);
  conv_backward_weights_tensor<bf16_arithmetic>(&conv, activations<bf16>(x), activations<bf16>(dy), dw, scratch);
  if (db) sum_rows_launch(g, activations<bf16>(dy), db);
  cuda_launched("linear_backward_weights");
}
