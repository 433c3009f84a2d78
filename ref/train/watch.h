/* What the trainer looks at besides the losses: signs of collapse, and the first number that is not finite. real is float here. */
#ifndef EDIY_TRAIN_WATCH_H
#define EDIY_TRAIN_WATCH_H

#include "base/error.h"
#include "base/ranks.h"
#include "model/step.h"
#include "train/log.h"

struct watch {
  struct model_f32 *m;       /* not owned */
  const struct ranks *ranks; /* the diagnostics are of the images of all */
  float *host;               /* room for the largest output of a step */
  int32_t *index;
  double *scratch;
  float *statistics; /* backend memory: running statistics as they were before the step at hand */
};

MUST_CHECK bool watch_create(struct watch *w, struct model_f32 *m, const struct ranks *ranks, struct error *err);
void watch_free(struct watch *w);
size_t watch_bytes(const struct model_f32 *m, int ranks); /* of host memory that watch_create takes; asks config and cells alone */
size_t watch_statistics_bytes(const struct model_f32 *m); /* of the backend's */

/* Collective. Fills the collapse diagnostics of the record from what the last micro-batch left: the online network's global prediction and
 * regions of view 1, D1 and S12. */
void watch_diagnose(struct watch *w, struct record *r);

/* Before a step: keeps what its forward passes change. watch_undo puts it back; together with parameters that only model_update changes,
 * the model is then as it was before the step. */
void watch_remember(struct watch *w);
void watch_undo(struct watch *w);

/* model_accumulate once more, looking at every number. Whether one is not finite; text is where the first came up:
 * "online layer1.0.conv1 y, view 1, forward". Statistics and gradient are then to be thrown away. */
bool watch_locate(struct watch *w, const float *const views[2], double share, char *text, size_t size);

#endif
