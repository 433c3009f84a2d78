/* A unit made ready to be judged: the operations behind it as cases in memory, on tensors of the dump, and which of their results add up to
 * which of its tensors. */
#ifndef EDIY_ORACLE_UNIT_WORK_H
#define EDIY_ORACLE_UNIT_WORK_H

#include "oracle/memory_case.h"
#include "oracle/units.h"

enum {
  WORK_OUTPUTS = 4,
  WORK_CASES = 6, /* a value is read by few layers and losses */
  WORK_INPUTS = 48,
  WORK_RESULT = 64 /* bytes of a result's name */
};

struct work_output {
  unit_name name;
  const struct dump_entry *entry; /* null: the dump lacks it */
  int ndim;                       /* of the dump, as the network has it */
  ptrdiff_t shape[4];
  bool is_index;
  struct {
    int which; /* case */
    char result[WORK_RESULT];
  } part[WORK_CASES]; /* what adds up to it */
  int parts;
  const struct tensor *start;   /* null for nothing, or what was there before and is added to */
  const struct tensor *copy_of; /* null, or it must be this to the bit, and has no parts */
  bool cancels;                 /* its truth is zero but for rounding, by construction: a bias in front of a batch norm */
};

struct unit_work {
  const char *op;        /* for reports: "conv", "gradient", ... */
  struct memory_case *c; /* WORK_CASES, owned */
  int cases;
  struct work_output output[WORK_OUTPUTS];
  int outputs;
  const struct dump_entry *input[WORK_INPUTS]; /* what was read, in order and once each */
  int inputs;
  unit_name lacks;          /* empty, or an input that the dump lacks or has in another form: nothing can be judged */
  void *masked[WORK_CASES]; /* owned: upstream gradients behind the dump's ReLUs, and other numbers that the dump has in another form */
  int masks;
};

/* Kinds forward, match, loss, gradient, weights, optimiser, ema; unit_work_free in any case. What the dump lacks is in the outputs and in
 * lacks: fails only for lack of memory. plan: only outputs and inputs are wanted, and no number is looked at. */
MUST_CHECK bool unit_work_make(struct unit_work *w, const struct units *u, const struct unit *at, bool plan, struct error *err);
void unit_work_free(struct unit_work *w);

#endif
