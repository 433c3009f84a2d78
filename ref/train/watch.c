#include "train/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "eval/collapse.h"

static ptrdiff_t host_reals(const struct model *m) {
  const struct model_config *c = &m->config;
  ptrdiff_t n = c->batch * (c->regions ? m->cells : 1) * c->arch.out;
  for (int i = 0; i < m->online.net.parameters; i++) n = size_max(n, m->online.net.parameter[i].size);
  return n;
}

static ptrdiff_t scratch_doubles(const struct model *m) {
  return collapse_scratch(m->config.batch * (m->config.regions ? m->cells : 1), m->config.arch.out);
}

/* Calls f for every running statistic of both networks that update them, with its place among all. Returns how many reals there are. */
static ptrdiff_t each_statistic(const struct model *m, void (*f)(const struct model *m, real *own, ptrdiff_t size, float *kept),
                                float *kept) {
  const struct branch *b[] = {&m->online, &m->target};
  ptrdiff_t at = 0;
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < b[k]->net.parameters; i++) {
      const struct parameter *p = &b[k]->net.parameter[i];
      if (p->role != ROLE_STATISTIC) continue;
      if (f) f(m, b[k]->state + p->offset, p->size, kept + at);
      at += p->size;
    }
  return at;
}

static void keep(const struct model *m, real *own, ptrdiff_t size, float *kept) {
  m->backend->download(kept, own, (size_t)size * sizeof(real));
}
static void put_back(const struct model *m, real *own, ptrdiff_t size, float *kept) {
  m->backend->upload(own, kept, (size_t)size * sizeof(real));
}

void watch_remember(struct watch *w) { each_statistic(w->m, keep, w->statistics); }
void watch_undo(struct watch *w) { each_statistic(w->m, put_back, w->statistics); }

size_t watch_bytes(const struct model *m) {
  size_t reals = (size_t)(host_reals(m) + each_statistic(m, NULL, NULL));
  return reals * sizeof(real) + (size_t)scratch_doubles(m) * sizeof(double) + (size_t)(m->config.batch * m->cells) * sizeof(int32_t);
}

bool watch_create(struct watch *w, struct model *m, struct error *err) {
  *w = (struct watch){.m = m,
                      .host = malloc((size_t)host_reals(m) * sizeof(real)),
                      .index = malloc((size_t)(m->config.batch * m->cells) * sizeof(int32_t)),
                      .scratch = malloc((size_t)scratch_doubles(m) * sizeof(double)),
                      .statistics = malloc((size_t)each_statistic(m, NULL, NULL) * sizeof(real))};
  if (w->host && w->index && w->scratch && w->statistics) return true;
  watch_free(w);
  return fail(err, "out of memory: %.2f GB to watch the training", (double)watch_bytes(m) / 1e9);
}

void watch_free(struct watch *w) {
  free(w->host);
  free(w->index);
  free(w->scratch);
  free(w->statistics);
  *w = (struct watch){0};
}

void watch_diagnose(struct watch *w, struct record *r) {
  const struct model *m = w->m;
  ptrdiff_t b = m->config.batch, n = m->cells, c = m->config.arch.out;
  m->backend->download(w->host, m->q[0], (size_t)(b * c) * sizeof(real));
  r->std_global = collapse_std(b, c, w->host, NULL, w->scratch);
  if (!m->config.regions) return;
  m->backend->download(w->host, m->r[0], (size_t)(b * n * c) * sizeof(real));
  r->std_local = collapse_std(b * n, c, w->host, NULL, w->scratch);
  r->region_cosine = collapse_cosine(b, n, c, w->host, NULL, w->scratch);
  m->backend->download(w->index, m->diversity[0], (size_t)(b * n) * sizeof(int32_t));
  r->entropy_rdem = collapse_entropy(b, n, w->index, NULL, w->scratch);
  m->backend->download(w->index, m->invariance[0], (size_t)(b * n) * sizeof(int32_t));
  r->entropy_riem = collapse_entropy(b, n, w->index, NULL, w->scratch);
}

/* ---- numbers that are not finite ------------------------------------------------------------------------------------------------------ */

static bool all_finite(const float *x, ptrdiff_t n) {
  bool ok = true;
  for (ptrdiff_t i = 0; i < n; i++) ok &= isfinite(x[i]) != 0;
  return ok;
}

const char *watch_gradient(struct watch *w) {
  const struct net *net = &w->m->online.net;
  const struct backend *b = w->m->backend;
  if (b->all_finite && b->all_finite(net->state_size, w->m->gradient)) return NULL; /* where statistics lie it is zero */
  for (int i = 0; i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    if (p->role == ROLE_STATISTIC) continue;
    b->download(w->host, w->m->gradient + p->offset, (size_t)p->size * sizeof(real));
    if (!all_finite(w->host, p->size)) return p->name;
  }
  return NULL;
}

struct search {
  struct watch *w;
  char *text;
  size_t size;
  bool found;
};

static void look(void *context, const struct trace_event *e) {
  static const char *const phase[] = {[PHASE_FORWARD] = "forward",   [PHASE_MATCH] = "match",         [PHASE_LOSS] = "loss",
                                      [PHASE_BACKWARD] = "backward", [PHASE_OPTIMISER] = "optimiser", [PHASE_EMA] = "moving average"};
  struct search *s = context;
  if (s->found || (e->data.dtype != DTYPE_F32 && e->data.dtype != DTYPE_F64)) return;
  enum { CHUNK = 4096 };
  double chunk[CHUNK]; /* bytes of either type */
  size_t one = dtype_size(e->data.dtype);
  ptrdiff_t count = tensor_count(&e->data);
  for (ptrdiff_t at = 0; at < count && !s->found; at += CHUNK) {
    ptrdiff_t n = size_min(CHUNK, count - at);
    s->w->m->backend->download(chunk, (const char *)e->data.data + (size_t)at * one, (size_t)n * one);
    struct tensor piece = e->data;
    piece.data = chunk;
    for (ptrdiff_t i = 0; i < n; i++) s->found |= !isfinite(tensor_at(&piece, i));
  }
  if (s->found)
    snprintf(s->text, s->size, "%s%s%s %s, view %d, %s", e->network, *e->network ? " " : "", e->layer, e->tensor, e->view, phase[e->phase]);
}

void watch_locate(struct watch *w, const float *const views[2], const struct step_draws *draws, char *text, size_t size) {
  snprintf(text, size, "a sum of gradients");
  struct search s = {w, text, size, false};
  struct trace trace = {look, &s};
  model_zero_gradient(w->m);
  model_accumulate(w->m, views, 1, draws, &trace);
}
