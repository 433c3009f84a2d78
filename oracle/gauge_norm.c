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

enum { BLOCK = 32 }; /* channels that are taken together */

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

/* Channels [first, first + width), whose elements lie side by side in every row. */
static void measure_channels(const struct norm_case *n, ptrdiff_t first, ptrdiff_t width, struct channel *s, double *variance) {
  double sum[BLOCK] = {0}, absolute[BLOCK] = {0}, squares[BLOCK] = {0};
  for (ptrdiff_t i = 0; i < n->m; i++) {
    const double *x = n->x + i * n->c + first;
    for (ptrdiff_t k = 0; k < width; k++) sum[k] += x[k], absolute[k] += fabs(x[k]);
  }
  for (ptrdiff_t k = 0; k < width; k++) {
    s[k].mean = n->train ? sum[k] / (double)n->m : n->mean[first + k];
    s[k].spread = n->train ? absolute[k] / (double)n->m : fabs(n->mean[first + k]);
  }
  for (ptrdiff_t i = 0; i < n->m; i++) {
    const double *x = n->x + i * n->c + first;
    for (ptrdiff_t k = 0; k < width; k++) squares[k] += (x[k] - s[k].mean) * (x[k] - s[k].mean);
  }
  for (ptrdiff_t k = 0; k < width; k++) {
    variance[k] = n->train ? squares[k] / (double)n->m : n->var[first + k];
    s[k].invstd = 1 / sqrt(variance[k] + n->eps);
    s[k].d = s[k].dxhat = s[k].dX = 0;
  }
  for (ptrdiff_t i = 0; n->d && i < n->m; i++) {
    const double *x = n->x + i * n->c + first, *dy = n->d + i * n->c + first;
    for (ptrdiff_t k = 0; k < width; k++) {
      double d = fabs(dy[k]) / (double)n->m;
      s[k].d += d;
      s[k].dxhat += d * fabs(normalised(&s[k], x[k]));
      s[k].dX += d * gauge_of_normalised(&s[k], x[k]);
    }
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

/* Where the gauges go; null where a case has none. */
struct norm_gauges {
  double *y, *dx, *dresidual, *dgamma, *dbeta, *mean, *var;
};

static void gauge_channels(const struct norm_case *n, ptrdiff_t first, const struct norm_gauges *to) {
  struct channel s[BLOCK];
  double variance[BLOCK], m = (double)n->m;
  ptrdiff_t width = n->c - first < BLOCK ? n->c - first : BLOCK;
  measure_channels(n, first, width, s, variance);
  for (ptrdiff_t k = 0; k < width; k++) {
    ptrdiff_t at = first + k;
    if (to->mean) to->mean[at] = fabs(n->mean[at]) + n->momentum * s[k].spread;
    if (to->var) to->var[at] = fabs(n->var[at]) + n->momentum * variance[k] * (n->m > 1 ? m / (m - 1) : 1);
    if (to->dgamma) to->dgamma[at] = s[k].dX * m;
    if (to->dbeta) to->dbeta[at] = s[k].d * m;
  }
  for (ptrdiff_t i = 0; i < n->m; i++) {
    for (ptrdiff_t k = 0; k < width; k++) {
      ptrdiff_t c = first + k, at = i * n->c + c;
      double X = gauge_of_normalised(&s[k], n->x[at]), hat = fabs(normalised(&s[k], n->x[at]));
      to->y[at] = fabs(n->gamma[c]) * X + fabs(n->beta[c]) + (n->residual ? fabs(n->residual[at]) : 0);
      if (!n->d) continue;
      double own = 2 * fabs(n->d[at]), statistics = n->train ? s[k].d + X * s[k].dxhat + hat * s[k].dX : 0;
      to->dx[at] = fabs(n->gamma[c]) * s[k].invstd * (own + statistics);
      if (to->dresidual) to->dresidual[at] = fabs(n->d[at]);
    }
  }
}

bool gauge_norm(struct case_run *g) {
  struct norm_case n;
  struct norm_gauges to = {0};
  int ndim;
  const ptrdiff_t *shape;
  if (!read_case(g, &n, &ndim, &shape) || !(to.y = run_output(g, DTYPE_F64, ndim, shape, "out.y"))) return false;
  if (n.train && (!(to.mean = run_output(g, DTYPE_F64, 1, &n.c, "out.running_mean")) ||
                  !(to.var = run_output(g, DTYPE_F64, 1, &n.c, "out.running_var")))) {
    return false;
  }
  if (n.d && (!(to.dx = run_output(g, DTYPE_F64, ndim, shape, "grad_in.x")) ||
              (n.residual && !(to.dresidual = run_output(g, DTYPE_F64, ndim, shape, "grad_in.residual"))) ||
              !(to.dgamma = run_output(g, DTYPE_F64, 1, &n.c, "grad_param.gamma")) ||
              !(to.dbeta = run_output(g, DTYPE_F64, 1, &n.c, "grad_param.beta")))) {
    return false;
  }
#pragma omp parallel for schedule(static) if (n.c > BLOCK)
  for (ptrdiff_t first = 0; first < n.c; first += BLOCK) gauge_channels(&n, first, &to);
  return true;
}
