/* Cases of what is E-DIY's own: region matching and the losses. */

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

/* Eq. 3 of the paper: each loss is the sum of two directions, and the total their weighted sum. */
bool REAL_NAME(case_loss)(struct case_run *run) {
  static const char *const stopgrads[] = {"none", "match"}, *const negatives[] = {"region", "instance"};
  static const char *const global_names[] = {"in.q1", "in.q2", "in.z1", "in.z2"};
  static const char *const region_names[] = {"in.r1", "in.r2", "in.g1", "in.g2"};
  static const char *const index_names[] = {"in.d1", "in.d2", "in.s12", "in.s21"};
  double lambda[3];
  int stop, negative;
  if (!case_number(run->file, "lambda1", &lambda[0], run->err) || !case_number(run->file, "lambda2", &lambda[1], run->err) ||
      !case_number(run->file, "lambda3", &lambda[2], run->err) || !case_choice(run->file, "rdem_stopgrad", stopgrads, 2, &stop, run->err) ||
      !case_choice(run->file, "rdem_negative", negatives, 2, &negative, run->err)) {
    return false;
  }
  ptrdiff_t qs[2] = {-1, -1}, rs[3] = {-1, -1, -1};
  const real *global[4], *region[4]; /* q1 q2 z1 z2; r1 r2 g1 g2 */
  const int32_t *index[4], *neg = NULL;
  for (int i = 0; i < 4; i++) {
    if (!(global[i] = run_input(run, REAL_DTYPE, 2, qs, "%s", global_names[i]))) return false;
    rs[0] = qs[0];
    if (!(region[i] = run_input(run, REAL_DTYPE, 3, rs, "%s", region_names[i]))) return false;
  }
  for (int i = 0; i < 4; i++) {
    if (!(index[i] = run_indices(run, rs[1], 2, rs, "%s", index_names[i]))) return false;
  }
  ptrdiff_t b = rs[0];
  if (negative == 1 && !(neg = run_indices(run, b, 1, &b, "in.neg"))) return false;

  struct loss whole = {.b = b, .n = 1, .c = qs[1]}, regions = {.b = b, .n = rs[1], .c = rs[2]};
  ptrdiff_t need = loss_scratch(&whole) > loss_scratch(&regions) ? loss_scratch(&whole) : loss_scratch(&regions);
  double *scratch = run_scratch(run, DTYPE_F64, need), *one = run_scratch(run, DTYPE_F64, b);
  double *rdem = run_scratch(run, DTYPE_F64, b), *riem = run_scratch(run, DTYPE_F64, b), *byol = run_scratch(run, DTYPE_F64, b);
  double *total = run_scratch(run, DTYPE_F64, b);
  if (!scratch || !one || !rdem || !riem || !byol || !total) return false;
  for (ptrdiff_t i = 0; i < b; i++) rdem[i] = riem[i] = byol[i] = 0;
  for (int v = 0; v < 2; v++) { /* the terms whose online view is v; o: the other view */
    int o = 1 - v;
    real *dq = run_accumulator(run, REAL_DTYPE, 2, qs, "grad_in.q%d", v + 1);
    real *dr = run_accumulator(run, REAL_DTYPE, 3, rs, "grad_in.r%d", v + 1);
    if (!dq || !dr) return false;
    loss_byol(&whole, global[v], global[2 + o], lambda[2], one, dq, scratch);
    for (ptrdiff_t i = 0; i < b; i++) byol[i] += one[i];
    if (neg) {
      loss_rdem_instance(&regions, region[v], region[2 + v], neg, lambda[0], one, dr, scratch);
    } else {
      loss_rdem(&regions, region[v], index[v], stop == 1 ? RDEM_STOPGRAD_MATCH : RDEM_STOPGRAD_NONE, lambda[0], one, dr, scratch);
    }
    for (ptrdiff_t i = 0; i < b; i++) rdem[i] += one[i];
    loss_riem(&regions, region[v], region[2 + o], index[2 + v], lambda[1], one, dr, scratch);
    for (ptrdiff_t i = 0; i < b; i++) riem[i] += one[i];
  }
  for (ptrdiff_t i = 0; i < b; i++) total[i] = lambda[0] * rdem[i] + lambda[1] * riem[i] + lambda[2] * byol[i];
  return put_loss(run, "rdem", b, rdem) && put_loss(run, "riem", b, riem) && put_loss(run, "byol", b, byol) &&
         put_loss(run, "total", b, total);
}
