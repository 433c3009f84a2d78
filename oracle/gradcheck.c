#include "oracle/gradcheck.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "oracle/formula.h"
#include "oracle/operations.h"
#include "oracle/variant.h"

/* A step along the direction in one input; every other input stays. */
struct step {
  const char *input;
  uint64_t seed;
  double size;
};

static double moved(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  const struct step *s = context;
  return strcmp(t->name, s->input) == 0 ? x + s->size * formula_unit(s->seed, s->input, (uint64_t)i) : x;
}

/* L of a run, and what its terms add up to. */
static bool objective(const struct case_run *run, double *L, double *S) {
  const struct tensor *total = run_result(run, "out.total"), *y = run_result(run, "out.y");
  const struct tensor *dy = safetensors_find(&run->file->file, "grad_out.y");
  *L = *S = 0;
  if (total) {
    *L = tensor_at(total, 0), *S = fabs(*L) + 8;
    return true;
  }
  if (!y || !dy) return false;
  for (ptrdiff_t i = 0, n = tensor_count(y); i < n; i++) {
    double term = tensor_at(y, i) * tensor_at(dy, i);
    *L += term, *S += fabs(term);
  }
  return true;
}

static bool objective_at(const struct case_file *c, const struct step *s, double *L, double *S, struct error *err) {
  struct variant v;
  struct case_run run = {0};
  bool ok = variant_make(&v, c, moved, s, err) && run_begin(&run, &v.file, err);
  run.everything = true;
  ok = ok && case_compute(&run, 64);
  if (ok) ok = objective(&run, L, S) || fail(err, "%s: has no results with upstream gradients to check", c->name);
  run_end(&run);
  variant_close(&v);
  return ok;
}

static bool difference(const struct case_file *c, struct step s, double h, double *D, double *S, struct error *err) {
  double plus, minus;
  s.size = h;
  if (!objective_at(c, &s, &plus, S, err)) return false;
  s.size = -h;
  if (!objective_at(c, &s, &minus, S, err)) return false;
  *D = (plus - minus) / (2 * h);
  return true;
}

/* The input of a gradient: in.x of grad_in.x; and what was there before, or null. */
static const struct tensor *input_of(const struct case_file *c, const char *gradient, char name[TENSOR_MAX_NAME],
                                     const struct tensor **before) {
  const char *rest = gradient + strlen("grad_");
  char earlier[TENSOR_MAX_NAME];
  snprintf(name, TENSOR_MAX_NAME, "%s", rest);
  snprintf(earlier, sizeof earlier, "in.before%.*s", (int)(sizeof earlier - sizeof "in.before"), strchr(rest, '.'));
  *before = safetensors_find(&c->file, earlier);
  return safetensors_find(&c->file, name);
}

static bool check_gradient(const struct case_file *c, const struct tensor *g, uint64_t seed, struct gradcheck *to, struct error *err) {
  /* Near the cube root of 2^-53 both errors of a difference are small; a little less, so that hardly a ReLU is within h of its kink. What
   * is linear between kinks has no curvature, and takes a step that meets none. */
  bool linear = strcmp(c->op, "relu") == 0 || strcmp(c->op, "maxpool") == 0;
  const double h = linear ? 0x1p-32 : 0x1p-20;
  char input[TENSOR_MAX_NAME];
  const struct tensor *before;
  const struct tensor *x = input_of(c, g->name, input, &before);
  if (!x || tensor_count(x) != tensor_count(g)) return fail(err, "%s: %s has no input of its name", c->name, g->name);
  struct step s = {.input = input, .seed = seed};
  double wide, S, sum = 0, size = 0;
  snprintf(to->gradient, sizeof to->gradient, "%s", g->name);
  if (!difference(c, s, h, &wide, &S, err) || !difference(c, s, h / 2, &to->by_difference, &S, err)) return false;
  for (ptrdiff_t i = 0, n = tensor_count(g); i < n; i++) {
    double term = (tensor_at(g, i) - (before ? tensor_at(before, i) : 0)) * formula_unit(seed, input, (uint64_t)i);
    sum += term, size += fabs(term);
  }
  to->by_gradient = sum;
  to->error = fabs(to->by_difference - sum);
  to->allowed = fabs(wide - to->by_difference) + 16 * 0x1p-53 * S / h + 64 * 0x1p-53 * size;
  to->decided = to->allowed < 1e-3 * size;
  to->pass = to->error <= to->allowed;
  return true;
}

bool gradcheck_case(const struct case_file *c, uint64_t seed, struct gradcheck *to, int *count, struct error *err) {
  struct case_run run = {0};
  const char *stopped;
  struct error ignored;
  *count = 0;
  if (case_has(c, "rdem_stopgrad") && case_text(c, "rdem_stopgrad", &stopped, &ignored) && strcmp(stopped, "match") == 0)
    return fail(err, "%s: with rdem_stopgrad match the gradient is that of no function: one factor is taken as a constant", c->file.path);
  bool ok = run_begin(&run, c, err);
  run.everything = true;
  ok = ok && case_compute(&run, 64);
  for (int i = 0; ok && i < run.count && *count < GRADCHECK_MOST; i++) {
    if (strncmp(run.result[i].name, "grad_", strlen("grad_")) == 0) ok = check_gradient(c, &run.result[i], seed, &to[(*count)++], err);
  }
  if (ok && *count == 0) ok = fail(err, "%s: operation %s has no gradients", c->file.path, c->op);
  run_end(&run);
  return ok;
}
