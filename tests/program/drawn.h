/* Looking at a picture that the program drew: two pixels for a point of its sheet (program/draw.h). */
#ifndef EDIY_TESTS_DRAWN_H
#define EDIY_TESTS_DRAWN_H

#include <math.h>
#include <stdbool.h>

#include "image/image.h"
#include "program/draw.h"
#include "support/cmocka.h"

/* The caller's to image_free; stops the test where it cannot be read. */
static inline struct image open_picture(const char *path) {
  struct error err;
  struct image image;
  if (!image_read(path, &image, &err)) fail_msg("%s", err.text);
  return image;
}

/* Whether the pixel at a point of the sheet has this ink, or a photograph's colour as ink. */
static inline bool is_inked(const struct image *i, double x, double y, struct ink ink) {
  const uint8_t *p = i->rgb + 3 * ((int)(2 * y) * i->width + (int)(2 * x));
  return fabs(p[0] - 255 * ink.r) <= 2 && fabs(p[1] - 255 * ink.g) <= 2 && fabs(p[2] - 255 * ink.b) <= 2;
}

#endif
