/* The CUDA backend: the table of op/backend.h in float, filled with the twins of this folder. For C and C++.
 *
 * One GPU and one stream a process: operations return at once and run in the order of the calls; upload and download wait for
 * everything before them. Results are the same bits in every run on one kind of GPU (docs/cuda.md says how).
 */
#ifndef EDIY_CUDA_BACKEND_H
#define EDIY_CUDA_BACKEND_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/error.h"
#include "op/backend.h"

#if EDIY_REAL_BITS != 32
#error "the CUDA backend is float: compile what uses it with -DEDIY_REAL_BITS=32"
#endif

/* What products are computed in, and what activations and their gradients are stored as (docs/cuda.md):
 *     FP32   float, float
 *     TF32   operands rounded to TF32, sums in float; stored as float
 *     BF16   operands in bf16, sums in float; stored as bf16, activation_size 2
 * All else is the same in each: parameters, their gradients, momentum and statistics are float, and summed in double. */
enum cuda_precision { CUDA_FP32, CUDA_TF32, CUDA_BF16, CUDA_PRECISIONS };

/* What computes convolutions and linear layers: the kernels of this folder, or a library of NVIDIA, which is loaded when a table asks for
 * it. A library sums in an order of its own, the same in every run on one kind of GPU with one version of it. What it does not offer of a
 * shape, the kernels of this folder compute. PLAIN: the tiled kernels that OWN takes for odd shapes, for every shape, to be measured.
 * WGMMA: the kernels of OWN with the matrix instructions of compute capability 9.0, in bf16. */
enum cuda_conv { CUDA_CONV_OWN, CUDA_CONV_CUDNN, CUDA_CONV_PLAIN, CUDA_CONV_WGMMA, CUDA_CONVS };
enum cuda_gemm { CUDA_GEMM_OWN, CUDA_GEMM_CUBLAS, CUDA_GEMM_WGMMA, CUDA_GEMMS };

/* Which of the twins a table is filled with. All zero: the defaults. */
struct backend_cuda_options {
  enum cuda_precision precision;
  enum cuda_conv conv;
  enum cuda_gemm gemm;
};

/* How many GPUs this process sees; 0 without a driver. */
int backend_cuda_devices(void);

/* Opens a GPU, by its number as CUDA counts those that CUDA_VISIBLE_DEVICES leaves, and fills a table as the options say; null: the
 * defaults. Null, with one line in err, without a driver, with one too old, without that GPU, with one older than compute capability 8.0,
 * without a library that an option names (EDIY_CUDNN and EDIY_CUBLAS in the environment say where it is; built without its header, never),
 * or for WGMMA in another precision or on another GPU than it is for. The GPU is opened once: a second call with the same options returns
 * the same table, one with others another table of the same GPU, stream and failures; another number then fails. Tables live as long as
 * the process. */
MUST_CHECK const struct backend *backend_cuda(int device, const struct backend_cuda_options *options, struct error *err);

/* Whether a table with conv = CUDNN and this precision has cuDNN compute a convolution of this shape: forward (0), backward data (1),
 * backward weights (2). Else the kernel of this folder does. Only to be asked once such a table is open. */
bool backend_cuda_conv_is_library(const struct conv *g, int direction, enum cuda_precision precision);

/* Waits for the GPU and says whether all went well since backend_cuda: the operations of the table cannot. After a failure nothing
 * more is computed, download fills its host memory with bytes of ones (NaN, and -1 for an index), and every call here fails with the first
 * failure, named by its operation: look before anything is saved. A launch that fails only when it runs is named by the operation
 * that waited; with CUDA_LAUNCH_BLOCKING=1 by its own. */
MUST_CHECK bool backend_cuda_status(struct error *err);

#ifdef __cplusplus
}
#endif

#endif
