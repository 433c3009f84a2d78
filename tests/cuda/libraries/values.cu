/* Compiled by nvcc where NVIDIA's headers are: that the stand-ins of the tests (cudnn.h, cublasLt.h beside this file) give the names the
 * same values. The tests' own headers are not on its path. */
#define SAME(name, value) static_assert((long)name == (long)(value), #name " has another value in NVIDIA's header than in the stand-in");
#define SAME_ATTRIBUTE(name, value, type) SAME(name, value)

#if __has_include(<cudnn.h>)
#include "cuda/libraries/cudnn_values.h"
#include <cudnn.h>
CUDNN_STATUS_VALUES(SAME)
CUDNN_OTHER_VALUES(SAME)
CUDNN_ATTRIBUTE_VALUES(SAME_ATTRIBUTE)
#endif

#if __has_include(<nccl.h>)
#include "cuda/libraries/nccl_values.h"
#include <nccl.h>
NCCL_VALUES(SAME)
static_assert(NCCL_UNIQUE_ID_BYTES == 128 && NCCL_MAJOR == 2, "the stand-in of NCCL is of another version");
#endif

#if __has_include(<cublasLt.h>)
#include "cuda/libraries/cublas_values.h"
#include <cublasLt.h>
CUBLAS_VALUES(SAME)
#endif
