/* What is allowed, and why.
 *
 * float: PyTorch's own float run of the case was off by e (metadata float32, of the tensor or of its group). A correct run that sums in
 * another order is off by another draw from the same distribution; ten times e, and at least 2e-6 = 17 * 2^-23, covers the tail of it and
 * kernels that round a few times more.
 *
 * double: the same errors in units of a roundoff 2^29 times smaller, so 2^-29 times what float is allowed, and on top what the expected
 * values themselves are uncertain by: they are double, too. A second derivation of all of them in another order of summation was off by
 * 2e-14 on operations, 1e-13 on backbones and 2e-11 on optimisation steps; five times that is added. (The expected values of steps are so
 * uncertain because ReLU and batch norm amplify over three optimiser steps.)
 *
 * Networks in float: some cases have tensors of which PyTorch's float run was off by more than 3e-4 (momentum buffers: 3e-3), the limits
 * to which the others were drawn: a ReLU or a winner of the max pool flipped in it. The file then says little, and a correct candidate may
 * flip another in any case. Such a tensor, and one that the file rejects, is compared with a truth in double that has the candidate's
 * decisions; its allowance is the same, but at most ten times those limits. Each flip must lie within what float may be off by in the
 * forward pass, ten times the largest number of out.first, out.map or out.y, of the largest value of its layer; and there may be no more
 * of them than values that close to zero among normally distributed ones whose largest is five standard deviations: 2 * 0.4 * 5 * band of
 * all.
 *
 * Exact: small integers, whose sums are exact in any order (cases int_*), copies (maxpool's output, ReLU, flip), and indices.
 */
#include "oracle/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/formula.h"

static const double float_least = 2e-6, float_factor = 10, double_per_float = 0x1p-29;
static const double steady_limit = 3e-4, steady_momentum_limit = 3e-3;
static const char digest_mark[] = "#digest";

static bool starts_with(const char *s, const char *start) { return strncmp(s, start, strlen(start)) == 0; }

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && strcmp(s + n - m, end) == 0;
}

/* ---- one tensor ------------------------------------------------------------------------------------------------------------------- */

/* |c - y| / size; 0 when equal, infinite for NaN against a number, unequal infinities, and a difference where size is 0. */
static double relative_error(double c, double y, double size) {
  if (c == y || (isnan(c) && isnan(y))) return 0;
  double e = fabs(c - y) / size;
  return isfinite(e) ? e : INFINITY;
}

static double max_abs(const struct tensor *t) {
  double most = 0;
  for (ptrdiff_t i = 0, n = tensor_count(t); i < n; i++) {
    double x = fabs(tensor_at(t, i));
    if (isfinite(x) && x > most) most = x;
  }
  return most;
}

void compare_index_text(const struct tensor *t, ptrdiff_t flat, char *text, size_t size) {
  ptrdiff_t at[TENSOR_MAX_DIMS];
  for (int d = t->ndim - 1; d >= 0; d--) at[d] = flat % t->shape[d], flat /= t->shape[d];
  size_t used = (size_t)snprintf(text, size, "[");
  for (int d = 0; d < t->ndim && used < size; d++) used += (size_t)snprintf(text + used, size - used, d ? ", %td" : "%td", at[d]);
  if (used < size) snprintf(text + used, size - used, "]");
}

static void shape_mismatch(const struct tensor *expected, const struct tensor *candidate, struct finding *f) {
  f->rule = "shape";
  f->error = INFINITY;
  size_t used = (size_t)snprintf(f->where, sizeof f->where, " has shape [");
  for (int d = 0; d < candidate->ndim && used < sizeof f->where; d++) {
    used += (size_t)snprintf(f->where + used, sizeof f->where - used, d ? ", %td" : "%td", candidate->shape[d]);
  }
  if (used < sizeof f->where) used += (size_t)snprintf(f->where + used, sizeof f->where - used, "], not [");
  for (int d = 0; d < expected->ndim && used < sizeof f->where; d++) {
    used += (size_t)snprintf(f->where + used, sizeof f->where - used, d ? ", %td" : "%td", expected->shape[d]);
  }
  if (used < sizeof f->where) snprintf(f->where + used, sizeof f->where - used, "]");
}

void compare_tensor(const struct tensor *expected, const struct tensor *candidate, const struct tolerance *allowed, struct finding *f) {
  bool exact = allowed->peak == 0, same = expected->ndim == candidate->ndim;
  for (int d = 0; same && d < expected->ndim; d++) same = expected->shape[d] == candidate->shape[d];
  f->pass = false;
  if (!same) {
    shape_mismatch(expected, candidate, f);
    return;
  }
  double size = allowed->scale > 0 ? allowed->scale : max_abs(expected), squares = 0, norm = 0, worst_error = -1;
  ptrdiff_t worst = 0;
  for (ptrdiff_t i = 0, n = tensor_count(expected); i < n; i++) {
    double y = tensor_at(expected, i), c = tensor_at(candidate, i);
    if (exact && candidate->dtype == DTYPE_F32) y = (double)(float)y;
    double error = relative_error(c, y, exact ? 1 : size);
    if (error > worst_error) worst = i, worst_error = error;
    squares += error * error;
    if (isfinite(y)) norm += (y / size) * (y / size);
  }
  compare_index_text(expected, worst, f->where, sizeof f->where);
  f->candidate = tensor_at(candidate, worst);
  f->expected = tensor_at(expected, worst);
  f->rule = exact ? "exact" : "element";
  f->error = worst_error;
  f->allowed = allowed->peak;
  double l2 = squares > 0 ? sqrt(squares / norm) : 0;
  f->pass = worst_error <= allowed->peak;
  if (f->pass && !exact && allowed->scale == 0 && !(l2 <= allowed->l2)) {
    f->pass = false;
    f->rule = "l2";
    f->error = l2;
    f->allowed = allowed->l2;
  }
}

/* A digest: sum and dot product relative to the sum of |x|, the norm to itself, samples to the candidate's max |x| (the expected one is
 * not in the file). */
static void compare_digest(const double y[DIGEST_SIZE], const struct tensor *candidate, uint64_t seed, const char *key,
                           const struct tolerance *allowed, struct finding *f) {
  static const char *const entries[] = {" sum", " sum of |x|", " L2 norm", " dot product"};
  double c[DIGEST_SIZE], worst_ratio = -1, most = max_abs(candidate);
  formula_digest(seed, key, candidate, c);
  f->pass = true;
  for (int i = 0; i < DIGEST_SIZE; i++) {
    double size = i == DIGEST_L2 ? y[DIGEST_L2] : i < DIGEST_SAMPLES ? y[DIGEST_SUM_ABS] : most;
    double limit = i == DIGEST_L2 && isfinite(allowed->l2) ? allowed->l2 : allowed->peak;
    double error = relative_error(c[i], y[i], allowed->scale > size ? allowed->scale : size);
    if (!(error <= limit)) f->pass = false;
    if (error / limit > worst_ratio) {
      worst_ratio = error / limit;
      f->rule = "digest";
      f->candidate = c[i], f->expected = y[i];
      f->error = error, f->allowed = limit;
      if (i < DIGEST_SAMPLES) {
        snprintf(f->where, sizeof f->where, "%s", entries[i]);
      } else {
        snprintf(f->where, sizeof f->where, " sample %d", i - DIGEST_SAMPLES);
      }
    }
  }
}

/* ---- a case ------------------------------------------------------------------------------------------------------------------------ */

/* The number of a tensor in the metadata: under its own name, or under its group: out.online.conv1.weight under out.online, running
 * statistics of a backbone under out.running, gradients under grad_in and grad_param. 0 if there is none. */
static double measured(const struct case_file *c, const json_t *table, const char *name) {
  char group[TENSOR_MAX_NAME];
  const json_t *v = json_object_get(table, name);
  if (!v) {
    snprintf(group, sizeof group, "%s", name);
    char *dot = strchr(group, '.');
    if (dot && starts_with(name, "out.")) dot = strchr(dot + 1, '.');
    if (dot) *dot = 0;
    bool running = ends_with(name, "running_mean") || ends_with(name, "running_var");
    v = json_object_get(table, running && strcmp(c->op, "backbone") == 0 ? "out.running" : group);
  }
  return v ? json_number_value(v) : 0;
}

/* What the expected values themselves may be off by, relative: see the top. */
static double expected_uncertainty(const struct case_file *c) {
  return strcmp(c->op, "step") == 0 ? 1e-10 : strcmp(c->op, "backbone") == 0 ? 5e-13 : 1e-13;
}

static bool must_be_exact(const struct case_file *c, const struct tensor *expected) {
  const char *slash = strrchr(c->name, '/'), *base = slash ? slash + 1 : c->name, *transform;
  struct error ignored;
  enum dtype type = expected->dtype;
  return type == DTYPE_I64 || type == DTYPE_I32 || type == DTYPE_U8 || starts_with(base, "int_") || strcmp(c->op, "relu") == 0 ||
         (strcmp(c->op, "maxpool") == 0 && strcmp(expected->name, "out.y") == 0) ||
         (strcmp(c->op, "augment") == 0 && case_text(c, "transform", &transform, &ignored) && strcmp(transform, "flip") == 0);
}

/* A bias in front of a batch norm has a gradient of exactly zero, of which rounding leaves noise; it, and its momentum buffer, are
 * measured by the gradient of the weight beside it. name: without #digest. Returns that gradient's max, or 0 where the rule is not meant.
 */
static double cancelled_bias_scale(const struct case_run *run, const char *name) {
  static const char buffers[] = "out.momentum.", mode_key[] = "mode";
  const char *mode;
  struct error ignored;
  if (!ends_with(name, ".0.bias") || !(starts_with(name, "grad_param.") || starts_with(name, buffers))) return 0;
  if (case_has(run->file, mode_key) && case_text(run->file, mode_key, &mode, &ignored) && strcmp(mode, "eval") == 0) return 0;
  char weight[TENSOR_MAX_NAME + 32];
  int kept = (int)(strlen(name) - strlen("bias"));
  if (starts_with(name, buffers)) {
    int skipped = (int)strlen(buffers);
    snprintf(weight, sizeof weight, "grad_param.online.%.*sweight", kept - skipped, name + skipped);
  } else {
    snprintf(weight, sizeof weight, "%.*sweight", kept, name);
  }
  const struct tensor *t = safetensors_find(&run->file->file, weight);
  if (!t) t = run_result(run, weight); /* the file has its digest only, which the result is held to elsewhere */
  return t ? max_abs(t) : 0;
}

/* The number of a tensor above which PyTorch's own float run cannot have decided as the truth did. */
static double steady(const char *name) { return starts_with(name, "out.momentum.") ? steady_momentum_limit : steady_limit; }

struct tolerance compare_tolerance(const struct case_run *run, int bits, const struct tensor *expected, const char *name) {
  const struct case_file *c = run->file;
  if (must_be_exact(c, expected)) return (struct tolerance){.peak = 0, .l2 = INFINITY};
  struct tolerance t = {.peak = fmax(float_least, float_factor * measured(c, c->float32, name)),
                        .l2 = c->float32_l2 ? fmax(float_least, float_factor * measured(c, c->float32_l2, name)) : INFINITY,
                        .scale = cancelled_bias_scale(run, name)};
  if (bits == 64) {
    t.peak = double_per_float * t.peak + expected_uncertainty(c);
    t.l2 = double_per_float * t.l2 + expected_uncertainty(c);
  }
  return t;
}

static void judge(const struct case_run *run, int bits, const struct tensor *expected, struct finding *f) {
  char name[TENSOR_MAX_NAME];
  *f = (struct finding){.rule = "missing", .error = INFINITY};
  snprintf(f->tensor, sizeof f->tensor, "%s", expected->name);
  snprintf(name, sizeof name, "%s", expected->name);
  bool digest = ends_with(name, digest_mark);
  if (digest) name[strlen(name) - strlen(digest_mark)] = 0;
  const struct tensor *candidate = run_result(run, name);
  if (!candidate) return;
  struct tolerance allowed = compare_tolerance(run, bits, expected, name);
  if (!digest) {
    compare_tensor(expected, candidate, &allowed, f);
    return;
  }
  ptrdiff_t seed;
  struct error ignored;
  double y[DIGEST_SIZE];
  if (expected->ndim != 1 || expected->shape[0] != DIGEST_SIZE ||
      !case_integer(run->file, "formula_seed", 0, ((ptrdiff_t)1 << 48) - 1, &seed, &ignored)) {
    f->rule = "digest without a formula_seed, or not of 20 numbers";
    return;
  }
  for (int i = 0; i < DIGEST_SIZE; i++) y[i] = tensor_at(expected, i);
  compare_digest(y, candidate, (uint64_t)seed, name, &allowed, f);
}

/* How far from zero a ReLU may be that decided otherwise, of the largest value of its layer. */
static double decision_band(const struct case_file *c) {
  static const char *const forward[] = {"out.first", "out.map", "out.y"};
  double most = 0;
  for (int i = 0; i < 3; i++) most = fmax(most, json_number_value(json_object_get(c->float32, forward[i])));
  return fmax(float_least, float_factor * most);
}

/* The finding about the decisions themselves. */
static void judge_decisions(const struct case_file *c, const struct decisions *d, struct finding *f) {
  double band = decision_band(c), most = 1 + 2 * 0.4 * 5 * band * (double)d->seen;
  *f = (struct finding){.rule = "furthest ReLU that decided otherwise", .error = d->widest, .allowed = band, .candidate = NAN};
  snprintf(f->tensor, sizeof f->tensor, "ReLU of %s", d->where);
  f->pass = d->flips == 0 || d->widest <= band;
  if (f->pass && !((double)d->flips <= most)) {
    *f = (struct finding){.rule = "number of ReLUs that decided otherwise", .error = (double)d->flips, .allowed = most};
    snprintf(f->tensor, sizeof f->tensor, "ReLUs");
  }
}

/* A tensor of the run against the forced truth. */
static void judge_by_truth(const struct case_run *run, const struct case_run *truth, struct finding *f) {
  char name[TENSOR_MAX_NAME];
  snprintf(name, sizeof name, "%s", f->tensor);
  if (ends_with(name, digest_mark)) name[strlen(name) - strlen(digest_mark)] = 0;
  const struct tensor *candidate = run_result(run, name), *expected = run_result(truth, name);
  if (!candidate || !expected) return;
  struct tolerance allowed = compare_tolerance(run, 32, expected, name);
  allowed.peak = fmin(allowed.peak, float_factor * steady(name));
  allowed.l2 = fmin(allowed.l2, float_factor * steady(name));
  compare_tensor(expected, candidate, &allowed, f);
}

bool compare_case(const struct case_run *run, int bits, const struct case_run *truth, const struct decisions *d, struct verdict *v,
                  struct error *err) {
  const struct case_file *c = run->file;
  *v = (struct verdict){.finding = calloc((size_t)c->file.count + 2, sizeof *v->finding)};
  if (!v->finding) return fail(err, "%s: out of memory", c->name);
  for (int i = 0; i < c->file.count; i++) {
    const struct tensor *t = &c->file.tensor[i];
    if (!case_expected(t)) continue;
    struct finding *f = &v->finding[v->count++];
    judge(run, bits, t, f);
    bool unsteady = bits == 32 && measured(c, c->float32, t->name) > steady(t->name);
    if (unsteady) v->unsteady++;
    if (truth && (unsteady || !f->pass)) judge_by_truth(run, truth, f);
    if (!f->pass) v->failures++;
  }
  if (truth) {
    judge_decisions(c, d, &v->finding[v->count]);
    if (!v->finding[v->count++].pass) v->failures++;
  }
  return true;
}

void verdict_fail(struct verdict *v, const char *what, const char *rule) {
  struct finding *f = &v->finding[v->count++]; /* compare_case left room for two more than there are tensors */
  *f = (struct finding){.rule = rule, .error = INFINITY};
  snprintf(f->tensor, sizeof f->tensor, "%s", what);
  v->failures++;
}

void verdict_free(struct verdict *v) {
  free(v->finding);
  *v = (struct verdict){0};
}

void finding_text(const struct finding *f, char *text, size_t size) {
  if (f->where[0] == 0) {
    snprintf(text, size, isfinite(f->error) ? "%s: %s: %.3g, allowed %.3g" : "%s: %s", f->tensor, f->rule, f->error, f->allowed);
  } else if (strcmp(f->rule, "shape") == 0) {
    snprintf(text, size, "%s%s", f->tensor, f->where);
  } else {
    /* Without a sign: which NaN it is says nothing. */
    double c = isnan(f->candidate) ? fabs(f->candidate) : f->candidate, y = isnan(f->expected) ? fabs(f->expected) : f->expected;
    snprintf(text, size,
             isfinite(f->error) ? "%s%s is %.9g, expected %.9g (%s): off by %.2g, allowed %.2g" : "%s%s is %.9g, expected %.9g (%s)",
             f->tensor, f->where, c, y, f->rule, f->error, f->allowed);
  }
}
