/* Cases of networks: a residual block, a backbone. */
#include "oracle/twice/case_net.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "model/exchange.h"
#include "model/net_run.h"
#include "model/plan.h"
#include "oracle/formula.h"
#include "oracle/operations.h"

enum { PIXEL_LIMIT = 1 << 14, BATCH_LIMIT = 1 << 20, WIDTH_LIMIT = 1 << 16 }; /* far beyond any case, far from overflow */

static const char *const block_names[] = {"basic", "bottleneck"}; /* in the order of enum block */

bool case_source_read(struct case_run *run, struct case_source *source) {
  static const char *const values[] = {"stored", "formula"};
  int value;
  ptrdiff_t seed = 0;
  if (!case_choice(run->file, "values", values, 2, &value, run->err)) return false;
  source->formula = value == 1;
  if (source->formula && !case_integer(run->file, "formula_seed", 0, PTRDIFF_MAX, &seed, run->err)) return false;
  source->seed = (uint64_t)seed;
  return true;
}

bool case_architecture(struct case_run *run, struct architecture *arch) {
  static const char *const stems[] = {"imagenet", "cifar"}; /* in the order of enum stem */
  int block, stem;
  const char *blocks;
  char end;
  *arch = (struct architecture){0};
  if (!case_choice(run->file, "block", block_names, 2, &block, run->err) || !case_choice(run->file, "stem", stems, 2, &stem, run->err) ||
      !case_text(run->file, "blocks", &blocks, run->err) ||
      !case_integer(run->file, "base_width", 1, WIDTH_LIMIT, &arch->base_width, run->err) ||
      !case_number(run->file, "bn_eps", &arch->bn_eps, run->err) || !case_number(run->file, "bn_momentum", &arch->bn_momentum, run->err)) {
    return false;
  }
  arch->block = (enum block)block;
  arch->stem = (enum stem)stem;
  int *b = arch->blocks;
  if (sscanf(blocks, "%2d,%2d,%2d,%2d%c", &b[0], &b[1], &b[2], &b[3], &end) != 4 || b[0] < 1 || b[1] < 1 || b[2] < 1 || b[3] < 1) {
    return fail(run->err, "%s: attribute \"blocks\" is \"%s\", expected four numbers as in 3,4,6,3", run->file->file.path, blocks);
  }
  return true;
}

/* n doubles as reals, in new memory. */
static real *to_real(struct case_run *run, ptrdiff_t n, const double *x) {
  real *y = run_scratch(run, REAL_DTYPE, n);
  for (ptrdiff_t i = 0; y && i < n; i++) y[i] = (real)x[i];
  return y;
}

bool case_load_state(struct case_run *run, const struct case_source *source, const struct net *net, const char *prefix, real *state) {
  for (int i = 0; i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    ptrdiff_t shape[4];
    char name[TENSOR_MAX_NAME];
    int ndim = exchange_shape(p, shape);
    const real *values;
    snprintf(name, sizeof name, "%s%s", prefix, p->name);
    if (source->formula) {
      double *x = run_scratch(run, DTYPE_F64, p->size);
      if (!x || !formula_parameter(source->seed, name, ndim, shape, x, run->err) || !(values = to_real(run, p->size, x))) return false;
    } else if (!(values = run_input(run, REAL_DTYPE, ndim, shape, "param.%s", name))) {
      return false;
    }
    exchange_unpack(p, values, state + p->offset);
  }
  return true;
}

const real *case_images(struct case_run *run, const struct case_source *source, const char *stored, const char *name, int ndim,
                        ptrdiff_t *shape) {
  if (!source->formula) return run_input(run, REAL_DTYPE, ndim, shape, "in.%s", stored);
  ptrdiff_t lead = 1, count, h = shape[ndim - 3], w = shape[ndim - 2];
  for (int d = 0; d < ndim - 3; d++) {
    if (!size_product(lead, shape[d], 1, 1, &lead)) lead = PTRDIFF_MAX;
  }
  if (!size_product(lead, h, w, 3, &count)) {
    fail(run->err, "%s: the images are too many to generate", run->file->file.path);
    return NULL;
  }
  double *x = run_scratch(run, DTYPE_F64, count);
  if (!x) return NULL;
  formula_image(source->seed, name, lead, h, w, x);
  return to_real(run, count, x);
}

bool case_put_parameter(struct case_run *run, const struct net *net, int i, const real *block, const char *name) {
  const struct parameter *p = &net->parameter[i];
  ptrdiff_t shape[4];
  int ndim = exchange_shape(p, shape);
  real *to = run_output(run, REAL_DTYPE, ndim, shape, "%s", name);
  if (to) exchange_pack(p, block + p->offset, to);
  return to != NULL;
}

/* ---- one network, one pass ---------------------------------------------------------------------------------------------------------- */

struct pass { /* a net with one output that takes a gradient, and what its run needs */
  struct net net;
  struct plan plan;
  struct net_run run;
  int output;
};

static bool put_value(struct case_run *run, const struct pass *p, int value, const char *name) {
  const struct value *v = &p->net.value[value];
  bool rows = value == p->net.pooled;
  const ptrdiff_t map_shape[] = {v->n, v->h, v->w, v->c}, row_shape[] = {v->n, v->c};
  real *to = run_output(run, REAL_DTYPE, rows ? 2 : 4, rows ? row_shape : map_shape, "%s", name);
  if (to) memcpy(to, net_value(&p->run, value), (size_t)v->size * sizeof(real));
  return to != NULL;
}

/* After net_build or its like: plans, takes memory from the run (poisoned, between guards) and loads the state. */
static bool pass_prepare(struct case_run *run, struct pass *p, const struct case_source *source, bool backward) {
  const struct backend *b = backend_reference();
  if (!plan_make(&p->plan, &p->net, b, backward ? 1 : 0, &p->output, backward, false, run->err)) return false;
  real *state = run_scratch(run, REAL_DTYPE, p->net.state_size), *gradient = run_scratch(run, REAL_DTYPE, p->net.state_size);
  void *workspace = run_scratch(run, DTYPE_U8, (ptrdiff_t)p->plan.workspace);
  void *scratch = run_scratch(run, DTYPE_U8, (ptrdiff_t)p->plan.scratch);
  if (!state || !gradient || !workspace || !scratch || !case_load_state(run, source, &p->net, "", state)) return false;
  memset(gradient, 0, (size_t)p->net.state_size * sizeof(real));
  p->run = (struct net_run){.net = &p->net,
                            .plan = &p->plan,
                            .backend = b,
                            .state = state,
                            .gradient = gradient,
                            .workspace = workspace,
                            .scratch = scratch,
                            .trace = run->trace,
                            .network = "case"};
  return true;
}

/* Gradients of the input and of every parameter, from that of the output. x_shape: of the input, N H W C. */
static bool pass_backward(struct case_run *run, struct pass *p, const real *x, const ptrdiff_t *x_shape, const real *dy) {
  real *dx = run_output(run, REAL_DTYPE, 4, x_shape, "grad_in.x");
  if (!dx) return false;
  memcpy(net_gradient(&p->run, p->output), dy, (size_t)p->net.value[p->output].size * sizeof(real));
  net_backward(&p->run, x);
  memcpy(dx, net_gradient(&p->run, 0), (size_t)p->net.value[0].size * sizeof(real));
  for (int i = 0; i < p->net.parameters; i++) {
    char name[TENSOR_MAX_NAME];
    snprintf(name, sizeof name, "grad_param.%s", p->net.parameter[i].name);
    if (p->net.parameter[i].role != ROLE_STATISTIC && !case_put_parameter(run, &p->net, i, p->run.gradient, name)) return false;
  }
  return true;
}

static bool put_statistics(struct case_run *run, const struct pass *p) {
  for (int i = 0; i < p->net.parameters; i++) {
    char name[TENSOR_MAX_NAME];
    snprintf(name, sizeof name, "out.%s", p->net.parameter[i].name);
    if (p->net.parameter[i].role == ROLE_STATISTIC && !case_put_parameter(run, &p->net, i, p->run.state, name)) return false;
  }
  return true;
}

static void pass_free(struct pass *p) {
  plan_free(&p->plan);
  net_free(&p->net);
}

/* ---- block -------------------------------------------------------------------------------------------------------------------------- */

static bool run_block(struct case_run *run, struct pass *p) {
  static const char *const modes[] = {"train"};
  const struct case_source stored = {.formula = false};
  struct architecture arch = {0};
  ptrdiff_t xs[4] = {-1, -1, -1, -1}, stride, planes;
  int block, mode;
  bool downsample, ok = true;
  const real *x, *dy;
  if (!case_choice(run->file, "block", block_names, 2, &block, run->err) || !case_choice(run->file, "mode", modes, 1, &mode, run->err) ||
      !case_integer(run->file, "stride", 1, 2, &stride, run->err) ||
      !case_integer(run->file, "planes", 1, WIDTH_LIMIT, &planes, run->err) || !case_flag(run->file, "downsample", &downsample, run->err) ||
      !case_number(run->file, "bn_eps", &arch.bn_eps, run->err) || !case_number(run->file, "bn_momentum", &arch.bn_momentum, run->err) ||
      !(x = run_input(run, REAL_DTYPE, 4, xs, "in.x")) || !net_begin(&p->net, &arch, xs[0], xs[1], xs[2], xs[3], run->err)) {
    return false;
  }
  p->output = net_add_block(&p->net, "", 0, (enum block)block, planes, stride, &ok, run->err);
  if (!ok) return false;
  if (downsample != (net_find_layer(&p->net, "downsample.0") >= 0)) {
    return fail(run->err, "%s: attribute \"downsample\" does not follow from stride and channels", run->file->file.path);
  }
  if (!pass_prepare(run, p, &stored, true)) return false;
  net_forward(&p->run, NET_TRAIN, x);
  const struct value *v = &p->net.value[p->output];
  ptrdiff_t ys[4] = {v->n, v->h, v->w, v->c};
  return put_value(run, p, p->output, "out.y") && put_statistics(run, p) && (dy = run_input(run, REAL_DTYPE, 4, ys, "grad_out.y")) &&
         pass_backward(run, p, x, xs, dy);
}

bool REAL_NAME(case_block)(struct case_run *run) {
  struct pass p = {.output = -1};
  bool ok = run_block(run, &p);
  pass_free(&p);
  return ok;
}

/* ---- backbone ----------------------------------------------------------------------------------------------------------------------- */

/* True if some gradient is expected. */
static bool expects_gradient(const struct case_file *c) {
  for (int i = 0; i < c->file.count; i++) {
    if (strncmp(c->file.tensor[i].name, "grad_in.", 8) == 0 || strncmp(c->file.tensor[i].name, "grad_param.", 11) == 0) return true;
  }
  return false;
}

/* The upstream gradient of the map. */
static const real *map_gradient(struct case_run *run, const struct case_source *source, const struct value *map) {
  ptrdiff_t shape[4] = {map->n, map->h, map->w, map->c};
  if (!source->formula) return run_input(run, REAL_DTYPE, 4, shape, "grad_out.map");
  double *g = run_scratch(run, DTYPE_F64, map->size);
  if (!g) return NULL;
  formula_gradient(source->seed, "grad_out.map", map->size, g);
  return to_real(run, map->size, g);
}

static bool run_backbone(struct case_run *run, struct pass *p) {
  static const char *const modes[] = {"eval", "train"};
  struct architecture arch;
  struct case_source source;
  ptrdiff_t xs[4] = {-1, -1, -1, 3};
  int mode;
  const real *x, *dy;
  if (!case_architecture(run, &arch) || !case_source_read(run, &source) || !case_choice(run->file, "mode", modes, 2, &mode, run->err) ||
      !case_integer(run->file, "batch", 1, BATCH_LIMIT, &xs[0], run->err) ||
      !case_integer(run->file, "height", 1, PIXEL_LIMIT, &xs[1], run->err) ||
      !case_integer(run->file, "width", 1, PIXEL_LIMIT, &xs[2], run->err) || !net_build(&p->net, &arch, xs[0], xs[1], xs[2], run->err)) {
    return false;
  }
  p->output = p->net.map;
  bool train = mode == 1, backward = expects_gradient(run->file);
  if (backward && !train) return fail(run->err, "%s: gradients are defined in train mode only", run->file->file.path);
  if (!pass_prepare(run, p, &source, backward) || !(x = case_images(run, &source, "x", "input", 4, xs))) return false;
  net_forward(&p->run, train ? NET_TRAIN : NET_EVAL, x);
  if (!put_value(run, p, p->net.map, "out.map") || !put_value(run, p, p->net.pooled, "out.pooled") || (train && !put_statistics(run, p))) {
    return false;
  }
  return !backward || ((dy = map_gradient(run, &source, &p->net.value[p->net.map])) && pass_backward(run, p, x, xs, dy));
}

bool REAL_NAME(case_backbone)(struct case_run *run) {
  struct pass p = {.output = -1};
  bool ok = run_backbone(run, &p);
  pass_free(&p);
  return ok;
}
