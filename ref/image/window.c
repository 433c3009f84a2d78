#include "image/window.h"

#include <string.h>

size_t window_bytes(const struct view *v) { return (size_t)v->height * (size_t)v->width * 3; }

bool window_is_small(const struct view *v) {
  int most = AUGMENT_WINDOW * v->size;
  return v->height <= most && v->width <= most && window_bytes(v) <= (size_t)v->size * (size_t)v->size * 3 * sizeof(float);
}

/* Nothing outside of the window is read, and weights depend on its size alone (augment_resize): where it lies makes no difference. */
struct view window_take(const struct view *v, const uint8_t *rgb, int width, uint8_t *to) {
  struct view alone = *v;
  size_t row = (size_t)v->width * 3;
  rgb += ((size_t)v->top * (size_t)width + (size_t)v->left) * 3;
  for (int i = 0; i < v->height; i++) memcpy(to + (size_t)i * row, rgb + (size_t)i * (size_t)width * 3, row);
  alone.top = alone.left = 0;
  return alone;
}
