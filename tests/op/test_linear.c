/* Linear layers against the definition, written as loops with every sum in double. */
#include "op/linear.h"

#include <omp.h>
#include <string.h>

#include "op/chain.h"
#include "op/conv.h"
#include "support/cmocka.h"
#include "support/support.h"

static const struct linear shapes[] = {
    {1, 1, 1}, {1, 5, 3}, {7, 1, 4}, {6, 9, 1}, {33, 65, 31}, {300, 20, 70}, {8, 600, 530}, {2500, 12, 9}, {1700, 70, 65},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

struct layer {
  struct linear g;
  ptrdiff_t nx, nw, ny;
  real *x, *w, *b, *dy, *y, *dx, *dw, *db, *scratch;
};

static void fill_nan(real *x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (real)NAN;
}

/* y, dx and scratch start as NaN; dw and db with numbers to be added to. */
static struct layer layer_make(int shape, void fill(real *, ptrdiff_t, uint32_t)) {
  struct linear g = shapes[shape];
  struct layer l = {.g = g, .nx = g.m * g.i, .nw = g.o * g.i, .ny = g.m * g.o};
  l.x = test_reals(l.nx), l.w = test_reals(l.nw), l.b = test_reals(g.o), l.dy = test_reals(l.ny);
  l.y = test_reals(l.ny), l.dx = test_reals(l.nx), l.dw = test_reals(l.nw), l.db = test_reals(g.o);
  l.scratch = test_reals(linear_scratch(&g, omp_get_max_threads()));
  fill(l.x, l.nx, 1), fill(l.w, l.nw, 2), fill(l.b, g.o, 3), fill(l.dy, l.ny, 4), fill(l.dw, l.nw, 5), fill(l.db, g.o, 6);
  fill_nan(l.y, l.ny), fill_nan(l.dx, l.nx), fill_nan(l.scratch, linear_scratch(&g, omp_get_max_threads()));
  return l;
}
static void layer_free(struct layer *l) {
  free(l->x), free(l->w), free(l->b), free(l->dy), free(l->y), free(l->dx), free(l->dw), free(l->db), free(l->scratch);
}
static void integers(real *x, ptrdiff_t n, uint32_t stream) { test_fill_int(x, n, 3, stream); }

/* The definition; out-of-place, so that the same loops give the gauge. */
static void define(const struct layer *l, const real *dx0, real *y, real *dx, real *dw, real *db) {
  const struct linear *g = &l->g;
  for (ptrdiff_t m = 0; m < g->m; m++) {
    for (ptrdiff_t o = 0; o < g->o; o++) {
      double sum = (double)l->b[o];
      for (ptrdiff_t i = 0; i < g->i; i++) sum += (double)l->x[m * g->i + i] * (double)l->w[o * g->i + i];
      y[m * g->o + o] = (real)sum;
    }
    for (ptrdiff_t i = 0; i < g->i; i++) {
      double sum = (double)dx0[m * g->i + i];
      for (ptrdiff_t o = 0; o < g->o; o++) sum += (double)l->dy[m * g->o + o] * (double)l->w[o * g->i + i];
      dx[m * g->i + i] = (real)sum;
    }
  }
  for (ptrdiff_t o = 0; o < g->o; o++) {
    for (ptrdiff_t i = 0; i < g->i; i++) {
      double sum = (double)l->dw[o * g->i + i];
      for (ptrdiff_t m = 0; m < g->m; m++) sum += (double)l->dy[m * g->o + o] * (double)l->x[m * g->i + i];
      dw[o * g->i + i] = (real)sum;
    }
    double sum = (double)l->db[o];
    for (ptrdiff_t m = 0; m < g->m; m++) sum += (double)l->dy[m * g->o + o];
    db[o] = (real)sum;
  }
}

/* Every partial sum is an integer below 2^24 (at most 2500 terms of 9): exact in any order, so bit for bit. */
static void exact_on_integers(void **state) {
  (void)state;
  for (int s = 0; s < SHAPES; s++) {
    struct layer l = layer_make(s, integers);
    real *y = test_reals(l.ny), *zero = test_reals(l.nx), *dx = test_reals(l.nx), *dw = test_reals(l.nw), *db = test_reals(l.g.o);
    define(&l, zero, y, dx, dw, db);
    linear_forward(&l.g, l.x, l.w, l.b, l.y);
    assert_all_equal(l.y, y, l.ny);
    linear_backward_data(&l.g, l.dy, l.w, l.dx, false);
    assert_all_equal(l.dx, dx, l.nx);
    linear_backward_data(&l.g, l.dy, l.w, l.dx, true);
    for (ptrdiff_t i = 0; i < l.nx; i++) assert_true(l.dx[i] == 2 * dx[i]);
    linear_backward_weights(&l.g, l.x, l.dy, l.dw, l.db, l.scratch);
    assert_all_equal(l.dw, dw, l.nw);
    assert_all_equal(l.db, db, l.g.o);
    free(y), free(zero), free(dx), free(dw), free(db);
    layer_free(&l);
  }
}

/* Without a bias y is the product alone, and db may be null. */
static void without_bias(void **state) {
  (void)state;
  for (int s = 0; s < SHAPES; s++) {
    struct layer l = layer_make(s, integers);
    real *zero = test_reals(l.nx), *y = test_reals(l.ny), *dx = test_reals(l.nx), *dw = test_reals(l.nw), *db = test_reals(l.g.o);
    linear_forward(&l.g, l.x, l.w, NULL, l.y);
    memset(l.b, 0, (size_t)l.g.o * sizeof(real));
    define(&l, zero, y, dx, dw, db);
    assert_all_equal(l.y, y, l.ny);
    linear_backward_weights(&l.g, l.x, l.dy, l.dw, NULL, l.scratch);
    assert_all_equal(l.dw, dw, l.nw);
    free(zero), free(y), free(dx), free(dw), free(db);
    layer_free(&l);
  }
}

/* |fast - definition| <= 2 (L + 2) u times the same sums over absolute values: each side is within L + 1 roundings of the exact
 * sum of L products and one more term (Higham, Accuracy and Stability, section 3.1). */
static void check_gauge(const real *fast, const real *plain, const real *gauge, ptrdiff_t n, ptrdiff_t terms) {
  for (ptrdiff_t i = 0; i < n; i++) {
    double bound = 2.0 * (double)(terms + 2) * REAL_ROUNDOFF * 1.01 * (double)gauge[i];
    if (!(fabs((double)fast[i] - (double)plain[i]) <= bound)) fail_msg("[%td] is %.9g, not %.9g", i, (double)fast[i], (double)plain[i]);
  }
}
static void absolute(real *x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (real)fabs((double)x[i]);
}

static void within_the_rounding_bound(void **state) {
  (void)state;
  for (int s = 0; s < SHAPES; s++) {
    struct layer l = layer_make(s, test_fill_normal);
    real *y = test_reals(l.ny), *dx0 = test_reals(l.nx), *dx = test_reals(l.nx), *dw = test_reals(l.nw), *db = test_reals(l.g.o);
    real *fast_dw = test_reals(l.nw), *fast_db = test_reals(l.g.o);
    test_fill_normal(dx0, l.nx, 7);
    define(&l, dx0, y, dx, dw, db);
    memcpy(l.dx, dx0, (size_t)l.nx * sizeof(real));
    memcpy(fast_dw, l.dw, (size_t)l.nw * sizeof(real));
    memcpy(fast_db, l.db, (size_t)l.g.o * sizeof(real));
    linear_forward(&l.g, l.x, l.w, l.b, l.y);
    linear_backward_data(&l.g, l.dy, l.w, l.dx, true);
    linear_backward_weights(&l.g, l.x, l.dy, fast_dw, fast_db, l.scratch);

    absolute(l.x, l.nx), absolute(l.w, l.nw), absolute(l.b, l.g.o), absolute(l.dy, l.ny), absolute(l.dw, l.nw), absolute(l.db, l.g.o);
    absolute(dx0, l.nx);
    real *gy = test_reals(l.ny), *gdx = test_reals(l.nx), *gdw = test_reals(l.nw), *gdb = test_reals(l.g.o);
    define(&l, dx0, gy, gdx, gdw, gdb);
    check_gauge(l.y, y, gy, l.ny, l.g.i);
    check_gauge(l.dx, dx, gdx, l.nx, l.g.o);
    check_gauge(fast_dw, dw, gdw, l.nw, l.g.m);
    check_gauge(fast_db, db, gdb, l.g.o, 1); /* summed in double: rounded once, whatever m */
    free(y), free(dx0), free(dx), free(dw), free(db), free(fast_dw), free(fast_db), free(gy), free(gdx), free(gdw), free(gdb);
    layer_free(&l);
  }
}

/* 1 + 2^-25 + 2^-25 + ...: in float every addition would round back to 1; the sum in double is exact. */
static void bias_gradient_is_summed_in_double(void **state) {
  (void)state;
  enum { M = 3001 };
  const struct linear g = {M, 1, 1};
  real *x = test_reals(M), *dy = test_reals(M), *scratch = test_reals(linear_scratch(&g, omp_get_max_threads())), dw = 0, db = 0;
  for (int i = 0; i < M; i++) dy[i] = i == 0 ? 1 : (real)0x1p-25;
  linear_backward_weights(&g, x, dy, &dw, &db, scratch);
  assert_true(db == (real)(1 + (M - 1) * 0x1p-25));
  free(x), free(dy), free(scratch);
}

static double dot(const real *a, const real *b, ptrdiff_t n) {
  double sum = 0;
  for (ptrdiff_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
  return sum;
}

/* Central differences of sum(dy * y) by every input, weight and bias: linear in each, so a step of 1 is exact in integers. */
static void gradients_are_derivatives(void **state) {
  (void)state;
  for (int s = 0; s < 5; s++) { /* the small shapes */
    struct layer l = layer_make(s, integers);
    memset(l.dw, 0, (size_t)l.nw * sizeof(real));
    memset(l.db, 0, (size_t)l.g.o * sizeof(real));
    linear_backward_data(&l.g, l.dy, l.w, l.dx, false);
    linear_backward_weights(&l.g, l.x, l.dy, l.dw, l.db, l.scratch);
    struct {
      real *at;
      const real *gradient;
      ptrdiff_t n;
    } parts[] = {{l.x, l.dx, l.nx}, {l.w, l.dw, l.nw}, {l.b, l.db, l.g.o}};
    for (int part = 0; part < 3; part++)
      for (ptrdiff_t i = 0; i < parts[part].n; i++) {
        real *at = parts[part].at + i, kept = *at;
        *at = kept + 1;
        linear_forward(&l.g, l.x, l.w, l.b, l.y);
        double up = dot(l.y, l.dy, l.ny);
        *at = kept - 1;
        linear_forward(&l.g, l.x, l.w, l.b, l.y);
        double down = dot(l.y, l.dy, l.ny);
        *at = kept;
        assert_true((up - down) / 2 == (double)parts[part].gradient[i]);
      }
    layer_free(&l);
  }
}

static void threads_change_no_bit(void **state) {
  (void)state;
  int before = omp_get_max_threads();
  static const int counts[] = {2, 3, 5};
  for (int s = 0; s < SHAPES; s++) {
    omp_set_num_threads(1);
    struct layer one = layer_make(s, test_fill_normal);
    linear_forward(&one.g, one.x, one.w, one.b, one.y);
    linear_backward_data(&one.g, one.dy, one.w, one.dx, false);
    linear_backward_weights(&one.g, one.x, one.dy, one.dw, one.db, one.scratch);
    for (size_t t = 0; t < sizeof counts / sizeof counts[0]; t++) {
      omp_set_num_threads(counts[t]);
      struct layer l = layer_make(s, test_fill_normal);
      linear_forward(&l.g, l.x, l.w, l.b, l.y);
      linear_backward_data(&l.g, l.dy, l.w, l.dx, false);
      linear_backward_weights(&l.g, l.x, l.dy, l.dw, l.db, l.scratch);
      assert_memory_equal(l.y, one.y, (size_t)l.ny * sizeof(real));
      assert_memory_equal(l.dx, one.dx, (size_t)l.nx * sizeof(real));
      assert_memory_equal(l.dw, one.dw, (size_t)l.nw * sizeof(real));
      assert_memory_equal(l.db, one.db, (size_t)l.g.o * sizeof(real));
      layer_free(&l);
    }
    layer_free(&one);
  }
  omp_set_num_threads(before);
}

/* To the bit the chains that linear.h promises. */
static void sums_are_chains(void **state) {
  (void)state;
  for (int shape = 0; shape < SHAPES; shape++) {
    struct layer l = layer_make(shape, test_fill_normal);
    const struct linear *g = &l.g;
    linear_forward(g, l.x, l.w, l.b, l.y);
    for (ptrdiff_t j = 0; j < l.ny; j++) {
      real sum = chain(g->i, l.x + j / g->o * g->i, 1, l.w + j % g->o * g->i, 1) + l.b[j % g->o];
      assert_memory_equal(l.y + j, &sum, sizeof sum);
    }
    linear_forward(g, l.x, l.w, NULL, l.y);
    for (ptrdiff_t j = 0; j < l.ny; j++) {
      real sum = chain(g->i, l.x + j / g->o * g->i, 1, l.w + j % g->o * g->i, 1);
      assert_memory_equal(l.y + j, &sum, sizeof sum);
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
      real *start = test_reals(l.nx);
      test_fill_normal(start, l.nx, 9);
      if (accumulate) memcpy(l.dx, start, (size_t)l.nx * sizeof(real));
      linear_backward_data(g, l.dy, l.w, l.dx, accumulate);
      for (ptrdiff_t j = 0; j < l.nx; j++) {
        real sum = chain(g->o, l.dy + j / g->i * g->o, 1, l.w + j % g->i, g->i);
        if (accumulate) sum = start[j] + sum;
        assert_memory_equal(l.dx + j, &sum, sizeof sum);
      }
      free(start);
    }
    const struct conv conv = {.n = g->m, .h = 1, .w = 1, .c = g->i, .k = g->o, .r = 1, .s = 1, .stride = 1, .p = 1, .q = 1};
    ptrdiff_t chunk = conv_chunk(&conv);
    real *start = test_reals(l.nw);
    memcpy(start, l.dw, (size_t)l.nw * sizeof(real));
    linear_backward_weights(g, l.x, l.dy, l.dw, NULL, l.scratch);
    for (ptrdiff_t j = 0; j < l.nw; j++) {
      real sum = chain_of_chunks(g->m, chunk, l.dy + j / g->i, g->o, l.x + j % g->i, g->i, start[j]);
      assert_memory_equal(l.dw + j, &sum, sizeof sum);
    }
    free(start);
    layer_free(&l);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_on_integers),         cmocka_unit_test(without_bias),
      cmocka_unit_test(within_the_rounding_bound), cmocka_unit_test(bias_gradient_is_summed_in_double),
      cmocka_unit_test(gradients_are_derivatives), cmocka_unit_test(threads_change_no_bit),
      cmocka_unit_test(sums_are_chains),
  };
  return cmocka_run_group_tests_name("linear " REAL_SUFFIX, tests, NULL, NULL);
}
