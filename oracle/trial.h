/* A random case in memory with all that is expected of it, for trying a backend on many: mutate, proof, fuzz.
 *
 * Inputs are those of `oracle case make` with the same options (make_case.h). Expected are the results that the reference in double
 * computes; a judge computes them anew, so the case is judged as trusted. */
#ifndef EDIY_ORACLE_TRIAL_H
#define EDIY_ORACLE_TRIAL_H

#include "op/backend.h"
#include "oracle/backend_case.h"
#include "oracle/candidate.h"
#include "oracle/make_case.h"

struct trial { /* must not be copied */
  struct make_options options;
  struct made_case made;
  struct case_run truth;
  struct case_file whole; /* given and expected */
  struct tensor *tensor;
  int *by_name;
  struct backend_part part; /* what a backend can compute of it */
};

/* For this table, or for any of floats where it is null. Fails when the options make no case (a kernel larger than the image, ...).
 * trial_free in any case. */
MUST_CHECK bool trial_make(struct trial *t, const struct make_options *o, const struct backend *table, struct error *err);
void trial_free(struct trial *t);

/* Computes the case on the table, or, where a table has no such operation, by the plain backend's own. results: run_end by the caller. */
MUST_CHECK bool trial_run(const struct trial *t, const struct backend *table, bool thorough, struct case_run *results,
                          struct conduct *conduct, struct error *err);

/* Judges results of trial_run. j: judged_free when true was returned. */
MUST_CHECK bool trial_judge(const struct trial *t, const struct case_run *results, const struct precision_class *p, double chain,
                            struct judged_file *j, struct error *err);

/* The same of a backend in mixed precision (mixed.h). */
MUST_CHECK bool trial_judge_mixed(const struct trial *t, const struct case_run *results, enum precision declared, double chain,
                                  struct judged_file *j, struct error *err);

/* The first tensor that is wrong or missing, or null. */
const struct judged *trial_failure(const struct judged_file *j);

#endif
