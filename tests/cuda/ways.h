/* Where blocks of a launch over rows are (ways.cu), for C. */
#ifndef EDIY_TESTS_CUDA_WAYS_H
#define EDIY_TESTS_CUDA_WAYS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* threads_across of so many threads: those of a block across, and the rows of them; and the grid of blocks_across for so many blocks
 * down. */
void ways_grid(ptrdiff_t down, ptrdiff_t across, unsigned threads, unsigned block[2], unsigned grid[3]);

/* Launches such a grid; down[i]: block_down of the i-th block, x before y before z, from the first row or from behind. Device memory. */
void ways_launch(const unsigned grid[3], int behind, float *down);

#ifdef __cplusplus
}
#endif

#endif
