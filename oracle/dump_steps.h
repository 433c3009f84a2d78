/* Dumps of training steps (step_run.h into dump.h), and how far right implementations may be from them (moved.h). */
#ifndef EDIY_ORACLE_DUMP_STEPS_H
#define EDIY_ORACLE_DUMP_STEPS_H

#include "oracle/dump.h"
#include "oracle/step_run.h"

struct dump_steps_result {
  int tensors;
  double bytes;   /* of the tensors themselves */
  double seconds; /* of the steps, watched */
  struct step_losses last;
};

struct dump_steps_options {
  int steps;
  enum dump_kind kind;
  bool no_states; /* leave out what was before the first step: it follows from the seed */
};

/* Runs the steps and writes them to the folder, whole or not at all. */
MUST_CHECK bool dump_steps(struct step_source *source, const struct step_backend *b, const struct dump_steps_options *o, const char *folder,
                           struct dump_steps_result *result, struct error *err);

/* Runs the steps of a dump of this source again, `draws` times, in float with moved sums, and writes into its manifest how far each tensor
 * was off at most: "drift", the relative L2 difference (of a digest dump estimated from the sketches). */
MUST_CHECK bool dump_drift(struct step_source *source, const char *folder, int draws, struct error *err);

#endif
