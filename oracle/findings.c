#include "oracle/findings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

json_t *findings_number(double x) { return isfinite(x) ? json_real(x) : json_string(isnan(x) ? "nan" : x > 0 ? "inf" : "-inf"); }

static json_t *numbers(const double *x, int count) {
  json_t *array = json_array();
  for (int i = 0; i < count; i++) json_array_append_new(array, findings_number(x[i]));
  return array;
}

json_t *findings_row(const char *op, const struct judged *j) {
  const struct finding *f = &j->finding;
  json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:s?}", "name", f->tensor, "op", op, "verdict", judgement_names[j->judgement],
                        "rule", f->rule ? f->rule : "", "where", f->where, "candidate", findings_number(f->candidate), "expected",
                        findings_number(f->expected), "error", findings_number(f->error), "allowed", findings_number(f->allowed),
                        "accepted", j->accepted);
  if (!o || !j->profiled) return o;
  const struct error_profile *p = &j->profile;
  json_object_set_new(o, "ratio", findings_number(p->ratio));
  json_object_set_new(o, "l2", findings_number(p->l2));
  json_object_set_new(o, "ulp", numbers(p->ulp, 3));
  json_object_set_new(o, "histogram", numbers(p->histogram, 16));
  return o;
}

/* Findings begin with an open brace alone in its line, which a run's log does not. */
static bool replaces_findings(const char *path, struct error *err) {
  char start[2];
  ptrdiff_t n = file_start(path, start, sizeof start);
  return n <= 0 || (n == 2 && memcmp(start, "{\n", 2) == 0) ||
         fail(err, "json=%s is there and holds no findings, and would be written over; choose another name", path);
}

bool findings_wanted(const char *path, struct error *err) { return !path[0] || (replaces_findings(path, err) && file_writable(path, err)); }

bool findings_save(const char *path, json_t *root, struct error *err) {
  char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
  bool ok = text ? file_replace(path, text, strlen(text), err) : fail(err, "%s: out of memory, or a name that is not UTF-8", path);
  free(text);
  json_decref(root);
  return ok;
}

bool findings_write(const char *path, const char *command, const char *subject, const char *against, const char *precision, int exit,
                    json_t *rows, struct error *err) {
  return findings_save(path,
                       json_pack("{s:s,s:s,s:s,s:s?,s:s,s:i,s:O}", "format", "ediy-findings-1", "command", command, "subject", subject,
                                 "against", against, "precision", precision, "exit", exit, "rows", rows),
                       err);
}
