#include "oracle/audit.h"

#include <math.h>
#include <stdlib.h>

enum { WRONG_ZEROS, WRONG_MEAN, WRONG_BATCH, WRONG_PRECISION, WRONG_STALE, WRONG_TILE, WRONG_OTHER, WRONG_KINDS };
static const char *const wrong_names[WRONG_KINDS] = {"zeros",
                                                     "the mean of each channel",
                                                     "another order of the batch",
                                                     "the next lower precision",
                                                     "what was there before",
                                                     "zeros at its end",
                                                     "the same tensor of the pass before"};

enum { WORTH_THREADS = 1 << 15, TILE = 64 /* elements that a kernel may leave unwritten at the end; of a small tensor, half */ };

/* Of each channel (the last axis), or of all elements where there is only one axis. */
static void make_means(const struct tensor *t, const double *c, double *wrong) {
  ptrdiff_t n = tensor_count(t), channels = t->ndim < 2 ? 1 : t->shape[t->ndim - 1];
  for (ptrdiff_t k = 0; k < channels; k++) wrong[k] = 0;
  for (ptrdiff_t i = 0; i < n; i += channels) {
    for (ptrdiff_t k = 0; k < channels; k++) wrong[k] += i == 0 ? c[k] : c[i + k];
  }
  for (ptrdiff_t k = 0; k < channels; k++) wrong[k] /= (double)(n / channels);
  for (ptrdiff_t i = channels; i < n; i++) wrong[i] = wrong[i - channels];
}

/* A wrong tensor made of a right one; false if this kind means nothing here. */
static bool make_wrong(int kind, const struct measure *m, bool numbers, const double *c, double *wrong) {
  const struct tensor *t = &m->truth;
  ptrdiff_t n = tensor_count(t), block = t->ndim > 0 ? n / t->shape[0] : n, tile = n < 2 * TILE ? (n + 1) / 2 : TILE;
  if (!numbers && kind != WRONG_ZEROS && kind != WRONG_BATCH && kind != WRONG_OTHER) return false;
  if ((kind == WRONG_STALE && !m->start) || (kind == WRONG_OTHER && !m->other)) return false;
  if (kind == WRONG_MEAN) {
    make_means(t, c, wrong);
    return true;
  }
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
  for (ptrdiff_t i = 0; i < n; i++) {
    switch (kind) {
    case WRONG_ZEROS: wrong[i] = 0; break;
    case WRONG_BATCH: wrong[i] = c[i + block < n ? i + block : i + block - n]; break;
    case WRONG_PRECISION: wrong[i] = number_round(&m->p->lower, m->lower ? m->lower[i] : c[i]); break;
    case WRONG_TILE: wrong[i] = i < n - tile ? c[i] : 0; break;
    case WRONG_OTHER: wrong[i] = m->other[i]; break;
    default: wrong[i] = m->start[i];
    }
  }
  return true;
}

static bool is_right(const struct number_format *out, const double *wrong, const double *c, const double *y, ptrdiff_t n) {
  bool same_c = true, same_y = true;
  for (ptrdiff_t i = 0; i < n && (same_c || same_y); i++) {
    same_c = same_c && (wrong[i] == c[i] || (isnan(wrong[i]) && isnan(c[i])));
    same_y = same_y && (number_round(out, wrong[i]) == number_round(out, y[i]) || (isnan(wrong[i]) && isnan(y[i])));
  }
  return same_c || same_y;
}

bool audit(const struct measure *m, bool numbers, audit_rule *rule, const void *context, const double *c, const char **accepted,
           struct error *err) {
  ptrdiff_t n = tensor_count(&m->truth);
  const struct number_format *out = &m->p->out;
  double *wrong = malloc(((size_t)n + 1) * sizeof *wrong);
  *accepted = NULL;
  for (int kind = 0; wrong && kind < WRONG_KINDS && !*accepted; kind++) {
    bool of_truth = kind == WRONG_MEAN || kind == WRONG_BATCH; /* made of the truth itself it may be right, too */
    if (of_truth && (!make_wrong(kind, m, numbers, m->y, wrong) || is_right(out, wrong, c, m->y, n))) continue;
    if (!make_wrong(kind, m, numbers, c, wrong) || is_right(out, wrong, c, m->y, n)) continue;
    if (rule(context, wrong)) *accepted = wrong_names[kind];
  }
  free(wrong);
  return wrong != NULL || fail(err, "%s: out of memory", m->truth.name);
}
