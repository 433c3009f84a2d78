/* LARS and the moving average, plainly, in float. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/mutants/plain.h"

static float bf16(float x) { return (float)number_round(&precision_classes[PRECISION_BF16].out, (double)x); }
static float fp16(float x) { return (float)number_round(&precision_classes[PRECISION_FP16].out, (double)x); }

/* ---- LARS ---------------------------------------------------------------------------------------------------------------------------- */

/* |x + decay w| over the whole tensor; w may be null. */
static double norm(ptrdiff_t size, const float *x, float decay, const float *w) {
  ptrdiff_t counted = size;
  if (FAULT(LARS_NORM_LAST) && size > 1) counted--;
  if (FAULT(LARS_NORM_HALF)) counted = (size + 1) / 2;
  sum_begin(FAULT_NONE);
  for (ptrdiff_t i = 0; i < counted; i++) {
    float v = w ? x[i] + decay * w[i] : x[i];
    sum_term(v, v);
  }
  float squares = sum_total();
  return FAULT(LARS_NO_ROOT) ? (double)squares : sqrt((double)squares);
}

static double trust_ratio(const struct lars *o, ptrdiff_t size, const float *g, const float *w) {
  bool byol = (o->variant == LARS_BYOL) != FAULT(LARS_DIVISOR);
  float decay = (float)o->weight_decay;
  if (FAULT(LARS_DECAY_OUTSIDE)) decay = 0;
  double w_norm = norm(size, w, 0, NULL), divisor = byol ? norm(size, g, decay, w) : norm(size, g, 0, NULL) + o->weight_decay * w_norm;
  if (FAULT(LARS_NO_TRUST) || !(w_norm > 0 && divisor > 0)) return 1;
  if (FAULT(LARS_EPS)) divisor += 1e-3;
  double ratio = (FAULT(LARS_TRUST_TWICE) ? 0.01 : o->trust) * (FAULT(LARS_INVERSE) ? divisor / w_norm : w_norm / divisor);
  return FAULT(LARS_CLIPPED) ? fmin(ratio, 0.001) : ratio;
}

/* The learning rate of the call before, for a schedule that is a step behind. */
static double rate(double lr) {
  static double before;
  double used = FAULT(LARS_LR_BEFORE) && plain_calls(CALL_LARS) > 1 ? before : lr;
  before = lr;
  return FAULT(LARS_LR_FACTOR) ? used * 1.0001 : used;
}

void plain_lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const float *g, float *w, float *m) {
  plain_begin(CALL_LARS);
  bool byol = (o->variant == LARS_BYOL) != FAULT(LARS_VARIANT), zero = true;
  bool decays = adapt || FAULT(LARS_DECAYS_ALL), adapts = adapt || FAULT(LARS_ADAPTS_ALL);
  float decay = decays && !FAULT(LARS_NO_DECAY) ? (float)o->weight_decay : 0, mu = FAULT(LARS_NO_MOMENTUM) ? 0 : (float)o->momentum;
  float ratio = adapts ? (float)trust_ratio(o, size, g, w) : 1, step = (float)rate(lr), into_m = byol ? 1 : step, into_w = byol ? step : 1;
  for (ptrdiff_t i = 0; i < size; i++) zero = zero && g[i] == 0;
  if (zero && FAULT(LARS_ZERO_SKIPPED)) return;
  ptrdiff_t end = FAULT(LARS_TAIL) ? size / 4 * 4 : size;
  for (ptrdiff_t i = 0; i < end; i++) {
    float gradient = FAULT(LARS_G_FP16) ? fp16(g[i]) : g[i], d = (gradient + decay * w[i]) * ratio, old = m[i];
    if (FAULT(LARS_DECOUPLED)) d = gradient * ratio + decay * w[i];
    float fresh = mu * m[i] + into_m * (FAULT(LARS_DAMPED) ? (1 - mu) * d : d);
    if (FAULT(LARS_M_BF16)) fresh = bf16(fresh);
    if (!(FAULT(LARS_M_LAST) && i == size - 1)) m[i] = fresh;
    float moved = FAULT(LARS_NESTEROV) ? into_m * d + mu * fresh : FAULT(LARS_OLD_M) ? old : fresh;
    w[i] = FAULT(LARS_SIGN) ? w[i] + into_w * moved : w[i] - into_w * moved;
    if (FAULT(LARS_W_BF16)) w[i] = bf16(w[i]);
  }
}

/* ---- moving average ------------------------------------------------------------------------------------------------------------------ */

/* The online weights of the call before, if they were as many. */
static const float *pre_step(ptrdiff_t size, const float *theta) {
  static float *kept, *last;
  static ptrdiff_t kept_size;
  float *fresh = realloc(last, (size_t)size * sizeof *fresh); /* last: what was current in the call before */
  if (!fresh) abort();
  last = kept;
  kept = fresh;
  bool known = last && kept_size == size && plain_calls(CALL_EMA) > 1;
  kept_size = size;
  memcpy(kept, theta, (size_t)size * sizeof *kept);
  return known ? last : theta;
}

static double tau_of(double tau) {
  static double before;
  double used = FAULT(EMA_TAU_BEFORE) && plain_calls(CALL_EMA) > 1 ? before : tau;
  before = tau;
  if (FAULT(EMA_SWAPPED)) used = 1 - used;
  if (FAULT(EMA_FIXED)) used = 0.99;
  if (FAULT(EMA_COPY)) used = 0;
  if (FAULT(EMA_ROUNDED_TAU)) used = number_round(&precision_classes[PRECISION_BF16].out, used);
  return used;
}

void plain_ema_update(ptrdiff_t size, double tau, const float *theta, float *xi) {
  plain_begin(CALL_EMA);
  tau = tau_of(tau);
  float share = (float)(1 - tau);
  if (FAULT(EMA_FACTOR)) share *= 1.0001f;
  if (FAULT(EMA_SIGN)) share = -share;
  if (FAULT(EMA_NONE)) return;
  if (FAULT(EMA_BEFORE)) theta = pre_step(size, theta);
  ptrdiff_t end = FAULT(EMA_TAIL) ? size / 4 * 4 : size;
  for (ptrdiff_t i = 0; i < end; i++) {
    float increment = share * (theta[i] - xi[i]);
    if (FAULT(EMA_FP16)) increment = fp16(increment);
    xi[i] = tau == 0 ? theta[i] : xi[i] + increment;
    if (FAULT(EMA_TWICE)) xi[i] += share * (theta[i] - xi[i]);
    if (FAULT(EMA_BF16)) xi[i] = bf16(xi[i]);
  }
}
