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

/* What one view's terms read, on the backend; null where the case has none. */
struct loss_view {
  const float *q, *z_other, *r, *p, *g_own, *g_other;
  const int32_t *diversity, *invariance;
};

struct loss_case {
  double lambda[3];
  int stop, negative;
  ptrdiff_t qs[2], rs[3];
  bool has_view[2], has_regions;
  struct loss_view view[2];
  const int32_t *other;
};

enum { BYOL, RDEM, RIEM, LOSS_KINDS };
static const char *const loss_names[] = {"byol", "rdem", "riem"};

/* NAME and the number of a view. */
static const char *of_view(char text[32], const char *name, int view) {
  snprintf(text, 32, "%s%d", name, view + 1);
  return text;
}

static bool read_regions(struct pass *p, struct loss_case *l, int v) {
  char name[32];
  struct loss_view *view = &l->view[v];
  l->rs[0] = l->qs[0];
  if (!(view->r = pass_input(p, DTYPE_F32, 3, l->rs, of_view(name, "in.r", v))) ||
      !(view->g_other = pass_input(p, DTYPE_F32, 3, l->rs, of_view(name, "in.g", 1 - v)))) {
    return false;
  }
  if (run_has(p->run, "in.p%d", v + 1) && !(view->p = pass_input(p, DTYPE_F32, 3, l->rs, of_view(name, "in.p", v)))) return false;
  if (l->negative == 1 && !(view->g_own = pass_input(p, DTYPE_F32, 3, l->rs, of_view(name, "in.g", v)))) return false;
  if (l->negative == 0 && !(view->diversity = pass_indices(p, l->rs[1], 2, l->rs, of_view(name, "in.d", v)))) return false;
  return (view->invariance = pass_indices(p, l->rs[1], 2, l->rs, v == 0 ? "in.s12" : "in.s21")) != NULL;
}

/* Both views or one of them; with regions or without (plain BYOL). */
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
    if (!(l->has_view[v] = run_has(p->run, "in.q%d", v + 1))) continue;
    if (!(l->view[v].q = pass_input(p, DTYPE_F32, 2, l->qs, of_view(name, "in.q", v))) ||
        !(l->view[v].z_other = pass_input(p, DTYPE_F32, 2, l->qs, of_view(name, "in.z", 1 - v)))) {
      return false;
    }
    l->has_regions = run_has(p->run, "in.r%d", v + 1);
    if (l->has_regions && !read_regions(p, l, v)) return false;
  }
  if (!l->has_view[0] && !l->has_view[1]) return fail(p->run->err, "%s: a case of losses has in.q1 or in.q2", c->file.path);
  ptrdiff_t b = l->qs[0];
  return !l->has_regions || l->negative == 0 || (l->other = pass_indices(p, b, 1, &b, "in.neg"));
}

/* The terms in which view v is the online one. value: each loss of each image, on the backend. */
static bool call_losses(struct pass *p, const struct loss_case *l, int v, double *value[LOSS_KINDS], void *scratch) {
  const struct backend *table = p->memory->table;
  const struct loss_view *view = &l->view[v];
  struct loss whole = {.b = l->qs[0], .n = 1, .c = l->qs[1]}, regions = {.b = l->qs[0], .n = l->rs[1], .c = l->rs[2]};
  char name[32], before[32];
  float *dq = pass_updated(p, 2, l->qs, of_view(name, "grad_in.q", v), of_view(before, "in.before.q", v)), *dr, *dp = NULL;
  if (!dq) return false;
  table->loss_byol(&whole, view->q, view->z_other, l->lambda[2], value[BYOL], dq, scratch);
  if (!l->has_regions) return true;
  if (!(dr = pass_updated(p, 3, l->rs, of_view(name, "grad_in.r", v), of_view(before, "in.before.r", v)))) return false;
  if (view->p && !(dp = pass_updated(p, 3, l->rs, of_view(name, "grad_in.p", v), of_view(before, "in.before.p", v)))) return false;
  if (l->negative == 1) {
    table->loss_rdem_instance(&regions, view->r, view->g_own, l->other, l->lambda[0], value[RDEM], dr, scratch);
  } else {
    table->loss_rdem(&regions, view->r, view->diversity, l->stop == 1 ? RDEM_STOPGRAD_MATCH : RDEM_STOPGRAD_NONE, l->lambda[0], value[RDEM],
                     dr, scratch);
  }
  table->loss_riem(&regions, view->p ? view->p : view->r, view->g_other, view->invariance, l->lambda[1], value[RIEM], view->p ? dp : dr,
                   scratch);
  return true;
}

/* out.NAME_image and out.NAME, where the case expects them. */
static bool put_loss(struct case_run *run, const char *name, ptrdiff_t b, const double *v) {
  double *image = run_wants(run, "out.%s_image", name) ? run_output(run, DTYPE_F64, 1, &b, "out.%s_image", name) : NULL;
  double *mean = run_wants(run, "out.%s", name) ? run_output(run, DTYPE_F64, 0, &b, "out.%s", name) : NULL;
  if (mean) *mean = 0;
  for (ptrdiff_t i = 0; i < b; i++) {
    if (image) image[i] = v[i];
    if (mean) *mean += v[i] / (double)b;
  }
  return true;
}

/* Eq. 3: each loss is the sum of its directions, and the total their weighted sum. */
bool backend_loss(struct pass *p) {
  const struct backend *table = p->memory->table;
  struct loss_case l;
  if (!read_loss(p, &l)) return false;
  ptrdiff_t b = l.qs[0];
  struct loss whole = {.b = b, .n = 1, .c = l.qs[1]}, regions = {.b = b, .n = l.rs[1], .c = l.rs[2]};
  size_t bytes = (size_t)b * sizeof(double), need = table->loss_scratch(&whole);
  if (l.has_regions && table->loss_scratch(&regions) > need) need = table->loss_scratch(&regions);
  void *scratch = pass_scratch(p, need, "scratch");
  double *sum[LOSS_KINDS + 1], *value[LOSS_KINDS];
  for (int k = 0; k <= LOSS_KINDS; k++) {
    if (!(sum[k] = run_scratch(p->run, DTYPE_F64, b))) return false;
    memset(sum[k], 0, bytes);
  }
  for (int k = 0; k < LOSS_KINDS; k++) {
    if (!(value[k] = pass_scratch(p, bytes, loss_names[k]))) return false;
  }
  for (int v = 0; v < 2; v++) {
    if (!l.has_view[v]) continue;
    if (!scratch || !call_losses(p, &l, v, value, scratch)) return false;
    for (int k = 0; k < (l.has_regions ? LOSS_KINDS : 1); k++) {
      double *one = run_wants(p->run, "out.%s%d", loss_names[k], v + 1)
                        ? run_output(p->run, DTYPE_F64, 1, &b, "out.%s%d", loss_names[k], v + 1)
                        : run_scratch(p->run, DTYPE_F64, b);
      if (!one) return false;
      pass_download(p, one, value[k], bytes);
      for (ptrdiff_t i = 0; i < b; i++) sum[k][i] += one[i];
    }
  }
  if (!l.has_view[0] || !l.has_view[1]) return true;
  for (ptrdiff_t i = 0; i < b; i++)
    sum[LOSS_KINDS][i] = l.lambda[0] * sum[RDEM][i] + l.lambda[1] * sum[RIEM][i] + l.lambda[2] * sum[BYOL][i];
  return put_loss(p->run, "rdem", b, sum[RDEM]) && put_loss(p->run, "riem", b, sum[RIEM]) && put_loss(p->run, "byol", b, sum[BYOL]) &&
         put_loss(p->run, "total", b, sum[LOSS_KINDS]);
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
