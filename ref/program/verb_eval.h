/* The evaluations with their results as values, for verbs that compare (ediy demo). */
#ifndef EDIY_PROGRAM_VERB_EVAL_H
#define EDIY_PROGRAM_VERB_EVAL_H

#include "base/error.h"
#include "eval/interval.h"

/* `ediy eval knn ARGUMENTS` and `ediy eval linear ARGUMENTS`, which print what they measure; *accuracy (may be null) gets the accuracy of
 * the first k, or of the linear classifier, on the test images. */
MUST_CHECK bool eval_knn(int count, char *const *arguments, struct share *accuracy, struct error *err);
MUST_CHECK bool eval_linear(int count, char *const *arguments, struct share *accuracy, struct error *err);

#endif
