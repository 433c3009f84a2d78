/* The three losses: values known in closed form, the equations written plainly in double, and every gradient against the difference
 * quotient of those. */
#include "op/loss.h"

#include <stdbool.h>

#include "op/numeric.h"

/* ---- The equations, plainly ---------------------------------------------------------------------------------------------------------- */

enum kind { BYOL, RDEM, RDEM_STOPPED, RDEM_INSTANCE, RIEM, KINDS };
static const char *const kind_names[KINDS] = {"byol", "rdem", "rdem, stopgrad", "rdem, instance", "riem"};

struct plain {
  enum kind kind;
  struct loss g;
  double scale, *x;     /* x: online */
  const double *other;  /* target; for rdem the second factor: x itself, or a copy that is held constant */
  const int32_t *index; /* of regions, or of instances */
};

static double plain_cosine(ptrdiff_t c, const double *a, const double *b) {
  double aa = 0, bb = 0, ab = 0;
  for (ptrdiff_t k = 0; k < c; k++) aa += a[k] * a[k], bb += b[k] * b[k], ab += a[k] * b[k];
  return ab / sqrt(fmax(aa, 1e-12)) / sqrt(fmax(bb, 1e-12));
}

static double plain_value(const struct plain *p, ptrdiff_t b) {
  ptrdiff_t n = p->g.n, c = p->g.c;
  const double *x = p->x + b * n * c, *other = p->other + b * n * c;
  double sum = 0, *mean = calloc((size_t)c, sizeof *mean);
  if (p->kind == RDEM_INSTANCE)
    for (ptrdiff_t j = 0; j < n; j++)
      for (ptrdiff_t k = 0; k < c; k++) mean[k] += p->other[(p->index[b] * n + j) * c + k] / (double)n;
  for (ptrdiff_t j = 0; j < n; j++) {
    const double *partner = p->kind == BYOL ? other : p->kind == RDEM_INSTANCE ? mean : other + p->index[b * n + j] * c;
    sum += plain_cosine(c, x + j * c, partner) / (double)n;
  }
  free(mean);
  return p->kind == BYOL ? 2 - 2 * sum : p->kind == RIEM ? 1 - sum : sum;
}

static double plain_objective(const void *context) {
  const struct plain *p = context;
  double sum = 0;
  for (ptrdiff_t b = 0; b < p->g.b; b++) sum += plain_value(p, b);
  return p->scale * sum / (double)p->g.b;
}

/* ---- The library's ------------------------------------------------------------------------------------------------------------------- */

/* Images are computed at once, each in a part of the scratch of its own. */
static void run(enum kind kind, const struct loss *g, const real *x, const real *other, const int32_t *index, double scale, double *value,
                real *dx) {
  ptrdiff_t room = loss_scratch(g);
  double *scratch = test_doubles(room);
  for (ptrdiff_t i = 0; i < room; i++) scratch[i] = (double)NAN;
  switch (kind) {
  case BYOL: loss_byol(g, x, other, scale, value, dx, scratch); break;
  case RDEM: loss_rdem(g, x, index, RDEM_STOPGRAD_NONE, scale, value, dx, scratch); break;
  case RDEM_STOPPED: loss_rdem(g, x, index, RDEM_STOPGRAD_MATCH, scale, value, dx, scratch); break;
  case RDEM_INSTANCE: loss_rdem_instance(g, x, other, index, scale, value, dx, scratch); break;
  default: loss_riem(g, x, other, index, scale, value, dx, scratch); break;
  }
  for (ptrdiff_t b = 0; b < g->b; b++) assert_false(isnan(scratch[room / g->b * b]));
  free(scratch);
}

/* Indices of every kind of meeting: itself, one that is met by many, pairs that met each other, random ones. */
static void fill_index(int32_t *index, ptrdiff_t rows, ptrdiff_t below) {
  struct philox g = philox_stream(3, PHILOX_TEST, 0, 0, 0);
  for (ptrdiff_t i = 0; i < rows; i++)
    index[i] = (int32_t)(i % 4 == 0 ? i % below : i % 4 == 1 ? below - 1 : philox_below(&g, (uint32_t)below));
}

static const struct loss shapes[] = {{1, 1, 1}, {1, 1, 8}, {2, 5, 3}, {3, 4, 9}, {4, 9, 17}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* ---- Tests --------------------------------------------------------------------------------------------------------------------------- */

/* Computed in double with fewer than 16 roundings, and rounded to real once. */
static bool agrees(real x, double expected) { return fabs((double)x - expected) <= fabs(expected) * (REAL_ROUNDOFF + 16 * 0x1p-53); }

/* q against z: the same direction, the opposite one, a right angle; 3-4-5 triangles for an angle of cosine 24/25. */
static void closed_forms(void **state) {
  (void)state;
  struct loss g = {4, 1, 2};
  const real q[8] = {3, 4, 3, 4, 3, 4, 3, 4}, z[8] = {6, 8, -3, -4, -4, 3, 8, 6};
  const double expected[4] = {0, 4, 2, 2 - 2 * 0.96};
  real dq[8] = {0};
  double value[4];
  run(BYOL, &g, q, z, NULL, 1, value, dq);
  for (int b = 0; b < 4; b++) assert_true(fabs(value[b] - expected[b]) <= 8 * 0x1p-53 * 4);
  /* (Anti)parallel: a stationary point. At a right angle d(-2 cos)/dq = -2 u_z / |q|, here / 4 for the mean of the batch. */
  for (int i = 0; i < 4; i++) assert_true(fabs((double)dq[i]) <= 8 * 0x1p-53);
  assert_true(agrees(dq[4], 0.08) && agrees(dq[5], -0.06));

  struct loss regions = {2, 2, 2};
  const int32_t swapped[4] = {1, 0, 1, 0}, itself[4] = {0, 1, 0, 1}, other[2] = {1, 0};
  const real r[8] = {3, 4, 4, -3, 5, 0, 1, 0}; /* a right angle; the same direction */
  run(RDEM, &regions, r, NULL, swapped, 1, value, NULL);
  assert_true(fabs(value[0]) <= 0x1p-52 && fabs(value[1] - 1) <= 0x1p-52);
  run(RIEM, &regions, r, r, itself, 1, value, NULL);
  assert_true(fabs(value[0]) <= 0x1p-51 && fabs(value[1]) <= 0x1p-51);
  run(RIEM, &regions, r, r, swapped, 1, value, NULL);
  assert_true(fabs(value[0] - 1) <= 0x1p-51 && fabs(value[1]) <= 0x1p-51);
  run(RDEM_INSTANCE, &regions, r, r, other, 1, value, NULL); /* against (3, 0): 3/5, 4/5; against (7, 1)/2: 7/sqrt 50 twice */
  assert_true(fabs(value[0] - 0.7) <= 0x1p-51 && fabs(value[1] - 7 / sqrt(50)) <= 0x1p-51);
}

static void equal_the_equations_and_their_difference_quotients(void **state) {
  (void)state;
  for (int kind = 0; kind < KINDS; kind++)
    for (int s = 0; s < SHAPES; s++) {
      struct loss g = shapes[s];
      if (kind == BYOL) g.n = 1;
      ptrdiff_t rows = g.b * g.n, size = rows * g.c;
      real *x = test_reals(size), *other = test_reals(size), *dx = test_reals(size);
      int32_t *index = malloc((size_t)rows * sizeof *index);
      double *expected = test_doubles(size), *value = test_doubles(g.b), shortest = INFINITY;
      test_fill_normal(x, size, 1), test_fill_normal(other, size, 2);
      fill_index(index, rows, kind == RDEM_INSTANCE ? g.b : g.n);
      for (ptrdiff_t i = 0; i < rows; i++) x[i * g.c] += 2; /* no row near the origin, where the quotient is bad */
      struct plain p = {(enum kind)kind, g, 0.7, test_widened(x, size), NULL, index};
      double *constant = test_widened(kind == RDEM_STOPPED ? x : other, size);
      p.other = kind == RDEM ? p.x : constant;
      for (ptrdiff_t i = 0; i < rows; i++) {
        double square = 0;
        for (ptrdiff_t k = 0; k < g.c; k++) square += p.x[i * g.c + k] * p.x[i * g.c + k];
        shortest = fmin(shortest, sqrt(square));
      }
      run((enum kind)kind, &g, x, other, index, p.scale, value, dx);
      for (ptrdiff_t b = 0; b < g.b; b++) /* sums of c products in double, here and there */
        if (!(fabs(value[b] - plain_value(&p, b)) <= 8 * (double)(g.c + 8) * 0x1p-53)) fail_msg("%s: value", kind_names[kind]);
      test_difference(plain_objective, &p, p.x, size, expected);
      /* Rounded to real once; a region takes part in at most n + 1 terms of at most scale / (b n |x|) each, twice for byol.
       * The quotient: its fifth derivative grows with |x|^-5. */
      double most = 2 * p.scale * (double)(g.n + 1) / (double)(g.b * g.n) / shortest;
      assert_all_near(dx, expected, size, REAL_ROUNDOFF * most + DIFFERENCE_ERROR * fmax(1, pow(shortest, -5)));
      free(x), free(other), free(dx), free(index), free(expected), free(value), free(p.x), free(constant);
    }
}

/* What is in the gradient stays; nothing is added for scale 0; without a gradient the value is the same; nothing else is written. */
static void gradients_are_added(void **state) {
  (void)state;
  for (int kind = 0; kind < KINDS; kind++) {
    struct loss g = {3, kind == BYOL ? 1 : 4, 9};
    ptrdiff_t rows = g.b * g.n, size = rows * g.c;
    real *x = test_reals(size), *other = test_reals(size), *fresh = test_reals(size), *added = test_reals(size),
         *poison = test_poisoned(size);
    int32_t index[12];
    double value[3], again[3];
    test_fill_normal(x, size, 1), test_fill_normal(other, size, 2), test_fill_int(added, size, 4, 3);
    fill_index(index, rows, kind == RDEM_INSTANCE ? g.b : g.n);
    run((enum kind)kind, &g, x, other, index, 2, value, fresh);
    run((enum kind)kind, &g, x, other, index, 2, again, added);
    assert_memory_equal(value, again, sizeof value);
    test_fill_int(poison, size, 4, 3);
    for (ptrdiff_t i = 0; i < size; i++) poison[i] += fresh[i];
    assert_all_close(added, poison, size, 2 * REAL_ROUNDOFF * (4 + test_max_abs(fresh, size)));
    assert_end_untouched(poison, size);
    memcpy(fresh, added, (size_t)size * sizeof(real));
    run((enum kind)kind, &g, x, other, index, 0, again, added);
    assert_memory_equal(added, fresh, (size_t)size * sizeof(real));
    assert_memory_equal(value, again, sizeof value); /* the value has no scale */
    run((enum kind)kind, &g, x, other, index, 2, again, NULL);
    assert_memory_equal(value, again, sizeof value);
    free(x), free(other), free(fresh), free(added), free(poison);
  }
}

/* A row below the guard is multiplied by 1e6 as it is, and so is its gradient: nothing is taken off along the row. */
static void rows_below_the_guard(void **state) {
  (void)state;
  struct loss one = {1, 1, 2}, two = {1, 2, 2};
  const real tiny[2] = {(real)0x1p-22, 0}, z[2] = {3, 4}, zero[2] = {0, 0};
  real d[4] = {0};
  double value, length = 0x1p-22 * 1e6; /* 0.238 */
  run(BYOL, &one, tiny, z, NULL, 1, &value, d);
  assert_true(fabs(value - (2 - 2 * length * 0.6)) <= 0x1p-50);
  assert_true(agrees(d[0], -1.2e6) && agrees(d[1], -1.6e6));
  d[0] = d[1] = 0;
  run(BYOL, &one, zero, z, NULL, 1, &value, d); /* a dead row still has a direction to go */
  assert_true(value == 2 && agrees(d[0], -1.2e6) && agrees(d[1], -1.6e6));
  d[0] = d[1] = 0;
  run(BYOL, &one, z, zero, NULL, 1, &value, d); /* a dead target pulls nowhere */
  assert_true(value == 2 && d[0] == 0 && d[1] == 0);

  /* The mean of the negatives is below the guard, their sum is above it. */
  const real negatives[4] = {(real)0x1p-20, 0, (real)0x1p-20, 0}, right[4] = {1, 0, 2, 0};
  const int32_t itself = 0;
  run(RDEM_INSTANCE, &two, right, negatives, &itself, 1, &value, NULL);
  assert_true(fabs(value - 0x1p-20 * 1e6) <= 0x1p-51);

  const real r[4] = {(real)0x1p-22, 0, 3, 4};
  const int32_t swapped[2] = {1, 0};
  double cos = length * 0.6;
  d[0] = d[1] = 0;
  run(RDEM, &two, r, NULL, swapped, 1, &value, d); /* both terms are the same cosine, and their mean has weight 1 */
  const double expected[4] = {1e6 * 0.6, 1e6 * 0.8, (length - cos * 0.6) / 5, (0 - cos * 0.8) / 5};
  assert_true(fabs(value - cos) <= 0x1p-52);
  for (int i = 0; i < 4; i++) assert_true(agrees(d[i], expected[i]));
}

static void threads_do_not_change_a_bit(void **state) {
  (void)state;
  for (int kind = 0; kind < KINDS; kind++) {
    struct loss g = {7, kind == BYOL ? 1 : 6, 21};
    ptrdiff_t rows = g.b * g.n, size = rows * g.c;
    real *x = test_reals(size), *other = test_reals(size), *first = test_reals(size);
    double value[2][7];
    int32_t index[42];
    test_fill_normal(x, size, 1), test_fill_normal(other, size, 2);
    fill_index(index, rows, kind == RDEM_INSTANCE ? g.b : g.n);
    for (int t = 0; t < THREAD_COUNTS; t++) {
      omp_set_num_threads(thread_counts[t]);
      real *dx = t ? test_reals(size) : first;
      run((enum kind)kind, &g, x, other, index, 1, value[t > 0], dx);
      assert_memory_equal(dx, first, (size_t)size * sizeof(real));
      if (t) assert_memory_equal(value[1], value[0], sizeof value[0]), free(dx);
    }
    free(x), free(other), free(first);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(closed_forms),
      cmocka_unit_test(equal_the_equations_and_their_difference_quotients),
      cmocka_unit_test(gradients_are_added),
      cmocka_unit_test(rows_below_the_guard),
      cmocka_unit_test(threads_do_not_change_a_bit),
  };
  return cmocka_run_group_tests_name("loss " REAL_SUFFIX, tests, NULL, NULL);
}
