#include "oracle/decide.h"

#include <math.h>
#include <string.h>

#include "oracle/gauge.h"
#include "oracle/values.h"

/* Where the candidate's ReLU decided otherwise, what it saw must be within rounding of zero. */
bool relu_within_rounding(const struct bench *b, const double *c, struct finding *f) {
  const struct tensor *seen = run_result(&b->truth, "out.y");
  for (ptrdiff_t i = 0, n = tensor_count(seen); i < n; i++) {
    double y = tensor_at(seen, i), allowed = bench_allowed(b, "out.y", i);
    if ((c[i] > 0) == (y > 0) || fabs(y) <= allowed) continue;
    compare_index_text(seen, i, f->where, sizeof f->where);
    f->pass = false;
    f->rule = "ReLU decided otherwise";
    f->candidate = c[i], f->expected = y > 0 ? y : 0;
    f->error = fabs(y), f->allowed = allowed;
    return false;
  }
  return true;
}

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
  if (gauge_exact(b->work, s, g, b->p->in.bits, b->p->acc.bits, b->p->out.bits)) return true;
  return own && tensor_is_float(own) && tensor_same_shape(own, s) && tensor_at(own, at) == tensor_at(own, top);
}

/* Indices of matched regions, one each of b x n. */
bool match_within_rounding(const struct bench *b, const struct tensor *truth, const double *c, struct finding *f) {
  const char *decision = truth->name + strlen("out."), *name;
  ptrdiff_t n = truth->shape[1];
  double sign;
  for (ptrdiff_t i = 0, count = tensor_count(truth); i < count; i++) {
    double best = tensor_at(truth, i);
    if (c[i] == best) continue;
    bool inside = c[i] >= 0 && c[i] < (double)n; /* indices are whole: their dtype was checked */
    double gap = INFINITY, allowed = 0;
    if (inside) {
      ptrdiff_t at = similarity_index(decision, n, i / n, (ptrdiff_t)c[i], i % n, &name, &sign);
      ptrdiff_t top = similarity_index(decision, n, i / n, (ptrdiff_t)best, i % n, &name, &sign);
      const struct tensor *s = run_result(&b->truth, name);
      gap = sign * (tensor_at(s, top) - tensor_at(s, at));
      allowed = bench_allowed(b, name, top) + bench_allowed(b, name, at);
      bool tie = gap == 0 && tie_is_certain(b, name, at, top);
      if (gap <= allowed && !tie) continue;
    }
    compare_index_text(truth, i, f->where, sizeof f->where);
    f->pass = false;
    f->rule = !inside ? "no such region" : gap == 0 ? "a tie: the lowest index wins" : "similarity";
    f->candidate = c[i], f->expected = best, f->error = gap, f->allowed = allowed;
    return false;
  }
  return true;
}
