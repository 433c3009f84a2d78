/* Mutation: every fault of the catalogue, tried on random cases, one at a time. A fault is killed when the judge rejects a result of it,
 * and located when every tensor that the judge names is one that the fault can spoil. Inputs on which a fault changes no bit do not
 * count. */
#ifndef EDIY_ORACLE_MUTATE_H
#define EDIY_ORACLE_MUTATE_H

#include <stdint.h>

#include "base/error.h"
#include "oracle/mutants/faults.h"

struct fault_score {
  int tries;     /* cases on which it changed a bit */
  int kills;     /* of them rejected */
  int located;   /* of them with the right tensors named */
  int passed;    /* cases that it passed; the rest are VACUOUS: not rejected, nor accepted */
  int first;     /* the try that killed it first, from 1; 0: survived */
  char rule[64]; /* that the first kill broke */
  char tensor[64];
  char survived[400]; /* a case that it survived, one that it passed if there is one, as a command */
};

struct mutate_options {
  const char *op, *fault; /* null: all; a fault's whole name */
  int64_t seed;
  int cases; /* for each operation */
};

/* scores: FAULTS of them, zeroed by the caller. Calls progress, unless null, after each case. */
MUST_CHECK bool mutate_isolated(const struct mutate_options *o, struct fault_score *scores,
                                void (*progress)(const char *op, int done, int of), struct error *err);

#endif
