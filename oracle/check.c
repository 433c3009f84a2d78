#include "oracle/check.h"

#include <string.h>

#include "oracle/decisions.h"
#include "oracle/operations.h"

static bool is_network(const struct case_file *c) {
  return strcmp(c->op, "block") == 0 || strcmp(c->op, "backbone") == 0 || strcmp(c->op, "step") == 0;
}

/* The candidate's verdict again, beside a truth that decided as it did. */
static bool judge_by_decisions(const struct case_run *candidate, struct decisions *d, struct verdict *v, struct error *err) {
  struct case_run truth;
  struct trace force = decisions_force(d);
  bool ok = run_begin(&truth, candidate->file, err);
  truth.trace = &force;
  ok = ok && case_compute(&truth, 64);
  if (ok && (d->broken || d->next != d->count)) ok = fail(err, "%s: the runs in float and double do not correspond", candidate->file->name);
  if (ok) {
    verdict_free(v);
    ok = compare_case(candidate, 32, &truth, d, v, err);
  }
  run_end(&truth);
  return ok;
}

bool case_check(const struct case_file *c, int bits, struct verdict *v, struct error *err) {
  struct case_run run;
  struct decisions decisions = {0};
  struct trace record = decisions_record(&decisions);
  bool forced = bits == 32 && is_network(c);
  *v = (struct verdict){0};
  bool ok = run_begin(&run, c, err);
  if (forced) run.trace = &record;
  ok = ok && case_compute(&run, bits) && compare_case(&run, bits, NULL, NULL, v, err);
  if (ok && forced && (v->failures > 0 || v->unsteady > 0)) ok = judge_by_decisions(&run, &decisions, v, err);
  if (!ok) verdict_free(v);
  run_end(&run);
  decisions_free(&decisions);
  return ok;
}
