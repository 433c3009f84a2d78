/* Training steps, watched: every tensor of every step goes to a sink, in the order of execution, as dumps name them (dump.h).
 *
 *     struct step_runner *r;
 *     step_runner_open(&r, source, &backend, err)           // step_backend_named
 *     step_runner_states(r, &sink, err)             // 0.0/state/...
 *     step_runner_step(r, &sink, &losses, err)      // once for each step
 *     step_runner_close(r)
 */
#ifndef EDIY_ORACLE_STEP_RUN_H
#define EDIY_ORACLE_STEP_RUN_H

#include <stdbool.h>

#include "base/error.h"
#include "base/tensor.h"
#include "oracle/precision.h"
#include "oracle/step_source.h"

struct step_event {
  int step, micro; /* step: counted from 0, the first that the runner makes */
  const char *phase, *network;
  int view;
  const char *layer, *tensor;
  struct tensor data; /* in host memory, valid during the call; its name is the dump's */
};

struct step_sink {
  bool (*see)(void *context, const struct step_event *e, struct error *err); /* false ends the run */
  void *context;
};

struct step_losses {
  double total, rdem, riem, byol; /* means over the micro-batches */
  double lr, tau;
};

/* What computes the steps. One of the two tables is set. */
struct step_backend {
  const char *name;
  enum precision precision;
  bool mixed; /* of products: other tensors have classes of their own (step_class.h) */
  const struct backend_f32 *f32;
  const struct backend_f64 *f64;
  bool device; /* its memory may not be the host's */
};

/* "ref32", "ref64", or one of backends.h. Fails with the names there are, or with why that one cannot be used here. */
MUST_CHECK bool step_backend_named(const char *name, struct step_backend *b, struct error *err);

struct step_runner;

/* source: stays the caller's, and must outlive the runner. Several runners may share one. */
MUST_CHECK bool step_runner_open(struct step_runner **r, struct step_source *source, const struct step_backend *b, struct error *err);
MUST_CHECK bool step_runner_states(struct step_runner *r, const struct step_sink *sink, struct error *err);

/* The next step. sink: null for nobody; losses: may be null. */
MUST_CHECK bool step_runner_step(struct step_runner *r, const struct step_sink *sink, struct step_losses *losses, struct error *err);
void step_runner_close(struct step_runner *r); /* null is allowed */

/* The precision's own, oracle/twice/step_walk.c. */
struct step_walk_f32;
struct step_walk_f64;
#define DECLARE_WALK(bits)                                                                                                                 \
  struct step_walk_f##bits *step_walk_open_f##bits(struct step_source *source, const struct backend_f##bits *b, bool device,               \
                                                   struct error *err);                                                                     \
  bool step_walk_states_f##bits(struct step_walk_f##bits *w, const struct step_sink *sink, struct error *err);                             \
  bool step_walk_step_f##bits(struct step_walk_f##bits *w, const struct step_sink *sink, struct step_losses *losses, struct error *err);   \
  void step_walk_close_f##bits(struct step_walk_f##bits *w);
DECLARE_WALK(32)
DECLARE_WALK(64)
#undef DECLARE_WALK

#endif
