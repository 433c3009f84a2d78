/* The class that every tensor of a step is declared in, by a backend in mixed precision (mixed.h). */
#ifndef EDIY_ORACLE_STEP_CLASS_H
#define EDIY_ORACLE_STEP_CLASS_H

#include "oracle/step_run.h"

/* m: the model of the steps, for what its layers are. A gradient that several operations add to has the class of the one that may be off
 * most. */
enum precision step_class(const struct step_backend *b, const struct model_f32 *m, const struct step_event *e);

#endif
