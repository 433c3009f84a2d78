/* The vacuity audit: a rule that has accepted a right tensor must reject wrong ones made of it. */
#ifndef EDIY_ORACLE_AUDIT_H
#define EDIY_ORACLE_AUDIT_H

#include "oracle/measure.h"

/* Whether the rule accepts c. context: the caller's. */
typedef bool audit_rule(const void *context, const double *c);

/* The first wrong tensor that the rule accepts, in words, or null in *accepted: zeros, the mean of each channel, another order of the
 * batch, the next lower precision, what was there before, zeros in place of the last elements, the same tensor of another pass (the last
 * four where the measure has them, and of numbers only). A wrong tensor that is right to the last bit of the output (of a constant tensor
 * the mean, of small integers any precision) proves nothing and is left out. c: has passed. numbers: false for indices, of which zeros, the
 * order of the batch and another pass mean something. */
MUST_CHECK bool audit(const struct measure *m, bool numbers, audit_rule *rule, const void *context, const double *c, const char **accepted,
                      struct error *err);

#endif
