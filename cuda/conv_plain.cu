/* cuda.conv=plain: convolutions of every shape by the tiled kernels of conv_plain.h, in the place of the twins of conv.cu, which they are
 * there to be measured beside (docs/cuda.md). Scratch and chunks are the twins', and so are the bits in fp32. */
#include "cuda/conv_tensor.h"

/* y: overwritten. */
template <class A> static void forward(const struct conv *g, const real *x, const real *w, real *y, void *) {
  typedef typename A::number T;
  forward_plain(plain_forward<A>(), g, activations<T>(x), activations<T>(w), nullptr, activations<T>(y));
  cuda_launched("conv_forward");
}

/* y: overwritten; may not be the residual. Between the two nothing is rounded. */
template <class A>
static void norm_forward_eval(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                              const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y, void *) {
  typedef typename A::number T;
  struct plain_forward_norm<A> p = {};
  p.norm = following_norm_of(n, activations<T>(residual), gamma, beta, running_mean, running_var);
  forward_plain(p, g, activations<T>(x), activations<T>(w), nullptr, activations<T>(y));
  cuda_launched("conv_norm_forward_eval");
}

/* dx: overwritten, or added to if accumulate. */
template <class A> static void backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *) {
  typedef typename A::number T;
  backward_data_plain<A>(g, activations<T>(dy), activations<T>(w), activations<T>(dx), accumulate);
  cuda_launched("conv_backward_data");
}

/* dw: accumulated, by chunks as conv.cu has it. */
template <class A> static void backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  typedef typename A::number T;
  struct tensor_cut cut = tensor_cut_of<T>(g);
  backward_weights_plain<A>(g, cut.chunk, cut.chunks, activations<T>(x), activations<T>(dy), (float *)scratch, dw);
  cuda_launched("conv_backward_weights");
}

template <class A> static void fill(struct backend *table) {
  table->conv_moments = nullptr, table->conv_forward_moments = nullptr;
  table->conv_forward = forward<A>, table->conv_norm_forward_eval = norm_forward_eval<A>;
  table->conv_backward_data = backward_data<A>, table->conv_backward_weights = backward_weights<A>;
}

void cuda_fill_plain(struct backend *table, enum cuda_precision precision) {
  if (precision == CUDA_FP32) fill<fp32_arithmetic>(table);
  if (precision == CUDA_TF32) fill<tf32_arithmetic>(table);
  if (precision == CUDA_BF16) fill<bf16_arithmetic>(table);
}
