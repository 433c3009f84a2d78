/* The gauge of batch norm. A kernel in float knows the mean to the roundoff of mean |x|, not of the mean, and so every normalised value
 * to that over the deviation:
 *
 *     X = (|x| + mean |x|) invstd + |xhat|                     of xhat; the last term: invstd has a relative error of its own
 *     G(y) = |gamma| X + |beta| + |residual|
 *     G(dbeta) = sum |d|        G(dgamma) = sum |d| X         d: upstream gradient
 *     G(dx) = |gamma| invstd (2 |d| + mean |d| + X mean |d xhat| + |xhat| mean |d| X)
 *     G(running mean) = |old| + momentum mean |x|      G(running variance) = old + momentum v (m / (m - 1))
 *
 * Carried (accept.h) is what the mean of x and the means of d and d xhat grow to, with their signs, times what they are multiplied by: the
 * chains of these sums are not those of y. A mean that is off by e adds e^2 to the variance, (e invstd)^2 / 2 to the deviation, with e =
 * sqrt(L) u mean. Where most of a channel is one value, the terms of its mean and of its variance are rounded alike (gauge_alike), and
 * where most of its d are, those of their sum; a variance that is off by a part p moves invstd by p / 2. A number below the normal ones is
 * rounded as the smallest of them: TINY is added to what is multiplied.
 *
 * In eval mode the statistics are given: mean |x| becomes |running mean|, and dx = gamma invstd d alone. The ReLU is not here: what it
 * decided is in d already (candidate.c).
 */
#include <math.h>

#include "oracle/gauge.h"
#include "oracle/usual.h"

#define TINY 0x1p-126 /* FLT_MIN: the smallest normal float */
enum { BLOCK = 32 };  /* channels that are taken together */

struct channel {
  double mean, spread, invstd; /* spread: mean |x|, or |running mean| */
  double grown;                /* what the plain sum of the mean grows to */
  double alike, alike_bound;   /* of the variance: gauge_alike */
  double d, dxhat, dX;         /* means over rows of |d|, |d xhat|, |d| X */
  double signed_d, signed_dxhat;
  double d_alike, d_alike_bound; /* of the sum of d */
};

struct norm_case {
  ptrdiff_t m, c;
  bool train;
  double eps, momentum, chain;
  const double *x, *residual, *gamma, *beta, *mean, *var, *d;
};

static double normalised(const struct channel *s, double x) { return (x - s->mean) * s->invstd; }
static double gauge_of_normalised(const struct channel *s, double x) {
  return (fabs(x) + s->spread + TINY) * s->invstd + fabs(normalised(s, x)) * s->alike_bound;
}

/* Channels [first, first + width), whose elements lie side by side in every row. */
static void measure_channels(const struct norm_case *n, ptrdiff_t first, ptrdiff_t width, struct channel *s, double *variance) {
  double sum[BLOCK] = {0}, absolute[BLOCK] = {0}, squares[BLOCK] = {0}, L = fmin((double)n->m, n->chain);
  struct usual usual[BLOCK] = {{0}}, usual_d[BLOCK] = {{0}}; /* of x, and of the d that are not 0, which changes no sum */
  for (ptrdiff_t i = 0; i < n->m; i++) {
    const double *x = n->x + i * n->c + first, *d = n->d ? n->d + i * n->c + first : NULL;
    for (ptrdiff_t k = 0; k < width; k++) sum[k] += x[k], absolute[k] += fabs(x[k]);
    for (ptrdiff_t k = 0; k < width; k++) usual_vote(&usual[k], x[k]);
    for (ptrdiff_t k = 0; d && k < width; k++)
      if (d[k] != 0) usual_vote(&usual_d[k], d[k]);
  }
  for (ptrdiff_t k = 0; k < width; k++) {
    s[k].mean = n->train ? sum[k] / (double)n->m : n->mean[first + k];
    s[k].spread = n->train ? absolute[k] / (double)n->m : fabs(n->mean[first + k]);
    s[k].grown = n->train ? fabs(s[k].mean) : 0;
  }
  for (ptrdiff_t i = 0; i < n->m; i++) {
    const double *x = n->x + i * n->c + first, *d = n->d ? n->d + i * n->c + first : NULL;
    for (ptrdiff_t k = 0; k < width; k++) squares[k] += (x[k] - s[k].mean) * (x[k] - s[k].mean), usual_count(&usual[k], x[k]);
    for (ptrdiff_t k = 0; d && k < width; k++)
      if (d[k] != 0) usual_count(&usual_d[k], d[k]);
  }
  for (ptrdiff_t k = 0; k < width; k++) {
    variance[k] = n->train ? squares[k] / (double)n->m : n->var[first + k];
    s[k].invstd = 1 / sqrt(variance[k] + n->eps);
    double N = n->train ? usual_number(&usual[k], L) : 0, N_d = usual_number(&usual_d[k], L);
    s[k].alike = gauge_alike(L, N), s[k].alike_bound = gauge_alike_bound(L, N);
    if (usual[k].value != 0) s[k].spread *= s[k].alike_bound, s[k].grown *= s[k].alike;
    s[k].d_alike = gauge_alike(L, N_d), s[k].d_alike_bound = gauge_alike_bound(L, N_d);
    s[k].d = s[k].dxhat = s[k].dX = s[k].signed_d = s[k].signed_dxhat = 0;
  }
  for (ptrdiff_t i = 0; n->d && i < n->m; i++) {
    const double *x = n->x + i * n->c + first, *dy = n->d + i * n->c + first;
    for (ptrdiff_t k = 0; k < width; k++) {
      double d = fabs(dy[k]) / (double)n->m;
      s[k].d += d;
      s[k].dxhat += d * fabs(normalised(&s[k], x[k]));
      s[k].dX += d * gauge_of_normalised(&s[k], x[k]);
      s[k].signed_d += dy[k] / (double)n->m;
      s[k].signed_dxhat += dy[k] / (double)n->m * normalised(&s[k], x[k]);
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
  double *carried_y, *carried_dx, *carried_dgamma, *carried_dbeta, *carried_mean, *carried_var;
};

static void gauge_channels(const struct norm_case *n, ptrdiff_t first, const struct norm_gauges *to) {
  struct channel s[BLOCK];
  double variance[BLOCK], m = (double)n->m, L = fmin(m, n->chain);
  ptrdiff_t width = n->c - first < BLOCK ? n->c - first : BLOCK;
  measure_channels(n, first, width, s, variance);
  for (ptrdiff_t k = 0; k < width; k++) {
    ptrdiff_t at = first + k;
    if (to->mean) to->mean[at] = fabs(n->mean[at]) + n->momentum * s[k].spread;
    if (to->var) to->var[at] = fabs(n->var[at]) + n->momentum * variance[k] * (n->m > 1 ? m / (m - 1) : 1) * s[k].alike_bound;
    if (to->carried_var) to->carried_var[at] = n->momentum * variance[k] * s[k].alike;
    if (to->carried_mean) to->carried_mean[at] = n->momentum * s[k].grown;
    if (to->carried_dgamma)
      to->carried_dgamma[at] = fabs(s[k].signed_d) * m * s[k].invstd * s[k].grown + fabs(s[k].signed_dxhat) * m * s[k].alike / 2;
    if (to->dgamma) to->dgamma[at] = s[k].dX * m;
    if (to->dbeta) to->dbeta[at] = s[k].d * m * s[k].d_alike_bound;
    if (to->carried_dbeta) to->carried_dbeta[at] = s[k].d_alike > 1 ? fabs(s[k].signed_d) * m * s[k].d_alike : 0;
  }
  for (ptrdiff_t i = 0; i < n->m; i++) {
    for (ptrdiff_t k = 0; k < width; k++) {
      ptrdiff_t c = first + k, at = i * n->c + c;
      double X = gauge_of_normalised(&s[k], n->x[at]), hat = fabs(normalised(&s[k], n->x[at]));
      to->y[at] = fabs(n->gamma[c]) * X + fabs(n->beta[c]) + (n->residual ? fabs(n->residual[at]) : 0);
      double shift = s[k].invstd * s[k].grown;
      to->carried_y[at] = n->train ? fabs(n->gamma[c]) * (shift + hat * s[k].alike / 2) : 0;
      if (!n->d) continue;
      double d = fabs(s[k].signed_d) * s[k].d_alike, dxhat = fabs(s[k].signed_dxhat),
             deviation = sqrt(L) * 0x1p-25 * shift * shift * fabs(n->d[at]);
      to->carried_dx[at] = n->train ? fabs(n->gamma[c]) * s[k].invstd * (d + hat * dxhat + shift * (dxhat + hat * d) + deviation) : 0;
      if (n->train) to->carried_dx[at] += fabs(n->gamma[c]) * s[k].invstd * s[k].alike / 2 * (fabs(n->d[at]) + d + 3 * hat * dxhat);
      double own = 2 * fabs(n->d[at]) * s[k].alike_bound + 4 * TINY,
             statistics = n->train ? s[k].d * s[k].d_alike_bound + X * s[k].dxhat + hat * s[k].dX : 0;
      to->dx[at] = fabs(n->gamma[c]) * s[k].invstd * (own + statistics);
      if (to->dresidual) to->dresidual[at] = fabs(n->d[at]);
    }
  }
}

bool gauge_norm(struct case_run *g, double chain) {
  struct norm_case n;
  struct norm_gauges to = {0};
  int ndim;
  const ptrdiff_t *shape;
  if (!read_case(g, &n, &ndim, &shape) || !(to.y = run_output(g, DTYPE_F64, ndim, shape, "out.y")) ||
      !(to.carried_y = run_output(g, DTYPE_F64, ndim, shape, "carried.out.y"))) {
    return false;
  }
  n.chain = chain;
  if (n.train && (!(to.mean = run_output(g, DTYPE_F64, 1, &n.c, "out.running_mean")) ||
                  !(to.carried_mean = run_output(g, DTYPE_F64, 1, &n.c, "carried.out.running_mean")) ||
                  !(to.carried_var = run_output(g, DTYPE_F64, 1, &n.c, "carried.out.running_var")) ||
                  !(to.var = run_output(g, DTYPE_F64, 1, &n.c, "out.running_var")))) {
    return false;
  }
  if (n.d && (!(to.dx = run_output(g, DTYPE_F64, ndim, shape, "grad_in.x")) ||
              !(to.carried_dx = run_output(g, DTYPE_F64, ndim, shape, "carried.grad_in.x")) ||
              !(to.carried_dgamma = run_output(g, DTYPE_F64, 1, &n.c, "carried.grad_param.gamma")) ||
              !(to.carried_dbeta = run_output(g, DTYPE_F64, 1, &n.c, "carried.grad_param.beta")) ||
              (n.residual && !(to.dresidual = run_output(g, DTYPE_F64, ndim, shape, "grad_in.residual"))) ||
              !(to.dgamma = run_output(g, DTYPE_F64, 1, &n.c, "grad_param.gamma")) ||
              !(to.dbeta = run_output(g, DTYPE_F64, 1, &n.c, "grad_param.beta")))) {
    return false;
  }
#pragma omp parallel for schedule(static) if (n.c > BLOCK)
  for (ptrdiff_t first = 0; first < n.c; first += BLOCK) gauge_channels(&n, first, &to);
  return true;
}
