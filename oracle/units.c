#include "oracle/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const unit_network_names[UNIT_NETWORKS] = {"online", "target", "teacher"};

/* ---- the list ------------------------------------------------------------------------------------------------------------------------ */

static bool add(struct units *u, struct unit one) {
  if (u->count == u->capacity) {
    int capacity = u->capacity ? 2 * u->capacity : 256;
    struct unit *grown = realloc(u->unit, (size_t)capacity * sizeof *grown);
    if (!grown) return false;
    u->unit = grown;
    u->capacity = capacity;
  }
  u->unit[u->count++] = one;
  return true;
}

/* All layers of a network on one view, or of its pass back. */
static bool add_layers(struct units *u, struct unit at, enum unit_network network, bool backward) {
  const struct net *net = &u->net[network];
  bool ok = true;
  at.network = network;
  for (int i = 0; ok && i < net->layers; i++) {
    at.index = backward ? net->layers - 1 - i : i;
    at.kind = backward ? UNIT_GRADIENT : UNIT_FORWARD;
    ok = add(u, at);
    if (!backward || net->layer[at.index].weight < 0) continue;
    at.kind = UNIT_WEIGHTS;
    ok = ok && add(u, at);
  }
  return ok;
}

/* In the order of model_accumulate (model/step.c). */
static bool add_micro_batch(struct units *u, int step, int micro) {
  const struct model_config *c = &u->config;
  struct unit at = {.kind = UNIT_INPUT, .step = step, .micro = micro};
  bool ok = add(u, at);
  bool made = dump_find(u->d, "%d.%d/augment/-/0/0/source", step, micro) != NULL; /* of images, or given as they are */
  at.kind = UNIT_AUGMENT;
  for (at.index = 0; ok && made && at.index < c->batch; at.index++) ok = add(u, at);
  for (at.view = 1; ok && c->teacher && at.view <= 2; at.view++) ok = add_layers(u, at, UNIT_TEACHER, false);
  at.view = 0, at.kind = UNIT_MATCH;
  if (c->regions) ok = ok && add(u, at);
  for (at.view = 1; ok && at.view <= 2; at.view++) ok = add_layers(u, at, UNIT_TARGET, false);
  for (at.view = 1; ok && at.view <= 2; at.view++) {
    struct unit loss = at;
    loss.kind = UNIT_LOSS;
    ok = add_layers(u, at, UNIT_ONLINE, false) && add(u, loss) && add_layers(u, at, UNIT_ONLINE, true);
  }
  return ok;
}

static bool add_updates(struct units *u, int step, enum unit_network network, enum unit_kind kind) {
  const struct net *net = &u->net[network];
  bool ok = true;
  for (int i = 0; ok && i < net->parameters; i++) {
    if (net->parameter[i].role == ROLE_STATISTIC) continue;
    ok = add(u, (struct unit){.kind = kind, .step = step, .network = network, .index = i});
  }
  return ok;
}

static bool list(struct units *u, struct error *err) {
  bool ok = true;
  for (int n = 0; ok && n < UNIT_NETWORKS; n++) {
    if (u->net[n].layers > 0) ok = add(u, (struct unit){.kind = UNIT_STATE, .network = (enum unit_network)n});
  }
  for (int k = 0; ok && k < u->steps; k++) {
    ok = add(u, (struct unit){.kind = UNIT_SCHEDULE, .step = k});
    for (int a = 0; ok && a < u->micro_batches; a++) ok = add_micro_batch(u, k, a);
    ok = ok && add_updates(u, k, UNIT_ONLINE, UNIT_OPTIMISER) && add_updates(u, k, UNIT_TARGET, UNIT_EMA);
  }
  return ok || fail(err, "%s: out of memory", u->d->path);
}

/* Heads of each network: the table of model/model.h. */
static struct architecture architecture_of(const struct model_config *c, enum unit_network network) {
  struct architecture a = c->arch;
  bool online = network == UNIT_ONLINE;
  a.projector = network != UNIT_TEACHER;
  a.predictor = online;
  a.local_projector = network != UNIT_TEACHER && c->regions;
  a.local_predictor = online && c->regions && c->region_predictor;
  return a;
}

bool units_open(struct units *u, const struct dump *d, struct error *err) {
  *u = (struct units){.d = d, .steps = (int)json_array_size(json_object_get(d->manifest, "steps"))};
  if (d->kind != DUMP_FULL)
    return fail(err, "%s: is a digest; only a full dump has the tensors to replay from (oracle check compares it)", d->path);
  bool ok = dump_model_config(d, &u->config, &u->micro_batches, err);
  for (int n = 0; ok && n < UNIT_NETWORKS; n++) {
    if (n == UNIT_TEACHER && !u->config.teacher) continue;
    struct architecture a = architecture_of(&u->config, (enum unit_network)n);
    ok = net_build(&u->net[n], &a, u->config.batch, u->config.height, u->config.width, err) || fail_within(err, "%s: attrs", d->path);
  }
  if (ok) {
    const struct value *map = &u->net[UNIT_ONLINE].value[u->net[UNIT_ONLINE].map];
    u->cells = map->h * map->w, u->channels = map->c;
    ok = list(u, err);
  }
  if (!ok) units_close(u);
  return ok;
}

void units_close(struct units *u) {
  for (int n = 0; n < UNIT_NETWORKS; n++) net_free(&u->net[n]);
  free(u->unit);
  *u = (struct units){0};
}

/* ---- where tensors stand ------------------------------------------------------------------------------------------------------------- */

#define NAME(...) snprintf(name, TENSOR_MAX_NAME, __VA_ARGS__)

void units_value(const struct units *u, const struct unit *at, int value, unit_name name) {
  if (value == 0) {
    NAME("%d.%d/input/-/%d/image/view", at->step, at->micro, at->view);
  } else {
    NAME("%d.%d/forward/%s/%d/%s/y", at->step, at->micro, unit_network_names[at->network], at->view, u->net[at->network].value[value].name);
  }
}

void units_parameter(const struct units *u, enum unit_network network, int parameter, int step, unit_name name) {
  const char *own = u->net[network].parameter[parameter].name, *net = unit_network_names[network];
  if (step == 0 || network == UNIT_TEACHER) {
    NAME("0.0/state/%s/0/%s/parameter", net, own);
  } else {
    NAME("%d.0/%s/%s/0/%s/parameter", step - 1, network == UNIT_ONLINE ? "optimiser" : "ema", net, own);
  }
}

/* The pass before this one over the same network, in step, micro-batch and view; false if it is the first. */
static bool pass_before(const struct units *u, const struct unit *at, struct unit *before) {
  *before = *at;
  before->view = at->view == 2 ? 1 : 2;
  if (at->view == 2) return true;
  before->micro = at->micro > 0 ? at->micro - 1 : u->micro_batches - 1;
  before->step = at->micro > 0 ? at->step : at->step - 1;
  return before->step >= 0;
}

/* Statistics are a layer's in the trace ("bn1", "running_mean"), and parameters in the state ("bn1.running_mean"). */
void units_statistic(const struct units *u, const struct unit *at, int parameter, unit_name name) {
  const char *own = u->net[at->network].parameter[parameter].name, *net = unit_network_names[at->network], *dot = strrchr(own, '.');
  struct unit before;
  if (at->network == UNIT_TEACHER || !pass_before(u, at, &before)) {
    NAME("0.0/state/%s/0/%s/parameter", net, own);
  } else {
    NAME("%d.%d/forward/%s/%d/%.*s/%s", before.step, before.micro, net, before.view, (int)(dot - own), own, dot + 1);
  }
}

void units_momentum(const struct units *u, int parameter, int step, unit_name name) {
  const char *own = u->net[UNIT_ONLINE].parameter[parameter].name;
  if (step == 0) {
    NAME("0.0/state/online/0/%s/momentum", own);
  } else {
    NAME("%d.0/optimiser/online/0/%s/momentum", step - 1, own);
  }
}

bool units_buffer(const struct units *u, const struct unit *at, const char *tensor, unit_name name) {
  struct unit before;
  if (!pass_before(u, at, &before) || before.step < at->step) return false;
  NAME("%d.%d/backward/online/%d/%s/%s", before.step, before.micro, before.view, u->net[UNIT_ONLINE].layer[at->index].name, tensor);
  return true;
}

int units_value_shape(const struct value *v, ptrdiff_t shape[4]) {
  bool rows = v->h == 1 && v->w == 1; /* as net_run.c shows it */
  shape[0] = v->n, shape[1] = rows ? v->c : v->h, shape[2] = v->w, shape[3] = v->c;
  return rows ? 2 : 4;
}
