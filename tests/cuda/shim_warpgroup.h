/* The shim's part of cuda/warpgroup.h: what a warpgroup does on tensor cores of Hopper, on the CPU. Contracts are those of
 * cuda/warpgroup.h; descriptors are read, and registers stand, where the PTX ISA documents them ("Asynchronous warpgroup level matrix
 * instructions": shared memory layout, matrix descriptor, "register fragments for wgmma.mma_async.m64nNk16"), so that a wrong descriptor
 * gives a wrong number here as there. Until its thread has waited for a multiplication c holds NaN.
 *
 * A launch fails, with a line on standard error, when
 *     - not all lanes of a warp reach the same multiplication, or the block is not of whole warpgroups;
 *     - a descriptor has a swizzle, an offset or an address that is not known here, or leads out of the array that it begins in;
 *     - no begin_products stands before the first multiplication of a group;
 *     - what it reads is, when it is waited for, no longer what it was when it began;
 *     - a thread ends with multiplications that it has not waited for.
 */
#ifndef EDIY_TESTS_CUDA_SHIM_WARPGROUP_H
#define EDIY_TESTS_CUDA_SHIM_WARPGROUP_H

#include <stdint.h>

/* A byte's address in shared memory, which begins at a high one, as that of a block in a cluster does. Arrays begin at multiples of
 * 1024. */
uint32_t shared_address(const void *p);

static inline void show_copies(void) {}                              /* the shim knows one way to memory */
template <int SUMS> static inline void hold_sums(float (&)[SUMS]) {} /* and no compiler that moves what it does */
void begin_products(void);
void commit_products(void);
void shim_wait_for_products(int but);
template <int BUT> static inline void wait_for_products() { shim_wait_for_products(BUT); }

void shim_multiply_tiles(int n, bool along_a, bool along_b, float *c, uint64_t a, uint64_t b);
template <int N, bool ALONG_A, bool ALONG_B> static inline void multiply_tiles(float (&c)[N / 2], uint64_t a, uint64_t b) {
  shim_multiply_tiles(N, ALONG_A, ALONG_B, c, a, b);
}

#endif
