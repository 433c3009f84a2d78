/* A page that shows what was found: findings of a run ("ediy-findings-1", written by `oracle replay json=FILE` and others) as one HTML file
 * that needs nothing beside it, neither network nor script.
 *
 *     {"format": "ediy-findings-1", "command", "subject", "against" (or null), "precision", "exit": 0..5,
 *      "rows": [{"name", "op", "verdict": "pass|vacuous|mismatch|incomplete", "rule", "where", "candidate", "expected", "error", "allowed",
 *                "ratio", "l2", "ulp": [p50, p99, max], "histogram": [16 counts], "accepted"}]}
 *
 * Rows are in execution order, and named as in a dump, STEP.MICRO/PHASE/NETWORK/VIEW/LAYER/TENSOR; rows with other names are listed, and
 * left out of the picture of the network. Of a row name and verdict are needed; what else is missing is shown as missing. Numbers that JSON
 * cannot hold are the strings "nan", "inf", "-inf".
 */
#ifndef EDIY_ORACLE_REPORT_H
#define EDIY_ORACLE_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/tensor.h"

enum report_verdict { REPORT_PASS, REPORT_VACUOUS, REPORT_INCOMPLETE, REPORT_MISMATCH, REPORT_VERDICTS };

/* Bin k of a histogram counts the elements whose |error| / allowed lies in [2^(k-15), 2^(k-14)); the first also what is below, the last all
 * that is above 1. The first REPORT_BINS_ALLOWED are within what is allowed. */
enum { REPORT_BINS = 16, REPORT_BINS_ALLOWED = 15, REPORT_FIELD = TENSOR_MAX_NAME };

struct report_row {
  const char *name, *op, *rule, *where, *accepted; /* of the JSON; empty where it has none */
  enum report_verdict verdict;
  double candidate, expected, error, allowed, ratio, l2, ulp[3]; /* NaN where it has none */
  double histogram[REPORT_BINS];
  bool has_histogram;
  /* The name, taken apart. layer of an optimiser's or average's row is that of the parameter ("conv1" of "conv1.weight"). */
  bool placed; /* the name has that form */
  char step[REPORT_FIELD], phase[REPORT_FIELD], network[REPORT_FIELD], view[REPORT_FIELD], layer[REPORT_FIELD], tensor[REPORT_FIELD];
};

struct report {
  json_t *root; /* owns the texts */
  const char *command, *subject, *against, *precision;
  int exit;
  struct report_row *row;
  int count;
};

/* Fails, with the row and the key, where the file is not what is said above. report_free it when true was returned. */
MUST_CHECK bool report_read(struct report *r, const char *path, struct error *err);
/* The same of findings in memory, which it takes, whatever it returns; path is for messages. */
MUST_CHECK bool report_take(struct report *r, json_t *root, const char *path, struct error *err);
/* Replays the dump in this folder (replay.h), and takes what is found. */
MUST_CHECK bool report_replay(struct report *r, const char *folder, struct error *err);
void report_free(struct report *r);

/* What a page begins with. The same bytes before they are replaced: another file under that name is somebody's. */
#define REPORT_BEGIN                                                                                                                       \
  "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n<meta name=\"generator\" content=\"oracle report\" />\n"

/* The first row that is wrong or incomplete; -1 if there is none. */
int report_first(const struct report *r);

/* The page, as a string; free() by the caller; null if memory is short. */
char *report_page(const struct report *r);

#endif
