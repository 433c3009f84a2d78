#include "base/blas.h"

#include <assert.h>
#include <cblas.h>
#include <limits.h>
#include <omp.h>

void gemm(int transpose_a, int transpose_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, double alpha, const real *a, ptrdiff_t lda,
          const real *b, ptrdiff_t ldb, double beta, real *c, ptrdiff_t ldc) {
  assert(m <= INT_MAX && n <= INT_MAX && k <= INT_MAX && lda <= INT_MAX && ldb <= INT_MAX && ldc <= INT_MAX);
  if (m == 0 || n == 0) return;
  /* The OpenMP build of OpenBLAS takes as many threads as omp_get_max_threads says, and one inside an active parallel region. Outside of
   * one (a single tile, a serial caller) it has to be told; the setting belongs to the calling thread. */
  int threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  if (threads > 1) omp_set_num_threads(1);
  enum CBLAS_TRANSPOSE ta = transpose_a ? CblasTrans : CblasNoTrans, tb = transpose_b ? CblasTrans : CblasNoTrans;
#if EDIY_REAL_BITS == 32
  cblas_sgemm(CblasRowMajor, ta, tb, (blasint)m, (blasint)n, (blasint)k, (float)alpha, a, (blasint)lda, b, (blasint)ldb, (float)beta, c,
              (blasint)ldc);
#else
  cblas_dgemm(CblasRowMajor, ta, tb, (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
#endif
  if (threads > 1) omp_set_num_threads(threads);
}
