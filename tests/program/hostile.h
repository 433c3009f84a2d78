/* What the tests of hostile use begin with: a folder of scenes s, weights w.safetensors, and how a run is begun. */
#ifndef EDIY_TESTS_PROGRAM_HOSTILE_H
#define EDIY_TESTS_PROGRAM_HOSTILE_H

#include "support/program.h"

#define SMALL "backbone=small stem=cifar size=16"
#define TRAIN "ediy train " SMALL " projector.hidden=16 projector.out=8 batch=8 warmup=0 workers=1 log.every=1 "
#define BYOL TRAIN "lambda1=0 lambda2=0 "

static inline int hostile_enter(void **state) {
  program_enter(state);
  assert_runs("ediy scenes out=s images=32 val=8 classes=2 size=24");
  assert_runs("ediy export weights=random " SMALL " out=w.safetensors");
  return 0;
}

#endif
