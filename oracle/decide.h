/* Discrete decisions of one operation: is what the candidate decided within rounding of what the truth has? */
#ifndef EDIY_ORACLE_DECIDE_H
#define EDIY_ORACLE_DECIDE_H

#include "oracle/bench.h"
#include "oracle/compare.h"

/* Batch norm with ReLU: where the candidate's y (c) is open and the truth's is closed, or the other way round, what the ReLU saw must be
 * within rounding of zero. Else f says where it is not. */
bool relu_within_rounding(const struct bench *b, const double *c, struct finding *f);

/* Indices of matched regions, b x n (truth: d1, d2, s12 or s21): each must be as good as the best within rounding; of certain ties the
 * lowest index. */
bool match_within_rounding(const struct bench *b, const struct tensor *truth, const double *c, struct finding *f);

#endif
