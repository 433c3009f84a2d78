#include "oracle/candidate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/accept.h"
#include "oracle/check.h"
#include "oracle/gauge.h"
#include "oracle/operations.h"
#include "oracle/variant.h"

static const char digest_mark[] = "#digest";

/* Everything that is known of the case before a tensor is looked at. */
struct bench {
  const struct case_file *original;
  const struct case_file *work;    /* the case whose truth is meant: decisions of the candidate forced, or inputs rounded */
  struct variant forced;           /* where work is not the original */
  struct variant rounded, lowered; /* work with inputs of the declared precision, and of the next lower one */
  const struct precision_class *p;
  double chain;
  const struct safetensors *candidate;
  struct case_run truth, reference, lower, gauge, gauge2;
  bool has_gauge, masked; /* masked: batch norm with ReLU */
  struct error *err;
};

static bool is_index(const struct tensor *t) { return t->dtype == DTYPE_I32 || t->dtype == DTYPE_I64; }
static bool is_float(const struct tensor *t) { return t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64 || t->dtype == DTYPE_BF16; }

static bool same_shape(const struct tensor *a, const struct tensor *b) {
  bool same = a->ndim == b->ndim;
  for (int d = 0; same && d < a->ndim; d++) same = a->shape[d] == b->shape[d];
  return same;
}

/* The values of t as doubles; free() by the caller. */
static double *values_of(const struct tensor *t) {
  ptrdiff_t n = tensor_count(t);
  double *x = calloc((size_t)n + 1, sizeof *x);
  for (ptrdiff_t i = 0; x && i < n; i++) x[i] = tensor_at(t, i);
  return x;
}

/* ---- the bench ----------------------------------------------------------------------------------------------------------------------- */

/* What the candidate's ReLU let through of an upstream gradient. */
static double mask_gradient(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  const struct tensor *y = context;
  return strcmp(t->name, "grad_out.y") == 0 && !(tensor_at(y, i) > 0) ? 0 : x;
}

/* Batch norm with ReLU: the case without it, whose upstream gradient the candidate's ReLU has masked already; its out.y is what the
 * ReLU saw. */
static bool force_relu(struct bench *b) {
  const struct tensor *expected = safetensors_find(&b->original->file, "out.y"), *y = safetensors_find(b->candidate, "out.y");
  if (!expected) return true;
  if (!y || !is_float(y) || !same_shape(y, expected)) y = expected;
  b->masked = true;
  return variant_make(&b->forced, b->original, mask_gradient, y, b->err) && variant_set_flag(&b->forced, "relu", false, b->err);
}

static bool prepare_work(struct bench *b) {
  const char *op = b->original->op;
  bool relu = false;
  struct error ignored;
  b->work = b->original;
  if (strcmp(op, "norm") == 0 && case_flag(b->original, "relu", &relu, &ignored) && relu && !force_relu(b)) return false;
  if ((strcmp(op, "maxpool") == 0 || strcmp(op, "relu") == 0) && !variant_make(&b->forced, b->original, variant_rounded, &b->p->in, b->err))
    return false;
  if (b->forced.values) b->work = &b->forced.file;
  return true;
}

/* The reference on inputs of this format. */
static bool run_rounded(struct bench *b, const struct number_format *in, int bits, struct variant *v, struct case_run *run) {
  return variant_make(v, b->work, variant_rounded, in, b->err) && run_begin(run, &v->file, b->err) && case_compute(run, bits);
}

static bool reference_agrees(const struct case_file *c, struct error *err) {
  struct verdict v;
  char text[400];
  if (!case_check(c, 64, false, &v, err)) return false;
  bool agrees = v.failures == 0;
  for (int i = 0; !agrees && i < v.count; i++) {
    if (v.finding[i].pass) continue;
    finding_text(&v.finding[i], text, sizeof text);
    fail(err, "%s: is no case to judge by: the reference in double disagrees with it: %s", c->file.path, text);
    break;
  }
  verdict_free(&v);
  return agrees;
}

static bool bench_open(struct bench *b) {
  if (!reference_agrees(b->original, b->err) || !prepare_work(b)) return false;
  b->has_gauge = gauge_known(b->original->op);
  if (!run_begin(&b->truth, b->work, b->err) || !case_compute(&b->truth, 64) || !run_begin(&b->gauge, b->work, b->err) ||
      !run_begin(&b->gauge2, b->work, b->err)) {
    return false;
  }
  return !b->has_gauge || (gauge_compute(b->work, &b->gauge, &b->gauge2, b->err) &&
                           run_rounded(b, &b->p->in, b->p->acc.bits > 24 ? 64 : 32, &b->rounded, &b->reference) &&
                           run_rounded(b, &b->p->lower, 32, &b->lowered, &b->lower));
}

static void bench_close(struct bench *b) {
  run_end(&b->truth);
  run_end(&b->reference);
  run_end(&b->lower);
  run_end(&b->gauge);
  run_end(&b->gauge2);
  variant_close(&b->rounded);
  variant_close(&b->lowered);
  variant_close(&b->forced);
}

/* ---- one tensor of numbers ----------------------------------------------------------------------------------------------------------- */

/* All that one judgement needs; the arrays are owned. */
struct measure {
  struct yardstick stick; /* gauge */
  double *y, *r, *g, *g2, *start;
  double *lower;              /* the reference on inputs of the next lower precision */
  struct tolerance tolerance; /* relative */
  bool relative;
};

static void measure_free(struct measure *m) {
  free(m->y);
  free(m->r);
  free(m->g);
  free(m->g2);
  free(m->start);
  free(m->lower);
}

/* out.running_mean was in.running_mean before. */
static double *start_of(const struct bench *b, const struct tensor *truth) {
  if (strncmp(truth->name, "out.running_", strlen("out.running_")) != 0) return NULL;
  char name[TENSOR_MAX_NAME];
  snprintf(name, sizeof name, "in.%s", truth->name + strlen("out."));
  const struct tensor *t = safetensors_find(&b->work->file, name);
  return t && same_shape(t, truth) ? values_of(t) : NULL;
}

/* The relative rule, in units of the declared precision's roundoff instead of float's. */
static void measure_relative(const struct bench *b, const struct tensor *truth, struct measure *m) {
  bool wide = b->p->acc.bits > 24;
  m->relative = true;
  m->tolerance = compare_tolerance(&b->truth, wide ? 64 : 32, truth, truth->name);
  double factor = wide ? 1 : unit_roundoff(&b->p->in) / 0x1p-24;
  m->tolerance.peak *= factor;
  m->tolerance.l2 *= factor;
  for (ptrdiff_t i = 0, n = tensor_count(truth); m->tolerance.peak == 0 && i < n; i++) m->y[i] = number_round(&b->p->out, m->y[i]);
}

static bool measure_make(const struct bench *b, const struct tensor *truth, struct measure *m) {
  const struct tensor *r = run_result(&b->reference, truth->name), *g = run_result(&b->gauge, truth->name);
  const struct tensor *g2 = run_result(&b->gauge2, truth->name), *lower = run_result(&b->lower, truth->name);
  ptrdiff_t n = tensor_count(truth);
  *m = (struct measure){.y = values_of(truth)};
  if (!m->y) return fail(b->err, "%s: out of memory", b->original->name);
  if (!b->has_gauge || !r || !g || !g2 || !lower) {
    measure_relative(b, truth, m);
    return true;
  }
  m->r = values_of(r), m->g = values_of(g), m->g2 = values_of(g2), m->start = start_of(b, truth);
  m->lower = values_of(lower);
  if (!m->r || !m->g || !m->g2 || !m->lower) return fail(b->err, "%s: out of memory", b->original->name);
  bool rectified = b->masked && strcmp(truth->name, "out.y") == 0;
  for (ptrdiff_t i = 0; i < n; i++) {
    if (rectified) m->y[i] = fmax(m->y[i], 0), m->r[i] = fmax(m->r[i], 0), m->lower[i] = fmax(m->lower[i], 0);
    m->r[i] = number_round(&b->p->out, m->r[i]);
  }
  m->stick = (struct yardstick){.truth = truth, .y = m->y, .r = m->r, .g = m->g, .g2 = m->g2, .start = m->start};
  m->stick.chain = fmin(gauge_terms(b->original, truth->name), b->chain);
  m->stick.channels_share = strcmp(b->original->op, "norm") == 0 && truth->ndim > 1;
  m->stick.exact = gauge_exact(b->work, truth, g, b->p->in.bits, b->p->acc.bits, b->p->out.bits);
  return true;
}

static void judge_values(const struct bench *b, const struct tensor *truth, const struct measure *m, double *c, struct finding *f) {
  if (!m->relative) {
    accept_tensor(&m->stick, b->p, c, f);
    return;
  }
  struct tensor expected = tensor_make(DTYPE_F64, m->y, truth->ndim, truth->shape, "%s", truth->name);
  struct tensor candidate = tensor_make(DTYPE_F64, c, truth->ndim, truth->shape, "%s", truth->name);
  compare_tensor(&expected, &candidate, &m->tolerance, f);
}

/* ---- decisions ----------------------------------------------------------------------------------------------------------------------- */

/* What a similarity or a value of the truth may be off by in the candidate: the rule "element". */
static double element_allowed(const struct bench *b, const char *name, ptrdiff_t i) {
  const struct precision_class *p = b->p;
  double g = tensor_at(run_result(&b->gauge, name), i), chain = fmin(gauge_terms(b->original, name), b->chain);
  double u_in = p->in.bits == p->acc.bits ? 0 : unit_roundoff(&p->in), y = fabs(tensor_at(run_result(&b->truth, name), i));
  return unit_roundoff(&p->out) * y + (4 * sqrt(chain) + 2) * unit_roundoff(&p->acc) * g + 2 * u_in * g + 4 * ldexp(1, p->out.least);
}

/* Where the candidate's ReLU decided otherwise, what it saw must be within rounding of zero. */
static bool relu_within_rounding(const struct bench *b, const double *c, struct finding *f) {
  const struct tensor *seen = run_result(&b->truth, "out.y");
  for (ptrdiff_t i = 0, n = tensor_count(seen); i < n; i++) {
    double y = tensor_at(seen, i), allowed = element_allowed(b, "out.y", i);
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
  const struct tensor *own = safetensors_find(b->candidate, similarity);
  if (gauge_exact(b->work, s, g, b->p->in.bits, b->p->acc.bits, b->p->out.bits)) return true;
  return own && is_float(own) && same_shape(own, s) && tensor_at(own, at) == tensor_at(own, top);
}

/* Indices of matched regions, one each of b x n. */
static bool match_within_rounding(const struct bench *b, const struct tensor *truth, const double *c, struct finding *f) {
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
      allowed = element_allowed(b, name, top) + element_allowed(b, name, at);
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

static void judge_indices(const struct bench *b, const struct tensor *truth, double *c, struct finding *f) {
  if (strcmp(b->original->op, "match") == 0 && truth->ndim == 2) {
    f->rule = "similarity";
    f->where[0] = 0;
    f->pass = match_within_rounding(b, truth, c, f);
    return;
  }
  struct tensor candidate = tensor_make(DTYPE_F64, c, truth->ndim, truth->shape, "%s", truth->name);
  const struct tolerance exact = {.peak = 0, .l2 = INFINITY};
  compare_tensor(truth, &candidate, &exact, f);
}

static void judge(const struct bench *b, const struct tensor *truth, const struct measure *m, double *c, struct finding *f) {
  if (is_index(truth)) {
    judge_indices(b, truth, c, f);
  } else {
    judge_values(b, truth, m, c, f);
    if (f->pass && b->masked && strcmp(truth->name, "out.y") == 0) relu_within_rounding(b, c, f);
  }
}

/* ---- the audit ----------------------------------------------------------------------------------------------------------------------- */

enum { WRONG_ZEROS, WRONG_MEAN, WRONG_BATCH, WRONG_PRECISION, WRONG_STALE, WRONG_KINDS };
static const char *const wrong_names[WRONG_KINDS] = {"zeros", "the mean of each channel", "another order of the batch",
                                                     "the next lower precision", "what was there before"};

/* A wrong tensor made of a right one; false if this kind means nothing here. */
static bool make_wrong(int kind, const struct bench *b, const struct tensor *t, const struct measure *m, const double *c, double *wrong) {
  ptrdiff_t n = tensor_count(t), channels = t->ndim > 0 ? t->shape[t->ndim - 1] : 1, block = t->ndim > 0 ? n / t->shape[0] : n;
  bool numbers = !is_index(t);
  for (ptrdiff_t i = 0; i < n; i++) {
    double mean = 0;
    switch (kind) {
    case WRONG_ZEROS: wrong[i] = 0; break;
    case WRONG_MEAN:
      if (!numbers) return false;
      if (t->ndim < 2) {
        for (ptrdiff_t j = i > 0 ? n : 0; j < n; j++) mean += c[j];
        wrong[i] = i > 0 ? wrong[0] : mean / (double)n;
      } else if (i < channels) {
        for (ptrdiff_t j = i; j < n; j += channels) mean += c[j];
        wrong[i] = mean / (double)(n / channels);
      } else {
        wrong[i] = wrong[i - channels];
      }
      break;
    case WRONG_BATCH: wrong[i] = c[(i + block) % n]; break;
    case WRONG_PRECISION:
      if (!numbers) return false;
      wrong[i] = number_round(&b->p->lower, m->lower ? m->lower[i] : c[i]);
      break;
    default:
      if (!numbers || !m->start) return false;
      wrong[i] = m->start[i];
    }
  }
  return true;
}

/* A wrong tensor that is right to the last bit of the output (of a constant tensor the mean, of small integers any precision) proves
 * nothing. */
static bool is_right(const struct number_format *out, const double *wrong, const double *c, const double *y, ptrdiff_t n) {
  bool same_c = true, same_y = true;
  for (ptrdiff_t i = 0; i < n; i++) {
    same_c = same_c && (wrong[i] == c[i] || (isnan(wrong[i]) && isnan(c[i])));
    same_y = same_y && (number_round(out, wrong[i]) == number_round(out, y[i]) || (isnan(wrong[i]) && isnan(y[i])));
  }
  return same_c || same_y;
}

/* The first wrong tensor that the rule accepts, or null. c has passed. */
static bool audit(const struct bench *b, const struct tensor *truth, const struct measure *m, const double *c, const char **accepted) {
  ptrdiff_t n = tensor_count(truth);
  double *wrong = calloc((size_t)n + 1, sizeof *wrong), *y = is_index(truth) ? values_of(truth) : m->y;
  bool ok = wrong && y;
  *accepted = NULL;
  for (int kind = 0; ok && kind < WRONG_KINDS && !*accepted; kind++) {
    struct finding f = {0};
    if (!make_wrong(kind, b, truth, m, y, wrong) || is_right(&b->p->out, wrong, c, y, n)) continue; /* of the truth itself */
    if (!make_wrong(kind, b, truth, m, c, wrong) || is_right(&b->p->out, wrong, c, y, n)) continue;
    judge(b, truth, m, wrong, &f);
    if (f.pass) *accepted = wrong_names[kind];
  }
  free(wrong);
  if (y != m->y) free(y);
  return ok || fail(b->err, "%s: out of memory", b->original->name);
}

/* ---- a file -------------------------------------------------------------------------------------------------------------------------- */

static bool judge_tensor(const struct bench *b, const struct tensor *truth, const struct tensor *candidate, struct judged *j) {
  struct finding *f = &j->finding;
  j->judgement = JUDGED_MISMATCH;
  f->error = INFINITY;
  if (is_index(truth) ? !is_index(candidate) : !is_float(candidate)) {
    f->rule = is_index(truth) ? "dtype: indices are I64 or I32" : "dtype: numbers are F32, F64 or BF16";
    return true;
  }
  if (!same_shape(truth, candidate)) {
    const struct tolerance any = {.peak = 1};
    compare_tensor(truth, candidate, &any, f);
    return true;
  }
  struct measure m;
  double *c = values_of(candidate);
  bool ok = measure_make(b, truth, &m) && (c || fail(b->err, "%s: out of memory", b->original->name));
  if (ok) {
    judge(b, truth, &m, c, f);
    j->gauge = !m.relative;
    bool is_zero = m.relative && m.tolerance.scale > 0; /* in truth, and judged by another tensor: nothing to audit */
    if (f->pass && !is_zero) ok = audit(b, truth, &m, c, &j->accepted);
    j->judgement = !f->pass ? JUDGED_MISMATCH : j->accepted ? JUDGED_VACUOUS : JUDGED_PASS;
  }
  measure_free(&m);
  free(c);
  return ok;
}

/* The name of an expected tensor, without #digest: a candidate gives the tensor itself. */
static void plain_name(const char *name, char plain[TENSOR_MAX_NAME]) {
  size_t n = strlen(name), mark = strlen(digest_mark);
  if (n >= mark && strcmp(name + n - mark, digest_mark) == 0) n -= mark;
  snprintf(plain, TENSOR_MAX_NAME, "%.*s", (int)n, name);
}

static bool judge_expected(const struct bench *b, struct judged_file *j) {
  char name[TENSOR_MAX_NAME];
  for (int i = 0; i < b->original->file.count; i++) {
    if (!case_expected(&b->original->file.tensor[i])) continue;
    plain_name(b->original->file.tensor[i].name, name);
    const struct tensor *candidate = safetensors_find(b->candidate, name), *truth = run_result(&b->truth, name);
    struct judged *to = &j->tensor[j->count++];
    *to = (struct judged){.judgement = JUDGED_INCOMPLETE, .finding = {.rule = "missing", .error = INFINITY}};
    snprintf(to->finding.tensor, sizeof to->finding.tensor, "%s", name);
    if (candidate && truth && !judge_tensor(b, truth, candidate, to)) return false;
  }
  return true;
}

static void judge_extra(const struct bench *b, struct judged_file *j) {
  char digest[TENSOR_MAX_NAME + sizeof digest_mark];
  for (int i = 0; i < b->candidate->count; i++) {
    const struct tensor *t = &b->candidate->tensor[i], *expected = safetensors_find(&b->original->file, t->name);
    snprintf(digest, sizeof digest, "%s%s", t->name, digest_mark);
    if ((expected && case_expected(expected)) || safetensors_find(&b->original->file, digest)) continue;
    struct judged *to = &j->tensor[j->count++];
    *to = (struct judged){.judgement = JUDGED_INCOMPLETE, .finding = {.rule = "extra: the case does not expect it", .error = INFINITY}};
    snprintf(to->finding.tensor, sizeof to->finding.tensor, "%s", t->name);
  }
}

bool candidate_judge(const struct case_file *c, const char *path, const struct precision_class *p, double chain, struct judged_file *j,
                     struct error *err) {
  struct safetensors candidate;
  *j = (struct judged_file){0};
  if (!safetensors_open(&candidate, path, err)) return false;
  struct bench b = {.original = c, .p = p, .chain = chain, .candidate = &candidate, .err = err};
  j->tensor = calloc((size_t)(c->file.count + candidate.count) + 1, sizeof *j->tensor);
  bool ok = (j->tensor || fail(err, "%s: out of memory", c->name)) && bench_open(&b) && judge_expected(&b, j);
  if (ok) judge_extra(&b, j);
  for (int i = 0; ok && i < j->count; i++) {
    if (j->tensor[i].judgement > j->worst) j->worst = j->tensor[i].judgement;
  }
  bench_close(&b);
  safetensors_close(&candidate);
  if (!ok) judged_free(j);
  return ok;
}

void judged_free(struct judged_file *j) {
  free(j->tensor);
  *j = (struct judged_file){0};
}
