#include "oracle/make_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "op/conv.h"
#include "op/pool.h"
#include "oracle/operations.h"

enum { MAX_SIZE = 1 << 28, WHOLE = 3 };

static const char *const op_names[MAKE_OPS] = {"conv", "linear", "norm", "relu",   "maxpool",  "avgpool", "match",
                                               "loss", "lars",   "ema",  "random", "schedule", "augment"};
static const char *const fill_names[MAKE_FILLS] = {"normal", "int",      "tiny",  "sparse",   "onehot", "offset",
                                                   "ties",   "constant", "zeros", "denormal", "inf",    "wide"};

const char *make_op_name(int op) { return op_names[op]; }
const char *make_fill_name(int fill) { return fill_names[fill]; }

int make_op_named(const char *name) {
  for (int i = 0; i < MAKE_OPS; i++) {
    if (i != MAKE_RANDOM && strcmp(op_names[i], name) == 0) return i;
  }
  return -1;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------- */

static double draw(struct philox *g, int fill) {
  switch (fill) {
  case FILL_INT: return (double)philox_below(g, 2 * WHOLE + 1) - WHOLE;
  case FILL_TINY: return 1e-4 * philox_normal(g);
  case FILL_SPARSE: return philox_below(g, 10) ? 0 : philox_normal(g);
  case FILL_OFFSET: return 100 + 0.01 * philox_normal(g);
  case FILL_TIES: return ((double)philox_below(g, 5) - 2) / 2;
  case FILL_DENORMAL: return 1e-39 * philox_normal(g);
  case FILL_INF: return philox_below(g, 50) ? philox_normal(g) : philox_below(g, 3) ? copysign(INFINITY, philox_normal(g)) : NAN;
  case FILL_WIDE: return philox_normal(g) * pow(10, 9 * philox_uniform(g) - 3);
  default: return philox_normal(g);
  }
}

/* A new input of this name, all zeros. Null on failure. */
double *make_input(struct making *m, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name) {
  struct tensor t = tensor_make(dtype, NULL, ndim, shape, "%s", name);
  ptrdiff_t n = tensor_count(&t);
  if (n < 1 || n > MAX_SIZE) {
    fail(m->err, "case make: %s would have %td elements, at most %d are made", name, n, MAX_SIZE);
    return NULL;
  }
  t.data = calloc((size_t)n, dtype_size(dtype));
  if (!t.data) {
    fail(m->err, "case make: out of memory for %s", name);
    return NULL;
  }
  m->made->input[m->made->file.file.count++] = t;
  return t.data;
}

/* The stream of a tensor is its name: one more tensor changes no other. */
static struct philox stream_of(const struct making *m, const char *name) {
  uint32_t hash = 0;
  for (const char *s = name; *s; s++) hash = hash * 31 + (unsigned char)*s;
  return philox_stream((uint64_t)m->o->seed, PHILOX_TEST, 2, hash, 0);
}

/* Rows (the last axis) that are what the fill says of them: copies of earlier ones, all one row, zeros. */
static void arrange_rows(struct philox *g, int fill, ptrdiff_t rows, ptrdiff_t c, double *x) {
  for (ptrdiff_t i = 1; i < rows; i++) {
    ptrdiff_t from = fill == FILL_TIES && philox_below(g, 2) ? (ptrdiff_t)philox_below(g, (uint32_t)i) : fill == FILL_CONSTANT ? 0 : i;
    for (ptrdiff_t k = 0; k < c; k++) x[i * c + k] = x[from * c + k];
  }
  for (ptrdiff_t i = 0; fill == FILL_ZEROS && i < rows; i++) {
    if (philox_below(g, 3) > 0) continue;
    double scale = philox_below(g, 2) ? 0x1p-27 : 0;
    for (ptrdiff_t k = 0; k < c; k++) x[i * c + k] *= scale;
  }
}

/* A number that goes in: exact in float, or in what it is rounded to. */
static double rounded(const struct making *m, double x) {
  static const enum precision classes[] = {[ROUND_BF16] = PRECISION_BF16, [ROUND_TF32] = PRECISION_TF32};
  return m->o->round == ROUND_NO ? (double)(float)x : number_round(&precision_classes[classes[m->o->round]].in, x);
}

static bool add_numbers(struct making *m, int fill, double scale, double offset, int ndim, const ptrdiff_t *shape, const char *name) {
  double *x = make_input(m, DTYPE_F64, ndim, shape, name);
  struct philox g = stream_of(m, name);
  if (!x) return false;
  const struct tensor *t = &m->made->input[m->made->file.file.count - 1];
  ptrdiff_t n = tensor_count(t);
  for (ptrdiff_t i = 0; i < n; i++) x[i] = fill == FILL_ONEHOT ? 0 : rounded(m, offset + scale * draw(&g, fill));
  if (fill == FILL_ONEHOT) x[philox_below(&g, (uint32_t)n)] = 1;
  ptrdiff_t channels = ndim > 0 ? shape[ndim - 1] : 1;
  arrange_rows(&g, fill, n / channels, channels, x);
  return true;
}

/* Upstream gradients, and what gradients are added to: no arranged rows, no single 1, no large mean. */
static int gradient_fill(int fill) {
  bool kept = fill == FILL_INT || fill == FILL_TINY || fill == FILL_SPARSE || fill == FILL_DENORMAL || fill == FILL_WIDE;
  return kept ? fill : FILL_NORMAL;
}

static bool add_activation(struct making *m, int ndim, const ptrdiff_t *shape, const char *name) {
  int fill = m->o->fill;
  return add_numbers(m, fill == FILL_INF && !make_may_be_infinite(m->o->op) ? FILL_NORMAL : fill, 1, 0, ndim, shape, name);
}

static bool add_gradient(struct making *m, int ndim, const ptrdiff_t *shape) {
  return add_numbers(m, gradient_fill(m->o->fill), 1, 0, ndim, shape, "grad_out.y");
}

/* What was there before a gradient is added. */
static bool add_before(struct making *m, int ndim, const ptrdiff_t *shape, const char *name) {
  return !m->o->before || add_numbers(m, gradient_fill(m->o->fill), 1, 0, ndim, shape, name);
}

/* fan_in scales normal weights so that outputs have the size of inputs. */
static bool add_parameter(struct making *m, double fan_in, int ndim, const ptrdiff_t *shape, const char *name) {
  bool whole = m->o->fill == FILL_INT;
  return add_numbers(m, whole ? FILL_INT : FILL_NORMAL, whole ? 1 : 1 / sqrt(fan_in), 0, ndim, shape, name);
}

static bool add_indices(struct making *m, ptrdiff_t below, int ndim, const ptrdiff_t *shape, const char *name) {
  int64_t *index = (int64_t *)(void *)make_input(m, DTYPE_I64, ndim, shape, name);
  struct philox g = stream_of(m, name);
  if (!index) return false;
  for (ptrdiff_t i = 0, n = tensor_count(&m->made->input[m->made->file.file.count - 1]); i < n; i++)
    index[i] = philox_below(&g, (uint32_t)below);
  return true;
}

/* ---- operations ---------------------------------------------------------------------------------------------------------------------- */

static bool build_conv(struct making *m) {
  const struct make_options *o = m->o;
  struct conv g;
  if (!conv_make(&g, o->n, o->h, o->w, o->c, o->k, o->r, o->r, o->stride, o->pad, m->err)) return false;
  ptrdiff_t xs[] = {o->n, o->h, o->w, o->c}, ws[] = {o->k, o->r, o->r, o->c}, ys[] = {o->n, g.p, g.q, o->k};
  m->made->file.attributes = json_pack("{s:I,s:I}", "stride", (json_int_t)o->stride, "pad", (json_int_t)o->pad);
  return add_activation(m, 4, xs, "in.x") && add_parameter(m, (double)(o->r * o->r * o->c), 4, ws, "param.weight") &&
         add_gradient(m, 4, ys) && add_before(m, 4, xs, "in.before.x") && add_before(m, 4, ws, "in.before.weight");
}

static bool build_linear(struct making *m) {
  const struct make_options *o = m->o;
  ptrdiff_t xs[] = {o->m, o->i}, ws[] = {o->o, o->i}, ys[] = {o->m, o->o};
  m->made->file.attributes = json_pack("{s:b}", "bias", o->bias);
  return add_activation(m, 2, xs, "in.x") && add_parameter(m, (double)o->i, 2, ws, "param.weight") &&
         (!o->bias || (add_parameter(m, 1, 1, ws, "param.bias") && add_before(m, 1, ws, "in.before.bias"))) && add_gradient(m, 2, ys) &&
         add_before(m, 2, xs, "in.before.x") && add_before(m, 2, ws, "in.before.weight");
}

static bool build_norm(struct making *m) {
  const struct make_options *o = m->o;
  const bool whole = o->fill == FILL_INT; /* gamma has either sign then, or is 0 */
  ptrdiff_t xs[] = {o->n, o->h, o->w, o->c}, c = o->c;
  m->made->file.attributes = json_pack("{s:s,s:f,s:f,s:b,s:b}", "mode", o->train ? "train" : "eval", "eps", (double)(float)o->eps,
                                       "momentum", (double)(float)o->momentum, "relu", o->relu, "residual", o->residual);
  if (!add_activation(m, 4, xs, "in.x") || (o->residual && !add_numbers(m, FILL_NORMAL, 1, 0, 4, xs, "in.residual")) ||
      !add_numbers(m, whole ? FILL_INT : FILL_NORMAL, whole ? 1 : 0.25, whole ? 0 : 1, 1, &c, "param.gamma") ||
      !add_numbers(m, whole ? FILL_INT : FILL_NORMAL, whole ? 1 : 0.5, 0, 1, &c, "param.beta") ||
      !add_numbers(m, o->fill == FILL_OFFSET ? FILL_OFFSET : FILL_NORMAL, 1, 0, 1, &c, "in.running_mean") ||
      !add_numbers(m, FILL_NORMAL, 0.1, 1, 1, &c, "in.running_var")) {
    return false;
  }
  double *var = m->made->input[m->made->file.file.count - 1].data;
  for (ptrdiff_t k = 0; k < c; k++) var[k] = fmax(var[k], 0.25); /* a variance is positive */
  return add_gradient(m, 4, xs) && add_before(m, 1, &c, "in.before.gamma") && add_before(m, 1, &c, "in.before.beta");
}

static bool build_plain(struct making *m) {
  const struct make_options *o = m->o;
  ptrdiff_t xs[] = {o->n, o->h, o->w, o->c}, pooled[] = {o->n, maxpool_out(o->h), maxpool_out(o->w), o->c}, means[] = {o->n, o->c};
  m->made->file.attributes = o->op == MAKE_MAXPOOL ? json_pack("{s:i,s:i,s:i}", "kernel", 3, "stride", 2, "pad", 1) : json_object();
  return add_activation(m, 4, xs, "in.x") && (o->op == MAKE_AVGPOOL ? add_gradient(m, 2, means) && add_before(m, 4, xs, "in.before.x")
                                                                    : add_gradient(m, 4, o->op == MAKE_MAXPOOL ? pooled : xs));
}

static bool build_match(struct making *m) {
  const struct make_options *o = m->o;
  ptrdiff_t ts[] = {o->n, o->h * o->w, o->c};
  m->made->file.attributes = json_pack("{s:s}", "similarity", o->dot ? "dot" : "cosine");
  return add_activation(m, 3, ts, "in.t1") && add_activation(m, 3, ts, "in.t2");
}

static bool build_loss(struct making *m) {
  static const char *const global[] = {"in.q1", "in.q2", "in.z1", "in.z2"}, *const region[] = {"in.r1", "in.r2", "in.g1", "in.g2"};
  static const char *const index[] = {"in.d1", "in.d2", "in.s12", "in.s21"};
  const struct make_options *o = m->o;
  ptrdiff_t qs[] = {o->n, o->c}, rs[] = {o->n, o->h * o->w, o->c};
  m->made->file.attributes = json_pack("{s:f,s:f,s:f,s:s,s:s}", "lambda1", (double)(float)o->lambda1, "lambda2", (double)(float)o->lambda2,
                                       "lambda3", (double)(float)o->lambda3, "rdem_stopgrad", o->stopgrad ? "match" : "none",
                                       "rdem_negative", o->instance ? "instance" : "region");
  bool ok = !o->instance || add_indices(m, o->n, 1, qs, "in.neg");
  for (int i = 0; ok && i < 4; i++) {
    ok = add_activation(m, 2, qs, global[i]) && add_activation(m, 3, rs, region[i]) && add_indices(m, rs[1], 2, rs, index[i]);
  }
  for (int v = 0; ok && v < 2; v++) {
    ok = add_before(m, 2, qs, v == 0 ? "in.before.q1" : "in.before.q2") && add_before(m, 3, rs, v == 0 ? "in.before.r1" : "in.before.r2");
  }
  return ok;
}

/* One number a step. */
static bool add_steps(struct making *m, double first, double last, const char *name) {
  ptrdiff_t steps = m->o->steps;
  double *x = make_input(m, DTYPE_F64, 1, &steps, name);
  for (ptrdiff_t k = 0; x && k < steps; k++) x[k] = (double)(float)(first + (last - first) * (double)k / (double)steps);
  return x != NULL;
}

/* A weight and a vector, in the names of the format. The rate falls from step to step. */
static bool build_lars(struct making *m) {
  static const char *const names[] = {"weight.0", "vector.0"};
  const struct make_options *o = m->o;
  ptrdiff_t ws[] = {o->k, o->r, o->r, o->c};
  char name[48];
  m->made->file.attributes =
      json_pack("{s:s,s:f,s:f,s:f,s:I}", "variant", o->openselfsup ? "openselfsup" : "byol", "trust", (double)(float)o->trust, "momentum",
                (double)(float)o->mu, "weight_decay", (double)(float)o->decay, "steps", (json_int_t)o->steps);
  bool ok = add_steps(m, o->lr, o->lr / 2, "in.lr");
  for (int i = 0; ok && i < 2; i++) {
    int ndim = i == 0 ? 4 : 1;
    double fan_in = i > 0 ? 1 : o->fill == FILL_ZEROS ? INFINITY : (double)(o->r * o->r * o->c); /* weights of zeros: no length */
    snprintf(name, sizeof name, "param.%s", names[i]);
    ok = add_parameter(m, fan_in, ndim, ws, name);
    snprintf(name, sizeof name, "in.momentum.%s", names[i]);
    ok = ok && add_numbers(m, FILL_NORMAL, 0.001, 0, ndim, ws, name);
    for (int k = 0; ok && k < o->steps; k++) {
      snprintf(name, sizeof name, "in.grad.%d.%s", k, names[i]);
      ok = add_numbers(m, o->fill == FILL_CONSTANT ? FILL_ZEROS : gradient_fill(o->fill), o->fill == FILL_CONSTANT ? 0 : 0.01, 0, ndim, ws,
                       name);
    }
  }
  return ok;
}

/* tau rises from step to step. */
static bool build_ema(struct making *m) {
  const struct make_options *o = m->o;
  ptrdiff_t ws[] = {o->k, o->r, o->r, o->c};
  char name[48];
  m->made->file.attributes = json_object();
  bool ok = add_steps(m, o->tau, 1, "in.tau") && add_activation(m, 4, ws, "in.target.0");
  for (int k = 0; ok && k < o->steps; k++) {
    snprintf(name, sizeof name, "in.online.%d.0", k);
    ok = add_activation(m, 4, ws, name);
  }
  return ok;
}

static bool build(struct making *m) {
  switch (m->o->op) {
  case MAKE_CONV: return build_conv(m);
  case MAKE_LINEAR: return build_linear(m);
  case MAKE_NORM: return build_norm(m);
  case MAKE_MATCH: return build_match(m);
  case MAKE_LOSS: return build_loss(m);
  case MAKE_LARS: return build_lars(m);
  case MAKE_EMA: return build_ema(m);
  case MAKE_SCHEDULE: return make_schedule(m);
  case MAKE_AUGMENT: return make_image(m);
  default: return build_plain(m);
  }
}

/* safetensors_find searches by name. The inputs are few: by insertion. */
static void sort_names(struct making *m) {
  int count = m->made->file.file.count;
  for (int i = 0; i < count; i++) {
    int at = i;
    while (at > 0 && strcmp(m->made->input[m->made->by_name[at - 1]].name, m->made->input[i].name) > 0)
      m->made->by_name[at] = m->made->by_name[at - 1], at--;
    m->made->by_name[at] = i;
  }
  m->made->file.file.by_name = m->made->by_name;
  m->made->file.file.tensor = m->made->input;
}

bool make_inputs(struct made_case *made, const struct make_options *o, struct error *err) {
  struct making m = {.o = o, .made = made, .err = err};
  *made = (struct made_case){.file = {.op = op_names[o->op], .layout = "NHWC,KRSC"}};
  snprintf(made->path, sizeof made->path, "%s", o->out);
  snprintf(made->file.name, sizeof made->file.name, "%s", made->file.op);
  made->file.file.path = made->path;
  bool ok = build(&m) && (made->file.attributes || fail(err, "case make: out of memory"));
  if (ok) sort_names(&m);
  if (!ok) made_case_free(made);
  return ok;
}

void made_case_free(struct made_case *m) {
  for (int i = 0; i < m->file.file.count; i++) free(m->input[i].data);
  json_decref(m->file.attributes);
  json_decref(m->file.float32);
  m->file = (struct case_file){0};
}

/* ---- the file ------------------------------------------------------------------------------------------------------------------------ */

/* What the reference in float is off by, of the largest expected element: the "float32" of the format. */
json_t *case_float_errors(const struct case_run *truth, const struct case_run *single) {
  json_t *errors = json_object();
  for (int i = 0; i < truth->count; i++) {
    const struct tensor *y = &truth->result[i], *c = run_result(single, y->name);
    double most = 0, worst = 0;
    if (y->dtype != DTYPE_F64 || !c) continue;
    for (ptrdiff_t j = 0, n = tensor_count(y); j < n; j++) {
      most = fmax(most, fabs(tensor_at(y, j)));
      worst = fmax(worst, fabs(tensor_at(c, j) - tensor_at(y, j)));
    }
    json_object_set_new(errors, y->name, json_real(most > 0 ? worst / most : 0));
  }
  return errors;
}

/* A case whose indices the reference in float decides otherwise hangs on rounding, and is none. */
static bool is_decided(const struct case_run *truth, const struct case_run *single, struct error *err) {
  for (int i = 0; i < truth->count; i++) {
    const struct tensor *y = &truth->result[i], *c = run_result(single, y->name);
    if (y->dtype != DTYPE_I32 || !c) continue;
    for (ptrdiff_t j = 0, n = tensor_count(y); j < n; j++) {
      if (tensor_at(y, j) == tensor_at(c, j)) continue;
      return fail(err,
                  "case make: %s of these inputs hangs on rounding: float and double decide it otherwise; take another fill or seed, or "
                  "more channels (c)",
                  y->name);
    }
  }
  return true;
}

/* The results, indices widened to I64 in memory of the run. */
static bool collect(struct case_run *run, struct tensor *to, int *count) {
  for (int i = 0; i < run->count; i++) {
    struct tensor t = run->result[i];
    if (t.dtype == DTYPE_I32) {
      ptrdiff_t n = tensor_count(&t);
      int64_t *wide = run_scratch(run, DTYPE_I64, n);
      if (!wide) return false;
      for (ptrdiff_t j = 0; j < n; j++) wide[j] = (int64_t)tensor_at(&t, j);
      t.dtype = DTYPE_I64;
      t.data = wide;
    }
    to[(*count)++] = t;
  }
  return true;
}

static bool write(struct making *m, struct case_run *truth, const struct case_run *single) {
  char note[160];
  int count = 0, inputs = m->made->file.file.count;
  struct tensor *all = calloc((size_t)(inputs + truth->count), sizeof *all);
  json_t *errors = case_float_errors(truth, single);
  char *attributes = json_dumps(m->made->file.attributes, 0), *measured = errors ? json_dumps(errors, 0) : NULL;
  snprintf(note, sizeof note, "fill %s, seed %lld%s", fill_names[m->o->fill], (long long)m->o->seed,
           m->o->round == ROUND_BF16   ? ", rounded to bf16"
           : m->o->round == ROUND_TF32 ? ", rounded to tf32"
                                       : "");
  const char *metadata[] = {"format",  "ediy-case-1",
                            "op",      m->made->file.op,
                            "attrs",   attributes,
                            "dtype",   "f64",
                            "layout",  m->made->file.layout,
                            "source",  "ediy oracle, reference in double; float32: its own",
                            "note",    note,
                            "float32", measured,
                            NULL};
  bool ok = (all && attributes && measured) || fail(m->err, "case make: out of memory");
  for (int i = 0; ok && i < inputs; i++) all[count++] = m->made->input[i];
  ok = ok && collect(truth, all, &count) && safetensors_write(m->o->out, all, count, metadata, m->err);
  free(all);
  free(attributes);
  free(measured);
  json_decref(errors);
  return ok;
}

bool make_case(const struct make_options *o, struct error *err) {
  struct made_case *made = malloc(sizeof *made);
  struct making m = {.o = o, .made = made, .err = err};
  struct case_run truth = {0}, single = {0};
  bool begun = made ? make_inputs(made, o, err) : fail(err, "case make: out of memory");
  bool ok = begun && run_begin(&truth, &made->file, err) && case_compute(&truth, 64) && run_begin(&single, &made->file, err) &&
            case_compute(&single, 32) && is_decided(&truth, &single, err) && write(&m, &truth, &single);
  run_end(&truth);
  run_end(&single);
  if (begun) made_case_free(made);
  free(made);
  return ok;
}
