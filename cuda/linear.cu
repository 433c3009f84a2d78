/* The linear layer in fp32, as the convolution of m images of one pixel (conv_tensor.h). Twin of ref/op/linear.c. */
#include "cuda/conv_tensor.h"

size_t cuda_linear_scratch(const struct linear *g) {
  struct conv conv = conv_of_linear(g);
  return cuda_conv_scratch(&conv);
}

/* y: overwritten. b: null for none. One chain over i in float; b is the last term of the sum. */
void cuda_linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  struct conv conv = conv_of_linear(g);
  conv_forward_tensor<fp32_arithmetic>(&conv, x, w, b, y, nullptr);
  cuda_launched("linear_forward");
}

/* dx: overwritten, or added to if accumulate. One chain over o in float. */
void cuda_linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  struct conv conv = conv_of_linear(g);
  conv_backward_data_tensor<fp32_arithmetic>(&conv, dy, w, dx, accumulate);
  cuda_launched("linear_backward_data");
}

/* dw += dy^T x as cuda_conv_backward_weights has it. db += sum over rows of dy, in double, in order, rounded once, the reference's bits;
 * null for none. */
void cuda_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  struct conv conv = conv_of_linear(g);
  conv_backward_weights_tensor<fp32_arithmetic>(&conv, x, dy, dw, scratch);
  if (db) sum_rows_launch(g, dy, db);
  cuda_launched("linear_backward_weights");
}
