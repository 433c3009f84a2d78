#include "oracle/accept.h"

#include <math.h>

enum { RMS_FEW = 64, BIAS_LEAST = 256, GROUPS_LEAST = 8 };

/* Where the candidate differs most, for whichever rule speaks. */
static void locate(const struct yardstick *m, const double *c, ptrdiff_t i, struct finding *f) {
  compare_index_text(m->truth, i, f->where, sizeof f->where);
  f->candidate = c[i];
  f->expected = m->y[i];
}

/* Takes the rule over into f if it is broken, or comes closer to it than the rules before. Returns whether it holds. */
static bool rule(struct finding *f, const char *name, double error, double allowed) {
  bool holds = error <= allowed;
  double closeness = allowed > 0 ? error / allowed : error > 0 ? INFINITY : 0;
  if (!holds || f->rule == NULL || closeness > f->error / f->allowed) {
    f->rule = name;
    f->error = error;
    f->allowed = allowed;
  }
  return holds;
}

static bool same_class(double a, double b) {
  if (isfinite(a) || isfinite(b)) return isfinite(a) && isfinite(b);
  return isnan(a) ? isnan(b) != 0 : a == b;
}

/* Root of the mean of squares of (x - y) / g, over the elements that have a gauge; x null: of y / g. */
static double rms(const struct yardstick *m, const double *x, ptrdiff_t n) {
  double squares = 0;
  ptrdiff_t counted = 0;
  for (ptrdiff_t i = 0; i < n; i++) {
    if (!(m->g[i] > 0) || !isfinite(m->y[i])) continue;
    double e = (x ? x[i] - m->y[i] : m->y[i]) / m->g[i];
    squares += e * e;
    counted++;
  }
  return counted > 0 ? sqrt(squares / (double)counted) : 0;
}

/* Sums for the factor in the errors of one group of elements, whose errors may depend on each other. */
struct share {
  double ez, sz;
};

static struct share share_of(const struct yardstick *m, const double *c, ptrdiff_t first, ptrdiff_t step, ptrdiff_t end,
                             ptrdiff_t *counted) {
  struct share sum = {0, 0};
  for (ptrdiff_t i = first; i < end; i += step) {
    if (!(m->g[i] > 0) || !isfinite(m->y[i])) continue;
    double s = m->start ? m->y[i] - m->start[i] : m->y[i], z = s / m->g[i] / m->g[i];
    sum.ez += (c[i] - m->y[i]) * z;
    sum.sz += s * z;
    ++*counted;
  }
  return sum;
}

/* beta, and its standard deviation from what the groups leave over: each element is a group, or each channel where the whole channel
 * shares a mean and a deviation. False where there is too little to tell. */
static bool bias(const struct yardstick *m, const double *c, ptrdiff_t n, double *beta, double *sd) {
  ptrdiff_t channels = m->truth->ndim > 0 ? m->truth->shape[m->truth->ndim - 1] : 1, counted = 0, ignored = 0;
  ptrdiff_t groups = m->channels_share ? channels : n;
  struct share all = share_of(m, c, 0, 1, n, &counted);
  if (counted < BIAS_LEAST || groups < GROUPS_LEAST || !(all.sz > 0)) return false;
  *beta = all.ez / all.sz;
  double squares = 0;
  for (ptrdiff_t k = 0; k < groups; k++) {
    struct share own = share_of(m, c, k, groups, n, &ignored);
    double left = own.ez - *beta * own.sz;
    squares += left * left;
  }
  *sd = sqrt(squares * (double)groups / (double)(groups - 1)) / all.sz;
  *beta = fabs(*beta);
  return true;
}

/* The candidate's own roundoff, and in double as much again for the truth's, which is of the same kind. */
static double accumulator_roundoff(const struct precision_class *p) { return unit_roundoff(&p->acc) * (p->acc.bits == 53 ? 4 : 1); }

void accept_tensor(const struct yardstick *m, const struct precision_class *p, const double *c, struct finding *f) {
  ptrdiff_t n = tensor_count(m->truth), worst = 0;
  double u_acc = accumulator_roundoff(p), u_out = unit_roundoff(&p->out), u_in = p->in.bits == p->acc.bits ? 0 : unit_roundoff(&p->in);
  double worst_ratio = -1, worst_error = 0, worst_allowed = 0, beta, sd, own, own_sd;
  f->rule = NULL;
  f->error = f->allowed = 0;
  f->pass = false;
  for (ptrdiff_t i = 0; i < n; i++) {
    double y = m->y[i], e = fabs(c[i] - y), allowed = 0;
    if (!same_class(c[i], y)) {
      locate(m, c, i, f);
      f->rule = "not finite";
      f->error = INFINITY;
      return;
    }
    if (!isfinite(y)) continue;
    if (!m->exact) {
      allowed = u_out * fabs(y) + (4 * sqrt(m->chain) + 2) * u_acc * m->g[i] + u_in * fmin(2 * m->g[i], 6 * m->g2[i]) +
                4 * ldexp(1, p->out.least);
    }
    double ratio = e == 0 ? 0 : e / allowed;
    if (ratio > worst_ratio) worst = i, worst_ratio = ratio, worst_error = e, worst_allowed = allowed;
  }
  locate(m, c, worst, f);
  if (!rule(f, m->exact ? "exact" : "element", worst_error, worst_allowed)) return;
  if (!m->exact) {
    double floor = fmax(0.3, sqrt(m->chain) / 3 * rms(m, NULL, n)) * u_acc;
    if (!rule(f, "rms", rms(m, c, n), (n < RMS_FEW ? 6 : 3) * fmax(rms(m, m->r, n), floor))) return;
    if (bias(m, c, n, &beta, &sd) && bias(m, m->r, n, &own, &own_sd) && !rule(f, "bias", beta, 6 * sd + 6 * u_acc + 2 * u_in + 3 * own)) {
      return;
    }
  }
  f->pass = true;
}
