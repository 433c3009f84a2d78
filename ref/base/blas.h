/* The matrix product of linear layers, of convolutions' weight gradients and of the evaluations: OpenBLAS, called single-threaded from
 * inside our own parallel loops, so that the cut of the work, and with it every bit of the result, does not depend on the number of
 * threads. (Convolutions forward and back to their input have a product of their own: op/panel.h.) */
#ifndef EDIY_BASE_BLAS_H
#define EDIY_BASE_BLAS_H

#include <stddef.h>

#include "base/real.h"

#define gemm REAL_NAME(gemm)
#define gemm_rows REAL_NAME(gemm_rows)

/* C = alpha op(A) op(B) + beta C on one thread; row-major. op(A) is m x k (A is k x m if transpose_a), op(B) is k x n, C is
 * m x n; lda, ldb, ldc are the distances between rows as stored. With beta = 0, C may hold anything (NaN too) and is
 * overwritten. Any of m, n, k may be 0. */
void gemm(int transpose_a, int transpose_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, double alpha, const real *a, ptrdiff_t lda,
          const real *b, ptrdiff_t ldb, double beta, real *c, ptrdiff_t ldc);

/* The same product over all threads: C is cut into tiles whose size depends on m, n and k only. */
void gemm_rows(int transpose_a, int transpose_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, double alpha, const real *a, ptrdiff_t lda,
               const real *b, ptrdiff_t ldb, double beta, real *c, ptrdiff_t ldc);

#endif
