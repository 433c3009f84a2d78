/* What is E-DIY's own, and the optimiser, on a backend: matching, losses, LARS, the moving average. */
#include <stdio.h>
#include <string.h>

#include "oracle/backend_operations.h"

bool backend_match(struct pass *p) {
  static const char *const similarities[] = {"cosine", "dot"};
  const struct backend *b = p->memory->table;
  ptrdiff_t s[3] = {-1, -1, -1};
  int similarity;
  const float *t1, *t2;
  if (!case_choice(p->run->file, "similarity", similarities, 2, &similarity, p->run->err) ||
      !(t1 = pass_input(p, DTYPE_F32, 3, s, "in.t1")) || !(t2 = pass_input(p, DTYPE_F32, 3, s, "in.t2"))) {
    return false;
  }
  struct match g = {.b = s[0], .n = s[1], .c = s[2], .similarity = similarity == 1 ? SIMILARITY_DOT : SIMILARITY_COSINE};
  void *scratch = pass_scratch(p, b->match_scratch(&g), "scratch");
  int32_t *d1 = pass_output(p, DTYPE_I32, 2, s, "out.d1"), *d2 = pass_output(p, DTYPE_I32, 2, s, "out.d2");
  int32_t *s12 = pass_output(p, DTYPE_I32, 2, s, "out.s12"), *s21 = pass_output(p, DTYPE_I32, 2, s, "out.s21");
  if (!scratch || !d1 || !d2 || !s12 || !s21) return false;
  b->match_diversity(&g, t1, d1, scratch);
  b->match_diversity(&g, t2, d2, scratch);
  b->match_invariance(&g, t1, t2, s12, scratch);
  b->match_invariance(&g, t2, t1, s21, scratch);
  return true;
}

/* ---- losses -------------------------------------------------------------------------------------------------------------------------- */

/* The values of one loss: its two directions, on the backend. */
struct directions {
  const char *name;
  double *value[2];
  double *image, *mean; /* results */
};

static bool directions_take(struct pass *p, ptrdiff_t b, const char *name, struct directions *d) {
  char slot[64];
  d->name = name;
  for (int v = 0; v < 2; v++) {
    snprintf(slot, sizeof slot, "%s of view %d", name, v + 1);
    if (!(d->value[v] = pass_scratch(p, (size_t)b * sizeof(double), slot))) return false;
  }
  return (d->image = run_output(p->run, DTYPE_F64, 1, &b, "out.%s_image", name)) &&
         (d->mean = run_output(p->run, DTYPE_F64, 0, &b, "out.%s", name));
}

/* Eq. 3: each loss is the sum of two directions. */
static void directions_add(struct pass *p, ptrdiff_t b, struct directions *d) {
  *d->mean = 0;
  for (ptrdiff_t i = 0; i < b; i++) {
    double one[2];
    for (int v = 0; v < 2; v++) pass_download(p, &one[v], d->value[v] + i, sizeof one[v]);
    d->image[i] = one[0] + one[1];
    *d->mean += d->image[i] / (double)b;
  }
}

struct loss_case {
  double lambda[3];
  int stop, negative;
  ptrdiff_t qs[2], rs[3];
  const float *q[2], *z[2], *r[2], *g[2];
  const int32_t *d[2], *s[2], *neg;
};

static bool read_loss(struct pass *p, struct loss_case *l) {
  static const char *const stopgrads[] = {"none", "match"}, *const negatives[] = {"region", "instance"};
  const struct case_file *c = p->run->file;
  char name[32];
  *l = (struct loss_case){.qs = {-1, -1}, .rs = {-1, -1, -1}};
  if (!case_number(c, "lambda1", &l->lambda[0], p->run->err) || !case_number(c, "lambda2", &l->lambda[1], p->run->err) ||
      !case_number(c, "lambda3", &l->lambda[2], p->run->err) || !case_choice(c, "rdem_stopgrad", stopgrads, 2, &l->stop, p->run->err) ||
      !case_choice(c, "rdem_negative", negatives, 2, &l->negative, p->run->err)) {
    return false;
  }
  for (int v = 0; v < 2; v++) {
    const struct {
      const float **to;
      const char *format;
      int ndim;
      ptrdiff_t *shape;
    } given[] = {
        {&l->q[v], "in.q%d", 2, l->qs}, {&l->z[v], "in.z%d", 2, l->qs}, {&l->r[v], "in.r%d", 3, l->rs}, {&l->g[v], "in.g%d", 3, l->rs}};
    for (int i = 0; i < 4; i++) {
      snprintf(name, sizeof name, given[i].format, v + 1);
      if (i == 2) l->rs[0] = l->qs[0];
      if (!(*given[i].to = pass_input(p, DTYPE_F32, given[i].ndim, given[i].shape, name))) return false;
    }
  }
  for (int v = 0; v < 2; v++) {
    if (!(l->d[v] = pass_indices(p, l->rs[1], 2, l->rs, v == 0 ? "in.d1" : "in.d2")) ||
        !(l->s[v] = pass_indices(p, l->rs[1], 2, l->rs, v == 0 ? "in.s12" : "in.s21"))) {
      return false;
    }
  }
  ptrdiff_t b = l->rs[0];
  return l->negative == 0 || (l->neg = pass_indices(p, b, 1, &b, "in.neg"));
}

bool backend_loss(struct pass *p) {
  const struct backend *table = p->memory->table;
  struct loss_case l;
  struct directions byol, rdem, riem;
  if (!read_loss(p, &l)) return false;
  ptrdiff_t b = l.rs[0];
  struct loss whole = {.b = b, .n = 1, .c = l.qs[1]}, regions = {.b = b, .n = l.rs[1], .c = l.rs[2]};
  size_t need = table->loss_scratch(&whole) > table->loss_scratch(&regions) ? table->loss_scratch(&whole) : table->loss_scratch(&regions);
  void *scratch = pass_scratch(p, need, "scratch");
  double *total = run_output(p->run, DTYPE_F64, 1, &b, "out.total_image"), *mean = run_output(p->run, DTYPE_F64, 0, &b, "out.total");
  if (!scratch || !total || !mean || !directions_take(p, b, "rdem", &rdem) || !directions_take(p, b, "riem", &riem) ||
      !directions_take(p, b, "byol", &byol)) {
    return false;
  }
  for (int v = 0; v < 2; v++) { /* the terms whose online view is v; o: the other view */
    int o = 1 - v;
    float *dq = pass_updated(p, 2, l.qs, v == 0 ? "grad_in.q1" : "grad_in.q2", v == 0 ? "in.before.q1" : "in.before.q2");
    float *dr = pass_updated(p, 3, l.rs, v == 0 ? "grad_in.r1" : "grad_in.r2", v == 0 ? "in.before.r1" : "in.before.r2");
    if (!dq || !dr) return false;
    table->loss_byol(&whole, l.q[v], l.z[o], l.lambda[2], byol.value[v], dq, scratch);
    if (l.neg) {
      table->loss_rdem_instance(&regions, l.r[v], l.g[v], l.neg, l.lambda[0], rdem.value[v], dr, scratch);
    } else {
      table->loss_rdem(&regions, l.r[v], l.d[v], l.stop == 1 ? RDEM_STOPGRAD_MATCH : RDEM_STOPGRAD_NONE, l.lambda[0], rdem.value[v], dr,
                       scratch);
    }
    table->loss_riem(&regions, l.r[v], l.g[o], l.s[v], l.lambda[1], riem.value[v], dr, scratch);
  }
  directions_add(p, b, &rdem);
  directions_add(p, b, &riem);
  directions_add(p, b, &byol);
  *mean = 0;
  for (ptrdiff_t i = 0; i < b; i++) {
    total[i] = l.lambda[0] * rdem.image[i] + l.lambda[1] * riem.image[i] + l.lambda[2] * byol.image[i];
    *mean += total[i] / (double)b;
  }
  return true;
}

/* ---- the optimiser ------------------------------------------------------------------------------------------------------------------- */

/* Copies what a slot holds now to a new result of this name. */
static bool keep(struct pass *p, int ndim, const ptrdiff_t *shape, const float *from, const char *name) {
  float *to = run_output(p->run, DTYPE_F32, ndim, shape, "%s", name);
  if (to) pass_download(p, to, from, (size_t)tensor_count(run_result(p->run, name)) * sizeof *to);
  return to != NULL;
}

/* A parameter that is updated step by step: a copy of the given tensor, in memory that is no result itself. */
static float *updated_copy(struct pass *p, int *ndim, ptrdiff_t *shape, ptrdiff_t *size, const char *given) {
  const ptrdiff_t *s;
  char slot[TENSOR_MAX_NAME];
  const float *host = run_input_any(p->run, DTYPE_F32, ndim, &s, "%s", given);
  if (!host) return NULL;
  *size = 1;
  for (int d = 0; d < *ndim; d++) *size *= shape[d] = s[d];
  snprintf(slot, sizeof slot, "updated %.140s", given);
  float *to = pass_scratch(p, (size_t)*size * sizeof *to, slot);
  if (to) p->memory->table->upload(to, host, (size_t)*size * sizeof *to);
  return to;
}

/* One parameter through all steps; name: without "param." */
static bool lars_parameter(struct pass *p, const struct lars *o, ptrdiff_t steps, const double *lr, const char *name) {
  int ndim, m_ndim;
  ptrdiff_t s[TENSOR_MAX_DIMS], ms[TENSOR_MAX_DIMS], size, m_size;
  char text[TENSOR_MAX_NAME];
  snprintf(text, sizeof text, "param.%s", name);
  float *w = updated_copy(p, &ndim, s, &size, text);
  snprintf(text, sizeof text, "in.momentum.%s", name);
  float *m = w ? updated_copy(p, &m_ndim, ms, &m_size, text) : NULL;
  if (!m) return false;
  if (m_size != size) return fail(p->run->err, "%s: %s and its parameter differ in size", p->run->file->file.path, text);
  bool adapt = strncmp(name, "weight.", strlen("weight.")) == 0;
  for (ptrdiff_t k = 0; k < steps; k++) {
    snprintf(text, sizeof text, "in.grad.%td.%s", k, name);
    const float *g = pass_input(p, DTYPE_F32, ndim, s, text);
    if (!g) return false;
    p->memory->table->lars_update(o, size, adapt, lr[k], g, w, m);
    snprintf(text, sizeof text, "out.param.%td.%s", k, name);
    if (!keep(p, ndim, s, w, text)) return false;
    snprintf(text, sizeof text, "out.momentum.%td.%s", k, name);
    if (!keep(p, ndim, s, m, text)) return false;
  }
  return true;
}

bool backend_lars(struct pass *p) {
  static const char *const variants[] = {"byol", "openselfsup"};
  const struct case_file *c = p->run->file;
  struct lars o;
  int variant;
  ptrdiff_t steps;
  const double *lr;
  if (!case_choice(c, "variant", variants, 2, &variant, p->run->err) || !case_number(c, "trust", &o.trust, p->run->err) ||
      !case_number(c, "momentum", &o.momentum, p->run->err) || !case_number(c, "weight_decay", &o.weight_decay, p->run->err) ||
      !case_integer(c, "steps", 1, PTRDIFF_MAX, &steps, p->run->err) || !(lr = run_input(p->run, DTYPE_F64, 1, &steps, "in.lr"))) {
    return false;
  }
  o.variant = variant == 1 ? LARS_OPENSELFSUP : LARS_BYOL;
  for (int i = 0; i < c->file.count; i++) {
    const char *name = c->file.tensor[i].name;
    if (strncmp(name, "param.", 6) == 0 && !lars_parameter(p, &o, steps, lr, name + 6)) return false;
  }
  return true;
}

bool backend_ema(struct pass *p) {
  ptrdiff_t steps = -1;
  char text[TENSOR_MAX_NAME];
  const double *tau = run_input(p->run, DTYPE_F64, 1, &steps, "in.tau");
  if (!tau) return false;
  for (int i = 0; run_has(p->run, "in.target.%d", i); i++) {
    int ndim;
    ptrdiff_t s[TENSOR_MAX_DIMS], size;
    snprintf(text, sizeof text, "in.target.%d", i);
    float *xi = updated_copy(p, &ndim, s, &size, text);
    if (!xi) return false;
    for (ptrdiff_t k = 0; k < steps; k++) {
      snprintf(text, sizeof text, "in.online.%td.%d", k, i);
      const float *theta = pass_input(p, DTYPE_F32, ndim, s, text);
      if (!theta) return false;
      p->memory->table->ema_update(size, tau[k], theta, xi);
      snprintf(text, sizeof text, "out.target.%td.%d", k, i);
      if (!keep(p, ndim, s, xi, text)) return false;
    }
  }
  return true;
}
