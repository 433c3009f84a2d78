/* Where the elements of the matrices of tensor_gemm.h are in memory, and how a block brings them into its tiles.
 *
 * One thread brings PIECES pieces of a slab, always at the same places of the tile: along, of so many indices and one depth; across, of one
 * depth and so many indices. What an address needs is computed once a thread (the divisions of rows of patches) or once a slab (its depth,
 * carried along by adding digits), so that a piece takes an addition and a comparison. Nothing is divided in the loop.
 */
#ifndef EDIY_CUDA_TENSOR_OPERAND_H
#define EDIY_CUDA_TENSOR_OPERAND_H

#include "cuda/tensor_tile.h"

enum { TENSOR_THREADS = 128, NOWHERE = -(1 << 30) /* a row above every image, and no tap leads back */ };

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
 * A place says where this thread's pieces of the present slab are. T: type of the numbers, in memory and in the tile. It has
 *
 *     view                    what is the same for all threads, made on the host; prepare(view) adds what depends on the format
 *     ALONG                   how memory and tile lie (tensor_tile.h)
 *     begin(view, memory, first_index, first_depth, last_depth, thread)
 *     slab(view)              what is the same for all pieces of the present slab, after begin and after next
 *     piece(view, j, from)    whether piece j is in the matrix and in the image, else it is zeros; if so, from is where
 *     gather(view, j, x)      the same element by element, where a piece is no piece of memory
 *     next(view)              on to the next slab
 */

/* The pieces of a tile that one thread brings: how many, and how far apart their indices are. */
template <class T, int TILE> struct share_along {
  enum { PIECES = TILE * SLAB_PIECES / TENSOR_THREADS, APART = TENSOR_THREADS / SLAB_PIECES };
  __device__ static int index(int thread) { return thread / SLAB_PIECES; }
  __device__ static int depth(int thread) { return thread % SLAB_PIECES * depth_of<T>::PIECE; }
  __device__ static int spot(int j, int thread) { return along_at(index(thread), thread % SLAB_PIECES) + j * APART * SLAB_BYTES; }
};

/* Neighbouring threads bring neighbouring pieces of a depth, four (bf16) or eight (float). Of bf16, eight threads that store together have
 * two depths, which are four apart, so that their twists lead into different halves of the banks. */
template <class T, int TILE> struct share_across {
  enum { ABREAST = TENSOR_THREADS / depth_of<T>::SLAB, PIECES = TILE / depth_of<T>::PIECE / ABREAST, APART = ABREAST * depth_of<T>::PIECE };
  __device__ static int index(int thread) { return thread % ABREAST * depth_of<T>::PIECE; }
  __device__ static int depth(int thread) {
    int d = thread / ABREAST;
    return sizeof(T) == sizeof(float) ? d : (d & ~5) | (d >> 2 & 1) | (d & 1) << 2;
  }
  __device__ static int spot(int j, int thread) { return across_at<T, TILE>(depth(thread), thread % ABREAST, j * ABREAST); }
};

/* A matrix whose rows of depth are contiguous: weights in the forward product. */
struct rows_along_view {
  int indices, depth;
};
template <class T, int TILE> struct rows_along {
  typedef struct rows_along_view view;
  typedef share_along<T, TILE> share;
  static const bool ALONG = true;
  const T *row; /* at the present depth */
  int index, depth;

  static void prepare(view &) {}
  __device__ void begin(const view &v, const T *m, int first_index, int first_depth, int, int thread) {
    index = first_index + share::index(thread), depth = first_depth + share::depth(thread);
    row = m + ((ptrdiff_t)index * v.depth + depth);
  }
  __device__ void slab(const view &) {}
  __device__ const T *of(const view &v, int j) const { return row + (ptrdiff_t)j * share::APART * v.depth; }
  __device__ bool piece(const view &v, int j, const T *&from) const {
    from = of(v, j);
    return index + j * share::APART < v.indices && depth < v.depth;
  }
  __device__ void gather(const view &v, int j, T (&x)[depth_of<T>::PIECE]) const {
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) x[e] =
        index + j * share::APART < v.indices && depth + e < v.depth ? of(v, j)[e] : T{};
  }
  __device__ void next(const view &) { row += depth_of<T>::SLAB, depth += depth_of<T>::SLAB; }
};

/* Patches of images, depth r, s, c: element (position, tap) is at row up + r and column left + s of the position's image, or, with
 * DIRECTION -1, at up - r and left - s (backward data). up and left are linear in the position's row and column. In pieces: at most
 * MOST_TAPS taps, and a patch's offsets are ints. */
enum { MOST_TAPS = 32 };
struct patches_along_view {
  int height, width, channels; /* of the images */
  int positions, stride, up, left;
  struct radices position, tap; /* rows and columns of positions an image; columns and channels of taps */
  int tap_rows;
  struct digits slab, one; /* these numbers of depths */
};
template <class T, int TILE, int DIRECTION> struct patches_along {
  typedef struct patches_along_view view;
  typedef share_along<T, TILE> share;
  static const bool ALONG = true;
  struct digits tap;
  int up[share::PIECES], left[share::PIECES];
  const T *corner[share::PIECES]; /* of tap 0, perhaps outside of the image */
  unsigned inside[share::PIECES]; /* a bit a tap */
  unsigned bit;                   /* of the present tap; none behind the last */
  int offset;                     /* of the present depth from the corner */

  static void prepare(view &v) { v.slab = digits_of(depth_of<T>::SLAB, v.tap), v.one = digits_of(1, v.tap); }
  __device__ void begin(const view &v, const T *m, int first_index, int first_depth, int, int thread) {
    tap = digits_of(first_depth + share::depth(thread), v.tap);
    UNROLL for (int j = 0; j < share::PIECES; j++) {
      int position = first_index + share::index(thread) + j * share::APART;
      struct digits at = digits_of(position, v.position);
      up[j] = at.mid * v.stride + v.up, left[j] = at.low * v.stride + v.left;
      corner[j] = m + (((ptrdiff_t)at.high * v.height + up[j]) * v.width + left[j]) * v.channels;
      if (position >= v.positions) up[j] = NOWHERE;
      unsigned columns = 0;
      inside[j] = 0;
      for (int s = 0; s < v.tap.mid && s < MOST_TAPS; s++) columns |= (unsigned)is_column(v, j, s) << s;
      for (int r = 0; r < v.tap_rows && r * v.tap.mid < MOST_TAPS; r++) inside[j] |= is_row(v, j, r) ? columns << r * v.tap.mid : 0u;
    }
  }
  __device__ bool is_row(const view &v, int j, int r) const { return (unsigned)(up[j] + DIRECTION * r) < (unsigned)v.height; }
  __device__ bool is_column(const view &v, int j, int s) const { return (unsigned)(left[j] + DIRECTION * s) < (unsigned)v.width; }
  __device__ void slab(const view &v) {
    offset = DIRECTION * (tap.high * v.width + tap.mid) * v.channels + tap.low;
    bit = tap.high < v.tap_rows ? 1u << (tap.high * v.tap.mid + tap.mid) % MOST_TAPS : 0u;
  }
  __device__ bool piece(const view &, int j, const T *&from) const {
    from = corner[j] + offset;
    return inside[j] & bit;
  }
  __device__ void gather(const view &v, int j, T (&x)[depth_of<T>::PIECE]) const {
    struct digits d = tap;
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) {
      bool present = d.high < v.tap_rows && is_row(v, j, d.high) && is_column(v, j, d.mid);
      x[e] = present ? corner[j][DIRECTION * ((ptrdiff_t)d.high * v.width + d.mid) * v.channels + d.low] : T{};
      add(d, v.one, v.tap);
    }
  }
  __device__ void next(const view &v) { add(tap, v.slab, v.tap); }
};

/* A matrix whose rows of indices are contiguous: dy in the product of backward weights, depth is positions. */
struct rows_across_view {
  int indices;
};
template <class T, int TILE> struct rows_across {
  typedef struct rows_across_view view;
  typedef share_across<T, TILE> share;
  static const bool ALONG = false;
  const T *row; /* at the present depth */
  int index, depth, last;

  static void prepare(view &) {}
  __device__ void begin(const view &v, const T *m, int first_index, int first_depth, int last_depth, int thread) {
    index = first_index + share::index(thread), depth = first_depth + share::depth(thread), last = last_depth;
    row = m + ((ptrdiff_t)depth * v.indices + index);
  }
  __device__ void slab(const view &) {}
  __device__ bool piece(const view &v, int j, const T *&from) const {
    from = row + j * share::APART;
    return index + j * share::APART < v.indices && depth < last;
  }
  __device__ void gather(const view &v, int j, T (&x)[depth_of<T>::PIECE]) const {
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) x[e] =
        index + j * share::APART + e < v.indices && depth < last ? row[j * share::APART + e] : T{};
  }
  __device__ void next(const view &v) { row += (ptrdiff_t)depth_of<T>::SLAB * v.indices, depth += depth_of<T>::SLAB; }
};

/* Weights K R S C in the product of backward data: indices are c; depth is r, s, k over some of the taps, every stride-th from (r, s)
 * on. */
struct weights_across_view {
  int indices, kernel_r, kernel_s, r, s, stride;
  struct radices tap; /* columns of those taps, output channels */
  int tap_rows;
  struct digits slab;
};
template <class T, int TILE> struct weights_across {
  typedef struct weights_across_view view;
  typedef share_across<T, TILE> share;
  static const bool ALONG = false;
  const T *weights, *row; /* row: at the present depth */
  struct digits tap;
  int index;

  static void prepare(view &v) { v.slab = digits_of(depth_of<T>::SLAB, v.tap); }
  __device__ void begin(const view &v, const T *m, int first_index, int first_depth, int, int thread) {
    index = first_index + share::index(thread), weights = m;
    tap = digits_of(first_depth + share::depth(thread), v.tap);
  }
  __device__ void slab(const view &v) {
    int r = v.r + v.stride * tap.high, s = v.s + v.stride * tap.mid;
    row = weights + (((ptrdiff_t)tap.low * v.kernel_r + r) * v.kernel_s + s) * v.indices + index;
  }
  __device__ bool piece(const view &v, int j, const T *&from) const {
    from = row + j * share::APART;
    return index + j * share::APART < v.indices && tap.high < v.tap_rows;
  }
  __device__ void gather(const view &v, int j, T (&x)[depth_of<T>::PIECE]) const {
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) x[e] =
        index + j * share::APART + e < v.indices && tap.high < v.tap_rows ? row[j * share::APART + e] : T{};
  }
  __device__ void next(const view &v) { add(tap, v.slab, v.tap); }
};

/* Patches of images in the product of backward weights: indices are r, s, c; depth is positions. In pieces: a patch's offsets are ints.
 * Taps behind the last are looked up like others: what they find is in an image, and in columns of C that nobody stores. */
struct patches_across_view {
  int height, width, channels, stride, pad;
  struct radices position, tap;
  struct digits slab, one; /* so many positions; one tap */
};
template <class T, int TILE> struct patches_across {
  typedef struct patches_across_view view;
  typedef share_across<T, TILE> share;
  static const bool ALONG = false;
  const T *images, *corner; /* of tap 0 at the present position, perhaps outside of the image */
  struct digits position, tap[share::PIECES];
  int up, left, depth, last, offset[share::PIECES];

  static void prepare(view &v) { v.slab = digits_of(depth_of<T>::SLAB, v.position), v.one = digits_of(1, v.tap); }
  __device__ void begin(const view &v, const T *m, int first_index, int first_depth, int last_depth, int thread) {
    images = m, depth = first_depth + share::depth(thread), last = last_depth;
    position = digits_of(depth, v.position);
    UNROLL for (int j = 0; j < share::PIECES; j++) {
      tap[j] = digits_of(first_index + share::index(thread) + j * share::APART, v.tap);
      offset[j] = (tap[j].high * v.width + tap[j].mid) * v.channels + tap[j].low;
    }
  }
  __device__ void slab(const view &v) {
    up = position.mid * v.stride - v.pad, left = position.low * v.stride - v.pad;
    corner = images + (((ptrdiff_t)position.high * v.height + up) * v.width + left) * v.channels;
    if (depth >= last) up = NOWHERE;
  }
  __device__ bool is_inside(const view &v, struct digits d) const {
    return (unsigned)(up + d.high) < (unsigned)v.height && (unsigned)(left + d.mid) < (unsigned)v.width;
  }
  __device__ bool piece(const view &v, int j, const T *&from) const {
    from = corner + offset[j];
    return is_inside(v, tap[j]);
  }
  __device__ void gather(const view &v, int j, T (&x)[depth_of<T>::PIECE]) const {
    struct digits d = tap[j];
    UNROLL for (int e = 0; e < depth_of<T>::PIECE; e++) {
      x[e] = is_inside(v, d) ? corner[((ptrdiff_t)d.high * v.width + d.mid) * v.channels + d.low] : T{};
      add(d, v.one, v.tap);
    }
  }
  __device__ void next(const view &v) {
    add(position, v.slab, v.position);
    depth += depth_of<T>::SLAB;
  }
};

/* ---- bringing -------------------------------------------------------------------------------------------------------------------------
 *
 * A slab is brought in STEPS parts, each begun before a step is multiplied and finished after it. WHOLE: pieces are 16 bytes of memory,
 * aligned, and are copied behind the kernel's back. What has to be gathered waits in registers while the step is multiplied, and is stored
 * after it. */
template <class PLACE, class T, int TILE, bool WHOLE> struct operand {
  enum { PIECE = depth_of<T>::PIECE, PART = PLACE::share::PIECES / STEPS };
  static const bool ALONG = PLACE::ALONG;
  PLACE place;
  T waiting[PART][PIECE] = {};

  static void prepare(typename PLACE::view &v) { PLACE::prepare(v); }

  __device__ void begin(const typename PLACE::view &v, const T *m, int first_index, int first_depth, int last_depth, int thread) {
    place.begin(v, m, first_index, first_depth, last_depth, thread), place.slab(v);
  }

  __device__ void begin_part(const typename PLACE::view &v, unsigned char *tile, int part, int thread) {
    UNROLL for (int i = 0; i < PART; i++) {
      const T *from;
      if (!WHOLE)
        place.gather(v, part * PART + i, waiting[i]);
      else {
        bool present = place.piece(v, part * PART + i, from);
        copy_async(tile + PLACE::share::spot(part * PART + i, thread), from, present);
      }
    }
    if (part == STEPS - 1) place.next(v), place.slab(v);
  }

  __device__ void finish_part(unsigned char *tile, int part, int thread) const {
    UNROLL for (int i = 0; !WHOLE && i < PART; i++) *
        reinterpret_cast<words<PIECE_BYTES> *>(tile + PLACE::share::spot(part * PART + i, thread)) = packed(waiting[i]);
  }
};

#endif
