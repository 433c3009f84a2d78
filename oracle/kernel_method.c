/* What is E-DIY's own: matching, losses, LARS and the moving average. */
#include "oracle/kernel.h"

enum { ALONE }; /* the only function of its operation */

static ediy_oracle_regions regions_of(const struct make_options *o) { return (ediy_oracle_regions){o->n, o->h * o->w, o->c, o->dot}; }

/* ---- matching ------------------------------------------------------------------------------------------------------------------------ */

enum { DIVERSITY, INVARIANCE };

static unsigned has_match(const ediy_oracle_kernel *k) {
  return (unsigned)(k->match_diversity != NULL) | (unsigned)(k->match_invariance != NULL) << 1;
}

static void call_match(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const ediy_oracle_regions g = regions_of(o);
  ptrdiff_t is[] = {g.b, g.n};
  const float *t1 = kernel_given(m, "in.t1"), *t2 = kernel_given(m, "in.t2");
  int32_t *d1 = NULL, *d2 = NULL, *s12 = NULL, *s21 = NULL;
  if (k->match_diversity) d1 = kernel_result_index(m, DIVERSITY, "out.d1", 2, is), d2 = kernel_result_index(m, DIVERSITY, "out.d2", 2, is);
  if (k->match_invariance)
    s12 = kernel_result_index(m, INVARIANCE, "out.s12", 2, is), s21 = kernel_result_index(m, INVARIANCE, "out.s21", 2, is);
  if (m->failed) return;
  if (d1) KERNEL_CALL(m, DIVERSITY, k->match_diversity, k->context, &g, t1, d1);
  if (d2) KERNEL_CALL(m, DIVERSITY, k->match_diversity, k->context, &g, t2, d2);
  if (s12) KERNEL_CALL(m, INVARIANCE, k->match_invariance, k->context, &g, t1, t2, s12);
  if (s21) KERNEL_CALL(m, INVARIANCE, k->match_invariance, k->context, &g, t2, t1, s21);
}

const struct kernel_operation kernel_match = {
    "match", MAKE_MATCH, " n h w c dot round ", {"match_diversity", "match_invariance"}, has_match, call_match, NULL};

/* ---- losses -------------------------------------------------------------------------------------------------------------------------- */

static unsigned has_byol(const ediy_oracle_kernel *k) { return (unsigned)(k->loss_byol != NULL); }
static void prepare_byol(struct make_options *o) { o->lambda1 = 0, o->lambda2 = 0, o->lambda3 = 1; }

static void call_byol(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const ediy_oracle_regions g = {o->n, 1, o->c, false};
  ptrdiff_t qs[] = {g.b, g.c};
  const float *q1 = kernel_given(m, "in.q1"), *q2 = kernel_given(m, "in.q2"), *z1 = kernel_given(m, "in.z1"),
              *z2 = kernel_given(m, "in.z2");
  float *value1 = kernel_result(m, ALONE, "out.byol1", 1, qs), *value2 = kernel_result(m, ALONE, "out.byol2", 1, qs);
  float *dq1 = kernel_result(m, ALONE, "grad_in.q1", 2, qs), *dq2 = kernel_result(m, ALONE, "grad_in.q2", 2, qs);
  if (m->failed) return;
  KERNEL_CALL(m, ALONE, k->loss_byol, k->context, &g, q1, z2, value1, dq1);
  KERNEL_CALL(m, ALONE, k->loss_byol, k->context, &g, q2, z1, value2, dq2);
}

const struct kernel_operation kernel_byol = {"byol", MAKE_LOSS, " n c round ", {"loss_byol"}, has_byol, call_byol, prepare_byol};

static unsigned has_rdem(const ediy_oracle_kernel *k) { return (unsigned)(k->loss_rdem != NULL); }
static void prepare_rdem(struct make_options *o) { o->lambda1 = 1, o->lambda2 = 0, o->lambda3 = 0; }

static void call_rdem(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const ediy_oracle_regions g = {o->n, o->h * o->w, o->c, false};
  ptrdiff_t rs[] = {g.b, g.n, g.c};
  const float *r1 = kernel_given(m, "in.r1"), *r2 = kernel_given(m, "in.r2");
  const int32_t *d1 = kernel_given_index(m, "in.d1"), *d2 = kernel_given_index(m, "in.d2");
  float *value1 = kernel_result(m, ALONE, "out.rdem1", 1, rs), *value2 = kernel_result(m, ALONE, "out.rdem2", 1, rs);
  float *dr1 = kernel_result(m, ALONE, "grad_in.r1", 3, rs), *dr2 = kernel_result(m, ALONE, "grad_in.r2", 3, rs);
  if (m->failed) return;
  KERNEL_CALL(m, ALONE, k->loss_rdem, k->context, &g, r1, d1, value1, dr1);
  KERNEL_CALL(m, ALONE, k->loss_rdem, k->context, &g, r2, d2, value2, dr2);
}

const struct kernel_operation kernel_rdem = {"rdem", MAKE_LOSS, " n h w c round ", {"loss_rdem"}, has_rdem, call_rdem, prepare_rdem};

static unsigned has_riem(const ediy_oracle_kernel *k) { return (unsigned)(k->loss_riem != NULL); }
static void prepare_riem(struct make_options *o) { o->lambda1 = 0, o->lambda2 = 1, o->lambda3 = 0; }

static void call_riem(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const ediy_oracle_regions g = {o->n, o->h * o->w, o->c, false};
  ptrdiff_t rs[] = {g.b, g.n, g.c};
  const float *r1 = kernel_given(m, "in.r1"), *r2 = kernel_given(m, "in.r2"), *g1 = kernel_given(m, "in.g1"),
              *g2 = kernel_given(m, "in.g2");
  const int32_t *s12 = kernel_given_index(m, "in.s12"), *s21 = kernel_given_index(m, "in.s21");
  float *value1 = kernel_result(m, ALONE, "out.riem1", 1, rs), *value2 = kernel_result(m, ALONE, "out.riem2", 1, rs);
  float *dr1 = kernel_result(m, ALONE, "grad_in.r1", 3, rs), *dr2 = kernel_result(m, ALONE, "grad_in.r2", 3, rs);
  if (m->failed) return;
  KERNEL_CALL(m, ALONE, k->loss_riem, k->context, &g, r1, g2, s12, value1, dr1);
  KERNEL_CALL(m, ALONE, k->loss_riem, k->context, &g, r2, g1, s21, value2, dr2);
}

const struct kernel_operation kernel_riem = {"riem", MAKE_LOSS, " n h w c round ", {"loss_riem"}, has_riem, call_riem, prepare_riem};

/* ---- updates ------------------------------------------------------------------------------------------------------------------------- */

static unsigned has_lars(const ediy_oracle_kernel *k) { return (unsigned)(k->lars != NULL); }

static void call_lars(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  ediy_oracle_lars g = {
      o->k * o->r * o->r * o->c, true, o->openselfsup, (double)(float)o->lr, (double)(float)o->trust, (double)(float)o->mu,
      (double)(float)o->decay};
  const float *dw = kernel_given(m, "in.grad.0.weight.0"), *dv = kernel_given(m, "in.grad.0.vector.0");
  float *w = kernel_updated(m, ALONE, "param.weight.0", "out.param.0.weight.0"),
        *v = kernel_updated(m, ALONE, "param.vector.0", "out.param.0.vector.0");
  float *mw = kernel_updated(m, ALONE, "in.momentum.weight.0", "out.momentum.0.weight.0");
  float *mv = kernel_updated(m, ALONE, "in.momentum.vector.0", "out.momentum.0.vector.0");
  if (m->failed) return;
  KERNEL_CALL(m, ALONE, k->lars, k->context, &g, dw, w, mw);
  g.size = o->k, g.adapt = false;
  KERNEL_CALL(m, ALONE, k->lars, k->context, &g, dv, v, mv);
}

const struct kernel_operation kernel_lars = {"lars",    MAKE_LARS, " k r c openselfsup lr trust mu decay round ", {"lars"}, has_lars,
                                             call_lars, NULL};

static unsigned has_ema(const ediy_oracle_kernel *k) { return (unsigned)(k->ema != NULL); }

static void call_ema(const ediy_oracle_kernel *k, const struct make_options *o, struct kernel_memory *m) {
  const float *theta = kernel_given(m, "in.online.0.0");
  float *xi = kernel_updated(m, ALONE, "in.target.0", "out.target.0.0");
  if (m->failed) return;
  KERNEL_CALL(m, ALONE, k->ema, k->context, o->k * o->r * o->r * o->c, (double)(float)o->tau, theta, xi);
}

const struct kernel_operation kernel_ema = {"ema", MAKE_EMA, " k r c tau round ", {"ema"}, has_ema, call_ema, NULL};
