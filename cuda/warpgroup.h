/* What a warpgroup, four warps, does on tensor cores of Hopper (compute capability 9.0): inline PTX for sm_90a. The tests have the same
 * functions on the CPU (tests/cuda/shim_warpgroup.h). All threads of a block of 128 call them together.
 *
 *     multiply_tiles<N, ALONG_A, ALONG_B>(c, a, b)   c += a b: 64 x N += 64 x 16 times 16 x N (N 64 or 128), both operands bf16 in shared
 *                                                    memory; begins, and goes on behind the threads' back
 *
 * With w = warp, g = lane / 4 and t = lane % 4, c[i] is in row 16 w + g, or + 8 where i / 2 is odd, and column i / 4 * 8 + 2 t + i % 2:
 * beside each other N / 8 of the tiles that one mma leaves (tensor.h). Nobody may touch c, nor write what is read, before it has been
 * waited for.
 *
 *     begin_products()         before the first of a group: what the threads have done with c is done
 *     commit_products()        closes a group of multiplications
 *     wait_for_products<BUT>() until all groups but the last BUT are done, as far as this warp has a part in them: that all warps' are, a
 *                              barrier says
 *     hold_sums(c)             behind a wait: nothing that is done with c may be moved before it
 *     show_copies()            what this thread has copied to shared memory, and has waited for, is there for all threads' multiplications
 *                              behind the next barrier
 *
 * An operand is described by a number: where it begins, and how rows of 16 bytes of it lie. Tiles are those of tensor_tile.h:
 *
 *     along     rows of 64 bytes, eight of them 512 bytes; a piece stands at its place xor bits 7 and 8 of its address (64-byte swizzle)
 *     across    panels of 64 indices, rows of 128 bytes a depth, eight of them 1024 bytes; xor bits 7 to 9 (128-byte swizzle)
 *
 * for which a tile has to begin at a multiple of 1024 bytes. Source: PTX ISA, "Asynchronous warpgroup level matrix instructions" (shared
 * memory layout, matrix descriptor, register fragments of D), and "fence.proxy"; in CUTLASS (make_gmma_desc) these are the
 * canonical layouts K-major B64 and MN-major B128. Order and rounding of the sums are not documented.
 */
#ifndef EDIY_CUDA_WARPGROUP_H
#define EDIY_CUDA_WARPGROUP_H

#include "cuda/tensor_tile.h"

enum {
  WARPGROUP_ROWS = 64,
  WARPGROUP_DEPTH = 16,
  SWIZZLE_128 = 1,
  SWIZZLE_64 = 2,
  IN_WINDOW = 0x3ffff /* of an address in shared memory */
};

/* leading: bytes from one panel to the next, where there are panels; stride: from eight rows to the next eight. */
__device__ static inline uint64_t operand_descriptor(const unsigned char *tile, int leading, int stride, int swizzle) {
  return (uint64_t)((shared_address(tile) & IN_WINDOW) >> 4) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 |
         (uint64_t)swizzle << 62;
}

/* Of 16 depths from `step` on in a tile of bf16, and of indices from 64 i on. */
template <bool ALONG> __device__ static inline uint64_t tile_descriptor(const unsigned char *tile, int i, int step) {
  enum { STEP_BYTES = WARPGROUP_DEPTH * 2, PANEL = panel_of<struct bf16>::BYTES };
  if (ALONG) return operand_descriptor(tile + i * WARPGROUP_ROWS * SLAB_BYTES + step * STEP_BYTES, PIECE_BYTES, 8 * SLAB_BYTES, SWIZZLE_64);
  return operand_descriptor(tile + i * PANEL + step * WARPGROUP_DEPTH * PANEL_ROW_BYTES, PANEL, 8 * PANEL_ROW_BYTES, SWIZZLE_128);
}

#ifdef __CUDACC__

__device__ static inline void show_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ static inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ static inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int BUT> __device__ static inline void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(BUT) : "memory");
}

template <int SUMS> __device__ static inline void hold_sums(float (&c)[SUMS]) {
  UNROLL for (int i = 0; i < SUMS; i++) asm volatile("" : "+f"(c[i])::"memory");
}

#define SUMS_8(c, i)                                                                                                                       \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define SUMS_32(c, i) SUMS_8(c, i), SUMS_8(c, i + 8), SUMS_8(c, i + 16), SUMS_8(c, i + 24)
#define FIRST_32                                                                                                                           \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                                                 \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NEXT_32                                                                                                                            \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                                                       \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

/* The numbers behind the operands: add to c; a and b as they are, not negated; and whether each lies across. */
template <int N, bool ALONG_A, bool ALONG_B> __device__ static inline void multiply_tiles(float (&c)[N / 2], uint64_t a, uint64_t b) {
  static_assert(N == 64 || N == 128, "widths of tiles");
  if constexpr (N == 64)
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FIRST_32 "}, %32, %33, 1, 1, 1, %34, %35;"
                 : SUMS_32(c, 0)
                 : "l"(a), "l"(b), "n"(!ALONG_A), "n"(!ALONG_B));
  else
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FIRST_32 ", " NEXT_32 "}, %64, %65, 1, 1, 1, %66, %67;"
                 : SUMS_32(c, 0), SUMS_32(c, 32)
                 : "l"(a), "l"(b), "n"(!ALONG_A), "n"(!ALONG_B));
}

#endif
#endif
