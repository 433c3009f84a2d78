/* The reference backend: the table filled with the functions of this folder. */
#define _GNU_SOURCE /* MAP_ANONYMOUS, madvise */
#include "op/backend.h"

#include <omp.h>
#include <string.h>
#include <sys/mman.h>

#include "base/arena.h"

static bool host_reserve(size_t bytes, void **memory, struct error *err) {
  struct arena arena;
  if (!arena_create(&arena, bytes, err)) return false;
  *memory = arena.base;
  return true;
}

static void host_release(void *memory, size_t bytes) {
  struct arena arena = {.base = memory, .size = arena_size(bytes)};
  arena_destroy(&arena);
}

static void host_copy(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
static void host_zero(void *to, size_t bytes) { memset(to, 0, bytes); }
static bool host_status(struct error *err) { return (void)err, true; }

static size_t reals(ptrdiff_t n) { return arena_bytes(n, sizeof(real)); }
static size_t doubles(ptrdiff_t n) { return arena_bytes(n, sizeof(double)); }

static size_t host_conv_scratch(const struct conv *g) { return reals(conv_scratch(g, omp_get_max_threads())); }
static size_t host_norm_scratch(const struct norm *g) { return doubles(norm_scratch(g)); }
static size_t host_linear_scratch(const struct linear *g) { return reals(linear_scratch(g, omp_get_max_threads())); }
static size_t host_match_scratch(const struct match *g) { return doubles(match_scratch(g)); }
static size_t host_loss_scratch(const struct loss *g) { return doubles(loss_scratch(g)); }

/* The table's scratch has no type; the functions' have. */
static void host_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  conv_forward(g, x, w, y, scratch);
}
static void host_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch) {
  conv_backward_data(g, dy, w, dx, accumulate, scratch);
}
static void host_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  conv_backward_weights(g, x, dy, dw, scratch);
}
static void host_norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                    real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  norm_forward_train(g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
}
static void host_norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                     const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                     void *scratch) {
  norm_backward_train(g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
}
static void host_norm_rank_moments(const struct norm *g, const real *x, double *sums, void *scratch) {
  norm_rank_moments(g, x, sums, scratch);
}
static void host_norm_rank_gradient(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd,
                                    const real *dy, real *dgamma, real *dbeta, double *sums, void *scratch) {
  norm_rank_gradient(g, x, y, mean, invstd, dy, dgamma, dbeta, sums, scratch);
}
static void host_norm_rank_backward(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                                    const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, void *scratch) {
  norm_rank_backward(g, ranks, sums, x, y, gamma, mean, invstd, dy, dx, dresidual, scratch);
}
static void host_rank_mean(int ranks, ptrdiff_t n, const real *parts, real *to) {
#pragma omp parallel for schedule(static)
  for (ptrdiff_t i = 0; i < n; i++) {
    double sum = 0;
    for (int k = 0; k < ranks; k++) sum += (double)parts[k * n + i];
    to[i] = (real)(sum / ranks);
  }
}
static void host_conv_norm_forward_eval(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                        const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                        void *scratch) {
  conv_norm_forward_eval(g, n, x, w, residual, gamma, beta, running_mean, running_var, y, scratch);
}
static void host_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  linear_backward_weights(g, x, dy, dw, db, scratch);
}
static void host_match_diversity(const struct match *g, const real *t, int32_t *d, void *scratch) { match_diversity(g, t, d, scratch); }
static void host_match_invariance(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch) {
  match_invariance(g, from, to, s, scratch);
}
static void host_loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *scratch) {
  loss_byol(g, q, z, scale, value, dq, scratch);
}
static void host_loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                           real *dr, void *scratch) {
  loss_rdem(g, r, d, stopgrad, scale, value, dr, scratch);
}
static void host_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale,
                                    double *value, real *dr, void *scratch) {
  loss_rdem_instance(g, r, g_target, neg, scale, value, dr, scratch);
}
static void host_loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value,
                           real *dp, void *scratch) {
  loss_riem(g, p, g_target, s, scale, value, dp, scratch);
}

const struct backend *backend_reference(void) {
  static const struct backend table = {.name = "reference",
                                       .activation_size = sizeof(real),
                                       .reserve = host_reserve,
                                       .release = host_release,
                                       .upload = host_copy,
                                       .download = host_copy,
                                       .copy = host_copy,
                                       .zero = host_zero,
                                       .available = memory_available,
                                       .status = host_status,
                                       .conv_scratch = host_conv_scratch,
                                       .norm_scratch = host_norm_scratch,
                                       .linear_scratch = host_linear_scratch,
                                       .match_scratch = host_match_scratch,
                                       .loss_scratch = host_loss_scratch,
                                       .conv_chain = conv_chain,
                                       .conv_forward = host_conv_forward,
                                       .conv_backward_data = host_conv_backward_data,
                                       .conv_backward_weights = host_conv_backward_weights,
                                       .norm_forward_train = host_norm_forward_train,
                                       .norm_forward_eval = norm_forward_eval,
                                       .norm_backward_train = host_norm_backward_train,
                                       .norm_rank_moments = host_norm_rank_moments,
                                       .norm_rank_forward = norm_rank_forward,
                                       .norm_rank_gradient = host_norm_rank_gradient,
                                       .norm_rank_backward = host_norm_rank_backward,
                                       .rank_mean = host_rank_mean,
                                       .maxpool_forward = maxpool_forward,
                                       .maxpool_backward = maxpool_backward,
                                       .avgpool_forward = avgpool_forward,
                                       .avgpool_backward = avgpool_backward,
                                       .linear_forward = linear_forward,
                                       .linear_backward_data = linear_backward_data,
                                       .linear_backward_weights = host_linear_backward_weights,
                                       .match_diversity = host_match_diversity,
                                       .match_invariance = host_match_invariance,
                                       .loss_byol = host_loss_byol,
                                       .loss_rdem = host_loss_rdem,
                                       .loss_rdem_instance = host_loss_rdem_instance,
                                       .loss_riem = host_loss_riem,
                                       .loss_collect = loss_collect,
                                       .halt_unless_finite = halt_unless_finite,
                                       .lars_update = lars_update,
                                       .ema_update = ema_update,
                                       .conv_norm_forward_eval = host_conv_norm_forward_eval};
  return &table;
}
