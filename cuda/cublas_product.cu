/* cuBLASLt: descriptors of one product, the choice of an algorithm, its execution. See cublas_product.h. */
#include "cuda/cublas_product.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define HAS_CUBLAS
#endif

#include <stdlib.h>
#include <string.h>

#include "cuda/library.h"

#ifndef HAS_CUBLAS

bool cublas_open(struct error *err) {
  return fail(err, "cuda.gemm=cublas: this program was built without cuBLASLt; build it where cublasLt.h is, or use cuda.gemm=own");
}
const struct cublas_plan *cublas_plan_of(const struct cublas_shape *, const char *) { return nullptr; }
void cublas_run(const struct cublas_plan *, const void *, const void *, void *, const void *, void *, const char *) {}

#else

/* ---- the library --------------------------------------------------------------------------------------------------------------------- */

#define NAME_OF(x) #x
#define FILE_OF(major) "libcublasLt.so." NAME_OF(major)
static const char LIBRARY[] = FILE_OF(CUBLAS_VER_MAJOR);

#define FUNCTIONS(F)                                                                                                                       \
  F(cublasLtCreate)                                                                                                                        \
  F(cublasLtGetStatusString)                                                                                                               \
  F(cublasLtMatmulDescCreate)                                                                                                              \
  F(cublasLtMatmulDescSetAttribute)                                                                                                        \
  F(cublasLtMatrixLayoutCreate)                                                                                                            \
  F(cublasLtMatmulPreferenceCreate)                                                                                                        \
  F(cublasLtMatmulPreferenceSetAttribute)                                                                                                  \
  F(cublasLtMatmulPreferenceDestroy)                                                                                                       \
  F(cublasLtMatmulAlgoGetHeuristic)                                                                                                        \
  F(cublasLtMatmul)

static struct {
#define MEMBER(name) decltype(&::name) name;
  FUNCTIONS(MEMBER)
#undef MEMBER
  cublasLtHandle_t handle; /* null: not open */
} blas;

bool cublas_open(struct error *err) {
  if (blas.handle) return true;
  void *library = library_open("cuda.gemm=cublas", LIBRARY, "EDIY_CUBLAS", err);
  if (!library) return false;
#define FIND(name)                                                                                                                         \
  if (!(blas.name = (decltype(&::name))library_function(library, LIBRARY, #name, err))) return false;
  FUNCTIONS(FIND)
#undef FIND
  cublasStatus_t status = blas.cublasLtCreate(&blas.handle);
  if (status == CUBLAS_STATUS_SUCCESS) return true;
  blas.handle = nullptr;
  return fail(err, "cuda.gemm=cublas: opening cuBLASLt: %s", blas.cublasLtGetStatusString(status));
}

/* ---- plans --------------------------------------------------------------------------------------------------------------------------- */

struct cublas_plan {
  struct cublas_plan *next;
  struct cublas_shape shape;
  cublasLtMatmulDesc_t product;
  cublasLtMatrixLayout_t left, right, result; /* B^T, A^T, C^T */
  cublasLtMatmulAlgo_t algorithm;
  bool exists;
};

enum { ALIGNMENT = 16, MOST_ALGORITHMS = 16 };

/* A line of calls: nothing is called after one that failed. A failure is kept under the operation's name. */
static bool keep(cublasStatus_t status, const char *operation) {
  if (status != CUBLAS_STATUS_SUCCESS) cuda_refused(operation, blas.cublasLtGetStatusString(status));
  return status == CUBLAS_STATUS_SUCCESS;
}

template <class T>
static bool set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t name, const T &value, const char *operation) {
  return keep(blas.cublasLtMatmulDescSetAttribute(product, name, &value, sizeof value), operation);
}

template <class T>
static bool prefer(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name, const T &value,
                   const char *operation) {
  return keep(blas.cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof value), operation);
}

/* A row-major matrix of rows x columns is cuBLASLt's columns x rows, its leading dimension the length of a row. */
static bool layout(cublasLtMatrixLayout_t *made, cudaDataType type, ptrdiff_t rows, ptrdiff_t columns, const char *operation) {
  return keep(blas.cublasLtMatrixLayoutCreate(made, type, (uint64_t)columns, (uint64_t)rows, columns), operation);
}

static bool describe(struct cublas_plan *p, const char *operation) {
  const struct cublas_shape *s = &p->shape;
  cudaDataType operand = s->precision == CUDA_BF16 ? CUDA_R_16BF : CUDA_R_32F, result = s->float_c ? CUDA_R_32F : operand;
  cublasComputeType_t compute = s->precision == CUDA_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  cublasOperation_t plain = CUBLAS_OP_N, transposed = CUBLAS_OP_T;
  if (!keep(blas.cublasLtMatmulDescCreate(&p->product, compute, CUDA_R_32F), operation) ||
      !set(p->product, CUBLASLT_MATMUL_DESC_TRANSA, s->b_transposed ? transposed : plain, operation) ||
      !set(p->product, CUBLASLT_MATMUL_DESC_TRANSB, s->a_transposed ? transposed : plain, operation))
    return false;
  if (s->bias) {
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const void *aligned = (const void *)(uintptr_t)ALIGNMENT; /* the choice looks at the pointer's alignment only */
    if (!set(p->product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue, operation) ||
        !set(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, aligned, operation))
      return false;
  }
  return layout(&p->left, operand, s->b_transposed ? s->columns : s->depth, s->b_transposed ? s->depth : s->columns, operation) &&
         layout(&p->right, operand, s->a_transposed ? s->depth : s->rows, s->a_transposed ? s->rows : s->depth, operation) &&
         layout(&p->result, result, s->rows, s->columns, operation);
}

/* Parts of a split sum are joined in float, each in a place of its own (COMPUTE_TYPE), or not split at all. */
static bool choose(struct cublas_plan *p, const char *operation) {
  cublasLtMatmulPreference_t preference;
  cublasLtMatmulHeuristicResult_t found[MOST_ALGORITHMS];
  int count = 0;
  const uint64_t workspace = CUBLAS_WORKSPACE;
  const uint32_t joins = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, alignment = ALIGNMENT;
  if (!keep(blas.cublasLtMatmulPreferenceCreate(&preference), operation)) return false;
  bool ok = prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace, operation) &&
            prefer(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, joins, operation) &&
            prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment, operation) &&
            prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment, operation) &&
            prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment, operation) &&
            prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment, operation);
  if (ok) {
    cublasStatus_t status = blas.cublasLtMatmulAlgoGetHeuristic(blas.handle, p->product, p->left, p->right, p->result, p->result,
                                                                preference, MOST_ALGORITHMS, found, &count);
    ok = status != CUBLAS_STATUS_NOT_SUPPORTED && keep(status, operation); /* not supported: that is no failure */
  }
  keep(blas.cublasLtMatmulPreferenceDestroy(preference), operation);
  for (int i = 0; ok && i < count; i++)
    if (found[i].state == CUBLAS_STATUS_SUCCESS && found[i].workspaceSize <= CUBLAS_WORKSPACE) {
      p->algorithm = found[i].algo;
      return true;
    }
  return false;
}

static bool is_same(const struct cublas_shape *a, const struct cublas_shape *b) {
  return a->rows == b->rows && a->columns == b->columns && a->depth == b->depth && a->a_transposed == b->a_transposed &&
         a->b_transposed == b->b_transposed && a->precision == b->precision && a->float_c == b->float_c && a->accumulate == b->accumulate &&
         a->bias == b->bias;
}

const struct cublas_plan *cublas_plan_of(const struct cublas_shape *shape, const char *operation) {
  static struct cublas_plan *plans; /* those of a process: as many as there are shapes */
  for (struct cublas_plan *p = plans; p; p = p->next)
    if (is_same(&p->shape, shape)) return p->exists ? p : nullptr;
  struct cublas_plan *p = (struct cublas_plan *)calloc(1, sizeof *p);
  if (!p) {
    cuda_refused(operation, "out of memory");
    return nullptr;
  }
  p->shape = *shape;
  p->next = plans, plans = p;
  p->exists = describe(p, operation) && choose(p, operation);
  return p->exists ? p : nullptr;
}

void cublas_run(const struct cublas_plan *plan, const void *a, const void *b, void *c, const void *bias, void *workspace,
                const char *operation) {
  const float alpha = 1, beta = plan->shape.accumulate ? 1.0f : 0.0f;
  if (plan->shape.bias && !set(plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias, operation)) return;
  keep(blas.cublasLtMatmul(blas.handle, plan->product, &alpha, b, plan->left, a, plan->right, &beta, c, plan->result, c, plan->result,
                           &plan->algorithm, workspace, CUBLAS_WORKSPACE, cuda_stream()),
       operation);
}

#endif
