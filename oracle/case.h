/* A golden case: one operation (or network, or optimisation step) with its inputs and the results that are expected of it, as a
 * safetensors file. Anyone can write one, from PyTorch or from anything else, and hold this project, or a kernel, to it.
 *
 *     metadata   format "ediy-case-1"; op; attrs (a flat JSON object); layout; optional float32, float32_l2 (what a good float run is
 *                off by, as JSON objects from tensor or group to a number)
 *     in.* param.* grad_out.*          what goes in: every number exact in float, so that both precisions start from the same ones
 *     in.before.NAME                   optional: what grad_in.NAME or grad_param.NAME holds before; the operation adds to it
 *     out.* grad_in.* grad_param.*     what is expected; NAME#digest stands for a digest of the tensor NAME (formula.h)
 */
#ifndef EDIY_ORACLE_CASE_H
#define EDIY_ORACLE_CASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/safetensors.h"

enum { CASE_MAX_NAME = 256 };

struct case_file {
  struct safetensors file;
  char name[CASE_MAX_NAME];                  /* folder and file without ending: conv/1x1_s1 */
  const char *op;                            /* of the metadata */
  const char *layout;                        /* "NHWC,KRSC" or "pytorch" */
  json_t *attributes, *float32, *float32_l2; /* objects; the last two may be null */
};

/* Opens and checks: format, metadata, and that every tensor has a known prefix, at least one element, and belongs to an operation that
 * says what it is. On failure nothing is held. */
MUST_CHECK bool case_open(struct case_file *c, const char *path, struct error *err);
void case_close(struct case_file *c);

/* True if this tensor is expected of a runner (out.*, grad_in.*, grad_param.*), false if it is given to it. */
bool case_expected(const struct tensor *t);

/* Attributes. Each fails, with the file and the key, when the key is missing, of another type or out of range. */
MUST_CHECK bool case_number(const struct case_file *c, const char *key, double *value, struct error *err);
MUST_CHECK bool case_integer(const struct case_file *c, const char *key, ptrdiff_t min, ptrdiff_t max, ptrdiff_t *value, struct error *err);
MUST_CHECK bool case_flag(const struct case_file *c, const char *key, bool *value, struct error *err);
MUST_CHECK bool case_text(const struct case_file *c, const char *key, const char **value, struct error *err);
/* choices: count words; *value gets the index of the one the attribute holds. */
MUST_CHECK bool case_choice(const struct case_file *c, const char *key, const char *const *choices, int count, int *value,
                            struct error *err);
bool case_has(const struct case_file *c, const char *key);

#endif
