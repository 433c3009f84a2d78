/* The two pictures of `ediy show` that are made of photographs: augmented views, and the regions the teacher matches. */
#ifndef EDIY_PROGRAM_PICTURE_H
#define EDIY_PROGRAM_PICTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/augment.h"
#include "image/image.h"

/* One image and its two views. */
struct views_row {
  const char *name; /* of the image */
  struct image source;
  struct view draw[2];    /* what was drawn for them */
  const uint8_t *view[2]; /* size x size x 3 bytes */
  int size;
};

/* Source with the windows of both crops, view 1, view 2, and below each view what was done to it. */
MUST_CHECK bool picture_views(const char *path, const char *title, const struct views_row *rows, int count, struct error *err);

/* One image, its views and the matches of the teacher: regions are cells of a grid, row by row. */
struct matches_row {
  const uint8_t *view[2]; /* size x size x 3 bytes */
  int size;
  int across, down;                         /* cells of the grid */
  const int32_t *diversity[2], *invariance; /* D1, D2 (Eq. 4), S12 (Eq. 6): across * down indices */
};

/* Left pair: a few regions of each view and the region most different from each (R-DEM). Right pair: the same regions of view 1 and the
 * region of view 2 that is most similar to each (R-IEM). */
MUST_CHECK bool picture_matches(const char *path, const char *title, const struct matches_row *rows, int count, int queries,
                                struct error *err);

/* A view as the network gets it (normalised, size x size x 3) back to bytes. */
void picture_bytes(const float *view, int size, uint8_t *rgb);

#endif
