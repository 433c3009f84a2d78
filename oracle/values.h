/* Numbers of tensors as doubles, and what tensors are to each other. */
#ifndef EDIY_ORACLE_VALUES_H
#define EDIY_ORACLE_VALUES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/safetensors.h"

bool tensor_is_index(const struct tensor *t); /* I32, I64 */
bool tensor_is_float(const struct tensor *t); /* F32, F64, BF16 */
bool tensor_same_shape(const struct tensor *a, const struct tensor *b);

/* Whether a file has only such tensors as the rules know: F16 they do not. */
MUST_CHECK bool values_known(const struct safetensors *f, struct error *err);

/* The elements of t as doubles, into to. */
void tensor_load(const struct tensor *t, double *to);

/* The same in new memory, free() by the caller; null without memory. */
double *tensor_values(const struct tensor *t);

/* The tensor of this name among count, or null. */
const struct tensor *tensor_find(const struct tensor *tensors, int count, const char *name);

#endif
