/* Units of what is the method's: losses, matches, LARS and the moving average. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/unit_maker.h"

/* ---- losses -------------------------------------------------------------------------------------------------------------------------- */

/* One view of a loss case: tensors of this view, and of the target's other one. */
static struct memory_case *begin_loss(struct maker *m) {
  const struct model_config *o = &m->u->config;
  const struct net *f = m->net, *g = &m->u->net[UNIT_TARGET];
  double share = 1.0 / (double)m->u->micro_batches; /* as step.c: share times lambda */
  ptrdiff_t whole[] = {o->batch, o->arch.out}, region[] = {o->batch, m->u->cells, o->arch.out};
  int v = m->at->view, other = 3 - v;
  char as[WORK_RESULT];
  unit_name name;
  struct unit own = *m->at, target_own = *m->at, target_other = *m->at;
  own.network = UNIT_ONLINE, target_own.network = target_other.network = UNIT_TARGET;
  target_other.view = other;
  struct memory_case *c = unit_begin(m, "loss", "losses");
  memory_case_number(c, "lambda1", share * o->lambda_rdem);
  memory_case_number(c, "lambda2", share * o->lambda_riem);
  memory_case_number(c, "lambda3", share * o->lambda_byol);
  memory_case_text(c, "rdem_stopgrad", o->stopgrad == RDEM_STOPGRAD_MATCH ? "match" : "none");
  memory_case_text(c, "rdem_negative", o->negative == NEGATIVE_INSTANCE ? "instance" : "region");
#define GIVE(letter, number, unit, value, ndim, shape)                                                                                     \
  do {                                                                                                                                     \
    snprintf(as, sizeof as, "in." letter "%d", number);                                                                                    \
    units_value(m->u, unit, value, name);                                                                                                  \
    unit_give(m, c, as, name, ndim, shape, false);                                                                                         \
  } while (0)
  GIVE("q", v, &own, f->prediction, 2, whole);
  GIVE("z", other, &target_other, g->projection, 2, whole);
  if (!o->regions) return c;
  GIVE("r", v, &own, f->regions, 3, region);
  GIVE("g", other, &target_other, g->regions, 3, region);
  if (f->region_prediction >= 0) GIVE("p", v, &own, f->region_prediction, 3, region);
  if (o->negative == NEGATIVE_INSTANCE) {
    GIVE("g", v, &target_own, g->regions, 3, region);
    snprintf(name, sizeof name, "%d.%d/input/-/0/rdem/other", m->at->step, m->at->micro);
    unit_give(m, c, "in.neg", name, 1, &o->batch, true);
  } else {
    snprintf(name, sizeof name, "%d.%d/match/-/%d/rdem/index", m->at->step, m->at->micro, v);
    unit_give(m, c, v == 1 ? "in.d1" : "in.d2", name, 2, region, true);
  }
#undef GIVE
  snprintf(name, sizeof name, "%d.%d/match/-/%d/riem/index", m->at->step, m->at->micro, v);
  unit_give(m, c, v == 1 ? "in.s12" : "in.s21", name, 2, region, true);
  return c;
}

void unit_make_loss(struct maker *m) {
  static const char *const names[] = {"byol", "rdem", "riem"};
  const ptrdiff_t *b = &m->u->config.batch;
  begin_loss(m);
  m->w->op = "loss";
  for (int i = 0; i < (m->u->config.regions ? 3 : 1); i++) {
    char result[WORK_RESULT];
    snprintf(result, sizeof result, "out.%s%d", names[i], m->at->view);
    struct work_output *o = unit_output(m, 1, b, "%d.%d/loss/online/%d/%s/value", m->at->step, m->at->micro, m->at->view, names[i]);
    unit_add_part(m, o, result, DTYPE_F64, 1, b);
  }
}

/* What the losses add to the gradient of a value that they read. */
void unit_add_losses(struct maker *m, struct work_output *o, int value) {
  const struct net *f = m->net;
  const struct model_config *c = &m->u->config;
  ptrdiff_t whole[] = {c->batch, c->arch.out}, region[] = {c->batch, m->u->cells, c->arch.out};
  char result[WORK_RESULT];
  bool is_prediction = value == f->prediction;
  if (!is_prediction && value != f->regions && value != f->region_prediction) return;
  begin_loss(m);
  snprintf(result, sizeof result, "grad_in.%c%d", is_prediction ? 'q' : value == f->regions ? 'r' : 'p', m->at->view);
  unit_add_part(m, o, result, DTYPE_F32, is_prediction ? 2 : 3, is_prediction ? whole : region);
}

/* ---- matches ------------------------------------------------------------------------------------------------------------------------- */

void unit_make_match(struct maker *m) {
  static const char *const results[2][2] = {{"out.d1", "out.s12"}, {"out.d2", "out.s21"}};
  const struct model_config *o = &m->u->config;
  bool drawn = o->sampler == SAMPLER_RANDOM;
  ptrdiff_t shape[] = {o->batch, m->u->cells, m->u->channels};
  m->w->op = drawn ? "sampler" : "match";
  struct memory_case *c = drawn ? NULL : unit_begin(m, "match", "regions");
  for (int v = 1; c && v <= 2; v++) {
    unit_name name;
    struct unit teacher = *m->at;
    teacher.network = UNIT_TEACHER, teacher.view = v;
    units_value(m->u, &teacher, m->u->net[UNIT_TEACHER].map, name);
    unit_give(m, c, v == 1 ? "in.t1" : "in.t2", name, 3, shape, false);
  }
  if (c) memory_case_text(c, "similarity", o->similarity == SIMILARITY_DOT ? "dot" : "cosine");
  for (int v = 1; v <= 2; v++) {
    for (int i = 0; i < 2; i++) {
      struct work_output *to =
          unit_output(m, 2, shape, "%d.%d/match/-/%d/%s/index", m->at->step, m->at->micro, v, i == 0 ? "rdem" : "riem");
      to->is_index = true;
      if (c) unit_add_part(m, to, results[v - 1][i], DTYPE_I32, 2, shape);
    }
  }
}

/* ---- updates ------------------------------------------------------------------------------------------------------------------------- */

/* A number of a step in the manifest, as a tensor of one element. */
static void give_rate(struct maker *m, struct memory_case *c, const char *as, const char *key) {
  const ptrdiff_t one = 1;
  double *value = malloc(sizeof *value);
  m->w->masked[m->w->masks++] = value;
  if (!value) {
    m->ok = false;
    return;
  }
  *value = json_number_value(json_object_get(json_array_get(json_object_get(m->u->d->manifest, "steps"), (size_t)m->at->step), key));
  struct tensor t = tensor_make(DTYPE_F64, value, 1, &one, "%s", key);
  memory_case_give(c, as, &t);
}

/* The layer that a parameter belongs to, and whether it is its weight. */
static const struct layer *layer_of(const struct net *net, int parameter, bool *weight) {
  for (int i = 0; i < net->layers; i++) {
    *weight = net->layer[i].weight == parameter;
    if (*weight || net->layer[i].bias == parameter) return &net->layer[i];
  }
  return NULL;
}

void unit_make_optimiser(struct maker *m) {
  const struct parameter *p = &m->net->parameter[m->at->index];
  const struct lars *o = &m->u->config.lars;
  const char *own = p->role == ROLE_WEIGHT ? "weight.0" : "vector.0";
  char as[WORK_RESULT], results[2][WORK_RESULT];
  bool weight = false;
  unit_name gradient, accumulated, momentum;
  const struct layer *l = layer_of(m->net, m->at->index, &weight);
  struct work_output *copy = unit_output(m, p->ndim, p->shape, "%d.0/optimiser/online/0/%s/gradient", m->at->step, p->name);
  snprintf(gradient, sizeof gradient, "%s", copy->name);
  snprintf(accumulated, sizeof accumulated, "%d.%d/backward/online/2/%s/%s", m->at->step, m->u->micro_batches - 1, l ? l->name : "?",
           weight ? "dweight" : "dbias");
  copy->copy_of = unit_input(m, accumulated, p->size, false);
  m->w->op = "lars";
  struct memory_case *c = unit_begin(m, "lars", p->name);
  memory_case_text(c, "variant", o->variant == LARS_OPENSELFSUP ? "openselfsup" : "byol");
  memory_case_number(c, "trust", o->trust);
  memory_case_number(c, "momentum", o->momentum);
  memory_case_number(c, "weight_decay", o->weight_decay);
  memory_case_integer(c, "steps", 1);
  give_rate(m, c, "in.lr", "lr");
  snprintf(as, sizeof as, "param.%s", own);
  unit_give_parameter(m, c, as, m->at->index);
  snprintf(as, sizeof as, "in.momentum.%s", own);
  units_momentum(m->u, m->at->index, m->at->step, momentum);
  unit_give(m, c, as, momentum, p->ndim, p->shape, false);
  snprintf(as, sizeof as, "in.grad.0.%s", own);
  unit_give(m, c, as, gradient, p->ndim, p->shape, false);
  snprintf(results[0], sizeof results[0], "out.momentum.0.%s", own);
  snprintf(results[1], sizeof results[1], "out.param.0.%s", own);
  for (int i = 0; i < 2; i++) {
    struct work_output *to =
        unit_output(m, p->ndim, p->shape, "%d.0/optimiser/online/0/%s/%s", m->at->step, p->name, i == 0 ? "momentum" : "parameter");
    unit_add_part(m, to, results[i], DTYPE_F32, p->ndim, p->shape);
  }
}

void unit_make_ema(struct maker *m) {
  const struct parameter *p = &m->net->parameter[m->at->index];
  unit_name name;
  struct memory_case *c = unit_begin(m, "ema", p->name);
  m->w->op = "ema";
  give_rate(m, c, "in.tau", "tau");
  unit_give_parameter(m, c, "in.target.0", m->at->index);
  snprintf(name, sizeof name, "%d.0/optimiser/online/0/%s/parameter", m->at->step, p->name);
  unit_give(m, c, "in.online.0.0", name, p->ndim, p->shape, false);
  struct work_output *o = unit_output(m, p->ndim, p->shape, "%d.0/ema/target/0/%s/parameter", m->at->step, p->name);
  unit_add_part(m, o, "out.target.0.0", DTYPE_F32, p->ndim, p->shape);
}
