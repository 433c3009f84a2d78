#include "model/net_run.h"

#include <assert.h>

#include "op/activation.h"

real *net_value(const struct net_run *run, int value) {
  assert(value > 0);
  return (real *)((char *)run->workspace + run->plan->value[value]);
}

real *net_gradient(const struct net_run *run, int value) {
  size_t offset = run->plan->gradient[value];
  return offset == PLAN_NONE ? NULL : (real *)((char *)run->workspace + offset);
}

static real *parameter(const struct net_run *run, real *block, int p) {
  return p >= 0 && block ? block + run->net->parameter[p].offset : NULL;
}

/* The weights of a convolution or linear layer, as the backend reads them; of a norm, gamma. */
static const real *weights(const struct net_run *run, const struct layer *l) {
  const real *w = parameter(run, run->state, l->weight);
  if (!run->weights || (l->kind != LAYER_CONV && l->kind != LAYER_LINEAR)) return w;
  return (const real *)((const char *)run->weights + (size_t)run->net->parameter[l->weight].offset * run->backend->activation_size);
}

static void *saved(const struct net_run *run, int layer) {
  size_t offset = run->plan->saved[layer];
  return offset == PLAN_NONE ? NULL : (char *)run->workspace + offset;
}

static unsigned char *signs(const struct net_run *run, int layer) {
  size_t offset = run->plan->signs[layer];
  return offset == PLAN_NONE ? NULL : (unsigned char *)run->workspace + offset;
}

static void see_value(const struct net_run *run, enum phase phase, const char *layer, const char *tensor, int value, real *data) {
  if (!run->trace || !data) return;
  const struct value *v = &run->net->value[value];
  bool rows = v->h == 1 && v->w == 1;
  struct trace_event e = {.phase = phase, .network = run->network, .view = run->view, .layer = layer, .tensor = tensor};
  enum dtype dtype = activation_dtype(run->backend);
  e.data = rows ? tensor_make(dtype, data, 2, (ptrdiff_t[]){v->n, v->c}, "%s.%s", layer, tensor)
                : tensor_make(dtype, data, 4, (ptrdiff_t[]){v->n, v->h, v->w, v->c}, "%s.%s", layer, tensor);
  run->trace->see(run->trace->context, &e);
}

static void see_parameter(const struct net_run *run, enum phase phase, const char *layer, const char *tensor, real *block, int p) {
  if (!run->trace || p < 0) return;
  const struct parameter *q = &run->net->parameter[p];
  struct trace_event e = {.phase = phase, .network = run->network, .view = run->view, .layer = layer, .tensor = tensor};
  e.data = tensor_make(REAL_DTYPE, parameter(run, block, p), q->ndim, q->shape, "%s.%s", layer, tensor);
  run->trace->see(run->trace->context, &e);
}

static void norm_forward(const struct net_run *run, enum net_mode mode, int layer, const real *input, const real *x, real *y) {
  const struct layer *l = &run->net->layer[layer];
  const struct backend *b = run->backend;
  struct norm g = l->shape.norm;
  const real *residual = l->residual > 0 ? net_value(run, l->residual) : l->residual == 0 ? input : NULL;
  const real *gamma = parameter(run, run->state, l->weight), *beta = parameter(run, run->state, l->bias);
  real *running_mean = parameter(run, run->state, l->mean), *running_var = parameter(run, run->state, l->var);
  double *mean = saved(run, layer), *invstd = mean + g.c;
  if (mode == NET_EVAL) {
    b->norm_forward_eval(&g, x, residual, gamma, beta, running_mean, running_var, y);
    return;
  }
  if (mode == NET_BATCH) g.momentum = 0; /* running + 0 * (batch - running): unchanged, to the bit */
  g.signs = signs(run, layer);
  if (l->x > 0 && run->net->layer[run->net->value[l->x].writer].kind == LAYER_CONV) g.moments = saved(run, run->net->value[l->x].writer);
  b->norm_forward_train(&g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, run->scratch);
  if (mode == NET_TRAIN) {
    see_parameter(run, PHASE_FORWARD, l->name, "running_mean", run->state, l->mean);
    see_parameter(run, PHASE_FORWARD, l->name, "running_var", run->state, l->var);
  }
}

/* A convolution and the norm behind it, in evaluation, as one. */
static void conv_norm_forward(const struct net_run *run, int layer, const real *input, const real *x, const real *w) {
  const struct layer *l = &run->net->layer[layer], *n = &run->net->layer[layer + 1];
  const real *residual = n->residual > 0 ? net_value(run, n->residual) : n->residual == 0 ? input : NULL;
  run->backend->conv_norm_forward_eval(&l->shape.conv, &n->shape.norm, x, w, residual, parameter(run, run->state, n->weight),
                                       parameter(run, run->state, n->bias), parameter(run, run->state, n->mean),
                                       parameter(run, run->state, n->var), net_value(run, n->y), run->scratch);
}

void net_forward(const struct net_run *run, enum net_mode mode, const real *input) {
  const struct backend *b = run->backend;
  for (int i = 0; i < run->net->layers; i++) {
    const struct layer *l = &run->net->layer[i];
    const real *x = l->x == 0 ? input : net_value(run, l->x), *w = weights(run, l);
    real *y = net_value(run, l->y);
    if (mode == NET_EVAL && (!run->trace || run->trace->joins) && run->plan->joined[i]) {
      conv_norm_forward(run, i, input, x, w);
      l = &run->net->layer[++i];
      see_value(run, PHASE_FORWARD, l->name, "y", l->y, net_value(run, l->y));
      continue;
    }
    switch (l->kind) {
    case LAYER_CONV:
      if (mode != NET_EVAL && saved(run, i))
        b->conv_forward_moments(&l->shape.conv, x, w, y, saved(run, i), run->scratch);
      else
        b->conv_forward(&l->shape.conv, x, w, y, run->scratch);
      break;
    case LAYER_NORM: norm_forward(run, mode, i, input, x, y); break;
    case LAYER_MAXPOOL: b->maxpool_forward(&l->shape.pool, x, y, saved(run, i)); break;
    case LAYER_AVGPOOL: b->avgpool_forward(&l->shape.pool, x, y); break;
    case LAYER_LINEAR: b->linear_forward(&l->shape.linear, x, w, parameter(run, run->state, l->bias), y); break;
    }
    see_value(run, PHASE_FORWARD, l->name, "y", l->y, y);
  }
}

void net_backward(const struct net_run *run, const real *input) {
  const struct backend *b = run->backend;
  assert(run->plan->backward && run->gradient);
  for (int i = run->net->layers - 1; i >= 0; i--) {
    const struct layer *l = &run->net->layer[i];
    real *dy = net_gradient(run, l->y), *dx = net_gradient(run, l->x);
    if (!dy) continue; /* no loss depends on this layer */
    see_value(run, PHASE_BACKWARD, l->name, "dy", l->y, dy);
    const real *x = l->x == 0 ? input : net_value(run, l->x), *w = weights(run, l);
    real *dw = parameter(run, run->gradient, l->weight), *db = parameter(run, run->gradient, l->bias);
    bool accumulate = run->plan->accumulate[i];
    switch (l->kind) {
    case LAYER_CONV:
      b->conv_backward_weights(&l->shape.conv, x, dy, dw, run->scratch);
      if (dx) b->conv_backward_data(&l->shape.conv, dy, w, dx, accumulate, run->scratch);
      break;
    case LAYER_NORM: {
      struct norm g = l->shape.norm;
      const double *mean = saved(run, i), *invstd = mean + g.c;
      real *dresidual = l->residual >= 0 ? net_gradient(run, l->residual) : NULL;
      g.signs = signs(run, i);
      b->norm_backward_train(&g, x, net_value(run, l->y), w, mean, invstd, dy, dx, dresidual, dw, db, run->scratch);
      break;
    }
    case LAYER_MAXPOOL: b->maxpool_backward(&l->shape.pool, dy, saved(run, i), dx); break;
    case LAYER_AVGPOOL: b->avgpool_backward(&l->shape.pool, dy, dx, accumulate); break;
    case LAYER_LINEAR:
      b->linear_backward_weights(&l->shape.linear, x, dy, dw, db, run->scratch);
      if (dx) b->linear_backward_data(&l->shape.linear, dy, w, dx, accumulate);
      break;
    }
    see_parameter(run, PHASE_BACKWARD, l->name, "dweight", run->gradient, l->weight);
    see_parameter(run, PHASE_BACKWARD, l->name, "dbias", run->gradient, l->bias);
  }
  if (net_gradient(run, 0)) see_value(run, PHASE_BACKWARD, "input", "dy", 0, net_gradient(run, 0));
}
