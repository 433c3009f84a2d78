/* Copies beside the operations, and operations recorded as a graph: ref/op/pipeline.h with the runtime's streams, events and graphs. */
extern "C" {
#include "op/pipeline.h"
}

#include <stdlib.h>

#include "cuda/augment.h"
#include "cuda/backend.h"
#include "cuda/runtime.h"

struct recording {
  cudaGraphExec_t graph;
};

static struct {
  cudaStream_t copies;
  cudaEvent_t arrived[PIPELINE_LANES], left[PIPELINE_LANES];
} state;

cudaError_t cuda_pipeline_open(void) {
  cudaError_t status = cudaStreamCreateWithFlags(&state.copies, cudaStreamNonBlocking);
  for (int lane = 0; lane < PIPELINE_LANES && status == cudaSuccess; lane++) {
    status = cudaEventCreateWithFlags(&state.arrived[lane], cudaEventDisableTiming);
    if (status == cudaSuccess) status = cudaEventCreateWithFlags(&state.left[lane], cudaEventDisableTiming);
  }
  return status;
}

/* ---- copies -------------------------------------------------------------------------------------------------------------------------- */

static bool pin(size_t bytes, void **memory, struct error *err) {
  cudaError_t status = cudaHostAlloc(memory, bytes > 0 ? bytes : 1, cudaHostAllocDefault);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError(); /* not a failure of the device */
    return fail(err, "cuda: %.2f GB of host memory cannot be page-locked; choose a smaller batch or data.ahead, or look at ulimit -l",
                (double)bytes / 1e9);
  }
  return cuda_succeeded(status, "reserving page-locked memory") || backend_cuda_status(err);
}

static void unpin(void *memory) { cuda_succeeded(cudaFreeHost(memory), "releasing page-locked memory"); }

/* An event that nothing was recorded in yet is no reason to wait. */
static void send(int lane, void *to, const void *pinned, size_t bytes) {
  bool ok = cuda_succeeded(cudaStreamWaitEvent(state.copies, state.left[lane], 0), "copying a micro-batch") &&
            cuda_succeeded(cudaMemcpyAsync(to, pinned, bytes, cudaMemcpyHostToDevice, state.copies), "copying a micro-batch");
  if (ok) cuda_succeeded(cudaEventRecord(state.arrived[lane], state.copies), "copying a micro-batch");
}

static void arrive(int lane) { cuda_succeeded(cudaStreamWaitEvent(cuda_stream(), state.arrived[lane], 0), "waiting for a micro-batch"); }
static void leave(int lane) { cuda_succeeded(cudaEventRecord(state.left[lane], cuda_stream()), "a micro-batch"); }
static void sent(int lane) { cuda_succeeded(cudaEventSynchronize(state.arrived[lane]), "waiting for a copy"); }

static void fetch(void *pinned, const void *from, size_t bytes) {
  cuda_succeeded(cudaMemcpyAsync(pinned, from, bytes, cudaMemcpyDeviceToHost, cuda_stream()), "fetching the losses");
}

/* ---- graphs -------------------------------------------------------------------------------------------------------------------------- */

/* Other threads, the loader's, go on meanwhile: thread-local. */
static cudaError_t capture(void (*section)(void *context), void *context, cudaGraph_t *graph) {
  cudaError_t status = cudaStreamBeginCapture(cuda_stream(), cudaStreamCaptureModeThreadLocal);
  if (status != cudaSuccess) return status;
  section(context);
  return cudaStreamEndCapture(cuda_stream(), graph);
}

/* malloc, not new: too little memory is a line in err and no exception. */
static struct recording *remember(cudaGraphExec_t graph, struct error *err) {
  struct recording *r = (struct recording *)malloc(sizeof *r);
  if (r) {
    r->graph = graph;
    return r;
  }
  cudaGraphExecDestroy(graph);
  fail(err, "out of memory");
  return nullptr;
}

static struct recording *record(void (*section)(void *context), void *context, struct error *err) {
  if (!backend_cuda_status(err)) return nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaError_t status = capture(section, context, &graph);
  if (status == cudaSuccess) status = cudaGraphInstantiate(&executable, graph, 0);
  if (graph) cudaGraphDestroy(graph);
  /* What failed in the section failed because it was recorded: nothing was done. */
  char failure[FAILURE_SIZE];
  cuda_forget_failure(failure);
  cudaGetLastError();
  if (status == cudaSuccess && !failure[0]) return remember(executable, err);
  if (status == cudaSuccess) cudaGraphExecDestroy(executable);
  fail(err, "%s", failure[0] ? failure : cudaGetErrorString(status));
  return nullptr;
}

static void replay(const struct recording *r) { cuda_succeeded(cudaGraphLaunch(r->graph, cuda_stream()), "replaying a step"); }

static void forget(struct recording *r) {
  if (!r) return;
  cuda_succeeded(cudaGraphExecDestroy(r->graph), "forgetting a graph");
  free(r);
}

const struct pipeline *cuda_pipeline(void) {
  static const struct pipeline table = {
      pin, unpin, send, arrive, leave, sent, fetch, record, replay, forget, cuda_augment_most_scratch, cuda_augment_apply};
  return &table;
}
