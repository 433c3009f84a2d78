/* Discrete decisions of a network, carried from a candidate's run into the truth's.
 *
 * Whether a ReLU is open changes a gradient by whole terms, yet hangs on the sign of a number that may lie within rounding of zero: two
 * correct float implementations decide a few of a million ReLUs differently, and then differ by per cents in a gradient. So the truth (a
 * run in double) is made to decide as the candidate did, and only then are gradients compared; that each decision it was made to change
 * lies within rounding is checked separately.
 *
 * Both runs are watched through the trace of the model (model/trace.h). Forcing leaves the truth's forward values as they are: a ReLU that
 * must be open, but is closed, gets the smallest normal double in place of 0; one that must be closed gets a gradient of 0 from above. In
 * front of the max pool the candidate's winner of a window, where the truth has another, is raised to just above the truth's.
 */
#ifndef EDIY_ORACLE_DECISIONS_H
#define EDIY_ORACLE_DECISIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "model/trace.h"

struct decision_layer;

struct decisions {
  struct decision_layer *layer; /* one for each forward output that the candidate's run made, in order */
  int count, capacity;
  int next;       /* the layer the truth makes next */
  bool broken;    /* out of memory, or the two runs do not make the same outputs */
  ptrdiff_t seen; /* ReLUs and windows compared */
  ptrdiff_t flips;
  double widest;   /* the furthest of them from a tie: value, or distance of the two winners, of the max of its tensor */
  char where[128]; /* network, view, layer and flat index of that flip */
};

/* Watchers; d is zero-initialised, and must outlive them. Record the candidate's run, then force the truth's (double). */
struct trace decisions_record(struct decisions *d);
struct trace decisions_force(struct decisions *d);
void decisions_free(struct decisions *d);

#endif
