/* The smallest model that has everything of E-DIY: what tests of whole steps run on, after changing what they are about. */
#ifndef EDIY_TESTS_SMALL_MODEL_H
#define EDIY_TESTS_SMALL_MODEL_H

#include <stdlib.h>

#include "model/model.h"

static inline struct model_config small_model(ptrdiff_t batch, ptrdiff_t side) {
  struct model_config c = {.batch = batch,
                           .height = side,
                           .width = side,
                           .regions = true,
                           .teacher = true,
                           .lambda_rdem = 1,
                           .lambda_riem = 1,
                           .lambda_byol = 1,
                           .lars = {.trust = 1e-3, .momentum = 0.9, .weight_decay = 1.5e-6}};
  if (!architecture_named("small", &c.arch)) abort();
  c.arch.base_width = 4, c.arch.stem = STEM_CIFAR;
  c.arch.hidden = 12, c.arch.out = 6;
  return c;
}

#endif
