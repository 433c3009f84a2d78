/* The reference with activations in bf16: a backend on the host that a right one on a device is compared with, and that oracles are shown.
 *
 * Activations, their gradients and the weights that products read are uint16_t behind the table's pointers. Every operation widens what it
 * reads, is the reference's own in float, and rounds what it leaves once. For one rank: the parts of batch norm over ranks are still
 * the inner ones. real is float. */
#ifndef EDIY_TESTS_SUPPORT_BF16_TABLE_H
#define EDIY_TESTS_SUPPORT_BF16_TABLE_H

#include <stdlib.h>

#include "base/bf16.h"
#include "op/backend.h"

/* The operations that a copy of this goes through: the reference's, or others in float that a test puts here. */
static struct backend bf16_inner;

/* How numbers are rounded: to nearest, unless a test says otherwise. */
static uint16_t (*bf16_rounding)(float x) = bf16_round;

/* n activations as floats in new memory; null for null. */
static inline real *bf16_read(const real *x, ptrdiff_t n) {
  const uint16_t *half = (const void *)x;
  real *wide = x ? malloc((size_t)n * sizeof *wide + 1) : NULL;
  if (x && !wide) abort();
  for (ptrdiff_t i = 0; x && i < n; i++) wide[i] = bf16_widen(half[i]);
  return wide;
}

/* Rounds to where y is, and frees. Null for null. */
static inline void bf16_write(real *y, real *wide, ptrdiff_t n) {
  uint16_t *half = (void *)y;
  for (ptrdiff_t i = 0; y && i < n; i++) half[i] = bf16_rounding(wide[i]);
  free(wide);
}

static void bf16_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  ptrdiff_t out = g->n * g->p * g->q * g->k;
  real *wx = bf16_read(x, g->n * g->h * g->w * g->c), *ww = bf16_read(w, g->k * g->r * g->s * g->c), *wy = bf16_read(y, out);
  bf16_inner.conv_forward(g, wx, ww, wy, scratch);
  bf16_write(y, wy, out), free(wx), free(ww);
}

static void bf16_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch) {
  ptrdiff_t in = g->n * g->h * g->w * g->c;
  real *wdy = bf16_read(dy, g->n * g->p * g->q * g->k), *ww = bf16_read(w, g->k * g->r * g->s * g->c), *wdx = bf16_read(dx, in);
  bf16_inner.conv_backward_data(g, wdy, ww, wdx, accumulate, scratch);
  bf16_write(dx, wdx, in), free(wdy), free(ww);
}

static void bf16_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  real *wx = bf16_read(x, g->n * g->h * g->w * g->c), *wdy = bf16_read(dy, g->n * g->p * g->q * g->k);
  bf16_inner.conv_backward_weights(g, wx, wdy, dw, scratch);
  free(wx), free(wdy);
}

static void bf16_norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                    real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  ptrdiff_t n = g->m * g->c;
  real *wx = bf16_read(x, n), *wr = bf16_read(residual, n), *wy = bf16_read(y, n);
  bf16_inner.norm_forward_train(g, wx, wr, gamma, beta, running_mean, running_var, wy, mean, invstd, scratch);
  bf16_write(y, wy, n), free(wx), free(wr);
}

static void bf16_norm_forward_eval(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                   const real *running_mean, const real *running_var, real *y) {
  ptrdiff_t n = g->m * g->c;
  real *wx = bf16_read(x, n), *wr = bf16_read(residual, n), *wy = bf16_read(y, n);
  bf16_inner.norm_forward_eval(g, wx, wr, gamma, beta, running_mean, running_var, wy);
  bf16_write(y, wy, n), free(wx), free(wr);
}

/* dx may be dy. */
static void bf16_norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                     const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                     void *scratch) {
  ptrdiff_t n = g->m * g->c;
  real *wx = bf16_read(x, n), *wy = bf16_read(y, n), *wdy = bf16_read(dy, n), *wdx = bf16_read(dx, n), *wdr = bf16_read(dresidual, n);
  bf16_inner.norm_backward_train(g, wx, wy, gamma, mean, invstd, wdy, wdx, wdr, dgamma, dbeta, scratch);
  bf16_write(dx, wdx, n), bf16_write(dresidual, wdr, n), free(wx), free(wy), free(wdy);
}

static void bf16_maxpool_forward(const struct pool *g, const real *x, real *y, int32_t *index) {
  ptrdiff_t out = g->n * maxpool_out(g->h) * maxpool_out(g->w) * g->c;
  real *wx = bf16_read(x, g->n * g->h * g->w * g->c), *wy = bf16_read(y, out);
  bf16_inner.maxpool_forward(g, wx, wy, index);
  bf16_write(y, wy, out), free(wx);
}

static void bf16_maxpool_backward(const struct pool *g, const real *dy, const int32_t *index, real *dx) {
  ptrdiff_t in = g->n * g->h * g->w * g->c;
  real *wdy = bf16_read(dy, g->n * maxpool_out(g->h) * maxpool_out(g->w) * g->c), *wdx = bf16_read(dx, in);
  bf16_inner.maxpool_backward(g, wdy, index, wdx);
  bf16_write(dx, wdx, in), free(wdy);
}

static void bf16_avgpool_forward(const struct pool *g, const real *x, real *y) {
  real *wx = bf16_read(x, g->n * g->h * g->w * g->c), *wy = bf16_read(y, g->n * g->c);
  bf16_inner.avgpool_forward(g, wx, wy);
  bf16_write(y, wy, g->n * g->c), free(wx);
}

static void bf16_avgpool_backward(const struct pool *g, const real *dy, real *dx, bool accumulate) {
  ptrdiff_t in = g->n * g->h * g->w * g->c;
  real *wdy = bf16_read(dy, g->n * g->c), *wdx = bf16_read(dx, in);
  bf16_inner.avgpool_backward(g, wdy, wdx, accumulate);
  bf16_write(dx, wdx, in), free(wdy);
}

static void bf16_linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  real *wx = bf16_read(x, g->m * g->i), *ww = bf16_read(w, g->o * g->i), *wy = bf16_read(y, g->m * g->o);
  bf16_inner.linear_forward(g, wx, ww, b, wy);
  bf16_write(y, wy, g->m * g->o), free(wx), free(ww);
}

static void bf16_linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  real *wdy = bf16_read(dy, g->m * g->o), *ww = bf16_read(w, g->o * g->i), *wdx = bf16_read(dx, g->m * g->i);
  bf16_inner.linear_backward_data(g, wdy, ww, wdx, accumulate);
  bf16_write(dx, wdx, g->m * g->i), free(wdy), free(ww);
}

static void bf16_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  real *wx = bf16_read(x, g->m * g->i), *wdy = bf16_read(dy, g->m * g->o);
  bf16_inner.linear_backward_weights(g, wx, wdy, dw, db, scratch);
  free(wx), free(wdy);
}

static void bf16_match_diversity(const struct match *g, const real *t, int32_t *d, void *scratch) {
  real *wt = bf16_read(t, g->b * g->n * g->c);
  bf16_inner.match_diversity(g, wt, d, scratch);
  free(wt);
}

static void bf16_match_invariance(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch) {
  real *wide_from = bf16_read(from, g->b * g->n * g->c), *wide_to = bf16_read(to, g->b * g->n * g->c);
  bf16_inner.match_invariance(g, wide_from, wide_to, s, scratch);
  free(wide_from), free(wide_to);
}

static void bf16_loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *scratch) {
  ptrdiff_t n = g->b * g->n * g->c;
  real *wq = bf16_read(q, n), *wz = bf16_read(z, n), *wdq = bf16_read(dq, n);
  bf16_inner.loss_byol(g, wq, wz, scale, value, wdq, scratch);
  bf16_write(dq, wdq, n), free(wq), free(wz);
}

static void bf16_loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                           real *dr, void *scratch) {
  ptrdiff_t n = g->b * g->n * g->c;
  real *wr = bf16_read(r, n), *wdr = bf16_read(dr, n);
  bf16_inner.loss_rdem(g, wr, d, stopgrad, scale, value, wdr, scratch);
  bf16_write(dr, wdr, n), free(wr);
}

static void bf16_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale,
                                    double *value, real *dr, void *scratch) {
  ptrdiff_t n = g->b * g->n * g->c;
  real *wr = bf16_read(r, n), *wg = bf16_read(g_target, n), *wdr = bf16_read(dr, n);
  bf16_inner.loss_rdem_instance(g, wr, wg, neg, scale, value, wdr, scratch);
  bf16_write(dr, wdr, n), free(wr), free(wg);
}

static void bf16_loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value,
                           real *dp, void *scratch) {
  ptrdiff_t n = g->b * g->n * g->c;
  real *wp = bf16_read(p, n), *wg = bf16_read(g_target, n), *wdp = bf16_read(dp, n);
  bf16_inner.loss_riem(g, wp, wg, s, scale, value, wdp, scratch);
  bf16_write(dp, wdp, n), free(wp), free(wg);
}

static void bf16_store_activations(ptrdiff_t n, const real *x, real *y) {
  uint16_t *half = (void *)y;
  for (ptrdiff_t i = 0; i < n; i++) half[i] = bf16_rounding(x[i]);
}

/* The table over these operations in float, whose memory is the host's. One at a time. */
static inline struct backend backend_bf16_over(const struct backend *inner) {
  bf16_inner = *inner;
  struct backend b = *inner;
  b.name = "bf16 on the host";
  b.activation_size = sizeof(uint16_t);
  b.store_activations = bf16_store_activations;
  b.conv_forward = bf16_conv_forward;
  b.conv_norm_forward_eval = NULL;
  b.conv_backward_data = bf16_conv_backward_data;
  b.conv_backward_weights = bf16_conv_backward_weights;
  b.norm_forward_train = bf16_norm_forward_train;
  b.norm_forward_eval = bf16_norm_forward_eval;
  b.norm_backward_train = bf16_norm_backward_train;
  b.maxpool_forward = bf16_maxpool_forward;
  b.maxpool_backward = bf16_maxpool_backward;
  b.avgpool_forward = bf16_avgpool_forward;
  b.avgpool_backward = bf16_avgpool_backward;
  b.linear_forward = bf16_linear_forward;
  b.linear_backward_data = bf16_linear_backward_data;
  b.linear_backward_weights = bf16_linear_backward_weights;
  b.match_diversity = bf16_match_diversity;
  b.match_invariance = bf16_match_invariance;
  b.loss_byol = bf16_loss_byol;
  b.loss_rdem = bf16_loss_rdem;
  b.loss_rdem_instance = bf16_loss_rdem_instance;
  b.loss_riem = bf16_loss_riem;
  return b;
}

#endif
