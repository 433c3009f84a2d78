#include "oracle/digest.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "oracle/distance.h"
#include "oracle/formula.h"

enum digest_form digest_form(enum dtype dtype, ptrdiff_t count) {
  if (dtype_is_float(dtype)) return count <= DIGEST_WHOLE_FLOATS ? DIGEST_WHOLE : DIGEST_SKETCH;
  return count <= DIGEST_WHOLE_INTEGERS ? DIGEST_WHOLE : DIGEST_HISTOGRAM;
}

int digest_length(enum dtype dtype, ptrdiff_t count) {
  switch (digest_form(dtype, count)) {
  case DIGEST_WHOLE: return 1 + (int)count;
  case DIGEST_SKETCH: return DIGEST_SKETCH_LENGTH;
  case DIGEST_HISTOGRAM: break;
  }
  return 1 + DIGEST_BINS;
}

bool digest_fits(enum dtype dtype, int ndim, const ptrdiff_t *shape, const struct tensor *t) {
  struct tensor original = {.ndim = ndim};
  memcpy(original.shape, shape, (size_t)ndim * sizeof *shape);
  ptrdiff_t count = tensor_count(&original);
  return t->dtype == DTYPE_F64 && t->ndim == 1 && t->shape[0] == digest_length(dtype, count) &&
         tensor_at(t, 0) == (double)digest_form(dtype, count);
}

/* ---- one block ---------------------------------------------------------------------------------------------------------------------- */

/* Replaces what is not finite by 0 and counts it. n: whole groups of eight. */
static ptrdiff_t drop_not_finite(double *x, ptrdiff_t n) {
  double lane[8] = {0}, poison = 0; /* NaN as soon as one is not finite */
  for (ptrdiff_t i = 0; i < n; i += 8) {
#pragma omp simd
    for (int l = 0; l < 8; l++) lane[l] += x[i + l] * 0;
  }
  for (int l = 0; l < 8; l++) poison += lane[l];
  if (poison == 0) return 0;
  ptrdiff_t found = 0;
  for (ptrdiff_t i = 0; i < n; i++)
    if (!isfinite(x[i])) x[i] = 0, found++;
  return found;
}

/* Eight at a time, as the compiler's own vectors: it does not find these loops itself. */
enum { LANES = 8 };
typedef double numbers __attribute__((vector_size(LANES * sizeof(double))));
typedef uint64_t words __attribute__((vector_size(LANES * sizeof(uint64_t))));
static const words lane_number = {0, 1, 2, 3, 4, 5, 6, 7};

/* Adds 16 elements with their signs, in place; where they belong follows from the row (digest_end). */
static void project(double turned[DIGEST_PROJECTIONS][DIGEST_PROJECTIONS], uint64_t word, const double x[DIGEST_PROJECTIONS]) {
  double *row = turned[word >> 60];
#pragma GCC unroll 4
  for (int j = 0; j < DIGEST_PROJECTIONS; j += LANES) {
    words bits, turns = (words){0} + ~word; /* bit j: element j changes its sign */
    numbers value, sum;
    memcpy(&bits, x + j, sizeof bits);
    memcpy(&sum, row + j, sizeof sum);
    bits ^= (turns >> (lane_number + (uint64_t)j)) << 63;
    memcpy(&value, &bits, sizeof value);
    sum += value;
    memcpy(row + j, &sum, sizeof sum);
  }
}

static void add_chunk(struct digest_block *s, uint64_t signs, ptrdiff_t first, double *x, ptrdiff_t n) {
  ptrdiff_t whole = n;
  for (; whole % DIGEST_PROJECTIONS; whole++) x[whole] = 0; /* adds nothing to any sum */
  const ptrdiff_t not_finite = drop_not_finite(x, whole);
  double most[8] = {0}, zeros[8] = {0}, chunk_max = 0;
  for (ptrdiff_t i = 0; i < whole; i += 8) {
#pragma omp simd
    for (int l = 0; l < 8; l++) {
      double size = fabs(x[i + l]);
      s->abs[l] += size;
      s->squares[l] += size * size;
      most[l] = size > most[l] ? size : most[l];
      zeros[l] += size == 0 ? 1.0 : 0.0;
    }
  }
  s->not_finite += not_finite, s->zeros -= not_finite + (whole - n);
  for (int l = 0; l < 8; l++) {
    s->zeros += (ptrdiff_t)zeros[l];
    chunk_max = most[l] > chunk_max ? most[l] : chunk_max;
  }
  if (chunk_max > s->max) {
    ptrdiff_t i = 0;
    while (fabs(x[i]) != chunk_max) i++;
    s->max = chunk_max, s->max_index = first + i;
  }
  for (ptrdiff_t i = 0; i < n; i += DIGEST_PROJECTIONS)
    project(s->turned, splitmix64(signs + (uint64_t)(first + i) / DIGEST_PROJECTIONS), x + i);
}

/* n <= DIGEST_BLOCK elements from flat index `first` on. */
static struct digest_block digest_one_block(enum dtype dtype, uint64_t signs, ptrdiff_t first, const char *data, ptrdiff_t n) {
  struct digest_block s = {.max = 0};
  double x[DISTANCE_CHUNK];
  for (ptrdiff_t i = 0; i < n; i += DISTANCE_CHUNK) {
    ptrdiff_t m = size_min(DISTANCE_CHUNK, n - i);
    doubles_of(dtype, data + (size_t)i * dtype_size(dtype), m, x);
    add_chunk(&s, signs, first + i, x, m);
  }
  return s;
}

static void join(struct digest_block *sum, const struct digest_block *b) {
  for (int l = 0; l < 8; l++) sum->abs[l] += b->abs[l], sum->squares[l] += b->squares[l];
  for (int r = 0; r < DIGEST_PROJECTIONS; r++)
    for (int j = 0; j < DIGEST_PROJECTIONS; j++) sum->turned[r][j] += b->turned[r][j];
  if (b->max > sum->max) sum->max = b->max, sum->max_index = b->max_index;
  sum->not_finite += b->not_finite, sum->zeros += b->zeros;
}

/* ---- a digest ----------------------------------------------------------------------------------------------------------------------- */

static void sample_places(const char *name, ptrdiff_t count, ptrdiff_t place[DIGEST_SAMPLED]) {
  char key[TENSOR_MAX_NAME + 16];
  snprintf(key, sizeof key, "sampled:%s", name);
  for (int j = 0; j < DIGEST_SAMPLED; j++) place[j] = (ptrdiff_t)(formula_bits(0, key, (uint64_t)j) % (uint64_t)count);
}

void digest_begin(struct digest *g, const char *name, enum dtype dtype, ptrdiff_t count) {
  char key[TENSOR_MAX_NAME + 16];
  assert(count > 0);
  snprintf(key, sizeof key, "sketch:%s", name);
  g->dtype = dtype, g->count = count, g->done = 0;
  g->signs = fnv1a64(key);
  g->sum = (struct digest_block){.max = 0};
  sample_places(name, count, g->sample);
  memset(g->value, 0, (size_t)digest_length(dtype, count) * sizeof *g->value);
  g->value[DIGEST_FORM] = (double)digest_form(dtype, count);
}

static void add_integers(struct digest *g, const void *data, ptrdiff_t count) {
  struct tensor t = {.dtype = g->dtype, .data = (void *)(uintptr_t)data};
  for (ptrdiff_t i = 0; i < count; i++) {
    double bin = fmod(tensor_at(&t, i), DIGEST_BINS);
    g->value[1 + (int)(bin < 0 ? bin + DIGEST_BINS : bin)]++;
  }
}

static void add_floats(struct digest *g, const char *data, ptrdiff_t count) {
  enum { AT_ONCE = 64 }; /* blocks */
  struct digest_block part[AT_ONCE];
  size_t element = dtype_size(g->dtype);
  for (ptrdiff_t from = 0; from < count; from += (ptrdiff_t)AT_ONCE * DIGEST_BLOCK) {
    ptrdiff_t n = size_min(count - from, (ptrdiff_t)AT_ONCE * DIGEST_BLOCK), blocks = size_ceil_div(n, DIGEST_BLOCK);
#pragma omp parallel for schedule(dynamic) if (blocks > 1)
    for (ptrdiff_t b = 0; b < blocks; b++) {
      ptrdiff_t at = from + b * DIGEST_BLOCK;
      part[b] = digest_one_block(g->dtype, g->signs, g->done + at, data + (size_t)at * element, size_min(DIGEST_BLOCK, count - at));
    }
    for (ptrdiff_t b = 0; b < blocks; b++) join(&g->sum, &part[b]);
  }
}

void digest_add(struct digest *g, const void *data, ptrdiff_t count) {
  struct tensor t = {.dtype = g->dtype, .data = (void *)(uintptr_t)data};
  assert(g->done % DIGEST_BLOCK == 0 && g->done + count <= g->count);
  switch (digest_form(g->dtype, g->count)) {
  case DIGEST_WHOLE:
    for (ptrdiff_t i = 0; i < count; i++) g->value[1 + g->done + i] = tensor_at(&t, i);
    break;
  case DIGEST_HISTOGRAM: add_integers(g, data, count); break;
  case DIGEST_SKETCH:
    for (int j = 0; j < DIGEST_SAMPLED; j++) {
      ptrdiff_t at = g->sample[j] - g->done;
      if (at >= 0 && at < count) g->value[DIGEST_SAMPLE + j] = tensor_at(&t, at);
    }
    add_floats(g, data, count);
    break;
  }
  g->done += count;
}

void digest_end(struct digest *g) {
  assert(g->done == g->count);
  if (digest_form(g->dtype, g->count) != DIGEST_SKETCH) return;
  double squares = 0;
  for (int l = 0; l < 8; l++) g->value[DIGEST_ABS] += g->sum.abs[l], squares += g->sum.squares[l];
  g->value[DIGEST_NORM] = sqrt(squares);
  g->value[DIGEST_MAX] = g->sum.max, g->value[DIGEST_MAX_INDEX] = (double)g->sum.max_index;
  g->value[DIGEST_NOT_FINITE] = (double)g->sum.not_finite, g->value[DIGEST_ZEROS] = (double)g->sum.zeros;
  for (int r = 0; r < DIGEST_PROJECTIONS; r++)
    for (int j = 0; j < DIGEST_PROJECTIONS; j++) g->value[DIGEST_PROJECTION + (j ^ r)] += g->sum.turned[r][j];
}

void digest_tensor(struct digest *g, const struct tensor *t) {
  ptrdiff_t count = tensor_count(t);
  digest_begin(g, t->name, t->dtype, count);
  digest_add(g, t->data, count);
  digest_end(g);
}

/* ---- comparing ---------------------------------------------------------------------------------------------------------------------- */

/* Takes element i if it is further off than what was seen. A number that is not finite in one of them only is further than any. */
static void see(struct digest_distance *r, ptrdiff_t i, double a, double b) {
  bool same = a == b || (isnan(a) && isnan(b));
  double e = same ? 0 : isfinite(a) && isfinite(b) ? fabs(b - a) : INFINITY;
  if (r->where >= 0 && !(e > r->worst)) return;
  r->worst = e, r->where = i, r->a = a, r->b = b;
}

static struct digest_distance compare_whole(enum dtype dtype, ptrdiff_t count, const double *a, const double *b) {
  struct digest_distance r = {.where = -1, .finite_alike = true};
  double off = 0, norm = 0;
  ptrdiff_t differ = 0;
  for (ptrdiff_t i = 0; i < count; i++) {
    see(&r, i, a[i], b[i]);
    bool both = isfinite(a[i]) && isfinite(b[i]), same = a[i] == b[i] || (isnan(a[i]) && isnan(b[i]));
    if (!both && !same) r.finite_alike = false;
    if (both) off += (b[i] - a[i]) * (b[i] - a[i]), norm += a[i] * a[i];
    if (!same) differ++;
    r.zeros_apart += (a[i] == 0) != (b[i] == 0);
    if (fabs(a[i]) > r.max) r.max = fabs(a[i]);
  }
  r.l2 = dtype_is_float(dtype) ? (off == 0 ? 0 : sqrt(off / norm)) : sqrt(2 * (double)differ / (double)count);
  r.lower = r.l2;
  r.off = sqrt(off), r.norm = sqrt(norm);
  return r;
}

static struct digest_distance compare_histograms(ptrdiff_t count, const double *a, const double *b) {
  struct digest_distance r = {.where = -1, .finite_alike = true};
  double moved = 0;
  for (int i = 0; i < DIGEST_BINS; i++) moved += fabs(b[i] - a[i]) / 2;
  r.l2 = r.lower = sqrt(2 * moved / (double)count);
  return r;
}

static struct digest_distance compare_sketches(const char *name, ptrdiff_t count, const double *a, const double *b) {
  struct digest_distance r = {.where = -1};
  ptrdiff_t place[DIGEST_SAMPLED];
  double squares = 0, norm = a[DIGEST_NORM];
  for (int j = 0; j < DIGEST_PROJECTIONS; j++) {
    double d = b[DIGEST_PROJECTION + j] - a[DIGEST_PROJECTION + j];
    squares += d * d;
  }
  sample_places(name, count, place);
  for (int j = 0; j < DIGEST_SAMPLED; j++) see(&r, place[j], a[DIGEST_SAMPLE + j], b[DIGEST_SAMPLE + j]);
  double off = sqrt(squares);
  /* ||b| - |a|| <= |b - a|, and the 1-norms differ by at most sqrt(count) |b - a|. */
  double least = fmax(fabs(b[DIGEST_NORM] - norm), fabs(b[DIGEST_ABS] - a[DIGEST_ABS]) / sqrt((double)count));
  r.off = off, r.norm = norm;
  r.l2 = off == 0 ? 0 : off / norm;
  r.lower = least == 0 ? 0 : least / norm;
  r.finite_alike = a[DIGEST_NOT_FINITE] == b[DIGEST_NOT_FINITE];
  r.zeros_apart = (ptrdiff_t)fabs(a[DIGEST_ZEROS] - b[DIGEST_ZEROS]);
  r.max = a[DIGEST_MAX];
  return r;
}

struct digest_distance digest_compare(const char *name, enum dtype dtype, ptrdiff_t count, const double *a, const double *b) {
  switch (digest_form(dtype, count)) {
  case DIGEST_WHOLE: return compare_whole(dtype, count, a + 1, b + 1);
  case DIGEST_HISTOGRAM: return compare_histograms(count, a + 1, b + 1);
  case DIGEST_SKETCH: break;
  }
  return compare_sketches(name, count, a, b);
}
