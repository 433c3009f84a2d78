/* Channels that are no whole pieces of 16 bytes, as the three of an image: a copy with zeros beside them, so that every pixel is whole
 * pieces. A zero more in a sum changes nothing. */
#ifndef EDIY_CUDA_PAD_H
#define EDIY_CUDA_PAD_H

#include "cuda/number.h"
#include "cuda/runtime.h"

/* c, or as many that pieces of T are whole. */
template <class T> static inline ptrdiff_t padded_channels(ptrdiff_t c) {
  return (c + pieces_of<T>::NUMBERS - 1) / pieces_of<T>::NUMBERS * pieces_of<T>::NUMBERS;
}

/* A thread a piece of a pixel. */
template <class T> __global__ static void pad_channels(ptrdiff_t pieces, int in_pixel, int c, const T *from, T *to) {
  ptrdiff_t i = item_of_thread();
  if (i >= pieces) return;
  ptrdiff_t pixel = i / in_pixel;
  int first = (int)(i - pixel * in_pixel) * pieces_of<T>::NUMBERS;
  struct numbers<T, pieces_of<T>::NUMBERS> y;
  UNROLL for (int e = 0; e < pieces_of<T>::NUMBERS; e++) y.x[e] = first + e < c ? from[pixel * c + first + e] : T{};
  store_numbers(to + i * pieces_of<T>::NUMBERS, y);
}

/* to: `pixels` times padded_channels, aligned. */
template <class T> static void pad_launch(ptrdiff_t pixels, ptrdiff_t c, const T *from, T *to) {
  ptrdiff_t in_pixel = padded_channels<T>(c) / pieces_of<T>::NUMBERS;
  LAUNCH(pad_channels<T>, blocks_for(pixels * in_pixel), dim3(BLOCK_THREADS), 0, cuda_stream(), pixels * in_pixel, (int)in_pixel, (int)c,
         from, to);
}

/* join_partials (shared.h) of partial dw that have `wide` channels, of which dw has c. */
__global__ static void join_padded_partials(ptrdiff_t size, int c, int wide, int chunks, const float *partials, float *dw) {
  ptrdiff_t i = item_of_thread(), tap = i / c, at = tap * wide + (i - tap * c), all = size / c * wide;
  if (i >= size) return;
  double sum = (double)dw[i];
  for (int chunk = 0; chunk < chunks; chunk++) sum += (double)partials[chunk * all + at];
  dw[i] = (float)sum;
}

static inline void join_padded_launch(ptrdiff_t taps, ptrdiff_t c, ptrdiff_t wide, int chunks, const float *partials, float *dw) {
  LAUNCH(join_padded_partials, blocks_for(taps * c), dim3(BLOCK_THREADS), 0, cuda_stream(), taps * c, (int)c, (int)wide, chunks, partials,
         dw);
}

#endif
