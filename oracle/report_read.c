#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "oracle/report.h"

static const char *const verdict_names[REPORT_VERDICTS] = {"pass", "vacuous", "incomplete", "mismatch"};

enum { LARGEST = 1 << 30 }; /* bytes; a step of ResNet-50 gives about two million */

static const char *text_of(const json_t *o, const char *key) {
  const char *s = json_string_value(json_object_get(o, key));
  return s ? s : "";
}

/* A number, or one of the words for what JSON cannot hold; NaN for anything else. */
static double number_of(const json_t *value) {
  const char *word = json_string_value(value);
  if (json_is_number(value)) return json_number_value(value);
  if (word && strcmp(word, "inf") == 0) return INFINITY;
  if (word && strcmp(word, "-inf") == 0) return -INFINITY;
  return NAN;
}

/* "0.0/forward/online/1/layer1.0.conv1/y" into its six fields. */
static bool take_apart(struct report_row *row) {
  char *const fields[] = {row->step, row->phase, row->network, row->view, row->layer, row->tensor};
  const char *at = row->name;
  for (int i = 0; i < 6; i++) {
    size_t n = strcspn(at, "/");
    if (n == 0 || n >= REPORT_FIELD || (at[n] == '/') != (i < 5)) return false;
    memcpy(fields[i], at, n);
    fields[i][n] = 0;
    at += n + 1;
  }
  char *dot = strrchr(row->layer, '.'); /* a parameter belongs to its layer */
  bool parameter = strcmp(row->phase, "optimiser") == 0 || strcmp(row->phase, "ema") == 0 || strcmp(row->phase, "state") == 0;
  if (!parameter || !dot) return true;
  char what[2 * REPORT_FIELD + 2];
  snprintf(what, sizeof what, "%s %s", dot + 1, row->tensor);
  what[REPORT_FIELD - 1] = 0;
  memcpy(row->tensor, what, REPORT_FIELD);
  *dot = 0;
  return true;
}

static bool read_row(const json_t *o, int i, const char *path, struct report_row *row, struct error *err) {
  const json_t *ulp = json_object_get(o, "ulp"), *histogram = json_object_get(o, "histogram");
  *row = (struct report_row){.name = text_of(o, "name"), .op = text_of(o, "op"), .rule = text_of(o, "rule"), .where = text_of(o, "where")};
  if (!row->name[0]) return fail(err, "%s: row %d has no \"name\"", path, i);
  while (row->verdict < REPORT_VERDICTS && strcmp(text_of(o, "verdict"), verdict_names[row->verdict]) != 0) row->verdict++;
  if (row->verdict == REPORT_VERDICTS) {
    return fail(err, "%s: row %d: \"verdict\" is \"%s\", which is none of pass, vacuous, incomplete, mismatch", path, i,
                text_of(o, "verdict"));
  }
  row->accepted = text_of(o, "accepted");
  row->candidate = number_of(json_object_get(o, "candidate")), row->expected = number_of(json_object_get(o, "expected"));
  row->error = number_of(json_object_get(o, "error")), row->allowed = number_of(json_object_get(o, "allowed"));
  row->ratio = number_of(json_object_get(o, "ratio")), row->l2 = number_of(json_object_get(o, "l2"));
  for (size_t k = 0; k < 3; k++) row->ulp[k] = number_of(json_array_get(ulp, k));
  row->has_histogram = json_array_size(histogram) == REPORT_BINS;
  for (size_t k = 0; k < REPORT_BINS; k++) {
    double n = number_of(json_array_get(histogram, k));
    if (row->has_histogram && !(n >= 0 && isfinite(n))) return fail(err, "%s: row %d: \"histogram\" holds no counts", path, i);
    row->histogram[k] = n;
  }
  row->placed = take_apart(row);
  return true;
}

bool report_take(struct report *r, json_t *root, const char *path, struct error *err) {
  const json_t *rows = json_object_get(root, "rows");
  *r = (struct report){.root = root};
  bool ok = strcmp(text_of(root, "format"), "ediy-findings-1") == 0 ||
            fail(err, "%s: no findings: \"format\" is not \"ediy-findings-1\"; json=FILE of oracle replay writes such a file", path);
  ok = ok && (json_is_array(rows) || fail(err, "%s: \"rows\" is no array", path));
  r->command = text_of(root, "command"), r->subject = text_of(root, "subject");
  r->against = text_of(root, "against"), r->precision = text_of(root, "precision");
  r->exit = (int)json_integer_value(json_object_get(root, "exit"));
  size_t count = ok ? json_array_size(rows) : 0;
  r->row = calloc(count + 1, sizeof *r->row);
  ok = ok && (r->row || fail(err, "%s: out of memory for %zu rows", path, count));
  for (size_t i = 0; ok && i < count; i++) ok = read_row(json_array_get(rows, i), (int)i, path, &r->row[r->count++], err);
  if (!ok) report_free(r);
  return ok;
}

bool report_read(struct report *r, const char *path, struct error *err) {
  char *text;
  size_t size;
  json_error_t at;
  if (!file_read(path, LARGEST, &text, &size, err)) return false;
  json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &at);
  free(text);
  if (!root) return fail(err, "%s: line %d: no JSON: %s", path, at.line, at.text);
  return report_take(r, root, path, err);
}

void report_free(struct report *r) {
  free(r->row);
  json_decref(r->root);
  *r = (struct report){0};
}

int report_first(const struct report *r) {
  for (int i = 0; i < r->count; i++) {
    if (r->row[i].verdict == REPORT_MISMATCH || r->row[i].verdict == REPORT_INCOMPLETE) return i;
  }
  return -1;
}
