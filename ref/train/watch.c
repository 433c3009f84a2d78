#include "train/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "eval/collapse.h"
#include "op/activation.h"

/* Of the images of all ranks. */
static ptrdiff_t host_rows(const struct model *m, int ranks) { return ranks * m->config.batch * (m->config.regions ? m->cells : 1); }
static ptrdiff_t host_reals(const struct model *m, int ranks) { return host_rows(m, ranks) * m->config.arch.out; }
static ptrdiff_t host_indices(const struct model *m, int ranks) { return ranks * m->config.batch * m->cells; }
static ptrdiff_t scratch_doubles(const struct model *m, int ranks) { return collapse_scratch(host_rows(m, ranks), m->config.arch.out); }

/* The tensors of one pass, as a moving average with tau = 0, which is a copy of many at once. Returns 0: none is left. */
static int copy_parts(const struct backend *b, int n, const struct ema_part *part, const real *from, real *to) {
  if (n > 0 && b->ema_update_all)
    b->ema_update_all(n, part, 0, NULL, from, to);
  else
    for (int j = 0; j < n; j++) b->copy(to + part[j].to, from + part[j].from, (size_t)part[j].size * sizeof(real));
  return 0;
}

/* Copies every running statistic of both networks that update them into `kept`, one after the other, or back; within the backend's memory.
 * Returns how many reals they are; with kept null only that. */
static ptrdiff_t copy_statistics(const struct model *m, real *kept, bool back) {
  const struct branch *both[] = {&m->online, &m->target};
  struct ema_part part[UPDATE_PARTS];
  ptrdiff_t at = 0;
  for (int k = 0; k < 2; k++) {
    const struct net *net = &both[k]->net;
    const real *from = back ? kept : both[k]->state;
    real *to = back ? both[k]->state : kept;
    int n = 0;
    for (int i = 0; i < net->parameters; i++) {
      const struct parameter *p = &net->parameter[i];
      if (p->role != ROLE_STATISTIC) continue;
      if (kept) part[n++] = (struct ema_part){.from = back ? at : p->offset, .to = back ? p->offset : at, .size = p->size};
      if (n == UPDATE_PARTS) n = copy_parts(m->backend, n, part, from, to);
      at += p->size;
    }
    copy_parts(m->backend, n, part, from, to);
  }
  return at;
}

void watch_remember(struct watch *w) { copy_statistics(w->m, w->statistics, false); }
void watch_undo(struct watch *w) { copy_statistics(w->m, w->statistics, true); }

size_t watch_statistics_bytes(const struct model *m) { return (size_t)copy_statistics(m, NULL, false) * sizeof(real); }

size_t watch_bytes(const struct model *m, int ranks) {
  return (size_t)host_reals(m, ranks) * sizeof(real) + (size_t)scratch_doubles(m, ranks) * sizeof(double) +
         (size_t)host_indices(m, ranks) * sizeof(int32_t);
}

bool watch_create(struct watch *w, struct model *m, const struct ranks *ranks, struct error *err) {
  int count = ranks->count;
  *w = (struct watch){.m = m,
                      .ranks = ranks,
                      .host = malloc((size_t)host_reals(m, count) * sizeof(real)),
                      .index = malloc((size_t)host_indices(m, count) * sizeof(int32_t)),
                      .scratch = malloc((size_t)scratch_doubles(m, count) * sizeof(double))};
  if (w->host && w->index && w->scratch) {
    void *statistics;
    if (!m->backend->reserve(watch_statistics_bytes(m), &statistics, err)) return false;
    w->statistics = statistics;
    return true;
  }
  return fail(err, "out of memory: %.2f GB to watch the training", (double)watch_bytes(m, count) / 1e9);
}

void watch_free(struct watch *w) {
  if (w->statistics) w->m->backend->release(w->statistics, watch_statistics_bytes(w->m));
  free(w->host);
  free(w->index);
  free(w->scratch);
  *w = (struct watch){0};
}

/* n activations a rank, of all ranks, to w->host; likewise n indices to w->index. */
static void fetch_activations(struct watch *w, ptrdiff_t n, const real *from) {
  activation_download(w->m->backend, n, w->host + w->ranks->rank * n, from);
  w->ranks->gather(w->host, (size_t)n * sizeof(real));
}
static void fetch_indices(struct watch *w, ptrdiff_t n, const int32_t *from) {
  w->m->backend->download(w->index + w->ranks->rank * n, from, (size_t)n * sizeof(int32_t));
  w->ranks->gather(w->index, (size_t)n * sizeof(int32_t));
}

void watch_diagnose(struct watch *w, struct record *r) {
  const struct model *m = w->m;
  ptrdiff_t own = m->config.batch, all = w->ranks->count * own, n = m->cells, c = m->config.arch.out;
  fetch_activations(w, own * c, m->q[0]);
  r->std_global = collapse_std(all, c, w->host, NULL, w->scratch);
  if (!m->config.regions) return;
  fetch_activations(w, own * n * c, m->r[0]);
  r->std_local = collapse_std(all * n, c, w->host, NULL, w->scratch);
  r->region_cosine = collapse_cosine(all, n, c, w->host, NULL, w->scratch);
  fetch_indices(w, own * n, m->diversity[0]);
  r->entropy_rdem = collapse_entropy(all, n, w->index, NULL, w->scratch);
  fetch_indices(w, own * n, m->invariance[0]);
  r->entropy_riem = collapse_entropy(all, n, w->index, NULL, w->scratch);
}

/* ---- numbers that are not finite ----------------------------------------------------------------------------------------------------- */

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
  if (s->found || e->data.dtype == DTYPE_I32) return;
  enum { CHUNK = 4096 };
  double chunk[CHUNK]; /* bytes of any type */
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

bool watch_locate(struct watch *w, const float *const views[2], double share, char *text, size_t size) {
  struct search s = {w, text, size, false};
  struct trace trace = {.see = look, .context = &s};
  model_accumulate(w->m, views, share, &trace);
  return s.found;
}
