/* What one tensor of a candidate is measured by: the arrays of the acceptance rule (accept.h), or the relative rule where the operation has
 * no gauge. A tensor that several operations contribute to is measured by the sum of their measures. */
#ifndef EDIY_ORACLE_MEASURE_H
#define EDIY_ORACLE_MEASURE_H

#include "oracle/accept.h"
#include "oracle/bench.h"

struct measure {
  const struct precision_class *p;
  struct tensor truth;                    /* name and shape; its numbers are y */
  double *y, *r, *g, *g2;                 /* owned; g2 is g where inputs are not rounded */
  double *start, *sizes;                  /* owned, or null: accept.h */
  double *carried;                        /* owned, or null: accept.h */
  const double *other;                    /* borrowed: null, or the same tensor of another pass, which the audit takes for stale memory */
  double *lower;                          /* owned: the reference on inputs of the next lower precision */
  double chain, common, kept;             /* accept.h */
  bool exact, channels_share, rows_share; /* accept.h */
  bool relative;                          /* judged by the tolerance alone; r, g, g2, lower are null */
  bool zero;                              /* the truth is zero but for rounding, by construction: nothing to audit */
  struct tolerance tolerance;
};

/* Of the result `name` of the bench. measure_free in any case. */
MUST_CHECK bool measure_make(const struct bench *b, const char *name, struct measure *m);
void measure_free(struct measure *m);

/* One more contribution to the same tensor: m becomes the measure of the sum, each contribution rounded before it is added. Neither may be
 * relative, and shapes are the same (of as many elements). */
MUST_CHECK bool measure_add(struct measure *m, const struct measure *part, struct error *err);

/* What was in the tensor before, and was added to: truth and gauge grow by it, and the bias rule looks at the increment alone. */
MUST_CHECK bool measure_add_start(struct measure *m, const struct tensor *before, struct error *err);

/* The rule on c, one double for each element; see accept_tensor. quick: only whether it passes matters. */
void measure_judge(const struct measure *m, const double *c, bool quick, struct finding *f);

/* What goes beside the verdict (candidate.h). */
struct error_profile {
  double ratio;         /* the closest error / allowed over all rules */
  double l2;            /* |c - y| / |y|, L2 norms */
  double ulp[3];        /* median, 99th percentile and largest error in units in the last place of y, of the declared output */
  double histogram[16]; /* elements by log2(error / allowed): [15] 1 and above, [14] from 1/2, ... [0] below 2^-14 */
};
void measure_profile(const struct measure *m, const double *c, const struct finding *f, struct error_profile *profile);

#endif
