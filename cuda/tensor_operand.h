/* Where the elements of the matrices of tensor_gemm.h are in memory, and how a block brings them into its tiles.
 *
 * One thread brings PIECES pieces of a slab, always at the same places of the tile. So what an address needs is computed once a thread (rows of patches,
 * with their divisions) or carried along from slab to slab (depths, by adding digits): nothing is divided in the loop.
 */
#ifndef EDIY_CUDA_TENSOR_OPERAND_H
#define EDIY_CUDA_TENSOR_OPERAND_H

#include "cuda/tensor_tile.h"

enum { TENSOR_THREADS = 128, NOWHERE = -(1 << 30) /* a row above every image */ };

/* A number as three digits, the lower two with a radix: a position as image, row, column; a depth as tap row, tap column, channel. */
struct digits {
  int high, mid, low;
};
struct radices {
  int mid, low;
};

__host__ __device__ static inline struct digits digits_of(int number, struct radices r) {
  return {number / r.low / r.mid, number / r.low % r.mid, number % r.low};
}

/* Lower digits of both are below their radix, so one carry each is all there can be. */
__device__ static inline void add(struct digits &x, struct digits y, struct radices r) {
  x.low += y.low, x.mid += y.mid, x.high += y.high;
  if (x.low >= r.low) x.low -= r.low, x.mid++;
  if (x.mid >= r.mid) x.mid -= r.mid, x.high++;
}

/* ---- places ---------------------------------------------------------------------------------------------------------------------------
 *
 * A place says where this thread's pieces of the present slab are. M: type in memory, T: in the tile. It has
 *
 *     view                    what is the same for all threads, made on the host; prepare(view) adds what depends on the tile
 *     ALONG                   how memory and tile lie (tensor_tile.h)
 *     begin(view, first_index, first_depth, last_depth, thread)
 *     offset(view, j)         of piece j from the start of the tensor; ABSENT outside of the matrix or of the image: zeros
 *     gather(view, memory, j, x)   the same element by element, where a piece is no piece of memory
 *     piece_done(view), slab_done(view)   after each
 */
static const ptrdiff_t ABSENT = PTRDIFF_MIN;

/* Pieces of a tile that one thread brings, and the distance between them. */
template <class T, int TILE> struct share_along {
  enum { PIECES = TILE * SLAB_PIECES / TENSOR_THREADS, APART = TENSOR_THREADS / SLAB_PIECES };
};
template <class T, int TILE> struct share_across {
  enum { PIECES = TILE * SLAB_PIECES / TENSOR_THREADS, IN_ROW = TILE / depth_of<T>::PIECE, APART = TENSOR_THREADS / IN_ROW };
};

/* A matrix whose rows of depth are contiguous: weights in the forward product. */
struct rows_along_view {
  int indices, depth;
};
template <class M, class T, int TILE> struct rows_along {
  typedef M memory;
  typedef struct rows_along_view view;
  static const bool ALONG = true;
  int index, depth;

  static void prepare(view &) {}
  __device__ void begin(const view &, int first_index, int first_depth, int, int thread) {
    index = first_index + thread / SLAB_PIECES;
    depth = first_depth + thread % SLAB_PIECES * depth_of<T>::PIECE;
  }
  __device__ ptrdiff_t offset(const view &v, int j) const {
    int i = index + j * share_along<T, TILE>::APART;
    return i < v.indices && depth < v.depth ? (ptrdiff_t)i * v.depth + depth : ABSENT;
  }
  __device__ void gather(const view &v, const M *m, int j, M (&x)[depth_of<T>::PIECE]) const {
    int i = index + j * share_along<T, TILE>::APART;
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) x[e] =
        i < v.indices && depth + e < v.depth ? m[(ptrdiff_t)i * v.depth + depth + e] : M{};
  }
  __device__ void piece_done(const view &) {}
  __device__ void slab_done(const view &) { depth += depth_of<T>::SLAB; }
};

/* Patches of images, depth r, s, c: element (position, tap) is at row up + r and column left + s of the position's image, or, with DIRECTION -1, at up - r and
 * left - s (backward data). up and left are linear in the position's row and column. */
struct patches_along_view {
  int height, width, channels; /* of the images */
  int positions, stride, up, left;
  struct radices position, tap; /* rows and columns of positions an image; columns and channels of taps */
  int tap_rows;
  struct digits slab, one; /* these numbers of depths */
};
template <class M, class T, int TILE, int DIRECTION> struct patches_along {
  typedef M memory;
  typedef struct patches_along_view view;
  static const bool ALONG = true;
  typedef share_along<T, TILE> share;
  struct digits tap;
  int up[share::PIECES], left[share::PIECES];
  ptrdiff_t corner[share::PIECES]; /* offset of tap 0, perhaps outside of the image */

  static void prepare(view &v) { v.slab = digits_of(depth_of<T>::SLAB, v.tap), v.one = digits_of(1, v.tap); }
  __device__ void begin(const view &v, int first_index, int first_depth, int, int thread) {
    tap = digits_of(first_depth + thread % SLAB_PIECES * depth_of<T>::PIECE, v.tap);
    UNROLL for (int j = 0; j < share::PIECES; j++) {
      int position = first_index + thread / SLAB_PIECES + j * share::APART;
      struct digits at = digits_of(position, v.position);
      up[j] = at.mid * v.stride + v.up, left[j] = at.low * v.stride + v.left;
      corner[j] = (((ptrdiff_t)at.high * v.height + up[j]) * v.width + left[j]) * v.channels;
      if (position >= v.positions) up[j] = NOWHERE;
    }
  }
  __device__ ptrdiff_t at(const view &v, int j, struct digits d) const {
    int h = up[j] + DIRECTION * d.high, w = left[j] + DIRECTION * d.mid;
    bool inside = d.high < v.tap_rows && (unsigned)h < (unsigned)v.height && (unsigned)w < (unsigned)v.width;
    return inside ? corner[j] + DIRECTION * ((ptrdiff_t)d.high * v.width + d.mid) * v.channels + d.low : ABSENT;
  }
  __device__ ptrdiff_t offset(const view &v, int j) const { return at(v, j, tap); }
  __device__ void gather(const view &v, const M *m, int j, M (&x)[depth_of<T>::PIECE]) const {
    struct digits d = tap;
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) {
      ptrdiff_t from = at(v, j, d);
      x[e] = from != ABSENT ? m[from] : M{};
      add(d, v.one, v.tap);
    }
  }
  __device__ void piece_done(const view &) {}
  __device__ void slab_done(const view &v) { add(tap, v.slab, v.tap); }
};

/* A matrix whose rows of indices are contiguous: dy in the product of backward weights, depth is positions. */
struct rows_across_view {
  int indices;
};
template <class M, class T, int TILE> struct rows_across {
  typedef M memory;
  typedef struct rows_across_view view;
  static const bool ALONG = false;
  typedef share_across<T, TILE> share;
  int index, depth, last;

  static void prepare(view &) {}
  __device__ void begin(const view &, int first_index, int first_depth, int last_depth, int thread) {
    index = first_index + thread % share::IN_ROW * depth_of<T>::PIECE;
    depth = first_depth + thread / share::IN_ROW, last = last_depth;
  }
  __device__ ptrdiff_t offset(const view &v, int) const {
    return index < v.indices && depth < last ? (ptrdiff_t)depth * v.indices + index : ABSENT;
  }
  __device__ void gather(const view &v, const M *m, int, M (&x)[depth_of<T>::PIECE]) const {
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) x[e] =
        index + e < v.indices && depth < last ? m[(ptrdiff_t)depth * v.indices + index + e] : M{};
  }
  __device__ void piece_done(const view &) { depth += share::APART; }
  __device__ void slab_done(const view &) {}
};

/* Weights K R S C in the product of backward data: indices are c; depth is r, s, k over some of the taps, every stride-th from (r, s) on. */
struct weights_across_view {
  int indices, kernel_r, kernel_s, r, s, stride;
  struct radices tap; /* columns of those taps, output channels */
  int tap_rows;
  struct digits apart; /* the distance of depths between pieces */
};
template <class M, class T, int TILE> struct weights_across {
  typedef M memory;
  typedef struct weights_across_view view;
  static const bool ALONG = false;
  typedef share_across<T, TILE> share;
  struct digits tap;
  int index;

  static void prepare(view &v) { v.apart = digits_of(share::APART, v.tap); }
  __device__ void begin(const view &v, int first_index, int first_depth, int, int thread) {
    index = first_index + thread % share::IN_ROW * depth_of<T>::PIECE;
    tap = digits_of(first_depth + thread / share::IN_ROW, v.tap);
  }
  __device__ ptrdiff_t start(const view &v) const {
    return (((ptrdiff_t)tap.low * v.kernel_r + v.r + v.stride * tap.high) * v.kernel_s + v.s + v.stride * tap.mid) * v.indices + index;
  }
  __device__ ptrdiff_t offset(const view &v, int) const { return index < v.indices && tap.high < v.tap_rows ? start(v) : ABSENT; }
  __device__ void gather(const view &v, const M *m, int, M (&x)[depth_of<T>::PIECE]) const {
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) x[e] = index + e < v.indices && tap.high < v.tap_rows ? m[start(v) + e] : M{};
  }
  __device__ void piece_done(const view &v) { add(tap, v.apart, v.tap); }
  __device__ void slab_done(const view &) {}
};

/* Patches of images in the product of backward weights: indices are r, s, c; depth is positions. */
struct patches_across_view {
  int height, width, channels, stride, pad, indices;
  struct radices position, tap;
  struct digits apart, one; /* the distance of positions between pieces; one tap */
};
template <class M, class T, int TILE> struct patches_across {
  typedef M memory;
  typedef struct patches_across_view view;
  static const bool ALONG = false;
  typedef share_across<T, TILE> share;
  struct digits position, tap;
  int index, depth, last;

  static void prepare(view &v) { v.apart = digits_of(share::APART, v.position), v.one = digits_of(1, v.tap); }
  __device__ void begin(const view &v, int first_index, int first_depth, int last_depth, int thread) {
    index = first_index + thread % share::IN_ROW * depth_of<T>::PIECE;
    depth = first_depth + thread / share::IN_ROW, last = last_depth;
    position = digits_of(depth, v.position), tap = digits_of(index, v.tap);
  }
  __device__ ptrdiff_t at(const view &v, int i, struct digits d) const {
    int h = position.mid * v.stride - v.pad + d.high, w = position.low * v.stride - v.pad + d.mid;
    bool inside = i < v.indices && depth < last && (unsigned)h < (unsigned)v.height && (unsigned)w < (unsigned)v.width;
    return inside ? (((ptrdiff_t)position.high * v.height + h) * v.width + w) * v.channels + d.low : ABSENT;
  }
  __device__ ptrdiff_t offset(const view &v, int) const { return at(v, index, tap); }
  __device__ void gather(const view &v, const M *m, int, M (&x)[depth_of<T>::PIECE]) const {
    struct digits d = tap;
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) {
      ptrdiff_t from = at(v, index + e, d);
      x[e] = from != ABSENT ? m[from] : M{};
      add(d, v.one, v.tap);
    }
  }
  __device__ void piece_done(const view &v) {
    add(position, v.apart, v.position);
    depth += share::APART;
  }
  __device__ void slab_done(const view &) {}
};

/* ---- bringing -------------------------------------------------------------------------------------------------------------------------
 *
 * A slab is brought in STEPS parts, each begun before a step is multiplied and finished after it. WHOLE: pieces are 16 bytes of numbers of memory, aligned.
 * Then numbers of the tile's own type are copied behind the kernel's back; float to bf16, and what has to be gathered, waits in registers while
 * the step is multiplied, and is stored after it. */
template <class PLACE, class T, int TILE, bool WHOLE> struct operand {
  typedef typename PLACE::memory M;
  enum { PIECE = depth_of<T>::PIECE, PART = TILE * SLAB_PIECES / TENSOR_THREADS / STEPS };
  static const bool ALONG = PLACE::ALONG, COPIED = WHOLE && sizeof(M) == sizeof(T);
  PLACE place;
  M waiting[PART][PIECE];

  static void prepare(typename PLACE::view &v) { PLACE::prepare(v); }

  /* Of this thread's piece j: where in the tile. */
  __device__ static int spot(int j, int thread) {
    if (PLACE::ALONG) return along_at(thread / SLAB_PIECES + j * share_along<T, TILE>::APART, thread % SLAB_PIECES);
    typedef share_across<T, TILE> share;
    return across_at<T, TILE>(thread / share::IN_ROW + j * share::APART, thread % share::IN_ROW);
  }

  __device__ void begin_part(const typename PLACE::view &v, const M *m, unsigned char *tile, int part, int thread) {
    UNROLL for (int i = 0; i < PART; i++) {
      int j = part * PART + i;
      if (WHOLE) {
        ptrdiff_t from = place.offset(v, j);
        bool present = from != ABSENT;
        if (COPIED)
          copy_async(tile + spot(j, thread), m + (present ? from : 0), present);
        else
          read_whole(waiting[i], m + (present ? from : 0), present);
      } else
        place.gather(v, m, j, waiting[i]);
      place.piece_done(v);
    }
    if (part == STEPS - 1) place.slab_done(v);
  }

  __device__ void finish_part(unsigned char *tile, int part, int thread) const {
    UNROLL for (int i = 0; !COPIED && i < PART; i++) * reinterpret_cast<struct piece *>(tile + spot(part * PART + i, thread)) =
        packed(waiting[i]);
  }

private:
  __device__ static void read_whole(M (&x)[PIECE], const M *from, bool present) {
    UNROLL for (int i = 0; i < (int)(sizeof x / PIECE_BYTES); i++) {
      struct piece p = {};
      if (present) p = reinterpret_cast<const struct piece *>(from)[i];
      memcpy(x + i * (PIECE_BYTES / (int)sizeof(M)), p.word, sizeof p.word);
    }
  }
};

#endif
