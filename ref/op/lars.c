#include "op/lars.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "op/sum.h"

/* A tensor is cut into at most 64 chunks by its size alone: the partial sums fit on the stack, and there is work for 64 threads. */
enum { MAX_CHUNKS = 64, MIN_CHUNK = 1 << 13 };

/* Sum of (g + decay w)^2, in the order of sum_products. */
static double decayed_squares(ptrdiff_t size, const real *g, double decay, const real *w) {
  enum { LANES = 8 };
  double lane[LANES] = {0}, sum = 0;
  ptrdiff_t whole = size / LANES * LANES;
  for (ptrdiff_t i = 0; i < whole; i += LANES)
    for (int l = 0; l < LANES; l++) {
      double d = (double)g[i + l] + decay * (double)w[i + l];
      lane[l] += d * d;
    }
  for (ptrdiff_t i = whole; i < size; i++) {
    double d = (double)g[i] + decay * (double)w[i];
    lane[i - whole] += d * d;
  }
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

/* What multiplies d: trust |w| / |d|, or trust |w| / (|g| + wd |w|), or 1 where a norm is 0. */
static double trust_ratio(const struct lars *o, ptrdiff_t size, const real *g, const real *w) {
  double w_squares[MAX_CHUNKS], d_squares[MAX_CHUNKS], w_sum = 0, d_sum = 0;
  double decay = o->variant == LARS_BYOL ? o->weight_decay : 0.0; /* inside the norm, or added to it */
  ptrdiff_t chunk = size_max(MIN_CHUNK, size_ceil_div(size, MAX_CHUNKS)), chunks = size_ceil_div(size, chunk);
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (ptrdiff_t k = 0; k < chunks; k++) {
    ptrdiff_t at = k * chunk, n = size_min(chunk, size - at);
    w_squares[k] = sum_products(n, w + at, w + at);
    d_squares[k] = decayed_squares(n, g + at, decay, w + at);
  }
  for (ptrdiff_t k = 0; k < chunks; k++) w_sum += w_squares[k], d_sum += d_squares[k];
  double w_norm = sqrt(w_sum), d_norm = sqrt(d_sum);
  double divisor = o->variant == LARS_BYOL ? d_norm : d_norm + o->weight_decay * w_norm;
  return w_norm > 0 && divisor > 0 ? o->trust * w_norm / divisor : 1.0;
}

void lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  double decay = adapt ? o->weight_decay : 0.0, ratio = adapt ? trust_ratio(o, size, g, w) : 1.0;
  double into_m = o->variant == LARS_BYOL ? 1.0 : lr, into_w = o->variant == LARS_BYOL ? lr : 1.0;
#pragma omp parallel for simd schedule(static) if (parallel : size > MIN_CHUNK)
  for (ptrdiff_t i = 0; i < size; i++) {
    double d = ((double)g[i] + decay * (double)w[i]) * ratio;
    m[i] = (real)(o->momentum * (double)m[i] + into_m * d);
    w[i] = (real)((double)w[i] - into_w * (double)m[i]);
  }
}

void ema_update(ptrdiff_t size, double tau, const real *theta, real *xi) {
  if (tau == 0) { /* xi + (theta - xi) need not be theta in floating point */
    memcpy(xi, theta, (size_t)size * sizeof(real));
    return;
  }
#pragma omp parallel for simd schedule(static) if (parallel : size > MIN_CHUNK)
  for (ptrdiff_t i = 0; i < size; i++) xi[i] = (real)((double)xi[i] + (1.0 - tau) * ((double)theta[i] - (double)xi[i]));
}
