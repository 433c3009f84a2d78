/* The gauge of the three losses. For one pair of rows a, b with a^ = a / |a|, b^ = b / |b|, s = cos(a, b) and S = sum |a^| |b^|:
 *
 *     G(cos) = S + |s|                                  the second term: both norms have roundings of their own
 *     G(d cos / d a) = (2 |b^| + (S + 2 |s|) |a^|) / |a|       the gradient is (b^ - s a^) / |a|
 *
 * Where b is itself a sum (the mean region of another image), a kernel in float knows it to the roundoff of B = mean |g|: B stands in place
 * of |b|, in |b^| as B / |b|, and its length is known to sum |b| B / |b|^2 roundoffs, by which s is multiplied.
 *
 * Values: every cosine of a loss with its weight, and the constants 2 and 4, from which some are subtracted.
 */
#include <math.h>
#include <string.h>

#include "oracle/gauge.h"

static const double guard = 1e-12; /* below it a row is divided by its root, 1e-6, and not by its norm */

static double norm_of(const double *a, ptrdiff_t n) {
  double squares = 0;
  for (ptrdiff_t i = 0; i < n; i++) squares += a[i] * a[i];
  return sqrt(fmax(squares, guard));
}

/* G(cos) of the pair; adds weight times the gauge of its gradients to da and db, where they are not null. gauge: of b, null for |b|
 * itself. */
static double add_pair(ptrdiff_t n, const double *a, const double *b, const double *gauge, double weight, double *da, double *db) {
  double na = norm_of(a, n), nb = norm_of(b, n), s = 0, S = 0, length = gauge ? 0 : 1;
  for (ptrdiff_t i = 0; i < n; i++) {
    s += a[i] * b[i] / (na * nb);
    S += fabs(a[i]) * (gauge ? gauge[i] : fabs(b[i])) / (na * nb);
    if (gauge) length += fabs(b[i]) * gauge[i] / (nb * nb);
  }
  s = fabs(s) * fmax(length, 1);
  for (ptrdiff_t i = 0; i < n; i++) {
    double ua = fabs(a[i]) / na, ub = (gauge ? gauge[i] : fabs(b[i])) / nb;
    if (da) da[i] += weight * (2 * ub + (S + 2 * s) * ua) / na;
    if (db) db[i] += weight * (2 * ua + (S + 2 * s) * ub) / nb;
  }
  return S + s;
}

/* The gauges of the cosines of an image, which are added up one after the other. Equal ones are rounded alike (gauge.h): N of them are off
 * by 0.15 u N of their sum, for which the rule "rms" needs N / 6 gauges. */
struct cosines {
  double sum, last;
  double same; /* equal to the one before */
};

static void add_cosine(struct cosines *c, double gauge) {
  c->sum += gauge;
  c->same += gauge != 0 && gauge == c->last;
  c->last = gauge;
}

static double cosines_gauge(const struct cosines *c, ptrdiff_t n) { return c->sum / (double)n * fmax(1, (c->same + 1) / 6); }

/* out.NAME_image and out.NAME from the gauges of the images. */
static bool put(struct case_run *g, const char *name, ptrdiff_t b, const double *v) {
  double *image = run_output(g, DTYPE_F64, 1, &b, "out.%s_image", name), *mean = run_output(g, DTYPE_F64, 0, &b, "out.%s", name);
  if (!image || !mean) return false;
  *mean = 0;
  for (ptrdiff_t i = 0; i < b; i++) image[i] = v[i], *mean += v[i] / (double)b;
  return true;
}

/* As in case_loss.c: inputs of one online view. */
struct view {
  const double *q, *z, *r, *p, *g_own, *g_other;
  const int32_t *diversity, *invariance;
};

struct losses {
  double lambda[3];
  bool stop, instance, has_regions;
  const int32_t *negative;
  ptrdiff_t qs[2], rs[3];
  bool has_view[2];
  struct view view[2];
};

static bool read_view(struct case_run *g, struct losses *l, int v) {
  static const char *const diversity[] = {"in.d1", "in.d2"}, *const invariance[] = {"in.s12", "in.s21"};
  struct view *view = &l->view[v];
  if (!(view->q = run_input(g, DTYPE_F64, 2, l->qs, "in.q%d", v + 1)) || !(view->z = run_input(g, DTYPE_F64, 2, l->qs, "in.z%d", 2 - v))) {
    return false;
  }
  if (!(l->has_regions = run_has(g, "in.r%d", v + 1))) return true;
  l->rs[0] = l->qs[0];
  return (view->r = run_input(g, DTYPE_F64, 3, l->rs, "in.r%d", v + 1)) &&
         (view->g_other = run_input(g, DTYPE_F64, 3, l->rs, "in.g%d", 2 - v)) &&
         (!run_has(g, "in.p%d", v + 1) || (view->p = run_input(g, DTYPE_F64, 3, l->rs, "in.p%d", v + 1))) &&
         (!run_has(g, "in.g%d", v + 1) || (view->g_own = run_input(g, DTYPE_F64, 3, l->rs, "in.g%d", v + 1))) &&
         ((l->instance && !run_has(g, "%s", diversity[v])) || (view->diversity = run_indices(g, l->rs[1], 2, l->rs, "%s", diversity[v]))) &&
         (view->invariance = run_indices(g, l->rs[1], 2, l->rs, "%s", invariance[v]));
}

static bool read_losses(struct case_run *g, struct losses *l) {
  static const char *const stopgrads[] = {"none", "match"}, *const negatives[] = {"region", "instance"};
  int stop, negative;
  *l = (struct losses){.qs = {-1, -1}, .rs = {-1, -1, -1}};
  if (!case_number(g->file, "lambda1", &l->lambda[0], g->err) || !case_number(g->file, "lambda2", &l->lambda[1], g->err) ||
      !case_number(g->file, "lambda3", &l->lambda[2], g->err) || !case_choice(g->file, "rdem_stopgrad", stopgrads, 2, &stop, g->err) ||
      !case_choice(g->file, "rdem_negative", negatives, 2, &negative, g->err)) {
    return false;
  }
  l->stop = stop == 1, l->instance = negative == 1;
  for (int v = 0; v < 2; v++) {
    l->has_view[v] = run_has(g, "in.q%d", v + 1);
    if (l->has_view[v] && !read_view(g, l, v)) return false;
  }
  return !l->has_regions || !l->instance || (l->negative = run_indices(g, l->qs[0], 1, l->qs, "in.neg"));
}

/* The mean over regions of image `image`: the negative of rdem.negative = instance; and its gauge. */
static void mean_region(const struct losses *l, const double *regions, ptrdiff_t image, double *mean, double *gauge) {
  ptrdiff_t n = l->rs[1], c = l->rs[2];
  for (ptrdiff_t k = 0; k < c; k++) {
    double same = 1;                  /* terms equal to the one before */
    mean[k] = 0, gauge[k] = 0x1p-126; /* a sum below the normal floats is rounded as the smallest of them */
    for (ptrdiff_t j = 0; j < n; j++) {
      double x = regions[(image * n + j) * c + k];
      mean[k] += x / (double)n, gauge[k] += fabs(x) / (double)n;
      same += j > 0 && x != 0 && x == regions[(image * n + j - 1) * c + k];
    }
    gauge[k] *= fmax(1, same / 6); /* as in cosines_gauge */
  }
}

/* The terms of view v: gauges of its values in byol, rdem, riem, which are also the results of its direction, and of its gradients. */
static bool gauge_view(struct case_run *g, const struct losses *l, int v, double *sum[3]) {
  const struct view *view = &l->view[v];
  ptrdiff_t b = l->qs[0], n = l->rs[1], c = l->rs[2];
  double *byol = run_output(g, DTYPE_F64, 1, &b, "out.byol%d", v + 1), *rdem = NULL, *riem = NULL, image = 1 / (double)b;
  double *dq = run_accumulator(g, DTYPE_F64, 2, l->qs, "grad_in.q%d", v + 1), *dr = NULL, *dp = NULL, *mean = NULL, *spread = NULL;
  if (!byol || !dq) return false;
  if (l->has_regions &&
      (!(rdem = run_output(g, DTYPE_F64, 1, &b, "out.rdem%d", v + 1)) || !(riem = run_output(g, DTYPE_F64, 1, &b, "out.riem%d", v + 1)) ||
       !(mean = run_scratch(g, DTYPE_F64, c)) || !(spread = run_scratch(g, DTYPE_F64, c)) ||
       !(dr = run_accumulator(g, DTYPE_F64, 3, l->rs, "grad_in.r%d", v + 1)) ||
       (view->p && !(dp = run_accumulator(g, DTYPE_F64, 3, l->rs, "grad_in.p%d", v + 1))))) {
    return false;
  }
  for (ptrdiff_t i = 0; i < b; i++) {
    ptrdiff_t at = i * l->qs[1];
    byol[i] = 2 + 2 * add_pair(l->qs[1], view->q + at, view->z + at, NULL, 2 * fabs(l->lambda[2]) * image, dq + at, NULL);
    sum[2][i] += byol[i];
    if (!l->has_regions) continue;
    double each = 1 / (double)n;
    struct cosines far = {0}, near = {0};
    if (l->negative) mean_region(l, view->g_own, l->negative[i], mean, spread);
    for (ptrdiff_t j = 0; j < n; j++) {
      ptrdiff_t own = (i * n + j) * c, to = (i * n + view->invariance[i * n + j]) * c;
      ptrdiff_t other = l->negative ? 0 : (i * n + view->diversity[i * n + j]) * c;
      double weight = fabs(l->lambda[0]) * each * image;
      add_cosine(&far, l->negative ? add_pair(c, view->r + own, mean, spread, weight, dr + own, NULL)
                                   : add_pair(c, view->r + own, view->r + other, NULL, weight, dr + own, l->stop ? NULL : dr + other));
      add_cosine(&near, add_pair(c, (view->p ? view->p : view->r) + own, view->g_other + to, NULL, fabs(l->lambda[1]) * each * image,
                                 (view->p ? dp : dr) + own, NULL));
    }
    rdem[i] = cosines_gauge(&far, n), riem[i] = 1 + cosines_gauge(&near, n);
    sum[0][i] += rdem[i], sum[1][i] += riem[i];
  }
  return true;
}

bool gauge_loss(struct case_run *g) {
  struct losses l;
  if (!read_losses(g, &l)) return false;
  ptrdiff_t b = l.qs[0];
  double *sum[3], *total = run_scratch(g, DTYPE_F64, b); /* rdem, riem, byol */
  for (int i = 0; i < 3; i++) {
    if (!(sum[i] = run_scratch(g, DTYPE_F64, b))) return false;
    memset(sum[i], 0, (size_t)b * sizeof *sum[i]);
  }
  if (!total) return false;
  for (int v = 0; v < 2; v++) {
    if (l.has_view[v] && !gauge_view(g, &l, v, sum)) return false;
  }
  if (!l.has_view[0] || !l.has_view[1]) return true;
  for (ptrdiff_t i = 0; i < b; i++)
    total[i] = fabs(l.lambda[0]) * sum[0][i] + fabs(l.lambda[1]) * sum[1][i] + fabs(l.lambda[2]) * sum[2][i];
  return put(g, "rdem", b, sum[0]) && put(g, "riem", b, sum[1]) && put(g, "byol", b, sum[2]) && put(g, "total", b, total);
}
