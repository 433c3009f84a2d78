/* Cases of what is E-DIY's own: region matching and the losses. */

#include <stdio.h>

#include "op/loss.h"
#include "op/match.h"
#include "oracle/operations.h"

bool REAL_NAME(case_match)(struct case_run *run) {
  static const char *const similarities[] = {"cosine", "dot"};
  ptrdiff_t s[3] = {-1, -1, -1};
  int similarity;
  const real *t1, *t2;
  if (!case_choice(run->file, "similarity", similarities, 2, &similarity, run->err) || !(t1 = run_input(run, REAL_DTYPE, 3, s, "in.t1")) ||
      !(t2 = run_input(run, REAL_DTYPE, 3, s, "in.t2"))) {
    return false;
  }
  struct match g = {.b = s[0], .n = s[1], .c = s[2], .similarity = similarity == 1 ? SIMILARITY_DOT : SIMILARITY_COSINE};
  ptrdiff_t sims[3] = {g.b, g.n, g.n};
  double *scratch = run_scratch(run, DTYPE_F64, match_scratch(&g));
  int32_t *d1 = run_output(run, DTYPE_I32, 2, s, "out.d1"), *d2 = run_output(run, DTYPE_I32, 2, s, "out.d2");
  int32_t *s12 = run_output(run, DTYPE_I32, 2, s, "out.s12"), *s21 = run_output(run, DTYPE_I32, 2, s, "out.s21");
  real *sim11 = run_output(run, REAL_DTYPE, 3, sims, "out.sim11"), *sim22 = run_output(run, REAL_DTYPE, 3, sims, "out.sim22");
  real *sim12 = run_output(run, REAL_DTYPE, 3, sims, "out.sim12");
  if (!scratch || !d1 || !d2 || !s12 || !s21 || !sim11 || !sim22 || !sim12) return false;
  match_diversity(&g, t1, d1, scratch);
  match_diversity(&g, t2, d2, scratch);
  match_invariance(&g, t1, t2, s12, scratch);
  match_invariance(&g, t2, t1, s21, scratch);
  match_similarity(&g, t1, t1, sim11, scratch);
  match_similarity(&g, t2, t2, sim22, scratch);
  match_similarity(&g, t1, t2, sim12, scratch);
  return true;
}

/* ---- losses -------------------------------------------------------------------------------------------------------------------------- */

/* Inputs of one online view; null where the case does not give them. */
struct loss_view {
  const real *q, *z, *r, *p;   /* online prediction, target projection of the other view; online regions and their predictions */
  const real *g_own, *g_other; /* target regions of this view (instance negatives) and of the other */
  const int32_t *diversity, *invariance;
};

struct loss_case {
  double lambda[3];
  enum rdem_stopgrad stopgrad;
  const int32_t *negative; /* null: regions */
  struct loss whole, regions;
  ptrdiff_t qs[2], rs[3];
  bool has_view[2], has_regions;
  struct loss_view view[2];
};

static bool read_attributes(struct case_run *run, struct loss_case *l, bool *instance) {
  static const char *const stopgrads[] = {"none", "match"}, *const negatives[] = {"region", "instance"};
  int stop, negative;
  if (!case_number(run->file, "lambda1", &l->lambda[0], run->err) || !case_number(run->file, "lambda2", &l->lambda[1], run->err) ||
      !case_number(run->file, "lambda3", &l->lambda[2], run->err) ||
      !case_choice(run->file, "rdem_stopgrad", stopgrads, 2, &stop, run->err) ||
      !case_choice(run->file, "rdem_negative", negatives, 2, &negative, run->err)) {
    return false;
  }
  l->stopgrad = stop == 1 ? RDEM_STOPGRAD_MATCH : RDEM_STOPGRAD_NONE;
  *instance = negative == 1;
  return true;
}

static bool read_regions(struct case_run *run, struct loss_case *l, int v, bool instance) {
  static const char *const diversity[] = {"in.d1", "in.d2"}, *const invariance[] = {"in.s12", "in.s21"};
  struct loss_view *view = &l->view[v];
  l->rs[0] = l->qs[0];
  if (!(view->r = run_input(run, REAL_DTYPE, 3, l->rs, "in.r%d", v + 1)) ||
      !(view->g_other = run_input(run, REAL_DTYPE, 3, l->rs, "in.g%d", 2 - v)) ||
      (run_has(run, "in.p%d", v + 1) && !(view->p = run_input(run, REAL_DTYPE, 3, l->rs, "in.p%d", v + 1))) ||
      ((instance || run_has(run, "in.g%d", v + 1)) && !(view->g_own = run_input(run, REAL_DTYPE, 3, l->rs, "in.g%d", v + 1)))) {
    return false;
  }
  return ((instance && !run_has(run, "%s", diversity[v])) ||
          (view->diversity = run_indices(run, l->rs[1], 2, l->rs, "%s", diversity[v]))) &&
         (view->invariance = run_indices(run, l->rs[1], 2, l->rs, "%s", invariance[v]));
}

/* Both views or one of them; with regions or without (plain BYOL). */
static bool read_losses(struct case_run *run, struct loss_case *l) {
  bool instance;
  *l = (struct loss_case){.qs = {-1, -1}, .rs = {-1, -1, -1}};
  if (!read_attributes(run, l, &instance)) return false;
  for (int v = 0; v < 2; v++) {
    if (!(l->has_view[v] = run_has(run, "in.q%d", v + 1) || !run_has(run, "in.q%d", 2 - v))) continue;
    if (!(l->view[v].q = run_input(run, REAL_DTYPE, 2, l->qs, "in.q%d", v + 1)) ||
        !(l->view[v].z = run_input(run, REAL_DTYPE, 2, l->qs, "in.z%d", 2 - v))) {
      return false;
    }
    if (!(l->has_regions = run_has(run, "in.r%d", v + 1))) continue;
    if (!read_regions(run, l, v, instance)) return false;
  }
  ptrdiff_t b = l->qs[0];
  if (l->has_regions && instance && !(l->negative = run_indices(run, b, 1, &b, "in.neg"))) return false;
  l->whole = (struct loss){.b = b, .n = 1, .c = l->qs[1]};
  l->regions = (struct loss){.b = b, .n = l->rs[1], .c = l->rs[2]};
  return true;
}

/* out.NAME1, out.NAME2: one direction, of each image. */
static double *direction(struct case_run *run, const char *name, int view, ptrdiff_t b) {
  return run_output(run, DTYPE_F64, 1, &b, "out.%s%d", name, view + 1);
}

/* grad_in.NAMEv, which the losses add to. */
static real *added(struct case_run *run, int ndim, const ptrdiff_t *shape, const char *name, int view) {
  char to[32], before[32];
  snprintf(to, sizeof to, "grad_in.%s%d", name, view + 1);
  snprintf(before, sizeof before, "in.before.%s%d", name, view + 1);
  return run_added(run, REAL_DTYPE, ndim, shape, to, before);
}

/* The terms in which view v is the online one. byol, rdem, riem: their values are added. */
static bool compute_view(struct case_run *run, const struct loss_case *l, int v, double *byol, double *rdem, double *riem,
                         double *scratch) {
  const struct loss_view *view = &l->view[v];
  ptrdiff_t b = l->whole.b;
  double *one = direction(run, "byol", v, b), *two, *three;
  real *dq = added(run, 2, l->qs, "q", v), *dr, *dp = NULL;
  if (!one || !dq) return false;
  loss_byol(&l->whole, view->q, view->z, l->lambda[2], one, dq, scratch);
  for (ptrdiff_t i = 0; i < b; i++) byol[i] += one[i];
  if (!l->has_regions) return true;
  if (!(two = direction(run, "rdem", v, b)) || !(three = direction(run, "riem", v, b)) || !(dr = added(run, 3, l->rs, "r", v)) ||
      (view->p && !(dp = added(run, 3, l->rs, "p", v)))) {
    return false;
  }
  if (l->negative) {
    loss_rdem_instance(&l->regions, view->r, view->g_own, l->negative, l->lambda[0], two, dr, scratch);
  } else {
    loss_rdem(&l->regions, view->r, view->diversity, l->stopgrad, l->lambda[0], two, dr, scratch);
  }
  loss_riem(&l->regions, view->p ? view->p : view->r, view->g_other, view->invariance, l->lambda[1], three, view->p ? dp : dr, scratch);
  for (ptrdiff_t i = 0; i < b; i++) rdem[i] += two[i], riem[i] += three[i];
  return true;
}

/* The values of a loss: of each image, and their mean. v: b, the two directions' sum. */
static bool put_loss(struct case_run *run, const char *name, ptrdiff_t b, const double *v) {
  double *image = run_output(run, DTYPE_F64, 1, &b, "out.%s_image", name), *mean = run_output(run, DTYPE_F64, 0, &b, "out.%s", name);
  if (!image || !mean) return false;
  *mean = 0;
  for (ptrdiff_t i = 0; i < b; i++) {
    image[i] = v[i];
    *mean += v[i] / (double)b;
  }
  return true;
}

/* Eq. 3 of the paper: each loss is the sum of two directions, and the total their weighted sum. A case of one view has the values of its
 * direction only. */
bool REAL_NAME(case_loss)(struct case_run *run) {
  struct loss_case l;
  if (!read_losses(run, &l)) return false;
  ptrdiff_t b = l.whole.b, need = loss_scratch(&l.whole);
  if (l.has_regions && loss_scratch(&l.regions) > need) need = loss_scratch(&l.regions);
  double *scratch = run_scratch(run, DTYPE_F64, need), *sum[4]; /* rdem, riem, byol, total */
  for (int i = 0; i < 4; i++) {
    if (!(sum[i] = run_scratch(run, DTYPE_F64, b))) return false;
    for (ptrdiff_t k = 0; k < b; k++) sum[i][k] = 0;
  }
  if (!scratch) return false;
  for (int v = 0; v < 2; v++) {
    if (l.has_view[v] && !compute_view(run, &l, v, sum[2], sum[0], sum[1], scratch)) return false;
  }
  if (!l.has_view[0] || !l.has_view[1]) return true;
  for (ptrdiff_t i = 0; i < b; i++) sum[3][i] = l.lambda[0] * sum[0][i] + l.lambda[1] * sum[1][i] + l.lambda[2] * sum[2][i];
  return put_loss(run, "rdem", b, sum[0]) && put_loss(run, "riem", b, sum[1]) && put_loss(run, "byol", b, sum[2]) &&
         put_loss(run, "total", b, sum[3]);
}
