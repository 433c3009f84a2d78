/* The line about a launch that failed, for tests of what runs launches on the CPU. */
#ifndef EDIY_TESTS_CUDA_REPORTED_H
#define EDIY_TESTS_CUDA_REPORTED_H

#include "cuda/device.h"
#include "cuda/shim_control.h"

/* Whether the launch before failed with these words. The next one may go well, whatever this finds. */
static inline void was_reported(const char *words) {
  const char *line = shim_failure();
  shim_clear();
  device_end();
  if (!strstr(line, words)) fail_msg("'%s' does not say '%s'", line, words);
}

#endif
