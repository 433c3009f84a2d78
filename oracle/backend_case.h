/* A case on any backend: conv, linear, norm, relu, maxpool, avgpool, match, loss, lars and ema through a table of operations
 * (op/backend.h).
 *
 * What a table has no operation for is not expected of it: the similarities of match, and the gradients of batch norm with given
 * statistics. ReLU is that of batch norm with mean 0, variance 1, gamma 1, beta 0 and epsilon 0, whose dresidual is the masked gradient.
 */
#ifndef EDIY_ORACLE_BACKEND_CASE_H
#define EDIY_ORACLE_BACKEND_CASE_H

#include "op/backend.h"
#include "oracle/run.h"
#include "oracle/variant.h"

/* How an operation behaved, apart from the numbers that it left. */
enum conduct_kind {
  CONDUCT_GOOD,
  CONDUCT_OUTSIDE,          /* wrote outside its outputs, or to an input */
  CONDUCT_NONDETERMINISTIC, /* called again with the same inputs, gave other bits */
  CONDUCT_STALE             /* gave other bits in fresh memory than in memory that it had used for other inputs */
};

struct conduct {
  enum conduct_kind kind;
  char text[256]; /* what happened, unless good */
};

/* Whether a backend can be asked for this operation. */
bool backend_case_known(const char *op);

/* The case without what a table has no operation for, and with activations rounded to bf16 where the table stores them so: what it can be
 * judged by. Expected values are then of other inputs (stored.values is not null): whoever judges must not hold the reference to them.
 * Shares everything else with the original, which must outlive it. */
struct backend_part {
  struct case_file file;
  struct tensor *tensor; /* owned */
  int *by_name;          /* owned */
  struct variant stored; /* zero where activations are floats */
};
/* table: null for one of floats. */
MUST_CHECK bool backend_part_make(struct backend_part *part, const struct case_file *c, const struct backend *table, struct error *err);
void backend_part_free(struct backend_part *part);

/* Additions that the table makes one after the other on the way to this result of the case, or, where it is null, to any, at most: those of
 * its products, where it says so (conv_chain of op/backend.h), and no less than what need not be declared. table: may be null. */
double backend_case_chain(const struct case_file *c, const struct backend *table, const char *result);

/* What conv_chain is asked for a linear layer: the convolution of m images of one pixel. */
struct conv backend_conv_of(const struct linear *g);

/* Runs the case once; results are left in *results, which the caller ends (run_end) in any case. Fails when the case cannot be run. */
MUST_CHECK bool backend_case_once(const struct case_file *c, const struct backend *table, struct case_run *results, struct conduct *conduct,
                                  struct error *err);

/* Runs it three times in the same storage, first with other inputs, and once in fresh memory; the results are those of the second time, so
 * that what was kept from other inputs is in them. All but the first must agree to the bit. */
MUST_CHECK bool backend_case_run(const struct case_file *c, const struct backend *table, struct case_run *results, struct conduct *conduct,
                                 struct error *err);

#endif
