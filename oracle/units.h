/* The units of a training step, in the order of execution: each layer forward, the matches, the losses, each gradient, each update. A unit
 * is what is judged on its own, from inputs that stand in the dump: what is wrong in one unit is wrong nowhere else.
 *
 *     state       the states before the first step             given: only that they are there
 *     input       the two views of a micro-batch               given
 *     augment     a view of one image                      from the image and the draws, where the dump has them
 *     schedule    learning rate and tau of the step            from the schedule of the manifest, where it has one
 *     forward     one layer: y, and the running statistics     from its inputs, its parameters, and the statistics before
 *     match       the four kinds of indices                    from the teacher's maps
 *     loss        byol, rdem, riem of one view                 from projections, predictions, regions and indices
 *     gradient    dy of one value                              the sum over all that read it: layers, from their own dy, and losses
 *     weights     dweight and dbias of one layer               from its input and dy, added to what was accumulated before
 *     optimiser   gradient, momentum, parameter                LARS
 *     ema         a parameter of the target                    from before, and the online parameter after the step
 *
 * Decisions are the dump's own: masks of ReLUs are y > 0 of the dump, winners of the max pool those of its x, indices its indices. That
 * each is right, or within rounding of it, is judged where it is made.
 *
 * Which tensors there must be follows from the manifest's attributes alone: one that is missing is a finding, and so is one too many. */
#ifndef EDIY_ORACLE_UNITS_H
#define EDIY_ORACLE_UNITS_H

#include "model/net.h"
#include "oracle/dump.h"

enum unit_kind {
  UNIT_STATE,
  UNIT_INPUT,
  UNIT_SCHEDULE,
  UNIT_AUGMENT,
  UNIT_FORWARD,
  UNIT_MATCH,
  UNIT_LOSS,
  UNIT_GRADIENT,
  UNIT_WEIGHTS,
  UNIT_OPTIMISER,
  UNIT_EMA
};

enum unit_network { UNIT_ONLINE, UNIT_TARGET, UNIT_TEACHER, UNIT_NETWORKS };
extern const char *const unit_network_names[UNIT_NETWORKS];

struct unit {
  enum unit_kind kind;
  int step, micro;
  int view; /* 1 or 2; 0: neither */
  enum unit_network network;
  int index; /* layer of the network, parameter (optimiser, ema), or image (augment) */
};

struct units {
  const struct dump *d;
  struct model_config config;
  int steps, micro_batches;
  ptrdiff_t cells, channels;     /* of the last map: regions of a view, numbers of one */
  struct net net[UNIT_NETWORKS]; /* the teacher's is empty without one */
  struct unit *unit;             /* in the order of execution */
  int count, capacity;
};

/* d must outlive it. Fails for a digest dump, and for attributes that make no network. */
MUST_CHECK bool units_open(struct units *u, const struct dump *d, struct error *err);
void units_close(struct units *u);

/* Names that tensors have in the dump, into name. */
typedef char unit_name[TENSOR_MAX_NAME];
void units_value(const struct units *u, const struct unit *at, int value,
                 unit_name name); /* forward y in at's network, view, micro-batch */
void units_parameter(const struct units *u, enum unit_network network, int parameter, int step, unit_name name); /* before this step */
void units_statistic(const struct units *u, const struct unit *at, int parameter, unit_name name);               /* before this unit */
void units_momentum(const struct units *u, int parameter, int step, unit_name name);                             /* before this step */
/* dweight or dbias before this pass; false where nothing is accumulated yet. */
bool units_buffer(const struct units *u, const struct unit *at, const char *tensor, unit_name name);

/* The shape that a value or parameter has in a dump; returns its number of dimensions. */
int units_value_shape(const struct value *v, ptrdiff_t shape[4]);

#endif
