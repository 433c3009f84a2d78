/* Convolution by cuDNN (cudnn_graph.h), in the place of the twins of conv.cu. Where cuDNN has no plan for a shape, and where a tensor is
 * not aligned as one asks, the twin computes it. */
#include "cuda/cudnn_graph.h"
#include "cuda/library.h"
#include "cuda/shared.h"

static struct backend own[CUDA_PRECISIONS]; /* the tables as they were filled with twins */

static bool is_aligned(const void *a, const void *b, const void *c) { return (((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) & 15) == 0; }

static ptrdiff_t weights_of(const struct conv *g) { return g->k * g->r * g->s * g->c; }

/* A workspace is as aligned as a block of its own would be: of scratch it is the part from the next such address on. */
static size_t workspace_room(const struct cudnn_plan *plan) { return cudnn_workspace(plan) + library_aligned(1); }
static void *workspace_from(void *scratch) { return (void *)library_aligned((uintptr_t)scratch); }

/* In front of the workspace of a plan for dw in bf16: the dw that is then added. */
static size_t in_front(const struct conv *g, enum conv_direction direction, enum cuda_precision precision) {
  if (precision != CUDA_BF16 || direction != CONV_BACKWARD_WEIGHTS) return 0;
  return library_aligned((size_t)weights_of(g) * sizeof(float));
}

/* Also makes the plans of all directions, which may take a while: this is called when a pass is planned. */
template <enum cuda_precision P> static size_t scratch_of(const struct conv *g) {
  size_t most = own[P].conv_scratch(g);
  for (int direction = 0; direction < CONV_DIRECTIONS; direction++)
    for (int accumulate = 0; accumulate < 2; accumulate++) {
      bool adds = direction == CONV_BACKWARD_DATA ? accumulate : direction == CONV_BACKWARD_WEIGHTS && P != CUDA_BF16;
      const struct cudnn_plan *plan = cudnn_plan_of(g, (enum conv_direction)direction, P, adds);
      size_t bytes = plan ? in_front(g, (enum conv_direction)direction, P) + workspace_room(plan) : 0;
      most = bytes > most ? bytes : most;
    }
  return most;
}

/* y: overwritten. The order of a sum is cuDNN's, the same in every run. */
template <enum cuda_precision P> static void forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  const struct cudnn_plan *plan = is_aligned(x, w, y) ? cudnn_plan_of(g, CONV_FORWARD, P, false) : nullptr;
  if (!plan) return own[P].conv_forward(g, x, w, y, scratch);
  cudnn_run(plan, x, w, y, workspace_from(scratch));
  cuda_launched("conv_forward");
}

/* dx: overwritten, or added to if accumulate, and rounded once. */
template <enum cuda_precision P>
static void backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch) {
  const struct cudnn_plan *plan = is_aligned(dy, w, dx) ? cudnn_plan_of(g, CONV_BACKWARD_DATA, P, accumulate) : nullptr;
  if (!plan) return own[P].conv_backward_data(g, dy, w, dx, accumulate, scratch);
  cudnn_run(plan, dx, w, dy, workspace_from(scratch));
  cuda_launched("conv_backward_data");
}

/* dw: accumulated, in float. In bf16 the sum of products is rounded to float before it is added. */
template <enum cuda_precision P>
static void backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  const bool apart = P == CUDA_BF16;
  const struct cudnn_plan *plan = is_aligned(x, dy, dw) ? cudnn_plan_of(g, CONV_BACKWARD_WEIGHTS, P, !apart) : nullptr;
  if (!plan) return own[P].conv_backward_weights(g, x, dy, dw, scratch);
  cudnn_run(plan, x, apart ? scratch : dw, dy, workspace_from((char *)scratch + in_front(g, CONV_BACKWARD_WEIGHTS, P)));
  if (apart) join_partials_launch(weights_of(g), 1, (const float *)scratch, dw);
  cuda_launched("conv_backward_weights");
}

template <enum cuda_precision P> static void fill(struct backend *table) {
  own[P] = *table;
  table->conv_scratch = scratch_of<P>, table->conv_scratch_least = own[P].conv_scratch;
  table->conv_chain = nullptr; /* how cuDNN cuts its sums it does not say */
  table->conv_forward = forward<P>;
  table->conv_backward_data = backward_data<P>;
  table->conv_backward_weights = backward_weights<P>;
}

bool backend_cuda_conv_is_library(const struct conv *g, int direction, enum cuda_precision precision) {
  return cudnn_plan_of(g, (enum conv_direction)direction, precision, direction == CONV_BACKWARD_WEIGHTS && precision != CUDA_BF16);
}

bool cuda_fill_cudnn(struct backend *table, enum cuda_precision precision, struct error *err) {
  if (!cudnn_open(err)) return false;
  table->conv_norm_forward_eval = nullptr; /* one after the other */
  table->conv_moments = nullptr, table->conv_forward_moments = nullptr;
  switch (precision) {
  case CUDA_TF32: fill<CUDA_TF32>(table); break;
  case CUDA_BF16: fill<CUDA_BF16>(table); break;
  default: fill<CUDA_FP32>(table);
  }
  return true;
}
