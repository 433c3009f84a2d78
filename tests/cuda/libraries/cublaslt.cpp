/* cuBLASLt's product D = alpha op(A) op(B) + beta C of column-major matrices, by NVIDIA's documentation of it, on the shim's GPU.
 *
 * Which algorithms are listed, in this order: INPLACE and OUTPUT (parts of a split sum are joined in D's type), if the preference's mask
 * lets them be, and they give wrong results; UNREADY, whose state is no success; LARGE, if the preference's workspace allows 64 MiB; PLAIN.
 * With FAST_TF32 operands are read as TF32. The line of a choice (standin_note) is "product"; one that is told to fail lists nothing. */
#include "cublasLt.h"
#include "standin.h"

enum algorithm { INPLACE, OUTPUT, UNREADY, LARGE, PLAIN };
enum { WORKSPACE = 1000, LARGE_WORKSPACE = 64 << 20 };

struct standin_blas {
  int unused;
};
struct standin_product {
  int compute, transposed_a, transposed_b, epilogue;
  void *bias;
};
struct standin_layout {
  int type;
  int64_t rows, columns, ld;
};
struct standin_preference {
  uint64_t workspace;
  uint32_t joins, alignment[4];
};

extern "C" cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
  if (standin_fails("cublasLtCreate")) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = static_cast<cublasLtHandle_t>(calloc(1, sizeof **handle));
  return CUBLAS_STATUS_SUCCESS;
}
extern "C" const char *cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
  case CUBLAS_STATUS_SUCCESS: return "success";
  case CUBLAS_STATUS_NOT_INITIALIZED: return "the library was not initialized";
  case CUBLAS_STATUS_INVALID_VALUE: return "an unsupported value or parameter was passed to the function";
  case CUBLAS_STATUS_EXECUTION_FAILED: return "the function failed to launch on the GPU";
  case CUBLAS_STATUS_NOT_SUPPORTED: return "the requested functionality is not supported";
  }
  return "unknown";
}

extern "C" cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *product, cublasComputeType_t compute, cudaDataType scale) {
  if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *product = static_cast<cublasLtMatmulDesc_t>(calloc(1, sizeof **product));
  (*product)->compute = compute;
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t put(void *to, size_t size, const void *value, size_t bytes) {
  if (bytes != size) return CUBLAS_STATUS_INVALID_VALUE;
  memcpy(to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t p, cublasLtMatmulDescAttributes_t name, const void *value,
                                                         size_t bytes) {
  switch (name) {
  case CUBLASLT_MATMUL_DESC_TRANSA: return put(&p->transposed_a, sizeof p->transposed_a, value, bytes);
  case CUBLASLT_MATMUL_DESC_TRANSB: return put(&p->transposed_b, sizeof p->transposed_b, value, bytes);
  case CUBLASLT_MATMUL_DESC_EPILOGUE: return put(&p->epilogue, sizeof p->epilogue, value, bytes);
  case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return put(&p->bias, sizeof p->bias, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

extern "C" cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows, uint64_t columns,
                                                     int64_t ld) {
  if (ld < (int64_t)rows) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = static_cast<cublasLtMatrixLayout_t>(calloc(1, sizeof **layout));
  **layout = {type, (int64_t)rows, (int64_t)columns, ld};
  return CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
  *preference = static_cast<cublasLtMatmulPreference_t>(calloc(1, sizeof **preference));
  (*preference)->joins = CUBLASLT_REDUCTION_SCHEME_MASK;
  for (uint32_t &alignment : (*preference)->alignment) alignment = 256;
  return CUBLAS_STATUS_SUCCESS;
}
extern "C" cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return free(preference), CUBLAS_STATUS_SUCCESS;
}

extern "C" cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t name,
                                                               const void *value, size_t bytes) {
  switch (name) {
  case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return put(&p->workspace, sizeof p->workspace, value, bytes);
  case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return put(&p->joins, sizeof p->joins, value, bytes);
  case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
  case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
  case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
  case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
    return put(&p->alignment[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], sizeof p->alignment[0], value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

/* ---- the product --------------------------------------------------------------------------------------------------------------------- */

/* A product is what its layouts say: op(A) is m x k, op(B) k x n, C and D m x n. */
struct problem {
  struct standin_product p;
  struct standin_layout a, b, c, d;
  int64_t m, n, k;
};

static cublasStatus_t make_problem(struct problem *q, cublasLtMatmulDesc_t p, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                   cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
  *q = {*p, *a, *b, *c, *d, d->rows, d->columns, p->transposed_a == CUBLAS_OP_T ? a->rows : a->columns};
  bool ta = p->transposed_a == CUBLAS_OP_T, tb = p->transposed_b == CUBLAS_OP_T;
  if ((ta ? a->columns : a->rows) != q->m || (tb ? b->rows : b->columns) != q->n || (tb ? b->columns : b->rows) != q->k ||
      c->rows != q->m || c->columns != q->n)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (a->type != b->type || c->type != d->type) return CUBLAS_STATUS_NOT_SUPPORTED;
  bool floats = a->type == CUDA_R_32F && c->type == CUDA_R_32F, half = a->type == CUDA_R_16BF;
  if (p->compute == CUBLAS_COMPUTE_32F_FAST_TF32) return floats ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
  return p->compute == CUBLAS_COMPUTE_32F && (floats || half) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

extern "C" cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
                                                         cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                         cublasLtMatmulPreference_t preference, int asked,
                                                         struct cublasLtMatmulHeuristicResult_t found[], int *count) {
  struct problem q;
  cublasStatus_t status = make_problem(&q, product, a, b, c, d);
  *count = 0;
  if (!handle || status != CUBLAS_STATUS_SUCCESS) return status;
  standin_note("product");
  if (standin_fails("cublasLtMatmulAlgoGetHeuristic")) return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool listed[] = {(preference->joins & CUBLASLT_REDUCTION_SCHEME_INPLACE) != 0,
                         (preference->joins & CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE) != 0, true, preference->workspace >= LARGE_WORKSPACE,
                         preference->workspace >= WORKSPACE};
  for (int i = INPLACE; i <= PLAIN && *count < asked; i++) {
    if (!listed[i]) continue;
    struct cublasLtMatmulHeuristicResult_t *r = &found[(*count)++];
    *r = {};
    r->algo.data[0] = (uint64_t)i, r->algo.data[1] = (uint64_t)q.m, r->algo.data[2] = (uint64_t)q.n, r->algo.data[3] = (uint64_t)q.k;
    r->algo.data[4] = preference->alignment[0];
    r->workspaceSize = i == LARGE ? LARGE_WORKSPACE : WORKSPACE;
    r->state = i == UNREADY ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
  }
  return *count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

struct call {
  struct problem q;
  enum algorithm algorithm;
  float alpha, beta;
  void *a, *b, *c, *d, *workspace;
};

static float operand(const struct call &c, const void *memory, const struct standin_layout &l, int64_t row, int64_t column) {
  float v = standin_read(memory, l.type == CUDA_R_16BF, row + column * l.ld);
  return c.q.p.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? standin_tf32(v) : v;
}

/* One thread. Sums are in float, the last term first: another order than the backend's own. */
static void run_product(struct call c) {
  memset(c.workspace, 0xff, WORKSPACE);
  bool ta = c.q.p.transposed_a == CUBLAS_OP_T, tb = c.q.p.transposed_b == CUBLAS_OP_T, is_bf16 = c.q.d.type == CUDA_R_16BF;
  for (int64_t j = 0; j < c.q.n; j++)
    for (int64_t i = 0; i < c.q.m; i++) {
      float sum = 0;
      for (int64_t k = c.q.k; k-- > 0;)
        sum += operand(c, c.a, c.q.a, ta ? k : i, ta ? i : k) * operand(c, c.b, c.q.b, tb ? j : k, tb ? k : j);
      float result = c.alpha * sum;
      if (c.beta != 0) result += c.beta * standin_read(c.c, c.q.c.type == CUDA_R_16BF, i + j * c.q.c.ld);
      if (c.q.p.epilogue == CUBLASLT_EPILOGUE_BIAS) result += standin_read(c.q.p.bias, is_bf16, i);
      if (c.algorithm < UNREADY) result += 1;
      standin_write(c.d, is_bf16, i + j * c.q.d.ld, result);
    }
}

static bool is_there(const void *memory, const struct standin_layout &l, uint64_t alignment) {
  size_t element = l.type == CUDA_R_16BF ? 2 : 4, bytes = (size_t)((l.columns - 1) * l.ld + l.rows) * element;
  return (uintptr_t)memory % alignment == 0 && shim_is_device(memory, bytes);
}

extern "C" cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void *alpha, const void *a,
                                         cublasLtMatrixLayout_t layout_a, const void *b, cublasLtMatrixLayout_t layout_b, const void *beta,
                                         const void *c, cublasLtMatrixLayout_t layout_c, void *d, cublasLtMatrixLayout_t layout_d,
                                         const struct cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                                         cudaStream_t stream) {
  if (standin_fails("cublasLtMatmul")) return CUBLAS_STATUS_EXECUTION_FAILED;
  struct call call = {};
  cublasStatus_t status = make_problem(&call.q, product, layout_a, layout_b, layout_c, layout_d);
  if (!handle || !stream || status != CUBLAS_STATUS_SUCCESS) return status != CUBLAS_STATUS_SUCCESS ? status : CUBLAS_STATUS_INVALID_VALUE;
  call.algorithm = (enum algorithm)algo->data[0];
  size_t need = call.algorithm == LARGE ? LARGE_WORKSPACE : WORKSPACE;
  if (algo->data[1] != (uint64_t)call.q.m || algo->data[2] != (uint64_t)call.q.n || algo->data[3] != (uint64_t)call.q.k ||
      call.algorithm == UNREADY || workspace_bytes < need || !shim_is_device(workspace, workspace_bytes))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (!is_there(a, *layout_a, algo->data[4]) || !is_there(b, *layout_b, algo->data[4]) || !is_there(c, *layout_c, algo->data[4]) ||
      !is_there(d, *layout_d, algo->data[4]))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (product->epilogue == CUBLASLT_EPILOGUE_BIAS &&
      ((uintptr_t)product->bias % algo->data[4] ||
       !shim_is_device(product->bias, (size_t)call.q.m * (layout_d->type == CUDA_R_16BF ? 2 : 4))))
    return CUBLAS_STATUS_INVALID_VALUE;
  call.alpha = *static_cast<const float *>(alpha), call.beta = *static_cast<const float *>(beta);
  call.a = const_cast<void *>(a), call.b = const_cast<void *>(b), call.c = const_cast<void *>(c), call.d = d, call.workspace = workspace;
  shim_run("cublas", run_product, dim3(1), dim3(1), 0, stream, call);
  return CUBLAS_STATUS_SUCCESS;
}
