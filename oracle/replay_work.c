/* Replay of what a step computes: each tensor against the sum of what the operations behind it make of the dump's own tensors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/replay_rows.h"
#include "oracle/values.h"

const struct precision_class *replay_class(const struct replay *r, const struct dump_entry *e) {
  return &precision_classes[r->options.precision >= 0 ? r->options.precision : (int)e->precision];
}

static double chain_of(const struct replay *r, const struct dump_entry *e) { return r->options.chain > 0 ? r->options.chain : e->chain; }

/* A copy: every bit as it was. */
static bool judge_copy(const struct work_output *o, const struct precision_class *p, struct judged *j, struct error *err) {
  struct measure m = {.p = p, .truth = *o->copy_of, .relative = true, .tolerance = {.peak = 0, .l2 = INFINITY}};
  double *c = tensor_values(&o->entry->data);
  bool ok = (m.y = tensor_values(o->copy_of)) && c;
  m.truth.dtype = DTYPE_F64, m.truth.data = m.y;
  if (!ok) fail(err, "%s: out of memory", o->name);
  ok = ok && judge_measured(&m, c, NULL, NULL, j, err);
  measure_free(&m);
  free(c);
  return ok;
}

/* Indices that are drawn, not matched: any region but, for R-DEM, the own one. */
static void judge_drawn(const struct work_output *o, bool rdem, struct judged *j) {
  struct finding *f = &j->finding;
  ptrdiff_t n = o->shape[1];
  f->pass = true, f->rule = "a region", f->error = 0;
  for (ptrdiff_t i = 0, count = tensor_count(&o->entry->data); i < count && f->pass; i++) {
    double z = tensor_at(&o->entry->data, i);
    bool inside = z >= 0 && z < (double)n, own = rdem && n > 1 && z == (double)(i % n);
    if (inside && !own) continue;
    f->pass = false, f->error = INFINITY;
    f->rule = inside ? "R-DEM never draws the region itself" : "no such region";
    f->candidate = z, f->expected = NAN;
    compare_index_text(&o->entry->data, i, f->where, sizeof f->where);
  }
  j->judgement = f->pass ? JUDGED_PASS : JUDGED_MISMATCH;
}

/* The same tensor of the pass over the other view; null where there is none of this form. */
static const struct dump_entry *other_view(const struct replay *r, const struct work_output *o) {
  const struct dump_entry *e = dump_find(r->u->d, "%s", o->name);
  if (!e || e->view == 0) return NULL;
  const struct dump_entry *other =
      dump_find(r->u->d, "%d.%d/%s/%s/%d/%s/%s", e->step, e->micro, e->phase, e->network, 3 - e->view, e->layer, e->tensor);
  return other && tensor_same_shape(&other->data, &e->data) &&
                 (tensor_is_index(&e->data) ? tensor_is_index(&other->data) : tensor_is_float(&other->data))
             ? other
             : NULL;
}

/* A unit of one case with decisions (match, a norm with ReLU): the case as it stands, its results the dump's tensors under other names. */
static bool judge_decided(const struct replay *r, const struct unit_work *w, struct judged *j, struct error *err) {
  struct tensor candidate[WORK_OUTPUTS], other[WORK_OUTPUTS];
  const struct dump_entry *first = NULL;
  struct judged_file file;
  int count = 0, others = 0;
  for (int i = 0; i < w->outputs; i++) {
    const struct work_output *o = &w->output[i];
    if (!o->entry || o->parts == 0) continue;
    candidate[count++] = tensor_make(o->entry->data.dtype, o->entry->data.data, o->ndim, o->shape, "%s", o->part[0].result);
    first = o->entry;
    const struct dump_entry *e = other_view(r, o);
    if (e) other[others++] = tensor_make(e->data.dtype, e->data.data, o->ndim, o->shape, "%s", o->part[0].result);
  }
  if (!first) return true;
  if (!candidate_judge_beside(&w->c[0].file, candidate, count, other, others, replay_class(r, first), chain_of(r, first), true, &file,
                              err)) {
    return false;
  }
  for (int i = 0; i < w->outputs; i++) {
    for (int k = 0; k < file.count; k++) {
      if (strcmp(file.tensor[k].finding.tensor, w->output[i].part[0].result) == 0) j[i] = file.tensor[k];
    }
  }
  judged_free(&file);
  return true;
}

/* Adds what case `which` contributes to the outputs that are due. */
static bool measure_case(const struct unit_work *w, int which, const struct bench *b, const bool *due, struct measure *m, bool *begun,
                         struct error *err) {
  for (int i = 0; i < w->outputs; i++) {
    const struct work_output *o = &w->output[i];
    for (int k = 0; due[i] && k < o->parts; k++) {
      struct measure part;
      if (o->part[k].which != which) continue;
      bool ok = measure_make(b, o->part[k].result, begun[i] ? &part : &m[i]);
      if (ok && begun[i]) ok = measure_add(&m[i], &part, err);
      if (begun[i]) measure_free(&part);
      begun[i] = true;
      if (!ok) return false;
    }
  }
  return true;
}

/* Outputs of one declared precision: each is the sum of its parts. */
static bool judge_sums(const struct replay *r, const struct unit_work *w, const struct precision_class *p, double chain, const bool *due,
                       struct judged *j, struct error *err) {
  struct measure m[WORK_OUTPUTS] = {0};
  bool begun[WORK_OUTPUTS] = {false}, ok = true;
  for (int which = 0; ok && which < w->cases; which++) {
    struct bench b = {.original = &w->c[which].file, .p = p, .chain = chain, .trusted = true, .err = err};
    ok = bench_open(&b) && measure_case(w, which, &b, due, m, begun, err);
    bench_close(&b);
  }
  for (int i = 0; ok && i < w->outputs; i++) {
    const struct work_output *o = &w->output[i];
    if (!due[i]) continue;
    const struct dump_entry *same = other_view(r, o);
    double *c = tensor_values(&o->entry->data), *other = same ? tensor_values(&same->data) : NULL;
    ok = c || fail(err, "%s: out of memory", o->name);
    m[i].other = other;
    if (o->start) ok = ok && measure_add_start(&m[i], o->start, err);
    m[i].truth.ndim = o->ndim;
    memcpy(m[i].truth.shape, o->shape, sizeof o->shape);
    m[i].zero = o->cancels;
    ok = ok && judge_measured(&m[i], c, NULL, NULL, &j[i], err);
    free(c);
    free(other);
  }
  for (int i = 0; i < WORK_OUTPUTS; i++) measure_free(&m[i]);
  return ok;
}

/* The outputs that are due, those of the same declared precision and chain together. */
static bool judge_by_precision(const struct replay *r, const struct unit_work *w, bool *due, struct judged *j, struct error *err) {
  for (int i = 0; i < w->outputs; i++) {
    if (!due[i]) continue;
    const struct precision_class *p = replay_class(r, w->output[i].entry);
    double chain = chain_of(r, w->output[i].entry);
    bool same[WORK_OUTPUTS] = {false};
    for (int k = i; k < w->outputs; k++) {
      same[k] = due[k] && replay_class(r, w->output[k].entry) == p && chain_of(r, w->output[k].entry) == chain;
      if (same[k]) due[k] = false;
    }
    if (!judge_sums(r, w, p, chain, same, j, err)) return false;
  }
  return true;
}

static bool has_decisions(const struct unit *at, const struct unit_work *w) {
  return w->cases == 1 && (at->kind == UNIT_MATCH || (at->kind == UNIT_FORWARD && strcmp(w->op, "norm") == 0));
}

/* j: one for each output, INCOMPLETE before. */
static bool judge_work(const struct replay *r, const struct unit *at, const struct unit_work *w, struct judged *j, struct error *err) {
  bool due[WORK_OUTPUTS] = {false}, any = false, ok = true;
  for (int i = 0; ok && i < w->outputs; i++) {
    const struct work_output *o = &w->output[i];
    if (!replay_has_form(o->entry, o->ndim, o->shape, o->is_index, &j[i]) || !replay_wants(r, o->name)) continue;
    if (w->lacks[0]) {
      j[i].judgement = JUDGED_INCOMPLETE;
      j[i].finding.rule = w->lacks;
    } else if (o->copy_of) {
      ok = judge_copy(o, replay_class(r, o->entry), &j[i], err);
    } else if (o->parts == 0) {
      judge_drawn(o, i % 2 == 0, &j[i]);
    } else {
      due[i] = any = true;
    }
  }
  if (!ok || !any) return ok;
  return has_decisions(at, w) ? judge_decided(r, w, j, err) : judge_by_precision(r, w, due, j, err);
}

bool replay_work(struct replay *r, const struct unit *at, struct error *err) {
  struct unit_work w;
  struct replay_backend b = {.count = 0};
  struct judged j[WORK_OUTPUTS];
  bool any = false, ok = unit_work_make(&w, r->u, at, r->options.only != NULL, err);
  for (int i = 0; i < w.outputs; i++) {
    replay_know(r, w.output[i].entry);
    any = any || replay_wants(r, w.output[i].name);
  }
  if (ok && any && r->options.only) { /* it was only planned so far */
    unit_work_free(&w);
    ok = unit_work_make(&w, r->u, at, false, err);
  }
  if (ok && any && r->options.table && !w.lacks[0]) ok = replay_on_backend(r, &w, &b, err);
  for (int i = 0; i < WORK_OUTPUTS; i++) j[i] = replay_row_of(at, w.op).judged;
  ok = ok && (!any || b.misconduct[0] || judge_work(r, at, &w, j, err));
  for (int i = 0; ok && i < w.outputs; i++) {
    struct replay_row row = {.judged = j[i], .op = w.op, .unit = at};
    char lacks[TENSOR_MAX_NAME + 64];
    if (row.judged.finding.rule == w.lacks) {
      snprintf(lacks, sizeof lacks, "cannot be judged without %s", w.lacks);
      row.judged.finding.rule = lacks;
    }
    if (b.misconduct[0]) row.judged.judgement = JUDGED_MISMATCH, row.judged.finding.rule = b.misconduct;
    replay_show(r, &row, w.output[i].name);
  }
  replay_backend_free(&b);
  unit_work_free(&w);
  return ok;
}
