/* The linear layer as three matrix products (gemm.h). Twin of ref/op/linear.c; backward weights is conv's, of m images of one pixel. */
#include "cuda/gemm.h"
#include "cuda/shared.h"

size_t cuda_linear_scratch(const struct linear *g) {
  struct conv conv = conv_of_linear(g);
  return cuda_conv_scratch(&conv);
}

/* y (m x o) = x (m x i) w^T (i x o) + b. */
struct linear_forward_product {
  static const bool A_ALONG_DEPTH = true, B_ALONG_DEPTH = true;
  int rows, columns, first, last;

  __device__ void begin(int) {}
  __device__ float at_a(const float *x, int m, int i) const { return x[(ptrdiff_t)m * last + i]; }
  __device__ float at_b(const float *w, int i, int o) const { return w[(ptrdiff_t)o * last + i]; }
  __device__ void store(float *y, int m, int o, float sum) const { y[(ptrdiff_t)m * columns + o] = sum; }
};

/* y += b on every row. A thread an element. */
__global__ static void add_bias(ptrdiff_t size, int o, const float *b, float *y) {
  ptrdiff_t i = item_of_thread();
  if (i < size) y[i] += b[i % o];
}

/* y: overwritten. b: null for none. One chain over i in float; b is the last term of the sum. */
void cuda_linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  struct linear_forward_product p = {(int)g->m, (int)g->o, 0, (int)g->i};
  gemm_launch(p, p.rows, p.columns, 1, x, w, y);
  if (b) LAUNCH(add_bias, blocks_for(g->m * g->o), dim3(BLOCK_THREADS), 0, cuda_stream(), g->m * g->o, p.columns, b, y);
  cuda_launched("linear_forward");
}

/* dx (m x i) = dy (m x o) w (o x i). */
struct linear_backward_data_product {
  static const bool A_ALONG_DEPTH = true, B_ALONG_DEPTH = false;
  int rows, columns, first, last;
  bool accumulate;

  __device__ void begin(int) {}
  __device__ float at_a(const float *dy, int m, int o) const { return dy[(ptrdiff_t)m * last + o]; }
  __device__ float at_b(const float *w, int o, int i) const { return w[(ptrdiff_t)o * columns + i]; }
  __device__ void store(float *dx, int m, int i, float sum) const {
    float *at = dx + (ptrdiff_t)m * columns + i;
    *at = accumulate ? *at + sum : sum;
  }
};

/* dx: overwritten, or added to if accumulate. One chain over o in float. */
void cuda_linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  struct linear_backward_data_product p = {(int)g->m, (int)g->i, 0, (int)g->o, accumulate};
  gemm_launch(p, p.rows, p.columns, 1, dy, w, dx);
  cuda_launched("linear_backward_data");
}

/* dw += dy^T x by cuda_conv_backward_weights. db += sum over rows of dy, in double, in order, rounded once, the reference's bits; null for
 * none. */
void cuda_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  struct conv conv = conv_of_linear(g);
  cuda_conv_backward_weights(&conv, x, dy, dw, scratch);
  if (db) sum_rows_launch(g, dy, db);
  cuda_launched("linear_backward_weights");
}
