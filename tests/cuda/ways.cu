/* See ways.h. Compiled by the C++ compiler only. */
#include "cuda/ways.h"

#include "cuda/runtime.h"

#include "cuda/norm_rows.h"

template <enum way WAY> __global__ void note_down(float *down) {
  down[((ptrdiff_t)blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = (float)block_down<WAY>();
}

void ways_grid(ptrdiff_t down, ptrdiff_t across, unsigned threads, unsigned block[2], unsigned grid[3]) {
  dim3 one = threads_across(across, threads), all = blocks_across(down, across, one);
  block[0] = one.x, block[1] = one.y;
  grid[0] = all.x, grid[1] = all.y, grid[2] = all.z;
}

void ways_launch(const unsigned grid[3], int behind, float *down) {
  dim3 all(grid[0], grid[1], grid[2]);
  if (behind)
    LAUNCH(note_down<FROM_BEHIND>, all, 1, 0, cuda_stream(), down);
  else
    LAUNCH(note_down<FROM_FIRST>, all, 1, 0, cuda_stream(), down);
}
