/* What convolution and linear layers share in every class of precision. */
#ifndef EDIY_CUDA_SHARED_H
#define EDIY_CUDA_SHARED_H

#include "cuda/number.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

/* The linear layer as the convolution of m images of one pixel. */
static inline struct conv conv_of_linear(const struct linear *g) {
  struct conv conv = {};
  conv.n = g->m, conv.h = conv.w = 1, conv.c = g->i;
  conv.k = g->o, conv.r = conv.s = conv.stride = conv.p = conv.q = 1;
  return conv;
}

/* dw += partial 0 + partial 1 + ..., in that order, in double, rounded once. A thread an element. */
__global__ static void join_partials(ptrdiff_t size, int chunks, const float *partials, float *dw) {
  ptrdiff_t i = item_of_thread();
  if (i >= size) return;
  double sum = (double)dw[i];
  for (int chunk = 0; chunk < chunks; chunk++) sum += (double)partials[chunk * size + i];
  dw[i] = (float)sum;
}

static inline void join_partials_launch(ptrdiff_t size, int chunks, const float *partials, float *dw) {
  LAUNCH(join_partials, blocks_for(size), dim3(BLOCK_THREADS), 0, cuda_stream(), size, chunks, partials, dw);
}

/* db[o] += sum over rows of dy, in double, in order, rounded once. A thread a column: neighbouring threads read neighbouring columns. */
template <class T> __global__ static void sum_rows(ptrdiff_t m, ptrdiff_t o, const T *dy, float *db) {
  ptrdiff_t column = item_of_thread();
  if (column >= o) return;
  double sum = 0;
  for (ptrdiff_t row = 0; row < m; row++) sum += (double)widen(dy[row * o + column]);
  db[column] = (float)((double)db[column] + sum);
}

template <class T> static void sum_rows_launch(const struct linear *g, const T *dy, float *db) {
  LAUNCH(sum_rows<T>, blocks_for(g->o), dim3(BLOCK_THREADS), 0, cuda_stream(), g->m, g->o, dy, db);
}

#endif
