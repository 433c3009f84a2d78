/* Convolution and the linear layer in an arithmetic of tensor_sums.h, as entries of the table of op/backend.h. Contracts are those of
 * conv.cu and linear.cu, with operands rounded, and summed, as the class of precision says (docs/cuda.md); b, dw and db are float. */
#ifndef EDIY_CUDA_TENSOR_TABLE_H
#define EDIY_CUDA_TENSOR_TABLE_H

#include "cuda/conv_tensor.h"

template <class A> struct tensor_table {
  typedef typename A::number T;

  static size_t conv_scratch(const struct conv *g) { return conv_scratch_tensor<T>(g); }

  static void conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
    conv_forward_tensor<A>(g, activations<T>(x), activations<T>(w), nullptr, activations<T>(y), scratch);
    cuda_launched("conv_forward");
  }
  static void conv_forward_moments(const struct conv *g, const real *x, const real *w, real *y, double *moments, void *scratch) {
    conv_forward_moments_tensor<A>(g, activations<T>(x), activations<T>(w), activations<T>(y), moments, scratch);
    cuda_launched("conv_forward_moments");
  }
  static void conv_norm_forward_eval(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                     const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                     void *scratch) {
    conv_norm_forward_tensor<A>(g, n, activations<T>(x), activations<T>(w), activations<T>(residual), gamma, beta, running_mean,
                                running_var, activations<T>(y), scratch);
    cuda_launched("conv_norm_forward_eval");
  }
  static void conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *) {
    conv_backward_data_tensor<A>(g, activations<T>(dy), activations<T>(w), activations<T>(dx), accumulate);
    cuda_launched("conv_backward_data");
  }
  static void conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
    conv_backward_weights_tensor<A>(g, activations<T>(x), activations<T>(dy), dw, scratch);
    cuda_launched("conv_backward_weights");
  }

  static size_t linear_scratch(const struct linear *g) {
    struct conv conv = conv_of_linear(g);
    return conv_scratch_tensor<T>(&conv);
  }
  static void linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
    struct conv conv = conv_of_linear(g);
    conv_forward_tensor<A>(&conv, activations<T>(x), activations<T>(w), b, activations<T>(y), nullptr);
    cuda_launched("linear_forward");
  }
  static void linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
    struct conv conv = conv_of_linear(g);
    conv_backward_data_tensor<A>(&conv, activations<T>(dy), activations<T>(w), activations<T>(dx), accumulate);
    cuda_launched("linear_backward_data");
  }
  static void linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
    struct conv conv = conv_of_linear(g);
    conv_backward_weights_tensor<A>(&conv, activations<T>(x), activations<T>(dy), dw, scratch);
    if (db) sum_rows_launch(g, activations<T>(dy), db);
    cuda_launched("linear_backward_weights");
  }
};

template <class A> static void fill_convolutions(struct backend *table) {
  typedef tensor_table<A> in;
  table->conv_scratch = in::conv_scratch;
  table->conv_forward = in::conv_forward, table->conv_forward_moments = in::conv_forward_moments;
  table->conv_norm_forward_eval = in::conv_norm_forward_eval;
  table->conv_backward_data = in::conv_backward_data, table->conv_backward_weights = in::conv_backward_weights;
}

template <class A> static void fill_linear(struct backend *table) {
  typedef tensor_table<A> in;
  table->linear_scratch = in::linear_scratch, table->linear_forward = in::linear_forward;
  table->linear_backward_data = in::linear_backward_data, table->linear_backward_weights = in::linear_backward_weights;
}

#endif
