/* LARS and the moving average. Twin of ref/op/lars.c. The arithmetic of an element is the reference's; the norms are summed in double in
 * another fixed order, so the trust ratio may differ from the reference's in its last bits (of double).
 *
 * A norm takes two passes: a number of blocks that depends on the size only, each summing its part by a tree, then one block that adds their
 * sums by the same tree. No atomics: the order is the same in every run. */
#include <math.h>

#include "cuda/runtime.h"
#include "cuda/twins.h"

/* Elements a block at least; with LARS_BLOCKS blocks at most (runtime.h), large tensors have more. */
enum { BLOCK_ELEMENTS = 1 << 13 };

/* Sum over the threads of a block, the same tree every time: lanes of a warp pairwise by shuffles, then the first warp over the warps. Thread
 * 0 gets it. Called by all threads of a block of BLOCK_THREADS. */
__device__ static double block_sum(double value) {
  SHARED(double, warp, [BLOCK_THREADS / WARP_THREADS]);
  for (int distance = WARP_THREADS / 2; distance > 0; distance /= 2)
    value += __shfl_down_sync((unsigned)WHOLE_WARP, value, (unsigned)distance);
  if (threadIdx.x % WARP_THREADS == 0) warp[threadIdx.x / WARP_THREADS] = value;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0)
    for (int w = 0; w < BLOCK_THREADS / WARP_THREADS; w++) sum += warp[w];
  __syncthreads(); /* before the next sum writes */
  return sum;
}

/* First pass: sums[block] = sum of w^2, sums[LARS_BLOCKS + block] = sum of (g + decay w)^2, over the part of this block. */
__global__ static void partial_squares(ptrdiff_t size, ptrdiff_t part, const float *g, double decay, const float *w, double *sums) {
  ptrdiff_t first = (ptrdiff_t)blockIdx.x * part, last = size - first > part ? first + part : size;
  double w_square = 0, d_square = 0;
  for (ptrdiff_t i = first + threadIdx.x; i < last; i += BLOCK_THREADS) {
    double wi = (double)w[i], d = (double)g[i] + decay * wi;
    w_square += wi * wi;
    d_square += d * d;
  }
  w_square = block_sum(w_square);
  d_square = block_sum(d_square);
  if (threadIdx.x == 0) sums[blockIdx.x] = w_square, sums[LARS_BLOCKS + blockIdx.x] = d_square;
}

/* Second pass, one block: what multiplies d goes to sums[2 LARS_BLOCKS]: trust |w| / |d|, or trust |w| / (|g| + wd |w|), or 1 where a norm
 * is 0. */
__global__ static void __launch_bounds__(BLOCK_THREADS) trust_ratio(struct lars o, int blocks, double *sums) {
  int block = (int)threadIdx.x; /* LARS_BLOCKS is BLOCK_THREADS */
  double w_square = block_sum(block < blocks ? sums[block] : 0.0);
  double d_square = block_sum(block < blocks ? sums[LARS_BLOCKS + block] : 0.0);
  if (block != 0) return;
  double w_norm = sqrt(w_square), d_norm = sqrt(d_square);
  double divisor = o.variant == LARS_BYOL ? d_norm : d_norm + o.weight_decay * w_norm;
  sums[2 * LARS_BLOCKS] = w_norm > 0 && divisor > 0 ? o.trust * w_norm / divisor : 1.0;
}

/* ratio: null for 1. m is rounded to float first, and w moves by the m that is stored. */
__global__ static void update(ptrdiff_t size, double momentum, double decay, const double *ratio, double into_m, double into_w,
                              const float *g, float *w, float *m) {
  ptrdiff_t i = item_of_thread();
  if (i >= size) return;
  double d = ((double)g[i] + decay * (double)w[i]) * (ratio ? *ratio : 1.0);
  m[i] = (float)(momentum * (double)m[i] + into_m * d);
  w[i] = (float)((double)w[i] - into_w * (double)m[i]);
}

/* One parameter tensor. w, m: updated. adapt: decay and trust ratio apply. The partial sums lie in cuda_lars_sums, which is safe because
 * one stream runs everything in order. */
void cuda_lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  static_assert((int)LARS_BLOCKS == (int)BLOCK_THREADS, "a thread of trust_ratio for every block of partial_squares");
  double *sums = cuda_lars_sums();
  if (adapt) {
    ptrdiff_t part = (size + LARS_BLOCKS - 1) / LARS_BLOCKS;
    if (part < BLOCK_ELEMENTS) part = BLOCK_ELEMENTS;
    int blocks = (int)((size + part - 1) / part);
    double inside = o->variant == LARS_BYOL ? o->weight_decay : 0.0; /* inside the norm, or added to it */
    LAUNCH(partial_squares, dim3((unsigned)blocks), dim3(BLOCK_THREADS), 0, cuda_stream(), size, part, g, inside, w, sums);
    LAUNCH(trust_ratio, dim3(1), dim3(BLOCK_THREADS), 0, cuda_stream(), *o, blocks, sums);
  }
  bool byol = o->variant == LARS_BYOL;
  LAUNCH(update, blocks_for(size), dim3(BLOCK_THREADS), 0, cuda_stream(), size, o->momentum, adapt ? o->weight_decay : 0.0,
         adapt ? sums + 2 * LARS_BLOCKS : nullptr, byol ? 1.0 : lr, byol ? lr : 1.0, g, w, m);
  cuda_launched("lars_update");
}

__global__ static void average(ptrdiff_t size, double tau, const float *theta, float *xi) {
  ptrdiff_t i = item_of_thread();
  if (i >= size) return;
  xi[i] = tau == 0 ? theta[i] : (float)((double)xi[i] + (1.0 - tau) * ((double)theta[i] - (double)xi[i]));
}

/* xi: updated. Exact at both ends: tau = 1 leaves xi, tau = 0 copies theta. */
void cuda_ema_update(ptrdiff_t size, double tau, const real *theta, real *xi) {
  LAUNCH(average, blocks_for(size), dim3(BLOCK_THREADS), 0, cuda_stream(), size, tau, theta, xi);
  cuda_launched("ema_update");
}
