/* A backbone with loaded weights that turns views into features. */
#ifndef EDIY_PROGRAM_ENCODER_H
#define EDIY_PROGRAM_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/net.h"
#include "model/net_run.h"
#include "model/plan.h"
#include "train/config.h"

struct encoder {
  const struct backend *backend;
  struct net net;
  struct plan plan;
  void *memory; /* state, workspace, scratch: one block of the backend */
  size_t bytes;
  struct net_run run;
};

/* The backbone of this architecture for batches of this many views of size x size. weights: a checkpoint (its online branch) or a file under
 * torchvision's names; "random": fresh ones of this seed. On failure nothing is left to close. */
MUST_CHECK bool encoder_open(struct encoder *e, const struct architecture *arch, const char *weights, ptrdiff_t batch, ptrdiff_t size,
                             uint64_t seed, struct error *err);
void encoder_close(struct encoder *e);

/* views: batch x size x size x 3. Returns the last feature map, batch x cells x channels, valid until the next call. Running
 * statistics normalise. */
const float *encoder_map(struct encoder *e, const float *views);

#endif
