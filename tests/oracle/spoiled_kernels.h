/* Kernels behind the interface of ediy_oracle.h: the reference in float, each result of which can be spoiled in the ways in which kernels
 * go wrong. */
#ifndef EDIY_TESTS_ORACLE_SPOILED_KERNELS_H
#define EDIY_TESTS_ORACLE_SPOILED_KERNELS_H

#include <math.h>
#include <omp.h>
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

/* Works on a result that is right. Not inlined: a compiler that saw what it does to an array would warn of it. */
static __attribute__((noinline)) void spoil(void *context, const char *name, float *y, ptrdiff_t size) {
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

static inline int begin(void *context, const float *input, ptrdiff_t odd) {
  const struct spoiler *s = context;
  if (s->fault == TO_INPUT) memcpy((void *)(uintptr_t)input, &(float){12345}, sizeof(float));
  if (s->fault == ERROR_CODE) return 7;
  if (s->fault == DECLINES_ALL || (s->fault == DECLINES_SOME && odd % 2)) return EDIY_ORACLE_DECLINE;
  return 0;
}

static inline void *scratch_of(ptrdiff_t size, size_t element) {
  void *p = calloc((size_t)size + 1, element);
  assert_non_null(p);
  return p;
}

/* ---- kernels ------------------------------------------------------------------------------------------------------------------------- */

static struct conv conv_of(const ediy_oracle_conv *g) {
  return (struct conv){g->n, g->h, g->w, g->c, g->k, g->r, g->s, g->stride, g->pad, g->p, g->q};
}

static inline int conv_y(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  struct conv c = conv_of(g);
  int status = begin(context, x, g->c);
  if (status) return status;
  conv_forward_plain(&c, x, w, y);
  spoil(context, "y", y, g->n * g->p * g->q * g->k);
  return 0;
}

static inline int conv_dx(void *context, const ediy_oracle_conv *g, const float *dy, const float *w, float *dx) {
  struct conv c = conv_of(g);
  conv_backward_data_plain(&c, dy, w, dx, false);
  spoil(context, "dx", dx, g->n * g->h * g->w * g->c);
  return 0;
}

static inline int conv_dw(void *context, const ediy_oracle_conv *g, const float *x, const float *dy, float *dw) {
  struct conv c = conv_of(g);
  ptrdiff_t size = g->k * g->r * g->s * g->c;
  memset(dw, 0, (size_t)size * sizeof *dw);
  conv_backward_weights_plain(&c, x, dy, dw);
  spoil(context, "dw", dw, size);
  return 0;
}

static inline int linear_y(void *context, const ediy_oracle_linear *g, const float *x, const float *w, const float *b, float *y) {
  struct linear l = {g->m, g->i, g->o};
  int status = begin(context, x, g->i);
  if (status) return status;
  linear_forward(&l, x, w, b, y);
  spoil(context, "y", y, g->m * g->o);
  return 0;
}

static inline int linear_d(void *context, const ediy_oracle_linear *g, const float *x, const float *w, const float *dy, float *dx,
                           float *dw, float *db) {
  struct linear l = {g->m, g->i, g->o};
  float *scratch = scratch_of(linear_scratch(&l, omp_get_max_threads()), sizeof *scratch);
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

static struct norm norm_of(const ediy_oracle_norm *g) {
  return (struct norm){.m = g->m, .c = g->c, .eps = g->eps, .momentum = g->momentum, .relu = g->relu};
}

static inline int norm_y(void *context, const ediy_oracle_norm *g, const float *x, const float *residual, const float *gamma,
                         const float *beta, float *running_mean, float *running_var, float *y, float *saved) {
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

static inline int norm_d(void *context, const ediy_oracle_norm *g, const float *x, const float *y, const float *gamma, const float *saved,
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

static inline int relu_y(void *context, ptrdiff_t size, const float *x, float *y) {
  int status = begin(context, x, size);
  if (status) return status;
  relu_forward(size, x, y);
  spoil(context, "y", y, size);
  return 0;
}

static inline int relu_d(void *context, ptrdiff_t size, const float *x, const float *dy, float *dx) {
  relu_backward(size, x, dy, dx);
  spoil(context, "dx", dx, size);
  return 0;
}

static inline int maxpool_y(void *context, const ediy_oracle_pool *g, const float *x, float *y) {
  struct pool p = {g->n, g->h, g->w, g->c};
  ptrdiff_t size = g->n * g->p * g->q * g->c;
  int32_t *index = scratch_of(size, sizeof *index);
  int status = begin(context, x, g->c);
  if (!status) maxpool_forward(&p, x, y, index), spoil(context, "y", y, size);
  free(index);
  return status;
}

static inline int maxpool_d(void *context, const ediy_oracle_pool *g, const float *x, const float *dy, float *dx) {
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

static inline int avgpool_y(void *context, const ediy_oracle_pool *g, const float *x, float *y) {
  struct pool p = {g->n, g->h, g->w, g->c};
  int status = begin(context, x, g->c);
  if (status) return status;
  avgpool_forward(&p, x, y);
  spoil(context, "y", y, g->n * g->c);
  return 0;
}

static inline int avgpool_d(void *context, const ediy_oracle_pool *g, const float *dy, float *dx) {
  struct pool p = {g->n, g->h, g->w, g->c};
  avgpool_backward(&p, dy, dx, false);
  spoil(context, "dx", dx, g->n * g->h * g->w * g->c);
  return 0;
}

static struct match match_of(const ediy_oracle_regions *g) {
  return (struct match){g->b, g->n, g->c, g->dot ? SIMILARITY_DOT : SIMILARITY_COSINE};
}

static inline void spoil_index(void *context, const char *name, const ediy_oracle_regions *g, int32_t *index) {
  struct spoiler *s = context;
  if (strcmp(s->at, name) != 0 || g->n < 3 || s->fault != SHIFTED) return;
  s->hit = true;
  for (ptrdiff_t i = 0; i < g->b * g->n; i++) index[i] = (int32_t)((index[i] + 1) % g->n);
}

static inline int diversity(void *context, const ediy_oracle_regions *g, const float *t, int32_t *index) {
  struct match m = match_of(g);
  double *scratch = scratch_of(match_scratch(&m), sizeof *scratch);
  match_diversity(&m, t, index, scratch);
  free(scratch);
  spoil_index(context, "diversity", g, index);
  return 0;
}

static inline int invariance(void *context, const ediy_oracle_regions *g, const float *t, const float *other, int32_t *index) {
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

static inline int byol(void *context, const ediy_oracle_regions *g, const float *q, const float *z, float *value, float *dq) {
  int status = begin(context, q, g->c);
  if (status) return status;
  LOSS(byol, dq, q, z);
  return 0;
}

static inline int rdem(void *context, const ediy_oracle_regions *g, const float *r, const int32_t *index, float *value, float *dr) {
  LOSS(rdem, dr, r, index, RDEM_STOPGRAD_NONE);
  return 0;
}

static inline int riem(void *context, const ediy_oracle_regions *g, const float *r, const float *other, const int32_t *index, float *value,
                       float *dr) {
  LOSS(riem, dr, r, other, index);
  return 0;
}

static inline int lars(void *context, const ediy_oracle_lars *g, const float *grad, float *w, float *m) {
  struct lars o = {g->openselfsup ? LARS_OPENSELFSUP : LARS_BYOL, g->trust, g->momentum, g->decay};
  int status = begin(context, grad, g->size);
  if (status) return status;
  lars_update(&o, g->size, g->adapt, g->lr, grad, w, m);
  spoil(context, "w", w, g->size);
  spoil(context, "m", m, g->size);
  return 0;
}

static inline int ema(void *context, ptrdiff_t size, double tau, const float *theta, float *xi) {
  int status = begin(context, theta, size);
  if (status) return status;
  ema_update(size, tau, theta, xi);
  spoil(context, "xi", xi, size);
  return 0;
}

#endif
