#include "op/lars.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

enum { WORTH_SHARING = 1 << 13 /* elements of an update, with several threads */ };

/* Elements of a piece of a tensor of this size. */
static ptrdiff_t piece_size(ptrdiff_t size) { return size_max(LARS_PIECE_LEAST, size_ceil_div(size, LARS_LANES)); }

/* The sum of all lanes, which are overwritten. The tree of a group adds sums that are 16 lanes apart, then 8, 4, 2 and 1, as a GPU's warp
 * does by shuffles; then one group is added after the other. */
static double join(double lane[LARS_LANES]) {
  double sum = 0;
  for (int group = 0; group < LARS_LANES; group += LARS_GROUP) {
    for (int apart = LARS_GROUP / 2; apart > 0; apart /= 2)
      for (int l = group; l < group + apart; l++) lane[l] += lane[l + apart];
    sum += lane[group];
  }
  return sum;
}

/* The sums of w^2 and of (g + decay w)^2 over a piece. */
static void piece_squares(ptrdiff_t size, const real *g, double decay, const real *w, double *w_square, double *d_square) {
  double of_w[LARS_LANES] = {0}, of_d[LARS_LANES] = {0};
  for (ptrdiff_t first = 0; first < size; first += LARS_LANES, g += LARS_LANES, w += LARS_LANES)
    for (ptrdiff_t l = 0; l < size_min(LARS_LANES, size - first); l++) {
      double wl = (double)w[l], d = (double)g[l] + decay * wl;
      of_w[l] += wl * wl;
      of_d[l] += d * d;
    }
  *w_square = join(of_w), *d_square = join(of_d);
}

/* What multiplies d: trust |w| / |d|, or trust |w| / (|g| + wd |w|), or 1 where a norm is 0. */
static double trust_ratio(const struct lars *o, ptrdiff_t size, const real *g, const real *w) {
  double w_squares[LARS_LANES] = {0}, d_squares[LARS_LANES] = {0};
  double decay = o->variant == LARS_BYOL ? o->weight_decay : 0.0; /* inside the norm; openselfsup adds it outside, below */
  ptrdiff_t piece = piece_size(size), pieces = size_ceil_div(size, piece);
#pragma omp parallel for schedule(static) if (pieces > 1)
  for (ptrdiff_t k = 0; k < pieces; k++)
    piece_squares(size_min(piece, size - k * piece), g + k * piece, decay, w + k * piece, &w_squares[k], &d_squares[k]);
  double w_norm = sqrt(join(w_squares)), d_norm = sqrt(join(d_squares));
  double divisor = o->variant == LARS_BYOL ? d_norm : d_norm + o->weight_decay * w_norm;
  return w_norm > 0 && divisor > 0 ? o->trust * w_norm / divisor : 1.0;
}

void lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  double decay = adapt ? o->weight_decay : 0.0, ratio = adapt ? trust_ratio(o, size, g, w) : 1.0;
  double into_m = o->variant == LARS_BYOL ? 1.0 : lr, into_w = o->variant == LARS_BYOL ? lr : 1.0;
#pragma omp parallel for simd schedule(static) if (parallel : size > WORTH_SHARING)
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
#pragma omp parallel for simd schedule(static) if (parallel : size > WORTH_SHARING)
  for (ptrdiff_t i = 0; i < size; i++) xi[i] = (real)((double)xi[i] + (1.0 - tau) * ((double)theta[i] - (double)xi[i]));
}
