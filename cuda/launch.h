/* Launching a kernel, in one form for every compiler that reads these sources.
 *
 *     LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...)
 *
 * Under nvcc it is kernel<<<...>>>(...). The tests compile the same sources with the C++ compiler and define LAUNCH themselves
 * (tests/cuda/shim.h, included ahead of everything), as they do the words of the language that are used here. A kernel with
 * template arguments takes one only: a comma would end the macro's argument. No argument may itself launch: nvcc has noted grid and
 * block by the time when it computes arguments, and the first launch takes them.
 *
 *     SHARED(type, name, dimensions)            as in SHARED(float, slab, [16][64]);
 *
 * declares an array in the shared memory of the block.
 *
 *     SHARED_OF_LAUNCH(name)
 *
 * declares name as the bytes that shared_bytes asks for, aligned to 1024; more than 48 KiB have to be allowed by cudaFuncSetAttribute.
 *
 *     UNROLL
 *
 * before a loop whose every turn shall have code of its own, as its arrays are to lie in registers.
 *
 *     KERNEL_ASSERT(condition)
 *
 * is assert in a kernel: what does not hold is a mistake of the program, said on standard error; the launch fails, and all after it.
 *
 * Kernels take shapes by value and pointers to device memory; a pointer to host memory, as a struct conv * is, means nothing there.
 */
#ifndef EDIY_CUDA_LAUNCH_H
#define EDIY_CUDA_LAUNCH_H

#ifdef __CUDACC__
#include <assert.h>
#include <cuda_runtime.h>
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__)
#define SHARED(type, name, dimensions) __shared__ type name dimensions
#define UNROLL _Pragma("unroll")
#define KERNEL_ASSERT(condition) assert(condition)
#define SHARED_OF_LAUNCH(name) extern __shared__ __align__(1024) unsigned char name[]
#endif

#include <stddef.h>

/* Threads of a block where nothing else decides: enough to hide latency at any register count, and a whole number of warps. */
enum { BLOCK_THREADS = 256, WARP_THREADS = 32, WHOLE_WARP = -1 /* every lane takes part in a shuffle */ };

/* Blocks of BLOCK_THREADS for one thread an item. */
static inline dim3 blocks_for(ptrdiff_t items) { return dim3((unsigned)((items + BLOCK_THREADS - 1) / BLOCK_THREADS)); }

/* The item of this thread in such a launch. */
__device__ static inline ptrdiff_t item_of_thread() { return (ptrdiff_t)blockIdx.x * blockDim.x + threadIdx.x; }

#endif
