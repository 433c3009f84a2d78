/* Two backends side by side: the same steps, each on its own previous results, and how far they drift apart.
 *
 * Each step is run by A, then by B, and compared by the digests of their tensors (digest.h), group by group: |b - a| / |a| over all the
 * tensors of a group, estimated from some hundreds to thousands of projections, to a few per cent. Losses and matched regions are compared
 * in full.
 */
#ifndef EDIY_ORACLE_LOCKSTEP_H
#define EDIY_ORACLE_LOCKSTEP_H

#include "base/sha256.h"
#include "oracle/step_run.h"

enum lockstep_group {
  LOCKSTEP_VIEWS,
  LOCKSTEP_FORWARD,
  LOCKSTEP_BACKWARD,
  LOCKSTEP_GRADIENT,
  LOCKSTEP_PARAMETER,
  LOCKSTEP_TARGET,
  LOCKSTEP_GROUPS
};
extern const char *const lockstep_group_names[LOCKSTEP_GROUPS];

struct lockstep_step {
  struct step_losses a, b;
  ptrdiff_t regions, matched_apart; /* regions matched, over both rules and views; those matched to another */
  double drift[LOCKSTEP_GROUPS];    /* relative L2; 0: equal, or no such tensor */
};

/* SHA-256 of every tensor of a run, in the order of execution. */
struct lockstep_hashes {
  unsigned char (*hash)[32];
  int count, capacity;
};

struct lockstep {
  struct step_runner *a, *b;
  struct lockstep_hashes hashes_a, hashes_b; /* so far */
  struct lockstep_tensor *tensor;            /* A's of the step at hand */
  int count, capacity, next;
  struct lockstep_step *now;
  double off[LOCKSTEP_GROUPS], norm[LOCKSTEP_GROUPS];
};

/* Both runners begin with the state of the source. lockstep_end when true was returned. */
MUST_CHECK bool lockstep_begin(struct lockstep *l, struct step_source *source, const struct step_backend *a, const struct step_backend *b,
                               struct error *err);
MUST_CHECK bool lockstep_next(struct lockstep *l, struct lockstep_step *step, struct error *err);
void lockstep_end(struct lockstep *l);

/* Runs the steps on b once more. *same: every tensor had the bits of these hashes; else where gets the name of the first that had not. */
MUST_CHECK bool lockstep_again(const struct lockstep_hashes *hashes, struct step_source *source, const struct step_backend *b, int steps,
                               bool *same, char where[TENSOR_MAX_NAME], struct error *err);

#endif
