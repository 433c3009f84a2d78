/* What a dump declares of every tensor of a step: its class, by a backend in mixed precision (mixed.h), and the longest chain of additions
 * behind it. */
#ifndef EDIY_ORACLE_STEP_CLASS_H
#define EDIY_ORACLE_STEP_CLASS_H

#include "oracle/step_run.h"

/* m: the model of the steps, for what its layers are. A gradient that several operations add to has the class of the one that may be off
 * most. */
enum precision step_class(const struct step_backend *b, const struct model_f32 *m, const struct step_event *e);

/* Additions that the backend makes one after the other on the way to this tensor, at most: those of its products, where its table says so,
 * and no less than what need not be declared. */
double step_chain(const struct step_backend *b, const struct model_f32 *m, const struct step_event *e);

#endif
