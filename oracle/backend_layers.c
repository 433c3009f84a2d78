/* Single layers on a backend. */
#include <math.h>
#include <string.h>

#include "oracle/backend_case.h"
#include "oracle/backend_operations.h"
#include "oracle/candidate.h"

/* ---- chains -------------------------------------------------------------------------------------------------------------------------- */

struct conv backend_conv_of(const struct linear *g) {
  return (struct conv){.n = g->m, .h = 1, .w = 1, .c = g->i, .k = g->o, .r = 1, .s = 1, .stride = 1, .p = 1, .q = 1};
}

/* The product of a case of conv or linear; false of any other, and of shapes that are none. */
static bool product_of(const struct case_file *c, struct conv *g) {
  const ptrdiff_t limit = 1 << 20;
  const struct tensor *x = safetensors_find(&c->file, "in.x"), *w = safetensors_find(&c->file, "param.weight");
  ptrdiff_t stride, pad;
  struct error none;
  if (strcmp(c->op, "linear") == 0 && x && w && x->ndim == 2 && w->ndim == 2) {
    *g = backend_conv_of(&(struct linear){.m = x->shape[0], .i = x->shape[1], .o = w->shape[0]});
    return true;
  }
  return strcmp(c->op, "conv") == 0 && x && w && x->ndim == 4 && w->ndim == 4 && case_integer(c, "stride", 1, limit, &stride, &none) &&
         case_integer(c, "pad", 0, limit, &pad, &none) &&
         conv_make(g, x->shape[0], x->shape[1], x->shape[2], x->shape[3], w->shape[0], w->shape[1], w->shape[2], stride, pad, &none);
}

double backend_case_chain(const struct case_file *c, const struct backend *table, const char *result) {
  static const char *const products[] = {"out.y", "grad_in.x", "grad_param.weight"}; /* by the directions of conv_chain */
  double chain = CHAIN_USUAL;
  struct conv g;
  if (!table || !table->conv_chain || !product_of(c, &g)) return chain;
  for (int direction = 0; direction < 3; direction++)
    if (!result || strcmp(result, products[direction]) == 0) chain = fmax(chain, (double)table->conv_chain(&g, direction));
  return chain;
}

/* ---- operations ---------------------------------------------------------------------------------------------------------------------- */

bool backend_conv(struct pass *p) {
  const ptrdiff_t limit = 1 << 20;
  const struct backend *b = p->memory->table;
  struct case_run *run = p->run;
  ptrdiff_t xs[4] = {-1, -1, -1, -1}, ws[4] = {-1, -1, -1, -1}, stride, pad;
  const float *x, *w, *dy;
  float *y, *dx, *dw;
  struct conv g;
  if (!case_integer(run->file, "stride", 1, limit, &stride, run->err) || !case_integer(run->file, "pad", 0, limit, &pad, run->err) ||
      !(x = pass_input(p, DTYPE_F32, 4, xs, "in.x"))) {
    return false;
  }
  ws[3] = xs[3];
  if (!(w = pass_input(p, DTYPE_F32, 4, ws, "param.weight")) ||
      !conv_make(&g, xs[0], xs[1], xs[2], xs[3], ws[0], ws[1], ws[2], stride, pad, run->err)) {
    return false;
  }
  ptrdiff_t ys[4] = {g.n, g.p, g.q, g.k};
  void *scratch = pass_scratch(p, b->conv_scratch(&g), "scratch");
  if (!scratch || !(y = pass_output(p, DTYPE_F32, 4, ys, "out.y"))) return false;
  b->conv_forward(&g, x, w, y, scratch);
  if (!run_has(run, "grad_out.y")) return true;
  bool add = run_has(run, "in.before.x");
  dx = add ? pass_updated(p, 4, xs, "grad_in.x", "in.before.x") : pass_output(p, DTYPE_F32, 4, xs, "grad_in.x");
  if (!dx || !(dy = pass_input(p, DTYPE_F32, 4, ys, "grad_out.y")) ||
      !(dw = pass_updated(p, 4, ws, "grad_param.weight", "in.before.weight"))) {
    return false;
  }
  b->conv_backward_data(&g, dy, w, dx, add, scratch);
  b->conv_backward_weights(&g, x, dy, dw, scratch);
  return true;
}

bool backend_linear(struct pass *p) {
  const struct backend *b = p->memory->table;
  struct case_run *run = p->run;
  ptrdiff_t xs[2] = {-1, -1}, ws[2] = {-1, -1};
  const float *x, *w, *bias = NULL, *dy;
  float *y, *dx, *dw, *db = NULL;
  bool has_bias;
  if (!case_flag(run->file, "bias", &has_bias, run->err) || !(x = pass_input(p, DTYPE_F32, 2, xs, "in.x"))) return false;
  ws[1] = xs[1];
  if (!(w = pass_input(p, DTYPE_F32, 2, ws, "param.weight")) || (has_bias && !(bias = pass_input(p, DTYPE_F32, 1, ws, "param.bias")))) {
    return false;
  }
  struct linear g = {.m = xs[0], .i = xs[1], .o = ws[0]};
  ptrdiff_t ys[2] = {g.m, g.o};
  void *scratch = pass_scratch(p, b->linear_scratch(&g), "scratch");
  if (!scratch || !(y = pass_output(p, DTYPE_F32, 2, ys, "out.y"))) return false;
  b->linear_forward(&g, x, w, bias, y);
  if (!run_has(run, "grad_out.y")) return true;
  bool add = run_has(run, "in.before.x");
  dx = add ? pass_updated(p, 2, xs, "grad_in.x", "in.before.x") : pass_output(p, DTYPE_F32, 2, xs, "grad_in.x");
  if (!dx || !(dy = pass_input(p, DTYPE_F32, 2, ys, "grad_out.y")) ||
      !(dw = pass_updated(p, 2, ws, "grad_param.weight", "in.before.weight")) ||
      (has_bias && !(db = pass_updated(p, 1, ws, "grad_param.bias", "in.before.bias")))) {
    return false;
  }
  b->linear_backward_data(&g, dy, w, dx, add);
  b->linear_backward_weights(&g, x, dy, dw, db, scratch);
  return true;
}

bool backend_norm(struct pass *p) {
  static const char *const modes[] = {"eval", "train"};
  const struct backend *b = p->memory->table;
  struct case_run *run = p->run;
  struct norm g = {.m = 1};
  int mode, ndim;
  bool has_residual;
  const ptrdiff_t *shape;
  ptrdiff_t s[TENSOR_MAX_DIMS];
  const float *x, *residual = NULL, *gamma, *beta, *dy;
  if (!case_choice(run->file, "mode", modes, 2, &mode, run->err) || !case_number(run->file, "eps", &g.eps, run->err) ||
      !case_number(run->file, "momentum", &g.momentum, run->err) || !case_flag(run->file, "relu", &g.relu, run->err) ||
      !case_flag(run->file, "residual", &has_residual, run->err) || !(x = pass_input_any(p, DTYPE_F32, &ndim, &shape, "in.x"))) {
    return false;
  }
  for (int d = 0; d < ndim; d++) s[d] = shape[d];
  for (int d = 0; d + 1 < ndim; d++) g.m *= s[d];
  g.c = ndim > 0 ? s[ndim - 1] : 1;
  if ((has_residual && !(residual = pass_input(p, DTYPE_F32, ndim, s, "in.residual"))) ||
      !(gamma = pass_input(p, DTYPE_F32, 1, &g.c, "param.gamma")) || !(beta = pass_input(p, DTYPE_F32, 1, &g.c, "param.beta"))) {
    return false;
  }
  float *y = pass_output(p, DTYPE_F32, ndim, s, "out.y");
  if (!y) return false;
  if (mode == 0) {
    const float *mean = pass_input(p, DTYPE_F32, 1, &g.c, "in.running_mean");
    const float *var = pass_input(p, DTYPE_F32, 1, &g.c, "in.running_var");
    if (!mean || !var || (run_has(run, "grad_out.y") && !pass_input(p, DTYPE_F32, ndim, s, "grad_out.y"))) return false;
    b->norm_forward_eval(&g, x, residual, gamma, beta, mean, var, y);
    return true;
  }
  float *running_mean = pass_updated(p, 1, &g.c, "out.running_mean", "in.running_mean");
  float *running_var = pass_updated(p, 1, &g.c, "out.running_var", "in.running_var");
  double *mean = pass_scratch(p, (size_t)g.c * sizeof(double), "mean"), *invstd = pass_scratch(p, (size_t)g.c * sizeof(double), "invstd");
  void *scratch = pass_scratch(p, b->norm_scratch(&g), "scratch");
  if (!running_mean || !running_var || !mean || !invstd || !scratch) return false;
  b->norm_forward_train(&g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  if (!run_has(run, "grad_out.y")) return true;
  float *dx, *dresidual = NULL, *dgamma, *dbeta;
  if (!(dy = pass_input(p, DTYPE_F32, ndim, s, "grad_out.y")) || !(dx = pass_output(p, DTYPE_F32, ndim, s, "grad_in.x")) ||
      (has_residual && !(dresidual = pass_output(p, DTYPE_F32, ndim, s, "grad_in.residual"))) ||
      !(dgamma = pass_updated(p, 1, &g.c, "grad_param.gamma", "in.before.gamma")) ||
      !(dbeta = pass_updated(p, 1, &g.c, "grad_param.beta", "in.before.beta"))) {
    return false;
  }
  b->norm_backward_train(&g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
  return true;
}

/* A float tensor of one value, on the backend. */
static float *constant(struct pass *p, ptrdiff_t n, float value, const char *name) {
  float *to = pass_scratch(p, (size_t)n * sizeof(float), name);
  for (ptrdiff_t i = 0; to && i < n; i++) p->memory->table->upload(to + i, &value, sizeof value);
  return to;
}

bool backend_relu(struct pass *p) {
  const struct backend *b = p->memory->table;
  int ndim;
  const ptrdiff_t *shape;
  ptrdiff_t s[TENSOR_MAX_DIMS];
  struct norm g = {.m = 1, .relu = true};
  const float *x = pass_input_any(p, DTYPE_F32, &ndim, &shape, "in.x"), *dy;
  if (!x) return false;
  for (int d = 0; d < ndim; d++) s[d] = shape[d];
  for (int d = 0; d + 1 < ndim; d++) g.m *= s[d];
  g.c = ndim > 0 ? s[ndim - 1] : 1;
  float *y = pass_output(p, DTYPE_F32, ndim, s, "out.y"), *one = constant(p, g.c, 1, "one"), *zero = constant(p, g.c, 0, "zero");
  if (!y || !one || !zero) return false;
  b->norm_forward_eval(&g, x, NULL, one, zero, zero, one, y);
  if (!run_has(p->run, "grad_out.y")) return true;
  size_t statistics = (size_t)g.c * sizeof(double), map = (size_t)(g.m * g.c) * sizeof(float);
  double *mean = pass_scratch(p, statistics, "mean"), *invstd = pass_scratch(p, statistics, "invstd");
  float *dx = pass_scratch(p, map, "gradient of the normalised"), *dgamma = constant(p, g.c, 0, "dgamma"),
        *dbeta = constant(p, g.c, 0, "dbeta");
  void *scratch = pass_scratch(p, b->norm_scratch(&g), "scratch");
  float *masked = pass_output(p, DTYPE_F32, ndim, s, "grad_in.x");
  if (!mean || !invstd || !dx || !dgamma || !dbeta || !scratch || !masked || !(dy = pass_input(p, DTYPE_F32, ndim, s, "grad_out.y"))) {
    return false;
  }
  for (ptrdiff_t c = 0; c < g.c; c++) {
    const double none = 0, unit = 1;
    b->upload(mean + c, &none, sizeof none);
    b->upload(invstd + c, &unit, sizeof unit);
  }
  b->norm_backward_train(&g, x, y, one, mean, invstd, dy, dx, masked, dgamma, dbeta, scratch);
  return true;
}

bool backend_maxpool(struct pass *p) {
  const struct backend *b = p->memory->table;
  struct case_run *run = p->run;
  ptrdiff_t xs[4] = {-1, -1, -1, -1}, kernel, stride, pad;
  const float *x, *dy;
  if (!case_integer(run->file, "kernel", 3, 3, &kernel, run->err) || !case_integer(run->file, "stride", 2, 2, &stride, run->err) ||
      !case_integer(run->file, "pad", 1, 1, &pad, run->err) || !(x = pass_input(p, DTYPE_F32, 4, xs, "in.x"))) {
    return false;
  }
  struct pool g = {.n = xs[0], .h = xs[1], .w = xs[2], .c = xs[3]};
  ptrdiff_t ys[4] = {g.n, maxpool_out(g.h), maxpool_out(g.w), g.c};
  float *y = pass_output(p, DTYPE_F32, 4, ys, "out.y"), *dx;
  int32_t *index = pass_output(p, DTYPE_I32, 4, ys, "out.index");
  if (!y || !index) return false;
  b->maxpool_forward(&g, x, y, index);
  if (!run_has(run, "grad_out.y")) return true;
  if (!(dy = pass_input(p, DTYPE_F32, 4, ys, "grad_out.y")) || !(dx = pass_output(p, DTYPE_F32, 4, xs, "grad_in.x"))) return false;
  b->maxpool_backward(&g, dy, index, dx);
  return true;
}

bool backend_avgpool(struct pass *p) {
  const struct backend *b = p->memory->table;
  ptrdiff_t xs[4] = {-1, -1, -1, -1};
  const float *x = pass_input(p, DTYPE_F32, 4, xs, "in.x"), *dy;
  if (!x) return false;
  struct pool g = {.n = xs[0], .h = xs[1], .w = xs[2], .c = xs[3]};
  ptrdiff_t ys[2] = {g.n, g.c};
  float *y = pass_output(p, DTYPE_F32, 2, ys, "out.y");
  if (!y) return false;
  b->avgpool_forward(&g, x, y);
  if (!run_has(p->run, "grad_out.y")) return true;
  bool add = run_has(p->run, "in.before.x");
  float *dx = add ? pass_updated(p, 4, xs, "grad_in.x", "in.before.x") : pass_output(p, DTYPE_F32, 4, xs, "grad_in.x");
  if (!dx || !(dy = pass_input(p, DTYPE_F32, 2, ys, "grad_out.y"))) return false;
  b->avgpool_backward(&g, dy, dx, add);
  return true;
}
