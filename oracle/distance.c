#include "oracle/distance.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/size.h"

bool dtype_is_float(enum dtype dtype) { return dtype == DTYPE_F32 || dtype == DTYPE_F64 || dtype == DTYPE_BF16; }

void doubles_of(enum dtype dtype, const void *data, ptrdiff_t n, double *x) {
  if (dtype == DTYPE_F64) {
    memcpy(x, data, (size_t)n * sizeof *x);
  } else if (dtype == DTYPE_F32) {
    float f[DISTANCE_CHUNK];
    memcpy(f, data, (size_t)n * sizeof *f);
    for (ptrdiff_t i = 0; i < n; i++) x[i] = (double)f[i];
  } else {
    struct tensor t = {.dtype = dtype, .data = (void *)(uintptr_t)data};
    for (ptrdiff_t i = 0; i < n; i++) x[i] = tensor_at(&t, i);
  }
}

static void note(struct distance *d, ptrdiff_t i, double a, double b, double e) {
  if (e > d->worst || d->where < 0) d->worst = e, d->where = i, d->a = a, d->b = b;
}

/* Element by element: what is not finite is counted, and zeroed in both. */
static void drop_not_finite(struct distance *d, double *a, double *b, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) {
    if (isfinite(a[i]) && isfinite(b[i])) continue;
    if (!(a[i] == b[i] || (isnan(a[i]) && isnan(b[i])))) {
      d->not_finite_apart++, d->differ++;
      note(d, d->seen + i, a[i], b[i], INFINITY);
    }
    a[i] = b[i] = 0;
  }
}

static double largest(const double lane[8]) {
  double most = 0;
  for (int l = 0; l < 8; l++) most = lane[l] > most ? lane[l] : most;
  return most;
}

/* Eight lanes of everything: the compiler makes no vector of a largest element, whose order it may not change, but of eight of them. */
static void add_chunk(struct distance *d, double *a, double *b, ptrdiff_t n) {
  double poison[8] = {0}, most[8] = {0}, peak[8] = {0}, differ[8] = {0}, zeros[8] = {0};
  for (ptrdiff_t i = n; i % 8; i++) a[i] = b[i] = 0;
  for (ptrdiff_t i = 0; i < n; i += 8)
    for (int l = 0; l < 8; l++) poison[l] += a[i + l] * 0 + b[i + l] * 0; /* NaN as soon as one is not finite */
  if (!(((poison[0] + poison[1]) + (poison[2] + poison[3])) + ((poison[4] + poison[5]) + (poison[6] + poison[7])) == 0))
    drop_not_finite(d, a, b, n);
  for (ptrdiff_t i = 0; i < n; i += 8)
    for (int l = 0; l < 8; l++) {
      double x = a[i + l], e = b[i + l] - x, size = fabs(e), own = fabs(x);
      d->off[l] += e * e;
      d->norm[l] += x * x;
      most[l] = size > most[l] ? size : most[l];
      peak[l] = own > peak[l] ? own : peak[l];
      differ[l] += e != 0 ? 1.0 : 0.0;
      zeros[l] += (x == 0 ? 1.0 : 0.0) != (b[i + l] == 0 ? 1.0 : 0.0) ? 1.0 : 0.0;
    }
  const double furthest = largest(most), highest = largest(peak);
  if (furthest > d->worst) {
    ptrdiff_t i = 0;
    while (fabs(b[i] - a[i]) != furthest) i++;
    note(d, d->seen + i, a[i], b[i], furthest);
  }
  d->max = highest > d->max ? highest : d->max;
  for (int l = 0; l < 8; l++) d->differ += (ptrdiff_t)differ[l], d->zeros_apart += (ptrdiff_t)zeros[l];
  d->seen += n;
}

void distance_add(struct distance *d, enum dtype dtype_a, const void *a, enum dtype dtype_b, const void *b, ptrdiff_t n) {
  double x[DISTANCE_CHUNK], y[DISTANCE_CHUNK];
  if (d->seen == 0) d->where = -1;
  for (ptrdiff_t i = 0; i < n; i += DISTANCE_CHUNK) {
    ptrdiff_t m = size_min(DISTANCE_CHUNK, n - i);
    doubles_of(dtype_a, (const char *)a + (size_t)i * dtype_size(dtype_a), m, x);
    doubles_of(dtype_b, (const char *)b + (size_t)i * dtype_size(dtype_b), m, y);
    add_chunk(d, x, y, m);
  }
}

double distance_norm(const struct distance *d) {
  double norm = 0;
  for (int l = 0; l < 8; l++) norm += d->norm[l];
  return sqrt(norm);
}

double distance_l2(const struct distance *d, bool integers) {
  if (d->differ == 0) return 0;
  if (integers) return sqrt(2 * (double)d->differ / (double)d->seen);
  if (d->not_finite_apart > 0) return INFINITY;
  double off = 0, norm = 0;
  for (int l = 0; l < 8; l++) off += d->off[l], norm += d->norm[l];
  return sqrt(off) / sqrt(norm);
}
