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

/* Which of the twins a table is filled with. All zero: the defaults. */
struct backend_cuda_options {
  enum cuda_precision precision;
};

/* Opens a GPU, by its number as CUDA counts those that CUDA_VISIBLE_DEVICES leaves, and fills a table as the options say; null: the defaults.
 * Null, with one line in err, without a driver, with one too old, without that GPU, or with one older than compute capability 8.0. The GPU
 * is opened once: a second call with the same options returns the same table, one with others another table of the same GPU, stream and
 * failures; another number then fails. Tables live as long as the process. */
MUST_CHECK const struct backend *backend_cuda(int device, const struct backend_cuda_options *options, struct error *err);

/* Waits for the GPU and says whether all went well since backend_cuda: the operations of the table cannot. After a failure nothing
 * more is computed, download fills its host memory with bytes of ones (NaN, and -1 for an index), and every call here fails with the first
 * failure, named by its operation: look before anything is saved. A launch that fails only when it runs is named by the operation
 * that waited; with CUDA_LAUNCH_BLOCKING=1 by its own. */
MUST_CHECK bool backend_cuda_status(struct error *err);

#ifdef __cplusplus
}
#endif

#endif
