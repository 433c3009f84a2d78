#include "oracle/check.h"

#include <string.h>

#include "oracle/decisions.h"
#include "oracle/operations.h"

static bool is_network(const struct case_file *c) {
  return strcmp(c->op, "block") == 0 || strcmp(c->op, "backbone") == 0 || strcmp(c->op, "step") == 0;
}

/* True in *sound if the case accepts this project's own run in double: only then is that network a truth to hold others to. */
static bool truth_is_sound(const struct case_file *c, bool *sound, struct error *err) {
  struct verdict own;
  if (!case_check(c, 64, false, &own, err)) return false;
  *sound = own.failures == 0;
  verdict_free(&own);
  return true;
}

/* The candidate's verdict again, beside a truth that decided as it did. */
static bool judge_by_decisions(const struct case_run *candidate, struct decisions *d, bool sound, struct verdict *v, struct error *err) {
  struct case_run truth;
  struct trace force = decisions_force(d);
  if (!sound && !truth_is_sound(candidate->file, &sound, err)) return false;
  if (!sound) {
    verdict_fail(v, "truth in double", "disagrees with the case, and cannot decide where the file cannot");
    return true;
  }
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

bool case_check(const struct case_file *c, int bits, bool sound, struct verdict *v, struct error *err) {
  struct case_run run;
  struct decisions decisions = {0};
  struct trace record = decisions_record(&decisions);
  bool forced = bits == 32 && is_network(c);
  *v = (struct verdict){0};
  bool ok = run_begin(&run, c, err);
  if (forced) run.trace = &record;
  ok = ok && case_compute(&run, bits) && compare_case(&run, bits, NULL, NULL, v, err);
  if (ok && forced && (v->failures > 0 || v->unsteady > 0)) ok = judge_by_decisions(&run, &decisions, sound, v, err);
  if (!ok) verdict_free(v);
  run_end(&run);
  decisions_free(&decisions);
  return ok;
}
