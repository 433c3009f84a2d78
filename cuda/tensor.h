/* What a warp does on tensor cores, and copies to shared memory that go on while a kernel computes: inline PTX for compute capability 8.0
 * and later. The tests have the same functions on the CPU (tests/cuda/shim_tensor.h). All lanes of a warp call the first four together.
 *
 *     mma_bf16(c, a, b)     c += a b: 16 x 8 += 16 x 16 times 16 x 8, operands bf16, two to a register, products and sums in float
 *     mma_tf32(c, a, b)     the same with depth 8 and operands tf32, one to a register
 *
 * With g = lane / 4 and t = lane % 4, in 32-bit registers ("row, depth" for a, "depth, column" for b, "row, column" for c):
 *
 *              a[0]         a[1]           a[2]           a[3]               b[0]        b[1]           c[0] c[1]        c[2] c[3]
 *     tf32     g, t         g + 8, t       g, t + 4       g + 8, t + 4       t, g        t + 4, g       g, 2t  2t + 1    g + 8, 2t  2t + 1
 *     bf16     g, 2t..      g + 8, 2t..    g, 2t + 8..    g + 8, 2t + 8..    2t.., g     2t + 8.., g    the same
 *
 * where 2t.. are depths 2t (lower half of the register) and 2t + 1. So in bytes of depth both are the same: 16 in a[0] and a[1], 16 in a[2]
 * and a[3].
 *
 *     load_matrices(r, row)              four matrices of 8 rows of 16 bytes in shared memory; lane l gives the address of row l % 8 of
 *                                        matrix l / 8, aligned to 16; r[i] is, of matrix i, row g, bytes 4 t to 4 t + 3
 *     load_matrices_transposed(r, row)   the same with elements of 16 bits transposed: r[i] is, of matrix i, column g, rows 2t and 2t + 1
 *
 *     copy_async(shared, global, present)   begins to copy 16 bytes, both addresses aligned to 16; zeros, without reading, if not present
 *     commit_copies()                       closes a group of the thread's copies, perhaps an empty one
 *     wait_for_copies<BUT>()                until all of the thread's groups but the last BUT are there; other threads see them after a
 *                                           barrier
 *
 *     tf32_of(x)               bits of x rounded to tf32, to nearest, ties away from zero
 *     bf16_pair(low, high)     two numbers rounded to bf16, to nearest, ties to even, as mma_bf16 takes them
 *
 * Source: PTX ISA, sections "mma", "ldmatrix", "cp.async", "cvt". Order and rounding of the sums inside an mma are not documented; products
 * are exact, since 11 + 11 bits fit a float's 24.
 */
#ifndef EDIY_CUDA_TENSOR_H
#define EDIY_CUDA_TENSOR_H

#include <stdint.h>

#include "cuda/launch.h"

#ifdef __CUDACC__

__device__ static inline void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ static inline void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ static inline uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

__device__ static inline void load_matrices(uint32_t (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

__device__ static inline void load_matrices_transposed(uint32_t (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/* Through L1 (.ca): neighbouring taps of a convolution read the same bytes again. */
__device__ static inline void copy_async(void *shared, const void *global, bool present) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(present ? 16 : 0)
               : "memory");
}

__device__ static inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int BUT> __device__ static inline void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(BUT) : "memory"); }

__device__ static inline uint32_t tf32_of(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

__device__ static inline uint32_t bf16_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

#endif
#endif
