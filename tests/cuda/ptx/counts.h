/* What kernels do, counted, where EDIY_PTX_COUNTS names a file for it: at the end of the program it gets a line a kernel. Counts are exact
 * and the same on every machine; they are of PTX, of which ptxas makes about as many instructions.
 *
 *     launches, blocks
 *     instructions   of warps, all of them; how many mma.m16n8k8 or m16n8k16 there were, of which a warp's part in a wgmma stands for as
 *                    many as it has columns by 8; and how many lanes took part in an instruction on average
 *     device         bytes that threads asked for, and of how many in 100 that their warps had to touch, in whole sectors of 32 bytes:
 *                    more than 100 where lanes ask for the same
 *     shared         accesses of warps, 128 bytes each or what there is, and turns of one: as many as the fullest of 32 banks of 4 bytes
 *                    has different words
 */
#ifndef EDIY_TESTS_CUDA_PTX_COUNTS_H
#define EDIY_TESTS_CUDA_PTX_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct counts {
  long launches, blocks, instructions, lanes, mma, bytes, sectors, accesses, turns;
};

/* Whether launches from now on are counted; the counts of a kernel, as LAUNCH names it. */
extern bool ptx_counts;
struct counts *ptx_counts_of(const char *kernel);

/* Adds what the lanes of a warp access, so many bytes each. */
void ptx_count_access(struct counts *c, bool shared, uint64_t *address, int lanes, unsigned bytes);

#ifdef __cplusplus
}
#endif

#endif
