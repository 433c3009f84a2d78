/* The three losses. Twin of ref/op/loss.c, and the same bits: rows are summed as the reference sums them (rows.h), regions in its order.
 *
 * One block an image. Eight lanes share a row, so GROUPS rows are in work at a time; groups past the last row repeat it without writing,
 * because all lanes of a warp take part in a shuffle. The cosines of an image go through the scratch, and one thread adds them in order. */
#include <assert.h>

#include "cuda/rows.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

enum { GROUPS = BLOCK_THREADS / LANES };

/* One image: the inverse lengths and cosines of its rows, and one row; in doubles, as the reference. */
__device__ __host__ static inline ptrdiff_t image_scratch(ptrdiff_t n, ptrdiff_t c) { return 2 * n + c; }

size_t cuda_loss_scratch(const struct loss *g) { return (size_t)(g->b * image_scratch(g->n, g->c)) * sizeof(double); }

/* cos(a, u) of a unit row u that takes no gradient, u[k] = x[k] inverse_x; adds factor * d cos / d a to da, unless null:
 *     d cos / d a = (u - cos a / |a|) / |a|,    and u / guard's length below the guard, where the length is a constant. X: float, or
 * double for a row that was averaged in double. */
template <class X> __device__ static double cosine(ptrdiff_t c, const float *a, const X *x, double inverse_x, double factor, float *da) {
  double inverse = row_inverse(row_products(c, a, a)), lane = 0;
  for (ptrdiff_t k = threadIdx.x % LANES; k < c; k += LANES) lane += (double)a[k] * ((double)x[k] * inverse_x);
  double cos = inverse * join_lanes(lane), along = row_is_guarded(inverse) ? 0.0 : cos * inverse;
  for (ptrdiff_t k = threadIdx.x % LANES; da && k < c; k += LANES)
    da[k] = (float)((double)da[k] + factor * inverse * ((double)x[k] * inverse_x - along * (double)a[k]));
  return cos;
}

/* Sum of the n cosines in order; for one thread, after a barrier. */
__device__ static double sum_in_order(ptrdiff_t n, const double *cos) {
  double sum = 0;
  for (ptrdiff_t j = 0; j < n; j++) sum += cos[j];
  return sum;
}

/* The row of this group of lanes in round `from`, and whether it is one. */
__device__ static inline ptrdiff_t row_of_group(ptrdiff_t from, ptrdiff_t n, bool *is_row) {
  ptrdiff_t row = from + threadIdx.x / LANES;
  *is_row = row < n;
  return *is_row ? row : n - 1;
}

/* ---- Eq. 2: BYOL -------------------------------------------------------------------------------------------------------------------- */

/* A group of lanes an image. */
__global__ static void byol(ptrdiff_t b, ptrdiff_t c, const float *q, const float *z, double factor, double *value, float *dq) {
  bool is_row;
  ptrdiff_t row = row_of_group((ptrdiff_t)blockIdx.x * GROUPS, b, &is_row);
  const float *zb = z + row * c;
  double inverse = row_inverse(row_products(c, zb, zb));
  double cos = cosine(c, q + row * c, zb, inverse, factor, dq && is_row ? dq + row * c : nullptr);
  if (is_row && threadIdx.x % LANES == 0) value[row] = 2.0 - 2.0 * cos;
}

/* value: overwritten; dq: added to, null for none. */
void cuda_loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *) {
  double factor = -2.0 * scale / (double)g->b;
  LAUNCH(byol, blocks_for(g->b * LANES), dim3(BLOCK_THREADS), 0, cuda_stream(), g->b, g->c, q, z, factor, value, scale == 0 ? nullptr : dq);
  cuda_launched("loss_byol");
}

/* ---- Eq. 5: R-DEM ------------------------------------------------------------------------------------------------------------------- */

/* dr[i] += factor / |r[i]| sum over the partners k of i of (u[k] - cos[k] u[i]): its own term first, then every j matched to it in rising
 * order, unless the match is a constant. All threads of the block walk over the terms; each has its own channels. */
__device__ static void rdem_gradient(struct loss g, const float *r, const int32_t *d, enum rdem_stopgrad stopgrad, double factor,
                                     const double *inverse, const double *cos, float *dr) {
  ptrdiff_t terms = stopgrad == RDEM_STOPGRAD_NONE ? g.n : 0;
  for (ptrdiff_t i = 0; i < g.n; i++)
    for (ptrdiff_t k = threadIdx.x; k < g.c; k += BLOCK_THREADS) {
      double cosines = 0, row = 0;
      for (ptrdiff_t term = -1; term < terms; term++) {
        if (term >= 0 && d[term] != i) continue;
        ptrdiff_t partner = term < 0 ? d[i] : term;
        row += inverse[partner] * (double)r[partner * g.c + k];
        cosines += cos[term < 0 ? i : term];
      }
      double along = row_is_guarded(inverse[i]) ? 0.0 : cosines * inverse[i];
      float *at = dr + i * g.c + k;
      *at = (float)((double)*at + factor * inverse[i] * (row - along * (double)r[i * g.c + k]));
    }
}

__global__ static void rdem(struct loss g, const float *r, const int32_t *d, enum rdem_stopgrad stopgrad, double factor, double *value,
                            float *dr, double *scratch) {
  const ptrdiff_t b = blockIdx.x, n = g.n, c = g.c;
  double *inverse = scratch + b * image_scratch(n, c), *cos = inverse + n;
  bool is_row;
  r += b * n * c, d += b * n;
  for (ptrdiff_t from = 0; from < n; from += GROUPS) {
    ptrdiff_t j = row_of_group(from, n, &is_row);
    double square = row_products(c, r + j * c, r + j * c);
    if (is_row && threadIdx.x % LANES == 0) inverse[j] = row_inverse(square);
  }
  __syncthreads();
  for (ptrdiff_t from = 0; from < n; from += GROUPS) {
    ptrdiff_t j = row_of_group(from, n, &is_row);
    assert(d[j] >= 0 && d[j] < n);
    double product = row_products(c, r + j * c, r + d[j] * c);
    if (is_row && threadIdx.x % LANES == 0) cos[j] = inverse[j] * inverse[d[j]] * product;
  }
  __syncthreads();
  if (threadIdx.x == 0) value[b] = sum_in_order(n, cos) / (double)n;
  if (dr) rdem_gradient(g, r, d, stopgrad, factor, inverse, cos, dr + b * n * c);
}

/* value: overwritten; dr: added to, null for none. */
void cuda_loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                    real *dr, void *scratch) {
  double factor = scale / ((double)g->b * (double)g->n);
  LAUNCH(rdem, dim3((unsigned)g->b), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, r, d, stopgrad, factor, value, scale == 0 ? nullptr : dr,
         (double *)scratch);
  cuda_launched("loss_rdem");
}

/* The negative is the mean row of another image: its sums over regions a thread a channel, its length by one thread, both in order. */
__global__ static void rdem_instance(struct loss g, const float *r, const float *g_target, const int32_t *neg, double factor, double *value,
                                     float *dr, double *scratch) {
  const ptrdiff_t b = blockIdx.x, n = g.n, c = g.c;
  double *inverse = scratch + b * image_scratch(n, c), *cos = inverse + n, *u = cos + n;
  assert(neg[b] >= 0 && neg[b] < g.b);
  const float *negative = g_target + neg[b] * n * c;
  for (ptrdiff_t k = threadIdx.x; k < c; k += BLOCK_THREADS) {
    double sum = 0;
    for (ptrdiff_t j = 0; j < n; j++) sum += (double)negative[j * c + k];
    u[k] = sum / (double)n;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double square = 0;
    for (ptrdiff_t k = 0; k < c; k++) square += u[k] * u[k];
    inverse[0] = row_inverse(square);
  }
  __syncthreads();
  bool is_row;
  for (ptrdiff_t from = 0; from < n; from += GROUPS) {
    ptrdiff_t j = row_of_group(from, n, &is_row), at = (b * n + j) * c;
    double one = cosine(c, r + at, u, inverse[0], factor, dr && is_row ? dr + at : nullptr);
    if (is_row && threadIdx.x % LANES == 0) cos[j] = one;
  }
  __syncthreads();
  if (threadIdx.x == 0) value[b] = sum_in_order(n, cos) / (double)n;
}

/* value: overwritten; dr: added to, null for none. */
void cuda_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale, double *value,
                             real *dr, void *scratch) {
  double factor = scale / ((double)g->b * (double)g->n);
  LAUNCH(rdem_instance, dim3((unsigned)g->b), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, r, g_target, neg, factor, value,
         scale == 0 ? nullptr : dr, (double *)scratch);
  cuda_launched("loss_rdem_instance");
}

/* ---- Eq. 7: R-IEM ------------------------------------------------------------------------------------------------------------------- */

__global__ static void riem(struct loss g, const float *p, const float *g_target, const int32_t *s, double factor, double *value, float *dp,
                            double *scratch) {
  const ptrdiff_t b = blockIdx.x, n = g.n, c = g.c;
  double *cos = scratch + b * image_scratch(n, c);
  bool is_row;
  for (ptrdiff_t from = 0; from < n; from += GROUPS) {
    ptrdiff_t j = row_of_group(from, n, &is_row), at = (b * n + j) * c;
    assert(s[b * n + j] >= 0 && s[b * n + j] < n);
    const float *matched = g_target + (b * n + s[b * n + j]) * c;
    double inverse = row_inverse(row_products(c, matched, matched));
    double one = cosine(c, p + at, matched, inverse, factor, dp && is_row ? dp + at : nullptr);
    if (is_row && threadIdx.x % LANES == 0) cos[j] = one;
  }
  __syncthreads();
  if (threadIdx.x == 0) value[b] = 1.0 - sum_in_order(n, cos) / (double)n;
}

/* value: overwritten; dp: added to, null for none. */
void cuda_loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value, real *dp,
                    void *scratch) {
  double factor = -scale / ((double)g->b * (double)g->n);
  LAUNCH(riem, dim3((unsigned)g->b), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, p, g_target, s, factor, value, scale == 0 ? nullptr : dp,
         (double *)scratch);
  cuda_launched("loss_riem");
}
