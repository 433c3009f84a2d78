#include "oracle/unit_work.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/unit_maker.h"
#include "oracle/values.h"

/* ---- inputs and outputs -------------------------------------------------------------------------------------------------------------- */

/* The tensor of this name, noted as an input; null, noted as lacking, where it is not there as numbers (or indices) of this many
 * elements. */
const struct tensor *unit_input(struct maker *m, const char *name, ptrdiff_t count, bool index) {
  struct unit_work *w = m->w;
  const struct dump_entry *e = dump_find(m->u->d, "%s", name);
  bool fits = e && tensor_count(&e->data) == count && (index ? tensor_is_index(&e->data) : tensor_is_float(&e->data));
  if (!fits) {
    if (!w->lacks[0]) snprintf(w->lacks, sizeof w->lacks, "%s", name);
    return NULL;
  }
  bool known = false;
  for (int i = 0; i < w->inputs; i++) known = known || w->input[i] == e;
  if (!known && w->inputs < WORK_INPUTS) w->input[w->inputs++] = e;
  return &e->data;
}

/* Regions of an image, or images of a batch, of which there are as many as the last axis has places. */
static bool are_inside(const struct tensor *t, ptrdiff_t count) {
  for (ptrdiff_t i = 0, n = tensor_count(t); i < n; i++) {
    double at = tensor_at(t, i);
    if (!(at >= 0 && at < (double)count)) return false;
  }
  return true;
}

/* Gives a tensor to a case in this shape, where the dump has it. Indices that point nowhere are none: they are wrong where they are judged,
 * and what reads them cannot be. */
void unit_give(struct maker *m, struct memory_case *c, const char *as, const char *name, int ndim, const ptrdiff_t *shape, bool index) {
  ptrdiff_t count = 1;
  for (int d = 0; d < ndim; d++) count *= shape[d];
  const struct tensor *t = unit_input(m, name, count, index);
  if (t && index && !are_inside(t, shape[ndim - 1])) {
    if (!m->w->lacks[0]) snprintf(m->w->lacks, sizeof m->w->lacks, "%s", name);
    return;
  }
  if (t) memory_case_give_as(c, as, t, ndim, shape);
}

void unit_give_value(struct maker *m, struct memory_case *c, const char *as, int value, int ndim, const ptrdiff_t *shape) {
  unit_name name;
  units_value(m->u, m->at, value, name);
  unit_give(m, c, as, name, ndim, shape, false);
}

void unit_give_parameter(struct maker *m, struct memory_case *c, const char *as, int parameter) {
  const struct parameter *p = &m->net->parameter[parameter];
  unit_name name;
  units_parameter(m->u, m->at->network, parameter, m->at->step, name);
  unit_give(m, c, as, name, p->ndim, p->shape, false);
}

struct memory_case *unit_begin(struct maker *m, const char *op, const char *name) {
  struct memory_case *c = &m->w->c[m->w->cases++];
  memory_case_begin(c, op, name);
  return c;
}

struct work_output *unit_output(struct maker *m, int ndim, const ptrdiff_t *shape, const char *format, ...) {
  struct work_output *o = &m->w->output[m->w->outputs++];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(o->name, sizeof o->name, format, arguments);
  va_end(arguments);
  o->entry = dump_find(m->u->d, "%s", o->name);
  o->ndim = ndim;
  memcpy(o->shape, shape, (size_t)ndim * sizeof *shape);
  return o;
}

/* The result of the newest case, of this shape there, is a part of o. */
void unit_add_part(struct maker *m, struct work_output *o, const char *result, enum dtype dtype, int ndim, const ptrdiff_t *shape) {
  int which = m->w->cases - 1, k = o->parts++;
  memory_case_expect(&m->w->c[which], result, dtype, ndim, shape);
  o->part[k].which = which;
  assert(strlen(result) < WORK_RESULT);
  strcpy(o->part[k].result, result);
}

/* ---- any ----------------------------------------------------------------------------------------------------------------------------- */

bool unit_work_make(struct unit_work *w, const struct units *u, const struct unit *at, bool plan, struct error *err) {
  struct maker m = {.w = w, .u = u, .at = at, .net = &u->net[at->network], .plan = plan, .ok = true};
  *w = (struct unit_work){.op = "", .c = calloc(WORK_CASES, sizeof *w->c)};
  if (!w->c) return fail(err, "%s: out of memory", u->d->path);
  switch (at->kind) {
  case UNIT_FORWARD: unit_make_forward(&m); break;
  case UNIT_MATCH: unit_make_match(&m); break;
  case UNIT_LOSS: unit_make_loss(&m); break;
  case UNIT_GRADIENT: unit_make_gradient(&m); break;
  case UNIT_WEIGHTS: unit_make_weights(&m); break;
  case UNIT_OPTIMISER: unit_make_optimiser(&m); break;
  case UNIT_EMA: unit_make_ema(&m); break;
  case UNIT_STATE:
  case UNIT_INPUT:
  case UNIT_SCHEDULE:
  case UNIT_AUGMENT: break; /* nothing to compute from the dump's tensors */
  }
  for (int i = 0; m.ok && !plan && !w->lacks[0] && i < w->cases; i++) {
    if (!memory_case_end(&w->c[i], err)) return false;
  }
  return m.ok || fail(err, "%s: out of memory", u->d->path);
}

void unit_work_free(struct unit_work *w) {
  for (int i = 0; w->c && i < w->cases; i++) memory_case_free(&w->c[i]);
  for (int i = 0; i < w->masks; i++) free(w->masked[i]);
  free(w->c);
  *w = (struct unit_work){0};
}
