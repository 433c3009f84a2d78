/* Matrix products by cuBLASLt: which of its algorithms computes one, and running it. Internal to cuda/.
 *
 *     C (rows x columns) = A (rows x depth) B (depth x columns), all row-major; A or B may be stored transposed
 *
 * cuBLASLt is column-major: what it is asked for is the transposed product, C^T = B^T A^T, on the same memory. The algorithm is the first
 * that it lists for the shape, without timing anything, among those that split no sum or join its parts in float in a step of its own;
 * NVIDIA documents that such a product has the same bits in every run on GPUs of one kind with one version, while one stream is active. */
#ifndef EDIY_CUDA_CUBLAS_PRODUCT_H
#define EDIY_CUDA_CUBLAS_PRODUCT_H

#include "cuda/runtime.h"

extern "C" {
#include "cuda/backend.h"
}

/* The workspace that NVIDIA recommends for its newest GPUs; it lists algorithms that need no more. */
enum { CUBLAS_WORKSPACE = 32 << 20 };

struct cublas_shape {
  ptrdiff_t rows, columns, depth;
  bool a_transposed, b_transposed; /* stored as depth x rows, as columns x depth */
  enum cuda_precision precision;   /* BF16: A and B are bf16 */
  bool float_c;                    /* C is float in bf16, too */
  bool accumulate;                 /* added to what is in C, in float, and rounded once */
  bool bias;                       /* a vector of the columns' length, of C's type, is added to every row, in float */
};

struct cublas_plan;

/* Loads cuBLASLt and makes its handle; once. False, with one line in err, where that cannot be. */
MUST_CHECK bool cublas_open(struct error *err);

/* Made at the first request and kept. Null where cuBLASLt lists no such algorithm, and after a failure, which is kept under this name. */
const struct cublas_plan *cublas_plan_of(const struct cublas_shape *shape, const char *operation);

/* Runs it on the backend's stream. All pointers are aligned to 16 bytes; bias is null for a plan without. */
void cublas_run(const struct cublas_plan *plan, const void *a, const void *b, void *c, const void *bias, void *workspace,
                const char *operation);

#endif
