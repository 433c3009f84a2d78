/* Our kernels on the CPU: the words of CUDA that cuda/ uses, for the C++ compiler. Included ahead of every .cu file (-include), where nvcc
 * would bring its own; only the tests do this. It finds wrong indices, races and missing barriers, and compares every number with the
 * reference; it never stands for a result of a GPU.
 *
 * Blocks run one after the other, in shuffled order. The threads of a block are fibres: each runs until it ends or waits at a barrier or a
 * shuffle. The order is shuffled (Philox): that of the warps, which drift apart as far as barriers let them, and that of the threads of a
 * warp. What one thread writes and another reads without a barrier between comes out wrong soon. A launch fails, with a line on standard
 * error, when
 *     - not all threads of a block reach a barrier, or they wait at different ones, or not all lanes of a mask reach a shuffle;
 *     - an argument is a pointer that is not into live memory of cudaMalloc (or null);
 *     - the grid or block is empty or larger than a GPU takes, or so is the shared memory, or the kernel was not allowed that much;
 *     - a kernel has written to the guard zones around an allocation or a shared array;
 *     - what a kernel asserts does not hold.
 * A host that reads or writes device memory outside of these functions ends with a segmentation fault. What is put into a stream runs when
 * shim_order (shim_control.h) says: at once, or as late as events and waiting hosts allow, so that a missing event shows. Calls that make
 * the host wait are counted. While a graph is recorded nothing runs, and a call that waits is a failure. Shared memory is filled with bytes
 * of ones, NaN, before every block, and so is what cudaMalloc returns. Under AddressSanitizer both come from malloc, so that it sees reads
 * outside of them.
 */
#ifndef EDIY_TESTS_CUDA_SHIM_H
#define EDIY_TESTS_CUDA_SHIM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define UNROLL
#define KERNEL_ASSERT(condition) ((condition) ? (void)0 : shim_assertion(#condition, __FILE__, __LINE__))
/* Every SHARED of a kernel is an allocation of its own, found by the address of a variable of its own. */
#define SHARED(type, name, dimensions)                                                                                                     \
  static char name##_site;                                                                                                                 \
  typedef type name##_array dimensions;                                                                                                    \
  name##_array &name = *static_cast<name##_array *>(shim_shared(&name##_site, sizeof(name##_array)))
void *shim_shared(const char *site, size_t bytes);
/* The one array whose size the launch says. */
#define SHARED_OF_LAUNCH(name) unsigned char *const name = shim_dynamic_shared()
unsigned char *shim_dynamic_shared(void);

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
extern struct dim3 threadIdx, blockIdx, blockDim, gridDim;

/* ---- what threads do together -------------------------------------------------------------------------------------------------------- */

#define __syncthreads() shim_barrier(__FILE__, __LINE__)
void shim_barrier(const char *file, int line);
/* Ends this thread and the launch. */
[[noreturn]] void shim_assertion(const char *condition, const char *file, int line);

/* The value that lane `from` (of the warp) gave to the same shuffle. */
double shim_shuffle(unsigned mask, double value, int from);
int shim_lane(void);

/* Widths are powers of two that divide the warp; a source outside of the lane's own part gives the lane's own value, as on a GPU. */
static inline double __shfl_sync(unsigned mask, double value, int from, int width = 32) {
  int lane = shim_lane();
  return shim_shuffle(mask, value, lane / width * width + from % width);
}
static inline double __shfl_down_sync(unsigned mask, double value, unsigned distance, int width = 32) {
  int lane = shim_lane(), from = lane + (int)distance;
  return shim_shuffle(mask, value, from / width == lane / width ? from : lane);
}

/* ---- launching ----------------------------------------------------------------------------------------------------------------------- */

typedef struct shim_stream *cudaStream_t;

/* Puts a launch into the stream that runs body(context) as every thread, with a copy of the bytes of context. */
void shim_launch(const char *kernel, struct dim3 grid, struct dim3 block, size_t shared_bytes, cudaStream_t stream,
                 void (*body)(const void *), const void *context, size_t bytes);
/* Puts anything else there: run gets a copy of the bytes of context, and whether it is a graph that runs. */
void shim_enqueue(cudaStream_t stream, void (*run)(const void *context, bool in_graph), const void *context, size_t bytes);
/* Notes that an argument of the next launch is no device memory. */
void shim_check_pointer(const char *kernel, const void *pointer);

/* Fails the launch when it asks for more shared memory than this kernel may have. */
void shim_check_shared(const char *name, void (*kernel)(void), size_t bytes, size_t fixed); /* bytes: of the launch; fixed: of SHARED */

template <class T> static inline void shim_check(const char *, const T &) {}
template <class T> static inline void shim_check(const char *kernel, T *const &pointer) { shim_check_pointer(kernel, pointer); }

template <class... P, class... A>
static inline void shim_run(const char *name, void (*kernel)(P...), struct dim3 grid, struct dim3 block, size_t shared_bytes,
                            cudaStream_t stream, A... arguments) {
  (shim_check(name, arguments), ...);
  shim_check_shared(name, reinterpret_cast<void (*)(void)>(kernel), shared_bytes, 0 /* as they are not known before it runs */);
  auto thread = [=] { kernel(arguments...); };
  static_assert(std::is_trivially_copyable<decltype(thread)>::value, "arguments of a launch are bytes");
  shim_launch(
      name, grid, block, shared_bytes, stream, [](const void *context) { (*static_cast<const decltype(thread) *>(context))(); }, &thread,
      sizeof thread);
}

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) shim_run(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)

/* ---- the runtime's functions, as far as cuda/ calls them ----------------------------------------------------------------------------- */

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorAssert = 710,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76 };
enum { cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
typedef struct shim_event *cudaEvent_t;
typedef struct shim_graph *cudaGraph_t, *cudaGraphExec_t;

/* By the names that they have in the library, so that what nvcc compiled can be linked with them, too (ptx/ptx.h). */
extern "C" {
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t status);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t first, cudaEvent_t second);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
}

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
cudaError_t shim_allow_shared(void (*kernel)(void), cudaFuncAttribute attribute, int bytes);
template <class... P> static inline cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
  return shim_allow_shared(reinterpret_cast<void (*)(void)>(kernel), attribute, value);
}

#include "cuda/shim_tensor.h"
#include "cuda/shim_warpgroup.h"

#endif
