#include "program/profile.h"

#include <omp.h>

#include "op/match.h"

const char *const part_name[PARTS] = {"conv forward", "conv backward data", "conv backward weights", "norm forward", "norm backward",
                                      "pooling",      "heads forward",      "heads backward",        "match",        "losses",
                                      "optimiser",    "moving average",     "copies and zeros"};

static struct profile profile;
static const struct backend *inner;

void profile_reset(void) { profile = (struct profile){0}; }
struct profile profile_read(void) {
  return profile;
}

/* Operations may return before they are done (backend.h): the time of one ends when all before the next are. */
static void add(enum part part, double start, double flops, double bytes) {
  inner->status(NULL);
  profile.seconds[part] += omp_get_wtime() - start;
  profile.flops[part] += flops;
  profile.bytes[part] += bytes;
  profile.calls[part]++;
}

/* ---- arithmetic and bytes of each shape ---------------------------------------------------------------------------------------------- */

static double reals(double n) { return n * sizeof(real); }
static double activations(double n) { return n * (double)inner->activation_size; }

static double conv_flops(const struct conv *g) { return 2.0 * g->n * g->p * g->q * g->k * g->r * g->s * g->c; }
static double conv_bytes(const struct conv *g) {
  return activations((double)g->n * g->h * g->w * g->c + (double)g->n * g->p * g->q * g->k) + reals((double)g->k * g->r * g->s * g->c);
}
static double linear_flops(const struct linear *g) { return 2.0 * g->m * g->i * g->o; }
static double linear_bytes(const struct linear *g) {
  return activations((double)g->m * g->i + (double)g->m * g->o) + reals((double)g->i * g->o);
}
static double norm_bytes(const struct norm *g) { return activations((double)g->m * g->c); }
static double pool_bytes(const struct pool *g) { return activations((double)g->n * g->h * g->w * g->c); }
static double loss_bytes(const struct loss *g) { return activations((double)g->b * g->n * g->c); }
static double match_flops(const struct match *g) { return 2.0 * g->b * g->n * g->n * g->c; }
static double match_bytes(const struct match *g) { return activations((double)g->b * g->n * g->c); }

/* ---- the operations ------------------------------------------------------------------------------------------------------------------ */

static void timed_copy(void *to, const void *from, size_t bytes) {
  double t = omp_get_wtime();
  inner->copy(to, from, bytes);
  add(PART_MEMORY, t, 0, 2.0 * (double)bytes);
}
static void timed_zero(void *to, size_t bytes) {
  double t = omp_get_wtime();
  inner->zero(to, bytes);
  add(PART_MEMORY, t, 0, (double)bytes);
}

static void timed_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  double t = omp_get_wtime();
  inner->conv_forward(g, x, w, y, scratch);
  add(PART_CONV_FORWARD, t, conv_flops(g), conv_bytes(g));
}
static void timed_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch) {
  double t = omp_get_wtime();
  inner->conv_backward_data(g, dy, w, dx, accumulate, scratch);
  add(PART_CONV_BACKWARD_DATA, t, conv_flops(g), conv_bytes(g));
}
static void timed_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  double t = omp_get_wtime();
  inner->conv_backward_weights(g, x, dy, dw, scratch);
  add(PART_CONV_BACKWARD_WEIGHTS, t, conv_flops(g), conv_bytes(g));
}

static void timed_norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                     real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  double t = omp_get_wtime();
  inner->norm_forward_train(g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  add(PART_NORM_FORWARD, t, 0, norm_bytes(g) * (residual ? 3 : 2));
}
static void timed_norm_forward_eval(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                    const real *running_mean, const real *running_var, real *y) {
  double t = omp_get_wtime();
  inner->norm_forward_eval(g, x, residual, gamma, beta, running_mean, running_var, y);
  add(PART_NORM_FORWARD, t, 0, norm_bytes(g) * (residual ? 3 : 2));
}
static void timed_norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                      const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                      void *scratch) {
  double t = omp_get_wtime();
  inner->norm_backward_train(g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
  add(PART_NORM_BACKWARD, t, 0, norm_bytes(g) * (3 + g->relu + (dresidual != NULL)));
}

static void timed_maxpool_forward(const struct pool *g, const real *x, real *y, int32_t *index) {
  double t = omp_get_wtime();
  inner->maxpool_forward(g, x, y, index);
  add(PART_POOL, t, 0, pool_bytes(g) * 1.5);
}
static void timed_maxpool_backward(const struct pool *g, const real *dy, const int32_t *index, real *dx) {
  double t = omp_get_wtime();
  inner->maxpool_backward(g, dy, index, dx);
  add(PART_POOL, t, 0, pool_bytes(g) * 1.5);
}
static void timed_avgpool_forward(const struct pool *g, const real *x, real *y) {
  double t = omp_get_wtime();
  inner->avgpool_forward(g, x, y);
  add(PART_POOL, t, 0, pool_bytes(g));
}
static void timed_avgpool_backward(const struct pool *g, const real *dy, real *dx, bool accumulate) {
  double t = omp_get_wtime();
  inner->avgpool_backward(g, dy, dx, accumulate);
  add(PART_POOL, t, 0, pool_bytes(g) * (accumulate ? 2 : 1));
}

static void timed_linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  double t = omp_get_wtime();
  inner->linear_forward(g, x, w, b, y);
  add(PART_HEADS_FORWARD, t, linear_flops(g), linear_bytes(g));
}
static void timed_linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  double t = omp_get_wtime();
  inner->linear_backward_data(g, dy, w, dx, accumulate);
  add(PART_HEADS_BACKWARD, t, linear_flops(g), linear_bytes(g));
}
static void timed_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  double t = omp_get_wtime();
  inner->linear_backward_weights(g, x, dy, dw, db, scratch);
  add(PART_HEADS_BACKWARD, t, linear_flops(g), linear_bytes(g));
}

static void timed_match_diversity(const struct match *g, const real *view, int32_t *d, void *scratch) {
  double t = omp_get_wtime();
  inner->match_diversity(g, view, d, scratch);
  add(PART_MATCH, t, match_flops(g), match_bytes(g));
}
static void timed_match_invariance(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch) {
  double t = omp_get_wtime();
  inner->match_invariance(g, from, to, s, scratch);
  add(PART_MATCH, t, match_flops(g), 2 * match_bytes(g));
}

static void timed_loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *scratch) {
  double t = omp_get_wtime();
  inner->loss_byol(g, q, z, scale, value, dq, scratch);
  add(PART_LOSSES, t, 0, 3 * loss_bytes(g));
}
static void timed_loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                            real *dr, void *scratch) {
  double t = omp_get_wtime();
  inner->loss_rdem(g, r, d, stopgrad, scale, value, dr, scratch);
  add(PART_LOSSES, t, 0, 3 * loss_bytes(g));
}
static void timed_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale,
                                     double *value, real *dr, void *scratch) {
  double t = omp_get_wtime();
  inner->loss_rdem_instance(g, r, g_target, neg, scale, value, dr, scratch);
  add(PART_LOSSES, t, 0, 4 * loss_bytes(g));
}
static void timed_loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value,
                            real *dp, void *scratch) {
  double t = omp_get_wtime();
  inner->loss_riem(g, p, g_target, s, scale, value, dp, scratch);
  add(PART_LOSSES, t, 0, 4 * loss_bytes(g));
}

static void timed_store_activations(ptrdiff_t n, const real *x, real *y) {
  double t = omp_get_wtime();
  inner->store_activations(n, x, y);
  add(PART_MEMORY, t, 0, reals((double)n) + activations((double)n));
}

static void timed_loss_collect(ptrdiff_t b, const struct loss_values *v, double share, struct loss_sums *sums) {
  double t = omp_get_wtime();
  inner->loss_collect(b, v, share, sums);
  add(PART_LOSSES, t, 0, 0);
}

static void timed_lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  double t = omp_get_wtime();
  inner->lars_update(o, size, adapt, lr, g, w, m);
  add(PART_OPTIMISER, t, 0, reals((double)size * (adapt ? 7 : 5))); /* the norms read w and g once more */
}
static void timed_ema_update(ptrdiff_t size, double tau, const real *theta, real *xi) {
  double t = omp_get_wtime();
  inner->ema_update(size, tau, theta, xi);
  add(PART_AVERAGE, t, 0, reals(3.0 * (double)size));
}

static void timed_lars_update_all(const struct lars *o, int count, const struct lars_part *part, double lr, const int64_t *halt,
                                  const real *g, real *w, real *m) {
  double t = omp_get_wtime(), elements = 0;
  inner->lars_update_all(o, count, part, lr, halt, g, w, m);
  for (int i = 0; i < count; i++) elements += (double)part[i].size * (part[i].adapt ? 7 : 5);
  add(PART_OPTIMISER, t, 0, reals(elements));
}
static void timed_ema_update_all(int count, const struct ema_part *part, double tau, const int64_t *halt, const real *theta, real *xi) {
  double t = omp_get_wtime(), elements = 0;
  inner->ema_update_all(count, part, tau, halt, theta, xi);
  for (int i = 0; i < count; i++) elements += 3.0 * (double)part[i].size;
  add(PART_AVERAGE, t, 0, reals(elements));
}

const struct backend *profile_backend(const struct backend *other) {
  static struct backend timed;
  inner = other;
  timed = *other;
  timed.copy = timed_copy, timed.zero = timed_zero;
  timed.conv_forward = timed_conv_forward, timed.conv_backward_data = timed_conv_backward_data;
  timed.conv_backward_weights = timed_conv_backward_weights;
  timed.norm_forward_train = timed_norm_forward_train, timed.norm_forward_eval = timed_norm_forward_eval;
  timed.norm_backward_train = timed_norm_backward_train;
  timed.maxpool_forward = timed_maxpool_forward, timed.maxpool_backward = timed_maxpool_backward;
  timed.avgpool_forward = timed_avgpool_forward, timed.avgpool_backward = timed_avgpool_backward;
  timed.linear_forward = timed_linear_forward, timed.linear_backward_data = timed_linear_backward_data;
  timed.linear_backward_weights = timed_linear_backward_weights;
  timed.match_diversity = timed_match_diversity, timed.match_invariance = timed_match_invariance;
  timed.loss_byol = timed_loss_byol, timed.loss_rdem = timed_loss_rdem;
  timed.loss_rdem_instance = timed_loss_rdem_instance, timed.loss_riem = timed_loss_riem;
  timed.loss_collect = timed_loss_collect;
  timed.store_activations = other->store_activations ? timed_store_activations : NULL;
  timed.lars_update = timed_lars_update, timed.ema_update = timed_ema_update;
  timed.lars_update_all = other->lars_update_all ? timed_lars_update_all : NULL;
  timed.ema_update_all = other->ema_update_all ? timed_ema_update_all : NULL;
  return &timed;
}
