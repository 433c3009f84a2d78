#include "eval/knn.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/blas.h"
#include "base/size.h"
#include "op/unit.h"

/* A tile of similarities: 128 queries against 2048 rows of the bank keep the matrix product near its full speed in 2 MiB of doubles. */
enum { QUERIES = 128, ROWS = 2048 };

#define TEMPERATURE_MIN 0.002 /* exp(500) = 1.4e217: even 10^9 votes of it are finite */

/* A row of the bank that may be among the k nearest. */
struct candidate {
  double similarity;
  ptrdiff_t row;
};

/* The candidates of one query: every row seen so far whose screened similarity is at least cutoff. */
struct candidates {
  struct candidate *at;
  ptrdiff_t count, capacity;
  double cutoff;
};

/* Falling similarity, ties by the lowest row: a total order, so that qsort has one result. */
static int nearer_first(const void *x, const void *y) {
  const struct candidate *a = x, *b = y;
  if (a->similarity != b->similarity) return a->similarity > b->similarity ? -1 : 1;
  return a->row < b->row ? -1 : a->row > b->row;
}

/* How far a screened similarity may be from the exact one: the error of a sum of d products in any order is below
 * gamma(d) sum |u_i v_i| <= gamma(d) |u| |v| with gamma(d) = d eps / (1 - d eps) (Higham, "Accuracy and stability of numerical
 * algorithms", 2nd ed., eq. 3.5), and the rows have length 1 to a few eps. The sum in double has its own share. */
static double screening_error(ptrdiff_t d) {
  double n = (double)d + 8;
  return n * REAL_ROUNDOFF / (1 - n * REAL_ROUNDOFF) + n * 0x1p-53 / (1 - n * 0x1p-53);
}

/* The k-th largest similarity of n candidates, which are put in another order (C. A. R. Hoare, "Algorithm 65: Find", CACM 4, 1961). A sort
 * would take most of the time of the search at k = 200. */
static double kth_largest(struct candidate *a, ptrdiff_t n, ptrdiff_t k) {
  ptrdiff_t first = 0, last = n - 1;
  while (first < last) {
    double pivot = a[first + (last - first) / 2].similarity;
    ptrdiff_t i = first, j = last;
    while (i <= j) {
      while (a[i].similarity > pivot) i++;
      while (a[j].similarity < pivot) j--;
      if (i > j) break;
      struct candidate kept = a[i];
      a[i++] = a[j], a[j--] = kept;
    }
    if (k - 1 <= j)
      last = j;
    else if (k - 1 >= i)
      first = i;
    else
      break; /* between the two parts: equal to the pivot */
  }
  return a[k - 1].similarity;
}

/* Drops what can no longer be among the k nearest: with s the k-th largest screened similarity and e the screening error, k rows are
 * exactly as near as s - e or nearer, so that a row whose exact similarity reaches that has a screened one of s - 2 e at least. */
static void prune(struct candidates *c, ptrdiff_t k, double error) {
  if (c->count < k) return;
  c->cutoff = kth_largest(c->at, c->count, k) - 2 * error;
  ptrdiff_t kept = 0;
  for (ptrdiff_t i = 0; i < c->count; i++)
    if (c->at[i].similarity >= c->cutoff) c->at[kept++] = c->at[i];
  c->count = kept;
}

/* Offers the similarities s of rows first..first + rows - 1. False: no memory. */
static bool offer(struct candidates *c, ptrdiff_t k, double error, const real *s, ptrdiff_t first, ptrdiff_t rows) {
  for (ptrdiff_t i = 0; i < rows; i++) {
    if ((double)s[i] < c->cutoff) continue;
    if (c->count == c->capacity) prune(c, k, error);
    if (c->count > c->capacity / 2) { /* pruning freed little (many near ties): pruning again soon would be quadratic */
      ptrdiff_t capacity = 2 * c->capacity;
      struct candidate *at = realloc(c->at, (size_t)capacity * sizeof *at);
      if (!at) return false;
      c->at = at, c->capacity = capacity;
    }
    c->at[c->count++] = (struct candidate){(double)s[i], first + i};
  }
  return true;
}

/* The exact similarities of the candidates of one query, the first k of them to the caller's arrays. */
static void decide(const struct knn *g, struct candidates *c, double error, const real *u, const real *query, int32_t *neighbour,
                   double *similarity) {
  prune(c, g->k, error);
  for (ptrdiff_t i = 0; i < c->count; i++) {
    const real *row = u + c->at[i].row * g->d;
    double sum = 0;
    for (ptrdiff_t j = 0; j < g->d; j++) sum += (double)row[j] * (double)query[j];
    c->at[i].similarity = sum;
  }
  qsort(c->at, (size_t)c->count, sizeof *c->at, nearer_first);
  assert(c->count >= g->k);
  for (ptrdiff_t i = 0; i < g->k; i++) {
    if (neighbour) neighbour[i] = (int32_t)c->at[i].row;
    if (similarity) similarity[i] = c->at[i].similarity;
  }
}

/* Queries first..first + count - 1 against the whole bank, on one thread. u, v: normalised bank and queries. */
static bool search_block(const struct knn *g, const real *u, const real *v, ptrdiff_t first, ptrdiff_t count, int32_t *neighbour,
                         double *similarity) {
  double error = screening_error(g->d);
  ptrdiff_t capacity = 4 * g->k + 64; /* room beyond k, so that pruning is rare */
  real *tile = malloc(QUERIES * ROWS * sizeof *tile);
  struct candidates *c = calloc(QUERIES, sizeof *c);
  bool ok = tile && c;
  for (ptrdiff_t i = 0; ok && i < count; i++) {
    c[i] = (struct candidates){malloc((size_t)capacity * sizeof *c[i].at), 0, capacity, -INFINITY};
    ok = c[i].at != NULL;
  }
  for (ptrdiff_t row = 0; ok && row < g->m; row += ROWS) {
    ptrdiff_t rows = size_min(ROWS, g->m - row);
    gemm(0, 1, count, rows, g->d, 1, v + first * g->d, g->d, u + row * g->d, g->d, 0, tile, ROWS);
    for (ptrdiff_t i = 0; ok && i < count; i++) ok = offer(&c[i], g->k, error, tile + i * ROWS, row, rows);
  }
  for (ptrdiff_t i = 0; ok && i < count; i++)
    decide(g, &c[i], error, u, v + (first + i) * g->d, neighbour ? neighbour + (first + i) * g->k : NULL,
           similarity ? similarity + (first + i) * g->k : NULL);
  for (ptrdiff_t i = 0; c && i < count; i++) free(c[i].at);
  free(c);
  free(tile);
  return ok;
}

/* Normalised copy of rows x d, or null with the message set. */
static real *normalised(ptrdiff_t rows, ptrdiff_t d, const real *x, const char *what, struct error *err) {
  for (ptrdiff_t i = 0; i < rows; i++)
    for (ptrdiff_t j = 0; j < d; j++)
      if (!isfinite(x[i * d + j])) {
        fail(err, "k-NN: feature %td of %s row %td is not finite; the network that made it has diverged", j, what, i);
        return NULL;
      }
  ptrdiff_t n;
  bool fits = size_product(rows, d, sizeof(real), 1, &n);
  real *u = fits ? malloc((size_t)size_max(n, 1)) : NULL;
  double *inverse = malloc((size_t)size_max(rows, 1) * sizeof *inverse);
  if (u && inverse) {
    unit_forward(rows, d, x, u, inverse);
  } else {
    fail(err, "k-NN: out of memory for %td normalised %s rows of %td features; use fewer rows", rows, what, d);
    free(u);
    u = NULL;
  }
  free(inverse);
  return u;
}

bool knn_search(const struct knn *g, const real *bank, const real *query, int32_t *neighbour, double *similarity, struct error *err) {
  assert(g->m >= 0 && g->q >= 0 && g->d >= 1);
  if (g->k < 1 || g->k > g->m) return fail(err, "k-NN: k = %td, but the bank has %td rows; choose k in 1..%td", g->k, g->m, g->m);
  if (g->m > INT32_MAX) return fail(err, "k-NN: a bank of %td rows; at most 2^31 - 1 are supported", g->m);
  real *u = normalised(g->m, g->d, bank, "bank", err), *v = u ? normalised(g->q, g->d, query, "query", err) : NULL;
  bool ok = u && v, enough = true;
  if (ok) {
    ptrdiff_t blocks = size_ceil_div(g->q, QUERIES);
#pragma omp parallel for schedule(dynamic) reduction(&& : enough)
    for (ptrdiff_t b = 0; b < blocks; b++)
      enough = enough && search_block(g, u, v, b * QUERIES, size_min(QUERIES, g->q - b * QUERIES), neighbour, similarity);
    if (!enough) ok = fail(err, "k-NN: out of memory while searching a bank of %td rows; use fewer rows or threads", g->m);
  }
  free(u);
  free(v);
  return ok;
}

bool knn_vote(const struct knn *g, ptrdiff_t k, int classes, double temperature, const int32_t *label, const int32_t *neighbour,
              const double *similarity, double *votes, int32_t *prediction, struct error *err) {
  assert(classes >= 1);
  if (k < 1 || k > g->k) return fail(err, "k-NN: k = %td, but %td neighbours were searched; choose k in 1..%td", k, g->k, g->k);
  if (!(temperature >= TEMPERATURE_MIN))
    return fail(err, "k-NN: temperature %g is too small; choose %g or more", temperature, TEMPERATURE_MIN);
  for (ptrdiff_t i = 0; i < g->m; i++)
    if (label[i] < 0 || label[i] >= classes)
      return fail(err, "k-NN: label %d of bank row %td is not in 0..%d; every row of the bank needs a class", (int)label[i], i,
                  classes - 1);
  double *row = malloc((size_t)classes * sizeof *row);
  if (!row) return fail(err, "k-NN: out of memory for the votes of %d classes", classes);
  for (ptrdiff_t i = 0; i < g->q; i++) {
    memset(row, 0, (size_t)classes * sizeof *row);
    for (ptrdiff_t j = 0; j < k; j++) row[label[neighbour[i * g->k + j]]] += exp(similarity[i * g->k + j] / temperature);
    int best = 0;
    for (int c = 1; c < classes; c++)
      if (row[c] > row[best]) best = c;
    if (votes) memcpy(votes + i * classes, row, (size_t)classes * sizeof *row);
    if (prediction) prediction[i] = best;
  }
  free(row);
  return true;
}

struct share knn_accuracy(ptrdiff_t count, const int32_t *prediction, const int32_t *label) {
  ptrdiff_t hits = 0;
  for (ptrdiff_t i = 0; i < count; i++) hits += prediction[i] == label[i];
  return share_of(hits, count);
}
