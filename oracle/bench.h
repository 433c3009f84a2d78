/* Everything that is known of a case before a candidate's tensor is looked at: the truth in double, the reference in the declared precision
 * and in the next lower one, the gauges. Decisions that the candidate made (ReLU) are forced into the truth here. */
#ifndef EDIY_ORACLE_BENCH_H
#define EDIY_ORACLE_BENCH_H

#include <stdbool.h>

#include "base/error.h"
#include "oracle/case.h"
#include "oracle/precision.h"
#include "oracle/run.h"
#include "oracle/variant.h"

struct bench {
  const struct case_file *original;
  const struct precision_class *p;
  double chain;
  const struct tensor *candidate; /* count */
  int count;
  const struct tensor *other; /* others: null, or what results of some names were in another pass, for the audit */
  int others;
  bool trusted;     /* the case has no expected values to hold the reference to */
  const char *only; /* null, or a name with * for anything: the results that are asked for */
  struct error *err;

  const struct case_file *work;    /* the case whose truth is meant: decisions of the candidate forced, or inputs rounded */
  struct variant forced;           /* where work is not the original */
  struct variant rounded, lowered; /* work with inputs of the declared precision, and of the next lower one */
  struct case_run truth, reference, lower, gauge, gauge2;
  bool has_gauge, masked; /* masked: batch norm with ReLU */
};

/* The fields down to err are the caller's, the others zero. bench_close in any case. Fails where there is nothing to judge by: the
 * reference cannot compute the case, or, unless it is trusted, disagrees with it. */
MUST_CHECK bool bench_open(struct bench *b);
void bench_close(struct bench *b);

/* Whether the reference in double agrees with what the case expects. */
MUST_CHECK bool bench_reference_agrees(const struct case_file *c, struct error *err);

/* Whether the declared inputs are fewer bits than what is accumulated: only then does G2 matter. */
bool bench_rounds_inputs(const struct precision_class *p);

/* What elements of a result of the truth may be off by in the candidate: the rule "element", with 2 u_in G for rounded inputs. */
struct bench_limit {
  const struct tensor *y, *g; /* the truth's result and its gauge */
  double out, gauge, least;
};
struct bench_limit bench_limit_of(const struct bench *b, const char *name);
double bench_allowed(const struct bench_limit *limit, ptrdiff_t i);

#endif
