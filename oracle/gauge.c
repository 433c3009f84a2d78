#include "oracle/gauge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/operations.h"
#include "oracle/usual.h"
#include "oracle/values.h"
#include "oracle/variant.h"

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

bool gauge_known(const char *op) {
  static const char *const known[] = {"conv", "linear", "avgpool", "maxpool", "relu", "match", "norm", "loss", "lars", "ema"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (is(op, known[i])) return true;
  }
  return false;
}

/* ---- measured ------------------------------------------------------------------------------------------------------------------------ */

/* The results of the case with other numbers in it, each put through `after`, in the run g. */
static bool run_variant(const struct case_file *c, variant_rule *change, double (*after)(double), struct case_run *g) {
  struct variant v;
  struct case_run run;
  bool ok = variant_make(&v, c, change, NULL, g->err);
  if (!ok) {
    variant_close(&v);
    return false;
  }
  ok = run_begin(&run, &v.file, g->err) && case_compute(&run, 64);
  for (int i = 0; ok && i < run.count; i++) {
    const struct tensor *t = &run.result[i];
    if (t->dtype != DTYPE_F64) continue;
    double *to = run_output(g, DTYPE_F64, t->ndim, t->shape, "%s", t->name);
    ok = to != NULL;
    for (ptrdiff_t j = 0, n = tensor_count(t); ok && j < n; j++) to[j] = after(tensor_at(t, j));
  }
  run_end(&run);
  variant_close(&v);
  return ok;
}

/* Cosines divide by two norms, each known to about a unit roundoff; the cosine itself is added for them. */
static double with_norms(double similarity) { return 2 * similarity; }

static bool measured(const struct case_file *c, struct case_run *g, struct case_run *g2) {
  if (is(c->op, "maxpool") || is(c->op, "relu")) {
    return run_variant(c, variant_absolute_gradient, fabs, g) && (!g2 || run_variant(c, variant_absolute_gradient, fabs, g2));
  }
  double (*after)(double) = is(c->op, "match") ? with_norms : fabs;
  if (is(c->op, "match") || is(c->op, "avgpool")) {
    return run_variant(c, variant_absolute, after, g) && (!g2 || run_variant(c, variant_absolute, after, g2));
  }
  return run_variant(c, variant_absolute, fabs, g) && (!g2 || run_variant(c, variant_square, sqrt, g2));
}

/* What a gradient is added to: in.before.NAME of grad_in.NAME or grad_param.NAME, or null. */
static const struct tensor *before_of(const struct case_file *c, const char *result) {
  static const char *const prefixes[] = {"grad_in.", "grad_param."};
  char name[TENSOR_MAX_NAME];
  for (int i = 0; i < 2; i++) {
    size_t n = strlen(prefixes[i]);
    if (strncmp(result, prefixes[i], n) != 0) continue;
    snprintf(name, sizeof name, "in.before.%.*s", (int)(sizeof name - sizeof "in.before."), result + n);
    return safetensors_find(&c->file, name);
  }
  return NULL;
}

/* A derived gauge is that of the gradient alone. */
static bool with_before(const struct case_file *c, struct case_run *g) {
  for (int i = 0; g && i < g->count; i++) {
    const struct tensor *before = before_of(c, g->result[i].name);
    double *to = g->result[i].data;
    if (!before || !tensor_same_shape(before, &g->result[i])) continue;
    for (ptrdiff_t j = 0, n = tensor_count(before); j < n; j++) to[j] += fabs(tensor_at(before, j));
  }
  return true;
}

/* The mean of a plane that has one value in every cell: the roundings of its plain sum are alike, and add up. */
static bool repeated_planes(struct case_run *g, double chain) {
  const struct tensor *x = safetensors_find(&g->file->file, "in.x"), *y = run_result(g, "out.y");
  if (!x || !y || x->ndim != 4) return true;
  ptrdiff_t cells = x->shape[1] * x->shape[2], c = x->shape[3];
  double L = fmin((double)cells, chain), *to = y->data, *carried = run_output(g, DTYPE_F64, y->ndim, y->shape, "carried.out.y");
  if (!carried) return false;
  for (ptrdiff_t i = 0, n = tensor_count(y); i < n; i++) {
    ptrdiff_t first = i / c * cells * c + i % c;
    bool one_value = true;
    for (ptrdiff_t k = 1; k < cells && one_value; k++) one_value = tensor_at(x, first + k * c) == tensor_at(x, first);
    carried[i] = one_value ? gauge_alike(L, L) * fabs(to[i]) : 0;
    if (one_value) to[i] *= gauge_alike_bound(L, L);
  }
  return true;
}

/* The usual number of each column of upstream gradients (rows x columns) but 0, which changes no sum, in new memory; null where there are
 * none, or no memory. */
static struct usual *usual_gradients(const struct case_file *c, ptrdiff_t *rows, ptrdiff_t *columns) {
  const struct tensor *d = safetensors_find(&c->file, "grad_out.y");
  if (!d || d->ndim == 0) return NULL;
  *columns = d->shape[d->ndim - 1], *rows = tensor_count(d) / *columns;
  struct usual *u = calloc((size_t)*columns, sizeof *u);
  for (ptrdiff_t i = 0; u && i < *rows * *columns; i++)
    if (tensor_at(d, i) != 0) usual_vote(&u[i % *columns], tensor_at(d, i));
  for (ptrdiff_t i = 0; u && i < *rows * *columns; i++)
    if (tensor_at(d, i) != 0) usual_count(&u[i % *columns], tensor_at(d, i));
  return u;
}

/* The bias gradient of gradients that are mostly one number in a column, as those of a mean are. */
static bool repeated_gradients(struct case_run *g, double chain) {
  const struct tensor *db = run_result(g, "grad_param.bias"), *d = safetensors_find(&g->file->file, "grad_out.y");
  ptrdiff_t rows, columns;
  if (!db || !d) return true;
  double *carried = run_output(g, DTYPE_F64, db->ndim, db->shape, "carried.grad_param.bias"), *to = db->data;
  struct usual *u = usual_gradients(g->file, &rows, &columns);
  for (ptrdiff_t k = 0; u && carried && k < columns; k++) {
    double L = fmin((double)rows, chain), N = usual_number(&u[k], L), sum = 0, absolute = 0;
    for (ptrdiff_t i = k; i < rows * columns; i += columns) sum += tensor_at(d, i), absolute += fabs(tensor_at(d, i));
    carried[k] = gauge_alike(L, N) > 1 ? gauge_alike(L, N) * fabs(sum) : 0;
    to[k] += (gauge_alike_bound(L, N) - 1) * absolute;
  }
  free(u);
  return (u && carried) || fail(g->err, "%s: out of memory", g->file->name);
}

static int by_value(const void *a, const void *b) {
  double x = ((const struct usual *)a)->value, y = ((const struct usual *)b)->value;
  return (x > y) - (x < y);
}

/* Columns of the same number are off by the same factor: N additions of it to partial sums of 1, 2, ... of it, each off by at most a
 * roundoff of that, by N / 2 roundoffs of the whole. What the columns have in common is so much of it as is shared with another. */
static double common_gradients(const struct case_file *c, double chain) {
  ptrdiff_t rows, columns, kept = 0, shared = 0;
  double most = 0;
  struct usual *u = usual_gradients(c, &rows, &columns);
  if (!u) return 0;
  for (ptrdiff_t k = 0; k < columns; k++) {
    double N = usual_number(&u[k], fmin((double)rows, chain));
    most = fmax(most, N / 2);
    if (N > 0) u[kept++] = u[k];
  }
  qsort(u, (size_t)kept, sizeof *u, by_value);
  for (ptrdiff_t k = 0; k < kept; k++) shared += (k > 0 && u[k].value == u[k - 1].value) || (k + 1 < kept && u[k].value == u[k + 1].value);
  free(u);
  return most * (double)shared / (double)columns;
}

bool gauge_compute(const struct case_file *c, double chain, struct case_run *g, struct case_run *g2, struct error *err) {
  g->err = err;
  if (g2) g2->err = err;
  if (is(c->op, "norm")) return gauge_norm(g, chain) && (!g2 || gauge_norm(g2, chain)) && with_before(c, g) && with_before(c, g2);
  if (is(c->op, "loss")) return gauge_loss(g) && (!g2 || gauge_loss(g2)) && with_before(c, g) && with_before(c, g2);
  if (is(c->op, "lars")) return gauge_lars(g, chain) && (!g2 || gauge_lars(g2, chain));
  if (is(c->op, "ema")) return gauge_ema(g) && (!g2 || gauge_ema(g2));
  if (is(c->op, "linear")) return measured(c, g, g2) && repeated_gradients(g, chain) && (!g2 || repeated_gradients(g2, chain));
  return measured(c, g, g2) && (!is(c->op, "avgpool") || (repeated_planes(g, chain) && (!g2 || repeated_planes(g2, chain))));
}

bool gauge_carried(const struct case_run *g, const struct tensor *result, double **carried, struct error *err) {
  char name[TENSOR_MAX_NAME];
  snprintf(name, sizeof name, "carried.%.*s", (int)(sizeof name - sizeof "carried."), result->name);
  const struct tensor *t = run_result(g, name);
  *carried = NULL;
  return !t || (*carried = tensor_values(t)) || fail(err, "%s: out of memory", g->file->name);
}

bool gauge_start(const struct case_file *c, const struct case_run *g, const struct tensor *result, double **start, struct error *err) {
  static const char running[] = "out.running_";
  char name[TENSOR_MAX_NAME];
  *start = NULL;
  snprintf(name, sizeof name, "start.%.*s", (int)(sizeof name - sizeof "start."), result->name);
  const struct tensor *t = run_result(g, name);
  if (!t && strncmp(result->name, running, strlen(running)) == 0) {
    snprintf(name, sizeof name, "in.%s", result->name + strlen("out."));
    t = safetensors_find(&c->file, name);
  }
  if (!t) t = before_of(c, result->name);
  if (!t || !tensor_same_shape(t, result)) return true;
  return (*start = tensor_values(t)) || fail(err, "%s: out of memory", c->name);
}

double gauge_common(const struct case_file *c, const char *name, double chain) {
  if (is(name, "grad_param.bias") || is(name, "grad_param.beta")) return common_gradients(c, chain);
  return is(c->op, "lars") ? gauge_common_lars(c, name, chain) : is(c->op, "ema") ? gauge_common_ema(c, name) : 0;
}

bool gauge_channels_share(const struct case_file *c) {
  const char *negative;
  struct error ignored;
  return is(c->op, "norm") || (is(c->op, "loss") && case_text(c, "rdem_negative", &negative, &ignored) && is(negative, "instance"));
}

double gauge_kept(const char *name) {
  static const char *const averages[] = {"out.running_", "out.momentum.", "out.target."}; /* old and new with a factor each */
  for (size_t i = 0; i < sizeof averages / sizeof *averages; i++) {
    if (strncmp(name, averages[i], strlen(averages[i])) == 0) return 1;
  }
  return 0;
}

/* ---- sums ---------------------------------------------------------------------------------------------------------------------------- */

/* Size d of a tensor of the case; 1 if there is none. */
static double size_of(const struct case_file *c, const char *name, int d) {
  const struct tensor *t = safetensors_find(&c->file, name);
  return t && d < t->ndim ? (double)t->shape[d] : 1;
}

/* Elements of a tensor of the case over all axes but the last. */
static double rows_of(const struct case_file *c, const char *name) {
  const struct tensor *t = safetensors_find(&c->file, name);
  return t && t->ndim > 0 ? (double)tensor_count(t) / (double)t->shape[t->ndim - 1] : 1;
}

double gauge_terms(const struct case_file *c, const char *name) {
  const char *w = "param.weight", *x = "in.x", *dy = "grad_out.y";
  if (is(c->op, "conv")) {
    double taps = size_of(c, w, 1) * size_of(c, w, 2);
    return is(name, "out.y") ? taps * size_of(c, w, 3) : is(name, "grad_in.x") ? taps * size_of(c, w, 0) : rows_of(c, dy);
  }
  if (is(c->op, "linear")) { return is(name, "out.y") ? size_of(c, w, 1) : is(name, "grad_in.x") ? size_of(c, w, 0) : size_of(c, x, 0); }
  if (is(c->op, "avgpool")) return is(name, "out.y") ? size_of(c, x, 1) * size_of(c, x, 2) : 1;
  if (is(c->op, "maxpool")) return 4; /* windows that overlap in an element */
  if (is(c->op, "match")) return size_of(c, "in.t1", 2);
  if (is(c->op, "norm")) return rows_of(c, x);
  if (is(c->op, "lars") || is(c->op, "ema")) return 0; /* no sum behind an element: gauge_optimise.c */
  if (is(c->op, "loss")) {
    double width = fmax(fmax(size_of(c, "in.q1", 1), size_of(c, "in.q2", 1)), fmax(size_of(c, "in.r1", 2), size_of(c, "in.r2", 2)));
    return width + fmax(rows_of(c, "in.r1"), rows_of(c, "in.r2"));
  }
  return 1;
}

/* ---- exact sums ---------------------------------------------------------------------------------------------------------------------- */

/* The largest power of two that divides x, as its exponent. x: finite, not 0. */
static int quantum_of(double x) {
  int exponent;
  long long whole = (long long)ldexp(frexp(fabs(x), &exponent), 53);
  return exponent - 53 + __builtin_ctzll((unsigned long long)whole);
}

/* The largest power of two that divides every element, as its exponent; 0 for a tensor of zeros. Stops where it is below `least`. */
static int quantum(const struct tensor *t, int least) {
  int unit = 0;
  bool any = false;
  for (ptrdiff_t i = 0, n = tensor_count(t); i < n && !(any && unit < least); i++) {
    double x = tensor_at(t, i);
    if (x == 0 || !isfinite(x)) continue;
    int own = quantum_of(x);
    if (!any || own < unit) unit = own;
    any = true;
  }
  return unit;
}

/* That of its first element that is not 0: no less than the whole tensor's. */
static int first_quantum(const struct tensor *t) {
  for (ptrdiff_t i = 0, n = tensor_count(t); i < n; i++) {
    double x = tensor_at(t, i);
    if (x != 0 && isfinite(x)) return quantum_of(x);
  }
  return 0;
}

static double largest(const struct tensor *t) {
  double most = 0;
  for (ptrdiff_t i = 0, n = tensor_count(t); i < n; i++) most = fmax(most, isfinite(tensor_at(t, i)) ? fabs(tensor_at(t, i)) : INFINITY);
  return most;
}

/* Every element is a number of the format: of its bits, and within its range. */
static bool fits(const struct tensor *t, const struct number_format *f) {
  if (f->bits >= 53 || (f->bits >= 24 && t->dtype != DTYPE_F64)) return true;
  for (ptrdiff_t i = 0, n = tensor_count(t); i < n; i++) {
    double x = tensor_at(t, i);
    if (!isfinite(x) || number_round(f, x) != x) return false;
  }
  return true;
}

/* Winograd's F(2x2, 3x3) is declared for this result: B^T d B adds up four numbers of the input, G g G^T nine quarters of weights, and what
 * is multiplied is rounded to the format of inputs after that. */
static bool is_transformed(const struct case_file *c, const char *result, const struct precision_class *p) {
  ptrdiff_t stride;
  struct error ignored;
  return p->winograd && is(c->op, "conv") && is(result, "out.y") && size_of(c, "param.weight", 1) == 3 &&
         size_of(c, "param.weight", 2) == 3 && case_integer(c, "stride", 1, PTRDIFF_MAX, &stride, &ignored) && stride == 1;
}

bool gauge_exact(const struct case_file *c, const struct tensor *y, const struct tensor *g, const struct precision_class *p) {
  /* Results that are sums of products of two tensors (or of one), with what is added to them. */
  static const struct {
    const char *op, *result, *a, *b, *added;
  } sums[] = {
      {"conv", "out.y", "in.x", "param.weight", NULL},
      {"conv", "grad_in.x", "grad_out.y", "param.weight", NULL},
      {"conv", "grad_param.weight", "grad_out.y", "in.x", NULL},
      {"linear", "out.y", "in.x", "param.weight", "param.bias"},
      {"linear", "grad_in.x", "grad_out.y", "param.weight", NULL},
      {"linear", "grad_param.weight", "grad_out.y", "in.x", NULL},
      {"linear", "grad_param.bias", "grad_out.y", NULL, NULL},
      {"maxpool", "grad_in.x", "grad_out.y", NULL, NULL},
      {"match", "out.sim11", "in.t1", "in.t1", NULL},
      {"match", "out.sim22", "in.t2", "in.t2", NULL},
      {"match", "out.sim12", "in.t1", "in.t2", NULL},
  };
  /* relu, and the forward pass of maxpool, copy. */
  bool copy = is(c->op, "relu") || (is(c->op, "maxpool") && is(y->name, "out.y"));
  const char *similarity;
  struct error ignored;
  if (is(c->op, "match") && (!case_text(c, "similarity", &similarity, &ignored) || !is(similarity, "dot"))) return false; /* norms divide */
  for (int i = 0; i < c->file.count; i++) {
    const struct tensor *t = &c->file.tensor[i];
    if (!case_expected(t) && tensor_is_float(t) && !fits(t, &p->in)) return false;
  }
  if (!fits(y, &p->out)) return false;
  for (size_t i = 0; !copy && i < sizeof sums / sizeof *sums; i++) {
    if (!is(sums[i].op, c->op) || !is(sums[i].result, y->name)) continue;
    const struct tensor *a = safetensors_find(&c->file, sums[i].a), *b = sums[i].b ? safetensors_find(&c->file, sums[i].b) : NULL;
    const struct tensor *added = sums[i].added ? safetensors_find(&c->file, sums[i].added) : before_of(c, y->name);
    if (!a || (sums[i].b && !b)) return false;
    int least; /* the unit that the sums need at least */
    frexp(largest(g), &least);
    const bool transformed = is_transformed(c, y->name, p);
    least -= p->acc.bits + 1 - (transformed ? 2 : 0); /* of quarters */
    int unit = quantum(a, least - (b ? first_quantum(b) : 0));
    if (unit + (b ? first_quantum(b) : 0) < least) return false;
    int other = b ? quantum(b, least - unit) : 0;
    if (transformed && !(4 * largest(a) <= ldexp(1, unit + p->in.bits) && 9 * largest(b) <= ldexp(1, other + p->in.bits))) return false;
    unit += other - (transformed ? 2 : 0);
    if (added && quantum(added, unit) < unit) unit = quantum(added, unit);
    return unit >= p->acc.least && largest(g) <= fmin(ldexp(1, unit + p->acc.bits), p->acc.largest);
  }
  return copy;
}
