/* The three pictures of `ediy show` that are made of photographs: augmented views, the regions the teacher matches, and what each region
 * adds to the feature of its image. */
#ifndef EDIY_PROGRAM_PICTURE_H
#define EDIY_PROGRAM_PICTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "eval/interval.h"
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

/* A network whose shares (eval/saliency.h) are drawn. */
struct saliency_column {
  const char *name;
  int across, down;   /* cells of its last map */
  struct mean spread; /* of the effective regions of the images that were measured */
};

/* One image, and its shares under each network. */
struct saliency_row {
  const char *name;    /* of the image */
  const uint8_t *seen; /* size x size x 3 bytes: the input of the networks */
  int size;
  const double *share[2]; /* down x across of the network */
};

/* Each image, and beside it for each of one or two networks the image in grey, tinted by share times regions: on one scale in every
 * picture, logarithmic, from 1/4 of an equal share to 4 times it. Between the centres of cells shares are interpolated bilinearly. */
MUST_CHECK bool picture_saliency(const char *path, const char *title, const struct saliency_column *columns, int column_count,
                                 const struct saliency_row *rows, int count, struct error *err);

/* A view as the network gets it (normalised, size x size x 3) back to bytes. */
void picture_bytes(const float *view, int size, uint8_t *rgb);

#endif
