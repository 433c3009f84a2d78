#include "oracle/bench.h"

#include <math.h>
#include <string.h>

#include "oracle/check.h"
#include "oracle/gauge.h"
#include "oracle/operations.h"
#include "oracle/values.h"

bool bench_rounds_inputs(const struct precision_class *p) { return p->in.bits < p->acc.bits; }

/* ---- decisions of the candidate ------------------------------------------------------------------------------------------------------ */

/* What a ReLU with output y (context) let through of an upstream gradient. */
static double mask_gradient(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  const struct tensor *y = context;
  return strcmp(t->name, "grad_out.y") == 0 && !(tensor_at(y, i) > 0) ? 0 : x;
}

static bool force_by(struct bench *b, const struct tensor *y) {
  b->masked = true;
  return variant_make(&b->forced, b->original, mask_gradient, y, b->err) && variant_set_flag(&b->forced, "relu", false, b->err);
}

/* Batch norm with ReLU: the case without it, whose upstream gradient the candidate's ReLU has masked already; its out.y is what the
 * ReLU saw. A candidate that has no fitting out.y is masked by the truth's. */
static bool force_relu(struct bench *b) {
  const struct tensor *y = tensor_find(b->candidate, b->count, "out.y"), *x = safetensors_find(&b->original->file, "in.x");
  if (y && x && tensor_is_float(y) && tensor_same_shape(y, x)) return force_by(b, y);
  struct case_run own;
  bool ok = run_begin(&own, b->original, b->err);
  if (ok) own.everything = true;
  ok = ok && case_compute(&own, 64) && force_by(b, run_result(&own, "out.y"));
  run_end(&own);
  return ok;
}

static bool prepare_work(struct bench *b) {
  const char *op = b->original->op;
  bool relu = false;
  struct error ignored;
  b->work = b->original;
  if (strcmp(op, "norm") == 0 && case_flag(b->original, "relu", &relu, &ignored) && relu && !force_relu(b)) return false;
  if ((strcmp(op, "maxpool") == 0 || strcmp(op, "relu") == 0) && bench_rounds_inputs(b->p) &&
      !variant_make(&b->forced, b->original, variant_rounded, &b->p->in, b->err)) {
    return false;
  }
  if (b->forced.values) b->work = &b->forced.file;
  return true;
}

/* ---- runs ---------------------------------------------------------------------------------------------------------------------------- */

/* The reference on inputs of this format; in float and double they are of it already. */
static bool run_rounded(struct bench *b, const struct number_format *in, int bits, struct variant *v, struct case_run *run) {
  if (in->bits >= 24) return run_begin(run, b->work, b->err) && case_compute(run, bits);
  return variant_make(v, b->work, variant_rounded, in, b->err) && run_begin(run, &v->file, b->err) && case_compute(run, bits);
}

bool bench_reference_agrees(const struct case_file *c, struct error *err) {
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

bool bench_open(struct bench *b) {
  const struct precision_class *p = b->p;
  if ((!b->trusted && !bench_reference_agrees(b->original, b->err)) || !prepare_work(b)) return false;
  b->has_gauge = gauge_known(b->original->op);
  if (!run_begin(&b->truth, b->work, b->err) || !case_compute(&b->truth, 64) || !run_begin(&b->gauge, b->work, b->err) ||
      !run_begin(&b->gauge2, b->work, b->err)) {
    return false;
  }
  struct case_run *second = bench_rounds_inputs(p) ? &b->gauge2 : NULL;
  bool winograd = p->winograd && strcmp(b->original->op, "conv") == 0;
  return !b->has_gauge || (gauge_compute(b->work, b->chain, &b->gauge, second, b->err) &&
                           (!winograd || (gauge_winograd(&b->truth, &b->gauge) && (!second || gauge_winograd(&b->truth, second)))) &&
                           run_rounded(b, &p->in, p->acc.bits > 24 ? 64 : 32, &b->rounded, &b->reference) &&
                           run_rounded(b, &p->lower, 32, &b->lowered, &b->lower));
}

void bench_close(struct bench *b) {
  run_end(&b->truth);
  run_end(&b->reference);
  run_end(&b->lower);
  run_end(&b->gauge);
  run_end(&b->gauge2);
  variant_close(&b->rounded);
  variant_close(&b->lowered);
  variant_close(&b->forced);
}

struct bench_limit bench_limit_of(const struct bench *b, const char *name) {
  const struct precision_class *p = b->p;
  double chain = fmin(gauge_terms(b->original, name), b->chain), u_in = bench_rounds_inputs(p) ? unit_roundoff(&p->in) : 0;
  return (struct bench_limit){.y = run_result(&b->truth, name),
                              .g = run_result(&b->gauge, name),
                              .out = unit_roundoff(&p->out),
                              .gauge = (4 * sqrt(chain) + 2) * unit_roundoff(&p->acc) + 2 * u_in,
                              .least = 4 * ldexp(1, p->out.least)};
}

double bench_allowed(const struct bench_limit *limit, ptrdiff_t i) {
  return limit->out * fabs(tensor_at(limit->y, i)) + limit->gauge * tensor_at(limit->g, i) + limit->least;
}
