/* Convolution and the linear layer on tensor cores: all tensors float, operands rounded to tf32. */
#include "cuda/conv_tensor.h"

size_t cuda_conv_scratch_tf32(const struct conv *g) { return conv_scratch_tensor<float>(g); }

void cuda_conv_forward_tf32(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  conv_forward_tensor<tf32_arithmetic>(g, x, w, nullptr, y, scratch);
  cuda_launched("conv_forward");
}

void cuda_conv_forward_moments_tf32(const struct conv *g, const real *x, const real *w, real *y, double *moments, void *scratch) {
  conv_forward_moments_tensor<tf32_arithmetic>(g, x, w, y, moments, scratch);
  cuda_launched("conv_forward_moments");
}

void cuda_conv_norm_forward_eval_tf32(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                      const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                      void *scratch) {
  conv_norm_forward_tensor<tf32_arithmetic>(g, n, x, w, residual, gamma, beta, running_mean, running_var, y, scratch);
  cuda_launched("conv_norm_forward_eval");
}

void cuda_conv_backward_data_tf32(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *) {
  conv_backward_data_tensor<tf32_arithmetic>(g, dy, w, dx, accumulate);
  cuda_launched("conv_backward_data");
}

void cuda_conv_backward_weights_tf32(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  conv_backward_weights_tensor<tf32_arithmetic>(g, x, dy, dw, scratch);
  cuda_launched("conv_backward_weights");
}

size_t cuda_linear_scratch_tf32(const struct linear *g) {
  struct conv conv = conv_of_linear(g);
  return conv_scratch_tensor<float>(&conv);
}

void cuda_linear_forward_tf32(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  struct conv conv = conv_of_linear(g);
  conv_forward_tensor<tf32_arithmetic>(&conv, x, w, b, y, nullptr);
  cuda_launched("linear_forward");
}

void cuda_linear_backward_data_tf32(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  struct conv conv = conv_of_linear(g);
  conv_backward_data_tensor<tf32_arithmetic>(&conv, dy, w, dx, accumulate);
  cuda_launched("linear_backward_data");
}

void cuda_linear_backward_weights_tf32(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  struct conv conv = conv_of_linear(g);
  conv_backward_weights_tensor<tf32_arithmetic>(&conv, x, dy, dw, scratch);
  if (db) sum_rows_launch(g, dy, db);
  cuda_launched("linear_backward_weights");
}
