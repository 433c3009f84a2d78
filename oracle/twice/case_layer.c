/* Cases of single layers: convolution, linear, batch norm, ReLU, pooling, and the head made of them. */
#include <omp.h>
#include <string.h>

#include "op/conv.h"
#include "op/linear.h"
#include "op/norm.h"
#include "op/pool.h"
#include "op/relu.h"
#include "oracle/operations.h"

static const char before_x[] = "in.before.x";

/* grad_in.x: overwritten, or, where the case says what was there before, added to. */
static real *gradient(struct case_run *run, int ndim, const ptrdiff_t *shape) {
  return run_has(run, "%s", before_x) ? run_added(run, REAL_DTYPE, ndim, shape, "grad_in.x", before_x)
                                      : run_output(run, REAL_DTYPE, ndim, shape, "grad_in.x");
}

bool REAL_NAME(case_conv)(struct case_run *run) {
  const ptrdiff_t limit = 1 << 20;
  ptrdiff_t xs[4] = {-1, -1, -1, -1}, ws[4] = {-1, -1, -1, -1}, stride, pad;
  const real *x, *w, *dy;
  struct conv g;
  if (!case_integer(run->file, "stride", 1, limit, &stride, run->err) || !case_integer(run->file, "pad", 0, limit, &pad, run->err) ||
      !(x = run_input(run, REAL_DTYPE, 4, xs, "in.x"))) {
    return false;
  }
  ws[3] = xs[3];
  if (!(w = run_input(run, REAL_DTYPE, 4, ws, "param.weight")) ||
      !conv_make(&g, xs[0], xs[1], xs[2], xs[3], ws[0], ws[1], ws[2], stride, pad, run->err)) {
    return false;
  }
  ptrdiff_t ys[4] = {g.n, g.p, g.q, g.k};
  real *scratch = run_scratch(run, REAL_DTYPE, conv_scratch(&g, omp_get_max_threads()));
  real *y = NULL, *dx = NULL, *dw = NULL;
  if (!scratch || (run_wants(run, "out.y") && !(y = run_output(run, REAL_DTYPE, 4, ys, "out.y")))) return false;
  if (y) conv_forward(&g, x, w, y, scratch);
  if (!run_has(run, "grad_out.y")) return true;
  if (!(dy = run_input(run, REAL_DTYPE, 4, ys, "grad_out.y")) || (run_wants(run, "grad_in.x") && !(dx = gradient(run, 4, xs))) ||
      (run_wants(run, "grad_param.weight") && !(dw = run_added(run, REAL_DTYPE, 4, ws, "grad_param.weight", "in.before.weight")))) {
    return false;
  }
  if (dx) conv_backward_data(&g, dy, w, dx, run_has(run, "%s", before_x), scratch);
  if (dw) conv_backward_weights(&g, x, dy, dw, scratch);
  return true;
}

bool REAL_NAME(case_linear)(struct case_run *run) {
  ptrdiff_t xs[2] = {-1, -1}, ws[2] = {-1, -1};
  const real *x, *w, *b = NULL, *dy;
  bool bias;
  if (!case_flag(run->file, "bias", &bias, run->err) || !(x = run_input(run, REAL_DTYPE, 2, xs, "in.x"))) return false;
  ws[1] = xs[1];
  if (!(w = run_input(run, REAL_DTYPE, 2, ws, "param.weight")) || (bias && !(b = run_input(run, REAL_DTYPE, 1, ws, "param.bias")))) {
    return false;
  }
  struct linear g = {.m = xs[0], .i = xs[1], .o = ws[0]};
  ptrdiff_t ys[2] = {g.m, g.o};
  real *y = NULL, *dx = NULL, *dw = NULL, *db = NULL, *scratch = NULL;
  bool weights = run_wants(run, "grad_param.weight") || run_wants(run, "grad_param.bias");
  if (run_wants(run, "out.y") && !(y = run_output(run, REAL_DTYPE, 2, ys, "out.y"))) return false;
  if (y) linear_forward(&g, x, w, b, y);
  if (!run_has(run, "grad_out.y")) return true;
  if (!(dy = run_input(run, REAL_DTYPE, 2, ys, "grad_out.y")) || (run_wants(run, "grad_in.x") && !(dx = gradient(run, 2, xs))) ||
      (weights && (!(dw = run_added(run, REAL_DTYPE, 2, ws, "grad_param.weight", "in.before.weight")) ||
                   (bias && !(db = run_added(run, REAL_DTYPE, 1, ws, "grad_param.bias", "in.before.bias"))) ||
                   !(scratch = run_scratch(run, REAL_DTYPE, linear_scratch(&g, omp_get_max_threads())))))) {
    return false;
  }
  if (dx) linear_backward_data(&g, dy, w, dx, run_has(run, "%s", before_x));
  if (dw) linear_backward_weights(&g, x, dy, dw, db, scratch);
  return true;
}

/* attribute "mode" */
static bool read_mode(struct case_run *run, bool *train) {
  static const char *const modes[] = {"eval", "train"};
  int mode;
  if (!case_choice(run->file, "mode", modes, 2, &mode, run->err)) return false;
  *train = mode == 1;
  return true;
}

/* A result that starts as a copy of an input of the same c elements: running statistics, which the operation updates. */
static real *output_copy(struct case_run *run, const real *from, ptrdiff_t c, const char *name) {
  real *to = run_output(run, REAL_DTYPE, 1, &c, "%s", name);
  if (to) memcpy(to, from, (size_t)c * sizeof(real));
  return to;
}

bool REAL_NAME(case_norm)(struct case_run *run) {
  struct norm g = {0};
  bool train, has_residual;
  int ndim;
  const ptrdiff_t *shape;
  const real *x, *residual = NULL, *gamma, *beta, *mean0, *var0, *dy;
  if (!read_mode(run, &train) || !case_number(run->file, "eps", &g.eps, run->err) ||
      !case_number(run->file, "momentum", &g.momentum, run->err) || !case_flag(run->file, "relu", &g.relu, run->err) ||
      !case_flag(run->file, "residual", &has_residual, run->err) || !(x = run_input_any(run, REAL_DTYPE, &ndim, &shape, "in.x"))) {
    return false;
  }
  ptrdiff_t s[TENSOR_MAX_DIMS];
  g.m = 1;
  for (int d = 0; d < ndim; d++) s[d] = shape[d];
  for (int d = 0; d + 1 < ndim; d++) g.m *= s[d];
  g.c = ndim > 0 ? s[ndim - 1] : 1;
  if ((has_residual && !(residual = run_input(run, REAL_DTYPE, ndim, s, "in.residual"))) ||
      !(gamma = run_input(run, REAL_DTYPE, 1, &g.c, "param.gamma")) || !(beta = run_input(run, REAL_DTYPE, 1, &g.c, "param.beta")) ||
      !(mean0 = run_input(run, REAL_DTYPE, 1, &g.c, "in.running_mean")) ||
      !(var0 = run_input(run, REAL_DTYPE, 1, &g.c, "in.running_var"))) {
    return false;
  }
  real *y = run_output(run, REAL_DTYPE, ndim, s, "out.y");
  double *scratch = run_scratch(run, DTYPE_F64, norm_scratch(&g)), *mean = run_scratch(run, DTYPE_F64, g.c);
  double *invstd = run_scratch(run, DTYPE_F64, g.c);
  if (!y || !scratch || !mean || !invstd) return false;
  if (train) {
    real *running_mean = output_copy(run, mean0, g.c, "out.running_mean"), *running_var = output_copy(run, var0, g.c, "out.running_var");
    if (!running_mean || !running_var) return false;
    norm_forward_train(&g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  } else {
    norm_forward_eval(&g, x, residual, gamma, beta, mean0, var0, y);
  }
  if (!run_has(run, "grad_out.y")) return true;
  real *dx, *dresidual = NULL, *dgamma, *dbeta;
  if (!(dy = run_input(run, REAL_DTYPE, ndim, s, "grad_out.y")) || !(dx = run_output(run, REAL_DTYPE, ndim, s, "grad_in.x")) ||
      (has_residual && !(dresidual = run_output(run, REAL_DTYPE, ndim, s, "grad_in.residual"))) ||
      !(dgamma = run_added(run, REAL_DTYPE, 1, &g.c, "grad_param.gamma", "in.before.gamma")) ||
      !(dbeta = run_added(run, REAL_DTYPE, 1, &g.c, "grad_param.beta", "in.before.beta"))) {
    return false;
  }
  if (train) {
    norm_backward_train(&g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
  } else {
    norm_backward_eval(&g, x, y, gamma, mean0, var0, dy, dx, dresidual, dgamma, dbeta, scratch);
  }
  return true;
}

bool REAL_NAME(case_relu)(struct case_run *run) {
  int ndim;
  const ptrdiff_t *shape;
  ptrdiff_t s[TENSOR_MAX_DIMS], size = 1;
  const real *x, *dy;
  if (!(x = run_input_any(run, REAL_DTYPE, &ndim, &shape, "in.x"))) return false;
  for (int d = 0; d < ndim; d++) size *= s[d] = shape[d];
  real *y, *dx;
  if (!(y = run_output(run, REAL_DTYPE, ndim, s, "out.y"))) return false;
  relu_forward(size, x, y);
  if (!run_has(run, "grad_out.y")) return true;
  if (!(dy = run_input(run, REAL_DTYPE, ndim, s, "grad_out.y")) || !(dx = run_output(run, REAL_DTYPE, ndim, s, "grad_in.x"))) {
    return false;
  }
  relu_backward(size, y, dy, dx);
  return true;
}

bool REAL_NAME(case_maxpool)(struct case_run *run) {
  ptrdiff_t xs[4] = {-1, -1, -1, -1}, kernel, stride, pad;
  const real *x, *dy;
  if (!case_integer(run->file, "kernel", 3, 3, &kernel, run->err) || !case_integer(run->file, "stride", 2, 2, &stride, run->err) ||
      !case_integer(run->file, "pad", 1, 1, &pad, run->err) || !(x = run_input(run, REAL_DTYPE, 4, xs, "in.x"))) {
    return false;
  }
  struct pool g = {.n = xs[0], .h = xs[1], .w = xs[2], .c = xs[3]};
  ptrdiff_t ys[4] = {g.n, maxpool_out(g.h), maxpool_out(g.w), g.c};
  real *y = run_output(run, REAL_DTYPE, 4, ys, "out.y"), *dx;
  int32_t *index = run_output(run, DTYPE_I32, 4, ys, "out.index");
  if (!y || !index) return false;
  maxpool_forward(&g, x, y, index);
  if (!run_has(run, "grad_out.y")) return true;
  if (!(dy = run_input(run, REAL_DTYPE, 4, ys, "grad_out.y")) || !(dx = run_output(run, REAL_DTYPE, 4, xs, "grad_in.x"))) return false;
  maxpool_backward(&g, dy, index, dx);
  return true;
}

bool REAL_NAME(case_avgpool)(struct case_run *run) {
  ptrdiff_t xs[4] = {-1, -1, -1, -1};
  const real *x, *dy;
  if (!(x = run_input(run, REAL_DTYPE, 4, xs, "in.x"))) return false;
  struct pool g = {.n = xs[0], .h = xs[1], .w = xs[2], .c = xs[3]};
  ptrdiff_t ys[2] = {g.n, g.c};
  real *y = run_output(run, REAL_DTYPE, 2, ys, "out.y"), *dx;
  if (!y) return false;
  avgpool_forward(&g, x, y);
  if (!run_has(run, "grad_out.y")) return true;
  if (!(dy = run_input(run, REAL_DTYPE, 2, ys, "grad_out.y")) || !(dx = gradient(run, 4, xs))) return false;
  avgpool_backward(&g, dy, dx, run_has(run, "%s", before_x));
  return true;
}

/* Layers 0 (linear with bias), 1 (batch norm) with 2 (ReLU), 3 (linear) of a head; rows of B x n x C count as B n rows. */
bool REAL_NAME(case_mlp)(struct case_run *run) {
  bool train;
  int ndim;
  const ptrdiff_t *shape;
  ptrdiff_t s[TENSOR_MAX_DIMS], w0s[2] = {-1, -1}, w3s[2] = {-1, -1}, rows = 1;
  struct norm norm = {.relu = true};
  const real *x, *w0, *b0, *gamma, *beta, *mean0, *var0, *w3, *dy;
  if (!read_mode(run, &train) || !case_number(run->file, "bn_eps", &norm.eps, run->err) ||
      !case_number(run->file, "bn_momentum", &norm.momentum, run->err) || !(x = run_input_any(run, REAL_DTYPE, &ndim, &shape, "in.x"))) {
    return false;
  }
  for (int d = 0; d < ndim; d++) s[d] = shape[d];
  for (int d = 0; d + 1 < ndim; d++) rows *= s[d];
  w0s[1] = ndim > 0 ? s[ndim - 1] : 1;
  if (!(w0 = run_input(run, REAL_DTYPE, 2, w0s, "param.0.weight"))) return false;
  ptrdiff_t hidden = w3s[1] = w0s[0];
  if (!(b0 = run_input(run, REAL_DTYPE, 1, &hidden, "param.0.bias")) ||
      !(gamma = run_input(run, REAL_DTYPE, 1, &hidden, "param.1.weight")) ||
      !(beta = run_input(run, REAL_DTYPE, 1, &hidden, "param.1.bias")) ||
      !(mean0 = run_input(run, REAL_DTYPE, 1, &hidden, "param.1.running_mean")) ||
      !(var0 = run_input(run, REAL_DTYPE, 1, &hidden, "param.1.running_var")) ||
      !(w3 = run_input(run, REAL_DTYPE, 2, w3s, "param.3.weight"))) {
    return false;
  }
  struct linear first = {.m = rows, .i = w0s[1], .o = hidden}, last = {.m = rows, .i = hidden, .o = w3s[0]};
  norm.m = rows, norm.c = hidden;
  real *a = run_scratch(run, REAL_DTYPE, rows * hidden), *h = run_scratch(run, REAL_DTYPE, rows * hidden);
  double *scratch = run_scratch(run, DTYPE_F64, norm_scratch(&norm)), *mean = run_scratch(run, DTYPE_F64, hidden);
  double *invstd = run_scratch(run, DTYPE_F64, hidden);
  ptrdiff_t ys[TENSOR_MAX_DIMS];
  memcpy(ys, s, sizeof s);
  if (ndim > 0) ys[ndim - 1] = last.o;
  real *y = run_output(run, REAL_DTYPE, ndim, ys, "out.y");
  if (!a || !h || !scratch || !mean || !invstd || !y) return false;

  linear_forward(&first, x, w0, b0, a);
  if (train) {
    real *running_mean = output_copy(run, mean0, hidden, "out.1.running_mean");
    real *running_var = output_copy(run, var0, hidden, "out.1.running_var");
    if (!running_mean || !running_var) return false;
    norm_forward_train(&norm, a, NULL, gamma, beta, running_mean, running_var, h, mean, invstd, scratch);
  } else {
    norm_forward_eval(&norm, a, NULL, gamma, beta, mean0, var0, h);
  }
  linear_forward(&last, h, w3, NULL, y);

  if (!run_has(run, "grad_out.y")) return true;
  real *d = run_scratch(run, REAL_DTYPE, rows * hidden), *scratch0, *scratch3, *dx, *dw0, *db0, *dgamma, *dbeta, *dw3;
  if (!d || !(dy = run_input(run, REAL_DTYPE, ndim, ys, "grad_out.y")) || !(dx = run_output(run, REAL_DTYPE, ndim, s, "grad_in.x")) ||
      !(dw0 = run_accumulator(run, REAL_DTYPE, 2, w0s, "grad_param.0.weight")) ||
      !(db0 = run_accumulator(run, REAL_DTYPE, 1, &hidden, "grad_param.0.bias")) ||
      !(dgamma = run_accumulator(run, REAL_DTYPE, 1, &hidden, "grad_param.1.weight")) ||
      !(dbeta = run_accumulator(run, REAL_DTYPE, 1, &hidden, "grad_param.1.bias")) ||
      !(dw3 = run_accumulator(run, REAL_DTYPE, 2, w3s, "grad_param.3.weight")) ||
      !(scratch0 = run_scratch(run, REAL_DTYPE, linear_scratch(&first, omp_get_max_threads()))) ||
      !(scratch3 = run_scratch(run, REAL_DTYPE, linear_scratch(&last, omp_get_max_threads())))) {
    return false;
  }
  linear_backward_data(&last, dy, w3, d, false);
  linear_backward_weights(&last, h, dy, dw3, NULL, scratch3);
  if (train) {
    norm_backward_train(&norm, a, h, gamma, mean, invstd, d, d, NULL, dgamma, dbeta, scratch);
  } else {
    norm_backward_eval(&norm, a, h, gamma, mean0, var0, d, d, NULL, dgamma, dbeta, scratch);
  }
  linear_backward_data(&first, d, w0, dx, false);
  linear_backward_weights(&first, x, d, dw0, db0, scratch0);
  return true;
}
