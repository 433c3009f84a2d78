/* Which regions a teacher matches in the views of some images, as a training step has them. */
#ifndef EDIY_PROGRAM_PAIRS_H
#define EDIY_PROGRAM_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "train/config.h"
#include "train/features.h"

struct pairs {
  int32_t *diversity[2], *invariance; /* D1, D2 (Eq. 4), S12 (Eq. 6): images x regions */
};

/* Of the images of one micro-batch, teacher->batch of them; view: both views of each, images x size x size x 3. With teacher.bn = batch its
 * statistics are those of all these images. On failure there is nothing to free. */
MUST_CHECK bool pairs_find(struct pairs *p, struct extractor *teacher, const struct config *config, const float *const view[2],
                           struct error *err);
void pairs_free(struct pairs *p);

#endif
