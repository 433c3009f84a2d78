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

static void add_chunk(struct distance *d, double *a, double *b, ptrdiff_t n) {
  double poison = 0, most = 0;
  for (ptrdiff_t i = 0; i < n; i++) poison += a[i] * 0 + b[i] * 0;
  if (!(poison == 0)) drop_not_finite(d, a, b, n);
  for (ptrdiff_t i = n; i % 8; i++) a[i] = b[i] = 0;
  ptrdiff_t differ = 0, zeros_apart = 0;
  for (ptrdiff_t i = 0; i < n; i++) {
    double e = fabs(b[i] - a[i]);
    differ += e != 0;
    zeros_apart += (a[i] == 0) != (b[i] == 0);
    most = e > most ? e : most;
    d->max = fabs(a[i]) > d->max ? fabs(a[i]) : d->max;
  }
  for (ptrdiff_t i = 0; i < n; i += 8)
    for (int l = 0; l < 8; l++) {
      double e = b[i + l] - a[i + l];
      d->off[l] += e * e;
      d->norm[l] += a[i + l] * a[i + l];
    }
  if (most > d->worst) {
    ptrdiff_t i = 0;
    while (fabs(b[i] - a[i]) != most) i++;
    note(d, d->seen + i, a[i], b[i], most);
  }
  d->differ += differ, d->zeros_apart += zeros_apart;
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
