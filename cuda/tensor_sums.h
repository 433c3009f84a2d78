/* What multiplies a slab in tensor_gemm.h: tensor cores, or the fp32 units with fused multiply-adds. An arithmetic says
 *
 *     number        the type of operands in memory and in shared memory
 *     operand(x)    the float that is multiplied
 *     LAG           slabs whose multiplication may still be in flight when that of the next is begun: 0, for wgmma 1
 *     sums<K>       a warp's part of a tile of K:
 *         begin()                          before the barrier behind which a slab is there
 *         step(stage, step, warp, lane)    adds the products of one step of the slab in this stage (tensor_tile.h), or begins to
 *         end(), finish()                  behind a slab, and behind the last
 *         put(staged, half, warp, lane)    writes what the warp has of a half of the tile's rows to rows of K::PITCH floats
 *         BLOCKS                           on a multiprocessor at a time: its 64 Ki registers are to be enough (docs/cuda.md: what spills)
 *
 * and an element's sum is in every case one chain from the first depth to the last: of mma, each adding 8 (tf32) or 16 (bf16) products to a
 * float, or of fused multiply-adds, each adding one. */
#ifndef EDIY_CUDA_TENSOR_SUMS_H
#define EDIY_CUDA_TENSOR_SUMS_H

#include <math.h>

#include "cuda/tensor_tile.h"

/* ---- tensor cores -------------------------------------------------------------------------------------------------------------------- */

/* A quarter of the tile a warp. */
template <class K> struct quarter {
  __device__ static int down(int warp) { return warp / 2 * K::DOWN; }
  __device__ static int right(int warp) { return warp % 2 * K::ACROSS; }
};

/* What is done when step returns. */
struct immediate_sums {
  __device__ void begin() {}
  __device__ void end() {}
  __device__ void finish() {}
};

template <class K> struct mma_sums : immediate_sums {
  typedef typename K::number number;
  enum { M = K::DOWN / 16, N = K::ACROSS / 8, TILES = M * N, BLOCKS = TILES > 16 ? 2 : TILES > 8 ? 3 : 4 };
  float sum[M][N][4] = {};

  __device__ void step(const unsigned char *stage, int step, int warp, int lane) {
    int down = quarter<K>::down(warp), right = quarter<K>::right(warp);
    const unsigned char *tile_b = stage + K::TILE_ROWS * SLAB_BYTES;
    uint32_t a[M][4], b[N][2];
    UNROLL for (int i = 0; i < M; i++) fragment<number, K::a_operand::ALONG>::of_a(a[i], stage, down, i, step, lane);
    UNROLL for (int j = 0; j < N; j += 2) {
      uint32_t two[4];
      fragment<number, K::b_operand::ALONG>::of_b(two, tile_b, right, j / 2, step, lane);
      b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
    }
    UNROLL for (int i = 0; i < M; i++) UNROLL for (int j = 0; j < N; j++) mma<number>(sum[i][j], a[i], b[j]);
  }

  /* Of 16 x 8 sums, where the first two of a lane stand; the other two are eight rows on. */
  __device__ static int spot(int lane, int row, int column) { return (row + lane / 4) * K::PITCH + column + lane % 4 * 2; }
  __device__ void put(float *staged, int half, int warp, int lane) const {
    if (quarter<K>::down(warp) != half * K::DOWN) return;
    UNROLL for (int i = 0; i < M; i++) UNROLL for (int j = 0; j < N; j++) UNROLL for (int e = 0; e < 4; e++)
        staged[spot(lane, 16 * i + e / 2 * 8, quarter<K>::right(warp) + 8 * j) + e % 2] = sum[i][j][e];
  }
};

/* ---- fp32 units ---------------------------------------------------------------------------------------------------------------------- */

/* Of a warp's indices of A or B, those of one lane, of LANES groups of lanes: every LANES-th where depths are neighbours in the tile, else
 * every LANES-th four neighbours. Then what a warp reads at once is neighbouring pieces, in different banks. */
enum { QUAD = 4 /* depths read together, a piece of floats */ };
template <int LANES, bool ALONG> struct lane_share {
  __device__ static int index(int group, int i) { return ALONG ? group + LANES * i : (group + i / QUAD * LANES) * QUAD + i % QUAD; }

  /* Byte of the piece that holds index i, of the quad's depths (along) or of its depth d (across: i is a multiple of QUAD). first: of the
   * warp, a multiple of 32. */
  __device__ static int spot(int first, int group, int i, int quad, int d) {
    if (!ALONG) return across_at<float>(quad * QUAD + d, first / QUAD + group, i / QUAD * LANES);
    int twist = LANES * i >> 1 & (SLAB_PIECES - 1); /* a constant, as what follows behind the + is */
    return along_at(first + group, quad ^ twist) + LANES * i * SLAB_BYTES;
  }

  /* x[i][d]: index from + i, depth d of the quad. */
  template <int COUNT>
  __device__ static void load(float (&x)[COUNT][QUAD], const unsigned char *tile, int first, int group, int from, int quad) {
    UNROLL for (int k = 0; k < COUNT; k++) {
      int i = ALONG ? k : k / QUAD * QUAD, d = ALONG ? 0 : k % QUAD; /* across: of four indices each of the four depths */
      const void *piece = tile + spot(first, group, from + i, quad, d);
      struct numbers<float, QUAD> four = load_numbers<QUAD>((const float *)piece);
      UNROLL for (int e = 0; e < QUAD; e++)(ALONG ? x[i][e] : x[i + e][d]) = four.x[e];
    }
  }
};

template <class K> struct fma_sums : immediate_sums {
  enum {
    GROUPS_DOWN = 8,
    GROUPS_ACROSS = 4,
    M = K::DOWN / GROUPS_DOWN,
    N = K::ACROSS / GROUPS_ACROSS,
    TOGETHER = 4,
    QUADS = SLAB_PIECES / STEPS,
    BLOCKS = M * N > 32 ? 2 : 3
  };
  typedef lane_share<GROUPS_DOWN, K::a_operand::ALONG> rows;
  typedef lane_share<GROUPS_ACROSS, K::b_operand::ALONG> columns;
  float sum[M][N] = {};

  __device__ void step(const unsigned char *stage, int step, int warp, int lane) {
    int down = quarter<K>::down(warp), right = quarter<K>::right(warp);
    UNROLL for (int quad = step * QUADS; quad < (step + 1) * QUADS; quad++) {
      float a[M][QUAD], b[TOGETHER][QUAD];
      rows::load(a, stage, down, lane / GROUPS_ACROSS, 0, quad);
      UNROLL for (int from = 0; from < N; from += TOGETHER) {
        columns::load(b, stage + K::TILE_ROWS * SLAB_BYTES, right, lane % GROUPS_ACROSS, from, quad);
        UNROLL for (int d = 0; d < QUAD; d++) UNROLL for (int i = 0; i < M; i++) UNROLL for (int j = 0; j < TOGETHER; j++)
            sum[i][from + j] = fmaf(a[i][d], b[j][d], sum[i][from + j]);
      }
    }
  }

  __device__ void put(float *staged, int half, int warp, int lane) const {
    int right = quarter<K>::right(warp);
    if (quarter<K>::down(warp) != half * K::DOWN) return;
    UNROLL for (int i = 0; i < M; i++) UNROLL for (int j = 0; j < N; j++)
        staged[rows::index(lane / GROUPS_ACROSS, i) * K::PITCH + right + columns::index(lane % GROUPS_ACROSS, j)] = sum[i][j];
  }
};

/* ---- the classes of precision -------------------------------------------------------------------------------------------------------- */

struct fp32_arithmetic {
  typedef float number;
  enum { LAG = 0 };
  template <class K> using sums = fma_sums<K>;
  __device__ static float operand(float x) { return x; }
};

struct tf32_arithmetic {
  typedef float number;
  enum { LAG = 0 };
  template <class K> using sums = mma_sums<K>;
  __device__ static float operand(float x) {
    uint32_t bits = tf32_of(x);
    memcpy(&x, &bits, sizeof x);
    return x;
  }
};

struct bf16_arithmetic {
  typedef struct bf16 number;
  enum { LAG = 0 };
  template <class K> using sums = mma_sums<K>;
  __device__ static float operand(struct bf16 x) { return widen(x); }
};

#endif
