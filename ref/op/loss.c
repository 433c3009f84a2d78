#include "op/loss.h"

#include <assert.h>

#include "op/sum.h"
#include "op/unit.h"

/* One image: the inverse lengths and cosines of its rows, and one row in double. */
static ptrdiff_t image_scratch(const struct loss *g) { return 2 * g->n + g->c; }

ptrdiff_t loss_scratch(const struct loss *g) { return g->b * image_scratch(g); }

/* u = x / |x| in double, with the guard. */
static void unit_row(ptrdiff_t c, const real *x, double *u) {
  double inverse = unit_inverse(sum_products(c, x, x));
  for (ptrdiff_t k = 0; k < c; k++) u[k] = (double)x[k] * inverse;
}

/* cos(a, u) for a unit row u that takes no gradient; adds factor * d cos / d a to da, unless null:
 *     d cos / d a = (u - cos a / |a|) / |a|,    and u / guard's length below the guard, where the length is a constant. */
static double cosine(ptrdiff_t c, const real *a, const double *u, double factor, real *da) {
  double inverse = unit_inverse(sum_products(c, a, a)), cos = inverse * sum_products_wide(c, a, u);
  if (da) {
    double along = unit_is_guarded(inverse) ? 0.0 : cos * inverse;
    for (ptrdiff_t k = 0; k < c; k++) da[k] = (real)((double)da[k] + factor * inverse * (u[k] - along * (double)a[k]));
  }
  return cos;
}

/* ---- Eq. 2: BYOL -------------------------------------------------------------------------------------------------------------------- */

void loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, double *scratch) {
  double factor = -2.0 * scale / (double)g->b;
  if (scale == 0) dq = NULL;
#pragma omp parallel for schedule(static) if (g->b > 1)
  for (ptrdiff_t b = 0; b < g->b; b++) {
    double *u = scratch + b * image_scratch(g);
    unit_row(g->c, z + b * g->c, u);
    value[b] = 2.0 - 2.0 * cosine(g->c, q + b * g->c, u, factor, dq ? dq + b * g->c : NULL);
  }
}

/* ---- Eq. 5: R-DEM ------------------------------------------------------------------------------------------------------------------- */

/* row += x / |x|, given 1 / |x|. */
static void add_unit_row(ptrdiff_t c, const real *x, double inverse, double *row) {
  for (ptrdiff_t k = 0; k < c; k++) row[k] += inverse * (double)x[k];
}

/* The gradient of factor * sum over j of cos(r[j], r[d[j]]), gathered region by region: region i takes part in its own term, and in
 * that of every j that is matched to it unless the match is a constant. With the partners k of i and their cosines,
 *     dr[i] += factor / |r[i]| sum over k of (u[k] - cos[k] u[i]),    u = r / |r|,
 * the sum in double, own term first, then j in rising order, so dr is rounded once. */
static void rdem_gradient(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double factor,
                          const double *inverse, const double *cos, double *row, real *dr) {
  ptrdiff_t n = g->n, c = g->c;
  for (ptrdiff_t i = 0; i < n; i++) {
    double cosines = cos[i];
    for (ptrdiff_t k = 0; k < c; k++) row[k] = 0;
    add_unit_row(c, r + d[i] * c, inverse[d[i]], row);
    for (ptrdiff_t j = 0; j < n && stopgrad == RDEM_STOPGRAD_NONE; j++) {
      if (d[j] != i) continue;
      add_unit_row(c, r + j * c, inverse[j], row);
      cosines += cos[j];
    }
    double along = unit_is_guarded(inverse[i]) ? 0.0 : cosines * inverse[i];
    for (ptrdiff_t k = 0; k < c; k++)
      dr[i * c + k] = (real)((double)dr[i * c + k] + factor * inverse[i] * (row[k] - along * (double)r[i * c + k]));
  }
}

void loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value, real *dr,
               double *scratch) {
  ptrdiff_t n = g->n, c = g->c;
  double factor = scale / ((double)g->b * (double)n);
#pragma omp parallel for schedule(static) if (g->b > 1)
  for (ptrdiff_t b = 0; b < g->b; b++) {
    const real *rb = r + b * n * c;
    const int32_t *db = d + b * n;
    double *inverse = scratch + b * image_scratch(g), *cos = inverse + n, *row = cos + n, sum = 0;
    for (ptrdiff_t j = 0; j < n; j++) inverse[j] = unit_inverse(sum_products(c, rb + j * c, rb + j * c));
    for (ptrdiff_t j = 0; j < n; j++) {
      assert(db[j] >= 0 && db[j] < n);
      cos[j] = inverse[j] * inverse[db[j]] * sum_products(c, rb + j * c, rb + db[j] * c);
      sum += cos[j];
    }
    value[b] = sum / (double)n;
    if (dr && scale != 0) rdem_gradient(g, rb, db, stopgrad, factor, inverse, cos, row, dr + b * n * c);
  }
}

void loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale, double *value,
                        real *dr, double *scratch) {
  ptrdiff_t n = g->n, c = g->c;
  double factor = scale / ((double)g->b * (double)n);
  if (scale == 0) dr = NULL;
#pragma omp parallel for schedule(static) if (g->b > 1)
  for (ptrdiff_t b = 0; b < g->b; b++) {
    assert(neg[b] >= 0);
    const real *negative = g_target + neg[b] * n * c;
    double *u = scratch + b * image_scratch(g), square = 0, sum = 0;
    for (ptrdiff_t k = 0; k < c; k++) u[k] = 0;
    for (ptrdiff_t j = 0; j < n; j++)
      for (ptrdiff_t k = 0; k < c; k++) u[k] += (double)negative[j * c + k];
    for (ptrdiff_t k = 0; k < c; k++) {
      u[k] /= (double)n;
      square += u[k] * u[k];
    }
    double inverse = unit_inverse(square);
    for (ptrdiff_t k = 0; k < c; k++) u[k] *= inverse;
    for (ptrdiff_t j = 0; j < n; j++) sum += cosine(c, r + (b * n + j) * c, u, factor, dr ? dr + (b * n + j) * c : NULL);
    value[b] = sum / (double)n;
  }
}

/* ---- Eq. 7: R-IEM ------------------------------------------------------------------------------------------------------------------- */

void loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value, real *dp,
               double *scratch) {
  ptrdiff_t n = g->n, c = g->c;
  double factor = -scale / ((double)g->b * (double)n);
  if (scale == 0) dp = NULL;
#pragma omp parallel for schedule(static) if (g->b > 1)
  for (ptrdiff_t b = 0; b < g->b; b++) {
    double *u = scratch + b * image_scratch(g), sum = 0;
    for (ptrdiff_t j = 0; j < n; j++) {
      assert(s[b * n + j] >= 0 && s[b * n + j] < n);
      unit_row(c, g_target + (b * n + s[b * n + j]) * c, u);
      sum += cosine(c, p + (b * n + j) * c, u, factor, dp ? dp + (b * n + j) * c : NULL);
    }
    value[b] = 1.0 - sum / (double)n;
  }
}

/* ---- Eq. 3: the sum ----------------------------------------------------------------------------------------------------------------- */

static double mean_of(ptrdiff_t b, const double *const value[2]) {
  double sum = 0;
  for (int v = 0; v < 2; v++)
    for (ptrdiff_t i = 0; value[v] && i < b; i++) sum += value[v][i];
  return sum / (double)b;
}

void loss_collect(ptrdiff_t b, const struct loss_values *v, double share, struct loss_sums *sums) {
  struct losses l = {.rdem = mean_of(b, v->rdem), .riem = mean_of(b, v->riem), .byol = mean_of(b, v->byol)};
  l.total = v->lambda_rdem * l.rdem + v->lambda_riem * l.riem + v->lambda_byol * l.byol;
  sums->last = l;
  sums->sum.total += share * l.total, sums->sum.byol += share * l.byol;
  sums->sum.rdem += share * l.rdem, sums->sum.riem += share * l.riem;
}
