#include "oracle/dump_steps.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ediy.h"
#include "oracle/candidate.h"
#include "oracle/digest.h"
#include "oracle/distance.h"
#include "oracle/moved.h"
#include "oracle/step_class.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------ */

struct writing {
  struct dump_writer *writer;
  const struct step_backend *by;
  const struct model_f32 *model;
  struct dump_steps_result *result;
};

static bool write_event(void *context, const struct step_event *e, struct error *err) {
  struct writing *w = context;
  w->result->tensors++;
  w->result->bytes += (double)tensor_count(&e->data) * (double)dtype_size(e->data.dtype);
  const enum precision own = step_class(w->by, w->model, e);
  const double chain = step_chain(w->by, w->model, e);
  return dump_add_as(w->writer, &e->data, own == w->by->precision ? NULL : &own, chain > CHAIN_USUAL ? chain : 0, err);
}

static void describe(struct dump_writer *w, const struct step_source *s, const struct step_backend *b, json_t *steps) {
  const struct config *c = &s->config;
  dump_describe(w, "producer", json_sprintf("ediy %s, %s", EDIY_VERSION, b->name));
  dump_describe(w, "precision", json_string(precision_classes[b->precision].name));
  dump_describe(w, "seed", json_integer(c->seed));
  dump_describe(w, "attrs", dump_attributes(&s->model, (int)c->accumulate));
  dump_describe(w, "schedule",
                json_pack("{s:f,s:I,s:I,s:I,s:I,s:f}", "base_lr", c->lr, "batch", (json_int_t)c->batch, "warmup_epochs",
                          (json_int_t)c->warmup, "epochs", (json_int_t)c->epochs, "steps_per_epoch", (json_int_t)s->steps_per_epoch, "tau0",
                          c->tau0));
  dump_describe(w, "steps", steps);
}

bool dump_steps(struct step_source *source, const struct step_backend *b, const struct dump_steps_options *o, const char *folder,
                struct dump_steps_result *result, struct error *err) {
  struct step_runner *r = NULL;
  struct writing w = {.by = b, .model = source->start, .result = result};
  const struct step_sink sink = {write_event, &w};
  json_t *list = json_array();
  *result = (struct dump_steps_result){0};
  bool ok = step_runner_open(&r, source, b, err) && dump_create(&w.writer, folder, o->kind, err) &&
            (o->no_states || step_runner_states(r, &sink, err));
  double start = now();
  for (int k = 0; ok && k < o->steps; k++) {
    ok = step_runner_step(r, &sink, &result->last, err);
    json_array_append_new(
        list, json_pack("{s:I,s:f,s:f}", "step", (json_int_t)(source->first + k), "lr", result->last.lr, "tau", result->last.tau));
  }
  result->seconds = now() - start;
  step_runner_close(r);
  if (!ok) {
    json_decref(list);
    dump_abandon(w.writer);
    return false;
  }
  describe(w.writer, source, b, list);
  return dump_commit(w.writer, err);
}

/* ---- drift -------------------------------------------------------------------------------------------------------------------------- */

struct drifting {
  const struct dump *d;
  double *drift;
  struct digest digest;
  double *row; /* a digest of the dump, aligned */
};

static bool drift_event(void *context, const struct step_event *e, struct error *err) {
  struct drifting *w = context;
  const struct dump_entry *t = dump_find(w->d, "%s", e->data.name);
  ptrdiff_t count = tensor_count(&e->data);
  if (!t) return fail(err, "%s: has no tensor %s, which its steps make", w->d->path, e->data.name);
  double off;
  if (w->d->kind == DUMP_FULL) {
    struct distance d = {.where = -1};
    distance_add(&d, t->dtype, t->data.data, e->data.dtype, e->data.data, count);
    off = distance_l2(&d, !dtype_is_float(t->dtype));
  } else {
    memcpy(w->row, t->data.data, (size_t)digest_length(t->dtype, count) * sizeof(double));
    digest_tensor(&w->digest, &e->data);
    off = digest_compare(t->name, t->dtype, count, w->row, w->digest.value).l2;
  }
  double *most = &w->drift[t - w->d->entry];
  if (!(off <= *most)) *most = off;
  return true;
}

static bool has_states(const struct dump *d) { return strcmp(d->entry[0].phase, "state") == 0; }

static bool measure(struct step_source *source, struct drifting *w, int draws, struct error *err) {
  const struct step_sink sink = {drift_event, w};
  const int steps = (int)json_array_size(json_object_get(w->d->manifest, "steps"));
  bool ok = true;
  for (int draw = 0; ok && draw < draws; draw++) {
    const struct step_backend b = {.name = "moved", .precision = PRECISION_FP32, .f32 = backend_moved((uint32_t)draw)};
    struct step_runner *r;
    if (!step_runner_open(&r, source, &b, err)) return false;
    ok = !has_states(w->d) || step_runner_states(r, &sink, err);
    for (int k = 0; ok && k < steps; k++) ok = step_runner_step(r, &sink, NULL, err);
    step_runner_close(r);
  }
  for (int i = 0; ok && i < w->d->count; i++)
    if (!isfinite(w->drift[i]))
      ok = fail(err, "%s: %s is not finite, or 0 in one run only: no drift can be measured there", w->d->path, w->d->entry[i].name);
  return ok;
}

bool dump_drift(struct step_source *source, const char *folder, int draws, struct error *err) {
  struct dump d;
  if (!dump_open(&d, folder, err)) return false;
  struct drifting w = {.d = &d, .drift = calloc((size_t)d.count, sizeof(double)), .row = malloc(DIGEST_MAX_LENGTH * sizeof(double))};
  bool ok = (w.drift && w.row) || fail(err, "out of memory");
  ok = ok && measure(source, &w, draws, err) && dump_annotate(&d, w.drift, err);
  free(w.drift), free(w.row);
  dump_close(&d);
  return ok;
}
