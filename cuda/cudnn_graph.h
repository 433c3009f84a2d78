/* Convolutions by cuDNN: which of its engines computes one, and running it. Internal to cuda/.
 *
 * The interface is cuDNN's graph API (cudnnBackend..., cuDNN 9; the older cudnnConvolution... functions are deprecated and cannot give a
 * float dw of bf16 maps). cuDNN lists the engines that can compute an operation, best first as its heuristics see it, without running any,
 * and says of each how it computes. The plan of a convolution is the first engine of that list, or else of its list of engines that work
 * everywhere, that
 *
 *     - is deterministic (none with the note NONDETERMINISTIC), so that a run gives the same bits again;
 *     - sums products of the operands themselves: no Winograd, no FFT, no sums in less than float, no operands rounded further;
 *     - as fp32, uses no tensor cores;
 *     - needs at most CUDNN_WORKSPACE_MOST bytes.
 *
 * The list depends on the shape, on the GPU and on cuDNN's version and on nothing else: no timing takes part. A plan is made at the first
 * request for it, which planning a pass is, and kept; running one allocates nothing, waits for nothing and can be captured in a CUDA
 * graph. */
#ifndef EDIY_CUDA_CUDNN_GRAPH_H
#define EDIY_CUDA_CUDNN_GRAPH_H

#include "cuda/runtime.h"

extern "C" {
#include "cuda/backend.h"
}

static const size_t CUDNN_WORKSPACE_MOST = (size_t)1 << 30;

enum conv_direction { CONV_FORWARD, CONV_BACKWARD_DATA, CONV_BACKWARD_WEIGHTS, CONV_DIRECTIONS };

struct cudnn_plan;

/* Loads cuDNN and makes its handle; once. False, with one line in err, where that cannot be. */
MUST_CHECK bool cudnn_open(struct error *err);

/* x, dx: N H W C; w, dw: K R S C; y, dy: N P Q K; packed. In fp32 and tf32 all are float. In bf16 x, dx, y, dy and w are bf16, dw is float.
 * accumulate: the result is added to what is there, in float, and rounded once; not for dw of bf16, which is overwritten.
 * Null where cuDNN has no such plan, and after a failure, which is kept under the operation's name. */
const struct cudnn_plan *cudnn_plan_of(const struct conv *g, enum conv_direction direction, enum cuda_precision precision, bool accumulate);

/* Bytes that the plan works in. */
size_t cudnn_workspace(const struct cudnn_plan *plan);

/* Runs it on the backend's stream. All pointers are aligned to 16 bytes; the result is x, w or y by the plan's direction. */
void cudnn_run(const struct cudnn_plan *plan, const void *x, const void *w, const void *y, void *workspace);

#endif
