/* The matrix product C = A B on tensor cores: for convolution and linear layers in tf32 and bf16, as gemm.h is for float.
 *
 * A block of four warps computes a tile of C, each warp a quarter of it in registers. Slabs of A and B (tensor_tile.h) stand in shared memory in a ring of
 * STAGES stages. While a slab is multiplied, the slab STAGES - 1 ahead is on its way into the stage that was multiplied last, so that between asking
 * memory for a number and needing it lie STAGES - 2 whole slabs of multiplications:
 *
 *     stage      0         1         2         3
 *     slab i     multiply  there     coming    asked for        one barrier a slab: all have multiplied slab i - 1, whose stage is free,
 *     slab i+1   asked for multiply  there     coming           and slab i, for which each thread has waited, is there for all
 *
 * What A, B and C are says a product P:
 *
 *     number                float: operands are rounded to tf32; bf16
 *     result                the type of C in memory
 *     a_place<TILE>, b_place<TILE>   places (tensor_operand.h), and their views a and b
 *     rows, columns, depth  of the product
 *     chunk                 depth that a part sums over (blockIdx.z)
 *     row_at(row, part)     offset of the start of a row of C, whose columns are contiguous
 *     accumulate            whether the sum is added to C
 *
 * Order: an element is one chain of mma from the first depth to the last, each adding 8 (tf32) or 16 (bf16) products to a float; behind the last depth,
 * zeros. Neither the tile that an element lies in nor the way in which its numbers were brought changes the chain. Then bias is added in float, then what C
 * held, and the sum is rounded to C's type once.
 */
#ifndef EDIY_CUDA_TENSOR_GEMM_H
#define EDIY_CUDA_TENSOR_GEMM_H

#include "cuda/runtime.h"
#include "cuda/tensor_operand.h"

enum { STAGES = 4, STAGED_SKEW = 8 /* floats: neighbouring rows of staged results begin 8 banks apart */ };

/* A product with its tile, and how A and B are brought. */
template <class P, int ROWS, int COLUMNS, bool A_WHOLE, bool B_WHOLE> struct tiled {
  typedef P product;
  typedef typename P::number number;
  typedef typename P::result result;
  typedef operand<typename P::template a_place<ROWS>, number, ROWS, A_WHOLE> a_operand;
  typedef operand<typename P::template b_place<COLUMNS>, number, COLUMNS, B_WHOLE> b_operand;
  enum {
    TILE_ROWS = ROWS,
    TILE_COLUMNS = COLUMNS,
    DOWN = ROWS / 2, /* of a warp */
    ACROSS = COLUMNS / 2,
    STAGE_BYTES = (ROWS + COLUMNS) * SLAB_BYTES,
    SHARED_BYTES = STAGES * STAGE_BYTES,
    PITCH = COLUMNS + STAGED_SKEW,
    IS_WHOLE = A_WHOLE && B_WHOLE,
    MANY_REGISTERS = ROWS * COLUMNS == 128 * 128 || !IS_WHOLE,
    BLOCKS = MANY_REGISTERS ? 2
             : ROWS == 128  ? 3
                            : 4 /* on a multiprocessor at a time, for which its 64 Ki registers are enough */
  };
  static_assert(DOWN * PITCH * (int)sizeof(float) <= SHARED_BYTES, "half a tile of results fits where the stages were");
  P p;
  int column_tiles;
  bool whole_results; /* columns and address allow 16 bytes at a time */
};

/* One step of a slab: sum += a b, for this warp's part. */
template <class K, int M, int N>
__device__ static inline void multiply_step(float (&sum)[M][N][4], const unsigned char *stage, int step, int down, int right, int lane) {
  typedef typename K::number number;
  const unsigned char *tile_b = stage + K::TILE_ROWS * SLAB_BYTES;
  uint32_t a[M][4], b[N][2];
  UNROLL for (int i = 0; i < M; i++) fragment<number, K::TILE_ROWS, K::a_operand::ALONG>::of_a(a[i], stage, down, i, step, lane);
  UNROLL for (int j = 0; j < N; j += 2) {
    uint32_t two[4];
    fragment<number, K::TILE_COLUMNS, K::b_operand::ALONG>::of_b(two, tile_b, right, j / 2, step, lane);
    b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
  }
  UNROLL for (int i = 0; i < M; i++) UNROLL for (int j = 0; j < N; j++) mma<number>(sum[i][j], a[i], b[j]);
}

/* A piece of a row of C, of 16 bytes, from its float sums. */
template <class R, int PIECE> __device__ static inline void store_whole(const float *sum, const float *bias, bool accumulate, R *at) {
  struct piece p;
  float y[PIECE];
  R x[PIECE];
  UNROLL for (int i = 0; i < PIECE / 4; i++) {
    p = reinterpret_cast<const struct piece *>(sum)[i];
    memcpy(y + 4 * i, p.word, sizeof p.word);
  }
  UNROLL for (int e = 0; bias && e < PIECE; e++) y[e] += bias[e];
  if (accumulate) {
    p = *reinterpret_cast<const struct piece *>(at);
    memcpy(x, p.word, sizeof x);
    UNROLL for (int e = 0; e < PIECE; e++) y[e] += widen(x[e]);
  }
  *reinterpret_cast<struct piece *>(at) = packed(y);
}

/* The same where there are fewer numbers, or the address is no multiple of 16. */
template <class R> __device__ static inline void store_each(const float *sum, int numbers, const float *bias, bool accumulate, R *at) {
  for (int e = 0; e < numbers; e++) {
    float y = sum[e];
    if (bias) y += bias[e];
    if (accumulate) y += widen(at[e]);
    at[e] = narrow<R>(y);
  }
}

template <class K>
__global__ static void __launch_bounds__(TENSOR_THREADS, K::BLOCKS)
    tensor_gemm(K k, const typename K::a_operand::M *a, const typename K::b_operand::M *b, const float *bias, typename K::result *c) {
  enum { M = K::DOWN / 16, N = K::ACROSS / 8, PIECE = PIECE_BYTES / (int)sizeof(typename K::result), IN_ROW = K::TILE_COLUMNS / PIECE };
  SHARED_OF_LAUNCH(shared);
  const int thread = (int)threadIdx.x, lane = thread % WARP_THREADS, warp = thread / WARP_THREADS, part = (int)blockIdx.z;
  const int top = (int)blockIdx.x / k.column_tiles * K::TILE_ROWS, left = (int)blockIdx.x % k.column_tiles * K::TILE_COLUMNS;
  const int down = warp / 2 * K::DOWN, right = warp % 2 * K::ACROSS;
  const int first = part * k.p.chunk, last = k.p.depth - first > k.p.chunk ? first + k.p.chunk : k.p.depth;
  const int slabs = (last - first + depth_of<typename K::number>::SLAB - 1) / depth_of<typename K::number>::SLAB;
  float sum[M][N][4] = {};
  typename K::a_operand from_a;
  typename K::b_operand from_b;
  from_a.begin(k.p.a, a, top, first, last, thread);
  from_b.begin(k.p.b, b, left, first, last, thread);

  for (int slab = 0; slab < STAGES - 1; slab++) {
    unsigned char *stage = shared + slab * K::STAGE_BYTES;
    UNROLL for (int step = 0; slab < slabs && step < STEPS; step++) {
      from_a.begin_part(k.p.a, stage, step, thread);
      from_b.begin_part(k.p.b, stage + K::TILE_ROWS * SLAB_BYTES, step, thread);
      from_a.finish_part(stage, step, thread);
      from_b.finish_part(stage + K::TILE_ROWS * SLAB_BYTES, step, thread);
    }
    commit_copies();
  }
  int at = 0; /* the stage of the present slab, in bytes; the one before it in the ring is next to be filled */
  for (int slab = 0; slab < slabs; slab++) {
    wait_for_copies<STAGES - 2>();
    __syncthreads();
    const unsigned char *stage = shared + at;
    unsigned char *ahead = shared + (at == 0 ? K::SHARED_BYTES : at) - K::STAGE_BYTES;
    /* Slabs behind the last are zeros, for which nothing is read: no branch keeps the multiplications of a step from hiding what else it does. What is
     * gathered takes longer than a branch. */
    const bool more = K::IS_WHOLE || slab + STAGES - 1 < slabs;
    UNROLL for (int step = 0; step < STEPS; step++) {
      if (more) {
        from_a.begin_part(k.p.a, ahead, step, thread);
        from_b.begin_part(k.p.b, ahead + K::TILE_ROWS * SLAB_BYTES, step, thread);
      }
      multiply_step<K>(sum, stage, step, down, right, lane);
      if (more) {
        from_a.finish_part(ahead, step, thread);
        from_b.finish_part(ahead + K::TILE_ROWS * SLAB_BYTES, step, thread);
      }
    }
    commit_copies();
    at = at + K::STAGE_BYTES == K::SHARED_BYTES ? 0 : at + K::STAGE_BYTES;
  }
  wait_for_copies<0>();

  /* Results go through shared memory, half a tile at a time, so that neighbouring threads store neighbouring pieces. */
  float *staged = reinterpret_cast<float *>(shared);
  for (int half = 0; half < 2; half++) {
    __syncthreads();
    if (warp / 2 == half) {
      UNROLL for (int i = 0; i < M; i++) UNROLL for (int j = 0; j < N; j++) UNROLL for (int e = 0; e < 4; e++)
          staged[(16 * i + e / 2 * 8 + lane / 4) * K::PITCH + right + 8 * j + lane % 4 * 2 + e % 2] = sum[i][j][e];
    }
    __syncthreads();
    for (int e = thread; e < K::DOWN * IN_ROW; e += TENSOR_THREADS) {
      int in_row = e % IN_ROW * PIECE, row = top + half * K::DOWN + e / IN_ROW, there = k.p.columns - left - in_row;
      if (row >= k.p.rows || there <= 0) continue;
      const float *sums = staged + e / IN_ROW * K::PITCH + in_row, *biases = bias ? bias + left + in_row : bias;
      typename K::result *results = c + k.p.row_at(row, part) + left + in_row;
      if (k.whole_results)
        store_whole<typename K::result, PIECE>(sums, biases, k.p.accumulate, results);
      else
        store_each(sums, there < PIECE ? there : PIECE, biases, k.p.accumulate, results);
    }
  }
}

static inline bool is_whole(const void *p) { return (uintptr_t)p % PIECE_BYTES == 0; }

/* ---- launching ------------------------------------------------------------------------------------------------------------------------ */

/* The tile for a C of this shape, the same on every GPU: the largest that is not mostly empty and makes about a block for each of some 130
 * multiprocessors; parts is how many times C is computed. A multiprocessor that has one large block to do is not done sooner with four small ones. */
enum tensor_tile { TILE_64_64, TILE_128_64, TILE_128_128 };
enum { TENSOR_BLOCKS_WANTED = 128 };

static inline ptrdiff_t tensor_tiles(ptrdiff_t rows, ptrdiff_t columns, int tile_rows, int tile_columns) {
  return ((rows + tile_rows - 1) / tile_rows) * ((columns + tile_columns - 1) / tile_columns);
}

static inline enum tensor_tile tensor_tile_for(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t parts) {
  if (rows > 64 && columns > 64 && tensor_tiles(rows, columns, 128, 128) * parts >= TENSOR_BLOCKS_WANTED) return TILE_128_128;
  if (rows > 64 && tensor_tiles(rows, columns, 128, 64) * parts >= TENSOR_BLOCKS_WANTED) return TILE_128_64;
  return TILE_64_64;
}

template <class K, class A, class B, class C>
static void tensor_launch_tiled(const typename K::product &p, int parts, const A *a, const B *b, const float *bias, C *c) {
  static bool allowed;
  if (K::SHARED_BYTES > 48 << 10 && !allowed)
    allowed = cudaFuncSetAttribute(tensor_gemm<K>, cudaFuncAttributeMaxDynamicSharedMemorySize, K::SHARED_BYTES) == cudaSuccess;
  K k = {p, (p.columns + K::TILE_COLUMNS - 1) / K::TILE_COLUMNS, p.columns % (PIECE_BYTES / (int)sizeof(C)) == 0 && is_whole(c)};
  K::a_operand::prepare(k.p.a), K::b_operand::prepare(k.p.b);
  unsigned tiles = (unsigned)tensor_tiles(p.rows, p.columns, K::TILE_ROWS, K::TILE_COLUMNS);
  LAUNCH(tensor_gemm<K>, dim3(tiles, 1, (unsigned)parts), dim3(TENSOR_THREADS), K::SHARED_BYTES, cuda_stream(), k, a, b, bias, c);
}

/* Launches p. a_whole, b_whole: pieces of A and of B are pieces of memory; where those of B are not, or none are, the way is slow and the tile small. */
template <class P, class A, class B, class C>
static void tensor_launch(const P &p, enum tensor_tile tile, int parts, bool a_whole, bool b_whole, const A *a, const B *b,
                          const float *bias, C *c) {
  if (!a_whole || (!b_whole && !P::A_WHOLE_ALONE))
    tensor_launch_tiled<tiled<P, 64, 64, false, false>>(p, parts, a, b, bias, c);
  else if (!b_whole)
    tensor_launch_tiled<tiled<P, 64, 64, P::A_WHOLE_ALONE, false>>(p, parts, a, b, bias, c);
  else if (tile == TILE_128_128)
    tensor_launch_tiled<tiled<P, 128, 128, true, true>>(p, parts, a, b, bias, c);
  else if (tile == TILE_128_64)
    tensor_launch_tiled<tiled<P, 128, 64, true, true>>(p, parts, a, b, bias, c);
  else
    tensor_launch_tiled<tiled<P, 64, 64, true, true>>(p, parts, a, b, bias, c);
}

#endif
