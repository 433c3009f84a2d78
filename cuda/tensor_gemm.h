/* The matrix product C = A B in pipelined tiles, on tensor cores or fp32 units: for convolution and linear layers in every class.
 *
 * A block of four warps computes a tile of C, each warp a part of it in registers. Slabs of A and B (tensor_tile.h) stand in shared memory
 * in a ring of four stages. While a slab is multiplied, the slab three ahead is asked for, into the stage that was multiplied last, so that
 * between asking memory for a number and needing it lie two whole slabs of multiplications:
 *
 *     stage      0         1         2         3
 *     slab i     multiply  coming    coming    asked for        one barrier a slab: all have multiplied slab i - 1, whose stage is free,
 *     slab i+1   asked for multiply  coming    coming           and slab i, for which each thread has waited, is there for all
 *
 * Where multiplications go on behind the threads' back (LAG, tensor_sums.h), slab i - 1 may be under way until the next barrier: there is
 * one stage more, and the stage of slab i - 2 is filled.
 *
 * What A, B and C are says a product P:
 *
 *     arithmetic            what multiplies (tensor_sums.h), and number, its type
 *     result                the type of C in memory
 *     a_place<TILE>, b_place<TILE>   places (tensor_operand.h), and their views a and b
 *     rows, columns, depth  of the product
 *     chunk                 depth that a part sums over (blockIdx.z)
 *     row_at(row, part)     offset of the start of a row of C, whose columns are contiguous
 *     accumulate, NORMED, norm       what becomes of a sum (ending.h)
 *     SUMMED, moments                whether sums of C's columns are left as well, and where (column_moments below)
 *
 * Order: an element is one chain from the first depth to the last (tensor_sums.h); behind the last depth, zeros. The tile that an element
 * lies in does not change the chain.
 */
#ifndef EDIY_CUDA_TENSOR_GEMM_H
#define EDIY_CUDA_TENSOR_GEMM_H

#include "cuda/ending.h"
#include "cuda/norm_moments.h"
#include "cuda/runtime.h"
#include "cuda/tensor_operand.h"
#include "cuda/tensor_sums.h"

enum { STAGED_SKEW = 8 /* floats: neighbouring rows of staged results begin 8 banks apart */ };

/* A product with its tile. */
template <class P, int ROWS, int COLUMNS> struct tiled {
  typedef P product;
  typedef typename P::number number;
  typedef typename P::result result;
  typedef operand<typename P::template a_place<ROWS>, number, ROWS> a_operand;
  typedef operand<typename P::template b_place<COLUMNS>, number, COLUMNS> b_operand;
  enum {
    TILE_ROWS = ROWS,
    TILE_COLUMNS = COLUMNS,
    DOWN = ROWS / 2, /* of a warp */
    ACROSS = COLUMNS / 2,
    LAG = P::arithmetic::LAG,
    STAGES = 4 + LAG,
    STAGE_BYTES = (ROWS + COLUMNS) * SLAB_BYTES,
    SHARED_BYTES = STAGES * STAGE_BYTES,
    PITCH = COLUMNS + STAGED_SKEW
  };
  static_assert(DOWN * PITCH * (int)sizeof(float) <= SHARED_BYTES, "half a tile of results fits where the stages were");
  P p;
  int column_tiles;
  struct reciprocal of_column_tiles;
  bool whole_results; /* columns and address allow 16 bytes at a time */
};

/* A piece of a row of C, of 16 bytes, from its float sums. */
template <class P, int PIECE>
__device__ static inline void store_whole(const P &p, const ending<P, PIECE> &end, const float *sum, ptrdiff_t offset,
                                          typename P::result *at) {
  float y[PIECE];
  UNROLL for (int i = 0; i < PIECE; i += 4) {
    struct numbers<float, 4> some = load_numbers<4>(sum + i);
    UNROLL for (int e = 0; e < 4; e++) y[i + e] = some.x[e];
  }
  end.of_piece(p, y, offset, at);
  *reinterpret_cast<words<PIECE_BYTES> *>(at) = packed(y);
}

/* The same where there are fewer columns, or the address is no multiple of 16. */
template <class P, int PIECE>
__device__ static inline void store_each(const P &p, const ending<P, PIECE> &end, const float *sum, int columns, ptrdiff_t offset,
                                         typename P::result *at) {
  UNROLL for (int e = 0; e < PIECE; e++) if (e < columns) at[e] = narrow<typename P::result>(end.of_one(p, e, sum[e], offset + e, at + e));
}

/* What a batch norm needs to know of C's columns, as norm_sums.h sums it: the tile's rows are a chunk, and a thread of the first ones has a
 * column. */
template <class K, bool SUMMED> struct column_moments {
  __device__ void add(const K &, const float *, int, int, int, int) {}
  __device__ void leave(const K &, int, int, int) const {}
};
template <class K> struct column_moments<K, true> {
  typedef struct numbers<typename K::result, 1> one;
  enum { TOGETHER = 8 /* rows, which are asked for together */ };
  static_assert(K::DOWN % TOGETHER == 0, "what is asked for is there, C's or not");
  struct moments<1> m = {};

  /* Half a tile, whose first row is `above` rows below the tile's, from its float sums; which are rounded as they are where they are
   * stored. */
  __device__ void add(const K &k, const float *staged, int thread, int top, int left, int above) {
    int rows = k.p.rows - top - above < K::DOWN ? k.p.rows - top - above : (int)K::DOWN;
    if (thread >= K::TILE_COLUMNS || left + thread >= k.p.columns) return;
    staged += thread;
    for (int row = 0; row < rows; row += TOGETHER) {
      one y[TOGETHER];
      UNROLL for (int i = 0; i < TOGETHER; i++) y[i].x[0] = narrow<typename K::result>(staged[(row + i) * K::PITCH]);
      if (above + row == 0) m.begin(y[0]);
      if (rows - row >= TOGETHER) {
        UNROLL for (int i = 0; i < TOGETHER; i++) m.add(y[i]);
      } else {
        UNROLL for (int i = 0; i < TOGETHER; i++) if (row + i < rows) m.add(y[i]);
      }
    }
  }
  __device__ void leave(const K &k, int thread, int top, int left) const {
    static_assert((int)K::TILE_ROWS == (int)CHUNK_ROWS, "a tile's rows are a chunk");
    int rows = k.p.rows - top < K::TILE_ROWS ? k.p.rows - top : (int)K::TILE_ROWS;
    if (thread < K::TILE_COLUMNS && left + thread < k.p.columns)
      leave_moments(m, k.p.columns, top / CHUNK_ROWS, left + thread, rows, k.p.moments);
  }
};

template <class K>
__global__ static void __launch_bounds__(TENSOR_THREADS, K::product::arithmetic::template sums<K>::BLOCKS)
    tensor_gemm(K k, const typename K::number *a, const typename K::number *b, const float *bias, typename K::result *c) {
  enum { PIECE = PIECE_BYTES / (int)sizeof(typename K::result), IN_ROW = K::TILE_COLUMNS / PIECE };
  SHARED_OF_LAUNCH(shared);
  SHARED(affine_words, channels, [K::product::NORMED ? (int)K::TILE_COLUMNS : 1]); /* of a norm that follows: computed once a block */
  const int thread = (int)threadIdx.x, lane = thread % WARP_THREADS, warp = thread / WARP_THREADS;
  const int part = (int)(gridDim.z - 1 - blockIdx.z); /* the last first: norm_rows.h says why */
  const int tile_row = quotient((int)blockIdx.x, k.of_column_tiles), tile_column = (int)blockIdx.x - tile_row * k.column_tiles;
  const int top = tile_row * K::TILE_ROWS, left = tile_column * K::TILE_COLUMNS;
  const int first = part * k.p.chunk, last = k.p.depth - first > k.p.chunk ? first + k.p.chunk : k.p.depth;
  const int slabs = (last - first + depth_of<typename K::number>::SLAB - 1) / depth_of<typename K::number>::SLAB;
  typename K::product::arithmetic::template sums<K> sums;
  typename K::a_operand from_a;
  typename K::b_operand from_b;
  from_a.begin(k.p.a, a, top, first, last, thread);
  from_b.begin(k.p.b, b, left, first, last, thread);

  enum { AHEAD = K::STAGES - 1 - K::LAG /* slabs */, BACK = (1 + K::LAG) * K::STAGE_BYTES /* from a stage to the one that is filled */ };
  for (int slab = 0; slab < AHEAD; slab++) {
    unsigned char *stage = shared + slab * K::STAGE_BYTES;
    UNROLL for (int step = 0; slab < slabs && step < STEPS; step++) {
      from_a.copy_part(k.p.a, stage, step, thread);
      from_b.copy_part(k.p.b, stage + K::TILE_ROWS * SLAB_BYTES, step, thread);
    }
    commit_copies();
  }
  if constexpr (K::product::NORMED) {
    if (thread < K::TILE_COLUMNS && left + thread < k.p.columns) /* what neighbouring threads read at once are neighbours */
      channels[thread % PIECE * IN_ROW + thread / PIECE] = packed_affine(k.p.norm.of(left + thread));
  } else {
    (void)channels;
  }
  int at = 0; /* the stage of the present slab, in bytes */
  for (int slab = 0; slab < slabs; slab++) {
    wait_for_copies<AHEAD - 1>();
    sums.begin();
    __syncthreads();
    const unsigned char *stage = shared + at;
    unsigned char *ahead = shared + (at < BACK ? at + K::SHARED_BYTES : at) - BACK;
    UNROLL for (int step = 0; K::LAG > 0 && step < STEPS; step++) sums.step(stage, step, warp, lane); /* begun: they go on by themselves */
    UNROLL for (int step = 0; step < STEPS; step++) { /* slabs behind the last are zeros, for which nothing is read and no branch taken */
      from_a.copy_part(k.p.a, ahead, step, thread);
      from_b.copy_part(k.p.b, ahead + K::TILE_ROWS * SLAB_BYTES, step, thread);
      if (K::LAG == 0) sums.step(stage, step, warp, lane);
    }
    commit_copies();
    sums.end();
    at = at + K::STAGE_BYTES == K::SHARED_BYTES ? 0 : at + K::STAGE_BYTES;
  }
  wait_for_copies<0>();
  sums.finish();

  /* Results go through shared memory, half a tile at a time, so that neighbouring threads store neighbouring pieces; each has the same
   * columns in all of its rows. */
  static_assert(TENSOR_THREADS % IN_ROW == 0, "a thread's columns");
  const int in_row = thread % IN_ROW * PIECE, columns = k.p.columns - left - in_row;
  float *staged = reinterpret_cast<float *>(shared);
  struct ending<typename K::product, PIECE> end = {};
  struct column_moments<K, K::product::SUMMED> column;
  end.begin(bias, left + in_row);
  if constexpr (K::product::NORMED) /* written before the barrier of the first slab */
    end.take_channels(channels + thread % IN_ROW, IN_ROW, columns);
  for (int half = 0; half < 2; half++) {
    __syncthreads();
    sums.put(staged, half, warp, lane);
    __syncthreads();
    column.add(k, staged, thread, top, left, half * K::DOWN);
    for (int in_half = thread / IN_ROW; in_half < K::DOWN && columns > 0; in_half += TENSOR_THREADS / IN_ROW) {
      int row = top + half * K::DOWN + in_half;
      if (row >= k.p.rows) break;
      const float *row_sums = staged + in_half * K::PITCH + in_row;
      ptrdiff_t offset = k.p.row_at(row, part) + left + in_row;
      if (k.whole_results)
        store_whole<typename K::product, PIECE>(k.p, end, row_sums, offset, c + offset);
      else
        store_each<typename K::product, PIECE>(k.p, end, row_sums, columns, offset, c + offset);
    }
  }
  column.leave(k, thread, top, left);
}

static inline bool is_whole(const void *p) { return (uintptr_t)p % PIECE_BYTES == 0; }

/* Whether what ends a product allows 16 bytes at a time, too. */
template <class P> static inline bool ends_whole(const P &p) {
  if constexpr (P::NORMED) return is_whole(p.norm.residual);
  return true;
}

/* ---- launching ----------------------------------------------------------------------------------------------------------------------- */

/* The tile for a C of this shape, the same on every GPU: the largest that is not mostly empty and makes about a block for each of some 130
 * multiprocessors; parts is how many times C is computed. A multiprocessor that has one large block to do is not done sooner with four
 * small ones. */
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
  static bool allowed; /* more than 48 KiB, of which a norm's channels are a part */
  if (!allowed) allowed = cudaFuncSetAttribute(tensor_gemm<K>, cudaFuncAttributeMaxDynamicSharedMemorySize, K::SHARED_BYTES) == cudaSuccess;
  int column_tiles = (p.columns + K::TILE_COLUMNS - 1) / K::TILE_COLUMNS;
  K k = {p, column_tiles, reciprocal_of(column_tiles), p.columns % (PIECE_BYTES / (int)sizeof(C)) == 0 && is_whole(c) && ends_whole(p)};
  K::a_operand::prepare(k.p.a), K::b_operand::prepare(k.p.b);
  unsigned tiles = (unsigned)tensor_tiles(p.rows, p.columns, K::TILE_ROWS, K::TILE_COLUMNS);
  LAUNCH(tensor_gemm<K>, dim3(tiles, 1, (unsigned)parts), dim3(TENSOR_THREADS), K::SHARED_BYTES, cuda_stream(), k, a, b, bias, c);
}

template <class P, class A, class B, class C>
static void tensor_launch(const P &p, enum tensor_tile tile, int parts, const A *a, const B *b, const float *bias, C *c) {
  switch (tile) {
  case TILE_128_128: return tensor_launch_tiled<tiled<P, 128, 128>>(p, parts, a, b, bias, c);
  case TILE_128_64: return tensor_launch_tiled<tiled<P, 128, 64>>(p, parts, a, b, bias, c);
  default:
    if constexpr (!P::SUMMED)
      return tensor_launch_tiled<tiled<P, 64, 64>>(p, parts, a, b, bias, c); /* a summed product has a chunk a tile */
  }
}

#endif
