/* One image of a data set with its two views, as a training run sees it. */
#ifndef EDIY_PROGRAM_SAMPLE_H
#define EDIY_PROGRAM_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/augment.h"
#include "image/image.h"
#include "train/config.h"
#include "train/dataset.h"

struct sample {
  struct image source;
  struct view draw[2];
  float *view[2];  /* size x size x 3, normalised */
  uint8_t *rgb[2]; /* the same for people: bytes */
};

/* Image `index` and the views that epoch `epoch` of a run with this configuration and seed makes of it. On failure nothing is left to
 * free. */
MUST_CHECK bool sample_read(struct sample *s, const struct dataset *data, ptrdiff_t index, const struct config *config, uint64_t seed,
                            uint32_t epoch, struct error *err);
void sample_free(struct sample *s);

/* The i-th of `rows` places spread evenly over count, so that several classes show. */
ptrdiff_t sample_spread(int i, int rows, ptrdiff_t count);

#endif
