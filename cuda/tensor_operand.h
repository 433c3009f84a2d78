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

/* Division by what is the same for a whole launch, without dividing: for 0 <= n < 2^31 the quotient n / d is n f / 2^(31 + s), cut off,
 * with s the least for which 2^s >= d, and f = 2^(31 + s) / d, cut off, + 1. For f d = 2^(31 + s) + e with 0 < e <= d, and n e is less than
 * 2^(31 + s), so that the excess n e / (d 2^(31 + s)) is less than 1 / d (Granlund, Montgomery, Division by invariant integers, 1994). */
struct reciprocal {
  uint32_t factor;
  int shift;
};
static inline struct reciprocal reciprocal_of(int d) {
  int shift = 0;
  while ((int64_t)1 << shift < d) shift++;
  return {(uint32_t)(((uint64_t)1 << (31 + shift)) / (uint64_t)d + 1), shift};
}
__host__ __device__ static inline int quotient(int n, struct reciprocal r) {
  return (int)((uint32_t)((uint64_t)((uint32_t)n << 1) * r.factor >> 32) >> r.shift);
}

/* A number as three digits, the lower two with a radix: a position as image, row, column; a depth as tap row, tap column, channel. */
struct digits {
  int high, mid, low;
};
struct radices {
  int mid, low;
  struct reciprocal of_mid, of_low;
};
static inline struct radices radices_of(int mid, int low) { return {mid, low, reciprocal_of(mid), reciprocal_of(low)}; }

__host__ __device__ static inline struct digits digits_of(int number, const struct radices &r) {
  int above = quotient(number, r.of_low), high = quotient(above, r.of_mid);
  return {high, above - high * r.mid, number - above * r.low};
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
  __device__ static int spot(int j, int thread) { return across_at<T>(depth(thread), thread % ABREAST, j * ABREAST); }
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
  __device__ void next(const view &) { row += depth_of<T>::SLAB, depth += depth_of<T>::SLAB; }
};

/* Where a pixel of N H W C is, in numbers from the first; an image may have 2^31 and more, a row has fewer. */
struct strides {
  ptrdiff_t image;
  int row, pixel;

  __device__ ptrdiff_t to(int n, int h, int w) const { return n * image + (ptrdiff_t)h * row + (ptrdiff_t)w * pixel; }
};
static inline struct strides strides_of(int height, int width, int channels) {
  return {(ptrdiff_t)height * width * channels, width * channels, channels};
}

/* Patches of images, depth r, s, c: element (position, tap) is at row up + r and column left + s of the position's image, or, with
 * DIRECTION -1, at up - r and left - s (backward data). up and left are linear in the position's row and column. Kernels have at
 * most MOST_SIDE rows and columns, and a patch's offsets are ints. */
enum { MOST_SIDE = 15, ROW_BITS = 16 /* where the bits of rows begin, above those of columns */, NO_ROW = ROW_BITS + MOST_SIDE };
struct patches_along_view {
  int height, width, channels; /* of the images */
  int positions, stride, up, left;
  struct radices position, tap; /* rows and columns of positions an image; columns and channels of taps */
  int tap_rows;
  struct digits slab; /* so many depths */
  struct strides in;
};
template <class T, int TILE, int DIRECTION> struct patches_along {
  typedef struct patches_along_view view;
  typedef share_along<T, TILE> share;
  static const bool ALONG = true;
  struct digits tap;
  const T *corner[share::PIECES]; /* of tap 0, perhaps outside of the image */
  unsigned inside[share::PIECES]; /* a bit for each row and each column of the kernel that is in the image */
  unsigned bits;                  /* of the present tap; behind the last, one that is in no image */
  int offset;                     /* of the present depth from the corner */

  static void prepare(view &v) { v.slab = digits_of(depth_of<T>::SLAB, v.tap), v.in = strides_of(v.height, v.width, v.channels); }
  /* A bit for each tap t with 0 <= at + DIRECTION t < size: those from the first on, at most all, that are behind one another. */
  __device__ static unsigned taps_inside(int at, int size, int taps) {
    int first = DIRECTION > 0 ? -at : at - size + 1, end = first + size;
    first = first < 0 ? 0 : first < taps ? first : taps, end = end < 0 ? 0 : end < taps ? end : taps;
    return (1u << end) - (1u << first);
  }
  __device__ void begin(const view &v, const T *m, int first_index, int first_depth, int, int thread) {
    tap = digits_of(first_depth + share::depth(thread), v.tap);
    UNROLL for (int j = 0; j < share::PIECES; j++) {
      int position = first_index + share::index(thread) + j * share::APART;
      struct digits at = digits_of(position, v.position);
      int up = at.mid * v.stride + v.up, left = at.low * v.stride + v.left;
      corner[j] = m + v.in.to(at.high, up, left);
      inside[j] = position < v.positions ? taps_inside(left, v.width, v.tap.mid) | taps_inside(up, v.height, v.tap_rows) << ROW_BITS : 0;
    }
  }
  __device__ void slab(const view &v) {
    offset = DIRECTION * (tap.high * v.in.row + tap.mid * v.channels) + tap.low;
    bits = 1u << (tap.high < v.tap_rows ? ROW_BITS + tap.high : NO_ROW) | 1u << tap.mid;
  }
  __device__ bool piece(const view &, int j, const T *&from) const {
    from = corner[j] + offset;
    return (inside[j] & bits) == bits;
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
  __device__ void next(const view &v) { add(tap, v.slab, v.tap); }
};

/* Patches of images in the product of backward weights: indices are r, s, c; depth is positions. In pieces: a patch's offsets are ints.
 * Taps behind the last are looked up like others: what they find is in an image, and in columns of C that nobody stores. */
struct patches_across_view {
  int height, width, channels, stride, pad;
  struct radices position, tap;
  struct digits slab; /* so many positions */
  struct strides in;
};
template <class T, int TILE> struct patches_across {
  typedef struct patches_across_view view;
  typedef share_across<T, TILE> share;
  static const bool ALONG = false;
  const T *images, *corner; /* of tap 0 at the present position, perhaps outside of the image */
  struct digits position, tap[share::PIECES];
  int up, left, depth, last, offset[share::PIECES];

  static void prepare(view &v) { v.slab = digits_of(depth_of<T>::SLAB, v.position), v.in = strides_of(v.height, v.width, v.channels); }
  __device__ void begin(const view &v, const T *m, int first_index, int first_depth, int last_depth, int thread) {
    images = m, depth = first_depth + share::depth(thread), last = last_depth;
    position = digits_of(depth, v.position);
    UNROLL for (int j = 0; j < share::PIECES; j++) {
      tap[j] = digits_of(first_index + share::index(thread) + j * share::APART, v.tap);
      offset[j] = tap[j].high * v.in.row + tap[j].mid * v.channels + tap[j].low;
    }
  }
  __device__ void slab(const view &v) {
    up = position.mid * v.stride - v.pad, left = position.low * v.stride - v.pad;
    corner = images + v.in.to(position.high, up, left);
    if (depth >= last) up = NOWHERE;
  }
  __device__ bool piece(const view &v, int j, const T *&from) const {
    from = corner + offset[j];
    return (unsigned)(up + tap[j].high) < (unsigned)v.height && (unsigned)(left + tap[j].mid) < (unsigned)v.width;
  }
  __device__ void next(const view &v) {
    add(position, v.slab, v.position);
    depth += depth_of<T>::SLAB;
  }
};

/* ---- bringing -------------------------------------------------------------------------------------------------------------------------
 *
 * A slab is brought in STEPS parts, one before each step is multiplied. Pieces are 16 bytes of memory, aligned, and are copied behind the
 * kernel's back. */
template <class PLACE, class T, int TILE> struct operand {
  enum { PART = PLACE::share::PIECES / STEPS };
  static const bool ALONG = PLACE::ALONG;
  PLACE place;

  static void prepare(typename PLACE::view &v) { PLACE::prepare(v); }

  __device__ void begin(const typename PLACE::view &v, const T *m, int first_index, int first_depth, int last_depth, int thread) {
    place.begin(v, m, first_index, first_depth, last_depth, thread), place.slab(v);
  }

  __device__ void copy_part(const typename PLACE::view &v, unsigned char *tile, int part, int thread) {
    UNROLL for (int i = part * PART; i < (part + 1) * PART; i++) {
      const T *from;
      bool present = place.piece(v, i, from);
      copy_async(tile + PLACE::share::spot(i, thread), from, present);
    }
    if (part == STEPS - 1) place.next(v), place.slab(v);
  }
};

#endif
