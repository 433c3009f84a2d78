/* Running `ediy` and `oracle` as they are linked with the shim's GPU, from outside. The including file defines _GNU_SOURCE first, for
 * realpath. */
#ifndef EDIY_TESTS_CUDA_SHIM_PROGRAMS_H
#define EDIY_TESTS_CUDA_SHIM_PROGRAMS_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cmocka.h"
#include "support/program.h"

/* The keys of the smallest run, of the images that shim_programs_enter draws. */
#define SHIM_RUN                                                                                                                           \
  "data=s/train backbone=small stem=cifar size=16 batch=2 epochs=1 warmup=0 lambda1=0 lambda2=0 projector.hidden=8 projector.out=4 "       \
  "log.every=1 checkpoint.every=1 workers=1"

/* The variable of the environment becomes the path of what is `below` the build. */
static inline void shim_programs_name(const char *variable, const char *below) {
  const char *build = getenv("BUILD");
  char path[PATH_MAX], absolute[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", build ? build : "build", below);
  assert_non_null(realpath(path, absolute));
  setenv(variable, absolute, 1);
}

/* A group's set-up; program_leave is its tear-down. Then `ediy` is the shim's, $ORACLE its oracle, and s has images. */
static inline int shim_programs_enter(void **state) {
  shim_programs_name("ORACLE", "shim/oracle");
  shim_programs_name("EDIY", "shim/ediy");
  program_enter(state);
  assert_runs("ediy scenes out=s images=8 val=4 classes=2 size=24");
  return 0;
}

/* Exit status 2, nothing on standard output, and as the last line of standard error, after those of the shim and of the run, one with these
 * words. */
static inline void shim_programs_end_with(const char *words, const char *command) {
  const struct outcome *o = program_run("%s", command);
  size_t n = strlen(o->err);
  const char *last = o->err + (n ? n - 1 : 0);
  while (last > o->err && last[-1] != '\n') last--;
  if (o->status != 2 || o->out[0] || strncmp(last, "ediy: ", 6) != 0 || !strstr(last, words))
    fail_msg("%s\nexit status %d, printed \"%s\", ends with \"%s\"; expected 2, nothing, \"%s\"", command, o->status, o->out, last, words);
}

#endif
