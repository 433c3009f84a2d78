/* The shim's part of cuda/tensor.h: what a warp does on tensor cores and how shared memory is filled behind a kernel's back, on the CPU.
 * Contracts are those of cuda/tensor.h; every register is where the PTX ISA documents it ("Matrix fragments for mma.m16n8k16 with floating
 * point type", "... mma.m16n8k8", "ldmatrix", "cp.async"), so that a wrong index of a fragment gives a wrong number here as there.
 *
 * A launch fails, with a line on standard error, when
 *     - not all lanes of a warp reach the same multiplication or load of matrices;
 *     - a register of mma_tf32 holds a float that was not rounded to tf32 (a GPU would ignore the low bits);
 *     - an address of 16 bytes is not aligned to 16, or not in shared memory, or not in device memory;
 *     - a thread ends with copies in flight that it has not waited for.
 * A copy fills its destination with NaN at once and happens when its thread waits for it, and not before.
 */
#ifndef EDIY_TESTS_CUDA_SHIM_TENSOR_H
#define EDIY_TESTS_CUDA_SHIM_TENSOR_H

#include <stdint.h>

void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void load_matrices(uint32_t (&r)[4], const void *row);
void load_matrices_transposed(uint32_t (&r)[4], const void *row);

void copy_async(void *shared, const void *global, bool present);
void commit_copies(void);
void shim_wait_for_copies(int but);
template <int BUT> static inline void wait_for_copies() { shim_wait_for_copies(BUT); }

uint32_t tf32_of(float x);
uint32_t bf16_pair(float low, float high);

#endif
