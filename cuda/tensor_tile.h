/* A tile of a matrix in shared memory, and how a warp takes its registers for mma from it. For T float (tf32) and bf16.
 *
 * A tile is TILE rows of A or columns of B ("index") by a slab of depth of SLAB_BYTES, in pieces of 16 bytes. It keeps the order of the
 * memory that it comes from:
 *
 *     along     depths are neighbours:    [index][depth], 64 bytes an index, four pieces
 *     across    indices are neighbours:   [panel][depth][index], panels of indices that fill 128 bytes
 *
 * Shared memory is 32 banks of 4 bytes: a warp's access takes as many turns as the fullest bank has different words, so eight pieces at a
 * time are best where they lie in eight different eighths of 128 bytes. Pieces are therefore stored not at their own place in a row but at
 * that place xor a number of the row (a twist), such that what is read together, eight rows of one piece, and what is written together,
 * neighbouring pieces of a row, both differ in their eighth.
 */
#ifndef EDIY_CUDA_TENSOR_TILE_H
#define EDIY_CUDA_TENSOR_TILE_H

#include "cuda/number.h"
#include "cuda/tensor.h"

enum {
  SLAB_BYTES = 64,
  STEPS = 2, /* mma along a slab: each is 32 bytes deep, in either format */
  SLAB_PIECES = SLAB_BYTES / PIECE_BYTES,
  PANEL_ROW_BYTES = 128,
  PANEL_PIECES = PANEL_ROW_BYTES / PIECE_BYTES
};

/* Numbers of type T. */
template <class T> struct depth_of {
  enum { PIECE = PIECE_BYTES / (int)sizeof(T), SLAB = SLAB_BYTES / (int)sizeof(T) };
};
template <class T> struct panel_of {
  enum { BYTES = depth_of<T>::SLAB * PANEL_ROW_BYTES };
};

/* Byte of a piece in an along tile. Two rows fill 128 bytes: four neighbouring pairs of rows are twisted apart. */
__device__ static inline int along_at(int index, int in_depth) {
  return index * SLAB_BYTES + (in_depth ^ (index >> 1 & (SLAB_PIECES - 1))) * PIECE_BYTES;
}

/* Byte of a piece in an across tile. ldmatrix reads eight depths of a piece of bf16; floats are read one by one, four depths of two
 * neighbouring pieces at a time. The place is in_index + fixed, two numbers without a common bit; with a `fixed` that the compiler knows,
 * all but a few places of a thread are one place and a constant. */
template <class T> __device__ static inline int across_at(int depth, int in_index, int fixed) {
  enum { IN_PANEL = PANEL_PIECES - 1, PANEL = panel_of<T>::BYTES };
  int twist = sizeof(T) == sizeof(float) ? depth % 4 * 2 : depth % 8, piece = (in_index ^ twist ^ (fixed & IN_PANEL)) & IN_PANEL;
  return in_index / PANEL_PIECES * PANEL + depth * PANEL_ROW_BYTES + piece * PIECE_BYTES + fixed / PANEL_PIECES * PANEL;
}

__device__ static inline uint32_t tf32_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return tf32_of(x);
}

/* Registers from one step of a slab, of A's rows first + 16 i to first + 16 i + 15, or of as many columns of B; first is a warp's, and a
 * multiple of 32. ALONG: how the tile lies. */
template <class T, bool ALONG> struct fragment {
  enum { PIECE = depth_of<T>::PIECE, IN_SIXTEEN = 16 / PIECE, IN_EIGHT = 8 / PIECE };

  /* r: a[0..3] of the 16 rows. */
  __device__ static void of_a(uint32_t (&r)[4], const unsigned char *tile, int first, int i, int step, int lane) {
    if (ALONG)
      load_matrices(r, tile + along_at(first + lane % 16, step * 2 + lane / 16) + i * 16 * SLAB_BYTES);
    else if (sizeof(T) != sizeof(float))
      load_matrices_transposed(r, tile + across_at<T>(step * 16 + lane / 16 * 8 + lane % 8, first / PIECE + lane / 8 % 2, i * IN_SIXTEEN));
    else
      UNROLL for (int e = 0; e < 4; e++) r[e] = *reinterpret_cast<const uint32_t *>(tile + word_of_a(first, i, step, lane, e));
    round(r);
  }

  /* r: b[0..1] of the first eight columns, b[0..1] of the others. */
  __device__ static void of_b(uint32_t (&r)[4], const unsigned char *tile, int first, int i, int step, int lane) {
    if (ALONG)
      load_matrices(r, tile + along_at(first + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2) + i * 16 * SLAB_BYTES);
    else if (sizeof(T) != sizeof(float))
      load_matrices_transposed(r, tile + across_at<T>(step * 16 + lane % 16, first / PIECE + lane / 16, i * IN_SIXTEEN));
    else
      UNROLL for (int e = 0; e < 4; e++) r[e] = *reinterpret_cast<const uint32_t *>(tile + word_of_b(first, i, step, lane, e));
    round(r);
  }

  /* Byte of register e in an across tile of floats, which are read one by one: ldmatrix transposes elements of 16 bits only. */
  __device__ static int word_of_a(int first, int i, int step, int lane, int e) {
    return word(step * 8 + e / 2 * 4 + lane % 4, first, i * IN_SIXTEEN + e % 2 * IN_EIGHT, lane / 4);
  }
  __device__ static int word_of_b(int first, int i, int step, int lane, int e) {
    return word(step * 8 + e % 2 * 4 + lane % 4, first, i * IN_SIXTEEN + e / 2 * IN_EIGHT, lane / 4);
  }

private:
  /* Index first + in_eight, `fixed` pieces on. */
  __device__ static int word(int depth, int first, int fixed, int in_eight) {
    return across_at<T>(depth, first / PIECE + in_eight / PIECE, fixed) + in_eight % PIECE * (int)sizeof(T);
  }

  __device__ static void round(uint32_t (&r)[4]) {
    UNROLL for (int i = 0; sizeof(T) == sizeof(float) && i < 4; i++) r[i] = tf32_of_bits(r[i]);
  }
};

/* c += a b of one step, in the format of T. */
template <class T> __device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <> __device__ inline void mma<float>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_tf32(c, a, b); }
template <> __device__ inline void mma<struct bf16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma_bf16(c, a, b); }

/* Four floats, or eight rounded to bf16, as a piece. */
__device__ static inline words<PIECE_BYTES> packed(const float (&x)[4]) {
  words<PIECE_BYTES> p;
  memcpy(p.word, x, sizeof p.word);
  return p;
}
__device__ static inline words<PIECE_BYTES> packed(const float (&x)[8]) {
  words<PIECE_BYTES> p;
  for (int i = 0; i < 4; i++) p.word[i] = bf16_pair(x[2 * i], x[2 * i + 1]);
  return p;
}

#endif
