#include "oracle/accept.h"

#include <math.h>

enum { RMS_FEW = 64, BIAS_LEAST = 256, GROUPS_LEAST = 8 };
#define BIAS_NOISE 0x1p-45 /* root mean square of s / G: some hundred roundoffs of double */

/* Elements are taken in parts of a fixed size, so that sums do not depend on the number of threads; a batch of parts at a time. */
enum { PART = 1 << 13, BATCH = 64 };

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

/* ---- what an element may be off by --------------------------------------------------------------------------------------------------- */

/* The candidate's own roundoff, and in double as much again for the truth's, which is of the same kind. */
static double accumulator_roundoff(const struct precision_class *p) { return unit_roundoff(&p->acc) * (p->acc.bits == 53 ? 4 : 1); }

static double input_roundoff(const struct precision_class *p) { return p->in.bits >= p->acc.bits ? 0 : unit_roundoff(&p->in); }

/* Roundoffs by which a sum is too small that is rounded toward zero (the header derives it). */
static double lost_by_cutting(const struct yardstick *m, const struct precision_class *p) { return p->cuts ? m->chain / 16 : 0; }

struct allowance accept_allowance(const struct yardstick *m, const struct precision_class *p) {
  if (m->exact) return (struct allowance){0};
  return (struct allowance){.out = unit_roundoff(&p->out),
                            .cut = lost_by_cutting(m, p) * accumulator_roundoff(p),
                            .acc = (4 * sqrt(m->chain) + 2) * accumulator_roundoff(p),
                            .in = input_roundoff(p),
                            .least = 4 * ldexp(1, p->out.least) + (4 * sqrt(m->chain) + 2) * ldexp(1, p->acc.least - 1)};
}

static bool has_carried(const struct yardstick *m, ptrdiff_t i) { return !m->carried || isfinite(m->carried[i]); }

double accept_allowed(const struct yardstick *m, const struct allowance *a, ptrdiff_t i) {
  double size = m->sizes ? m->sizes[i] : fabs(m->y[i]), allowed = a->out * size + a->cut * fabs(m->y[i]) + a->acc * m->g[i] + a->least;
  if (a->in > 0) allowed += a->in * fmin(2 * m->g[i], 6 * m->g2[i]);
  return isfinite(allowed) && has_carried(m, i) ? allowed : 0; /* no bound: c can keep to none */
}

/* ---- one pass over the elements ------------------------------------------------------------------------------------------------------ */

/* Of a part: its worst element, and sums over the elements that have a gauge. */
struct part {
  ptrdiff_t worst, counted;
  double ratio;          /* error / allowed of the worst; below 0 if there is none */
  double error, allowed; /* of it */
  bool other_class;      /* the worst is not finite where it should be, or the other way round */
  double gg;             /* squares of G2 / G, where inputs are rounded */
  double ee, rr, yy;     /* squares of (c - y) / G, (r - y) / G, s / G */
  double ez, rz, sz, bz; /* bias: z = s / G^2 times c - y, r - y, s, and start */
};

static double increment(const struct yardstick *m, ptrdiff_t i) { return m->start ? m->y[i] - m->start[i] : m->y[i]; }

static bool has_gauge(const struct yardstick *m, ptrdiff_t i) { return m->g[i] > 0 && m->g[i] < INFINITY && has_carried(m, i); }

static struct part look_at(const struct yardstick *m, const struct allowance *a, const double *c, ptrdiff_t first, ptrdiff_t end) {
  struct part s = {.ratio = -1};
  for (ptrdiff_t i = first; i < end; i++) {
    double y = m->y[i], e = c[i] - y, size = fabs(e);
    if (!(size < INFINITY)) { /* one of them is not finite */
      if (same_class(c[i], y)) {
        if (s.ratio < 0) s.worst = i, s.ratio = 0; /* right, and the worst so far */
        continue;
      }
      s.worst = i, s.other_class = true;
      return s;
    }
    double allowed = accept_allowed(m, a, i), ratio = size > 0 ? size / allowed : 0;
    if (!(ratio <= s.ratio)) s.worst = i, s.ratio = ratio, s.error = size, s.allowed = allowed;
    if (!has_gauge(m, i)) continue;
    double inverse = 1 / m->g[i], step = increment(m, i), z = step * inverse * inverse, r = m->r[i] - y;
    s.counted++;
    s.ee += e * inverse * e * inverse;
    s.rr += r * inverse * r * inverse;
    double grown = (fabs(y) + (m->carried ? m->carried[i] : 0)) * inverse;
    s.yy += grown * grown;
    if (a->in > 0) s.gg += m->g2[i] * inverse * m->g2[i] * inverse;
    s.ez += e * z;
    s.rz += r * z;
    s.sz += step * z;
    if (m->start) s.bz += m->start[i] * z;
  }
  return s;
}

static void join(struct part *all, const struct part *s) {
  if (s->other_class || !(s->ratio <= all->ratio)) {
    all->worst = s->worst, all->ratio = s->ratio, all->error = s->error, all->allowed = s->allowed;
    all->other_class = s->other_class;
  }
  all->counted += s->counted;
  all->gg += s->gg;
  all->ee += s->ee, all->rr += s->rr, all->yy += s->yy;
  all->ez += s->ez, all->rz += s->rz, all->sz += s->sz, all->bz += s->bz;
}

/* All parts in order. quick: up to the first that holds an element that is over. */
static struct part look_at_all(const struct yardstick *m, const struct allowance *a, const double *c, ptrdiff_t n, bool quick) {
  struct part all = {.ratio = -1}, s[BATCH];
  for (ptrdiff_t base = 0; base < n; base += (ptrdiff_t)PART * BATCH) {
    ptrdiff_t parts = (n - base + PART - 1) / PART, look = parts < BATCH ? parts : BATCH;
    if (quick && base == 0) { /* a wrong tensor shows in its first part more often than not */
      s[0] = look_at(m, a, c, 0, n < PART ? n : PART);
      if (s[0].other_class || !(s[0].ratio <= 1)) return s[0];
    }
#pragma omp parallel for schedule(static) if (look > 1)
    for (ptrdiff_t k = quick && base == 0 ? 1 : 0; k < look; k++) {
      ptrdiff_t first = base + k * PART;
      s[k] = look_at(m, a, c, first, first + PART < n ? first + PART : n);
    }
    for (ptrdiff_t k = 0; k < look; k++) {
      join(&all, &s[k]);
      if (all.other_class || (quick && !(all.ratio <= 1))) return all;
    }
  }
  return all;
}

/* ---- bias ---------------------------------------------------------------------------------------------------------------------------- */

/* Sums over one group of elements, whose errors depend on each other: of e z and of s z (z as in struct part). */
struct group {
  double ez, sz;
};

static void add_element(const struct yardstick *m, const double *c, ptrdiff_t i, struct group *to) {
  if (!has_gauge(m, i) || !isfinite(m->y[i])) return;
  double step = increment(m, i), z = step / (m->g[i] * m->g[i]);
  to->ez += (c[i] - m->y[i]) * z;
  to->sz += step * z;
}

/* The square of what the factor beta leaves over in a group. A group that has most of sum s z draws beta to itself, and little is left of
 * its errors: divided by the share that the others have (HC3, MacKinnon and White 1985). */
static double left_of(const struct group *g, double beta, double sz) {
  double left = g->ez - beta * g->sz, others = 1 - g->sz / sz;
  return others > 0 ? left / others * (left / others) : INFINITY;
}

/* Sum over groups of consecutive elements, `size` each. */
static double left_over(const struct yardstick *m, const double *c, ptrdiff_t n, ptrdiff_t size, double beta, double sz) {
  double sums[BATCH], left = 0;
  ptrdiff_t part = size > PART ? size : PART / size * size;
  for (ptrdiff_t base = 0; base < n; base += part * BATCH) {
    ptrdiff_t parts = (n - base + part - 1) / part, look = parts < BATCH ? parts : BATCH;
#pragma omp parallel for schedule(static) if (look > 1)
    for (ptrdiff_t k = 0; k < look; k++) {
      ptrdiff_t first = base + k * part, end = first + part < n ? first + part : n;
      sums[k] = 0;
      for (ptrdiff_t group = first; group < end; group += size) {
        struct group own = {0, 0};
        for (ptrdiff_t i = group; i < group + size && i < end; i++) add_element(m, c, i, &own);
        sums[k] += left_of(&own, beta, sz);
      }
    }
    for (ptrdiff_t k = 0; k < look; k++) left += sums[k];
  }
  return left;
}

/* The same where all elements of a channel depend on each other. Channels in blocks, whose elements lie side by side. */
static double left_over_of_channels(const struct yardstick *m, const double *c, ptrdiff_t n, ptrdiff_t channels, double beta, double sz) {
  enum { BLOCK = 64 };
  double left = 0;
  for (ptrdiff_t channel = 0; channel < channels; channel += BLOCK) {
    ptrdiff_t width = channels - channel < BLOCK ? channels - channel : BLOCK;
    struct group own[BLOCK] = {{0, 0}};
    for (ptrdiff_t row = channel; row < n; row += channels) {
      for (ptrdiff_t k = 0; k < width; k++) add_element(m, c, row + k, &own[k]);
    }
    for (ptrdiff_t k = 0; k < width; k++) left += left_of(&own[k], beta, sz);
  }
  return left;
}

/* Variance of beta from what is left over in so many groups. */
static double variance_of(double left, ptrdiff_t groups) { return groups > 1 ? left * (double)groups / (double)(groups - 1) : INFINITY; }

/* The rule "bias": the factor in the errors, against its standard deviation from what the groups leave over: each element is a group, or
 * each channel where the whole channel shares a mean and a deviation, or each row where it shares a length. Holds where there is too little
 * to tell. */
static bool unbiased(const struct yardstick *m, const struct precision_class *p, const double *c, ptrdiff_t n, const struct part *all,
                     struct finding *f) {
  ptrdiff_t channels = m->truth->ndim > 0 ? m->truth->shape[m->truth->ndim - 1] : 1;
  ptrdiff_t groups = m->channels_share ? channels : m->rows_share ? n / channels : n;
  bool is_noise = !(all->sz > BIAS_NOISE * BIAS_NOISE * (double)all->counted); /* s is zero but for the truth's own roundings */
  if (all->counted < BIAS_LEAST || groups < GROUPS_LEAST || is_noise || m->cancels) return true;
  double beta = all->ez / all->sz, own = all->rz / all->sz, u_acc = accumulator_roundoff(p), variance = 0;
  if (m->channels_share) variance = variance_of(left_over_of_channels(m, c, n, channels, beta, all->sz), channels);
  if (m->rows_share) variance = fmax(variance, variance_of(left_over(m, c, n, channels, beta, all->sz), n / channels));
  if (!m->channels_share && !m->rows_share) variance = variance_of(left_over(m, c, n, 1, beta, all->sz), n);
  double shared = (lost_by_cutting(m, p) + m->common + m->kept * fabs(all->bz) / all->sz) * u_acc, sd = sqrt(variance) / all->sz;
  return rule(f, "bias", fabs(beta), 6 * sd + 6 * u_acc + 2 * input_roundoff(p) + 3 * fabs(own) + shared);
}

/* ---- the rule ------------------------------------------------------------------------------------------------------------------------ */

void accept_tensor(const struct yardstick *m, const struct precision_class *p, const double *c, bool quick, struct finding *f) {
  ptrdiff_t n = tensor_count(m->truth);
  struct allowance a = accept_allowance(m, p);
  struct part all = look_at_all(m, &a, c, n, quick);
  f->rule = NULL;
  f->error = f->allowed = 0;
  f->pass = n == 0;
  if (n == 0) return;
  compare_index_text(m->truth, all.worst, f->where, sizeof f->where);
  f->candidate = c[all.worst];
  f->expected = m->y[all.worst];
  if (all.other_class) {
    f->rule = "not finite";
    f->error = INFINITY;
    return;
  }
  if (!rule(f, m->exact ? "exact" : "element", all.error, all.allowed)) return;
  if (!m->exact) {
    double counted = all.counted > 0 ? (double)all.counted : 1;
    double grown = fmax(sqrt(m->chain) / 3, lost_by_cutting(m, p));
    double floor = fmax(n == 1 ? 1 / 3.0 : 0.3, grown * sqrt(all.yy / counted)) * accumulator_roundoff(p);
    if (n < RMS_FEW) floor = fmax(floor, 0.3 * a.in * sqrt(all.gg / counted));
    double allowed = (n < RMS_FEW ? 6 : 3) * fmax(sqrt(all.rr / counted), floor);
    if (!rule(f, "rms", sqrt(all.ee / counted), allowed) || !unbiased(m, p, c, n, &all, f)) return;
  }
  f->pass = true;
}
