#include "oracle/decide.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/gauge.h"
#include "oracle/values.h"

/* ---- how many ------------------------------------------------------------------------------------------------------------------------ */

/* What is expected to turn by rounding, group by group, and what has turned. */
struct flips {
  double mean, variance;
  ptrdiff_t count;
};

static double flip_probability(double far, double allowed) {
  if (!isfinite(far) || !isfinite(allowed)) return 0;                                         /* no rounding turns it */
  return far > 1.5 * allowed ? 0 : allowed > 0 ? 0.5 * erfc(4 * far / allowed / sqrt(2)) : 0; /* beyond: below 1e-9 */
}

static void add_group(struct flips *s, double expected) {
  s->mean += expected;
  s->variance += expected * (1 + expected);
}

static bool few(const struct flips *s, const char *what, struct finding *f) {
  double most = s->mean + 3.1 * sqrt(s->variance) + 3;
  if ((double)s->count <= most) return true;
  f->pass = false;
  f->rule = what;
  f->where[0] = 0;
  f->error = (double)s->count, f->allowed = most;
  return false;
}

/* ---- ReLU ---------------------------------------------------------------------------------------------------------------------------- */

bool relu_within_rounding(const struct bench *b, const double *c, struct finding *f) {
  const struct tensor *seen = run_result(&b->truth, "out.y");
  const double *y = seen->data;
  ptrdiff_t channels = seen->ndim > 0 ? seen->shape[seen->ndim - 1] : 1, n = tensor_count(seen);
  struct bench_limit limit = bench_limit_of(b, "out.y");
  struct flips flips = {0};
  double *expected = calloc((size_t)channels + 1, sizeof *expected);
  if (!expected) {
    f->pass = false, f->rule = "out of memory";
    return false;
  }
  for (ptrdiff_t i = 0; i < n && f->pass; i++) {
    double far = fabs(y[i]), allowed = bench_allowed(&limit, i);
    if (far <= 1.5 * allowed) expected[i % channels] += flip_probability(far, allowed);
    if ((c[i] > 0) == (y[i] > 0)) continue;
    flips.count++;
    if (far <= allowed) continue;
    compare_index_text(seen, i, f->where, sizeof f->where);
    f->pass = false;
    f->rule = "ReLU decided otherwise";
    f->candidate = c[i], f->expected = y[i] > 0 ? y[i] : 0;
    f->error = far, f->allowed = allowed;
  }
  for (ptrdiff_t k = 0; k < channels; k++) add_group(&flips, expected[k]);
  free(expected);
  return f->pass && few(&flips, "number of ReLUs that decided otherwise", f);
}

/* ---- matched regions ----------------------------------------------------------------------------------------------------------------- */

/* The similarity, its sign turned for "the least similar wins", that region z has for region j of image i, as a flat index of *name. */
static ptrdiff_t similarity_index(const char *decision, ptrdiff_t n, ptrdiff_t image, ptrdiff_t z, ptrdiff_t j, const char **name,
                                  double *sign) {
  bool diversity = decision[0] == 'd';
  *sign = diversity ? -1 : 1;
  *name = !diversity ? "out.sim12" : decision[1] == '1' ? "out.sim11" : "out.sim22";
  return strcmp(decision, "s12") == 0 ? (image * n + j) * n + z : (image * n + z) * n + j;
}

/* Of equal similarities the lowest index must win: where every sum is exact, and where the candidate's own similarities are equal.
 * Elsewhere an order of summation may part even two regions that are the same. */
static bool tie_is_certain(const struct bench *b, const char *similarity, ptrdiff_t at, ptrdiff_t top) {
  const struct tensor *s = run_result(&b->truth, similarity), *g = run_result(&b->gauge, similarity);
  const struct tensor *own = tensor_find(b->candidate, b->count, similarity);
  if (gauge_exact(b->work, s, g, b->p)) return true;
  return own && tensor_is_float(own) && tensor_same_shape(own, s) && tensor_at(own, at) == tensor_at(own, top);
}

/* One region's choice. best: the truth's. Returns whether it is within rounding; adds what is expected to turn to *expected. */
static bool choice_within_rounding(const struct bench *b, const struct tensor *truth, ptrdiff_t i, double chosen, double *expected,
                                   struct finding *f) {
  const char *decision = truth->name + strlen("out."), *name;
  ptrdiff_t n = truth->shape[1], best = (ptrdiff_t)tensor_at(truth, i);
  double sign, gap = INFINITY, allowed = 0;
  ptrdiff_t top = similarity_index(decision, n, i / n, best, i % n, &name, &sign);
  struct bench_limit limit = bench_limit_of(b, name);
  double most = bench_allowed(&limit, top);
  for (ptrdiff_t z = 0; z < n; z++) {
    ptrdiff_t at = similarity_index(decision, n, i / n, z, i % n, &name, &sign);
    double own = sign * (tensor_at(limit.y, top) - tensor_at(limit.y, at)), limited = most + bench_allowed(&limit, at);
    if (z != best) *expected += flip_probability(own, limited);
    if ((double)z == chosen) gap = own, allowed = limited; /* indices are whole: their dtype was checked */
  }
  bool inside = chosen >= 0 && chosen < (double)n, tie = false;
  if (chosen == (double)best) return true;
  if (gap == 0) tie = tie_is_certain(b, name, similarity_index(decision, n, i / n, (ptrdiff_t)chosen, i % n, &name, &sign), top);
  if (isfinite(allowed) && gap <= allowed && !tie) return true;
  compare_index_text(truth, i, f->where, sizeof f->where);
  f->pass = false;
  f->rule = !inside ? "no such region" : gap == 0 ? "a tie: the lowest index wins" : "similarity";
  f->candidate = chosen, f->expected = (double)best;
  f->error = tie ? INFINITY : gap, f->allowed = allowed; /* a tie is not off by any number */
  return false;
}

bool match_within_rounding(const struct bench *b, const struct tensor *truth, const double *c, struct finding *f) {
  ptrdiff_t n = truth->shape[1];
  struct flips flips = {0};
  for (ptrdiff_t image = 0; image < truth->shape[0]; image++) {
    double expected = 0;
    for (ptrdiff_t i = image * n; i < (image + 1) * n; i++) {
      if (!choice_within_rounding(b, truth, i, c[i], &expected, f)) return false;
      flips.count += c[i] != tensor_at(truth, i);
    }
    add_group(&flips, expected);
  }
  return few(&flips, "number of regions matched otherwise", f);
}
