/* LARS and the moving average. Twin of ref/op/lars.c, with its bits: the arithmetic of an element is the same, and the order in the sums of
 * norms, whose lanes are a block's threads.
 *
 * A network has a hundred and more parameter tensors, most of them small: a pass takes up to UPDATE_PARTS of them in one launch. Each gets
 * blocks of its own, as many as its size alone says, numbered one tensor after the other; so a tensor's bits are the same whether it is
 * updated alone or among others.
 *
 * A norm takes two passes: a tensor's blocks each sum their piece by a tree, then one block adds their sums by the same tree. No atomics:
 * the order is the same in every run. */
#include <math.h>

#include "cuda/runtime.h"
#include "cuda/twins.h"

enum {
  LARS_SUMS = 2 * LARS_LANES + 1, /* doubles in scratch of a tensor: partial sums of both norms, and what multiplies d */
  ELEMENTS = 4 * BLOCK_THREADS    /* of an update, a block */
};

/* Tensors of a pass, and the first block of each; first[count] is how many there are. By value: arguments of a launch. */
template <class P> struct pass {
  P part[UPDATE_PARTS];
  int first[UPDATE_PARTS + 1], count;
};

/* blocks(size): of one tensor. */
template <class P> static struct pass<P> pass_of(int count, const P *part, int (*blocks)(ptrdiff_t size)) {
  struct pass<P> p = {};
  p.count = count;
  for (int i = 0; i < count; i++) p.part[i] = part[i], p.first[i + 1] = p.first[i] + blocks(part[i].size);
  return p;
}

/* The tensor that this block works on. */
template <class P>
__device__ static int tensor_of_block(const struct pass<P> &p) {
  int low = 0, high = p.count; /* first[low] <= block < first[high] */
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (p.first[middle] <= (int)blockIdx.x)
      low = middle;
    else
      high = middle;
  }
  return low;
}

__host__ __device__ static ptrdiff_t norm_piece(ptrdiff_t size) {
  ptrdiff_t piece = (size + LARS_LANES - 1) / LARS_LANES;
  return piece < LARS_PIECE_LEAST ? (ptrdiff_t)LARS_PIECE_LEAST : piece;
}
__host__ __device__ static int norm_blocks(ptrdiff_t size) { return (int)((size + norm_piece(size) - 1) / norm_piece(size)); }
static int element_blocks(ptrdiff_t size) { return (int)((size + ELEMENTS - 1) / ELEMENTS); }

/* Sum over the threads of a block, the same tree every time: lanes of a warp pairwise by shuffles, then the first warp over the warps.
 * Thread 0 gets it. Called by all threads of a block of BLOCK_THREADS. */
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

/* First pass, of tensors that adapt: sums[block] = sum of w^2, sums[LARS_LANES + block] = sum of (g + decay w)^2, over this block's piece
 * of the tensor. */
__global__ static void partial_squares(struct pass<struct lars_part> p, const float *g, double decay, const float *w, double *sums) {
  int tensor = tensor_of_block(p), block = (int)blockIdx.x - p.first[tensor];
  const struct lars_part part = p.part[tensor];
  if (!part.adapt) return;
  ptrdiff_t piece = norm_piece(part.size), first = block * piece, last = part.size - first > piece ? first + piece : part.size;
  double w_square = 0, d_square = 0;
  for (ptrdiff_t i = part.at + first + threadIdx.x; i < part.at + last; i += BLOCK_THREADS) {
    double wi = (double)w[i], d = (double)g[i] + decay * wi;
    w_square += wi * wi;
    d_square += d * d;
  }
  w_square = block_sum(w_square);
  d_square = block_sum(d_square);
  sums += tensor * LARS_SUMS;
  if (threadIdx.x == 0) sums[block] = w_square, sums[LARS_LANES + block] = d_square;
}

/* Second pass, a block a tensor: what multiplies d goes to sums[2 LARS_LANES]: trust |w| / |d|, or trust |w| / (|g| + wd |w|), or 1 where
 * a norm is 0 and for tensors that do not adapt. */
__global__ static void __launch_bounds__(BLOCK_THREADS) trust_ratio(struct lars o, struct pass<struct lars_part> p, double *sums) {
  const struct lars_part part = p.part[blockIdx.x];
  int thread = (int)threadIdx.x, blocks = part.adapt ? norm_blocks(part.size) : 0;
  sums += (int)blockIdx.x * LARS_SUMS;
  double w_square = block_sum(thread < blocks ? sums[thread] : 0.0);
  double d_square = block_sum(thread < blocks ? sums[LARS_LANES + thread] : 0.0);
  if (thread != 0) return;
  double w_norm = sqrt(w_square), d_norm = sqrt(d_square);
  double divisor = o.variant == LARS_BYOL ? d_norm : d_norm + o.weight_decay * w_norm;
  sums[2 * LARS_LANES] = w_norm > 0 && divisor > 0 ? o.trust * w_norm / divisor : 1.0;
}

/* m is rounded to float first, and w moves by the m that is stored. */
__global__ static void update(struct pass<struct lars_part> p, const int64_t *halt, double momentum, double weight_decay,
                              const double *sums, double into_m, double into_w, const float *g, float *w, float *m) {
  int tensor = tensor_of_block(p);
  const struct lars_part part = p.part[tensor];
  if (halt && *halt) return;
  double decay = part.adapt ? weight_decay : 0.0, ratio = sums[tensor * LARS_SUMS + 2 * LARS_LANES];
  ptrdiff_t first = (ptrdiff_t)((int)blockIdx.x - p.first[tensor]) * ELEMENTS;
  for (ptrdiff_t i = first + threadIdx.x; i < part.size && i < first + ELEMENTS; i += BLOCK_THREADS) {
    ptrdiff_t at = part.at + i;
    double d = ((double)g[at] + decay * (double)w[at]) * ratio;
    m[at] = (float)(momentum * (double)m[at] + into_m * d);
    w[at] = (float)((double)w[at] - into_w * (double)m[at]);
  }
}

/* count <= UPDATE_PARTS tensors. w, m: updated. adapt: decay and trust ratio apply. */
static void update_parts(const struct lars *o, int count, const struct lars_part *part, double lr, const int64_t *halt, const float *g,
                         float *w, float *m) {
  static_assert((int)LARS_LANES == (int)BLOCK_THREADS, "a thread for every lane, and of trust_ratio for every piece");
  static_assert((int)LARS_GROUP == (int)WARP_THREADS, "a group of lanes is joined by shuffles");
  static_assert(UPDATE_PARTS * LARS_SUMS * sizeof(double) <= OWN_SCRATCH, "room for the sums");
  double *sums = (double *)cuda_own_scratch();
  bool byol = o->variant == LARS_BYOL;
  struct pass<struct lars_part> norms = pass_of(count, part, norm_blocks), elements = pass_of(count, part, element_blocks);
  double inside = byol ? o->weight_decay : 0.0; /* inside the norm, or added to it */
  LAUNCH(partial_squares, dim3((unsigned)norms.first[count]), dim3(BLOCK_THREADS), 0, cuda_stream(), norms, g, inside, w, sums);
  LAUNCH(trust_ratio, dim3((unsigned)count), dim3(BLOCK_THREADS), 0, cuda_stream(), *o, norms, sums);
  LAUNCH(update, dim3((unsigned)elements.first[count]), dim3(BLOCK_THREADS), 0, cuda_stream(), elements, halt, o->momentum, o->weight_decay,
         sums, byol ? 1.0 : lr, byol ? lr : 1.0, g, w, m);
}

void cuda_lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  const struct lars_part part = {0, size, adapt};
  update_parts(o, 1, &part, lr, nullptr, g, w, m);
  cuda_launched("lars_update");
}

void cuda_lars_update_all(const struct lars *o, int count, const struct lars_part *part, double lr, const int64_t *halt, const real *g,
                          real *w, real *m) {
  if (count > 0) update_parts(o, count, part, lr, halt, g, w, m);
  cuda_launched("lars_update_all");
}

__global__ static void average(struct pass<struct ema_part> p, double tau, const int64_t *halt, const float *theta, float *xi) {
  int tensor = tensor_of_block(p);
  const struct ema_part part = p.part[tensor];
  ptrdiff_t first = (ptrdiff_t)((int)blockIdx.x - p.first[tensor]) * ELEMENTS;
  if (halt && *halt) return;
  theta += part.from, xi += part.to;
  for (ptrdiff_t i = first + threadIdx.x; i < part.size && i < first + ELEMENTS; i += BLOCK_THREADS)
    xi[i] = tau == 0 ? theta[i] : (float)((double)xi[i] + (1.0 - tau) * ((double)theta[i] - (double)xi[i]));
}

static void average_parts(int count, const struct ema_part *part, double tau, const int64_t *halt, const float *theta, float *xi) {
  struct pass<struct ema_part> p = pass_of(count, part, element_blocks);
  LAUNCH(average, dim3((unsigned)p.first[count]), dim3(BLOCK_THREADS), 0, cuda_stream(), p, tau, halt, theta, xi);
}

/* xi: updated. Exact at both ends: tau = 1 leaves xi, tau = 0 copies theta. */
void cuda_ema_update(ptrdiff_t size, double tau, const real *theta, real *xi) {
  const struct ema_part part = {0, 0, size};
  average_parts(1, &part, tau, nullptr, theta, xi);
  cuda_launched("ema_update");
}

void cuda_ema_update_all(int count, const struct ema_part *part, double tau, const int64_t *halt, const real *theta, real *xi) {
  if (count > 0) average_parts(count, part, tau, halt, theta, xi);
  cuda_launched("ema_update_all");
}
