#include "model/plan.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/size.h"

/* Something that needs bytes from moment `from` to moment `to`, both included. */
struct lease {
  size_t bytes, offset;
  int from, to;
};

/* Everything that is planned: values, then gradients, then what layers save. */
struct leases {
  struct lease *value, *gradient, *saved;
  int count;
};

static int last_moment(const struct net *net) { return 2 * net->layers; }
static int backward_moment(const struct net *net, int layer) { return 2 * net->layers - layer; }

static void extend(struct lease *l, int moment) {
  if (moment < l->from) l->from = moment;
  if (moment > l->to) l->to = moment;
}

static bool is_seed(const struct plan *plan, int value) {
  for (int i = 0; i < plan->seeds; i++)
    if (plan->seed[i] == value) return true;
  return false;
}

static size_t statistics_bytes(const struct norm *g) { return arena_bytes(2 * g->c, sizeof(double)); }

static bool has_signs(const struct backend *b, const struct layer *l, bool backward) {
  return backward && l->kind == LAYER_NORM && l->shape.norm.relu && b->norm_signs;
}

/* The norm that reads a value, or -1. */
static int norm_of(const struct net *net, int value) {
  for (int i = 0; i < net->layers; i++)
    if (net->layer[i].kind == LAYER_NORM && net->layer[i].x == value) return i;
  return -1;
}

/* What a layer leaves for another one. A norm leaves its statistics in any case; signs behind them, and which cell of a max pool won, are
 * asked by a backward only. A convolution may leave moments for the norm that reads it. */
static struct lease saved_lease(const struct backend *b, const struct net *net, int layer, bool backward) {
  const struct layer *l = &net->layer[layer];
  const struct pool *pool = &l->shape.pool;
  struct lease a = {.from = layer, .to = backward ? backward_moment(net, layer) : layer};
  switch (l->kind) {
  case LAYER_NORM:
    a.bytes = statistics_bytes(&l->shape.norm);
    if (has_signs(b, l, backward)) a.bytes += arena_bytes((ptrdiff_t)b->norm_signs(&l->shape.norm), 1);
    break;
  case LAYER_MAXPOOL:
    if (backward) a.bytes = arena_bytes(pool->n * maxpool_out(pool->h) * maxpool_out(pool->w) * pool->c, sizeof(int32_t));
    break;
  case LAYER_CONV:
    a.to = norm_of(net, l->y);
    if (a.to >= 0 && b->conv_moments) a.bytes = arena_bytes((ptrdiff_t)b->conv_moments(&l->shape.conv), 1);
    break;
  case LAYER_AVGPOOL:
  case LAYER_LINEAR: break;
  }
  return a;
}

static int readers(const struct net *net, int value) {
  int count = 0;
  for (int i = 0; i < net->layers; i++) count += (net->layer[i].x == value) + (net->layer[i].residual == value);
  return count;
}

/* Forward passes only: a backward pass reads the convolution's output. */
static void find_joined(const struct net *net, const struct backend *backend, struct plan *plan) {
  for (int i = 0; backend->conv_norm_forward_eval && !plan->backward && i + 1 < net->layers; i++) {
    const struct layer *l = &net->layer[i], *next = &net->layer[i + 1];
    plan->joined[i] = l->kind == LAYER_CONV && next->kind == LAYER_NORM && next->x == l->y && readers(net, l->y) == 1;
  }
}

/* Activations: from the writer to the last reader, which for a convolution's input may be the norm behind it. The outputs live to the
 * loss. */
static void lease_values(const struct net *net, const struct plan *plan, const bool *reached, struct leases *all) {
  for (int v = 1; v < net->values; v++) {
    int writer = net->value[v].writer;
    all->value[v].from = all->value[v].to = writer;
  }
  const int outputs[] = {net->map, net->pooled, net->projection, net->prediction, net->regions, net->region_prediction, net->values - 1};
  for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++)
    if (outputs[i] > 0) extend(&all->value[outputs[i]], net->layers);
  for (int i = 0; i < net->layers; i++) {
    const struct layer *l = &net->layer[i];
    extend(&all->value[l->x], i + plan->joined[i]);
    if (l->residual >= 0) extend(&all->value[l->residual], i);
    if (!plan->backward || !reached[l->y]) continue;
    int moment = backward_moment(net, i);
    if (l->kind == LAYER_CONV || l->kind == LAYER_LINEAR || l->kind == LAYER_NORM) extend(&all->value[l->x], moment);
    if (l->kind == LAYER_NORM && l->shape.norm.relu) extend(&all->value[l->y], moment); /* its sign is the mask */
  }
}

/* Gradients: from the first writer (a consumer's backward, or the loss) to the backward of the layer that wrote the value. reached[v]: a
 * seed depends on v. Fills plan->accumulate. */
static void lease_gradients(const struct net *net, struct plan *plan, bool *reached, struct leases *all) {
  for (int v = 0; v < net->values; v++) {
    struct lease *l = &all->gradient[v];
    l->from = last_moment(net) + 1, l->to = -1;
    if (is_seed(plan, v)) extend(l, net->layers), reached[v] = true;
  }
  for (int i = net->layers - 1; i >= 0; i--) {
    const struct layer *l = &net->layer[i];
    if (!reached[l->y]) continue;
    int moment = backward_moment(net, i);
    extend(&all->gradient[l->y], moment);
    if (l->residual >= 0) {
      assert(!reached[l->residual] && "a norm overwrites the gradient of its residual: it must be the residual's last consumer");
      reached[l->residual] = true;
      extend(&all->gradient[l->residual], moment);
    }
    if (l->x == 0 && !plan->input_gradient) continue;
    plan->accumulate[i] = reached[l->x];
    assert(!(reached[l->x] && (l->kind == LAYER_NORM || l->kind == LAYER_MAXPOOL)) && "norm and max pool overwrite: only consumers");
    reached[l->x] = true;
    extend(&all->gradient[l->x], moment);
  }
  if (reached[0]) extend(&all->gradient[0], last_moment(net));
}

static int by_size_falling(const void *a, const void *b) {
  const struct lease *x = *(struct lease *const *)a, *y = *(struct lease *const *)b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->from != y->from ? (x->from > y->from) - (x->from < y->from) : (x > y) - (x < y);
}

static int by_offset(const void *a, const void *b) {
  const struct lease *x = *(struct lease *const *)a, *y = *(struct lease *const *)b;
  return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Largest first, each at the lowest offset where nothing that lives at the same time lies. Returns the bytes used. */
static size_t place(struct lease *lease, int count, bool keep_all, struct lease **order, struct lease **near) {
  int n = 0;
  for (int i = 0; i < count; i++)
    if (lease[i].bytes > 0) order[n++] = &lease[i];
  qsort(order, (size_t)n, sizeof order[0], by_size_falling);
  size_t total = 0;
  for (int i = 0; i < n; i++) {
    struct lease *l = order[i];
    int others = 0;
    for (int j = 0; j < i; j++)
      if (keep_all || (order[j]->from <= l->to && l->from <= order[j]->to)) near[others++] = order[j];
    qsort(near, (size_t)others, sizeof near[0], by_offset);
    size_t at = 0;
    for (int j = 0; j < others && at + l->bytes > near[j]->offset; j++) {
      size_t end = near[j]->offset + near[j]->bytes;
      if (end > at) at = end;
    }
    l->offset = at;
    if (at + l->bytes > total) total = at + l->bytes;
  }
  return total;
}

static size_t layer_scratch(const struct backend *b, const struct layer *l) {
  switch (l->kind) {
  case LAYER_CONV: return b->conv_scratch(&l->shape.conv);
  case LAYER_NORM: return b->norm_scratch(&l->shape.norm);
  case LAYER_LINEAR: return b->linear_scratch(&l->shape.linear);
  case LAYER_MAXPOOL:
  case LAYER_AVGPOOL: break;
  }
  return 0;
}

/* A norm's backward may work in place, and its input has no other consumer: its two gradients share one lease, the output's. Returns the
 * value whose lease holds the gradient of v. */
static int gradient_holder(const struct net *net, const struct plan *plan, const int *norm_reading, int v) {
  while (!plan->keep_all && norm_reading[v] >= 0 && !is_seed(plan, v)) v = net->layer[norm_reading[v]].y;
  return v;
}

bool plan_make(struct plan *plan, const struct net *net, const struct backend *backend, int seeds, const int *seed, bool input_gradient,
               bool keep_all, struct error *err) {
  assert(seeds <= PLAN_MAX_SEEDS);
  *plan = (struct plan){.backward = seeds > 0, .keep_all = keep_all, .seeds = seeds, .input_gradient = input_gradient};
  for (int i = 0; i < seeds; i++) plan->seed[i] = seed[i];

  size_t values = (size_t)net->values, layers = (size_t)net->layers, count = 2 * values + layers;
  plan->value = calloc(values, sizeof(size_t));
  plan->gradient = calloc(values, sizeof(size_t));
  plan->saved = calloc(layers + 1, sizeof(size_t));
  plan->signs = calloc(layers + 1, sizeof(size_t));
  plan->accumulate = calloc(layers + 1, sizeof(bool));
  plan->joined = calloc(layers + 1, sizeof(bool));
  struct lease *lease = calloc(count, sizeof *lease);
  struct lease **order = calloc(2 * count, sizeof *order);
  bool *reached = calloc(values, sizeof(bool));
  int *norm_reading = calloc(values, sizeof(int));
  bool ok = plan->value && plan->gradient && plan->saved && plan->signs && plan->accumulate && plan->joined && lease && order && reached &&
            norm_reading;
  if (!ok) {
    fail(err, "out of memory while planning the network's memory");
    goto done;
  }

  struct leases all = {.value = lease, .gradient = lease + values, .saved = lease + 2 * values, .count = (int)count};
  find_joined(net, backend, plan);
  lease_gradients(net, plan, reached, &all);
  lease_values(net, plan, reached, &all);
  for (int v = 0; v < net->values; v++) norm_reading[v] = -1;
  for (int i = 0; i < net->layers; i++) {
    const struct layer *l = &net->layer[i];
    if (l->kind == LAYER_NORM && reached[l->y]) norm_reading[l->x] = i;
    all.saved[i] = saved_lease(backend, net, i, plan->backward && reached[l->y]);
    plan->scratch = (size_t)size_max((ptrdiff_t)plan->scratch, (ptrdiff_t)layer_scratch(backend, l));
  }
  for (int v = 0; v < net->values; v++) {
    if (v > 0) all.value[v].bytes = arena_bytes(net->value[v].size, backend->activation_size);
    if (!reached[v]) continue;
    int holder = gradient_holder(net, plan, norm_reading, v);
    all.gradient[holder].bytes = arena_bytes(net->value[v].size, backend->activation_size);
    extend(&all.gradient[holder], all.gradient[v].from);
    extend(&all.gradient[holder], all.gradient[v].to);
  }
  plan->workspace = place(lease, (int)count, keep_all, order, order + count);
  for (int v = 0; v < net->values; v++) {
    plan->value[v] = v > 0 ? all.value[v].offset : PLAN_NONE;
    plan->gradient[v] = reached[v] ? all.gradient[gradient_holder(net, plan, norm_reading, v)].offset : PLAN_NONE;
  }
  for (int i = 0; i < net->layers; i++) {
    const struct layer *l = &net->layer[i];
    plan->saved[i] = all.saved[i].bytes ? all.saved[i].offset : PLAN_NONE;
    bool signs = has_signs(backend, l, plan->backward && reached[l->y]);
    plan->signs[i] = signs ? plan->saved[i] + statistics_bytes(&l->shape.norm) : PLAN_NONE;
  }

done:
  free(lease);
  free(order);
  free(reached);
  free(norm_reading);
  if (!ok) plan_free(plan);
  return ok;
}

void plan_free(struct plan *plan) {
  free(plan->value);
  free(plan->gradient);
  free(plan->saved);
  free(plan->signs);
  free(plan->accumulate);
  free(plan->joined);
  *plan = (struct plan){0};
}
