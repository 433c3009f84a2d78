/* Checkpoints of runs that differ by rounding: how far they may be apart is measured by runs of the reference with products that are off
 * (support/moved.h), tensor by tensor, in the largest element. */
#ifndef EDIY_TESTS_TRAIN_NEAR_H
#define EDIY_TESTS_TRAIN_NEAR_H

#include <float.h>

#include "support/cmocka.h"
#include "support/moved.h"
#include "support/support.h"
#include "train/checkpoint.h"
#include "train/folder.h"

/* Of folder/out; whole: the hash is looked at. */
static inline void near_open(struct checkpoint *c, const char *folder, const char *out, int64_t step) {
  char where[FOLDER_PATH + 64], path[CHECKPOINT_PATH];
  struct error err;
  snprintf(where, sizeof where, "%s/%s", folder, out);
  checkpoint_path(where, step, path);
  if (!checkpoint_open(c, path, &err)) fail_msg("%s", err.text);
}

static inline double near_distance(const struct tensor *a, const struct tensor *b) {
  double most = 0;
  for (ptrdiff_t i = 0; i < tensor_count(a); i++) {
    double e = fabs(tensor_at(a, i) - tensor_at(b, i));
    if (isnan(e)) return e;
    most = fmax(most, e);
  }
  return most;
}

struct near {
  struct checkpoint expected, moved[MOVED_DRAWS];
  int64_t step;
};

/* By how far the moved runs are in this tensor, and a spacing of floats at its largest element. */
static inline double near_allowed(const struct near *g, const char *name) {
  const struct tensor *e = safetensors_find(&g->expected.file, name);
  double moved_by[MOVED_DRAWS], largest = 0;
  for (int d = 0; d < MOVED_DRAWS; d++) moved_by[d] = near_distance(safetensors_find(&g->moved[d].file, name), e);
  for (ptrdiff_t i = 0; i < tensor_count(e); i++) largest = fmax(largest, fabs(tensor_at(e, i)));
  return moved_limit(moved_by) + FLT_EPSILON * largest;
}

/* The bias in front of a batch norm (0.bias of every head) has a gradient of exactly zero: what is there is rounding, and is judged beside
 * the weights of the same layer. */
static inline void near_check(const char *folder, const char *out, const struct near *g) {
  struct checkpoint c;
  near_open(&c, folder, out, g->step);
  assert_int_equal(c.file.count, g->expected.file.count);
  for (int i = 0; i < c.file.count; i++) {
    const struct tensor *t = &g->expected.file.tensor[i];
    const char *end = strstr(t->name, ".0.bias");
    double allowed = near_allowed(g, t->name), off = near_distance(safetensors_find(&c.file, t->name), t);
    if (end) {
      char weight[TENSOR_MAX_NAME];
      snprintf(weight, sizeof weight, "%.*s.0.weight", (int)(end - t->name), t->name);
      allowed = fmax(allowed, near_allowed(g, weight));
    }
    if (!(off <= allowed)) fail_msg("%s: %s is off by %.3g, allowed %.3g", out, t->name, off, allowed);
  }
  checkpoint_close(&c);
}

static inline void near_close(struct near *g) {
  checkpoint_close(&g->expected);
  for (int d = 0; d < MOVED_DRAWS; d++) checkpoint_close(&g->moved[d]);
}

#endif
