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

/* sums[chunk][k] = sum over the rows of a chunk of dy[row][k], k < columns, in double, in order. A thread a sum: neighbouring threads read
 * neighbouring columns. */
template <class T>
__global__ static void sum_chunks(ptrdiff_t m, ptrdiff_t o, ptrdiff_t columns, ptrdiff_t rows, const T *dy, double *sums) {
  ptrdiff_t i = item_of_thread(), chunk = i / columns, column = i % columns, end = (chunk + 1) * rows < m ? (chunk + 1) * rows : m;
  if (chunk * rows >= m) return;
  double sum = 0;
  for (ptrdiff_t row = chunk * rows; row < end; row++) sum += (double)widen(dy[row * o + column]);
  sums[i] = sum;
}

/* db[k] += sum over the chunks, in double, in order, rounded once. A thread a column. */
[[maybe_unused]] __global__ static void join_sums(ptrdiff_t chunks, ptrdiff_t columns, const double *sums, float *db) {
  ptrdiff_t column = item_of_thread();
  if (column >= columns) return;
  double sum = 0;
  for (ptrdiff_t chunk = 0; chunk < chunks; chunk++) sum += sums[chunk * columns + column];
  db[column] = (float)((double)db[column] + sum);
}

static_assert(LINEAR_BIAS_SUMS * sizeof(double) <= OWN_SCRATCH, "the sums of all chunks have room");
template <class T> static void sum_rows_launch(const struct linear *g, const T *dy, float *db) {
  ptrdiff_t rows = linear_bias_rows(g), chunks = (g->m + rows - 1) / rows;
  double *sums = (double *)cuda_own_scratch();
  for (ptrdiff_t from = 0; from < g->o;
       from += LINEAR_BIAS_SUMS) { /* once, but for a layer with more outputs than that: then there is one chunk */
    ptrdiff_t columns = g->o - from < LINEAR_BIAS_SUMS ? g->o - from : (ptrdiff_t)LINEAR_BIAS_SUMS;
    LAUNCH(sum_chunks<T>, blocks_for(chunks * columns), dim3(BLOCK_THREADS), 0, cuda_stream(), g->m, g->o, columns, rows, dy + from, sums);
    LAUNCH(join_sums, blocks_for(columns), dim3(BLOCK_THREADS), 0, cuda_stream(), chunks, columns, sums, db + from);
  }
}

#endif
