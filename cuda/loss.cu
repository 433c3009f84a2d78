/* The three losses. Twin of ref/op/loss.c, and the same bits: rows are summed as the reference sums them (rows.h), regions in its order.
 *
 * One block an image. Eight lanes share a row, so GROUPS rows are in work at a time; groups past the last row repeat it without writing,
 * because all lanes of a warp take part in a shuffle. The cosines of an image go through the scratch, and one thread adds them in order.
 *
 * T is what activations and their gradients are stored as: bf16 ones are widened, a gradient that would be written as float is rounded once
 * more. Values are double. */
#include "cuda/rows.h"
#include "cuda/runtime.h"
#include "cuda/twins.h"

enum { GROUPS = BLOCK_THREADS / LANES };

/* One image: the inverse lengths and cosines of its rows, and one row, in doubles, as the reference; for a row, two indices each. */
__device__ __host__ static inline ptrdiff_t image_scratch(ptrdiff_t n, ptrdiff_t c) { return 2 * n + (c > n ? c : n); }

size_t cuda_loss_scratch(const struct loss *g) { return (size_t)(g->b * image_scratch(g->n, g->c)) * sizeof(double); }

/* A number as a double, whatever it is stored as. */
template <class T> __device__ static inline double exact(T x) { return (double)widen(x); }
template <> __device__ inline double exact<double>(double x) { return x; }

/* cos(a, u) of a unit row u that takes no gradient, u[k] = x[k] inverse_x; adds factor * d cos / d a to da, unless null:
 *     d cos / d a = (u - cos a / |a|) / |a|,    and u / guard's length below the guard, where the length is a constant. X: T, or
 * double for a row that was averaged in double. */
template <class T, class X> __device__ static double cosine(ptrdiff_t c, const T *a, const X *x, double inverse_x, double factor, T *da) {
  double inverse = row_inverse(row_products(c, a, a)), lane = 0;
  for (ptrdiff_t k = threadIdx.x % LANES; k < c; k += LANES) lane += exact(a[k]) * (exact(x[k]) * inverse_x);
  double cos = inverse * join_lanes(lane), along = row_is_guarded(inverse) ? 0.0 : cos * inverse;
  for (ptrdiff_t k = threadIdx.x % LANES; da && k < c; k += LANES)
    da[k] = narrow<T>((float)(exact(da[k]) + factor * inverse * (exact(x[k]) * inverse_x - along * exact(a[k]))));
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
template <class T> __global__ static void byol(ptrdiff_t b, ptrdiff_t c, const T *q, const T *z, double factor, double *value, T *dq) {
  bool is_row;
  ptrdiff_t row = row_of_group((ptrdiff_t)blockIdx.x * GROUPS, b, &is_row);
  const T *zb = z + row * c;
  double inverse = row_inverse(row_products(c, zb, zb));
  double cos = cosine(c, q + row * c, zb, inverse, factor, dq && is_row ? dq + row * c : nullptr);
  if (is_row && threadIdx.x % LANES == 0) value[row] = 2.0 - 2.0 * cos;
}

template <class T> static void byol_as(const struct loss *g, const T *q, const T *z, double scale, double *value, T *dq) {
  double factor = -2.0 * scale / (double)g->b;
  LAUNCH(byol<T>, blocks_for(g->b * LANES), dim3(BLOCK_THREADS), 0, cuda_stream(), g->b, g->c, q, z, factor, value,
         scale == 0 ? nullptr : dq);
  cuda_launched("loss_byol");
}

/* value: overwritten; dq: added to, null for none. */
void cuda_loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *) {
  byol_as(g, q, z, scale, value, dq);
}

/* q, z, dq: bf16. */
void cuda_loss_byol_bf16(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *) {
  byol_as(g, activations<bf16>(q), activations<bf16>(z), scale, value, activations<bf16>(dq));
}

/* ---- Eq. 5: R-DEM ------------------------------------------------------------------------------------------------------------------- */

/* Which rows are matched to which, as chains in rising order: first[i] is the first j from 0 on with d[j] = i, next[j] the one after j with
 * the same match; n where there is none. A thread a row, so that nobody looks at all n for every row. */
__device__ static void chain_matches(ptrdiff_t n, const int32_t *d, int32_t *first, int32_t *next) {
  for (ptrdiff_t i = threadIdx.x; i < n; i += BLOCK_THREADS) {
    ptrdiff_t of_i = 0, after_i = i + 1;
    while (of_i < n && d[of_i] != i) of_i++;
    while (after_i < n && d[after_i] != d[i]) after_i++;
    first[i] = (int32_t)of_i, next[i] = (int32_t)after_i;
  }
}

/* dr[i] += factor / |r[i]| sum over the partners k of i of (u[k] - cos[k] u[i]): its own term first, then every j matched to it in rising
 * order, unless the match is a constant (first: null). All threads of the block walk over the terms; each has its own channels. */
template <class T>
__device__ static void rdem_gradient(struct loss g, const T *r, const int32_t *d, const int32_t *first, const int32_t *next, double factor,
                                     const double *inverse, const double *cos, T *dr) {
  for (ptrdiff_t i = 0; i < g.n; i++)
    for (ptrdiff_t k = threadIdx.x; k < g.c; k += BLOCK_THREADS) {
      double row = 0, cosines = 0;
      row += inverse[d[i]] * exact(r[d[i] * g.c + k]);
      cosines += cos[i];
      for (ptrdiff_t j = first ? first[i] : g.n; j < g.n; j = next[j]) {
        row += inverse[j] * exact(r[j * g.c + k]);
        cosines += cos[j];
      }
      double along = row_is_guarded(inverse[i]) ? 0.0 : cosines * inverse[i];
      T *at = dr + i * g.c + k;
      *at = narrow<T>((float)(exact(*at) + factor * inverse[i] * (row - along * exact(r[i * g.c + k]))));
    }
}

template <class T>
__global__ static void rdem(struct loss g, const T *r, const int32_t *d, enum rdem_stopgrad stopgrad, double factor, double *value, T *dr,
                            double *scratch) {
  const ptrdiff_t b = blockIdx.x, n = g.n, c = g.c;
  double *inverse = scratch + b * image_scratch(n, c), *cos = inverse + n;
  int32_t *first = dr && stopgrad == RDEM_STOPGRAD_NONE ? (int32_t *)(cos + n) : nullptr, *next = first ? first + n : nullptr;
  bool is_row;
  r += b * n * c, d += b * n;
  if (first) chain_matches(n, d, first, next);
  for (ptrdiff_t from = 0; from < n; from += GROUPS) {
    ptrdiff_t j = row_of_group(from, n, &is_row);
    double square = row_products(c, r + j * c, r + j * c);
    if (is_row && threadIdx.x % LANES == 0) inverse[j] = row_inverse(square);
  }
  __syncthreads();
  for (ptrdiff_t from = 0; from < n; from += GROUPS) {
    ptrdiff_t j = row_of_group(from, n, &is_row);
    KERNEL_ASSERT(d[j] >= 0 && d[j] < n);
    double product = row_products(c, r + j * c, r + d[j] * c);
    if (is_row && threadIdx.x % LANES == 0) cos[j] = inverse[j] * inverse[d[j]] * product;
  }
  __syncthreads();
  if (threadIdx.x == 0) value[b] = sum_in_order(n, cos) / (double)n;
  if (dr) rdem_gradient(g, r, d, first, next, factor, inverse, cos, dr + b * n * c);
}

template <class T>
static void rdem_as(const struct loss *g, const T *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value, T *dr,
                    void *scratch) {
  double factor = scale / ((double)g->b * (double)g->n);
  LAUNCH(rdem<T>, dim3((unsigned)g->b), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, r, d, stopgrad, factor, value, scale == 0 ? nullptr : dr,
         (double *)scratch);
  cuda_launched("loss_rdem");
}

/* value: overwritten; dr: added to, null for none. */
void cuda_loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                    real *dr, void *scratch) {
  rdem_as(g, r, d, stopgrad, scale, value, dr, scratch);
}

/* r, dr: bf16. */
void cuda_loss_rdem_bf16(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                         real *dr, void *scratch) {
  rdem_as(g, activations<bf16>(r), d, stopgrad, scale, value, activations<bf16>(dr), scratch);
}

/* The negative is the mean row of another image: its sums over regions a thread a channel, its length by one thread, both in order. */
template <class T>
__global__ static void rdem_instance(struct loss g, const T *r, const T *g_target, const int32_t *neg, double factor, double *value, T *dr,
                                     double *scratch) {
  const ptrdiff_t b = blockIdx.x, n = g.n, c = g.c;
  double *inverse = scratch + b * image_scratch(n, c), *cos = inverse + n, *u = cos + n;
  KERNEL_ASSERT(neg[b] >= 0);
  const T *negative = g_target + neg[b] * n * c;
  for (ptrdiff_t k = threadIdx.x; k < c; k += BLOCK_THREADS) {
    double sum = 0;
    for (ptrdiff_t j = 0; j < n; j++) sum += exact(negative[j * c + k]);
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

template <class T>
static void rdem_instance_as(const struct loss *g, const T *r, const T *g_target, const int32_t *neg, double scale, double *value, T *dr,
                             void *scratch) {
  double factor = scale / ((double)g->b * (double)g->n);
  LAUNCH(rdem_instance<T>, dim3((unsigned)g->b), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, r, g_target, neg, factor, value,
         scale == 0 ? nullptr : dr, (double *)scratch);
  cuda_launched("loss_rdem_instance");
}

/* value: overwritten; dr: added to, null for none. */
void cuda_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale, double *value,
                             real *dr, void *scratch) {
  rdem_instance_as(g, r, g_target, neg, scale, value, dr, scratch);
}

/* r, g_target, dr: bf16. */
void cuda_loss_rdem_instance_bf16(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale,
                                  double *value, real *dr, void *scratch) {
  rdem_instance_as(g, activations<bf16>(r), activations<bf16>(g_target), neg, scale, value, activations<bf16>(dr), scratch);
}

/* ---- Eq. 7: R-IEM ------------------------------------------------------------------------------------------------------------------- */

template <class T>
__global__ static void riem(struct loss g, const T *p, const T *g_target, const int32_t *s, double factor, double *value, T *dp,
                            double *scratch) {
  const ptrdiff_t b = blockIdx.x, n = g.n, c = g.c;
  double *cos = scratch + b * image_scratch(n, c);
  bool is_row;
  for (ptrdiff_t from = 0; from < n; from += GROUPS) {
    ptrdiff_t j = row_of_group(from, n, &is_row), at = (b * n + j) * c;
    KERNEL_ASSERT(s[b * n + j] >= 0 && s[b * n + j] < n);
    const T *matched = g_target + (b * n + s[b * n + j]) * c;
    double inverse = row_inverse(row_products(c, matched, matched));
    double one = cosine(c, p + at, matched, inverse, factor, dp && is_row ? dp + at : nullptr);
    if (is_row && threadIdx.x % LANES == 0) cos[j] = one;
  }
  __syncthreads();
  if (threadIdx.x == 0) value[b] = 1.0 - sum_in_order(n, cos) / (double)n;
}

template <class T>
static void riem_as(const struct loss *g, const T *p, const T *g_target, const int32_t *s, double scale, double *value, T *dp,
                    void *scratch) {
  double factor = -scale / ((double)g->b * (double)g->n);
  LAUNCH(riem<T>, dim3((unsigned)g->b), dim3(BLOCK_THREADS), 0, cuda_stream(), *g, p, g_target, s, factor, value, scale == 0 ? nullptr : dp,
         (double *)scratch);
  cuda_launched("loss_riem");
}

/* value: overwritten; dp: added to, null for none. */
void cuda_loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value, real *dp,
                    void *scratch) {
  riem_as(g, p, g_target, s, scale, value, dp, scratch);
}

/* p, g_target, dp: bf16. */
void cuda_loss_riem_bf16(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value, real *dp,
                         void *scratch) {
  riem_as(g, activations<bf16>(p), activations<bf16>(g_target), s, scale, value, activations<bf16>(dp), scratch);
}

/* ---- Eq. 3: the sum ----------------------------------------------------------------------------------------------------------------- */

/* One block. A piece of the values is fetched by all threads, and a thread a loss adds it in order; the first thread makes the sum of Eq.
 * 3. */
__global__ static void collect(ptrdiff_t b, struct loss_values v, double share, struct loss_sums *sums) {
  enum { LOSSES = 3 };
  SHARED(double, piece, [LOSSES][BLOCK_THREADS]);
  SHARED(double, mean, [LOSSES]);
  const int thread = (int)threadIdx.x, adds = thread % WARP_THREADS == 0 && thread / WARP_THREADS < LOSSES ? thread / WARP_THREADS : -1;
  double sum = 0;
  for (int view = 0; view < 2; view++) {
    const double *const value[LOSSES] = {v.rdem[view], v.riem[view], v.byol[view]};
    for (ptrdiff_t from = 0; from < b; from += BLOCK_THREADS) {
      for (int l = 0; l < LOSSES; l++) piece[l][thread] = value[l] && from + thread < b ? value[l][from + thread] : 0.0;
      __syncthreads();
      for (int i = 0; adds >= 0 && i < BLOCK_THREADS && from + i < b; i++) sum += piece[adds][i];
      __syncthreads(); /* before the next piece is written */
    }
  }
  if (adds >= 0) mean[adds] = sum / (double)b;
  __syncthreads();
  if (thread != 0) return;
  struct losses l = {mean[0], mean[1], mean[2], 0};
  l.total = v.lambda_rdem * l.rdem + v.lambda_riem * l.riem + v.lambda_byol * l.byol;
  sums->last = l;
  sums->sum.total += share * l.total, sums->sum.byol += share * l.byol;
  sums->sum.rdem += share * l.rdem, sums->sum.riem += share * l.riem;
}

/* sums->last: overwritten; sums->sum: added to. */
void cuda_loss_collect(ptrdiff_t b, const struct loss_values *v, double share, struct loss_sums *sums) {
  LAUNCH(collect, dim3(1), dim3(BLOCK_THREADS), 0, cuda_stream(), b, *v, share, sums);
  cuda_launched("loss_collect");
}
