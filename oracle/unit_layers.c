/* Units of layers: forward, gradients of values, gradients of parameters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/unit_maker.h"
#include "oracle/values.h"

/* ---- shapes -------------------------------------------------------------------------------------------------------------------------- */

static void map_shape(const struct value *v, ptrdiff_t shape[4]) { shape[0] = v->n, shape[1] = v->h, shape[2] = v->w, shape[3] = v->c; }

static void row_shape(const struct value *v, ptrdiff_t shape[2]) { shape[0] = v->n * v->h * v->w, shape[1] = v->c; }

/* The shape in which a layer's case has a value: rows for a linear layer and behind the average, of a norm as in the dump, else a map. */
static int layer_shape(const struct maker *m, const struct layer *l, int value, ptrdiff_t shape[4]) {
  const struct value *v = &m->net->value[value];
  if (l->kind == LAYER_LINEAR || (l->kind == LAYER_AVGPOOL && value == l->y)) {
    row_shape(v, shape);
    return 2;
  }
  if (l->kind == LAYER_NORM) return units_value_shape(v, shape);
  map_shape(v, shape);
  return 4;
}

/* ---- a layer as a case --------------------------------------------------------------------------------------------------------------- */

static const char *const layer_ops[] = {
    [LAYER_CONV] = "conv", [LAYER_NORM] = "norm", [LAYER_MAXPOOL] = "maxpool", [LAYER_AVGPOOL] = "avgpool", [LAYER_LINEAR] = "linear"};

static void describe_norm(struct maker *m, struct memory_case *c, const struct layer *l, bool relu, bool train) {
  const struct norm *g = &l->shape.norm;
  bool teacher = m->at->network == UNIT_TEACHER;
  unit_name name;
  ptrdiff_t shape[4];
  memory_case_text(c, "mode", train ? "train" : "eval");
  memory_case_number(c, "eps", g->eps);
  memory_case_number(c, "momentum", teacher ? 0 : g->momentum);
  memory_case_flag(c, "relu", relu);
  memory_case_flag(c, "residual", l->residual >= 0);
  if (l->residual >= 0) {
    int ndim = units_value_shape(&m->net->value[l->residual], shape);
    unit_give_value(m, c, "in.residual", l->residual, ndim, shape);
  }
  unit_give_parameter(m, c, "param.gamma", l->weight);
  unit_give_parameter(m, c, "param.beta", l->bias);
  units_statistic(m->u, m->at, l->mean, name);
  unit_give(m, c, "in.running_mean", name, 1, &g->c, false);
  units_statistic(m->u, m->at, l->var, name);
  unit_give(m, c, "in.running_var", name, 1, &g->c, false);
}

/* The views are floats in a dump; a backend that stores activations as bf16 has its first layer read them so. */
static bool reads_rounded(const struct maker *m, const struct layer *l) {
  unit_name y;
  units_value(m->u, m->at, l->y, y);
  const struct dump_entry *e = dump_find(m->u->d, "%s", y);
  return l->x == 0 && e && e->dtype == DTYPE_BF16;
}

static void give_rounded_view(struct maker *m, struct memory_case *c, int ndim, const ptrdiff_t *shape) {
  unit_name name;
  ptrdiff_t n = m->net->value[0].size;
  units_value(m->u, m->at, 0, name);
  const struct tensor *view = unit_input(m, name, n, false);
  if (!view || m->plan) return;
  double *x = tensor_values(view);
  m->w->masked[m->w->masks++] = x;
  m->ok = m->ok && x;
  if (!x) return;
  for (ptrdiff_t i = 0; i < n; i++) x[i] = number_round(&precision_classes[PRECISION_BF16].in, x[i]);
  struct tensor t = tensor_make(DTYPE_F64, x, ndim, shape, "view");
  memory_case_give(c, "in.x", &t);
}

/* The layer's case but for gradients and what is expected of it. */
static struct memory_case *begin_layer(struct maker *m, const struct layer *l, bool relu) {
  struct memory_case *c = unit_begin(m, layer_ops[l->kind], l->name);
  ptrdiff_t shape[4];
  int ndim = layer_shape(m, l, l->x, shape);
  if (reads_rounded(m, l))
    give_rounded_view(m, c, ndim, shape);
  else
    unit_give_value(m, c, "in.x", l->x, ndim, shape);
  switch (l->kind) {
  case LAYER_CONV:
    memory_case_integer(c, "stride", l->shape.conv.stride);
    memory_case_integer(c, "pad", l->shape.conv.pad);
    unit_give_parameter(m, c, "param.weight", l->weight);
    break;
  case LAYER_NORM: describe_norm(m, c, l, relu, m->at->network != UNIT_TEACHER || m->u->config.teacher_batch); break;
  case LAYER_MAXPOOL:
    memory_case_integer(c, "kernel", 3);
    memory_case_integer(c, "stride", 2);
    memory_case_integer(c, "pad", 1);
    break;
  case LAYER_AVGPOOL: break;
  case LAYER_LINEAR:
    memory_case_flag(c, "bias", l->bias >= 0);
    unit_give_parameter(m, c, "param.weight", l->weight);
    if (l->bias >= 0) unit_give_parameter(m, c, "param.bias", l->bias);
    break;
  }
  return c;
}

void unit_make_forward(struct maker *m) {
  const struct layer *l = &m->net->layer[m->at->index];
  const char *net = unit_network_names[m->at->network];
  bool relu = l->kind == LAYER_NORM && l->shape.norm.relu;
  ptrdiff_t shape[4];
  begin_layer(m, l, relu);
  m->w->op = layer_ops[l->kind];
  for (int i = 0; l->kind == LAYER_NORM && m->at->network != UNIT_TEACHER && i < 2; i++) { /* as the step makes them: before y */
    const char *tensor = i == 0 ? "running_mean" : "running_var";
    char result[WORK_RESULT];
    snprintf(result, sizeof result, "out.%s", tensor);
    struct work_output *o =
        unit_output(m, 1, &l->shape.norm.c, "%d.%d/forward/%s/%d/%s/%s", m->at->step, m->at->micro, net, m->at->view, l->name, tensor);
    unit_add_part(m, o, result, DTYPE_F32, 1, &l->shape.norm.c);
  }
  int ndim = units_value_shape(&m->net->value[l->y], shape);
  struct work_output *o = unit_output(m, ndim, shape, "%d.%d/forward/%s/%d/%s/y", m->at->step, m->at->micro, net, m->at->view, l->name);
  ndim = layer_shape(m, l, l->y, shape);
  unit_add_part(m, o, "out.y", DTYPE_F32, ndim, shape);
}

/* The upstream gradient of a layer: the dump's dy of what it writes; of a norm with ReLU, what the ReLU of the dump lets through. */
static void give_upstream(struct maker *m, struct memory_case *c, const struct layer *l) {
  ptrdiff_t shape[4], count = m->net->value[l->y].size;
  int ndim = layer_shape(m, l, l->y, shape);
  unit_name name;
  snprintf(name, sizeof name, "%d.%d/backward/online/%d/%s/dy", m->at->step, m->at->micro, m->at->view, l->name);
  const struct tensor *dy = unit_input(m, name, count, false);
  if (l->kind != LAYER_NORM || !l->shape.norm.relu) {
    if (dy) memory_case_give_as(c, "grad_out.y", dy, ndim, shape);
    return;
  }
  units_value(m->u, m->at, l->y, name);
  const struct tensor *y = unit_input(m, name, count, false);
  if (!dy || !y || m->plan) return;
  double *masked = tensor_values(dy), *open = tensor_values(y);
  m->ok = m->ok && masked && open;
  for (ptrdiff_t i = 0; masked && open && i < count; i++) masked[i] = open[i] > 0 ? masked[i] : 0;
  free(open);
  m->w->masked[m->w->masks++] = masked;
  if (!m->ok) return;
  struct tensor t = tensor_make(DTYPE_F64, masked, ndim, shape, "dy");
  memory_case_give(c, "grad_out.y", &t);
}

/* ---- backward ------------------------------------------------------------------------------------------------------------------------ */

void unit_make_gradient(struct maker *m) {
  const struct net *net = m->net;
  const struct layer *own = &net->layer[m->at->index];
  ptrdiff_t shape[4];
  int ndim = units_value_shape(&net->value[own->y], shape);
  struct work_output *o = unit_output(m, ndim, shape, "%d.%d/backward/online/%d/%s/dy", m->at->step, m->at->micro, m->at->view, own->name);
  m->w->op = "gradient";
  for (int i = net->layers - 1; i > m->at->index; i--) { /* in the order in which they add to it */
    const struct layer *l = &net->layer[i];
    if (l->x != own->y && l->residual != own->y) continue;
    if (m->w->cases + 2 > WORK_CASES) {
      snprintf(m->w->lacks, sizeof m->w->lacks, "room for more than %d readers of %s", WORK_CASES - 2, own->name);
      return;
    }
    struct memory_case *c = begin_layer(m, l, false);
    give_upstream(m, c, l);
    ndim = layer_shape(m, l, own->y, shape);
    unit_add_part(m, o, l->x == own->y ? "grad_in.x" : "grad_in.residual", DTYPE_F32, ndim, shape);
  }
  unit_add_losses(m, o, own->y);
}

/* A bias in front of a batch norm moves the mean alone, which the norm subtracts: the gradient of its value sums to zero over rows. */
static bool is_cancelled_bias(const struct net *net, const struct layer *l) {
  bool norm = false, other = false;
  for (int i = 0; i < net->layers; i++) {
    if (net->layer[i].x == l->y) *(net->layer[i].kind == LAYER_NORM ? &norm : &other) = true;
    if (net->layer[i].residual == l->y) other = true;
  }
  return l->kind == LAYER_LINEAR && norm && !other;
}

void unit_make_weights(struct maker *m) {
  const struct layer *l = &m->net->layer[m->at->index];
  bool norm = l->kind == LAYER_NORM;
  m->w->op = layer_ops[l->kind];
  give_upstream(m, begin_layer(m, l, false), l);
  for (int i = 0; i < (l->bias >= 0 ? 2 : 1); i++) {
    const struct parameter *p = &m->net->parameter[i == 0 ? l->weight : l->bias];
    const char *tensor = i == 0 ? "dweight" : "dbias";
    const char *result = i == 0 ? (norm ? "grad_param.gamma" : "grad_param.weight") : norm ? "grad_param.beta" : "grad_param.bias";
    struct work_output *o =
        unit_output(m, p->ndim, p->shape, "%d.%d/backward/online/%d/%s/%s", m->at->step, m->at->micro, m->at->view, l->name, tensor);
    unit_name before;
    o->cancels = i == 1 && is_cancelled_bias(m->net, l);
    unit_add_part(m, o, result, DTYPE_F32, p->ndim, p->shape);
    if (units_buffer(m->u, m->at, tensor, before)) o->start = unit_input(m, before, p->size, false);
  }
}
