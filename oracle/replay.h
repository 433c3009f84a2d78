/* Replay: every tensor of a dumped training step judged from the dump's own inputs of it, unit by unit (units.h). What went wrong earlier
 * is an input like any other, so that only what is wrong itself is found. */
#ifndef EDIY_ORACLE_REPLAY_H
#define EDIY_ORACLE_REPLAY_H

#include "op/backend.h"
#include "oracle/candidate.h"
#include "oracle/unit_work.h"

struct replay_row {
  struct judged judged;    /* its finding's tensor is the name in the dump */
  const char *op;          /* "conv", "gradient", ... */
  const struct unit *unit; /* null: a tensor that belongs to none */
  bool given;              /* not made by the step: that it is there, and has its form, is all that is judged */
};

struct replay_options {
  int precision;                   /* enum precision, or -1: what the dump declares of each tensor */
  double chain;                    /* 0: what the dump declares */
  const struct backend_f32 *table; /* null, or a backend whose results are judged in place of the dump's, from the dump's inputs */
  const char *only;                /* null, or a pattern of names, where * matches anything: units without such a tensor are left out */
};

/* One row after the other, in the order of execution; false ends the replay. */
typedef bool replay_see(void *context, const struct replay_row *row);

struct replay {
  const struct units *u;
  struct replay_options options;
  replay_see *see;
  void *context;
  bool *known; /* entries of the dump that a unit has */
  bool ended;  /* see has ended it */
};

/* The fields down to context are the caller's. replay_close in any case. */
MUST_CHECK bool replay_open(struct replay *r, struct error *err);
void replay_close(struct replay *r);

/* Judges one unit. Units are independent of each other; in the order of units each entry of the dump is seen at most once. */
MUST_CHECK bool replay_unit(struct replay *r, const struct unit *at, struct error *err);

/* After all units: the entries that none of them has. */
void replay_extra(struct replay *r);

#endif
