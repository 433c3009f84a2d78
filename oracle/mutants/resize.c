/* Bicubic resize of a window, plainly: y = sum over rows and columns of the window of both axes' weights. */
#include <math.h>

#include "oracle/mutants/plain_image.h"

/* Keys' cubic. */
static float kernel(float x) {
  float a = FAULT(RESIZE_KEYS) ? -0.75f : -0.5f;
  x = fabsf(x);
  if (FAULT(RESIZE_BILINEAR)) return x < 1 ? 1 - x : 0;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* Weight of input j (it may lie outside 0..n-1) for output i of an axis, not yet divided by their sum. */
static float weight(int i, int j, int n, int size, bool antialias) {
  double scale = (double)n / size, centre = (i + 0.5) * scale;
  if (FAULT(RESIZE_HALF_PIXEL)) centre = i * scale + 0.5;
  if (FAULT(RESIZE_CORNERS)) centre = (size > 1 ? i * (double)(n - 1) / (size - 1) : 0) + 0.5;
  return kernel((float)((j + 0.5 - centre) / (antialias && scale > 1 ? scale : 1)));
}

static float axis_sum(int i, int n, int size, bool antialias, int before, int behind) {
  float sum = 0;
  for (int j = -before; j < n + behind; j++) sum += weight(i, j, n, size, antialias);
  return FAULT(RESIZE_WEIGHTS) ? 1 : sum;
}

void plain_resize(const struct plain_source *s, int top, int left, int h, int w, int size_h, int size_w, bool antialias, bool clip,
                  float *y) {
  if (FAULT(RESIZE_WINDOW) && left + w < s->width) left++;
  if (FAULT(RESIZE_ALIAS)) antialias = !antialias;
  if (FAULT(RESIZE_NO_CLIP)) clip = false;
  bool outside = FAULT(RESIZE_OUTSIDE);
  int above = outside ? top : 0, below = outside ? s->height - top - h : 0, before = outside ? left : 0,
      behind = outside ? s->width - left - w : 0;
  for (int p = 0; p < size_h; p++)
    for (int q = 0; q < size_w; q++) {
      float sum[3] = {0}, vertical = axis_sum(p, h, size_h, antialias, above, below),
            across = axis_sum(q, w, size_w, antialias, before, behind);
      for (int i = -above; i < h + below; i++) {
        float u = weight(p, i, h, size_h, antialias) / vertical;
        for (int j = -before; u != 0 && j < w + behind; j++) {
          float v = weight(q, j, w, size_w, antialias) / across;
          const uint8_t *x = s->rgb + 3 * ((ptrdiff_t)(top + i) * s->width + left + j);
          for (int c = 0; c < 3; c++) sum[c] += u * v * ((float)x[c] / (FAULT(RESIZE_255) ? 256 : 255));
        }
      }
      for (int c = 0; c < 3; c++) {
        float value = clip ? fminf(fmaxf(sum[c], 0), 1) : sum[c];
        y[3 * (p * size_w + q) + c] = FAULT(RESIZE_BYTES) ? nearbyintf(value * 255) / 255 : value;
      }
    }
}
