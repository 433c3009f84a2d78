#include "oracle/measure.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/gauge.h"
#include "oracle/operations.h"
#include "oracle/values.h"

void measure_free(struct measure *m) {
  if (m->g2 != m->g) free(m->g2);
  free(m->y);
  free(m->r);
  free(m->g);
  free(m->start);
  free(m->sizes);
  free(m->carried);
  free(m->lower);
  *m = (struct measure){0};
}

/* ---- making -------------------------------------------------------------------------------------------------------------------------- */

/* The relative rule, in units of the declared precision's roundoff instead of float's. */
static void measure_relative(const struct bench *b, const struct tensor *truth, struct measure *m) {
  bool wide = b->p->acc.bits > 24;
  m->relative = true;
  m->tolerance = compare_tolerance(&b->truth, wide ? 64 : 32, truth, truth->name);
  double factor = wide ? 1 : unit_roundoff(&b->p->in) / 0x1p-24;
  m->tolerance.peak *= factor;
  m->tolerance.l2 *= factor;
  m->zero = m->tolerance.scale > 0;
  for (ptrdiff_t i = 0, n = tensor_count(truth); m->tolerance.peak == 0 && i < n; i++) m->y[i] = number_round(&b->p->out, m->y[i]);
}

/* Two losses add to the gradient of the regions, one after the other, and where activations are stored in fewer bits than numbers have that
 * are read, each sum is rounded: sizes are those of both. That of R-DEM alone is what comes first. */
static bool measure_two_losses(const struct bench *b, const char *name, struct measure *m) {
  struct variant first;
  struct case_run run = {0};
  bool ok = variant_make(&first, b->work, variant_same, NULL, b->err) && variant_set_number(&first, "lambda2", 0, b->err) &&
            run_begin(&run, &first.file, b->err) && case_compute(&run, 64);
  const struct tensor *of_first = ok ? run_result(&run, name) : NULL;
  ptrdiff_t n = tensor_count(&m->truth);
  if (ok && !(m->sizes = malloc(((size_t)n + 1) * sizeof *m->sizes))) ok = fail(b->err, "%s: out of memory", b->original->name);
  for (ptrdiff_t i = 0; ok && i < n; i++) m->sizes[i] = fabs(tensor_at(of_first, i)) + fabs(m->y[i]);
  run_end(&run);
  variant_close(&first);
  return ok;
}

static bool adds_two_losses(const struct bench *b, const char *name) {
  char prediction[] = "in.p1";
  if (strcmp(b->original->op, "loss") != 0 || strncmp(name, "grad_in.r", strlen("grad_in.r")) != 0) return false;
  prediction[strlen("in.p")] = name[strlen("grad_in.r")];
  return b->p->out.bits < b->p->in.bits && !safetensors_find(&b->original->file, prediction);
}

static double relu_of(double x) { return x <= 0 ? 0 : x; } /* as relu_forward: NaN stays NaN */

bool measure_make(const struct bench *b, const char *name, struct measure *m) {
  const struct tensor *truth = run_result(&b->truth, name), *r = run_result(&b->reference, name), *g = run_result(&b->gauge, name);
  const struct tensor *g2 = run_result(&b->gauge2, name), *lower = run_result(&b->lower, name);
  *m = (struct measure){.p = b->p};
  if (!truth) return fail(b->err, "%s: the reference computes no %s", b->original->name, name);
  ptrdiff_t n = tensor_count(truth);
  m->truth = *truth;
  m->truth.dtype = DTYPE_F64;
  m->truth.data = m->y = tensor_values(truth);
  if (!m->y) return fail(b->err, "%s: out of memory", b->original->name);
  if (!b->has_gauge || !r || !g || !lower || tensor_is_index(truth)) {
    measure_relative(b, truth, m);
    return true;
  }
  m->r = tensor_values(r), m->g = tensor_values(g), m->g2 = g2 ? tensor_values(g2) : m->g, m->lower = tensor_values(lower);
  if (!m->r || !m->g || !m->g2 || !m->lower || !gauge_start(b->work, &b->gauge, truth, &m->start, b->err)) {
    return fail(b->err, "%s: out of memory", b->original->name);
  }
  if (!gauge_carried(&b->gauge, &m->truth, &m->carried, b->err)) return false;
  if (adds_two_losses(b, name) && !measure_two_losses(b, name, m)) return false;
  bool rectified = b->masked && strcmp(name, "out.y") == 0;
#pragma omp parallel for schedule(static) if (n > 1 << 15)
  for (ptrdiff_t i = 0; i < n; i++) {
    if (rectified) m->y[i] = relu_of(m->y[i]), m->r[i] = relu_of(m->r[i]), m->lower[i] = relu_of(m->lower[i]);
    m->r[i] = number_round(&b->p->out, m->r[i]);
  }
  m->chain = fmin(gauge_terms(b->original, name), b->chain);
  m->common = gauge_common(b->original, name, b->chain);
  m->kept = gauge_kept(name);
  m->channels_share = gauge_channels_share(b->original) && truth->ndim > 1;
  m->rows_share = strcmp(b->original->op, "loss") == 0 && truth->ndim > 1;
  m->exact = gauge_exact(b->work, truth, g, b->p);
  return true;
}

/* ---- sums ---------------------------------------------------------------------------------------------------------------------------- */

static bool own_sizes(struct measure *m, ptrdiff_t n) {
  if (m->sizes) return true;
  if (!(m->sizes = malloc(((size_t)n + 1) * sizeof *m->sizes))) return false;
  for (ptrdiff_t i = 0; i < n; i++) m->sizes[i] = fabs(m->y[i]);
  return true;
}

bool measure_add(struct measure *m, const struct measure *part, struct error *err) {
  ptrdiff_t n = tensor_count(&m->truth);
  const struct number_format *out = &m->p->out;
  bool squares = m->g2 != m->g;
  if (part->carried && !m->carried) m->carried = calloc((size_t)n + 1, sizeof *m->carried);
  if (!own_sizes(m, n) || (part->carried && !m->carried)) return fail(err, "%s: out of memory", m->truth.name);
#pragma omp parallel for schedule(static) if (n > 1 << 15)
  for (ptrdiff_t i = 0; i < n; i++) {
    m->sizes[i] += part->sizes ? part->sizes[i] : fabs(part->y[i]);
    m->y[i] += part->y[i];
    m->r[i] = number_round(out, m->r[i] + part->r[i]);
    m->g[i] += part->g[i];
    if (squares) m->g2[i] = sqrt(m->g2[i] * m->g2[i] + part->g2[i] * part->g2[i]);
    m->lower[i] += part->lower[i];
    if (part->carried) m->carried[i] += part->carried[i];
  }
  m->chain += part->chain;
  m->exact = false;
  m->channels_share = m->channels_share || part->channels_share;
  m->rows_share = m->rows_share || part->rows_share;
  return true;
}

bool measure_add_start(struct measure *m, const struct tensor *before, struct error *err) {
  ptrdiff_t n = tensor_count(&m->truth);
  const struct number_format *out = &m->p->out;
  bool squares = m->g2 != m->g;
  if (!(m->start = tensor_values(before))) return fail(err, "%s: out of memory", m->truth.name);
  double most = 0;
  for (ptrdiff_t i = 0; i < n; i++) most = fmax(most, fabs(m->start[i]));
  if (most == 0) return true; /* a sum from nothing */
#pragma omp parallel for schedule(static) if (n > 1 << 15)
  for (ptrdiff_t i = 0; i < n; i++) {
    m->y[i] += m->start[i];
    m->r[i] = number_round(out, m->r[i] + m->start[i]);
    m->g[i] += fabs(m->start[i]);
    if (squares) m->g2[i] = sqrt(m->g2[i] * m->g2[i] + m->start[i] * m->start[i]);
    m->lower[i] += m->start[i];
  }
  m->chain += 1;
  m->exact = false;
  return true;
}

/* ---- judging ------------------------------------------------------------------------------------------------------------------------- */

static struct yardstick yardstick_of(const struct measure *m) {
  return (struct yardstick){.truth = &m->truth,
                            .y = m->y,
                            .r = m->r,
                            .g = m->g,
                            .g2 = m->g2,
                            .start = m->start,
                            .sizes = m->sizes,
                            .carried = m->carried,
                            .chain = m->chain,
                            .common = m->common,
                            .kept = m->kept,
                            .exact = m->exact,
                            .rows_share = m->rows_share,
                            .cancels = m->zero,
                            .channels_share = m->channels_share};
}

void measure_judge(const struct measure *m, const double *c, bool quick, struct finding *f) {
  if (!m->relative) {
    struct yardstick stick = yardstick_of(m);
    accept_tensor(&stick, m->p, c, quick, f);
    return;
  }
  struct tensor candidate = m->truth;
  double *numbers = malloc(((size_t)tensor_count(&m->truth) + 1) * sizeof *numbers); /* a tensor's data is not const */
  if (!numbers) {
    f->pass = false;
    f->rule = "out of memory";
    return;
  }
  memcpy(numbers, c, (size_t)tensor_count(&m->truth) * sizeof *numbers);
  candidate.data = numbers;
  compare_tensor(&m->truth, &candidate, &m->tolerance, f);
  free(numbers);
}

/* ---- beside the verdict -------------------------------------------------------------------------------------------------------------- */

/* Errors by size: eight bins an octave, from 2^-64 to 2^64. */
enum { BINS_OCTAVE = 8, BINS = 128 * BINS_OCTAVE };

/* The exponent e of a normal number, 2^e <= |x| < 2^(e + 1), from its bits: this is done for every element of a step. */
static int exponent_of(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (int)((bits >> 52) & 0x7ff) - 1023;
}

static double power_of_two(int exponent) {
  uint64_t bits = (uint64_t)(exponent + 1023) << 52;
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static int bin_of(double x) {
  uint64_t bits;
  if (!(x > 0x1p-64)) return 0;
  if (!(x < 0x1p63)) return BINS - 1;
  memcpy(&bits, &x, sizeof bits);
  return (exponent_of(x) + 64) * BINS_OCTAVE + (int)((bits >> 49) & 7);
}

static double percentile(const ptrdiff_t *bin, ptrdiff_t n, double share) {
  ptrdiff_t seen = 0;
  for (int k = 0; k < BINS; k++) {
    seen += bin[k];
    if ((double)seen < share * (double)n) continue;
    return k == 0 ? 0 : ldexp(1 + (0.5 + (double)(k % BINS_OCTAVE)) / BINS_OCTAVE, k / BINS_OCTAVE - 64);
  }
  return INFINITY;
}

void measure_profile(const struct measure *m, const double *c, const struct finding *f, struct error_profile *profile) {
  ptrdiff_t n = tensor_count(&m->truth), bin[BINS] = {0};
  struct yardstick stick = yardstick_of(m);
  struct allowance limit = accept_allowance(&stick, m->p);
  double squares = 0, norm = 0, most = 0, size = 0;
  int bits = m->p->out.bits, least = m->p->out.least > -1000 ? m->p->out.least : -1000; /* of double: powers that are normal numbers */
  *profile = (struct error_profile){.ratio = f->allowed > 0 ? f->error / f->allowed : f->error > 0 ? INFINITY : 0};
  for (ptrdiff_t i = 0; m->relative && i < n; i++) size = fmax(size, isfinite(m->y[i]) ? fabs(m->y[i]) : 0);
  for (ptrdiff_t i = 0; i < n; i++) {
    double y = m->y[i], e = c[i] == y || (isnan(c[i]) && isnan(y)) ? 0 : fabs(c[i] - y);
    double ratio = e == 0 ? 0 : e / (m->relative ? m->tolerance.peak * size : accept_allowed(&stick, &limit, i));
    if (isnan(e)) e = ratio = INFINITY;
    squares += e * e;
    if (isfinite(y)) norm += y * y;
    int k = ratio < 0x1p-14 ? 0 : ratio < 1 ? 15 + exponent_of(ratio) : 15;
    profile->histogram[k]++;
    int place = isfinite(y) && y != 0 ? exponent_of(y) + 1 - bits : least;
    double ulps = e * power_of_two(-(place > least ? place : least));
    bin[bin_of(ulps)]++;
    most = fmax(most, ulps);
  }
  profile->l2 = squares > 0 ? sqrt(squares / norm) : 0;
  profile->ulp[0] = percentile(bin, n, 0.5);
  profile->ulp[1] = percentile(bin, n, 0.99);
  profile->ulp[2] = most;
}
