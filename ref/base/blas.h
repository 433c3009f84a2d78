/* The matrix product of the nearest-neighbour search: OpenBLAS, called single-threaded from inside our own parallel loop. It only finds
 * who may be near; what is near is decided by sums of ours. (What is trained and what is measured comes of op/panel.h, whose sums have an
 * order of their own; OpenBLAS's order is that of its kernel for a processor.) */
#ifndef EDIY_BASE_BLAS_H
#define EDIY_BASE_BLAS_H

#include <stddef.h>

#include "base/real.h"

#define gemm REAL_NAME(gemm)

/* C = alpha op(A) op(B) + beta C on one thread; row-major. op(A) is m x k (A is k x m if transpose_a), op(B) is k x n, C is
 * m x n; lda, ldb, ldc are the distances between rows as stored. With beta = 0, C may hold anything (NaN too) and is
 * overwritten. Any of m, n, k may be 0. */
void gemm(int transpose_a, int transpose_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, double alpha, const real *a, ptrdiff_t lda,
          const real *b, ptrdiff_t ldb, double beta, real *c, ptrdiff_t ldc);

#endif
