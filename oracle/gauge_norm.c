/* The gauge of batch norm. A kernel in float knows the mean to the roundoff of mean |x|, not of the mean, and so every normalised value
 * to that over the deviation:
 *
 *     X = (|x| + mean |x|) invstd + |xhat|                     of xhat; the last term: invstd has a relative error of its own
 *     G(y) = |gamma| X + |beta| + |residual|
 *     G(dbeta) = sum |d|        G(dgamma) = sum |d| X         d: upstream gradient
 *     G(dx) = |gamma| invstd (2 |d| + mean |d| + X mean |d xhat| + |xhat| mean |d| X)
 *     G(running mean) = |old| + momentum mean |x|      G(running variance) = old + momentum v (m / (m - 1))
 *
 * In eval mode the statistics are given: mean |x| becomes |running mean|, and dx = gamma invstd d alone. The ReLU is not here: what it
 * decided is in d already (candidate.c).
 */
#include <math.h>

#include "oracle/gauge.h"

struct channel {
  double mean, spread, invstd; /* spread: mean |x|, or |running mean| */
  double d, dxhat, dX;         /* means over rows of |d|, |d xhat|, |d| X */
};

struct norm_case {
  ptrdiff_t m, c;
  bool train;
  double eps, momentum;
  const double *x, *residual, *gamma, *beta, *mean, *var, *d;
};

static double normalised(const struct channel *s, double x) { return (x - s->mean) * s->invstd; }
static double gauge_of_normalised(const struct channel *s, double x) { return (fabs(x) + s->spread) * s->invstd + fabs(normalised(s, x)); }

static void measure_channel(const struct norm_case *n, ptrdiff_t k, struct channel *s, double *variance) {
  double sum = 0, absolute = 0, squares = 0;
  for (ptrdiff_t i = 0; i < n->m; i++) sum += n->x[i * n->c + k], absolute += fabs(n->x[i * n->c + k]);
  s->mean = n->train ? sum / (double)n->m : n->mean[k];
  s->spread = n->train ? absolute / (double)n->m : fabs(n->mean[k]);
  for (ptrdiff_t i = 0; i < n->m; i++) squares += (n->x[i * n->c + k] - s->mean) * (n->x[i * n->c + k] - s->mean);
  *variance = n->train ? squares / (double)n->m : n->var[k];
  s->invstd = 1 / sqrt(*variance + n->eps);
  s->d = s->dxhat = s->dX = 0;
  for (ptrdiff_t i = 0; n->d && i < n->m; i++) {
    double x = n->x[i * n->c + k], d = fabs(n->d[i * n->c + k]) / (double)n->m;
    s->d += d;
    s->dxhat += d * fabs(normalised(s, x));
    s->dX += d * gauge_of_normalised(s, x);
  }
}

static bool read_case(struct case_run *g, struct norm_case *n, int *ndim, const ptrdiff_t **shape) {
  static const char *const modes[] = {"eval", "train"};
  int mode, dims;
  const ptrdiff_t *ignored;
  bool has_residual;
  *n = (struct norm_case){0};
  if (!case_choice(g->file, "mode", modes, 2, &mode, g->err) || !case_number(g->file, "eps", &n->eps, g->err) ||
      !case_number(g->file, "momentum", &n->momentum, g->err) || !case_flag(g->file, "residual", &has_residual, g->err) ||
      !(n->x = run_input_any(g, DTYPE_F64, ndim, shape, "in.x")) ||
      !(n->gamma = run_input_any(g, DTYPE_F64, &dims, &ignored, "param.gamma")) ||
      !(n->beta = run_input_any(g, DTYPE_F64, &dims, &ignored, "param.beta")) ||
      !(n->mean = run_input_any(g, DTYPE_F64, &dims, &ignored, "in.running_mean")) ||
      !(n->var = run_input_any(g, DTYPE_F64, &dims, &ignored, "in.running_var")) ||
      (has_residual && !(n->residual = run_input_any(g, DTYPE_F64, &dims, &ignored, "in.residual"))) ||
      (run_has(g, "grad_out.y") && !(n->d = run_input_any(g, DTYPE_F64, &dims, &ignored, "grad_out.y")))) {
    return false;
  }
  n->train = mode == 1;
  n->m = 1;
  for (int d = 0; d + 1 < *ndim; d++) n->m *= (*shape)[d];
  n->c = *ndim > 0 ? (*shape)[*ndim - 1] : 1;
  return true;
}

bool gauge_norm(struct case_run *g) {
  struct norm_case n;
  int ndim;
  const ptrdiff_t *shape;
  if (!read_case(g, &n, &ndim, &shape)) return false;
  double *y = run_output(g, DTYPE_F64, ndim, shape, "out.y"), *dx = NULL, *dresidual = NULL, *dgamma = NULL, *dbeta = NULL;
  double *mean = NULL, *var = NULL;
  if (!y) return false;
  if (n.train &&
      (!(mean = run_output(g, DTYPE_F64, 1, &n.c, "out.running_mean")) || !(var = run_output(g, DTYPE_F64, 1, &n.c, "out.running_var")))) {
    return false;
  }
  if (n.d && (!(dx = run_output(g, DTYPE_F64, ndim, shape, "grad_in.x")) ||
              (n.residual && !(dresidual = run_output(g, DTYPE_F64, ndim, shape, "grad_in.residual"))) ||
              !(dgamma = run_output(g, DTYPE_F64, 1, &n.c, "grad_param.gamma")) ||
              !(dbeta = run_output(g, DTYPE_F64, 1, &n.c, "grad_param.beta")))) {
    return false;
  }
  for (ptrdiff_t k = 0; k < n.c; k++) {
    struct channel s;
    double variance, m = (double)n.m;
    measure_channel(&n, k, &s, &variance);
    if (mean) mean[k] = fabs(n.mean[k]) + n.momentum * s.spread;
    if (var) var[k] = fabs(n.var[k]) + n.momentum * variance * (n.m > 1 ? m / (m - 1) : 1);
    if (dgamma) dgamma[k] = s.dX * m;
    if (dbeta) dbeta[k] = s.d * m;
    for (ptrdiff_t i = 0; i < n.m; i++) {
      ptrdiff_t at = i * n.c + k;
      double X = gauge_of_normalised(&s, n.x[at]), hat = fabs(normalised(&s, n.x[at]));
      y[at] = fabs(n.gamma[k]) * X + fabs(n.beta[k]) + (n.residual ? fabs(n.residual[at]) : 0);
      if (!n.d) continue;
      double own = 2 * fabs(n.d[at]), statistics = n.train ? s.d + X * s.dxhat + hat * s.dX : 0;
      dx[at] = fabs(n.gamma[k]) * s.invstd * (own + statistics);
      if (dresidual) dresidual[at] = fabs(n.d[at]);
    }
  }
  return true;
}
