/* Discrete decisions of one operation: is what the candidate decided within rounding of what the truth has? */
#ifndef EDIY_ORACLE_DECIDE_H
#define EDIY_ORACLE_DECIDE_H

#include "oracle/bench.h"
#include "oracle/compare.h"

/* How many may: an error of a standard deviation of a quarter of what is allowed (accept.h: 4 sqrt(L)) turns a decision that is `far` from
 * a tie with the probability p = Phi(-4 far / allowed) or less. Decisions of one group (a channel, an image) share roundings and may turn
 * together, so that with m the sum of p over a group, the number turned has a mean of at most sum m and a variance of at most sum m (1 +
 * m); more than mean + 3.1 standard deviations (99.9 %) + 3 (for the skewness of small numbers) have another cause. What is not finite
 * is decided by no rounding: p = 0. */

/* Batch norm with ReLU: where the candidate's y (c) is open and the truth's is closed, or the other way round, what the ReLU saw must be
 * within rounding of zero; and there must not be too many. Else f says where it is not. */
bool relu_within_rounding(const struct bench *b, const double *c, struct finding *f);

/* Indices of matched regions, b x n (truth: d1, d2, s12 or s21): each must be as good as the best within rounding; of certain ties the
 * lowest index. Not too many may differ from the truth's. */
bool match_within_rounding(const struct bench *b, const struct tensor *truth, const double *c, struct finding *f);

#endif
