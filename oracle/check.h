/* A golden case from beginning to end: compute it, and judge what came out. */
#ifndef EDIY_ORACLE_CHECK_H
#define EDIY_ORACLE_CHECK_H

#include "oracle/compare.h"

/* Runs the case in float (bits 32) or double (64) on the reference backend and compares every expected tensor. A network in float whose
 * tensors are off is held to a second truth as well: the same network in double with the candidate's decisions (decisions.h). That network
 * must itself agree with the case in double; sound says that this is known (a check with 64 bits passed), else it is computed first.
 * Returns false when there is nothing to judge: an operation that is unknown, inputs that are missing or do not fit, memory written
 * outside its bounds. v: verdict_free by the caller when true was returned. */
MUST_CHECK bool case_check(const struct case_file *c, int bits, bool sound, struct verdict *v, struct error *err);

#endif
