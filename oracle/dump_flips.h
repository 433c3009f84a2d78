/* ReLUs that fell the other way in a candidate: what dump_check.h allows for them. */
#ifndef EDIY_ORACLE_DUMP_FLIPS_H
#define EDIY_ORACLE_DUMP_FLIPS_H

#include "oracle/dump_check.h"
#include "oracle/dump_window.h"

/* Judges again, in the order of execution, what drift alone does not explain. first: the row of A's first tensor. */
MUST_CHECK bool check_allow_flips(struct dump_check *c, const struct dump_side *a, int first, struct error *err);

#endif
