/* Batch norm: hand-computed values, the plain formulas in double on many shapes, difference quotients, and what the contract promises
 * about aliasing, accumulation and threads. */
#include "op/norm.h"

#include "op/numeric.h"

/* ---- The definition, written plainly in double --------------------------------------------------------------------------------------- */

struct plain {
  ptrdiff_t m, c;
  double eps;
  int train, relu;
  double *x, *residual, *gamma, *beta, *mean, *var; /* mean, var: running statistics, for eval */
  double *weight;                                   /* of y in the objective sum(y weight) */
};

static void plain_statistics(const struct plain *p, ptrdiff_t c, double *mean, double *var) {
  *mean = *var = 0;
  for (ptrdiff_t i = 0; i < p->m; i++) *mean += p->x[i * p->c + c] / (double)p->m;
  for (ptrdiff_t i = 0; i < p->m; i++) *var += (p->x[i * p->c + c] - *mean) * (p->x[i * p->c + c] - *mean) / (double)p->m;
  if (!p->train) *mean = p->mean[c], *var = p->var[c];
}

static double plain_y(const struct plain *p, ptrdiff_t i, ptrdiff_t c, double mean, double var) {
  ptrdiff_t at = i * p->c + c;
  double y = p->gamma[c] * (p->x[at] - mean) / sqrt(var + p->eps) + p->beta[c] + (p->residual ? p->residual[at] : 0);
  return p->relu && y < 0 ? 0 : y;
}

static double plain_objective(const void *context) {
  const struct plain *p = context;
  double sum = 0, mean, var;
  for (ptrdiff_t c = 0; c < p->c; c++) {
    plain_statistics(p, c, &mean, &var);
    for (ptrdiff_t i = 0; i < p->m; i++) sum += plain_y(p, i, c, mean, var) * p->weight[i * p->c + c];
  }
  return sum;
}

/* The gradients from the formula of the contract. y: the library's, whose sign is the mask (a value within a rounding of 0 may be
 * cut differently in double). */
static void plain_backward(const struct plain *p, const real *y, double *dx, double *dresidual, double *dgamma, double *dbeta) {
  for (ptrdiff_t c = 0; c < p->c; c++) {
    double mean, var, sum = 0, product = 0;
    plain_statistics(p, c, &mean, &var);
    double invstd = 1 / sqrt(var + p->eps);
    for (ptrdiff_t i = 0; i < p->m; i++) {
      ptrdiff_t at = i * p->c + c;
      dresidual[at] = p->relu && !(y[at] > 0) ? 0 : p->weight[at];
      sum += dresidual[at];
      product += dresidual[at] * (p->x[at] - mean) * invstd;
    }
    for (ptrdiff_t i = 0; i < p->m; i++) {
      ptrdiff_t at = i * p->c + c;
      double through = p->train ? (sum + (p->x[at] - mean) * invstd * product) / (double)p->m : 0;
      dx[at] = p->gamma[c] * invstd * (dresidual[at] - through);
    }
    dgamma[c] = product;
    dbeta[c] = sum;
  }
}

/* ---- A case: arrays of the library and of the definition ----------------------------------------------------------------------------- */

struct arrays {
  struct norm g;
  int train;
  real *x, *residual, *gamma, *beta, *running_mean, *running_var, *dy, *y, *dx, *dresidual, *dgamma, *dbeta;
  double *mean, *invstd, *scratch;
};

static struct arrays make(ptrdiff_t m, ptrdiff_t c, int train, int residual, int relu, double offset, double deviation) {
  ptrdiff_t n = m * c;
  struct arrays a = {.g = {.m = m, .c = c, .eps = 1e-5, .momentum = 0.1, .relu = relu}, .train = train};
  a.x = test_reals(n), a.gamma = test_reals(c), a.beta = test_reals(c), a.running_mean = test_reals(c), a.running_var = test_reals(c);
  a.dy = test_reals(n), a.y = test_poisoned(n), a.dx = test_poisoned(n), a.dresidual = residual ? test_poisoned(n) : NULL;
  a.dgamma = test_reals(c), a.dbeta = test_reals(c), a.mean = test_doubles(c), a.invstd = test_doubles(c);
  a.scratch = test_doubles(norm_scratch(&a.g));
  test_fill_normal(a.x, n, 1), test_fill_normal(a.gamma, c, 2), test_fill_normal(a.beta, c, 3), test_fill_normal(a.dy, n, 4);
  test_fill_normal(a.running_mean, c, 5), test_fill_normal(a.running_var, c, 6);
  if (residual) a.residual = test_reals(n), test_fill_normal(a.residual, n, 7);
  for (ptrdiff_t i = 0; i < n; i++) a.x[i] = (real)(float)(offset + deviation * (double)a.x[i]);
  for (ptrdiff_t i = 0; i < c; i++) a.running_var[i] = (real)0.5 + a.running_var[i] * a.running_var[i];
  return a;
}

static void forward(struct arrays *a) {
  if (a->train)
    norm_forward_train(&a->g, a->x, a->residual, a->gamma, a->beta, a->running_mean, a->running_var, a->y, a->mean, a->invstd, a->scratch);
  else
    norm_forward_eval(&a->g, a->x, a->residual, a->gamma, a->beta, a->running_mean, a->running_var, a->y);
}

static void backward(struct arrays *a, const real *dy, real *dx) {
  const real *y = a->g.relu ? a->y : NULL;
  if (a->train)
    norm_backward_train(&a->g, a->x, y, a->gamma, a->mean, a->invstd, dy, dx, a->dresidual, a->dgamma, a->dbeta, a->scratch);
  else
    norm_backward_eval(&a->g, a->x, y, a->gamma, a->running_mean, a->running_var, dy, dx, a->dresidual, a->dgamma, a->dbeta, a->scratch);
}

static void drop(struct arrays *a) {
  real *r[] = {a->x,  a->residual, a->gamma, a->beta,      a->running_mean, a->running_var,
               a->dy, a->y,        a->dx,    a->dresidual, a->dgamma,       a->dbeta};
  for (size_t i = 0; i < sizeof r / sizeof r[0]; i++) free(r[i]);
  free(a->mean), free(a->invstd), free(a->scratch);
}

static struct plain make_plain(const struct arrays *a) {
  ptrdiff_t n = a->g.m * a->g.c, c = a->g.c;
  return (struct plain){a->g.m,
                        c,
                        a->g.eps,
                        a->train,
                        a->g.relu,
                        test_widened(a->x, n),
                        a->residual ? test_widened(a->residual, n) : NULL,
                        test_widened(a->gamma, c),
                        test_widened(a->beta, c),
                        test_widened(a->running_mean, c),
                        test_widened(a->running_var, c),
                        test_widened(a->dy, n)};
}

static void drop_plain(struct plain *p) {
  free(p->x), free(p->residual), free(p->gamma), free(p->beta), free(p->mean), free(p->var), free(p->weight);
}

/* ---- Tests --------------------------------------------------------------------------------------------------------------------------- */

/* x = +-1 has mean 0 and variance 1; with eps = 3, inside the root, the deviation is exactly 2. Two rows: the unbiased variance is 2. */
static void hand_computed(void **state) {
  (void)state;
  struct arrays a = make(4, 1, 1, 0, 0, 0, 1);
  a.g.eps = 3;
  const real x[4] = {1, -1, 1, -1}, dy[4] = {4, 0, 0, 0};
  const real y[4] = {2, 0, 2, 0}, dx[4] = {(real)2.75, (real)-0.75, (real)-1.25, (real)-0.75};
  memcpy(a.x, x, sizeof x), memcpy(a.dy, dy, sizeof dy);
  a.gamma[0] = 2, a.beta[0] = 1, a.dgamma[0] = 10, a.dbeta[0] = 20;
  forward(&a), backward(&a, a.dy, a.dx);
  assert_all_equal(a.y, y, 4);
  assert_all_equal(a.dx, dx, 4);
  assert_true(a.dgamma[0] == 12 && a.dbeta[0] == 24); /* sum d xhat = 4 * 0.5, sum d = 4, both added */
  assert_true(a.mean[0] == 0 && a.invstd[0] == 0.5);
  a.g.m = 2, a.g.momentum = 0.5, a.running_mean[0] = 4, a.running_var[0] = 6;
  forward(&a);
  assert_true(a.running_mean[0] == 2 && a.running_var[0] == 4); /* halfway to 0, and to the unbiased 2 */
  drop(&a);
}

static void equals_the_definition(void **state) {
  (void)state;
  /* Around the cuts: one row, one channel, a whole chunk of rows (128) and a row more, more than one block of channels (1024), chunks in
   * one group and in several, the last of both not full. */
  static const ptrdiff_t shapes[][2] = {{1, 1},   {1, 600},   {2, 3},      {7, 5},    {128, 64},
                                        {129, 2}, {33000, 1}, {130, 1030}, {5, 1030}, {800, 103}};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
    for (int flags = 0; flags < 8; flags++) {
      ptrdiff_t m = shapes[s][0], c = shapes[s][1], n = m * c;
      struct arrays a = make(m, c, flags & 1, flags & 2, flags & 4, 0.5, 2);
      struct plain p = make_plain(&a);
      double *y = test_doubles(n), *dx = test_doubles(n), *dr = test_doubles(n), *dgamma = test_doubles(c), *dbeta = test_doubles(c);
      real *old_mean = test_reals(c), *old_var = test_reals(c);
      memcpy(old_mean, a.running_mean, (size_t)c * sizeof(real)), memcpy(old_var, a.running_var, (size_t)c * sizeof(real));
      forward(&a);
      double *running_mean = test_doubles(c), *running_var = test_doubles(c), slope = 0;
      for (ptrdiff_t k = 0; k < c; k++) {
        double mean, var;
        plain_statistics(&p, k, &mean, &var);
        for (ptrdiff_t i = 0; i < m; i++) y[i * c + k] = plain_y(&p, i, k, mean, var);
        double unbiased = m > 1 ? var * (double)m / (double)(m - 1) : var;
        running_mean[k] = a.train ? 0.9 * (double)old_mean[k] + 0.1 * mean : (double)old_mean[k];
        running_var[k] = a.train ? 0.9 * (double)old_var[k] + 0.1 * unbiased : (double)old_var[k];
        slope = fmax(slope, fabs(p.gamma[k]) / sqrt(var + a.g.eps));
      }
      /* y: two roundings of x - mean, one of the slope, one of the product, one each of beta and the residual: six, each at most u
       * times a term or partial sum, and the largest of those is below 3 max terms. The definition in double: m roundings of
       * 2^-53 in its plain sums. */
      double u = REAL_ROUNDOFF, plain_error = 4 * (double)m * 0x1p-53;
      double terms = 40 + test_max_abs(a.x, n) * slope; /* |gamma xhat| + |beta| + |residual|, normals stay below 6 */
      assert_all_near(a.y, y, n, (18 * u + plain_error) * terms);
      assert_all_near(a.running_mean, running_mean, c, (u + plain_error) * 10);
      assert_all_near(a.running_var, running_var, c, (u + plain_error) * 40);
      backward(&a, a.dy, a.dx);
      plain_backward(&p, a.y, dx, dr, dgamma, dbeta);
      /* dx: four roundings of d - mean, four of (x - mean) pull, one each of the difference, the slope and the product */
      assert_all_near(a.dx, dx, n, (12 * u + plain_error) * slope * 3 * (6 + 6 * sqrt((double)m)));
      if (a.dresidual) assert_all_near(a.dresidual, dr, n, 0);
      assert_all_near(a.dgamma, dgamma, c, (u + plain_error) * 40 * (double)m);
      assert_all_near(a.dbeta, dbeta, c, (u + plain_error) * 6 * (double)m);
      assert_end_untouched(a.y, n), assert_end_untouched(a.dx, n);
      if (a.dresidual) assert_end_untouched(a.dresidual, n);
      free(y), free(dx), free(dr), free(dgamma), free(dbeta), free(old_mean), free(old_var), free(running_mean), free(running_var);
      drop(&a), drop_plain(&p);
    }
}

static void gradients_are_the_difference_quotients(void **state) {
  (void)state;
  for (int flags = 0; flags < 8; flags++) {
    ptrdiff_t m = 9, c = 3, n = m * c;
    struct arrays a = make(m, c, flags & 1, flags & 2, flags & 4, 0.5, 2);
    /* Away from the kink of the ReLU: beta of 8 keeps every y of a channel above it, -8 below, and the last channel, the widest
     * mixture, is moved by its residual to one side or the other of 4 h. */
    a.beta[0] = 8, a.beta[1] = -8, a.beta[2] = a.residual ? 0 : 8;
    if (a.residual)
      for (ptrdiff_t i = 0; i < m; i++) a.residual[i * c + 2] = i % 2 ? 8 : -8;
    struct plain p = make_plain(&a);
    forward(&a), backward(&a, a.dy, a.dx);
    double *dx = test_doubles(n), *dr = test_doubles(n), *dgamma = test_doubles(c), *dbeta = test_doubles(c);
    test_difference(plain_objective, &p, p.x, n, dx);
    test_difference(plain_objective, &p, p.gamma, c, dgamma);
    test_difference(plain_objective, &p, p.beta, c, dbeta);
    /* the roundings of equals_the_definition, with m = 9 and slopes below 4 */
    double bound = 12 * REAL_ROUNDOFF * 4 * 3 * 24 + 10 * DIFFERENCE_ERROR;
    assert_all_near(a.dx, dx, n, bound);
    assert_all_near(a.dgamma, dgamma, c, bound);
    assert_all_near(a.dbeta, dbeta, c, bound);
    if (a.residual) {
      test_difference(plain_objective, &p, p.residual, n, dr);
      assert_all_near(a.dresidual, dr, n, bound);
    }
    free(dx), free(dr), free(dgamma), free(dbeta);
    drop(&a), drop_plain(&p);
  }
}

/* Mean 100, deviation 0.01: rounding the mean to float (4e-6) would put an error of 4e-4 into xhat. */
static void large_mean_is_subtracted_exactly(void **state) {
  (void)state;
  ptrdiff_t m = 700, c = 65, n = m * c;
  struct arrays a = make(m, c, 1, 0, 0, 100, 0.01);
  struct plain p = make_plain(&a);
  p.eps = a.g.eps = 1e-8;
  forward(&a), backward(&a, a.dy, a.dx);
  double *y = test_doubles(n), *dx = test_doubles(n), *dr = test_doubles(n), *dgamma = test_doubles(c), *dbeta = test_doubles(c);
  for (ptrdiff_t k = 0; k < c; k++) {
    double mean, var;
    plain_statistics(&p, k, &mean, &var);
    for (ptrdiff_t i = 0; i < m; i++) y[i * c + k] = plain_y(&p, i, k, mean, var);
  }
  plain_backward(&p, a.y, dx, dr, dgamma, dbeta);
  /* As in equals_the_definition; the mean in double is within m 2^-53 * 100, which the deviation 0.01 divides. */
  double mean_error = (double)m * 0x1p-53 * 100 / 0.01;
  assert_all_near(a.y, y, n, 18 * REAL_ROUNDOFF * 20 + mean_error);
  assert_all_near(a.dx, dx, n, (12 * REAL_ROUNDOFF * 20 + mean_error) * 3 / 0.01 * 3);
  free(y), free(dx), free(dr), free(dgamma), free(dbeta);
  drop(&a), drop_plain(&p);
}

/* A chunk's rows are summed as differences from its first. Where that one is far off, the differences are large, but so is the variance:
 * with m rows the sum of their squares is at most m times the sum of squared differences from the mean. Roundings of the sums, (3 m + 8)
 * 2^-53 of the former, are then at most m times as much of the latter, and half of that in 1 / sqrt; and one rounding each of mean and
 * quotients. */
static void a_first_row_far_off_costs_nothing(void **state) {
  (void)state;
  ptrdiff_t m = 128, c = 64; /* one chunk */
  struct arrays a = make(m, c, 1, 0, 0, 0, 1);
  for (ptrdiff_t k = 0; k < c; k++) a.x[k] = (real)(float)(1e6 * (double)(k - 30));
  forward(&a);
  for (ptrdiff_t k = 0; k < c; k++) {
    long double mean = 0, var = 0;
    for (ptrdiff_t i = 0; i < m; i++) mean += (long double)a.x[i * c + k] / (long double)m;
    for (ptrdiff_t i = 0; i < m; i++) var += ((long double)a.x[i * c + k] - mean) * ((long double)a.x[i * c + k] - mean) / (long double)m;
    double invstd = (double)(1 / sqrtl(var + (long double)a.g.eps)), rows = (double)m;
    if (!(fabs(a.invstd[k] - invstd) <= (rows * (3 * rows + 8) / 2 + 4) * 0x1p-53 * invstd))
      fail_msg("channel %td: 1 / sqrt(v + eps) is %.17g, expected %.17g", k, a.invstd[k], invstd);
  }
  drop(&a);
}

/* An infinity in the first row, as in any other, makes the mean infinite and the variance NaN. */
static void an_infinity_is_where_the_definition_has_it(void **state) {
  (void)state;
  for (ptrdiff_t row = 0; row < 3; row++) {
    struct arrays a = make(5, 3, 1, 0, 0, 0, 1);
    a.x[row * 3 + 1] = (real)INFINITY;
    forward(&a);
    assert_true(isinf(a.mean[1]) && isnan(a.invstd[1]) && isinf(a.running_mean[1]) && isnan(a.running_var[1]));
    assert_true(isfinite(a.mean[0]) && isfinite(a.invstd[2]));
    drop(&a);
  }
}

/* The mean of the gradient, too, must not be rounded to real before it is subtracted: at 2^20 the spacing of floats is 1/8. */
static void large_mean_of_the_gradient_is_subtracted_exactly(void **state) {
  (void)state;
  ptrdiff_t m = 30, c = 4, n = m * c;
  struct arrays a = make(m, c, 1, 0, 0, 0, 1);
  for (ptrdiff_t i = 0; i < n; i++) a.dy[i] = (real)(float)(0x1p20 + (double)a.dy[i]);
  struct plain p = make_plain(&a);
  double *dx = test_doubles(n), *dr = test_doubles(n), *dgamma = test_doubles(c), *dbeta = test_doubles(c);
  forward(&a), backward(&a, a.dy, a.dx);
  plain_backward(&p, a.y, dx, dr, dgamma, dbeta);
  /* The differences are below 8, slopes below 8; 12 roundings as in equals_the_definition. Sums of 30 numbers of 2^20 in double. */
  assert_all_near(a.dx, dx, n, 12 * REAL_ROUNDOFF * 8 * 3 * 8 + 30 * 0x1p-53 * 0x1p20 * 8 * 8);
  free(dx), free(dr), free(dgamma), free(dbeta);
  drop(&a), drop_plain(&p);
}

static void no_variance_gives_beta(void **state) {
  (void)state;
  struct arrays a = make(50, 3, 1, 0, 0, 0, 1), one = make(1, 3, 1, 0, 0, 0, 1);
  for (ptrdiff_t i = 0; i < 150; i++) a.x[i] = (real)(float)(0.1 * (double)(i % 3 + 1));
  forward(&a), backward(&a, a.dy, a.dx);
  for (ptrdiff_t i = 0; i < 150; i++) assert_true(fabs((double)(a.y[i] - a.beta[i % 3])) <= 1e-12 && isfinite(a.dx[i]));
  real var[3];
  memcpy(var, one.running_var, sizeof var);
  forward(&one), backward(&one, one.dy, one.dx);
  for (int c = 0; c < 3; c++) {
    assert_true(one.y[c] == one.beta[c] && one.dx[c] == 0); /* one row: y does not depend on x */
    assert_true(one.running_var[c] == (real)((double)var[c] + 0.1 * (0 - (double)var[c])));
  }
  drop(&a), drop(&one);
}

static void nan_passes_the_relu(void **state) {
  (void)state;
  struct arrays a = make(3, 2, 0, 0, 1, 0, 1);
  a.x[2] = (real)NAN;
  forward(&a);
  assert_true(isnan(a.y[2]) && !isnan(a.y[0]) && !isnan(a.y[4]));
  drop(&a);
}

static void gradient_may_be_in_place_and_parameters_accumulate(void **state) {
  (void)state;
  for (int train = 0; train < 2; train++) {
    ptrdiff_t m = 300, c = 130, n = m * c;
    struct arrays a = make(m, c, train, 1, 1, 0, 1);
    forward(&a), backward(&a, a.dy, a.dx);
    real *once = test_reals(c);
    memcpy(once, a.dgamma, (size_t)c * sizeof(real));
    backward(&a, a.dy, a.dy);
    assert_memory_equal(a.dy, a.dx, (size_t)n * sizeof(real));
    for (ptrdiff_t k = 0; k < c; k++)
      assert_true(fabs((double)(a.dgamma[k] - 2 * once[k])) <= 2 * REAL_ROUNDOFF * fabs((double)once[k]) * 2);
    free(once);
    drop(&a);
  }
}

static void threads_do_not_change_a_bit(void **state) {
  (void)state;
  static const ptrdiff_t shapes[][2] = {{10011, 7}, {70, 1030}};
  for (int s = 0; s < 2; s++)
    for (int train = 0; train < 2; train++) {
      ptrdiff_t m = shapes[s][0], c = shapes[s][1];
      size_t n = (size_t)(m * c) * sizeof(real), nc = (size_t)c * sizeof(real);
      struct arrays first = make(m, c, train, 1, 1, 3, 1);
      for (int t = 0; t < THREAD_COUNTS; t++) {
        struct arrays a = make(m, c, train, 1, 1, 3, 1), *b = t ? &a : &first;
        omp_set_num_threads(thread_counts[t]);
        forward(b), backward(b, b->dy, b->dx);
        assert_memory_equal(b->y, first.y, n), assert_memory_equal(b->dx, first.dx, n),
            assert_memory_equal(b->dresidual, first.dresidual, n);
        assert_memory_equal(b->dgamma, first.dgamma, nc), assert_memory_equal(b->dbeta, first.dbeta, nc);
        assert_memory_equal(b->running_mean, first.running_mean, nc), assert_memory_equal(b->running_var, first.running_var, nc);
        drop(&a);
      }
      drop(&first);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hand_computed),
      cmocka_unit_test(equals_the_definition),
      cmocka_unit_test(gradients_are_the_difference_quotients),
      cmocka_unit_test(large_mean_is_subtracted_exactly),
      cmocka_unit_test(a_first_row_far_off_costs_nothing),
      cmocka_unit_test(an_infinity_is_where_the_definition_has_it),
      cmocka_unit_test(large_mean_of_the_gradient_is_subtracted_exactly),
      cmocka_unit_test(no_variance_gives_beta),
      cmocka_unit_test(nan_passes_the_relu),
      cmocka_unit_test(gradient_may_be_in_place_and_parameters_accumulate),
      cmocka_unit_test(threads_do_not_change_a_bit),
  };
  return cmocka_run_group_tests_name("norm " REAL_SUFFIX, tests, NULL, NULL);
}
