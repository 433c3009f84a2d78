/* Batch norm with residual and ReLU, plainly, statistics in float. */
#include <math.h>

#include "oracle/mutants/plain.h"

static float relu(float v) {
  if (FAULT(NORM_NO_RELU)) return v;
  if (FAULT(NORM_LEAKY) && v < 0) return 0.01f * v;
  if (FAULT(NORM_SIX) && v > 6) return 6;
  if (v != v) return FAULT(NORM_RELU_NAN) ? 0 : v;
  return v > 0 ? v : 0;
}

static float tf32(float x) { return (float)number_round(&precision_classes[PRECISION_TF32].in, (double)x); }
static float bf16(float x) { return (float)number_round(&precision_classes[PRECISION_BF16].in, (double)x); }

static float x_at(const struct norm *g, const float *x, ptrdiff_t i, ptrdiff_t c) {
  float v = plain_in(x[i * g->c + c]);
  return FAULT(NORM_X_TF32) ? tf32(v) : v;
}

/* ---- statistics ---------------------------------------------------------------------------------------------------------------------- */

static void moments(const struct norm *g, const float *x, ptrdiff_t c, float *mean, float *variance) {
  ptrdiff_t rows = g->m;
  if (FAULT(NORM_HALF_BATCH) && g->m > 1) rows = g->m / 2;
  if (FAULT(NORM_LAST_ROW) && g->m > 1) rows = g->m - 1;
  sum_begin(FAULT_NONE);
  for (ptrdiff_t i = 0; i < rows; i++) sum_term(x_at(g, x, i, c), 1);
  *mean = sum_total() / (float)rows;
  if (FAULT(NORM_MEAN_BF16)) *mean = bf16(*mean);
  /* Differences are not inputs: they are summed as they are, at any precision. */
  struct chain squares = {0};
  for (ptrdiff_t i = 0; i < rows; i++) {
    float d = FAULT(NORM_ONE_PASS) ? x_at(g, x, i, c) : x_at(g, x, i, c) - *mean;
    chain_add(&squares, d * d);
  }
  *variance = chain_sum(&squares) / (float)rows;
  if (FAULT(NORM_ONE_PASS)) *variance = fmaxf(*variance - *mean * *mean, 0);
}

static float inverse_deviation(const struct norm *g, float variance) {
  float eps = (float)g->eps;
  if (FAULT(NORM_NO_EPS)) eps = 0;
  if (FAULT(NORM_EPS_3)) eps = 1e-3f;
  if (FAULT(NORM_UNBIASED) && g->m > 1) variance *= (float)g->m / (float)(g->m - 1);
  if (FAULT(NORM_EPS_OUTSIDE)) return 1 / (sqrtf(variance) + eps);
  float inverse = 1 / sqrtf(variance + eps);
  return FAULT(NORM_ROOT) ? tf32(inverse) : inverse;
}

static void update(const struct norm *g, float *running, float value) {
  float momentum = (float)g->momentum;
  if (FAULT(NORM_MOMENTUM)) momentum = 1 - momentum;
  if (FAULT(NORM_MOMENTUM_2)) momentum *= 2;
  if (FAULT(NORM_RUNNING_FACTOR)) momentum *= 1.0001f;
  *running = plain_out(*running + momentum * (value - *running));
  if (FAULT(NORM_RUNNING_TWICE)) *running += momentum * (value - *running);
  if (FAULT(NORM_RUNNING_BF16)) *running = bf16(*running);
}

static void update_running(const struct norm *g, ptrdiff_t c, float mean, float variance, float *running_mean, float *running_var) {
  float m = (float)g->m, unbiased = g->m > 1 && !FAULT(NORM_RUNNING_BIASED) ? variance * (m / (m - 1)) : variance;
  if (FAULT(NORM_RUNNING_LAST) && c == g->c - 1) return;
  if (FAULT(NORM_RUNNING_STD)) unbiased = sqrtf(unbiased);
  if (FAULT(NORM_RUNNING_EPS)) unbiased += (float)g->eps;
  running_mean[c] = plain_in(running_mean[c]);
  running_var[c] = plain_in(running_var[c]);
  if (!FAULT(NORM_RUNNING_NONE)) update(g, &running_mean[c], mean);
  update(g, &running_var[c], unbiased);
}

/* ---- forward ------------------------------------------------------------------------------------------------------------------------- */

static void normalise(const struct norm *g, const float *x, const float *residual, const float *gamma, const float *beta, ptrdiff_t c,
                      float mean, float invstd, float *y) {
  float slope = plain_in(gamma[FAULT(NORM_GAMMA_SHIFT) ? (c + 1) % g->c : c]), shift = FAULT(NORM_NO_BETA) ? 0 : plain_in(beta[c]);
  for (ptrdiff_t i = 0; i < g->m; i++) {
    ptrdiff_t at = i * g->c + c;
    float added = residual && !FAULT(NORM_NO_RESIDUAL) ? plain_in(residual[at]) : 0, v = (x_at(g, x, i, c) - mean) * invstd;
    if (FAULT(NORM_RESIDUAL_SCALED)) {
      v = slope * (v + added) + shift;
    } else if (FAULT(NORM_RELU_FIRST) && g->relu) {
      v = relu(slope * v + shift) + added;
    } else {
      v = slope * v + shift + added;
    }
    if (g->relu && !FAULT(NORM_RELU_FIRST)) v = relu(v);
    if (FAULT(NORM_Y_FACTOR)) v *= 1.00001f;
    if (FAULT(NORM_LAST_ELEMENT) && at == g->m * g->c - 1) continue;
    y[at] = plain_out(v);
  }
}

void plain_norm_forward_train(const struct norm *g, const float *x, const float *residual, const float *gamma, const float *beta,
                              float *running_mean, float *running_var, float *y, double *mean, double *invstd, void *scratch) {
  (void)scratch;
  plain_begin(CALL_NORM_TRAIN);
  float before = 0;
  for (ptrdiff_t c = 0; c < g->c; c++) {
    float mu, variance;
    moments(g, x, c, &mu, &variance);
    mean[c] = (double)mu;
    invstd[c] = (double)inverse_deviation(g, variance);
    update_running(g, c, mu, variance, running_mean, running_var);
    normalise(g, x, residual, gamma, beta, c, FAULT(NORM_MEAN_SHIFT) && c > 0 ? before : mu, (float)invstd[c], y);
    before = mu;
  }
}

void plain_norm_forward_eval(const struct norm *g, const float *x, const float *residual, const float *gamma, const float *beta,
                             const float *running_mean, const float *running_var, float *y) {
  plain_begin(CALL_NORM_EVAL);
  for (ptrdiff_t c = 0; c < g->c; c++) {
    float mean = plain_in(running_mean[c]), variance = plain_in(running_var[c]);
    if (FAULT(NORM_EVAL_BATCH)) moments(g, x, c, &mean, &variance);
    float invstd = FAULT(NORM_EVAL_NO_EPS) ? 1 / sqrtf(variance) : inverse_deviation(g, variance);
    normalise(g, x, residual, gamma, beta, c, mean, invstd, y);
  }
}

/* ---- backward ------------------------------------------------------------------------------------------------------------------------ */

/* The gradient behind the ReLU. */
static float masked(const struct norm *g, const float *x, const float *y, const float *dy, ptrdiff_t i, ptrdiff_t c) {
  ptrdiff_t at = i * g->c + c;
  float d = plain_in(dy[at]);
  if (FAULT(NORM_DX_TF32)) d = tf32(d);
  if (!g->relu || FAULT(NORM_NO_MASK)) return d;
  if (FAULT(NORM_MASK_LAST) && i == g->m - 1) return d;
  if (FAULT(NORM_MASK_GE)) return y[at] >= 0 ? d : 0;
  if (FAULT(NORM_MASK_DY)) return d > 0 ? d : 0;
  if (FAULT(NORM_MASK_X)) return x[at] > 0 ? d : 0;
  return y[at] > 0 ? d : 0;
}

/* Sums over rows of d and d xhat, and the two gradients of parameters. */
static void gradient_sums(const struct norm *g, const float *x, const float *y, ptrdiff_t c, float mean, float invstd, const float *dy,
                          float *sum, float *product, float *dgamma, float *dbeta) {
  struct chain s = {0}, p = {0}, unmasked = {0}, raw = {0};
  float half_s = 0, half_p = 0, last_s = 0, last_p = 0;
  for (ptrdiff_t i = 0; i < g->m; i++) {
    float d = masked(g, x, y, dy, i, c), difference = x_at(g, x, i, c) - mean;
    last_s = chain_sum(&s), last_p = chain_sum(&p);
    chain_add(&s, d);
    chain_add(&p, d * (difference * invstd));
    chain_add(&raw, d * difference);
    chain_add(&unmasked, plain_in(dy[i * g->c + c]));
    if (i + 1 == g->m / 2) half_s = chain_sum(&s), half_p = chain_sum(&p);
  }
  *sum = chain_sum(&s), *product = chain_sum(&p);
  float beta = FAULT(NORM_DBETA_UNMASKED) ? chain_sum(&unmasked) : FAULT(NORM_DBETA_LAST_ROW) ? last_s : *sum;
  float gamma = FAULT(NORM_DGAMMA_X) ? chain_sum(&raw) : FAULT(NORM_DGAMMA_LAST_ROW) ? last_p : *product;
  if (FAULT(NORM_DGAMMA_MEAN)) gamma /= (float)g->m;
  dbeta[c] = plain_out(FAULT(NORM_DBETA_OVERWRITES) ? beta : plain_in(dbeta[c]) + beta);
  dgamma[c] = plain_out(FAULT(NORM_DGAMMA_OVERWRITES) ? gamma : plain_in(dgamma[c]) + gamma);
  if (FAULT(NORM_DX_HALF) && g->m > 1) *sum = 2 * half_s, *product = 2 * half_p;
}

void plain_norm_backward_train(const struct norm *g, const float *x, const float *y, const float *gamma, const double *mean,
                               const double *invstd, const float *dy, float *dx, float *dresidual, float *dgamma, float *dbeta,
                               void *scratch) {
  (void)scratch;
  plain_begin(CALL_NORM_BACKWARD);
  for (ptrdiff_t c = 0; c < g->c; c++) {
    float mu = (float)mean[c], inverse = (float)invstd[c], sum, product;
    gradient_sums(g, x, y, c, mu, inverse, dy, &sum, &product, dgamma, dbeta);
    float m = (float)(FAULT(NORM_DX_UNBIASED) && g->m > 1 ? g->m - 1 : g->m);
    float mean_d = sum / m, mean_dxhat = product / m, slope = FAULT(NORM_DX_NO_GAMMA) ? 1 : plain_in(gamma[c]);
    if (FAULT(NORM_DX_NO_MEAN) || FAULT(NORM_DX_CONSTANT)) mean_d = 0;
    if (FAULT(NORM_DX_NO_XHAT) || FAULT(NORM_DX_CONSTANT)) mean_dxhat = 0;
    if (!FAULT(NORM_DX_NO_INVSTD)) slope *= inverse;
    if (FAULT(NORM_DX_FACTOR)) slope *= 1.00001f;
    for (ptrdiff_t i = 0; i < g->m; i++) { /* dx may be dy */
      ptrdiff_t at = i * g->c + c;
      float d = masked(g, x, y, dy, i, c), xhat = (x_at(g, x, i, c) - mu) * inverse;
      float raw = dy[at], gradient = slope * ((d - mean_d) - xhat * mean_dxhat);
      if (dresidual) dresidual[at] = plain_out(FAULT(NORM_DRESIDUAL_UNMASKED) ? raw : FAULT(NORM_DRESIDUAL_DX) ? gradient : d);
      dx[at] = plain_out(FAULT(NORM_DX_ADDS) ? dx[at] + gradient : gradient);
    }
  }
}
