/* How kernels of norm.cu go over the rows of an m x c matrix: which channels a thread has, how many rows it asks for before it uses
 * the first, and what of a norm is known when they are compiled. */
#ifndef EDIY_CUDA_NORM_ROWS_H
#define EDIY_CUDA_NORM_ROWS_H

#include "cuda/number.h"

enum { SUM_CHANNELS = 4 /* of a thread that sums, at most: fewer than 16 bytes of bf16, for the sake of more threads */ };

/* A block of so many threads: a warp at most across the channels, which `across` threads share, and down the rows what is left. */
static dim3 threads_across(ptrdiff_t across, unsigned threads) {
  unsigned wide = 1;
  while (wide < WARP_THREADS && wide < across) wide *= 2;
  return dim3(wide, threads / wide);
}
/* Blocks of them over all channels, and down the rows so many: neighbours are neighbours in a row first. A grid has at most MOST_DOWN in
 * its second dimension; of the last ones some may have no row. */
enum { MOST_DOWN = 65535 };
static dim3 blocks_across(ptrdiff_t down, ptrdiff_t across, dim3 threads) {
  unsigned wide = (unsigned)((across + threads.x - 1) / threads.x), deep = (unsigned)((down + MOST_DOWN - 1) / MOST_DOWN);
  return dim3(wide, down < MOST_DOWN ? (unsigned)down : (unsigned)MOST_DOWN, deep);
}
/* Of a thread of such a block, which has N. */
template <int N> __device__ static inline ptrdiff_t first_channel() { return ((ptrdiff_t)blockIdx.x * blockDim.x + threadIdx.x) * N; }

/* Where the block is down the rows; or, from behind, where it would be if the last block were the first. Launches that read what the one
 * before has read or written take turns: the rows that it came to last are in the L2 cache still, and those that it began with are not,
 * where a tensor is larger than that. Products go from the first row to the last (tensor_gemm.h). */
enum way { FROM_FIRST, FROM_BEHIND };
template <enum way WAY> __device__ static inline ptrdiff_t block_down() {
  if (WAY == FROM_FIRST) return (ptrdiff_t)blockIdx.z * gridDim.y + blockIdx.y;
  return (ptrdiff_t)(gridDim.z - 1 - blockIdx.z) * gridDim.y + (gridDim.y - 1 - blockIdx.y);
}

/* form<channels_of<T, n>> for n of summed_channels. */
#define BY_CHANNELS(form, T, n, ...)                                                                                                       \
  do {                                                                                                                                     \
    typedef channels_of<T, 4> four;                                                                                                        \
    typedef channels_of<T, 2> two;                                                                                                         \
    typedef channels_of<T, 1> one;                                                                                                         \
    if (n == 4)                                                                                                                            \
      form<four>(__VA_ARGS__);                                                                                                             \
    else if (n == 2)                                                                                                                       \
      form<two>(__VA_ARGS__);                                                                                                              \
    else                                                                                                                                   \
      form<one>(__VA_ARGS__);                                                                                                              \
  } while (0)

/* A kernel's channels a thread, and what not every norm has and would take registers: a ReLU, and a residual (SKIP). */
template <class C, bool RELU_, bool SKIP_> struct kind_of_norm : C {
  enum { RELU = RELU_, SKIP = SKIP_ };
};

/* form<kind_of_norm<C, ...>>; the arguments are handed on. */
#define BY_KIND(form, C, relu, skip, ...)                                                                                                  \
  do {                                                                                                                                     \
    typedef kind_of_norm<C, false, false> plain;                                                                                           \
    typedef kind_of_norm<C, true, false> with_relu;                                                                                        \
    typedef kind_of_norm<C, false, true> with_skip;                                                                                        \
    typedef kind_of_norm<C, true, true> with_both;                                                                                         \
    if ((relu) && (skip))                                                                                                                  \
      form<with_both>(__VA_ARGS__);                                                                                                        \
    else if (skip)                                                                                                                         \
      form<with_skip>(__VA_ARGS__);                                                                                                        \
    else if (relu)                                                                                                                         \
      form<with_relu>(__VA_ARGS__);                                                                                                        \
    else                                                                                                                                   \
      form<plain>(__VA_ARGS__);                                                                                                            \
  } while (0)

/* Numbers of x that a thread that sums asks for at once. Where threads are few they have fewer channels and more rows. */
template <int N> struct asked_for {
  enum { NUMBERS = N < SUM_CHANNELS ? 32 : 16 };
};

/* Some rows of a thread's channels, which are asked for together. */
template <class C> struct some_rows {
  enum { N = C::WIDE, ROWS = asked_for<N>::NUMBERS / N };
  struct numbers<typename C::type, N> x[ROWS];

  /* The first `left` rows from there on. */
  __device__ void load(const typename C::type *from, ptrdiff_t channels, ptrdiff_t left) {
    if (left >= ROWS) {
      UNROLL for (int k = 0; k < ROWS; k++) x[k] = load_numbers<N>(from + k * channels);
    } else {
      UNROLL for (int k = 0; k < ROWS; k++) if (k < left) x[k] = load_numbers<N>(from + k * channels);
    }
  }
};

/* Which numbers of y are positive: a byte for each 16 bytes of y, the first number's bit the lowest. */
template <class T> static ptrdiff_t sign_bytes(ptrdiff_t count) { return (count + pieces_of<T>::NUMBERS - 1) / pieces_of<T>::NUMBERS; }
template <class T, int N> __device__ static inline unsigned char signs_of(const struct numbers<T, N> &y) {
  unsigned bits = 0;
  UNROLL for (int e = 0; e < N; e++) bits |= (unsigned)(widen(y.x[e]) > 0) << e;
  return (unsigned char)bits;
}

/* What a row's gradients are computed from: x, dy, and signs where there is a ReLU. */
template <class K> struct row_of_gradient {
  typedef typename K::type T;
  enum { PIECE = pieces_of<T>::NUMBERS };
  struct numbers<T, K::WIDE> x, dy;
  unsigned open; /* a bit a number */

  __device__ void load(const T *x_, const unsigned char *signs, const T *dy_, ptrdiff_t at) {
    x = load_numbers<K::WIDE>(x_ + at), dy = load_numbers<K::WIDE>(dy_ + at);
    if (K::RELU) open = (unsigned)signs[(size_t)at / PIECE] >> ((size_t)at % PIECE);
  }
  /* The gradient behind the ReLU. */
  __device__ float behind(int e) const { return K::RELU && !(open >> e & 1) ? 0.0f : widen(dy.x[e]); }
};

/* Some rows, of two tensors, and half as many therefore. */
template <class K> struct some_gradient_rows {
  typedef typename K::type T;
  enum { ROWS = asked_for<K::WIDE>::NUMBERS / 2 / K::WIDE };
  struct row_of_gradient<K> row[ROWS];

  __device__ void load(const T *x, const unsigned char *signs, const T *dy, ptrdiff_t from, ptrdiff_t channels, ptrdiff_t left) {
    if (left >= ROWS) {
      UNROLL for (int k = 0; k < ROWS; k++) row[k].load(x, signs, dy, from + k * channels);
    } else {
      UNROLL for (int k = 0; k < ROWS; k++) if (k < left) row[k].load(x, signs, dy, from + k * channels);
    }
  }
};

#endif
