/* The evaluations with their results as values, for verbs that compare (ediy demo). */
#ifndef EDIY_PROGRAM_VERB_EVAL_H
#define EDIY_PROGRAM_VERB_EVAL_H

#include "base/error.h"
#include "train/evaluate.h"

/* What `ediy eval knn ARGUMENTS` and `ediy eval linear ARGUMENTS` measure; *o gets the options that the arguments came to. */
MUST_CHECK bool eval_knn(int count, char *const *arguments, struct evaluate_knn_result *result, struct evaluate_knn_options *o,
                         struct error *err);
MUST_CHECK bool eval_linear(int count, char *const *arguments, struct linear_eval_result *result, struct evaluate_linear_options *o,
                            struct error *err);

#endif
