#include "op/match.h"

#include <assert.h>

#include "base/size.h"
#include "op/sum.h"
#include "op/unit.h"

/* Channels are taken in blocks: a block of both views, as doubles and with the regions innermost, stays in the second-level cache
 * (2 x 128 x 49 doubles: 98 KiB). The images are dealt to at most 32 workers, a number that no machine's thread count enters. */
enum { BLOCK_CHANNELS = 128, MAX_WORKERS = 32 };

/* One image in work. */
struct work {
  double *from_inverse, *to_inverse; /* n */
  double *from, *to;                 /* BLOCK_CHANNELS x n */
  double *sum;                       /* n x n: from i, to j */
};

static ptrdiff_t worker_count(const struct match *g) { return size_min(g->b, MAX_WORKERS); }
static ptrdiff_t work_size(const struct match *g) { return 2 * g->n + 2 * BLOCK_CHANNELS * g->n + g->n * g->n; }

ptrdiff_t match_scratch(const struct match *g) { return work_size(g) * worker_count(g); }

static struct work work_of(const struct match *g, ptrdiff_t worker, double *scratch) {
  double *s = scratch + work_size(g) * worker;
  ptrdiff_t n = g->n, block = BLOCK_CHANNELS * n;
  return (struct work){.from_inverse = s, .to_inverse = s + n, .from = s + 2 * n, .to = s + 2 * n + block, .sum = s + 2 * n + 2 * block};
}

/* What a row is divided by before it is multiplied, inverted: 1 for the dot product. */
static void row_inverses(const struct match *g, const real *t, double *inverse) {
  for (ptrdiff_t i = 0; i < g->n; i++) {
    double square = g->similarity == SIMILARITY_COSINE ? sum_products(g->c, t + i * g->c, t + i * g->c) : 1.0;
    inverse[i] = unit_inverse(square);
  }
}

/* block[k][i] = row i divided by its length, at channel k of this block. Not rounded to real between division and product. */
static void pack(const struct match *g, const real *t, const double *inverse, ptrdiff_t channel, ptrdiff_t channels, double *block) {
  for (ptrdiff_t i = 0; i < g->n; i++)
    for (ptrdiff_t k = 0; k < channels; k++) block[k * g->n + i] = (double)t[i * g->c + channel + k] * inverse[i];
}

/* All n x n sums of one image. Each is one chain of additions over the channels from the first to the last, wherever it stands in
 * the matrix, which a library's product does not promise; the loop over j is the one that goes into vector registers. */
static void image_similarity(const struct match *g, const real *from, const real *to, struct work w) {
  ptrdiff_t n = g->n;
  row_inverses(g, from, w.from_inverse);
  row_inverses(g, to, w.to_inverse);
  for (ptrdiff_t i = 0; i < n * n; i++) w.sum[i] = 0;
  for (ptrdiff_t channel = 0; channel < g->c; channel += BLOCK_CHANNELS) {
    ptrdiff_t channels = size_min(BLOCK_CHANNELS, g->c - channel), k;
    pack(g, from, w.from_inverse, channel, channels, w.from);
    pack(g, to, w.to_inverse, channel, channels, w.to);
    for (ptrdiff_t i = 0; i < n; i++) {
      double *sum = w.sum + i * n;
      for (k = 0; k + 4 <= channels; k += 4) { /* four at a time: the sums are loaded and stored once, the order stays */
        const double *f = w.from + k * n + i, *t = w.to + k * n;
#pragma omp simd
        for (ptrdiff_t j = 0; j < n; j++)
          sum[j] = (((sum[j] + f[0] * t[j]) + f[n] * t[n + j]) + f[2 * n] * t[2 * n + j]) + f[3 * n] * t[3 * n + j];
      }
      for (; k < channels; k++) {
        const double f = w.from[k * n + i], *t = w.to + k * n;
#pragma omp simd
        for (ptrdiff_t j = 0; j < n; j++) sum[j] += f * t[j];
      }
    }
  }
}

void match_similarity(const struct match *g, const real *from, const real *to, real *sim, double *scratch) {
  ptrdiff_t workers = worker_count(g);
#pragma omp parallel for schedule(static) if (workers > 1)
  for (ptrdiff_t k = 0; k < workers; k++)
    for (ptrdiff_t b = k; b < g->b; b += workers) {
      struct work w = work_of(g, k, scratch);
      image_similarity(g, from + b * g->n * g->c, to + b * g->n * g->c, w);
      for (ptrdiff_t i = 0; i < g->n * g->n; i++) sim[b * g->n * g->n + i] = (real)w.sum[i];
    }
}

/* Index of the smallest of the values, the first of equals; sign -1 makes it the largest. NaN loses every comparison and is given up
 * for the first number. Compared as real, so that what match_similarity shows is what decides. */
static int32_t first_smallest(ptrdiff_t n, const double *value, real sign) {
  ptrdiff_t best = 0;
  real least = sign * (real)value[0];
  for (ptrdiff_t z = 1; z < n; z++) {
    real v = sign * (real)value[z];
    if (v < least || (least != least && v == v)) best = z, least = v;
  }
  return (int32_t)best;
}

/* For each region j of from, the region z of to with the smallest sign * sim(from[j], to[z]): row j of the sums holds them all. */
static void match_best(const struct match *g, const real *from, const real *to, real sign, int32_t *best, double *scratch) {
  assert(g->n <= INT32_MAX);
  ptrdiff_t workers = worker_count(g);
#pragma omp parallel for schedule(static) if (workers > 1)
  for (ptrdiff_t k = 0; k < workers; k++)
    for (ptrdiff_t b = k; b < g->b; b += workers) {
      struct work w = work_of(g, k, scratch);
      image_similarity(g, from + b * g->n * g->c, to + b * g->n * g->c, w);
      for (ptrdiff_t j = 0; j < g->n; j++) best[b * g->n + j] = first_smallest(g->n, w.sum + j * g->n, sign);
    }
}

/* sim is symmetric, to the bit: the most different of t[z] to t[j] is the most different t[j] finds. */
void match_diversity(const struct match *g, const real *t, int32_t *d, double *scratch) { match_best(g, t, t, 1, d, scratch); }

void match_invariance(const struct match *g, const real *from, const real *to, int32_t *s, double *scratch) {
  match_best(g, from, to, -1, s, scratch);
}
