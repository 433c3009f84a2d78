/* Teacher-guided matching, plainly: Eq. 4 and 6, similarities in float. */
#include <math.h>

#include "oracle/mutants/plain.h"

static float guarded_inverse(float square) { return 1 / sqrtf(square < 1e-12f ? 1e-12f : square); }

static float row_inverse(const struct match *g, const float *row) {
  bool cosine = g->similarity == SIMILARITY_COSINE;
  if (FAULT(MATCH_DOT)) cosine = false;
  if (FAULT(MATCH_COSINE)) cosine = true;
  if (!cosine) return 1;
  sum_begin(FAULT_NONE);
  for (ptrdiff_t k = 0; k < g->c; k++) sum_term(row[k], row[k]);
  float inverse = guarded_inverse(sum_total());
  return FAULT(MATCH_SQUARED) ? inverse * inverse : inverse;
}

static float similarity(const struct match *g, const float *a, const float *b) {
  float ia = row_inverse(g, a), ib = row_inverse(g, b), sum;
  ptrdiff_t channels = g->c - (FAULT(MATCH_LAST_CHANNEL) ? 1 : 0);
  sum_begin(FAULT_NONE);
  for (ptrdiff_t k = 0; k < channels; k++) sum_term(a[k], b[k]);
  sum = sum_total() * ia * ib;
  if (FAULT(MATCH_BF16)) sum = (float)number_round(&precision_classes[PRECISION_BF16].out, (double)sum);
  return FAULT(MATCH_ABSOLUTE) ? fabsf(sum) : sum;
}

/* The region z of `to` whose similarity to region j of `from`, times sign, is the smallest. */
static int32_t best(const struct match *g, const float *from, const float *to, ptrdiff_t j, float sign) {
  ptrdiff_t found = -1, regions = g->n - (FAULT(MATCH_LAST_REGION) && g->n > 1 ? 1 : 0);
  float least = 0;
  for (ptrdiff_t z = 0; z < regions; z++) {
    if (FAULT(MATCH_NOT_SELF) && z == j && g->n > 1) continue;
    float v = sign * similarity(g, to + z * g->c, from + j * g->c);
    bool wins = found < 0 || v < least || (least != least && v == v) || (FAULT(MATCH_LAST_TIE) && v == least);
    if (wins) found = z, least = v;
  }
  return (int32_t)(FAULT(MATCH_SHIFT) ? (found + 1) % g->n : found);
}

static void match(const struct match *g, const float *from, const float *to, float sign, int32_t *index) {
  for (ptrdiff_t b = 0; b < g->b; b++)
    for (ptrdiff_t j = 0; j < g->n; j++) {
      ptrdiff_t image = (FAULT(MATCH_IMAGE) ? 0 : b) * g->n * g->c;
      index[b * g->n + j] = best(g, from + image, to + image, j, sign);
    }
}

void plain_match_diversity(const struct match *g, const float *t, int32_t *d, void *scratch) {
  (void)scratch;
  plain_begin(CALL_DIVERSITY);
  match(g, t, t, FAULT(MATCH_MOST) ? -1 : 1, d);
}

void plain_match_invariance(const struct match *g, const float *from, const float *to, int32_t *s, void *scratch) {
  (void)scratch;
  plain_begin(CALL_INVARIANCE);
  if (FAULT(MATCH_TRANSPOSED)) {
    const float *swap = from;
    from = to, to = swap;
  }
  match(g, from, to, FAULT(MATCH_LEAST) ? 1 : -1, s);
}
