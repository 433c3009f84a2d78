/* What the tests of images share: pictures to work on, and what a pixel has to be. */
#ifndef EDIY_TESTS_IMAGE_PIXELS_H
#define EDIY_TESTS_IMAGE_PIXELS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/philox.h"
#include "base/real.h"
#include "support/cmocka.h"

static inline uint8_t *random_bytes(int height, int width, uint32_t stream) {
  ptrdiff_t n = (ptrdiff_t)height * width * 3;
  uint8_t *p = malloc((size_t)n);
  if (!p) abort();
  struct philox g = philox_stream(1, PHILOX_TEST, 2, stream, 0);
  for (ptrdiff_t i = 0; i < n; i++) p[i] = (uint8_t)philox_below(&g, 256);
  return p;
}

static inline void assert_pixel(const real *x, double r, double g, double b, double bound) {
  if (!(fabs((double)x[0] - r) <= bound && fabs((double)x[1] - g) <= bound && fabs((double)x[2] - b) <= bound))
    fail_msg("pixel %.9g %.9g %.9g, expected %.9g %.9g %.9g within %g", (double)x[0], (double)x[1], (double)x[2], r, g, b, bound);
}

#endif
