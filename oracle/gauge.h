/* Gauges: for each element of a result, what its terms add up to in absolute value; and the other things that the acceptance rule needs
 * to know about an operation.
 *
 * conv, linear, avgpool, maxpool, relu, match   measured: the reference itself, run on absolute values, which is the sum of |a| |b|
 * norm, loss, lars, ema                         derived (gauge_norm.c, gauge_loss.c, gauge_optimise.c)
 *
 * Other operations (heads, blocks, networks, steps, evaluation, augmentation) have none.
 */
#ifndef EDIY_ORACLE_GAUGE_H
#define EDIY_ORACLE_GAUGE_H

#include <math.h>
#include <stdbool.h>

#include "base/error.h"
#include "oracle/precision.h"
#include "oracle/run.h"

/* Whether results of this operation have gauges. */
bool gauge_known(const char *op);

/* Leaves in g and g2, two runs that were begun on the case c, a result of every expected floating-point tensor of c under its name: G, and
 * the root of the sum of squared terms (or G itself where inputs are not multiplied). g2 may be null. chain: the longest that is
 * declared. */
MUST_CHECK bool gauge_compute(const struct case_file *c, double chain, struct case_run *g, struct case_run *g2, struct error *err);

/* Terms in the longest sum behind the result of this name. */
double gauge_terms(const struct case_file *c, const char *name);

/* What this result of the case was before the operation added to it, as doubles in new memory (free() by the caller): running statistics,
 * parameters, momentum times what was there, moving averages. *start is null where the operation does not add. g: gauge_compute's. */
MUST_CHECK bool gauge_start(const struct case_file *c, const struct case_run *g, const struct tensor *result, double **start,
                            struct error *err);

/* Roundoffs by which one factor of the whole increment may be off: yardstick.common (accept.h). */
double gauge_common(const struct case_file *c, const char *name, double chain);

/* Roundoffs by which the factor of what was there before may be off: yardstick.kept. */
double gauge_kept(const char *name);

/* Whether the errors of one channel depend on each other: batch norm, whose channels share a mean and a deviation, and losses against the
 * mean region of another image. */
bool gauge_channels_share(const struct case_file *c);

/* True if every partial sum of this result, in any order, is a number of the accumulator's format, and its inputs and the result y are
 * numbers of theirs, in bits and in range: then a right kernel has the very bits of the truth. Of Winograd's, where p declares it, the
 * transformed inputs and weights are, too, and sums are of quarters. g: its gauge. */
bool gauge_exact(const struct case_file *c, const struct tensor *y, const struct tensor *g, const struct precision_class *p);

/* What the errors of sums within the operation are carried into the result by (yardstick.carried), as doubles in new memory; null where
 * there are none. */
MUST_CHECK bool gauge_carried(const struct case_run *g, const struct tensor *result, double **carried, struct error *err);

/* A plain sum of L terms of which N are one number, not 0. Between two powers of two the rounding is the same at each of their additions,
 * evenly one of [-u, u] of the sum: over the last N / 2 additions it adds up to 0.58 u N / 2 of it, which the rule "rms" (sqrt(L) u s)
 * covers for s of N / (3 sqrt(L)) sums. No sum is off by more than L u, for which the rule "element" ((4 sqrt(L) + 2) u G) needs a gauge
 * N / (4 sqrt(L) + 2) times as large. */
static inline double gauge_alike(double L, double N) { return fmax(1, N / (3 * sqrt(L))); }
static inline double gauge_alike_bound(double L, double N) { return fmax(1, N / (4 * sqrt(L) + 2)); }

bool gauge_norm(struct case_run *g, double chain);
bool gauge_loss(struct case_run *g);

/* Puts the gauge of a Winograd convolution (gauge_winograd.c) in place of the measured one of out.y in `to`; g: a run of the same case to
 * read inputs by. Other kernels and strides are left alone: they are convolved directly. */
MUST_CHECK bool gauge_winograd(struct case_run *g, struct case_run *to);
bool gauge_lars(struct case_run *g, double chain);
bool gauge_ema(struct case_run *g);
double gauge_common_lars(const struct case_file *c, const char *name, double chain);
double gauge_common_ema(const struct case_file *c, const char *name);

#endif
