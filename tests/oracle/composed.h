/* Networks composed of single operations, each computed by the runner of a case of its own: what larger runners are held to.
 *
 * Both sides then call the same operations, in the same precision and order; so the larger one has to agree to the bit. */
#ifndef EDIY_TESTS_ORACLE_COMPOSED_H
#define EDIY_TESTS_ORACLE_COMPOSED_H

#include "oracle/formula.h"
#include "oracle/runner_case.h"

/* ---- one operation ------------------------------------------------------------------------------------------------------------------ */

static struct written outer; /* the case that was being written */
static struct case_file inner;
static struct case_run inner_run;
static int inner_by_name[GIVEN];

/* Begins the case of an operation on the way. It is run by inner_compute and left by inner_end. */
static inline void inner_begin(const char *op) {
  outer = w;
  begin(op);
}

/* A result that this case asks for, without saying what it is. */
static inline void inner_ask(const char *name) { give_as(DTYPE_F64, NULL, &(struct numbers){.ndim = 0}, name); }

static inline int by_name(const void *a, const void *b) { return strcmp(w.tensor[*(const int *)a].name, w.tensor[*(const int *)b].name); }

static inline void inner_compute(int bits) {
  inner = (struct case_file){.op = w.op, .layout = "pytorch", .attributes = w.attributes, .name = "inner"};
  inner.file = (struct safetensors){.path = inner.name, .tensor = w.tensor, .count = w.count, .by_name = inner_by_name};
  for (int i = 0; i < w.count; i++) inner_by_name[i] = i;
  qsort(inner_by_name, (size_t)w.count, sizeof *inner_by_name, by_name);
  if (!run_begin(&inner_run, &inner, &err)) fail_msg("%s", err.text);
  inner_run.everything = true;
  if (!case_compute(&inner_run, bits)) fail_msg("%s", err.text);
}

static inline struct numbers inner_result(const char *name) {
  const struct tensor *t = run_result(&inner_run, name);
  if (!t) fail_msg("%s leaves no %s", w.op, name);
  struct numbers n = zeros(t->ndim, t->shape);
  for (ptrdiff_t i = 0; i < n.count; i++) n.at[i] = tensor_at(t, i);
  return n;
}

static inline void inner_end(void) {
  run_end(&inner_run);
  json_decref(w.attributes);
  w = outer;
}

/* ---- formulas ----------------------------------------------------------------------------------------------------------------------- */

/* Overwrites a tensor that is given with what its formula says; false if there is none for it. */
static inline bool by_formula(struct tensor *t, uint64_t seed) {
  const char *name = t->name, *image = strcmp(name, "in.x") == 0 ? "input" : strncmp(name, "in.view", 7) == 0 ? name + 3 : NULL;
  if (image) {
    ptrdiff_t lead = 1;
    for (int d = 0; d < t->ndim - 3; d++) lead *= t->shape[d];
    formula_image(seed, image, lead, t->shape[t->ndim - 3], t->shape[t->ndim - 2], t->data);
  } else if (strcmp(name, "grad_out.map") == 0) {
    formula_gradient(seed, name, tensor_count(t), t->data);
  } else if (strncmp(name, "param.", 6) == 0) {
    if (!formula_parameter(seed, name + 6, t->ndim, t->shape, t->data, &err)) fail_msg("%s", err.text);
  } else {
    return false;
  }
  return true;
}

/* The case of stored values that is being written becomes one of formulas. Expected is, to the bit, what the runner leaves where the values
 * of the formulas are stored. */
static inline void leave_to_formulas(int bits, uint64_t seed) {
  struct written formulas = w;
  inner_begin(w.op);
  json_decref(w.attributes);
  w.attributes = json_deep_copy(formulas.attributes);
  formulas.count = 0;
  for (int i = 0; i < outer.count; i++) {
    w.tensor[w.count++] = outer.tensor[i];
    if (!case_expected(&outer.tensor[i]) && !by_formula(&outer.tensor[i], seed)) formulas.tensor[formulas.count++] = outer.tensor[i];
  }
  inner_compute(bits);
  for (int i = 0; i < inner_run.count; i++) {
    const struct tensor *t = &inner_run.result[i];
    struct numbers n = inner_result(t->name);
    formulas.tensor[formulas.count++] = tensor_make(DTYPE_F64, n.at, n.ndim, n.shape, "%s", t->name);
  }
  inner_end();
  w = formulas;
  set_text("values", "formula"), set_integer("formula_seed", (ptrdiff_t)seed);
}

/* ---- a convolution and its batch norm ----------------------------------------------------------------------------------------------- */

static struct {
  int bits;
  bool train;
  double eps, momentum;
} composed; /* of every layer of the network that is composed */

struct unit {
  char conv[40], norm[40]; /* PyTorch's names */
  ptrdiff_t stride;
  bool relu;
  struct numbers weight, gamma, beta, mean, var; /* weight: K R S C */
  struct numbers x, a, residual;                 /* forward: what went in, the convolution of it, what was added */
  struct numbers dweight, dgamma, dbeta;         /* left by backward */
};

static inline struct unit unit_drawn(const char *prefix, const char *conv, const char *norm, ptrdiff_t k, ptrdiff_t r, ptrdiff_t c,
                                     ptrdiff_t stride, bool relu, uint32_t stream) {
  struct unit u = {.stride = stride, .relu = relu};
  snprintf(u.conv, sizeof u.conv, "%s%s", prefix, conv);
  snprintf(u.norm, sizeof u.norm, "%s%s", prefix, norm);
  u.weight = drawn(SHAPE(k, r, r, c), 0, 1 / sqrt((double)(r * r * c)), 10 * stream);
  u.gamma = drawn(SHAPE(k), 1, 0.25, 10 * stream + 1), u.beta = drawn(SHAPE(k), 0, 0.25, 10 * stream + 2);
  u.mean = drawn(SHAPE(k), 0, 0.25, 10 * stream + 3), u.var = drawn(SHAPE(k), 0, 1, 10 * stream + 4);
  for (ptrdiff_t i = 0; i < k; i++) u.var.at[i] = (float)(0.5 + fabs(u.var.at[i]));
  return u;
}

static inline void unit_conv_case(const struct unit *u) {
  inner_begin("conv");
  set_integer("stride", u->stride), set_integer("pad", u->weight.shape[1] / 2);
  give("in.x", u->x), give("param.weight", u->weight);
}

static inline void unit_norm_case(const struct unit *u) {
  inner_begin("norm");
  set_text("mode", composed.train ? "train" : "eval"), set_number("eps", composed.eps), set_number("momentum", composed.momentum);
  set_flag("relu", u->relu), set_flag("residual", u->residual.at != NULL);
  give("in.x", u->a), give("param.gamma", u->gamma), give("param.beta", u->beta);
  give("in.running_mean", u->mean), give("in.running_var", u->var);
  if (u->residual.at) give("in.residual", u->residual);
}

/* residual: no tensor where nothing is added. The running statistics move, in train mode. */
static inline struct numbers unit_forward(struct unit *u, struct numbers x, struct numbers residual) {
  u->x = x, u->residual = residual;
  unit_conv_case(u), inner_compute(composed.bits);
  u->a = inner_result("out.y");
  inner_end();
  unit_norm_case(u), inner_compute(composed.bits);
  struct numbers y = inner_result("out.y");
  if (composed.train) u->mean = inner_result("out.running_mean"), u->var = inner_result("out.running_var");
  inner_end();
  return y;
}

/* The gradient by x, added to `before` if that is a tensor; dresidual: null where it is not wanted. */
static inline struct numbers unit_backward(struct unit *u, struct numbers dy, struct numbers before, struct numbers *dresidual) {
  unit_norm_case(u), give("grad_out.y", dy), inner_compute(composed.bits);
  struct numbers da = inner_result("grad_in.x");
  if (dresidual) *dresidual = inner_result("grad_in.residual");
  u->dgamma = inner_result("grad_param.gamma"), u->dbeta = inner_result("grad_param.beta");
  inner_end();
  unit_conv_case(u), give("grad_out.y", da);
  if (before.at) give("in.before.x", before);
  inner_compute(composed.bits);
  struct numbers dx = inner_result("grad_in.x");
  u->dweight = inner_result("grad_param.weight");
  inner_end();
  return dx;
}

/* K R S C as O I H W. */
static inline struct numbers oihw(struct numbers n) {
  const ptrdiff_t *s = n.shape;
  struct numbers y = zeros(SHAPE(s[0], s[3], s[1], s[2]));
  for (ptrdiff_t k = 0; k < s[0]; k++)
    for (ptrdiff_t c = 0; c < s[3]; c++)
      for (ptrdiff_t i = 0; i < s[1] * s[2]; i++) y.at[(k * s[3] + c) * s[1] * s[2] + i] = n.at[(k * s[1] * s[2] + i) * s[3] + c];
  return y;
}

/* PREFIX LAYER .WHAT */
static inline void give_of(const char *prefix, const char *layer, const char *what, struct numbers n) {
  char name[TENSOR_MAX_NAME];
  snprintf(name, sizeof name, "%s%s.%s", prefix, layer, what);
  give(name, n);
}

/* What a network visits its units for: prefix as "param." */
typedef void unit_visit(struct unit *u, const char *prefix);

static inline void unit_give_parameters(struct unit *u, const char *prefix) {
  give_of(prefix, u->conv, "weight", oihw(u->weight)), give_of(prefix, u->norm, "weight", u->gamma);
  give_of(prefix, u->norm, "bias", u->beta);
}
static inline void unit_give_statistics(struct unit *u, const char *prefix) {
  give_of(prefix, u->norm, "running_mean", u->mean), give_of(prefix, u->norm, "running_var", u->var);
}
static inline void unit_give_gradients(struct unit *u, const char *prefix) {
  give_of(prefix, u->conv, "weight", oihw(u->dweight)), give_of(prefix, u->norm, "weight", u->dgamma);
  give_of(prefix, u->norm, "bias", u->dbeta);
}

/* ---- a residual block --------------------------------------------------------------------------------------------------------------- */

struct residual_block {
  struct unit unit[3], shortcut;
  int units;
  bool projects; /* there is a convolution on the shortcut */
};

/* prefix: "layer1.0." or "". c: channels that go in. */
static inline struct residual_block block_drawn(const char *prefix, bool bottleneck, ptrdiff_t c, ptrdiff_t planes, ptrdiff_t stride,
                                                uint32_t stream) {
  struct residual_block b = {.units = bottleneck ? 3 : 2};
  ptrdiff_t out = bottleneck ? 4 * planes : planes, inner_kernel = bottleneck ? 1 : 3;
  b.unit[0] = unit_drawn(prefix, "conv1", "bn1", planes, inner_kernel, c, bottleneck ? 1 : stride, true, stream);
  if (bottleneck) b.unit[1] = unit_drawn(prefix, "conv2", "bn2", planes, 3, planes, stride, true, stream + 1);
  b.unit[b.units - 1] =
      unit_drawn(prefix, bottleneck ? "conv3" : "conv2", bottleneck ? "bn3" : "bn2", out, inner_kernel, planes, 1, true, stream + 2);
  b.projects = stride != 1 || c != out;
  if (b.projects) b.shortcut = unit_drawn(prefix, "downsample.0", "downsample.1", out, 1, c, stride, false, stream + 3);
  return b;
}

/* y = relu(body + shortcut), the sum and the ReLU in the last batch norm */
static inline struct numbers block_forward(struct residual_block *b, struct numbers x) {
  const struct numbers none = {.at = NULL};
  struct numbers y = x, shortcut = b->projects ? unit_forward(&b->shortcut, x, none) : x;
  for (int i = 0; i < b->units; i++) y = unit_forward(&b->unit[i], y, i + 1 == b->units ? shortcut : none);
  return y;
}

static inline struct numbers block_backward(struct residual_block *b, struct numbers dy) {
  const struct numbers none = {.at = NULL};
  struct numbers shortcut, d = unit_backward(&b->unit[b->units - 1], dy, none, &shortcut);
  if (b->projects) shortcut = unit_backward(&b->shortcut, shortcut, none, NULL);
  for (int i = b->units - 2; i >= 0; i--) d = unit_backward(&b->unit[i], d, i == 0 ? shortcut : none, NULL);
  return d;
}

static inline void block_visit(struct residual_block *b, unit_visit *visit, const char *prefix) {
  for (int i = 0; i < b->units; i++) visit(&b->unit[i], prefix);
  if (b->projects) visit(&b->shortcut, prefix);
}

#endif
