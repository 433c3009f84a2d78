/* What verbs write with json=FILE. "ediy-findings-1" is what `oracle report` reads (report.h has the format). */
#ifndef EDIY_ORACLE_FINDINGS_H
#define EDIY_ORACLE_FINDINGS_H

#include <jansson.h>

#include "oracle/candidate.h"

/* A number that JSON can hold; others as "nan", "inf", "-inf". */
json_t *findings_number(double x);

/* Whether findings could be written to the file of json=FILE, and nothing else would be lost by it; true for an empty name. For before the
 * work. */
MUST_CHECK bool findings_wanted(const char *path, struct error *err);

/* Writes root as a file, whole or not at all, and lets go of it; null, as after a lack of memory, is an error. */
MUST_CHECK bool findings_save(const char *path, json_t *root, struct error *err);

/* A row: name, op, verdict, rule, numbers. Null without memory. */
json_t *findings_row(const char *op, const struct judged *j);

/* Writes the file, whole or not at all; rows: borrowed. against: null for none. */
MUST_CHECK bool findings_write(const char *path, const char *command, const char *subject, const char *against, const char *precision,
                               int exit, json_t *rows, struct error *err);

#endif
