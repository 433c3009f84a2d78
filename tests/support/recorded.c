#include "support/recorded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "model/step.h"
#include "support/cmocka.h"

struct recording {
  struct dump *d;
  int capacity, step, micro;
};

static void keep(struct recording *r, const struct tensor *t, const char *name) {
  struct dump *d = r->d;
  struct error err;
  if (d->count == r->capacity) {
    r->capacity = r->capacity ? 2 * r->capacity : 1024;
    d->entry = realloc(d->entry, (size_t)r->capacity * sizeof *d->entry);
    assert_non_null(d->entry);
  }
  struct dump_entry *e = &d->entry[d->count++];
  size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype);
  *e = (struct dump_entry){.data = *t, .dtype = t->dtype, .ndim = t->ndim, .drift = -1, .precision = PRECISION_FP32, .chain = 1024};
  if (!dump_name_parse(name, e, &err)) fail_msg("%s", err.text);
  memcpy(e->shape, t->shape, sizeof e->shape);
  e->data.data = malloc(bytes);
  assert_non_null(e->data.data);
  memcpy(e->data.data, t->data, bytes);
}

static void see(void *context, const struct trace_event *e) {
  static const char *const phases[] = {"forward", "match", "loss", "backward", "optimiser", "ema"};
  struct recording *r = context;
  char name[TENSOR_MAX_NAME];
  snprintf(name, sizeof name, "%d.%d/%s/%s/%d/%s/%s", r->step, r->micro, phases[e->phase], *e->network ? e->network : "-", e->view,
           e->layer, e->tensor);
  keep(r, &e->data, name);
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const struct dump_entry *const *)a)->name, (*(const struct dump_entry *const *)b)->name);
}

static void index_names(struct dump *d) {
  const struct dump_entry **order = malloc((size_t)d->count * sizeof *order);
  d->by_name = realloc(d->by_name, (size_t)d->count * sizeof *d->by_name);
  assert_true(order && d->by_name);
  for (int i = 0; i < d->count; i++) order[i] = &d->entry[i];
  qsort(order, (size_t)d->count, sizeof *order, by_name);
  for (int i = 0; i < d->count; i++) d->by_name[i] = (int)(order[i] - d->entry);
  free(order);
}

/* Numbers of a stream, times scale, added to x. */
static void disturb(float *x, ptrdiff_t n, double scale, uint64_t seed, uint32_t stream) {
  struct philox g = philox_stream(seed, PHILOX_TEST, 77, stream, 0);
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (float)((double)x[i] + scale * philox_normal(&g));
}

/* A state as after some training: gamma, beta and statistics away from 1 and 0, a target behind online, momentum. */
static void draw_states(struct model_f32 *m, uint64_t seed) {
  struct branch_f32 *branches[] = {&m->online, &m->target, &m->teacher};
  for (int b = 0; b < 3; b++) {
    if (!branches[b]->state) continue;
    for (int i = 0; i < branches[b]->net.parameters; i++) {
      const struct parameter *p = &branches[b]->net.parameter[i];
      uint32_t stream = (uint32_t)(1000 * b + i);
      float *x = branches[b]->state + p->offset;
      disturb(x, p->size, p->role == ROLE_WEIGHT ? 0.002 : 0.05, seed, stream);
      if (b == 0 && p->role != ROLE_STATISTIC) disturb(m->momentum + p->offset, p->size, 1e-3, seed, stream + 5000);
    }
  }
}

static void keep_states(struct recording *r, const struct model_f32 *m) {
  const struct branch_f32 *branches[] = {&m->online, &m->target, &m->teacher};
  for (int b = 0; b < 3; b++) {
    const struct net *net = &branches[b]->net;
    for (int i = 0; branches[b]->state && i < net->parameters; i++) {
      const struct parameter *p = &net->parameter[i];
      char name[TENSOR_MAX_NAME];
      struct tensor t = tensor_make(DTYPE_F32, branches[b]->state + p->offset, p->ndim, p->shape, "state");
      snprintf(name, sizeof name, "0.0/state/%s/0/%s/parameter", branches[b]->name, p->name);
      keep(r, &t, name);
      if (b > 0 || p->role == ROLE_STATISTIC) continue;
      t.data = m->momentum + p->offset;
      snprintf(name, sizeof name, "0.0/state/online/0/%s/momentum", p->name);
      keep(r, &t, name);
    }
  }
}

/* Views, and what is drawn. */
struct drawn {
  float *view[2];
  int32_t *diversity[2], *invariance[2], *other;
};

static void draw_micro_batch(struct recording *r, const struct model_f32 *m, const struct recorded_options *o, struct drawn *d) {
  const struct model_config *c = &o->config;
  ptrdiff_t size = c->batch * c->height * c->width * 3, shape[] = {c->batch, c->height, c->width, 3};
  uint32_t number = (uint32_t)(r->step * o->micro_batches + r->micro);
  char name[TENSOR_MAX_NAME];
  for (int v = 0; v < 2; v++) {
    memset(d->view[v], 0, (size_t)size * sizeof(float));
    disturb(d->view[v], size, 1, o->seed, 100000 + 2 * number + (uint32_t)v);
    for (ptrdiff_t i = 0; i < size; i++)
      d->view[v][i] += (float)((i / (c->width * 3) / 8 + i / size * 3) % 5) - 2; /* bands: images differ */
    struct tensor t = tensor_make(DTYPE_F32, d->view[v], 4, shape, "view");
    snprintf(name, sizeof name, "%d.%d/input/-/%d/image/view", r->step, r->micro, v + 1);
    keep(r, &t, name);
  }
  step_draw_f32(c->batch, m->cells, o->seed, number, d->diversity, d->invariance, d->other);
  if (!c->regions || c->negative != NEGATIVE_INSTANCE) return;
  struct tensor t = tensor_make(DTYPE_I32, d->other, 1, &c->batch, "other");
  snprintf(name, sizeof name, "%d.%d/input/-/0/rdem/other", r->step, r->micro);
  keep(r, &t, name);
}

struct recorded_options recorded_small(void) {
  struct recorded_options o = {.micro_batches = 1, .steps = 1, .seed = 1};
  o.config = (struct model_config){.arch = {.block = BLOCK_BASIC,
                                            .blocks = {1, 1, 1, 1},
                                            .base_width = 8,
                                            .stem = STEM_IMAGENET,
                                            .hidden = 48,
                                            .out = 24,
                                            .bn_eps = (double)1e-5f,
                                            .bn_momentum = (double)0.1f},
                                   .batch = 4,
                                   .height = 64,
                                   .width = 64,
                                   .regions = true,
                                   .teacher = true,
                                   .lambda_rdem = 1,
                                   .lambda_riem = 1,
                                   .lambda_byol = 1,
                                   .lars = {.trust = (double)1e-3f, .momentum = (double)0.9f, .weight_decay = (double)1.5e-4f}};
  return o;
}

static void run_step(struct recording *r, struct model_f32 *m, const struct recorded_options *o, struct drawn *d, double lr, double tau) {
  struct trace trace = {.see = see, .context = r};
  model_zero_gradient_f32(m);
  for (r->micro = 0; r->micro < o->micro_batches; r->micro++) {
    draw_micro_batch(r, m, o, d);
    struct step_draws draws = {.other = d->other};
    for (int v = 0; v < 2; v++) draws.diversity[v] = d->diversity[v], draws.invariance[v] = d->invariance[v];
    model_set_draws_f32(m, &draws, false);
    model_accumulate_f32(m, (const float *const[]){d->view[0], d->view[1]}, 1.0 / o->micro_batches, &trace);
  }
  r->micro = 0;
  model_update_f32(m, lr, tau, &trace);
}

void recorded_make(struct dump *d, const struct recorded_options *o) {
  struct model_f32 m;
  struct error err;
  *d = (struct dump){.path = "recorded", .kind = DUMP_FULL, .precision = PRECISION_FP32, .chain = 1024};
  struct recording r = {.d = d};
  if (!model_create_f32(&m, &o->config, o->backend ? o->backend : backend_reference_f32(), &err) ||
      !model_initialise_f32(&m, o->seed, &err)) {
    fail_msg("%s", err.text);
  }
  draw_states(&m, o->seed);
  json_t *steps = json_array();
  d->manifest = json_pack("{s:o,s:o}", "attrs", dump_attributes(&o->config, o->micro_batches), "steps", steps);
  keep_states(&r, &m);
  struct drawn drawn;
  size_t view = (size_t)(o->config.batch * o->config.height * o->config.width * 3), cells = (size_t)(o->config.batch * m.cells);
  for (int v = 0; v < 2; v++) {
    drawn.view[v] = malloc(view * sizeof(float));
    drawn.diversity[v] = malloc(cells * sizeof(int32_t));
    drawn.invariance[v] = malloc(cells * sizeof(int32_t));
    assert_true(drawn.view[v] && drawn.diversity[v] && drawn.invariance[v]);
  }
  drawn.other = malloc((size_t)o->config.batch * sizeof(int32_t));
  assert_non_null(drawn.other);
  for (r.step = 0; r.step < o->steps; r.step++) {
    double lr = 0.2 + 0.01 * r.step, tau = 0.99 + 0.001 * r.step;
    json_array_append_new(steps, json_pack("{s:i,s:f,s:f}", "step", r.step, "lr", lr, "tau", tau));
    run_step(&r, &m, o, &drawn, lr, tau);
  }
  for (int v = 0; v < 2; v++) free(drawn.view[v]), free(drawn.diversity[v]), free(drawn.invariance[v]);
  free(drawn.other);
  model_free_f32(&m);
  index_names(d);
}

void recorded_free(struct dump *d) {
  for (int i = 0; i < d->count; i++) free(d->entry[i].data.data);
  free(d->entry);
  free(d->by_name);
  json_decref(d->manifest);
  *d = (struct dump){0};
}

struct dump_entry *recorded_entry(struct dump *d, const char *name) {
  const struct dump_entry *e = dump_find(d, "%s", name);
  if (!e) fail_msg("the dump has no %s", name);
  return &d->entry[e - d->entry];
}

void recorded_remove(struct dump *d, const char *name) {
  struct dump_entry *e = recorded_entry(d, name);
  free(e->data.data);
  memmove(e, e + 1, (size_t)(d->count - (e - d->entry) - 1) * sizeof *e);
  d->count--;
  index_names(d);
}

void recorded_copy(struct dump *d, const char *from, const char *name) {
  struct recording r = {.d = d, .capacity = d->count};
  struct tensor t = recorded_entry(d, from)->data;
  keep(&r, &t, name);
  index_names(d);
}

void recorded_write(const struct dump *d, const char *folder) {
  struct dump_writer *w;
  struct error err;
  bool ok = dump_create(&w, folder, DUMP_FULL, &err);
  if (ok) {
    dump_describe(w, "producer", json_string("recorded by a test"));
    dump_describe(w, "precision", json_string("fp32"));
    dump_describe(w, "attrs", json_deep_copy(json_object_get(d->manifest, "attrs")));
    dump_describe(w, "steps", json_deep_copy(json_object_get(d->manifest, "steps")));
    for (int i = 0; ok && i < d->count; i++) {
      struct tensor t = d->entry[i].data;
      snprintf(t.name, sizeof t.name, "%s", d->entry[i].name);
      ok = dump_add(w, &t, &err);
    }
    if (!ok) dump_abandon(w);
    ok = ok && dump_commit(w, &err);
  }
  if (!ok) fail_msg("%s", err.text);
}
