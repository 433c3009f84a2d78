/* Gaussian blur of the augmentation (the definition is at augment_blur in augment.h). */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "image/augment.h"

/* Reals summed side by side: six vectors of 32 bytes, enough independent sums to keep the adders busy and few enough to stay in registers.
 * A row whose width is a multiple of 16 pixels has no rest. */
enum { BLOCK = 6 * 32 / sizeof(real) };

/* Scratch: the weights, one row with taps / 2 black pixels at each end, the image between the two passes. */
ptrdiff_t augment_blur_scratch(int height, int width, int taps) {
  ptrdiff_t row = ((ptrdiff_t)width + taps) * 3;
  return taps + row + (ptrdiff_t)height * width * 3;
}

/* y[i] = sum over k = 0..taps of weight[k] x[i + k step], i < n. */
static void filter(const real *restrict x, ptrdiff_t step, const real *restrict weight, int taps, ptrdiff_t n, real *restrict y) {
  ptrdiff_t i = 0;
  for (; i + BLOCK <= n; i += BLOCK) {
    real sum[BLOCK] = {0};
    for (int k = 0; k < taps; k++)
      for (int j = 0; j < (int)BLOCK; j++) sum[j] += weight[k] * x[i + k * step + j];
    memcpy(y + i, sum, sizeof sum);
  }
  for (; i < n; i++) {
    real sum = 0;
    for (int k = 0; k < taps; k++) sum += weight[k] * x[i + k * step];
    y[i] = sum;
  }
}

void augment_blur(double sigma, int taps, int height, int width, real *x, real *scratch) {
  assert(sigma > 0 && taps >= 1 && taps % 2 == 1);
  int radius = taps / 2;
  ptrdiff_t n = (ptrdiff_t)width * 3;
  real *weight = scratch, *padded = weight + taps, *between = padded + n + (ptrdiff_t)taps * 3;
  double sum = 0;
  for (int i = -radius; i <= radius; i++) sum += exp(-(double)i * i / (2 * sigma * sigma));
  for (int i = -radius; i <= radius; i++) weight[i + radius] = (real)(exp(-(double)i * i / (2 * sigma * sigma)) / sum);

  memset(padded, 0, (size_t)(n + (ptrdiff_t)taps * 3) * sizeof *padded);
  for (int row = 0; row < height; row++) {
    memcpy(padded + radius * 3, x + row * n, (size_t)n * sizeof *x);
    filter(padded, 3, weight, taps, n, between + row * n);
  }
  for (int row = 0; row < height; row++) { /* rows outside are black: their taps are left out */
    ptrdiff_t from = size_max(row - radius, 0), to = size_min(row + radius, height - 1);
    filter(between + from * n, n, weight + (from - (row - radius)), (int)(to - from + 1), n, x + row * n);
  }
}
