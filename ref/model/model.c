#include "model/model.h"

#include <string.h>

#include "base/arena.h"
#include "base/size.h"
#include "model/init.h"

/* Heads of each network, as in the table of model.h. */
static struct architecture with_heads(const struct model_config *c, bool projector, bool predictor, bool local) {
  struct architecture a = c->arch;
  a.projector = projector, a.predictor = predictor, a.local_projector = local && c->regions;
  a.local_predictor = predictor && local && c->regions && c->region_predictor;
  return a;
}

static bool branch_create(struct branch *n, const char *name, struct architecture arch, const struct model *m, bool backward,
                          struct error *err) {
  n->name = name;
  const struct model_config *c = &m->config;
  if (!net_build(&n->net, &arch, c->batch, c->height, c->width, err)) return fail_within(err, "%s network", name);
  int seed[PLAN_MAX_SEEDS], seeds = 0;
  if (backward) {
    seed[seeds++] = n->net.prediction;
    if (n->net.regions >= 0) seed[seeds++] = n->net.regions;
    if (n->net.region_prediction >= 0) seed[seeds++] = n->net.region_prediction;
  }
  return plan_make(&n->plan, &n->net, m->backend, seeds, seed, false, c->keep_all, err);
}

/* Walks over everything the block holds. With base null it only counts; with the reserved block it hands out addresses. */
struct cutter {
  char *base;
  size_t used;
  bool overflow;
};

static void *cut(struct cutter *c, ptrdiff_t n, size_t element) {
  size_t bytes = arena_bytes(n, element);
  if (bytes == SIZE_MAX || c->used > SIZE_MAX / 2 - bytes) {
    c->overflow = true;
    return NULL;
  }
  void *p = c->base ? c->base + c->used : NULL;
  c->used += bytes;
  return p;
}

static void cut_all(struct model *m, struct cutter *c) {
  const struct model_config *o = &m->config;
  const struct net *f = &m->online.net;
  m->online.state = cut(c, f->state_size, sizeof(real));
  m->gradient = cut(c, f->state_size, sizeof(real));
  m->momentum = cut(c, f->state_size, sizeof(real));
  m->target.state = cut(c, m->target.net.state_size, sizeof(real));
  if (o->teacher) m->teacher.state = cut(c, m->teacher.net.state_size, sizeof(real));
  struct branch *branches[] = {&m->online, &m->target, &m->teacher};
  int count = o->teacher ? 3 : 2;
  for (int i = 0; i < count && m->backend->store_activations; i++)
    branches[i]->weights = cut(c, branches[i]->net.state_size, m->backend->activation_size);

  ptrdiff_t rows = o->batch * m->cells, out = o->arch.out;
  size_t activation = m->backend->activation_size;
  for (int v = 0; v < 2; v++) {
    if (m->backend->store_activations) m->input[v] = cut(c, f->value[0].size, activation);
    if (o->teacher) m->t[v] = cut(c, rows * m->channels, activation);
    m->q[v] = cut(c, o->batch * out, activation);
    m->z[v] = cut(c, o->batch * out, activation);
    m->byol[v] = cut(c, o->batch, sizeof(double));
    if (!o->regions) continue;
    m->r[v] = cut(c, rows * out, activation);
    m->g[v] = cut(c, rows * out, activation);
    m->diversity[v] = cut(c, rows, sizeof(int32_t));
    m->invariance[v] = cut(c, rows, sizeof(int32_t));
    m->rdem[v] = cut(c, o->batch, sizeof(double));
    m->riem[v] = cut(c, o->batch, sizeof(double));
  }
  m->sums = cut(c, 1, sizeof *m->sums);
  if (o->regions && o->negative == NEGATIVE_INSTANCE) m->other = cut(c, o->batch, sizeof(int32_t));

  struct match match = {.b = o->batch, .n = m->cells, .c = m->channels, .similarity = o->similarity};
  struct loss local = {.b = o->batch, .n = m->cells, .c = out}, global = {.b = o->batch, .n = 1, .c = out};
  ptrdiff_t workspace = 0, scratch = (ptrdiff_t)m->backend->loss_scratch(&global);
  if (o->regions) scratch = size_max(scratch, (ptrdiff_t)m->backend->loss_scratch(&local));
  if (o->teacher) scratch = size_max(scratch, (ptrdiff_t)m->backend->match_scratch(&match));
  for (int i = 0; i < count; i++) {
    workspace = size_max(workspace, (ptrdiff_t)branches[i]->plan.workspace);
    scratch = size_max(scratch, (ptrdiff_t)branches[i]->plan.scratch);
  }
  m->workspace = cut(c, workspace, 1);
  m->scratch = cut(c, scratch, 1);
}

bool model_plan(struct model *m, const struct model_config *config, const struct backend *backend, struct error *err) {
  *m = (struct model){.config = *config, .backend = backend};
  bool ok = branch_create(&m->online, "online", with_heads(config, true, true, true), m, true, err) &&
            branch_create(&m->target, "target", with_heads(config, true, false, true), m, false, err) &&
            (!config->teacher || branch_create(&m->teacher, "teacher", with_heads(config, false, false, false), m, false, err));
  if (!ok) return false;
  const struct value *map = &m->online.net.value[m->online.net.map];
  m->cells = map->h * map->w, m->channels = map->c;
  struct cutter counting = {0};
  cut_all(m, &counting);
  m->bytes = counting.used;
  return !counting.overflow || fail(err, "this batch of %td images of %td x %td does not fit in an address space; choose a smaller one",
                                    config->batch, config->height, config->width);
}

bool model_create(struct model *m, const struct model_config *config, const struct backend *backend, struct error *err) {
  if (!model_plan(m, config, backend, err) || !backend->reserve(m->bytes, &m->memory, err)) {
    model_free(m);
    return false;
  }
  struct cutter cutting = {.base = m->memory};
  cut_all(m, &cutting);
  return true;
}

bool model_memory(const struct model_config *config, const struct backend *backend, size_t *bytes, struct error *err) {
  struct model m;
  bool ok = model_plan(&m, config, backend, err);
  *bytes = m.bytes;
  model_free(&m);
  return ok;
}

void model_free(struct model *m) {
  struct branch *branches[] = {&m->online, &m->target, &m->teacher};
  for (int i = 0; i < 3; i++) {
    plan_free(&branches[i]->plan);
    net_free(&branches[i]->net);
  }
  if (m->memory) m->backend->release(m->memory, m->bytes);
  *m = (struct model){0};
}

void model_copy_state(const struct backend *backend, const struct net *from_net, const real *from, const struct net *to_net, real *to) {
  for (int i = 0; i < to_net->parameters; i++) {
    const struct parameter *p = &to_net->parameter[i];
    int j = net_find_parameter(from_net, p->name);
    if (j >= 0) backend->copy(to + p->offset, from + from_net->parameter[j].offset, (size_t)p->size * sizeof(real));
  }
}

bool model_initialise(struct model *m, uint64_t seed, struct error *err) {
  const struct backend *b = m->backend;
  if (!init_state(b, &m->online.net, seed, 0, m->online.state, err)) return false;
  model_copy_state(b, &m->online.net, m->online.state, &m->target.net, m->target.state);
  if (m->config.teacher && !init_state(b, &m->teacher.net, seed, 1, m->teacher.state, err)) return false;
  b->zero(m->momentum, (size_t)m->online.net.state_size * sizeof(real));
  return true;
}
