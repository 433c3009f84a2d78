/* Compiled twice. In the library without EDIY_CUDA; programs that are linked with the CUDA backend put the other object in front of the
 * library (Makefile), whose own is then left out. */
#include "train/backends.h"

#include <assert.h>

#ifdef EDIY_CUDA
#include "cuda/backend.h"

static_assert((int)BACKEND_CONV_CUDNN == (int)CUDA_CONV_CUDNN && (int)BACKEND_CONV_PLAIN == (int)CUDA_CONV_PLAIN &&
                  (int)BACKEND_CONV_WGMMA == (int)CUDA_CONV_WGMMA && (int)BACKEND_GEMM_CUBLAS == (int)CUDA_GEMM_CUBLAS &&
                  (int)BACKEND_GEMM_WGMMA == (int)CUDA_GEMM_WGMMA,
              "one order of the ways");
static_assert((int)BACKEND_TF32 == (int)CUDA_TF32 && (int)BACKEND_BF16 == (int)CUDA_BF16, "one order of the precisions");

static const struct backend *open_cuda(const struct backend_options *o, struct error *err) {
  const struct backend_cuda_options options = {
      .precision = (enum cuda_precision)o->precision, .conv = (enum cuda_conv)o->conv, .gemm = (enum cuda_gemm)o->gemm};
  int devices = backend_cuda_devices();
  return backend_cuda(devices > 0 ? o->local % devices : 0, &options, err);
}

bool backend_conv_is_library(const struct backend_options *o, const struct conv *g, int direction) {
  return o->backend == BACKEND_CUDA && o->conv == CUDA_CONV_CUDNN &&
         backend_cuda_conv_is_library(g, direction, (enum cuda_precision)o->precision);
}
#else
static const struct backend *open_cuda(const struct backend_options *o, struct error *err) {
  (void)o;
  fail(err, "backend=cuda: this program was built without CUDA; build it with make CUDA=1, which needs nvcc, or use backend=reference");
  return NULL;
}

bool backend_conv_is_library(const struct backend_options *o, const struct conv *g, int direction) {
  (void)o, (void)g, (void)direction;
  return false;
}
#endif

const struct backend *backend_open(const struct backend_options *options, struct error *err) {
  if (options->backend == BACKEND_CUDA) return open_cuda(options, err);
  if (options->precision != BACKEND_FP32) {
    fail(err, "precision: backend=reference computes in fp32 alone; leave precision out, or use backend=cuda");
    return NULL;
  }
  if (options->conv != BACKEND_CONV_OWN || options->gemm != 0) {
    fail(err, "%s: backend=reference has convolutions and linear layers of its own; leave cuda.conv and cuda.gemm out, or use backend=cuda",
         options->conv != BACKEND_CONV_OWN ? "cuda.conv" : "cuda.gemm");
    return NULL;
  }
  return backend_reference();
}
