/* See faulty.h. Compiled by the C++ compiler for the shim, and by nvcc for the machine that runs PTX. */
#include "cuda/faulty.h"

#include "cuda/launch.h"

static cudaStream_t stream() {
  static cudaStream_t made;
  if (!made) cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
  return made;
}

template <bool BARRIER> __global__ static void reverse(float *x) {
  SHARED(float, all, [FAULTY_SIZE]);
  int t = (int)threadIdx.x;
  all[t] = x[t];
  if (BARRIER) __syncthreads();
  x[t] = all[FAULTY_SIZE - 1 - t];
}
void sound_reverse(float *x) { LAUNCH(reverse<true>, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }
void faulty_missing_barrier(float *x) { LAUNCH(reverse<false>, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void drifting_warps(float *x) {
  SHARED(float, all, [FAULTY_SIZE]);
  int t = (int)threadIdx.x;
  all[t] = (float)__shfl_sync((unsigned)WHOLE_WARP, (double)x[t], t % WARP_THREADS);
  float one = (float)__shfl_sync((unsigned)WHOLE_WARP, 1.0, 0);
  x[t] = one * all[FAULTY_SIZE - 1 - t];
}
void faulty_drifting_warps(float *x) { LAUNCH(drifting_warps, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void partial_barrier(float *x) {
  if (threadIdx.x < FAULTY_SIZE / 2) __syncthreads();
  x[threadIdx.x] = 0;
}
void faulty_partial_barrier(float *x) { LAUNCH(partial_barrier, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void different_barriers(float *x) {
  if (threadIdx.x < FAULTY_SIZE / 2)
    __syncthreads();
  else
    __syncthreads();
  x[threadIdx.x] = 0;
}
void faulty_different_barriers(float *x) { LAUNCH(different_barriers, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void partial_shuffle(float *x) {
  if (threadIdx.x % WARP_THREADS < WARP_THREADS / 2) x[threadIdx.x] = (float)__shfl_sync((unsigned)WHOLE_WARP, (double)x[threadIdx.x], 0);
}
void faulty_partial_shuffle(float *x) { LAUNCH(partial_shuffle, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void unwritten_shared(float *x) {
  SHARED(float, all, [FAULTY_SIZE]);
  if (threadIdx.x != 0) all[threadIdx.x] = 0;
  __syncthreads();
  x[threadIdx.x] = all[threadIdx.x];
}
void faulty_unwritten_shared(float *x) { LAUNCH(unwritten_shared, dim3(2), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void write_past_end(float *x) { x[threadIdx.x + 1] = 0; }
void faulty_write_past_end(float *x) { LAUNCH(write_past_end, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void write_past_shared(float *x) {
  SHARED(float, all, [FAULTY_SIZE]);
  all[threadIdx.x + 1] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = all[threadIdx.x];
}
void faulty_write_past_shared(float *x) { LAUNCH(write_past_shared, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void copy(const float *from, float *x) { x[threadIdx.x] = from[threadIdx.x]; }
void faulty_host_pointer(float *x) {
  static const float host[FAULTY_SIZE] = {};
  LAUNCH(copy, dim3(1), dim3(FAULTY_SIZE), 0, stream(), (const float *)host, x);
}

void faulty_grid(float *x) { LAUNCH(reverse<true>, dim3(1), dim3(1025), 0, stream(), x); }

/* A thread that went on would write outside. */
__global__ static void assertion(float *x) {
  int at = threadIdx.x == FAULTY_SIZE / 2 ? 1 << 30 : (int)threadIdx.x;
  KERNEL_ASSERT(at < FAULTY_SIZE);
  __syncthreads();
  x[at] = 0;
}
void faulty_assertion(float *x) { LAUNCH(assertion, dim3(1), dim3(FAULTY_SIZE), 0, stream(), x); }

__global__ static void order_of_blocks(float *x) { x[blockIdx.x] = blockIdx.x == 0 ? 1 : x[blockIdx.x - 1] + 1; }
void faulty_order_of_blocks(float *x) { LAUNCH(order_of_blocks, dim3(FAULTY_SIZE), dim3(1), 0, stream(), x); }
