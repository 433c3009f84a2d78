/* The views of docs/method.md, "Views", step by step. */
#include "image/augment.h"

#include <assert.h>
#include <limits.h>

#include "base/size.h"

/* Windows of the image need no more than the image, but for the rounding of the number of taps; both directions are covered because the
 * number of weights of an axis grows with its length. */
ptrdiff_t augment_scratch(int height, int width, int size) {
  return size_max(augment_resize_scratch(height, width, size, size), augment_blur_scratch(size, size, augment_taps(size)));
}

void augment_apply(const struct view *v, const uint8_t *rgb, int height, int width, real *y, real *scratch) {
  int size = v->size;
  ptrdiff_t pixels = (ptrdiff_t)size * size;
  augment_resize(rgb, height, width, v->top, v->left, v->height, v->width, size, size, v->antialias, true, y, scratch);
  if (v->flip) augment_flip(size, size, y);
  if (v->form != JITTER_NONE) {
    const double value[] = {
        [JITTER_BRIGHTNESS] = v->brightness, [JITTER_CONTRAST] = v->contrast, [JITTER_SATURATION] = v->saturation, [JITTER_HUE] = v->hue};
    for (int i = 0; i < 4; i++) augment_jitter(v->form, v->order[i], value[v->order[i]], pixels, y);
  }
  if (v->grey) augment_grey(pixels, y);
  if (v->sigma > 0) augment_blur(v->sigma, v->taps, size, size, y, scratch);
  if (v->solarise) augment_solarise(pixels * 3, y);
  augment_clip(pixels * 3, y);
  augment_normalise(pixels, y);
}

/* round((side - size) / 2), halves to even, as Python rounds. */
static int centre(int side, int size) {
  int half = (side - size) / 2;
  return (side - size) % 2 == 0 ? half : half + half % 2;
}

bool augment_eval_possible(int resize, int height, int width) {
  int64_t longer = height > width ? height : width, shorter = height > width ? width : height;
  return (int64_t)resize * longer / shorter <= INT_MAX;
}

void augment_eval(int resize, int size, const uint8_t *rgb, int height, int width, real *y, real *scratch) {
  assert(1 <= size && size <= resize && height >= 1 && width >= 1 && augment_eval_possible(resize, height, width));
  int h = height <= width ? resize : (int)((int64_t)resize * height / width);
  int w = width <= height ? resize : (int)((int64_t)resize * width / height);
  augment_resize_part(rgb, height, width, 0, 0, height, width, h, w, centre(h, size), centre(w, size), size, size, true, true, y, scratch);
  augment_normalise((ptrdiff_t)size * size, y);
}

void augment_flip(int height, int width, real *x) {
  for (int row = 0; row < height; row++, x += (ptrdiff_t)width * 3)
    for (real *a = x, *b = x + ((ptrdiff_t)width - 1) * 3; a < b; a += 3, b -= 3)
      for (int c = 0; c < 3; c++) {
        real t = a[c];
        a[c] = b[c], b[c] = t;
      }
}
