/* Teacher-guided matching. Twin of ref/op/match.c: the same similarities to the bit, hence the same indices.
 *
 * Three kernels, one launch each: inverse lengths of all rows, all similarities of all images (a tiled product in double), the choice. T is
 * what the rows are stored as; similarities are of the widened ones. */
#include <float.h>

#include "cuda/rows.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

enum { SIDE = 16 /* a block computes SIDE x SIDE similarities, a thread each, from slabs of SIDE channels */ };

/* Inverse lengths of the rows of both views, in doubles, then the similarities, in floats; of a view with itself, its lengths once. */
size_t cuda_match_scratch(const struct match *g) {
  return (size_t)(2 * g->b * g->n) * sizeof(double) + (size_t)(g->b * g->n * g->n) * sizeof(float);
}

/* What a row is divided by before it is multiplied, inverted: 1 for the dot product. The rows of one view and then, if it is another, those
 * of the second: all_rows are in work. Eight lanes a row; rows past the last repeat it, because all lanes of a warp take part in a
 * shuffle. */
template <class T>
__global__ static void row_inverses(ptrdiff_t rows, ptrdiff_t all_rows, ptrdiff_t c, enum similarity similarity, const T *from, const T *to,
                                    double *inverse) {
  ptrdiff_t row = item_of_thread() / LANES, at = row < all_rows ? row : all_rows - 1;
  const T *t = at < rows ? from + at * c : to + (at - rows) * c;
  double square = row_products(c, t, t);
  if (row < all_rows && threadIdx.x % LANES == 0) inverse[row] = row_inverse(similarity == SIMILARITY_COSINE ? square : 1.0);
}

/* sim[b,i,j] = sim(from[b,i], to[b,j]): one chain of additions in double over the channels from first to last, rounded to float at the end,
 * so that duplicated rows tie exactly. The slabs hold rows divided by their length; columns stand for channels.
 *
 * Of a view with itself sim is symmetric, to the bit: factors change places and the order of the sum stays. Then blocks below the diagonal
 * have nothing to do, and those above it write what they compute to both places. */
template <class T>
__global__ static void __launch_bounds__(SIDE *SIDE)
    similarities(ptrdiff_t n, ptrdiff_t c, const T *from, const T *to, const double *from_inverse, const double *to_inverse, float *sim) {
  SHARED(double, slab_from, [SIDE][SIDE + 1]);
  SHARED(double, slab_to, [SIDE][SIDE + 1]);
  const bool symmetric = from == to;
  if (symmetric && blockIdx.y > blockIdx.z) return; /* the whole block */
  const int x = (int)threadIdx.x, y = (int)threadIdx.y;
  const ptrdiff_t first = (ptrdiff_t)blockIdx.x * n; /* row of region 0 of this image */
  const ptrdiff_t i = (ptrdiff_t)blockIdx.y * SIDE + y, j = (ptrdiff_t)blockIdx.z * SIDE + x;
  const ptrdiff_t j_loaded = (ptrdiff_t)blockIdx.z * SIDE + y; /* neighbouring threads load neighbouring channels */
  double sum = 0;
  for (ptrdiff_t slab = 0; slab < c; slab += SIDE) {
    ptrdiff_t channel = slab + x;
    slab_from[y][x] = i < n && channel < c ? (double)widen(from[(first + i) * c + channel]) * from_inverse[first + i] : 0.0;
    slab_to[y][x] = j_loaded < n && channel < c ? (double)widen(to[(first + j_loaded) * c + channel]) * to_inverse[first + j_loaded] : 0.0;
    __syncthreads();
    for (int k = 0; k < SIDE && slab + k < c; k++) sum += slab_from[y][k] * slab_to[x][k];
    __syncthreads();
  }
  if (i >= n || j >= n) return;
  sim[(first + i) * n + j] = (float)sum;
  if (symmetric && blockIdx.y < blockIdx.z) sim[(first + j) * n + i] = (float)sum;
}

/* best[row] = index of the smallest of n values, the first of equals; sign -1 makes it the largest. NaN loses every comparison and is given
 * up for the first number. A thread a row. */
__global__ static void first_smallest(ptrdiff_t rows, ptrdiff_t n, float sign, const float *sim, int32_t *best) {
  ptrdiff_t row = item_of_thread();
  if (row >= rows) return;
  const float *value = sim + row * n;
  ptrdiff_t at = 0;
  float least = sign * value[0];
  for (ptrdiff_t z = 1; z < n; z++) {
    float v = sign * value[z];
    if (v < least || (least != least && v == v)) at = z, least = v;
  }
  best[row] = (int32_t)at;
}

template <class T> static void match_by(const struct match *g, const T *from, const T *to, float sign, int32_t *best, void *scratch) {
  ptrdiff_t rows = g->b * g->n, all_rows = from == to ? rows : 2 * rows;
  double *from_inverse = (double *)scratch, *to_inverse = from_inverse + (all_rows - rows);
  float *sim = (float *)(from_inverse + all_rows);
  dim3 threads(BLOCK_THREADS);
  unsigned tiles = (unsigned)((g->n + SIDE - 1) / SIDE);
  LAUNCH(row_inverses<T>, blocks_for(all_rows * LANES), threads, 0, cuda_stream(), rows, all_rows, g->c, g->similarity, from, to,
         from_inverse);
  LAUNCH(similarities<T>, dim3((unsigned)g->b, tiles, tiles), dim3(SIDE, SIDE), 0, cuda_stream(), g->n, g->c, from, to, from_inverse,
         to_inverse, sim);
  LAUNCH(first_smallest, blocks_for(rows), threads, 0, cuda_stream(), rows, g->n, sign, sim, best);
}

/* Eq. 4. d: overwritten. Row j of the similarities holds sim(t[j], t[z]) over z. */
void cuda_match_diversity(const struct match *g, const real *t, int32_t *d, void *scratch) {
  match_by(g, t, t, 1, d, scratch);
  cuda_launched("match_diversity");
}

/* t: bf16. */
void cuda_match_diversity_bf16(const struct match *g, const real *t, int32_t *d, void *scratch) {
  match_by(g, activations<bf16>(t), activations<bf16>(t), 1, d, scratch);
  cuda_launched("match_diversity");
}

/* Eq. 6. s: overwritten. */
void cuda_match_invariance(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch) {
  match_by(g, from, to, -1, s, scratch);
  cuda_launched("match_invariance");
}

/* from, to: bf16. */
void cuda_match_invariance_bf16(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch) {
  match_by(g, activations<bf16>(from), activations<bf16>(to), -1, s, scratch);
  cuda_launched("match_invariance");
}
