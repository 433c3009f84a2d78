/* Convolution: the plain loops against known answers and against each other, the fast forms against the plain ones. */
#include "op/conv.h"

#include <limits.h>
#include <omp.h>
#include <string.h>

#include "base/size.h"
#include "op/chain.h"
#include "support/cmocka.h"
#include "support/support.h"

static const struct {
  ptrdiff_t n, h, w, c, k, r, s, stride, pad;
} shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0},     /* one product */
    {2, 5, 4, 6, 7, 1, 1, 1, 0},     /* 1x1, no patches */
    {3, 9, 10, 17, 300, 1, 1, 1, 0}, /* two blocks of output channels */
    {1, 7, 5, 600, 3, 1, 1, 1, 0},   /* two blocks of input channels */
    {1, 4, 6, 3, 5, 1, 1, 1, 1},     /* 1x1 with padding */
    {2, 8, 8, 5, 6, 1, 1, 2, 0},     /* three of four phases of dx are 0 */
    {2, 7, 9, 5, 6, 1, 1, 2, 0},     /* ... on odd maps */
    {1, 5, 5, 2, 3, 1, 1, 3, 0},     /* stride beyond the kernel */
    {1, 2, 1, 2, 3, 1, 1, 3, 0},     /* stride beyond the map: empty phases */
    {2, 8, 8, 6, 5, 3, 3, 1, 1},     /* 3x3 */
    {2, 7, 6, 6, 5, 3, 3, 1, 1},     /* odd */
    {1, 6, 7, 3, 4, 3, 3, 1, 0},     /* no padding */
    {1, 1, 9, 4, 3, 3, 3, 1, 1},     /* one row */
    {1, 9, 1, 4, 3, 3, 3, 1, 1},     /* one column */
    {1, 1, 1, 4, 3, 3, 3, 1, 1},     /* a map smaller than the kernel */
    {1, 6, 6, 1, 1, 3, 3, 1, 1},     /* one channel */
    {2, 8, 8, 6, 5, 3, 3, 2, 1},     /* 3x3 stride 2 */
    {2, 7, 5, 6, 5, 3, 3, 2, 1},     /* odd: the last row and column count */
    {1, 1, 2, 6, 5, 3, 3, 2, 1},     /* smaller than the kernel */
    {2, 1, 1, 3, 2, 3, 3, 2, 1},     /* one pixel, stride 2: empty phases */
    {1, 16, 14, 3, 8, 7, 7, 2, 3},   /* the stem */
    {1, 13, 15, 3, 8, 7, 7, 2, 3},   /* the stem, odd */
    {1, 2, 3, 3, 2, 7, 7, 2, 3},     /* ... on a map smaller than the kernel */
    {1, 8, 9, 3, 4, 2, 4, 3, 1},     /* a kernel that is not square and even; a stride that does not divide the map */
    {1, 6, 6, 2, 3, 3, 3, 1, 4},     /* padding beyond the kernel: outputs that see only zeros */
    {1, 6, 5, 2, 3, 3, 3, 2, 5},     /* the same with stride */
    {3, 20, 21, 5, 7, 3, 3, 1, 1},   /* several tiles, ending in a short one; one chunk */
    {3, 33, 31, 4, 6, 3, 3, 1, 1},   /* chunks of positions with partial dw */
    {4, 29, 31, 6, 5, 1, 1, 1, 0},   /* chunks without patches */
    {2, 61, 63, 3, 5, 7, 7, 2, 3},   /* chunks, stride 2 */
    {1, 29, 29, 1, 40, 3, 3, 2, 1},  /* 15 x 15 positions in the first phase of dx make two tiles, 15 x 14 in the next one larger */
    {1, 6, 6, 300, 520, 1, 1, 1, 0}, /* few rows: columns of the product cut */
    {1, 6, 6, 300, 290, 3, 3, 2, 1}, /* ... with patches, in both directions */
    {1, 5, 6, 171, 3, 3, 3, 1, 1},   /* columns of dw cut by tap */
    {1, 5, 6, 70, 3, 3, 3, 2, 1},    /* ... by kernel row */
    {1, 5, 6, 180, 260, 3, 3, 1, 1}, /* ... by tap and output channel */
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

enum { GUARD = 64 };
static const real GUARD_VALUE = (real)-12345.0;

/* n reals that start as NaN, and GUARD more behind them that nobody may touch. */
static real *guarded(ptrdiff_t n) {
  real *p = test_reals(n + GUARD);
  for (ptrdiff_t i = 0; i < n; i++) p[i] = (real)NAN;
  for (ptrdiff_t i = n; i < n + GUARD; i++) p[i] = GUARD_VALUE;
  return p;
}
static void guarded_free(real *p, ptrdiff_t n) {
  for (ptrdiff_t i = n; i < n + GUARD; i++) assert_true(p[i] == GUARD_VALUE);
  free(p);
}

/* Everything one shape needs. The outputs of the fast forms and the scratch are guarded; poison() makes them NaN. */
struct trial {
  struct conv g;
  ptrdiff_t nx, nw, ny, nscratch;
  real *x, *w, *dy, *y, *dx, *dw, *scratch;
};

static struct trial trial_make(int shape) {
  struct trial b = {0};
  struct error err;
  assert_true(conv_make(&b.g, shapes[shape].n, shapes[shape].h, shapes[shape].w, shapes[shape].c, shapes[shape].k, shapes[shape].r,
                        shapes[shape].s, shapes[shape].stride, shapes[shape].pad, &err));
  b.nx = b.g.n * b.g.h * b.g.w * b.g.c;
  b.nw = b.g.k * b.g.r * b.g.s * b.g.c;
  b.ny = b.g.n * b.g.p * b.g.q * b.g.k;
  b.nscratch = conv_scratch(&b.g, omp_get_max_threads());
  b.x = test_reals(b.nx), b.w = test_reals(b.nw), b.dy = test_reals(b.ny);
  b.y = guarded(b.ny), b.dx = guarded(b.nx), b.dw = guarded(b.nw), b.scratch = guarded(b.nscratch);
  return b;
}
static void trial_free(struct trial *b) {
  free(b->x), free(b->w), free(b->dy);
  guarded_free(b->y, b->ny), guarded_free(b->dx, b->nx), guarded_free(b->dw, b->nw), guarded_free(b->scratch, b->nscratch);
}
static void trial_normal(struct trial *b) {
  test_fill_normal(b->x, b->nx, 1);
  test_fill_normal(b->w, b->nw, 2);
  test_fill_normal(b->dy, b->ny, 3);
}
/* Small enough that every partial sum is an integer below 2^24: exact in float in any order. The longest sums here have 2 61 63
 * terms of at most 9. */
static void trial_int(struct trial *b) {
  test_fill_int(b->x, b->nx, 3, 1);
  test_fill_int(b->w, b->nw, 3, 2);
  test_fill_int(b->dy, b->ny, 3, 3);
}

static double dot(const real *a, const real *b, ptrdiff_t n) {
  double sum = 0;
  for (ptrdiff_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
  return sum;
}

/* 3x3 image 1..9, kernel rows (1 2 3) (4 5 6) (7 8 9), worked out by hand. */
static void known_answers(void **state) {
  (void)state;
  real nine[9], y[9], one[1];
  for (int i = 0; i < 9; i++) nine[i] = (real)(i + 1);
  struct conv g;
  struct error err;
  assert_true(conv_make(&g, 1, 3, 3, 1, 1, 3, 3, 1, 0, &err));
  assert_true(g.p == 1 && g.q == 1);
  conv_forward_plain(&g, nine, nine, one);
  assert_true(one[0] == 285); /* 1 + 4 + ... + 81 */
  assert_true(conv_make(&g, 1, 3, 3, 1, 1, 3, 3, 1, 1, &err));
  conv_forward_plain(&g, nine, nine, y);
  assert_true(y[0] == 1 * 5 + 2 * 6 + 4 * 8 + 5 * 9); /* top left: the kernel's lower right */
  assert_true(y[5] == 2 * 1 + 3 * 2 + 5 * 4 + 6 * 5 + 8 * 7 + 9 * 8);
  assert_true(conv_make(&g, 1, 3, 3, 1, 1, 3, 3, 2, 1, &err));
  assert_true(g.p == 2 && g.q == 2);
  conv_forward_plain(&g, nine, nine, y);
  assert_true(y[3] == 5 * 1 + 6 * 2 + 8 * 4 + 9 * 5);
}

/* sum(dy * conv(x, w)) is linear in x and in w, so it equals sum(dx * x) and sum(dw * w), exactly in integers. */
static void plain_gradients_are_adjoint(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    struct trial b = trial_make(i);
    trial_int(&b);
    memset(b.dw, 0, (size_t)b.nw * sizeof(real));
    conv_forward_plain(&b.g, b.x, b.w, b.y);
    conv_backward_data_plain(&b.g, b.dy, b.w, b.dx, false);
    conv_backward_weights_plain(&b.g, b.x, b.dy, b.dw);
    double scalar = dot(b.y, b.dy, b.ny);
    assert_true(scalar == dot(b.dx, b.x, b.nx));
    assert_true(scalar == dot(b.dw, b.w, b.nw));
    trial_free(&b);
  }
}

/* Central differences of sum(dy * y) by every element of x and w, through the fast forward. The sum is linear in each element, so
 * the difference with step 1 is the derivative itself, and exact in integers. */
static void gradients_are_derivatives(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    struct trial b = trial_make(i);
    if ((b.nx + b.nw) * b.ny <= 200000) { /* the small shapes */
      trial_int(&b);
      memset(b.dw, 0, (size_t)b.nw * sizeof(real));
      conv_backward_data(&b.g, b.dy, b.w, b.dx, false, b.scratch);
      conv_backward_weights(&b.g, b.x, b.dy, b.dw, b.scratch);
      for (ptrdiff_t j = 0; j < b.nx + b.nw; j++) {
        real *at = j < b.nx ? b.x + j : b.w + j - b.nx, kept = *at;
        *at = kept + 1;
        conv_forward(&b.g, b.x, b.w, b.y, b.scratch);
        double up = dot(b.y, b.dy, b.ny);
        *at = kept - 1;
        conv_forward(&b.g, b.x, b.w, b.y, b.scratch);
        double down = dot(b.y, b.dy, b.ny);
        *at = kept;
        assert_true((up - down) / 2 == (double)(j < b.nx ? b.dx[j] : b.dw[j - b.nx]));
      }
    }
    trial_free(&b);
  }
}

/* Integers: fast and plain agree bit for bit; overwritten outputs and scratch start as NaN; nothing is written behind them;
 * accumulation adds to what was there. */
static void fast_is_exact_on_integers(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    struct trial b = trial_make(i);
    trial_int(&b);
    real *y = test_reals(b.ny), *dx = test_reals(b.nx), *dw = test_reals(b.nw);
    conv_forward_plain(&b.g, b.x, b.w, y);
    conv_forward(&b.g, b.x, b.w, b.y, b.scratch);
    assert_all_equal(b.y, y, b.ny);

    conv_backward_data_plain(&b.g, b.dy, b.w, dx, false);
    conv_backward_data(&b.g, b.dy, b.w, b.dx, false, b.scratch);
    assert_all_equal(b.dx, dx, b.nx);
    conv_backward_data(&b.g, b.dy, b.w, b.dx, true, b.scratch);
    for (ptrdiff_t j = 0; j < b.nx; j++) assert_true(b.dx[j] == 2 * dx[j]);
    conv_backward_data_plain(&b.g, b.dy, b.w, dx, true);
    assert_all_equal(b.dx, dx, b.nx);

    test_fill_int(dw, b.nw, 3, 4);
    memcpy(b.dw, dw, (size_t)b.nw * sizeof(real));
    conv_backward_weights_plain(&b.g, b.x, b.dy, dw);
    conv_backward_weights(&b.g, b.x, b.dy, b.dw, b.scratch);
    assert_all_equal(b.dw, dw, b.nw);
    free(y), free(dx), free(dw);
    trial_free(&b);
  }
}

static void absolute(real *x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (real)fabs((double)x[i]);
}

/* A sum of L products, in any order, fused or not, is off by at most L u / (1 - L u) times the sum of |a b| (Higham, Accuracy and
 * Stability, section 3.1); here fast and plain both round, so twice that, and L + 2 covers the value added to and the last
 * rounding. gauge is that sum of |a b|, from the plain form on absolute values. */
static void check_gauge(const real *fast, const real *plain, const real *gauge, ptrdiff_t n, ptrdiff_t terms) {
  for (ptrdiff_t i = 0; i < n; i++) {
    double bound = 2.0 * (double)(terms + 2) * REAL_ROUNDOFF * 1.01 * (double)gauge[i];
    if (!(fabs((double)fast[i] - (double)plain[i]) <= bound)) fail_msg("[%td] is %.9g, plain %.9g", i, (double)fast[i], (double)plain[i]);
  }
}

static void fast_is_within_the_rounding_bound(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    struct trial b = trial_make(i);
    trial_normal(&b);
    real *y = test_reals(b.ny), *dx = test_reals(b.nx), *dw = test_reals(b.nw), *old = test_reals(b.nx), *old_w = test_reals(b.nw);
    test_fill_normal(old, b.nx, 5);
    test_fill_normal(old_w, b.nw, 6);
    memcpy(b.dx, old, (size_t)b.nx * sizeof(real)), memcpy(dx, old, (size_t)b.nx * sizeof(real));
    memcpy(b.dw, old_w, (size_t)b.nw * sizeof(real)), memcpy(dw, old_w, (size_t)b.nw * sizeof(real));
    conv_forward(&b.g, b.x, b.w, b.y, b.scratch);
    conv_backward_data(&b.g, b.dy, b.w, b.dx, true, b.scratch);
    conv_backward_weights(&b.g, b.x, b.dy, b.dw, b.scratch);
    conv_forward_plain(&b.g, b.x, b.w, y);
    conv_backward_data_plain(&b.g, b.dy, b.w, dx, true);
    conv_backward_weights_plain(&b.g, b.x, b.dy, dw);

    real *gauge_y = test_reals(b.ny), *gauge_dx = old, *gauge_dw = old_w;
    absolute(b.x, b.nx), absolute(b.w, b.nw), absolute(b.dy, b.ny), absolute(old, b.nx), absolute(old_w, b.nw);
    conv_forward_plain(&b.g, b.x, b.w, gauge_y);
    conv_backward_data_plain(&b.g, b.dy, b.w, gauge_dx, true);
    conv_backward_weights_plain(&b.g, b.x, b.dy, gauge_dw);
    check_gauge(b.y, y, gauge_y, b.ny, b.g.r * b.g.s * b.g.c);
    check_gauge(b.dx, dx, gauge_dx, b.nx, b.g.r * b.g.s * b.g.k);
    check_gauge(b.dw, dw, gauge_dw, b.nw, b.g.n * b.g.p * b.g.q);
    free(y), free(dx), free(dw), free(gauge_y), free(old), free(old_w);
    trial_free(&b);
  }
}

static void threads_change_no_bit(void **state) {
  (void)state;
  int before = omp_get_max_threads();
  static const int counts[] = {1, 2, 3, 5};
  for (int i = 0; i < SHAPES; i++) {
    real *y = NULL, *dx = NULL, *dw = NULL;
    for (size_t t = 0; t < sizeof counts / sizeof counts[0]; t++) {
      omp_set_num_threads(counts[t]);
      struct trial b = trial_make(i); /* scratch for just so many threads */
      trial_normal(&b);
      memset(b.dw, 0, (size_t)b.nw * sizeof(real));
      conv_forward(&b.g, b.x, b.w, b.y, b.scratch);
      conv_backward_data(&b.g, b.dy, b.w, b.dx, false, b.scratch);
      conv_backward_weights(&b.g, b.x, b.dy, b.dw, b.scratch);
      if (t == 0) {
        y = test_reals(b.ny), dx = test_reals(b.nx), dw = test_reals(b.nw);
        memcpy(y, b.y, (size_t)b.ny * sizeof(real));
        memcpy(dx, b.dx, (size_t)b.nx * sizeof(real));
        memcpy(dw, b.dw, (size_t)b.nw * sizeof(real));
      }
      assert_memory_equal(b.y, y, (size_t)b.ny * sizeof(real));
      assert_memory_equal(b.dx, dx, (size_t)b.nx * sizeof(real));
      assert_memory_equal(b.dw, dw, (size_t)b.nw * sizeof(real));
      trial_free(&b);
    }
    free(y), free(dx), free(dw);
  }
  omp_set_num_threads(before);
}

/* Element (row, column, channel) of an image's map, 0 outside of it. */
static real map_at(const real *map, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t channels, ptrdiff_t row, ptrdiff_t column, ptrdiff_t c) {
  return row < 0 || row >= rows || column < 0 || column >= columns ? 0 : map[(row * columns + column) * channels + c];
}

/* The terms of dx[n,h,w,c] in their order, r, s, k, and how many; a and b: of dy and of w. */
static ptrdiff_t terms_of_dx(const struct trial *t, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c, real *a, real *b) {
  const struct conv *g = &t->g;
  ptrdiff_t terms = 0;
  for (ptrdiff_t r = 0; r < g->r; r++)
    for (ptrdiff_t s = 0; s < g->s; s++) {
      if ((h + g->pad - r) % g->stride != 0 || (w + g->pad - s) % g->stride != 0) continue;
      for (ptrdiff_t k = 0; k < g->k; k++, terms++) {
        a[terms] = map_at(t->dy + n * g->p * g->q * g->k, g->p, g->q, g->k, (h + g->pad - r) / g->stride, (w + g->pad - s) / g->stride, k);
        b[terms] = t->w[((k * g->r + r) * g->s + s) * g->c + c];
      }
    }
  return terms;
}

/* Not only within a bound: to the bit the chains that conv.h promises, so that no processor and no library has a say in a result. */
static void sums_are_chains(void **state) {
  (void)state;
  for (int shape = 0; shape < SHAPES; shape++) {
    struct trial t = trial_make(shape);
    const struct conv *g = &t.g;
    trial_normal(&t);
    ptrdiff_t positions = g->n * g->p * g->q, depth = g->r * g->s * g->c, most = size_max(positions, g->r * g->s * size_max(g->c, g->k));
    real *a = test_reals(most), *b = test_reals(most);
    conv_forward(g, t.x, t.w, t.y, t.scratch);
    for (ptrdiff_t i = 0; i < t.ny; i++) {
      ptrdiff_t k = i % g->k, q = i / g->k % g->q, p = i / g->k / g->q % g->p, n = i / g->k / g->q / g->p;
      for (ptrdiff_t d = 0; d < depth; d++)
        a[d] = map_at(t.x + n * g->h * g->w * g->c, g->h, g->w, g->c, p * g->stride - g->pad + d / g->c / g->s,
                      q * g->stride - g->pad + d / g->c % g->s, d % g->c);
      real sum = chain(depth, a, 1, t.w + k * depth, 1);
      assert_memory_equal(t.y + i, &sum, sizeof sum);
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
      real *start = test_reals(t.nx);
      test_fill_normal(start, t.nx, 4);
      if (accumulate) memcpy(t.dx, start, (size_t)t.nx * sizeof(real));
      conv_backward_data(g, t.dy, t.w, t.dx, accumulate, t.scratch);
      for (ptrdiff_t i = 0; i < t.nx; i++) {
        ptrdiff_t c = i % g->c, w = i / g->c % g->w, h = i / g->c / g->w % g->h, n = i / g->c / g->w / g->h;
        ptrdiff_t terms = terms_of_dx(&t, n, h, w, c, a, b);
        real sum = chain(terms, a, 1, b, 1);
        if (accumulate) sum = terms ? start[i] + sum : start[i];
        assert_memory_equal(t.dx + i, &sum, sizeof sum);
      }
      free(start);
    }
    real *start = test_reals(t.nw);
    test_fill_normal(start, t.nw, 5);
    memcpy(t.dw, start, (size_t)t.nw * sizeof(real));
    conv_backward_weights(g, t.x, t.dy, t.dw, t.scratch);
    ptrdiff_t chunk = conv_chunk(g);
    for (ptrdiff_t i = 0; i < t.nw; i++) {
      ptrdiff_t c = i % g->c, s = i / g->c % g->s, r = i / g->c / g->s % g->r, k = i / g->c / g->s / g->r;
      for (ptrdiff_t j = 0; j < positions; j++)
        a[j] = map_at(t.x + j / g->q / g->p * g->h * g->w * g->c, g->h, g->w, g->c, j / g->q % g->p * g->stride - g->pad + r,
                      j % g->q * g->stride - g->pad + s, c);
      real sum = chain_of_chunks(positions, chunk, t.dy + k, g->k, a, 1, start[i]);
      assert_memory_equal(t.dw + i, &sum, sizeof sum);
    }
    free(start);
    free(a), free(b);
    trial_free(&t);
  }
}

static void impossible_shapes_are_refused(void **state) {
  (void)state;
  const ptrdiff_t huge = PTRDIFF_MAX / 4;
  static const struct {
    ptrdiff_t a[9];
    const char *says;
  } bad[] = {
      {{0, 8, 8, 3, 4, 3, 3, 1, 1}, "positive"},    {{1, 8, 8, 3, -4, 3, 3, 1, 1}, "positive"},
      {{1, 8, 8, 3, 4, 3, 3, 0, 1}, "positive"},    {{1, 8, 8, 3, 4, 3, 3, 1, -1}, "not negative"},
      {{1, 2, 8, 3, 4, 5, 3, 1, 1}, "larger than"}, {{1, 8, 2, 3, 4, 3, 5, 1, 1}, "larger than"},
  };
  struct conv g = {.n = 77};
  struct error err;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    const ptrdiff_t *a = bad[i].a;
    assert_false(conv_make(&g, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], &err));
    assert_non_null(strstr(err.text, bad[i].says));
    assert_int_equal(g.n, 77); /* a failure leaves it as it was */
  }
  for (int i = 0; i < 9; i++) {
    ptrdiff_t a[9] = {1, 8, 8, 3, 4, 1, 1, 1, 0};
    if (i == 5 || i == 6) a[i - 4] = huge; /* a kernel as large as the image, and both too large */
    a[i] = huge;
    assert_false(conv_make(&g, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], &err));
    assert_non_null(strstr(err.text, "too large"));
  }
  /* x and y fit, the weights do not */
  assert_false(conv_make(&g, 1, 1, 1, INT_MAX, INT_MAX, 1, 1, 1, 0, &err));
  assert_non_null(strstr(err.text, "too large"));
  assert_true(conv_make(&g, 1, 8, 8, 3, 4, 1, 1, INT_MAX, 0, &err)); /* a long stride leaves one output */
  assert_true(g.p == 1 && g.q == 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(plain_gradients_are_adjoint),
      cmocka_unit_test(gradients_are_derivatives),
      cmocka_unit_test(fast_is_exact_on_integers),
      cmocka_unit_test(fast_is_within_the_rounding_bound),
      cmocka_unit_test(threads_change_no_bit),
      cmocka_unit_test(sums_are_chains),
      cmocka_unit_test(impossible_shapes_are_refused),
  };
  return cmocka_run_group_tests_name("conv " REAL_SUFFIX, tests, NULL, NULL);
}
