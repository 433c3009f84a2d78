/* Building the records of a network. */
#include "model/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/size.h"

/* Room for one more element; arrays double. Returns the array, or null when memory is out (the old one is then still valid). */
static void *grow(void *array, int count, size_t element) {
  if (count & (count - 1)) return array; /* not a power of two: there is room */
  return realloc(array, (size_t)(count ? 2 * count : 1) * element);
}

#define APPEND(array, count, ok, err)                                                                                                      \
  do {                                                                                                                                     \
    void *grown = grow(array, count, sizeof *(array));                                                                                     \
    if (!grown) {                                                                                                                          \
      *(ok) = fail(err, "out of memory while building the network");                                                                       \
      return -1;                                                                                                                           \
    }                                                                                                                                      \
    (array) = grown;                                                                                                                       \
    memset(&(array)[count], 0, sizeof *(array));                                                                                           \
  } while (0)

static int add_value(struct net *net, const char *name, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, int writer, bool *ok,
                     struct error *err) {
  ptrdiff_t size;
  if (!size_product(n, h, w, c, &size) || arena_bytes(size, sizeof(double)) == SIZE_MAX) {
    *ok = fail(err, "%s: an activation of %td x %td x %td x %td does not fit in memory; choose a smaller batch or image", name, n, h, w, c);
    return -1;
  }
  APPEND(net->value, net->values, ok, err);
  struct value *v = &net->value[net->values];
  snprintf(v->name, sizeof v->name, "%s", name);
  v->n = n, v->h = h, v->w = w, v->c = c, v->size = size, v->writer = writer;
  return net->values++;
}

static int add_parameter(struct net *net, const char *layer, const char *leaf, enum role role, int ndim, const ptrdiff_t *shape, bool *ok,
                         struct error *err) {
  APPEND(net->parameter, net->parameters, ok, err);
  struct parameter *p = &net->parameter[net->parameters];
  snprintf(p->name, sizeof p->name, "%s.%s", layer, leaf);
  p->role = role, p->ndim = ndim, p->size = 1, p->offset = net->state_size;
  for (int i = 0; i < ndim; i++) {
    p->shape[i] = shape[i];
    if (!size_product(p->size, shape[i], 1, 1, &p->size)) {
      *ok = fail(err, "%s: too many weights", p->name);
      return -1;
    }
  }
  net->state_size += (ptrdiff_t)(arena_bytes(p->size, sizeof(real)) / sizeof(real));
  return net->parameters++;
}

/* The layer record itself; its value is added by the caller. */
static struct layer *add_layer(struct net *net, enum layer_kind kind, const char *name, int x, bool *ok, struct error *err) {
  void *grown = grow(net->layer, net->layers, sizeof *net->layer);
  if (!grown) {
    *ok = fail(err, "out of memory while building the network");
    return NULL;
  }
  net->layer = grown;
  struct layer *l = &net->layer[net->layers];
  *l = (struct layer){.kind = kind, .x = x, .residual = -1, .y = -1, .weight = -1, .bias = -1, .mean = -1, .var = -1};
  snprintf(l->name, sizeof l->name, "%s", name);
  return l;
}

/* Closes a record: its output value exists, the record counts. */
static int finish_layer(struct net *net, struct layer *l, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, bool *ok, struct error *err) {
  if (!*ok) return -1;
  l->y = add_value(net, l->name, n, h, w, c, net->layers, ok, err);
  if (*ok) net->layers++;
  return l->y;
}

bool net_begin(struct net *net, const struct architecture *arch, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, struct error *err) {
  *net = (struct net){.arch = *arch, .map = -1, .pooled = -1, .projection = -1, .prediction = -1, .regions = -1, .region_prediction = -1};
  if (n < 1 || h < 1 || w < 1 || c < 1) return fail(err, "an input of %td x %td x %td x %td has no elements", n, h, w, c);
  bool ok = true;
  add_value(net, "input", n, h, w, c, -1, &ok, err);
  return ok;
}

void net_free(struct net *net) {
  free(net->layer);
  free(net->value);
  free(net->parameter);
  *net = (struct net){0};
}

int net_add_conv(struct net *net, const char *name, int x, ptrdiff_t k, ptrdiff_t kernel, ptrdiff_t stride, bool *ok, struct error *err) {
  struct layer *l = *ok ? add_layer(net, LAYER_CONV, name, x, ok, err) : NULL;
  if (!l) return -1;
  struct value v = net->value[x];
  struct conv *g = &l->shape.conv;
  *ok = conv_make(g, v.n, v.h, v.w, v.c, k, kernel, kernel, stride, kernel / 2, err) || fail_within(err, "%s", name);
  if (*ok) l->weight = add_parameter(net, name, "weight", ROLE_WEIGHT, 4, (ptrdiff_t[]){k, kernel, kernel, v.c}, ok, err);
  return finish_layer(net, l, v.n, g->p, g->q, k, ok, err);
}

int net_add_norm(struct net *net, const char *name, int x, int residual, bool relu, bool *ok, struct error *err) {
  struct layer *l = *ok ? add_layer(net, LAYER_NORM, name, x, ok, err) : NULL;
  if (!l) return -1;
  struct value v = net->value[x];
  l->residual = residual;
  l->shape.norm = (struct norm){.m = v.n * v.h * v.w, .c = v.c, .eps = net->arch.bn_eps, .momentum = net->arch.bn_momentum, .relu = relu};
  l->weight = add_parameter(net, name, "weight", ROLE_VECTOR, 1, &v.c, ok, err);
  if (*ok) l->bias = add_parameter(net, name, "bias", ROLE_VECTOR, 1, &v.c, ok, err);
  if (*ok) l->mean = add_parameter(net, name, "running_mean", ROLE_STATISTIC, 1, &v.c, ok, err);
  if (*ok) l->var = add_parameter(net, name, "running_var", ROLE_STATISTIC, 1, &v.c, ok, err);
  return finish_layer(net, l, v.n, v.h, v.w, v.c, ok, err);
}

int net_add_maxpool(struct net *net, const char *name, int x, bool *ok, struct error *err) {
  struct layer *l = *ok ? add_layer(net, LAYER_MAXPOOL, name, x, ok, err) : NULL;
  if (!l) return -1;
  struct value v = net->value[x];
  l->shape.pool = (struct pool){v.n, v.h, v.w, v.c};
  return finish_layer(net, l, v.n, maxpool_out(v.h), maxpool_out(v.w), v.c, ok, err);
}

int net_add_avgpool(struct net *net, const char *name, int x, bool *ok, struct error *err) {
  struct layer *l = *ok ? add_layer(net, LAYER_AVGPOOL, name, x, ok, err) : NULL;
  if (!l) return -1;
  struct value v = net->value[x];
  l->shape.pool = (struct pool){v.n, v.h, v.w, v.c};
  return finish_layer(net, l, v.n, 1, 1, v.c, ok, err);
}

int net_add_linear(struct net *net, const char *name, int x, ptrdiff_t out, bool bias, bool *ok, struct error *err) {
  struct layer *l = *ok ? add_layer(net, LAYER_LINEAR, name, x, ok, err) : NULL;
  if (!l) return -1;
  struct value v = net->value[x];
  l->shape.linear = (struct linear){.m = v.n * v.h * v.w, .i = v.c, .o = out};
  l->weight = add_parameter(net, name, "weight", ROLE_WEIGHT, 2, (ptrdiff_t[]){out, v.c}, ok, err);
  if (*ok && bias) l->bias = add_parameter(net, name, "bias", ROLE_VECTOR, 1, &out, ok, err);
  return finish_layer(net, l, v.n, v.h, v.w, out, ok, err);
}

int net_find_parameter(const struct net *net, const char *name) {
  for (int i = 0; i < net->parameters; i++)
    if (strcmp(net->parameter[i].name, name) == 0) return i;
  return -1;
}

int net_find_layer(const struct net *net, const char *name) {
  for (int i = 0; i < net->layers; i++)
    if (strcmp(net->layer[i].name, name) == 0) return i;
  return -1;
}

bool net_build(struct net *net, const struct architecture *arch, ptrdiff_t batch, ptrdiff_t height, ptrdiff_t width, struct error *err) {
  bool ok = net_begin(net, arch, batch, height, width, 3, err);
  if (ok) net->map = net_add_resnet(net, 0, &ok, err);
  if (ok) net_add_heads(net, &ok, err);
  if (!ok) net_free(net);
  return ok;
}
