#include "oracle/candidate.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/audit.h"
#include "oracle/decide.h"
#include "oracle/mixed.h"
#include "oracle/values.h"

static const char digest_mark[] = "#digest";
const char *const judgement_names[] = {"pass", "vacuous", "incomplete", "mismatch", "unreadable"};

/* ---- one tensor ---------------------------------------------------------------------------------------------------------------------- */

struct rule {
  const struct measure *m;
  judged_check *check;
  const void *context;
};

static bool accepts(const struct rule *r, const double *c, bool quick, struct finding *f) {
  measure_judge(r->m, c, quick, f);
  return f->pass && (!r->check || r->check(r->context, c, f));
}

static bool accepts_wrong(const void *rule, const double *c) {
  struct finding f = {0};
  return accepts(rule, c, true, &f);
}

bool judge_measured(const struct measure *m, const double *c, judged_check *check, const void *context, struct judged *j,
                    struct error *err) {
  struct rule rule = {.m = m, .check = check, .context = context};
  bool right = accepts(&rule, c, false, &j->finding);
  j->gauge = !m->relative;
  j->profiled = true;
  measure_profile(m, c, &j->finding, &j->profile);
  if (right && !m->zero && !audit(m, true, accepts_wrong, &rule, c, &j->accepted, err)) return false;
  j->judgement = !right ? JUDGED_MISMATCH : j->accepted ? JUDGED_VACUOUS : JUDGED_PASS;
  return true;
}

bool judge_form(const struct tensor *truth, const struct tensor *candidate, struct judged *j) {
  struct finding *f = &j->finding;
  j->judgement = JUDGED_MISMATCH;
  f->error = INFINITY;
  if (tensor_is_index(truth) ? !tensor_is_index(candidate) : !tensor_is_float(candidate)) {
    f->rule = tensor_is_index(truth) ? "dtype: indices are I64 or I32" : "dtype: numbers are F32, F64 or BF16";
    return false;
  }
  if (tensor_same_shape(truth, candidate)) return true;
  const struct tolerance any = {.peak = 1};
  compare_tensor(truth, candidate, &any, f);
  return false;
}

/* ---- decisions ----------------------------------------------------------------------------------------------------------------------- */

static bool relu_check(const void *bench, const double *c, struct finding *f) { return relu_within_rounding(bench, c, f); }

struct indices {
  const struct bench *b;
  const struct tensor *truth;
};

static bool right_indices(const struct indices *x, double *c, struct finding *f) {
  if (strcmp(x->b->original->op, "match") == 0 && x->truth->ndim == 2) {
    f->rule = "similarity";
    f->where[0] = 0;
    f->error = f->allowed = 0;
    return f->pass = match_within_rounding(x->b, x->truth, c, f);
  }
  struct tensor candidate = tensor_make(DTYPE_F64, c, x->truth->ndim, x->truth->shape, "%s", x->truth->name);
  const struct tolerance exact = {.peak = 0, .l2 = INFINITY};
  compare_tensor(x->truth, &candidate, &exact, f);
  return f->pass;
}

static bool accepts_wrong_indices(const void *indices, const double *c) {
  const struct indices *x = indices;
  struct finding f = {0};
  size_t bytes = (size_t)tensor_count(x->truth) * sizeof *c;
  double *copy = malloc(bytes + 1);
  if (!copy) return true;
  memcpy(copy, c, bytes);
  bool accepted = right_indices(x, copy, &f);
  free(copy);
  return accepted;
}

static bool judge_indices(const struct bench *b, const struct tensor *truth, double *c, const double *other, struct judged *j) {
  struct indices x = {.b = b, .truth = truth};
  struct measure m = {.p = b->p, .truth = *truth, .y = tensor_values(truth), .other = other};
  bool ok = m.y || fail(b->err, "%s: out of memory", b->original->name);
  bool right = ok && right_indices(&x, c, &j->finding);
  if (right) ok = audit(&m, false, accepts_wrong_indices, &x, c, &j->accepted, b->err);
  j->judgement = !right ? JUDGED_MISMATCH : j->accepted ? JUDGED_VACUOUS : JUDGED_PASS;
  free(m.y);
  return ok;
}

static bool judge_tensor(const struct bench *b, const struct tensor *truth, const struct tensor *candidate, struct judged *j) {
  if (!judge_form(truth, candidate, j)) return true;
  struct measure m = {0};
  const struct tensor *same = tensor_find(b->other, b->others, truth->name);
  double *c = tensor_values(candidate), *other = same && tensor_same_shape(same, truth) ? tensor_values(same) : NULL;
  bool ok = c || fail(b->err, "%s: out of memory", b->original->name);
  if (tensor_is_index(truth)) {
    ok = ok && judge_indices(b, truth, c, other, j);
  } else {
    bool rectified = b->masked && strcmp(truth->name, "out.y") == 0;
    ok = ok && measure_make(b, truth->name, &m);
    m.other = other;
    ok = ok && judge_measured(&m, c, rectified ? relu_check : NULL, b, j, b->err);
  }
  measure_free(&m);
  free(c);
  free(other);
  return ok;
}

/* ---- a case -------------------------------------------------------------------------------------------------------------------------- */

/* The name of an expected tensor, without #digest: a candidate gives the tensor itself. */
static void plain_name(const char *name, char plain[TENSOR_MAX_NAME]) {
  size_t n = strlen(name), mark = strlen(digest_mark);
  if (n >= mark && strcmp(name + n - mark, digest_mark) == 0) n -= mark;
  snprintf(plain, TENSOR_MAX_NAME, "%.*s", (int)n, name);
}

/* Whether the case expects a tensor of this name, and it is asked for. */
static bool is_wanted(const struct tensor *t, const char *only) { return case_expected(t) && (!only || fnmatch(only, t->name, 0) == 0); }

/* A pattern has to fit a tensor that the case expects: a misspelt one would judge less than is meant. */
static bool only_is_expected(const struct case_file *c, const char *only, struct error *err) {
  char names[600] = "";
  for (int i = 0; i < c->file.count; i++) {
    const struct tensor *t = &c->file.tensor[i];
    size_t used = strlen(names);
    if (is_wanted(t, only)) return true;
    if (case_expected(t)) snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", t->name);
  }
  return !only || fail(err, "%s: only='%s': no result is called so; there are %s", c->file.path, only, names);
}

/* A row for each expected tensor that is asked for, as if it were missing. */
static void list_expected(const struct case_file *c, const char *only, struct judged_file *j) {
  for (int i = 0; i < c->file.count; i++) {
    if (!is_wanted(&c->file.tensor[i], only)) continue;
    struct judged *to = &j->tensor[j->count++];
    *to = (struct judged){.judgement = JUDGED_INCOMPLETE, .finding = {.rule = "missing", .error = INFINITY}};
    plain_name(c->file.tensor[i].name, to->finding.tensor);
  }
}

/* What results are held to: one class, or in mixed precision each to its own. */
struct classes {
  const struct precision_class *one; /* null: mixed */
  enum precision declared;
};

static const struct precision_class *class_of(const struct classes *k, const char *op, const char *result) {
  return k->one ? k->one : &precision_classes[mixed_class(k->declared, op, result)];
}

/* The rows whose class is that of the bench. */
static bool judge_expected(const struct bench *b, const struct classes *k, struct judged_file *j) {
  for (int i = 0; i < j->count; i++) {
    struct judged *to = &j->tensor[i];
    const char *name = to->finding.tensor;
    const struct tensor *candidate = tensor_find(b->candidate, b->count, name), *truth = run_result(&b->truth, name);
    if (class_of(k, b->original->op, name) != b->p) continue;
    if (candidate && truth && !judge_tensor(b, truth, candidate, to)) return false;
  }
  return true;
}

/* All classes that rows have; at least one, since a case that cannot be judged by is found on the way. */
static bool judge_classes(const struct bench *original, const struct classes *k, struct judged_file *j) {
  bool ok = true, done[PRECISION_COUNT] = {false};
  for (int i = 0; ok && (i < j->count || i == 0); i++) {
    struct bench b = *original;
    b.p = j->count > 0 ? class_of(k, b.original->op, j->tensor[i].finding.tensor) : class_of(k, b.original->op, "");
    if (k->one ? i > 0 : done[b.p - precision_classes]) continue;
    if (!k->one) done[b.p - precision_classes] = true;
    ok = bench_open(&b) && judge_expected(&b, k, j);
    bench_close(&b);
  }
  return ok;
}

static void judge_extra(const struct bench *b, struct judged_file *j) {
  char digest[TENSOR_MAX_NAME + sizeof digest_mark];
  for (int i = 0; i < b->count; i++) {
    const struct tensor *t = &b->candidate[i], *expected = safetensors_find(&b->original->file, t->name);
    snprintf(digest, sizeof digest, "%s%s", t->name, digest_mark);
    if ((expected && case_expected(expected)) || safetensors_find(&b->original->file, digest)) continue;
    struct judged *to = &j->tensor[j->count++];
    const char *rule = expected ? "extra: an input of the case, and no result" : "extra: the case does not expect it";
    *to = (struct judged){.judgement = JUDGED_INCOMPLETE, .finding = {.rule = rule, .error = INFINITY}};
    snprintf(to->finding.tensor, sizeof to->finding.tensor, "%s", t->name);
  }
}

static bool judge_all(const struct bench *b, const struct classes *k, struct judged_file *j) {
  const struct case_file *c = b->original;
  *j = (struct judged_file){.tensor = calloc((size_t)(c->file.count + b->count) + 1, sizeof *j->tensor)};
  if (j->tensor) list_expected(c, b->only, j);
  bool ok = (j->tensor || fail(b->err, "%s: out of memory", c->name)) && judge_classes(b, k, j);
  if (ok) judge_extra(b, j);
  for (int i = 0; ok && i < j->count; i++) {
    if (j->tensor[i].judgement > j->worst) j->worst = j->tensor[i].judgement;
  }
  if (!ok) judged_free(j);
  return ok;
}

bool candidate_judge_tensors(const struct case_file *c, const struct tensor *candidate, int count, const struct precision_class *p,
                             double chain, bool trusted, struct judged_file *j, struct error *err) {
  return candidate_judge_beside(c, candidate, count, NULL, 0, p, chain, trusted, j, err);
}

bool candidate_judge_beside(const struct case_file *c, const struct tensor *candidate, int count, const struct tensor *other, int others,
                            const struct precision_class *p, double chain, bool trusted, struct judged_file *j, struct error *err) {
  struct bench b = {.original = c, .chain = chain, .candidate = candidate, .count = count, .trusted = trusted, .err = err};
  b.other = other, b.others = others;
  return judge_all(&b, &(struct classes){.one = p}, j);
}

bool candidate_judge_mixed(const struct case_file *c, const struct tensor *candidate, int count, enum precision declared, double chain,
                           bool trusted, struct judged_file *j, struct error *err) {
  const struct bench b = {.original = c, .chain = chain, .candidate = candidate, .count = count, .trusted = trusted, .err = err};
  return judge_all(&b, &(struct classes){.declared = declared}, j);
}

bool candidate_judge(const struct case_file *c, const char *path, const struct precision_class *p, double chain, const char *only,
                     struct judged_file *j, struct error *err) {
  struct safetensors candidate;
  *j = (struct judged_file){0};
  if (!only_is_expected(c, only, err) || !safetensors_open(&candidate, path, err)) return false;
  struct bench b = {.original = c, .chain = chain, .candidate = candidate.tensor, .count = candidate.count, .only = only, .err = err};
  bool ok = values_known(&candidate, err) && judge_all(&b, &(struct classes){.one = p}, j);
  safetensors_close(&candidate);
  return ok;
}

void judged_free(struct judged_file *j) {
  free(j->tensor);
  *j = (struct judged_file){0};
}

void judged_text(const struct finding *f, char *text, size_t size) {
  bool rms = strcmp(f->rule, "rms") == 0, bias = strcmp(f->rule, "bias") == 0;
  if (!rms && !bias) {
    finding_text(f, text, size);
    return;
  }
  snprintf(text, size, "%s: %s is %.2g, allowed %.2g (%s); worst at %s: %.9g, expected %.9g", f->tensor,
           rms ? "root mean square of error over gauge" : "its factor minus 1", f->error, f->allowed, f->rule, f->where, f->candidate,
           f->expected);
}
