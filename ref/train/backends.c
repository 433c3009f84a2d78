/* Compiled twice. In the library without EDIY_CUDA; programs that are linked with the CUDA backend put the other object in front of the
 * library (Makefile), whose own is then left out. */
#include "train/backends.h"

#ifdef EDIY_CUDA
#include "cuda/backend.h"

static const struct backend *open_cuda(const struct backend_options *o, struct error *err) {
  const struct backend_cuda_options options = {.conv = (enum cuda_conv)o->conv, .gemm = (enum cuda_gemm)o->gemm};
  return backend_cuda(0, &options, err);
}
#else
static const struct backend *open_cuda(const struct backend_options *o, struct error *err) {
  (void)o;
  fail(err, "backend=cuda: this program was built without CUDA; build it with make CUDA=1, which needs nvcc, or use backend=reference");
  return NULL;
}
#endif

const struct backend *backend_open(const struct backend_options *options, struct error *err) {
  return options->backend == BACKEND_CUDA ? open_cuda(options, err) : backend_reference();
}
