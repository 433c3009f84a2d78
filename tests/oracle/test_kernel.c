/* ediy_oracle.h: kernels handed over as functions. The right ones are the reference in float behind the interface; each is then spoiled in
 * the ways in which kernels go wrong, in each of its results. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op/conv.h"
#include "op/lars.h"
#include "op/linear.h"
#include "op/loss.h"
#include "op/match.h"
#include "op/norm.h"
#include "op/pool.h"
#include "op/relu.h"
#include "oracle/ediy_oracle.h"
#include "oracle/precision.h"
#include "support/cmocka.h"

enum fault {
  RIGHT,
  FACTOR,    /* times 1.001 */
  UNWRITTEN, /* the last element */
  SHIFTED,   /* by one element */
  NANS,      /* one NaN */
  BEYOND,    /* one element too many */
  UNDERRUN,  /* one element before the first */
  STALE,     /* what it was at the first call with this address */
  UNSTEADY,  /* the last bit depends on the number of calls */
  TO_INPUT,  /* an input is used as scratch */
  ERROR_CODE,
  DECLINES_ALL,
  DECLINES_SOME,
  FAULTS
};

/* The context. at: the result that is spoiled, by the order in which results are spoiled in one call of an operation. */
struct spoiler {
  enum fault fault;
  const char *at;
  int calls;
  const float *seen;
  float *first;
  ptrdiff_t size;
  bool hit; /* the fault was made */
};

/* Works on a result that is right. */
static void spoil(void *context, const char *name, float *y, ptrdiff_t size) {
  struct spoiler *s = context;
  if (strcmp(s->at, name) != 0 || size < 2) return;
  s->calls++;
  s->hit = true;
  switch (s->fault) {
  case FACTOR:
    for (ptrdiff_t i = 0; i < size; i++) y[i] *= 1.001f;
    break;
  case UNWRITTEN: y[size - 1] = NAN; break;
  case SHIFTED: memmove(y + 1, y, (size_t)(size - 1) * sizeof *y); break;
  case NANS: y[size / 2] = NAN; break;
  case BEYOND: y[size] = 1; break;
  case UNDERRUN: y[-1] = 1; break;
  case STALE:
    if (s->seen == y && s->size == size) {
      memcpy(y, s->first, (size_t)size * sizeof *y);
    } else if (!s->seen) {
      s->first = malloc((size_t)size * sizeof *y);
      assert_non_null(s->first);
      memcpy(s->first, y, (size_t)size * sizeof *y), s->seen = y, s->size = size;
    }
    break;
  case UNSTEADY: /* every third call is the repetition of a first */
    if (s->calls % 3 == 0 && y[0] != 0) y[0] = nextafterf(y[0], INFINITY);
    break;
  default: break;
  }
}

static int begin(void *context, const float *input, ptrdiff_t odd) {
  const struct spoiler *s = context;
  if (s->fault == TO_INPUT) memcpy((void *)(uintptr_t)input, &(float){12345}, sizeof(float));
  if (s->fault == ERROR_CODE) return 7;
  if (s->fault == DECLINES_ALL || (s->fault == DECLINES_SOME && odd % 2)) return EDIY_ORACLE_DECLINE;
  return 0;
}

static void *scratch_of(ptrdiff_t size, size_t element) {
  void *p = calloc((size_t)size + 1, element);
  assert_non_null(p);
  return p;
}

/* ---- kernels ------------------------------------------------------------------------------------------------------------------------- */

static struct conv conv_of(const ediy_oracle_conv *g) {
  return (struct conv){g->n, g->h, g->w, g->c, g->k, g->r, g->s, g->stride, g->pad, g->p, g->q};
}

static int conv_y(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  struct conv c = conv_of(g);
  int status = begin(context, x, g->c);
  if (status) return status;
  conv_forward_plain(&c, x, w, y);
  spoil(context, "y", y, g->n * g->p * g->q * g->k);
  return 0;
}

static int conv_dx(void *context, const ediy_oracle_conv *g, const float *dy, const float *w, float *dx) {
  struct conv c = conv_of(g);
  conv_backward_data_plain(&c, dy, w, dx, false);
  spoil(context, "dx", dx, g->n * g->h * g->w * g->c);
  return 0;
}

static int conv_dw(void *context, const ediy_oracle_conv *g, const float *x, const float *dy, float *dw) {
  struct conv c = conv_of(g);
  ptrdiff_t size = g->k * g->r * g->s * g->c;
  memset(dw, 0, (size_t)size * sizeof *dw);
  conv_backward_weights_plain(&c, x, dy, dw);
  spoil(context, "dw", dw, size);
  return 0;
}

static int linear_y(void *context, const ediy_oracle_linear *g, const float *x, const float *w, const float *b, float *y) {
  struct linear l = {g->m, g->i, g->o};
  int status = begin(context, x, g->i);
  if (status) return status;
  linear_forward(&l, x, w, b, y);
  spoil(context, "y", y, g->m * g->o);
  return 0;
}

static int linear_d(void *context, const ediy_oracle_linear *g, const float *x, const float *w, const float *dy, float *dx, float *dw,
                    float *db) {
  struct linear l = {g->m, g->i, g->o};
  float *scratch = scratch_of(linear_scratch(&l), sizeof *scratch);
  memset(dw, 0, (size_t)(g->o * g->i) * sizeof *dw);
  if (db) memset(db, 0, (size_t)g->o * sizeof *db);
  linear_backward_data(&l, dy, w, dx, false);
  linear_backward_weights(&l, x, dy, dw, db, scratch);
  free(scratch);
  spoil(context, "dx", dx, g->m * g->i);
  spoil(context, "dw", dw, g->o * g->i);
  if (db) spoil(context, "db", db, g->o);
  return 0;
}

static struct norm norm_of(const ediy_oracle_norm *g) { return (struct norm){g->m, g->c, g->eps, g->momentum, g->relu}; }

static int norm_y(void *context, const ediy_oracle_norm *g, const float *x, const float *residual, const float *gamma, const float *beta,
                  float *running_mean, float *running_var, float *y, float *saved) {
  struct norm n = norm_of(g);
  int status = begin(context, x, g->c);
  if (status) return status;
  double *scratch = scratch_of(norm_scratch(&n) + 2 * g->c, sizeof *scratch), *mean = scratch + norm_scratch(&n);
  if (g->train) {
    norm_forward_train(&n, x, residual, gamma, beta, running_mean, running_var, y, mean, mean + g->c, scratch);
    for (ptrdiff_t c = 0; c < 2 * g->c; c++) saved[c] = (float)mean[c];
    spoil(context, "running_mean", running_mean, g->c);
    spoil(context, "running_var", running_var, g->c);
  } else {
    norm_forward_eval(&n, x, residual, gamma, beta, running_mean, running_var, y);
    for (ptrdiff_t c = 0; c < g->c; c++) saved[c] = running_mean[c], saved[g->c + c] = (float)(1 / sqrt((double)running_var[c] + g->eps));
  }
  free(scratch);
  spoil(context, "y", y, g->m * g->c);
  return 0;
}

static int norm_d(void *context, const ediy_oracle_norm *g, const float *x, const float *y, const float *gamma, const float *saved,
                  const float *dy, float *dx, float *dresidual, float *dgamma, float *dbeta) {
  struct norm n = norm_of(g);
  double *scratch = scratch_of(norm_scratch(&n) + 2 * g->c, sizeof *scratch), *mean = scratch + norm_scratch(&n);
  for (ptrdiff_t c = 0; c < 2 * g->c; c++) mean[c] = (double)saved[c];
  memset(dgamma, 0, (size_t)g->c * sizeof *dgamma);
  memset(dbeta, 0, (size_t)g->c * sizeof *dbeta);
  if (g->train) {
    norm_backward_train(&n, x, y, gamma, mean, mean + g->c, dy, dx, dresidual, dgamma, dbeta, scratch);
  } else { /* running_mean and the variance without eps, back from what was saved */
    float *m = scratch_of(2 * g->c, sizeof *m), *v = m + g->c;
    for (ptrdiff_t c = 0; c < g->c; c++) m[c] = saved[c], v[c] = (float)(1 / (mean[g->c + c] * mean[g->c + c]) - g->eps);
    norm_backward_eval(&n, x, y, gamma, m, v, dy, dx, dresidual, dgamma, dbeta, scratch);
    free(m);
  }
  free(scratch);
  spoil(context, "dx", dx, g->m * g->c);
  if (dresidual) spoil(context, "dresidual", dresidual, g->m * g->c);
  spoil(context, "dgamma", dgamma, g->c);
  spoil(context, "dbeta", dbeta, g->c);
  return 0;
}

static int relu_y(void *context, ptrdiff_t size, const float *x, float *y) {
  int status = begin(context, x, size);
  if (status) return status;
  relu_forward(size, x, y);
  spoil(context, "y", y, size);
  return 0;
}

static int relu_d(void *context, ptrdiff_t size, const float *x, const float *dy, float *dx) {
  relu_backward(size, x, dy, dx);
  spoil(context, "dx", dx, size);
  return 0;
}

static int maxpool_y(void *context, const ediy_oracle_pool *g, const float *x, float *y) {
  struct pool p = {g->n, g->h, g->w, g->c};
  ptrdiff_t size = g->n * g->p * g->q * g->c;
  int32_t *index = scratch_of(size, sizeof *index);
  int status = begin(context, x, g->c);
  if (!status) maxpool_forward(&p, x, y, index), spoil(context, "y", y, size);
  free(index);
  return status;
}

static int maxpool_d(void *context, const ediy_oracle_pool *g, const float *x, const float *dy, float *dx) {
  struct pool p = {g->n, g->h, g->w, g->c};
  ptrdiff_t size = g->n * g->p * g->q * g->c;
  int32_t *index = scratch_of(size, sizeof *index);
  float *y = scratch_of(size, sizeof *y);
  maxpool_forward(&p, x, y, index);
  maxpool_backward(&p, dy, index, dx);
  free(index);
  free(y);
  spoil(context, "dx", dx, g->n * g->h * g->w * g->c);
  return 0;
}

static int avgpool_y(void *context, const ediy_oracle_pool *g, const float *x, float *y) {
  struct pool p = {g->n, g->h, g->w, g->c};
  int status = begin(context, x, g->c);
  if (status) return status;
  avgpool_forward(&p, x, y);
  spoil(context, "y", y, g->n * g->c);
  return 0;
}

static int avgpool_d(void *context, const ediy_oracle_pool *g, const float *dy, float *dx) {
  struct pool p = {g->n, g->h, g->w, g->c};
  avgpool_backward(&p, dy, dx, false);
  spoil(context, "dx", dx, g->n * g->h * g->w * g->c);
  return 0;
}

static struct match match_of(const ediy_oracle_regions *g) {
  return (struct match){g->b, g->n, g->c, g->dot ? SIMILARITY_DOT : SIMILARITY_COSINE};
}

static void spoil_index(void *context, const char *name, const ediy_oracle_regions *g, int32_t *index) {
  struct spoiler *s = context;
  if (strcmp(s->at, name) != 0 || g->n < 3 || s->fault != SHIFTED) return;
  s->hit = true;
  for (ptrdiff_t i = 0; i < g->b * g->n; i++) index[i] = (int32_t)((index[i] + 1) % g->n);
}

static int diversity(void *context, const ediy_oracle_regions *g, const float *t, int32_t *index) {
  struct match m = match_of(g);
  double *scratch = scratch_of(match_scratch(&m), sizeof *scratch);
  match_diversity(&m, t, index, scratch);
  free(scratch);
  spoil_index(context, "diversity", g, index);
  return 0;
}

static int invariance(void *context, const ediy_oracle_regions *g, const float *t, const float *other, int32_t *index) {
  struct match m = match_of(g);
  double *scratch = scratch_of(match_scratch(&m), sizeof *scratch);
  match_invariance(&m, t, other, index, scratch);
  free(scratch);
  spoil_index(context, "invariance", g, index);
  return 0;
}

/* Calls one of the losses, whose values are doubles and whose gradients add. */
#define LOSS(name, gradient, ...)                                                                                                          \
  do {                                                                                                                                     \
    struct loss l = {g->b, g->n, g->c};                                                                                                    \
    double *scratch = scratch_of(loss_scratch(&l) + g->b, sizeof *scratch), *wide = scratch + loss_scratch(&l);                            \
    memset(gradient, 0, (size_t)(g->b * g->n * g->c) * sizeof *gradient);                                                                  \
    loss_##name##_f32(&l, __VA_ARGS__, 1.0, wide, gradient, scratch);                                                                      \
    for (ptrdiff_t i = 0; i < g->b; i++) value[i] = (float)wide[i];                                                                        \
    free(scratch);                                                                                                                         \
    spoil(context, "value", value, g->b);                                                                                                  \
    spoil(context, "gradient", gradient, g->b * g->n * g->c);                                                                              \
  } while (0)

static int byol(void *context, const ediy_oracle_regions *g, const float *q, const float *z, float *value, float *dq) {
  int status = begin(context, q, g->c);
  if (status) return status;
  LOSS(byol, dq, q, z);
  return 0;
}

static int rdem(void *context, const ediy_oracle_regions *g, const float *r, const int32_t *index, float *value, float *dr) {
  LOSS(rdem, dr, r, index, RDEM_STOPGRAD_NONE);
  return 0;
}

static int riem(void *context, const ediy_oracle_regions *g, const float *r, const float *other, const int32_t *index, float *value,
                float *dr) {
  LOSS(riem, dr, r, other, index);
  return 0;
}

static int lars(void *context, const ediy_oracle_lars *g, const float *grad, float *w, float *m) {
  struct lars o = {g->openselfsup ? LARS_OPENSELFSUP : LARS_BYOL, g->trust, g->momentum, g->decay};
  int status = begin(context, grad, g->size);
  if (status) return status;
  lars_update(&o, g->size, g->adapt, g->lr, grad, w, m);
  spoil(context, "w", w, g->size);
  spoil(context, "m", m, g->size);
  return 0;
}

static int ema(void *context, ptrdiff_t size, double tau, const float *theta, float *xi) {
  int status = begin(context, theta, size);
  if (status) return status;
  ema_update(size, tau, theta, xi);
  spoil(context, "xi", xi, size);
  return 0;
}

/* ---- judged -------------------------------------------------------------------------------------------------------------------------- */

/* The operations, and the results that can be spoiled. */
static const struct {
  const char *name;
  ediy_oracle_kernel kernel;
  const char *result[7];
} all[] = {
    {"conv", {.conv_forward = conv_y, .conv_backward_data = conv_dx, .conv_backward_weights = conv_dw}, {"y", "dx", "dw"}},
    {"linear", {.linear_forward = linear_y, .linear_backward = linear_d}, {"y", "dx", "dw", "db"}},
    {"norm", {.norm_forward = norm_y, .norm_backward = norm_d}, {"y", "running_mean", "running_var", "dx", "dresidual", "dgamma", "dbeta"}},
    {"relu", {.relu_forward = relu_y, .relu_backward = relu_d}, {"y", "dx"}},
    {"maxpool", {.maxpool_forward = maxpool_y, .maxpool_backward = maxpool_d}, {"y", "dx"}},
    {"avgpool", {.avgpool_forward = avgpool_y, .avgpool_backward = avgpool_d}, {"y", "dx"}},
    {"byol", {.loss_byol = byol}, {"value", "gradient"}},
    {"rdem", {.loss_rdem = rdem}, {"value", "gradient"}},
    {"riem", {.loss_riem = riem}, {"value", "gradient"}},
    {"lars", {.lars = lars}, {"w", "m"}},
    {"ema", {.ema = ema}, {"xi"}},
};
enum { ALL = sizeof all / sizeof *all };

static const ediy_oracle_options few = {.cases = 12, .seed = 3};

/* Judges a kernel with this fault in this result; the verdict stays until the next call. */
static const ediy_oracle_verdict *judge(const ediy_oracle_kernel *kernel, enum fault fault, const char *at,
                                        const ediy_oracle_options *options, bool *hit) {
  static ediy_oracle_verdict v;
  struct spoiler s = {.fault = fault, .at = at};
  ediy_oracle_kernel k = *kernel;
  k.context = &s;
  ediy_oracle_status status = ediy_oracle_judge(&k, options, &v);
  assert_int_equal(status, v.status);
  assert_null(strchr(v.text, '\n'));
  free(s.first);
  if (hit) *hit = s.hit;
  return &v;
}

static void expect(ediy_oracle_status status, const char *words, const ediy_oracle_verdict *v) {
  if (v->status != status || !strstr(v->text, words))
    fail_msg("status %d, expected %d with \"%s\": %s", (int)v->status, (int)status, words, v->text);
}

static void right_kernels_pass(void **state) {
  (void)state;
  const ediy_oracle_options usual = {.cases = 24};
  for (int i = 0; i < ALL; i++) {
    const ediy_oracle_verdict *v = judge(&all[i].kernel, RIGHT, "", &usual, NULL);
    expect(EDIY_ORACLE_PASS, ": pass, ", v);
    assert_int_equal(strncmp(v->text, all[i].name, strlen(all[i].name)), 0);
    assert_int_equal(v->cases, 24);
    assert_true(v->ratio > 0 ? v->ratio < 1 : v->ratio == 0);
  }
  const ediy_oracle_kernel match = {.match_diversity = diversity, .match_invariance = invariance};
  expect(EDIY_ORACLE_PASS, "match: pass", judge(&match, RIGHT, "", &usual, NULL));
  /* All at once, and each function alone. */
  ediy_oracle_kernel k = all[0].kernel;
  k.ema = ema, k.linear_backward = linear_d;
  expect(EDIY_ORACLE_PASS, "conv, linear, ema: pass", judge(&k, RIGHT, "", &few, NULL));
  const ediy_oracle_kernel alone[] = {
      {.conv_backward_weights = conv_dw}, {.norm_backward = norm_d}, {.norm_forward = norm_y}, {.match_diversity = diversity}};
  for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) expect(EDIY_ORACLE_PASS, ": pass", judge(&alone[i], RIGHT, "", &few, NULL));
}

static void every_fault_in_every_result_is_found(void **state) {
  (void)state;
  static const struct {
    enum fault fault;
    const char *words;
  } faults[] = {
      {FACTOR, ""}, {UNWRITTEN, "nan"}, {SHIFTED, ""}, {NANS, "nan"}, {BEYOND, "behind the end of"}, {UNDERRUN, "before the start of"}};
  int tried = 0;
  for (int i = 0; i < ALL; i++) {
    for (int r = 0; r < 7 && all[i].result[r]; r++) {
      for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        bool hit;
        const ediy_oracle_verdict *v = judge(&all[i].kernel, faults[f].fault, all[i].result[r], &few, &hit);
        if (!hit) fail_msg("%s %s: the fault was never made", all[i].name, all[i].result[r]);
        if (v->status != EDIY_ORACLE_MISMATCH || !strstr(v->text, faults[f].words) || !strstr(v->text, "oracle case make op="))
          fail_msg("%s %s, fault %d: %s", all[i].name, all[i].result[r], (int)faults[f].fault, v->text);
        tried++;
      }
    }
  }
  print_message("%d faults\n", tried);
  const ediy_oracle_kernel match = {.match_diversity = diversity, .match_invariance = invariance};
  expect(EDIY_ORACLE_MISMATCH, "out.d1", judge(&match, SHIFTED, "diversity", &few, NULL));
  expect(EDIY_ORACLE_MISMATCH, "out.s12", judge(&match, SHIFTED, "invariance", &few, NULL));
}

/* Seen only because the kernel is called again in the same memory. */
static void what_is_kept_or_changes_between_calls_is_found(void **state) {
  (void)state;
  for (int i = 0; i < ALL; i++) {
    const char *at = all[i].result[0];
    expect(EDIY_ORACLE_MISMATCH, "", judge(&all[i].kernel, STALE, at, &few, NULL));
  }
  expect(EDIY_ORACLE_NONDETERMINISTIC, "out.y has other bits", judge(&all[1].kernel, UNSTEADY, "y", &few, NULL));
}

static int conv_but_last(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  ptrdiff_t size = g->n * g->p * g->q * g->k;
  float *whole = scratch_of(size, sizeof *whole);
  conv_y(context, g, x, w, whole);
  memcpy(y, whole, (size_t)(size - 1) * sizeof *y);
  free(whole);
  return 0;
}

static void the_conduct_of_a_kernel_is_judged(void **state) {
  (void)state;
  expect(EDIY_ORACLE_MISMATCH, "changed its input in.x", judge(&all[0].kernel, TO_INPUT, "", &few, NULL));
  expect(EDIY_ORACLE_MISMATCH, "a function returned 7", judge(&all[2].kernel, ERROR_CODE, "", &few, NULL));
  expect(EDIY_ORACLE_INCOMPLETE, "declined all of 12 cases", judge(&all[4].kernel, DECLINES_ALL, "", &few, NULL));
  const ediy_oracle_kernel lazy = {.conv_forward = conv_but_last};
  expect(EDIY_ORACLE_MISMATCH, "nan, expected ", judge(&lazy, RIGHT, "", &few, NULL));
  const ediy_oracle_verdict *v = judge(&all[0].kernel, DECLINES_SOME, "", &few, NULL);
  expect(EDIY_ORACLE_PASS, " declined", v);
  assert_true(v->declined > 0 && v->cases > 0 && v->declined + v->cases == 12);
}

/* A kernel that rounds its inputs and outputs to bf16, and sums in float. */
static int conv_in_bf16(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  const struct number_format *f = &precision_classes[PRECISION_BF16].in;
  ptrdiff_t nx = g->n * g->h * g->w * g->c, nw = g->k * g->r * g->s * g->c;
  float *rounded = scratch_of(nx + nw, sizeof *rounded);
  (void)context;
  for (ptrdiff_t i = 0; i < nx + nw; i++) rounded[i] = (float)number_round(f, (double)(i < nx ? x[i] : w[i - nx]));
  struct conv c = conv_of(g);
  conv_forward_plain(&c, rounded, rounded + nx, y);
  for (ptrdiff_t i = 0; i < g->n * g->p * g->q * g->k; i++) y[i] = (float)number_round(f, (double)y[i]);
  free(rounded);
  return 0;
}

static void a_precision_has_to_be_declared(void **state) {
  (void)state;
  const ediy_oracle_kernel k = {.conv_forward = conv_in_bf16};
  ediy_oracle_options o = few;
  expect(EDIY_ORACLE_MISMATCH, "conv: out.y", judge(&k, RIGHT, "", &o, NULL));
  o.precision = EDIY_ORACLE_BF16;
  expect(EDIY_ORACLE_PASS, "as bf16", judge(&k, RIGHT, "", &o, NULL));
}

static void a_shape_can_be_given(void **state) {
  (void)state;
  ediy_oracle_options o = {.shape = "n=1 h=9 w=5 c=3 k=4 r=3 stride=2 pad=0"};
  const ediy_oracle_verdict *v = judge(&all[0].kernel, RIGHT, "", &o, NULL);
  expect(EDIY_ORACLE_PASS, "conv: pass, 36 tensors of 6 cases", v); /* three results, six fills, two sets of numbers */
  expect(EDIY_ORACLE_MISMATCH, "oracle case make op=conv fill=normal seed=0 n=1 h=9 w=5 c=3 k=4 r=3 stride=2 pad=0 out=case.safetensors",
         judge(&all[0].kernel, NANS, "dw", &o, NULL));
  o.shape = "n=1 h=9 w=5 c=3 k=4 r=3 fill=int";
  expect(EDIY_ORACLE_PASS, "conv: pass, 6 tensors of 1 cases", judge(&all[0].kernel, RIGHT, "", &o, NULL));
}

/* Inputs of 100 +- 0.01 are a few numbers in half precision: nothing can be told from the normalised ones. */
static void what_cannot_be_told_is_vacuous(void **state) {
  (void)state;
  const ediy_oracle_options o = {.precision = EDIY_ORACLE_FP16, .shape = "n=2 h=8 w=8 c=16 fill=offset"};
  const ediy_oracle_kernel k = {.norm_forward = norm_y};
  expect(EDIY_ORACLE_VACUOUS, "VACUOUS", judge(&k, RIGHT, "", &o, NULL));
}

static void bad_input_is_refused(void **state) {
  (void)state;
  const ediy_oracle_kernel none = {.context = NULL};
  static const struct {
    ediy_oracle_options options;
    const char *words;
  } wrong[] = {{{.shape = "n=0"}, "n"},
               {{.shape = "heigth=3"}, "heigth"},
               {{.shape = "op=norm"}, "op=norm"},
               {{.shape = "h=2 w=2 r=5 pad=0"}, "kernel"},
               {{.chain = -1}, "chain"},
               {{.cases = -1}, "cases"},
               {{.precision = (ediy_oracle_precision)9}, "precision"}};
  expect(EDIY_ORACLE_BAD_INPUT, "all functions are null", judge(&none, RIGHT, "", NULL, NULL));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    expect(EDIY_ORACLE_BAD_INPUT, wrong[i].words, judge(&all[0].kernel, RIGHT, "", &wrong[i].options, NULL));
  assert_int_equal(ediy_oracle_judge(NULL, NULL, NULL), EDIY_ORACLE_BAD_INPUT);
  assert_string_equal(ediy_oracle_version(), "0.1.0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(right_kernels_pass),
      cmocka_unit_test(every_fault_in_every_result_is_found),
      cmocka_unit_test(what_is_kept_or_changes_between_calls_is_found),
      cmocka_unit_test(the_conduct_of_a_kernel_is_judged),
      cmocka_unit_test(a_precision_has_to_be_declared),
      cmocka_unit_test(a_shape_can_be_given),
      cmocka_unit_test(what_cannot_be_told_is_vacuous),
      cmocka_unit_test(bad_input_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
