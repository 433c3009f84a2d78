/* real is float here. */
#include "oracle/step_class.h"

#include <math.h>
#include <string.h>

#include "oracle/backend_case.h"
#include "oracle/candidate.h"
#include "oracle/mixed.h"

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

static const char *const layer_ops[] = {
    [LAYER_CONV] = "conv", [LAYER_NORM] = "norm", [LAYER_MAXPOOL] = "maxpool", [LAYER_AVGPOOL] = "avgpool", [LAYER_LINEAR] = "linear"};

static const struct layer *layer_named(const struct net *net, const char *name) {
  for (int i = 0; i < net->layers; i++)
    if (is(net->layer[i].name, name)) return &net->layer[i];
  return NULL;
}

/* The one that may be off more: by what it rounds on the way in, then on the way out. */
static enum precision looser(enum precision a, enum precision b) {
  const struct precision_class *x = &precision_classes[a], *y = &precision_classes[b];
  if (x->in.bits != y->in.bits) return x->in.bits < y->in.bits ? a : b;
  return x->out.bits < y->out.bits ? a : b;
}

/* Of the gradient of what a layer leaves: by all that read it, losses among them. */
static enum precision class_of_gradient(enum precision declared, const struct net *net, int value) {
  enum precision all = PRECISION_FP32;
  for (int i = 0; i < net->layers; i++) {
    const struct layer *l = &net->layer[i];
    if (l->x == value) all = looser(all, mixed_class(declared, layer_ops[l->kind], "grad_in.x"));
    if (l->residual == value) all = looser(all, mixed_class(declared, layer_ops[l->kind], "grad_in.residual"));
  }
  bool read = value == net->prediction || value == net->regions || value == net->region_prediction;
  return read ? looser(all, mixed_class(declared, "loss", "grad_in.q1")) : all;
}

/* The layer whose output or gradients the event is; null of any other. *net: that of its network. */
static const struct layer *layer_of(const struct model_f32 *m, const struct step_event *e, const struct net **net) {
  const struct branch *branch = is(e->network, "target") ? &m->target : is(e->network, "teacher") ? &m->teacher : &m->online;
  *net = &branch->net;
  return is(e->phase, "forward") || is(e->phase, "backward") ? layer_named(*net, e->layer) : NULL;
}

enum precision step_class(const struct step_backend *b, const struct model_f32 *m, const struct step_event *e) {
  if (!b->mixed) return b->precision;
  const struct net *net;
  const struct layer *l = layer_of(m, e, &net);
  if (!l) return mixed_class(b->precision, "", "");
  if (is(e->tensor, "y")) return mixed_class(b->precision, layer_ops[l->kind], "out.y");
  if (is(e->tensor, "dy")) return class_of_gradient(b->precision, net, l->y);
  if (is(e->tensor, "dweight")) return mixed_class(b->precision, layer_ops[l->kind], "grad_param.weight");
  if (is(e->tensor, "dbias")) return mixed_class(b->precision, layer_ops[l->kind], "grad_param.bias");
  return mixed_class(b->precision, "", "");
}

/* ---- chains -------------------------------------------------------------------------------------------------------------------------- */

enum direction { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS }; /* as the table counts them */

static double chain_of(const struct backend_f32 *table, const struct layer *l, enum direction direction) {
  const struct conv product = backend_conv_of(&l->shape.linear);
  if (l->kind == LAYER_CONV) return (double)table->conv_chain(&l->shape.conv, direction);
  return l->kind == LAYER_LINEAR ? (double)table->conv_chain(&product, direction) : 0;
}

double step_chain(const struct step_backend *b, const struct model_f32 *m, const struct step_event *e) {
  const struct net *net;
  const struct layer *l = b->f32 && b->f32->conv_chain ? layer_of(m, e, &net) : NULL;
  double chain = 0;
  if (l && is(e->tensor, "y")) chain = chain_of(b->f32, l, FORWARD);
  if (l && is(e->tensor, "dweight")) chain = chain_of(b->f32, l, BACKWARD_WEIGHTS);
  for (int i = 0; l && is(e->tensor, "dy") && i < net->layers; i++) /* a sum over all that read it */
    if (net->layer[i].x == l->y) chain = fmax(chain, chain_of(b->f32, &net->layer[i], BACKWARD_DATA));
  return fmax(chain, CHAIN_USUAL);
}
