/* The values that cuBLASLt 13 gives to the names that cuda/ uses: of the stand-in (cublasLt.h), and compared with NVIDIA's header where
 * there is one (values.cu). */
#define CUBLAS_VALUES(V)                                                                                                                   \
  V(CUBLAS_STATUS_SUCCESS, 0)                                                                                                              \
  V(CUBLAS_STATUS_NOT_INITIALIZED, 1)                                                                                                      \
  V(CUBLAS_STATUS_INVALID_VALUE, 7)                                                                                                        \
  V(CUBLAS_STATUS_EXECUTION_FAILED, 13)                                                                                                    \
  V(CUBLAS_STATUS_NOT_SUPPORTED, 15)                                                                                                       \
  V(CUBLAS_OP_N, 0)                                                                                                                        \
  V(CUBLAS_OP_T, 1)                                                                                                                        \
  V(CUBLAS_COMPUTE_32F, 68)                                                                                                                \
  V(CUBLAS_COMPUTE_32F_FAST_TF32, 77)                                                                                                      \
  V(CUDA_R_32F, 0)                                                                                                                         \
  V(CUDA_R_16BF, 14)                                                                                                                       \
  V(CUBLASLT_EPILOGUE_BIAS, 4)                                                                                                             \
  V(CUBLASLT_REDUCTION_SCHEME_NONE, 0)                                                                                                     \
  V(CUBLASLT_REDUCTION_SCHEME_INPLACE, 1)                                                                                                  \
  V(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 2)                                                                                             \
  V(CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE, 4)                                                                                              \
  V(CUBLASLT_REDUCTION_SCHEME_MASK, 7)                                                                                                     \
  V(CUBLASLT_MATMUL_DESC_TRANSA, 3)                                                                                                        \
  V(CUBLASLT_MATMUL_DESC_TRANSB, 4)                                                                                                        \
  V(CUBLASLT_MATMUL_DESC_EPILOGUE, 7)                                                                                                      \
  V(CUBLASLT_MATMUL_DESC_BIAS_POINTER, 8)                                                                                                  \
  V(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, 1)                                                                                           \
  V(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 3)                                                                                         \
  V(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 5)                                                                                         \
  V(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 6)                                                                                         \
  V(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, 7)                                                                                         \
  V(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, 8)
