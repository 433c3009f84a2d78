/* The gauge of the three losses. For one pair of rows a, b with a^ = a / |a|, b^ = b / |b|, s = cos(a, b) and S = sum |a^| |b^|:
 *
 *     G(cos) = S + |s|                                  the second term: both norms have roundings of their own
 *     G(d cos / d a) = (2 |b^| + (S + 2 |s|) |a^|) / |a|       the gradient is (b^ - s a^) / |a|
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

/* G(cos) of the pair; adds weight times the gauge of its gradients to da and db, where they are not null. */
static double add_pair(ptrdiff_t n, const double *a, const double *b, double weight, double *da, double *db) {
  double na = norm_of(a, n), nb = norm_of(b, n), s = 0, S = 0;
  for (ptrdiff_t i = 0; i < n; i++) s += a[i] * b[i] / (na * nb), S += fabs(a[i] * b[i]) / (na * nb);
  s = fabs(s);
  for (ptrdiff_t i = 0; i < n; i++) {
    double ua = fabs(a[i]) / na, ub = fabs(b[i]) / nb;
    if (da) da[i] += weight * (2 * ub + (S + 2 * s) * ua) / na;
    if (db) db[i] += weight * (2 * ua + (S + 2 * s) * ub) / nb;
  }
  return S + s;
}

/* out.NAME_image and out.NAME from the gauges of the images. */
static bool put(struct case_run *g, const char *name, ptrdiff_t b, const double *v) {
  double *image = run_output(g, DTYPE_F64, 1, &b, "out.%s_image", name), *mean = run_output(g, DTYPE_F64, 0, &b, "out.%s", name);
  if (!image || !mean) return false;
  *mean = 0;
  for (ptrdiff_t i = 0; i < b; i++) image[i] = v[i], *mean += v[i] / (double)b;
  return true;
}

bool gauge_loss(struct case_run *g) {
  static const char *const stopgrads[] = {"none", "match"}, *const negatives[] = {"region", "instance"};
  static const char *const global_names[] = {"in.q1", "in.q2", "in.z1", "in.z2"};
  static const char *const region_names[] = {"in.r1", "in.r2", "in.g1", "in.g2"};
  static const char *const index_names[] = {"in.d1", "in.d2", "in.s12", "in.s21"};
  double lambda[3];
  int stop, negative;
  ptrdiff_t qs[2] = {-1, -1}, rs[3] = {-1, -1, -1};
  const double *global[4], *region[4];
  const int32_t *index[4], *neg = NULL;
  if (!case_number(g->file, "lambda1", &lambda[0], g->err) || !case_number(g->file, "lambda2", &lambda[1], g->err) ||
      !case_number(g->file, "lambda3", &lambda[2], g->err) || !case_choice(g->file, "rdem_stopgrad", stopgrads, 2, &stop, g->err) ||
      !case_choice(g->file, "rdem_negative", negatives, 2, &negative, g->err)) {
    return false;
  }
  for (int i = 0; i < 4; i++) {
    if (!(global[i] = run_input(g, DTYPE_F64, 2, qs, "%s", global_names[i]))) return false;
    if (!(region[i] = run_input(g, DTYPE_F64, 3, rs, "%s", region_names[i]))) return false;
  }
  for (int i = 0; i < 4; i++) {
    if (!(index[i] = run_indices(g, rs[1], 2, rs, "%s", index_names[i]))) return false;
  }
  ptrdiff_t b = rs[0], n = rs[1], c = rs[2];
  if (negative == 1 && !(neg = run_indices(g, b, 1, &b, "in.neg"))) return false;
  double *rdem = run_scratch(g, DTYPE_F64, b), *riem = run_scratch(g, DTYPE_F64, b), *byol = run_scratch(g, DTYPE_F64, b);
  double *total = run_scratch(g, DTYPE_F64, b), *mean = run_scratch(g, DTYPE_F64, c);
  if (!rdem || !riem || !byol || !total || !mean) return false;
  for (ptrdiff_t i = 0; i < b; i++) rdem[i] = 0, riem[i] = 2, byol[i] = 4;
  for (int v = 0; v < 2; v++) { /* as in case_loss */
    int o = 1 - v;
    double *dq = run_accumulator(g, DTYPE_F64, 2, qs, "grad_in.q%d", v + 1),
           *dr = run_accumulator(g, DTYPE_F64, 3, rs, "grad_in.r%d", v + 1);
    double each = 1 / (double)n, image = 1 / (double)b;
    if (!dq || !dr) return false;
    for (ptrdiff_t i = 0; i < b; i++) {
      byol[i] += 2 * add_pair(qs[1], global[v] + i * qs[1], global[2 + o] + i * qs[1], 2 * fabs(lambda[2]) * image, dq + i * qs[1], NULL);
      if (neg) {
        memset(mean, 0, (size_t)c * sizeof *mean);
        for (ptrdiff_t j = 0; j < n; j++) {
          for (ptrdiff_t k = 0; k < c; k++) mean[k] += each * region[2 + v][((ptrdiff_t)neg[i] * n + j) * c + k];
        }
      }
      for (ptrdiff_t j = 0; j < n; j++) {
        const double *a = region[v] + (i * n + j) * c;
        double *da = dr + (i * n + j) * c;
        ptrdiff_t d = (i * n + index[v][i * n + j]) * c, s = (i * n + index[2 + v][i * n + j]) * c;
        rdem[i] += each * (neg ? add_pair(c, a, mean, fabs(lambda[0]) * each * image, da, NULL)
                               : add_pair(c, a, region[v] + d, fabs(lambda[0]) * each * image, da, stop == 1 ? NULL : dr + d));
        riem[i] += each * add_pair(c, a, region[2 + o] + s, fabs(lambda[1]) * each * image, da, NULL);
      }
    }
  }
  for (ptrdiff_t i = 0; i < b; i++) total[i] = fabs(lambda[0]) * rdem[i] + fabs(lambda[1]) * riem[i] + fabs(lambda[2]) * byol[i];
  return put(g, "rdem", b, rdem) && put(g, "riem", b, riem) && put(g, "byol", b, byol) && put(g, "total", b, total);
}
