/* Gauges of LARS and of the moving average. What they change is small beside what they change: an update of a ten-thousandth of a weight is
 * a few hundred roundoffs of it. So their rules are tight (a chain of 0: no long sum, accept.h), and the bias rule looks at the increment
 * alone: a wrong learning rate, trust ratio or tau is a factor of it.
 *
 *     D = |g| + wd |w|        rho: the trust ratio, 1 for what is not adapted        lr_m = lr (openselfsup) or 1, lr_w = lr (byol) or 1
 *     G(m') = mu (G(m) + |m|) + lr_m rho D (3 + K)          increment m' - mu m
 *     G(w') = |w| + lr_w (G(m') + mu |m| / 2)       increment w' - w
 *     G(xi') = tau |xi| + 3/2 (1 - tau) (|theta| + |xi|)       increment xi' - xi
 *
 * Of a weight near zero all is in the update: mu m, its sum with d, the product with lr are three roundings of mu m, where 2 u G(m') has
 * two; and so are 1 - tau, the difference and their product.
 *
 * The trust ratio is one number for the whole tensor: every element has its error. Its norms are sums of squares, of one sign: a chain of L
 * additions, whose partial sums grow to the result, is off by 0.23 sqrt(L) u of it, the norm by half of that, the ratio of two norms by
 * 0.16 sqrt(L) u; six times that is sqrt(L) u. K = sqrt(L) for the elements (of which 2 u G is allowed, and 0.9 u G in the root of the mean
 * of squares), and sqrt(L) + 4 roundoffs for the common factor (gauge_common). L: the elements, at most the declared chain.
 *
 * tau rounded to float is off by u / 2: by 1 / (2 (1 - tau)) roundoffs of 1 - tau, which is a common factor of the increment.
 *
 * Of several steps each adds what the last left: an error of 2 u G + u |x| (accept.h), which is that of a gauge of G + |x| / 2. That of w
 * goes into d as well, wd of it, and is all that G(m') has where the step before has taken a weight near to zero. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/gauge.h"

struct lars_case {
  bool openselfsup;
  double trust, momentum, decay, chain;
  ptrdiff_t steps;
  const double *lr;
};

/* |w| and |d| (|g| + wd |w|) over the tensor: what multiplies d. */
static double ratio_of(const struct lars_case *o, ptrdiff_t n, const double *g, const double *w) {
  double ww = 0, dd = 0;
  for (ptrdiff_t i = 0; i < n; i++) {
    double d = o->openselfsup ? g[i] : g[i] + o->decay * w[i];
    ww += w[i] * w[i];
    dd += d * d;
  }
  double divisor = sqrt(dd) + (o->openselfsup ? o->decay * sqrt(ww) : 0);
  return ww > 0 && divisor > 0 ? o->trust * sqrt(ww) / divisor : 1;
}

/* One parameter (its name without "param.") through all steps: in double, with the gauges beside it. */
static bool gauge_parameter(struct case_run *run, const struct lars_case *o, const char *name) {
  int ndim;
  const ptrdiff_t *shape;
  ptrdiff_t s[TENSOR_MAX_DIMS], n = 1;
  const double *w0, *m0, *g;
  if (!(w0 = run_input_any(run, DTYPE_F64, &ndim, &shape, "param.%s", name))) return false;
  for (int d = 0; d < ndim; d++) n *= s[d] = shape[d];
  double *w = run_scratch(run, DTYPE_F64, n), *m = run_scratch(run, DTYPE_F64, n), *gauge_m = run_scratch(run, DTYPE_F64, n);
  double *carried = run_scratch(run, DTYPE_F64, n);
  if (!w || !m || !gauge_m || !carried || !(m0 = run_input(run, DTYPE_F64, ndim, s, "in.momentum.%s", name))) return false;
  for (ptrdiff_t i = 0; i < n; i++) w[i] = w0[i], m[i] = m0[i], gauge_m[i] = carried[i] = 0;
  bool adapt = strncmp(name, "weight.", strlen("weight.")) == 0;
  double decay = adapt ? o->decay : 0, common = adapt ? sqrt(fmin((double)n, o->chain)) : 0;
  for (ptrdiff_t k = 0; k < o->steps; k++) {
    double *gw, *gm, *start_w, *start_m, into_m = o->openselfsup ? o->lr[k] : 1, into_w = o->openselfsup ? 1 : o->lr[k];
    if (!(g = run_input(run, DTYPE_F64, ndim, s, "in.grad.%td.%s", k, name)) ||
        !(gw = run_output(run, DTYPE_F64, ndim, s, "out.param.%td.%s", k, name)) ||
        !(gm = run_output(run, DTYPE_F64, ndim, s, "out.momentum.%td.%s", k, name)) ||
        !(start_w = run_output(run, DTYPE_F64, ndim, s, "start.out.param.%td.%s", k, name)) ||
        !(start_m = run_output(run, DTYPE_F64, ndim, s, "start.out.momentum.%td.%s", k, name))) {
      return false;
    }
    double ratio = adapt ? ratio_of(o, n, g, w) : 1;
    for (ptrdiff_t i = 0; i < n; i++) {
      double d = g[i] + decay * w[i], D = fabs(g[i]) + decay * fabs(w[i]);
      start_w[i] = w[i];
      start_m[i] = o->momentum * m[i];
      gm[i] = gauge_m[i] = fabs(o->momentum) * (gauge_m[i] + fabs(m[i])) + fabs(into_m) * ratio * (D * (3 + common) + decay * carried[i]);
      m[i] = start_m[i] + into_m * ratio * d;
      gw[i] = fabs(w[i]) + carried[i] + fabs(into_w) * (gm[i] + fabs(start_m[i]) / 2);
      w[i] -= into_w * m[i];
      carried[i] = gw[i] + fabs(w[i]) / 2;
    }
  }
  return true;
}

bool gauge_lars(struct case_run *g, double chain) {
  static const char *const variants[] = {"byol", "openselfsup"};
  struct lars_case o = {.chain = chain};
  int variant;
  if (!case_choice(g->file, "variant", variants, 2, &variant, g->err) || !case_number(g->file, "trust", &o.trust, g->err) ||
      !case_number(g->file, "momentum", &o.momentum, g->err) || !case_number(g->file, "weight_decay", &o.decay, g->err) ||
      !case_integer(g->file, "steps", 1, PTRDIFF_MAX, &o.steps, g->err) || !(o.lr = run_input(g, DTYPE_F64, 1, &o.steps, "in.lr"))) {
    return false;
  }
  o.openselfsup = variant == 1;
  for (int i = 0; i < g->file->file.count; i++) {
    const char *name = g->file->file.tensor[i].name;
    if (strncmp(name, "param.", 6) == 0 && !gauge_parameter(g, &o, name + 6)) return false;
  }
  return true;
}

bool gauge_ema(struct case_run *g) {
  ptrdiff_t steps = -1;
  const double *tau = run_input(g, DTYPE_F64, 1, &steps, "in.tau");
  if (!tau) return false;
  for (int i = 0; run_has(g, "in.target.%d", i); i++) {
    int ndim;
    const ptrdiff_t *shape;
    ptrdiff_t s[TENSOR_MAX_DIMS], n = 1;
    const double *xi0 = run_input_any(g, DTYPE_F64, &ndim, &shape, "in.target.%d", i), *theta;
    if (!xi0) return false;
    for (int d = 0; d < ndim; d++) n *= s[d] = shape[d];
    double *xi = run_scratch(g, DTYPE_F64, n), *carried = run_scratch(g, DTYPE_F64, n);
    if (!xi || !carried) return false;
    for (ptrdiff_t j = 0; j < n; j++) xi[j] = xi0[j], carried[j] = 0;
    for (ptrdiff_t k = 0; k < steps; k++) {
      double *G, *start;
      if (!(theta = run_input(g, DTYPE_F64, ndim, s, "in.online.%td.%d", k, i)) ||
          !(G = run_output(g, DTYPE_F64, ndim, s, "out.target.%td.%d", k, i)) ||
          !(start = run_output(g, DTYPE_F64, ndim, s, "start.out.target.%td.%d", k, i))) {
        return false;
      }
      for (ptrdiff_t j = 0; j < n; j++) {
        start[j] = xi[j];
        G[j] = tau[k] * fabs(xi[j]) + 1.5 * (1 - tau[k]) * (fabs(theta[j]) + fabs(xi[j])) + carried[j];
        xi[j] += (1 - tau[k]) * (theta[j] - xi[j]);
        carried[j] = G[j] + fabs(xi[j]) / 2;
      }
    }
  }
  return true;
}

/* The number at the end of "out.param.3.NAME" or "out.target.3.0": the step. */
static ptrdiff_t step_of(const char *name) {
  const char *dot = strchr(name, '.');
  dot = dot ? strchr(dot + 1, '.') : NULL;
  return dot ? (ptrdiff_t)strtol(dot + 1, NULL, 10) : 0;
}

double gauge_common_lars(const struct case_file *c, const char *name, double chain) {
  const char *dot = strstr(name, ".weight.");
  char parameter[TENSOR_MAX_NAME];
  if (!dot) return 0;
  snprintf(parameter, sizeof parameter, "param.%s", dot + 1);
  const struct tensor *t = safetensors_find(&c->file, parameter);
  return t ? sqrt(fmin((double)tensor_count(t), chain)) + 4 : 0;
}

double gauge_common_ema(const struct case_file *c, const char *name) {
  const struct tensor *tau = safetensors_find(&c->file, "in.tau");
  ptrdiff_t k = step_of(name);
  if (!tau || k < 0 || k >= tensor_count(tau)) return 0;
  double left = 1 - tensor_at(tau, k);
  return left > 0 ? 0.5 / left : 0;
}
