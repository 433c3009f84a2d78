#include "oracle/replay_rows.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/values.h"
#include "train/schedule.h"

bool replay_open(struct replay *r, struct error *err) {
  r->known = calloc((size_t)r->u->d->count + 1, sizeof *r->known);
  r->ended = false;
  return r->known || fail(err, "%s: out of memory", r->u->d->path);
}

void replay_close(struct replay *r) {
  free(r->known);
  *r = (struct replay){0};
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------------------- */

bool replay_wants(const struct replay *r, const char *name) { return !r->options.only || fnmatch(r->options.only, name, 0) == 0; }

void replay_know(struct replay *r, const struct dump_entry *e) {
  if (e) r->known[e - r->u->d->entry] = true;
}

void replay_show(struct replay *r, struct replay_row *row, const char *name) {
  snprintf(row->judged.finding.tensor, sizeof row->judged.finding.tensor, "%s", name);
  if (!r->ended && replay_wants(r, name)) r->ended = !r->see(r->context, row);
}

struct replay_row replay_row_of(const struct unit *at, const char *op) {
  return (struct replay_row){.unit = at, .op = op, .judged = {.judgement = JUDGED_INCOMPLETE, .finding = {.error = INFINITY}}};
}

bool replay_has_form(const struct dump_entry *e, int ndim, const ptrdiff_t *shape, bool index, struct judged *j) {
  struct tensor form = tensor_make(index ? DTYPE_I32 : DTYPE_F64, NULL, ndim, shape, "form");
  if (!e) {
    j->judgement = JUDGED_INCOMPLETE;
    j->finding.rule = "missing: the configuration has it";
    return false;
  }
  return judge_form(&form, &e->data, j);
}

/* ---- what is given ------------------------------------------------------------------------------------------------------------------- */

/* A tensor that the step does not make. below: indices must be less than that; 0 for numbers. */
static void look_at_given(struct replay *r, const struct unit *at, const char *op, const char *name, int ndim, const ptrdiff_t *shape,
                          ptrdiff_t below) {
  struct replay_row row = replay_row_of(at, op);
  const struct dump_entry *e = dump_find(r->u->d, "%s", name);
  row.given = true;
  replay_know(r, e);
  if (!replay_wants(r, name)) return;
  if (replay_has_form(e, ndim, shape, below > 0, &row.judged)) {
    struct finding *f = &row.judged.finding;
    row.judged.judgement = JUDGED_PASS;
    f->pass = true;
    f->rule = "given";
    f->error = 0;
    for (ptrdiff_t i = 0, n = tensor_count(&e->data); i < n && f->pass; i++) {
      double x = tensor_at(&e->data, i);
      if (isfinite(x) && (below == 0 || (x >= 0 && x < (double)below))) continue;
      f->pass = false;
      f->rule = below > 0 ? "an index beyond what there is" : "not finite, and given";
      f->candidate = x, f->expected = NAN, f->error = INFINITY;
      compare_index_text(&e->data, i, f->where, sizeof f->where);
      row.judged.judgement = JUDGED_MISMATCH;
    }
  }
  replay_show(r, &row, name);
}

static void replay_state(struct replay *r, const struct unit *at) {
  const struct net *net = &r->u->net[at->network];
  unit_name name;
  for (int i = 0; i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    units_parameter(r->u, at->network, i, 0, name);
    look_at_given(r, at, "state", name, p->ndim, p->shape, 0);
    if (at->network != UNIT_ONLINE || p->role == ROLE_STATISTIC) continue;
    units_momentum(r->u, i, 0, name);
    look_at_given(r, at, "state", name, p->ndim, p->shape, 0);
  }
}

static void replay_input(struct replay *r, const struct unit *at) {
  const struct model_config *c = &r->u->config;
  const ptrdiff_t shape[] = {c->batch, c->height, c->width, 3};
  unit_name name;
  for (int v = 1; v <= 2; v++) {
    struct unit view = *at;
    view.view = v;
    units_value(r->u, &view, 0, name);
    look_at_given(r, at, "input", name, 4, shape, 0);
  }
  if (!c->regions || c->negative != NEGATIVE_INSTANCE) return;
  snprintf(name, sizeof name, "%d.%d/input/-/0/rdem/other", at->step, at->micro);
  look_at_given(r, at, "input", name, 1, &c->batch, c->batch);
}

/* ---- the schedule -------------------------------------------------------------------------------------------------------------------- */

/* The number of the formula, up to the order of its operations, or that number as a float. */
static bool follows(double declared, double formula) {
  return fabs(declared - formula) <= 0x1p-46 * fabs(formula) || declared == (double)(float)formula;
}

static void replay_schedule(struct replay *r, const struct unit *at) {
  static const char *const keys[] = {"lr", "tau"};
  const json_t *o = json_object_get(r->u->d->manifest, "schedule");
  const json_t *step = json_array_get(json_object_get(r->u->d->manifest, "steps"), (size_t)at->step);
  if (!json_is_object(o)) return;
#define FIELD(key) json_number_value(json_object_get(o, key))
  bool usable = FIELD("batch") >= 1 && FIELD("epochs") >= 1 && FIELD("steps_per_epoch") >= 1 && FIELD("warmup_epochs") >= 0;
  struct schedule s = {0};
  if (usable) {
    s = schedule_make(FIELD("base_lr"), (int64_t)FIELD("batch"), (int64_t)FIELD("warmup_epochs"), (int64_t)FIELD("epochs"),
                      (int64_t)FIELD("steps_per_epoch"), FIELD("tau0"));
  }
#undef FIELD
  int64_t k = (int64_t)json_integer_value(json_object_get(step, "step"));
  usable = usable && k >= 0 && k <= s.steps;
  for (int i = 0; i < 2; i++) {
    unit_name name;
    struct replay_row row = replay_row_of(at, "schedule");
    struct finding *f = &row.judged.finding;
    f->candidate = json_number_value(json_object_get(step, keys[i]));
    f->expected = !usable ? NAN : i == 0 ? schedule_lr(&s, k) : schedule_tau(&s, k);
    f->rule = usable ? "schedule" : "the schedule of the manifest has no such step";
    f->error = fabs(f->candidate - f->expected), f->allowed = 0x1p-46 * fabs(f->expected);
    f->pass = usable && follows(f->candidate, f->expected);
    row.judged.judgement = f->pass ? JUDGED_PASS : JUDGED_MISMATCH;
    if (f->pass) f->error = 0;
    snprintf(f->where, sizeof f->where, " of step %lld", (long long)k);
    snprintf(name, sizeof name, "%d.0/schedule/-/0/%s/value", at->step, keys[i]);
    replay_show(r, &row, name);
  }
}

/* ---- any ------------------------------------------------------------------------------------------------------------------------ */

bool replay_unit(struct replay *r, const struct unit *at, struct error *err) {
  switch (at->kind) {
  case UNIT_STATE: replay_state(r, at); return true;
  case UNIT_INPUT: replay_input(r, at); return true;
  case UNIT_SCHEDULE: replay_schedule(r, at); return true;
  case UNIT_AUGMENT: return replay_augment(r, at, err);
  default: return replay_work(r, at, err);
  }
}

void replay_extra(struct replay *r) {
  for (int i = 0; i < r->u->d->count; i++) {
    struct replay_row row = replay_row_of(NULL, "none");
    if (r->known[i]) continue;
    row.judged.finding.rule = "extra: the configuration does not have it";
    replay_show(r, &row, r->u->d->entry[i].name);
  }
}
