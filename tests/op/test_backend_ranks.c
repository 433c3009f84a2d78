/* A backend over ranks: sums and batch norms of many processes are those of one that has everything, the same bits on every rank. */
#include "op/backend_ranks.h"

#include "support/forked.h"

#include "op/numeric.h"

enum { MOST = 4, CHANNELS_MOST = 1100 };

static void *memory_of(const struct backend *b, size_t bytes) {
  void *p;
  struct error err;
  if (!b->reserve(bytes, &p, &err)) abort();
  return p;
}

/* ---- the mean of gradients ---------------------------------------------------------------------------------------------------------- */

struct mean_case {
  ptrdiff_t n;
  real *result; /* MOST x n, shared */
};

static void fill_gradient(real *x, ptrdiff_t n, int rank) { test_fill_normal(x, n, 100 + (uint32_t)rank); }

static void mean_here(const struct ranks *r, void *context) {
  const struct mean_case *c = context;
  const struct backend *b = backend_reference();
  size_t bytes = backend_ranks_bytes(b, r, c->n, 1, 0);
  void *buffer = memory_of(b, bytes);
  real *x = test_reals(c->n);
  fill_gradient(x, c->n, r->rank);
  b = backend_ranks(b, r);
  backend_ranks_buffer(buffer);
  backend_ranks_mean(b, c->n, x);
  memcpy(c->result + r->rank * c->n, x, (size_t)c->n * sizeof(real));
  b->release(buffer, bytes);
  free(x);
}

/* The means of `count` ranks against plain ones in double; false where a bit differs on any rank. */
static bool means_are_right(int count, ptrdiff_t n) {
  struct mean_case c = {n, forked_shared((size_t)(MOST * n) * sizeof(real))};
  forked_run(count, mean_here, &c);
  real *x[MOST];
  bool right = true;
  for (int k = 0; k < count; k++) fill_gradient(x[k] = test_reals(n), n, k);
  for (ptrdiff_t i = 0; i < n; i++) {
    double sum = 0;
    for (int k = 0; k < count; k++) sum += (double)x[k][i];
    for (int k = 0; k < count; k++) right = right && c.result[k * n + i] == (count > 1 ? (real)(sum / count) : x[0][i]);
  }
  for (int k = 0; k < count; k++) free(x[k]);
  return right;
}

/* Fewer elements than ranks, a few left over, several pieces (of 2^22) and an end. */
static void means_are_summed_in_the_order_of_the_ranks(void **state) {
  (void)state;
  static const ptrdiff_t sizes[] = {1, 3, 4, 4099, (1 << 23) + 4099};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
    for (int count = 1; count <= MOST; count++) assert_true(means_are_right(count, sizes[s]));
}

/* ---- batch norm --------------------------------------------------------------------------------------------------------------------- */

/* What a norm forward and back leaves, of the whole batch: rows in the order of the ranks, dgamma and dbeta added over them. */
struct norm_case {
  struct norm g;                                                          /* m: of the whole batch */
  real *x, *residual, *gamma, *beta, *dy;                                 /* residual: null without one */
  real *y, *dx, *dresidual, *running_mean, *running_var, *dgamma, *dbeta; /* the last four: MOST x c */
  double *mean, *invstd;                                                  /* MOST x c */
};

static struct norm_case shared_results(struct norm_case c) {
  ptrdiff_t n = c.g.m * c.g.c, k = MOST * c.g.c;
  real **element[] = {&c.y, &c.dx, &c.dresidual}, **channel[] = {&c.running_mean, &c.running_var, &c.dgamma, &c.dbeta};
  for (int i = 0; i < 3; i++) *element[i] = forked_shared((size_t)n * sizeof(real));
  for (int i = 0; i < 4; i++) *channel[i] = forked_shared((size_t)k * sizeof(real));
  c.mean = forked_shared((size_t)k * sizeof(double)), c.invstd = forked_shared((size_t)k * sizeof(double));
  return c;
}

static void norm_here(const struct ranks *r, void *context) {
  const struct norm_case *c = context;
  const struct backend *b = backend_ranks(backend_reference(), r);
  struct norm g = c->g;
  g.m /= r->count;
  ptrdiff_t at = r->rank * g.m * g.c, own = r->rank * g.c;
  const real *residual = c->residual ? c->residual + at : NULL;
  size_t bytes = b->norm_scratch(&g);
  void *scratch = memory_of(b, bytes);
  b->norm_forward_train(&g, c->x + at, residual, c->gamma, c->beta, c->running_mean + own, c->running_var + own, c->y + at, c->mean + own,
                        c->invstd + own, scratch);
  b->norm_backward_train(&g, c->x + at, c->y + at, c->gamma, c->mean + own, c->invstd + own, c->dy + at, c->dx + at, c->dresidual + at,
                         c->dgamma + own, c->dbeta + own, scratch);
  b->release(scratch, bytes);
}

static bool equal_bits(const void *a, const void *b, ptrdiff_t n, size_t element) { return memcmp(a, b, (size_t)n * element) == 0; }

/* Elements and the statistics of every rank, to the bit. */
static bool norms_equal(const struct norm_case *a, const struct norm_case *whole, int count) {
  ptrdiff_t n = a->g.m * a->g.c, c = a->g.c;
  bool same = equal_bits(a->y, whole->y, n, sizeof(real)) && equal_bits(a->dx, whole->dx, n, sizeof(real)) &&
              equal_bits(a->dresidual, whole->dresidual, n, sizeof(real));
  for (int k = 0; k < count; k++)
    same = same && equal_bits(a->mean + k * c, whole->mean, c, sizeof(double)) &&
           equal_bits(a->invstd + k * c, whole->invstd, c, sizeof(double)) &&
           equal_bits(a->running_mean + k * c, whole->running_mean, c, sizeof(real)) &&
           equal_bits(a->running_var + k * c, whole->running_var, c, sizeof(real));
  return same;
}

/* |sum over the ranks of a parameter's gradient - that of the whole batch|, the largest; every summand and the whole are rounded once. */
static void check_parameters(const struct norm_case *a, const struct norm_case *whole, int count) {
  for (ptrdiff_t c = 0; c < a->g.c; c++) {
    double dgamma = 0, dbeta = 0, gauge_gamma = fabs((double)whole->dgamma[c]), gauge_beta = fabs((double)whole->dbeta[c]);
    for (int k = 0; k < count; k++) {
      dgamma += (double)a->dgamma[k * a->g.c + c], dbeta += (double)a->dbeta[k * a->g.c + c];
      gauge_gamma += fabs((double)a->dgamma[k * a->g.c + c]), gauge_beta += fabs((double)a->dbeta[k * a->g.c + c]);
    }
    /* beside the rounding to real: each sum over rows times invstd, and the sum here, in double; 8 of its roundings */
    double u = REAL_ROUNDOFF + 8 * 0x1p-53;
    assert_true(fabs(dgamma - (double)whole->dgamma[c]) <= u * gauge_gamma);
    assert_true(fabs(dbeta - (double)whole->dbeta[c]) <= u * gauge_beta);
  }
}

static struct norm_case integers(ptrdiff_t m, ptrdiff_t c, bool residual, bool relu) {
  struct norm_case a = {.g = {.m = m, .c = c, .eps = 1e-5, .momentum = 0.1, .relu = relu}};
  a.x = test_reals(m * c), a.residual = residual ? test_reals(m * c) : NULL, a.dy = test_reals(m * c);
  a.gamma = test_reals(c), a.beta = test_reals(c);
  test_fill_int(a.x, m * c, 9, 1), test_fill_int(a.dy, m * c, 9, 3);
  if (residual) test_fill_int(a.residual, m * c, 9, 2);
  test_fill_normal(a.gamma, c, 4), test_fill_normal(a.beta, c, 5);
  return shared_results(a);
}

static void free_inputs(struct norm_case *a) { free(a->x), free(a->residual), free(a->dy), free(a->gamma), free(a->beta); }

/* With integers, and numbers of rows that are powers of two on every rank and in every chunk, means are fractions of a few bits and every
 * sum is exact: the batch norm of the ranks must be that of the whole batch to the bit, whatever the order of its sums. One rank counted
 * twice, left out, or a mean over the rows of one rank only would be seen in the first digit. */
static void norms_over_ranks_are_those_of_the_whole_batch(void **state) {
  (void)state;
  static const ptrdiff_t shapes[][2] = {{4, 3}, {64, 5}, {1 << 17, 2}, {16, CHANNELS_MOST}};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
    for (int flags = 0; flags < 4; flags++) {
      struct norm_case whole = integers(shapes[s][0], shapes[s][1], flags & 1, flags & 2);
      forked_run(1, norm_here, &whole);
      for (int count = 2; count <= MOST; count += 2) {
        struct norm_case ranks = shared_results(whole);
        forked_run(count, norm_here, &ranks);
        assert_true(norms_equal(&ranks, &whole, count));
        check_parameters(&ranks, &whole, count);
      }
      free_inputs(&whole);
    }
}

/* Any numbers, three ranks: every rank has the same statistics, and they are those of the whole batch but for roundings of double. Sums of
 * m terms in another order differ by 2 m 2^-53 sum |x|; |x| stays below 6 + 3, deviations above 1/2 (normals, times 2). */
static void statistics_are_the_same_on_every_rank(void **state) {
  (void)state;
  ptrdiff_t m = 3 * 333, c = 70;
  struct norm_case whole = integers(m, c, true, true);
  test_fill_normal(whole.x, m * c, 7);
  for (ptrdiff_t i = 0; i < m * c; i++) whole.x[i] = 3 + 2 * whole.x[i];
  forked_run(1, norm_here, &whole);
  struct norm_case ranks = shared_results(whole);
  forked_run(3, norm_here, &ranks);
  double bound = 2 * (double)m * 0x1p-53 * (3 + 2 * 6);
  for (ptrdiff_t k = 0; k < c; k++) {
    assert_true(fabs(ranks.mean[k] - whole.mean[k]) <= bound);
    assert_true(fabs(ranks.invstd[k] - whole.invstd[k]) <= bound * 15 * 8); /* |d invstd| = |d v| / 2 v^1.5, v > 1/4 */
  }
  for (int k = 1; k < 3; k++) {
    assert_memory_equal(ranks.mean + k * c, ranks.mean, (size_t)c * sizeof(double));
    assert_memory_equal(ranks.invstd + k * c, ranks.invstd, (size_t)c * sizeof(double));
    assert_memory_equal(ranks.running_var + k * c, ranks.running_var, (size_t)c * sizeof(real));
  }
  free_inputs(&whole);
}

/* The parts that ranks compute, for one rank: the bits of norm_forward_train and norm_backward_train, in place, too. */
static void one_rank_has_the_bits_of_one_process(void **state) {
  (void)state;
  static const ptrdiff_t shapes[][2] = {{1, 1}, {7, 5}, {16385, 3}, {34, 1030}};
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
    struct norm g = {.m = shapes[s][0], .c = shapes[s][1], .eps = 1e-5, .momentum = 0.1, .relu = true};
    ptrdiff_t n = g.m * g.c;
    size_t bytes = (size_t)n * sizeof(real), channels = (size_t)g.c * sizeof(real);
    real *x = test_reals(n), *gamma = test_reals(g.c), *beta = test_reals(g.c), *y[2], *dy[2], *statistic[2][4];
    double *saved[2][2], *sums = test_doubles(2 * g.c), *scratch = test_doubles(norm_scratch(&g));
    test_fill_normal(x, n, 1), test_fill_normal(gamma, g.c, 2), test_fill_normal(beta, g.c, 3);
    for (int i = 0; i < 2; i++) {
      test_fill_normal(dy[i] = test_reals(n), n, 4), y[i] = test_poisoned(n);
      for (int k = 0; k < 4; k++) test_fill_normal(statistic[i][k] = test_reals(g.c), g.c, 5 + (uint32_t)k);
      for (int k = 0; k < 2; k++) saved[i][k] = test_doubles(g.c);
    }
    norm_forward_train(&g, x, NULL, gamma, beta, statistic[0][0], statistic[0][1], y[0], saved[0][0], saved[0][1], scratch);
    norm_backward_train(&g, x, y[0], gamma, saved[0][0], saved[0][1], dy[0], dy[0], NULL, statistic[0][2], statistic[0][3], scratch);
    norm_rank_moments(&g, x, sums, scratch);
    norm_rank_forward(&g, 1, sums, x, NULL, gamma, beta, statistic[1][0], statistic[1][1], y[1], saved[1][0], saved[1][1]);
    norm_rank_gradient(&g, x, y[1], saved[1][0], saved[1][1], dy[1], statistic[1][2], statistic[1][3], sums, scratch);
    norm_rank_backward(&g, 1, sums, x, y[1], gamma, saved[1][0], saved[1][1], dy[1], dy[1], NULL, scratch);
    assert_memory_equal(y[1], y[0], bytes);
    assert_memory_equal(dy[1], dy[0], bytes);
    for (int k = 0; k < 4; k++) assert_memory_equal(statistic[1][k], statistic[0][k], channels);
    for (int k = 0; k < 2; k++) assert_memory_equal(saved[1][k], saved[0][k], (size_t)g.c * sizeof(double));
    for (int i = 0; i < 2; i++) {
      free(dy[i]), free(y[i]);
      for (int k = 0; k < 4; k++) free(statistic[i][k]);
      for (int k = 0; k < 2; k++) free(saved[i][k]);
    }
    free(x), free(gamma), free(beta), free(sums), free(scratch);
  }
}

/* Whoever trains alone needs no table, and leaves another's as it is: its scratch still has room for the sums of two ranks. */
static void one_rank_changes_no_table(void **state) {
  (void)state;
  struct ranks two = *ranks_alone();
  two.count = 2;
  struct norm g = {.m = 8, .c = 1024, .eps = 1e-5, .momentum = 0.1};
  const struct backend *b = backend_ranks(backend_reference(), &two);
  size_t bytes = b->norm_scratch(&g);
  assert_true(bytes > backend_reference()->norm_scratch(&g));
  assert_ptr_equal(backend_ranks(backend_reference(), ranks_alone()), backend_reference());
  assert_true(b->norm_scratch(&g) == bytes);
}

/* ---- losses ------------------------------------------------------------------------------------------------------------------------- */

enum { IMAGES = 3, ARRAYS = 6 }; /* images a rank; two views of each loss */

struct loss_case {
  bool given[ARRAYS];
  struct loss_sums sums[MOST];
};

static double value_of(int array, ptrdiff_t image) { return (double)((array + 1) * (100 + image)); }

/* The values of `count` images from `first` on, array by array: IMAGES MOST apart. */
static struct loss_values values_of(const bool *given, double *room, ptrdiff_t first, ptrdiff_t count) {
  struct loss_values v = {.lambda_rdem = 1, .lambda_riem = 2, .lambda_byol = 4};
  const double **array[ARRAYS] = {&v.rdem[0], &v.rdem[1], &v.riem[0], &v.riem[1], &v.byol[0], &v.byol[1]};
  for (int k = 0; k < ARRAYS; k++, room += IMAGES * MOST) {
    for (ptrdiff_t i = 0; i < count; i++) room[i] = value_of(k, first + i);
    if (given[k]) *array[k] = room;
  }
  return v;
}

static void collect_here(const struct ranks *r, void *context) {
  struct loss_case *c = context;
  const struct backend *inner = backend_reference(), *b = backend_ranks(inner, r);
  size_t bytes = backend_ranks_bytes(inner, r, 1, IMAGES, 0);
  void *buffer = memory_of(inner, bytes);
  double *room = test_doubles(ARRAYS * IMAGES * MOST);
  struct loss_values v = values_of(c->given, room, r->rank * IMAGES, IMAGES);
  backend_ranks_buffer(buffer);
  b->loss_collect(IMAGES, &v, 0.5, &c->sums[r->rank]);
  inner->release(buffer, bytes);
  free(room);
}

/* Whole numbers, whose sums are exact: those of all images, on every rank. */
static void losses_over_ranks_are_those_of_the_whole_batch(void **state) {
  (void)state;
  static const bool given[][ARRAYS] = {{true, true, true, true, true, true}, {false, false, false, false, true, true}};
  double *room = test_doubles(ARRAYS * IMAGES * MOST);
  for (size_t g = 0; g < 2; g++)
    for (int count = 2; count <= MOST; count++) {
      struct loss_case *c = forked_shared(sizeof *c);
      struct loss_sums whole = {0};
      memcpy(c->given, given[g], sizeof c->given);
      forked_run(count, collect_here, c);
      struct loss_values v = values_of(given[g], room, 0, count * IMAGES);
      loss_collect(count * IMAGES, &v, 0.5, &whole);
      for (int k = 0; k < count; k++) assert_memory_equal(&c->sums[k], &whole, sizeof whole);
    }
  free(room);
}

/* ---- spoiled collectives ------------------------------------------------------------------------------------------------------------ */

/* What these tests hold ranks to sees a rank that is left out, an exchange that gives the piece before, and parts that are taken unwaited
 * for. */
static void spoiled_collectives_are_found(void **state) {
  (void)state;
  static const enum forked_fault of_means[] = {FORKED_MISSING, FORKED_STALE, FORKED_UNWAITED},
                                 of_norms[] = {FORKED_MISSING, FORKED_UNWAITED};
  for (size_t i = 0; i < sizeof of_means / sizeof of_means[0]; i++) {
    forked_spoil(of_means[i]);
    bool right = means_are_right(2, 4099);
    forked_spoil(FORKED_NONE);
    if (right) fail_msg("the mean with fault %d was taken for right", of_means[i]);
  }
  struct norm_case whole = integers(64, 5, true, true);
  forked_run(1, norm_here, &whole);
  for (size_t i = 0; i < sizeof of_norms / sizeof of_norms[0]; i++) {
    struct norm_case ranks = shared_results(whole);
    forked_spoil(of_norms[i]);
    forked_run(2, norm_here, &ranks);
    forked_spoil(FORKED_NONE);
    if (norms_equal(&ranks, &whole, 2)) fail_msg("the norm with fault %d was taken for right", of_norms[i]);
  }
  free_inputs(&whole);
}

/* ---- words --------------------------------------------------------------------------------------------------------------------------- */

struct word {
  bool agreed, any, same;
  struct error agree, other;
};

static void talk(const struct ranks *r, void *context) {
  struct word *w = (struct word *)context + r->rank;
  bool bad = r->rank == 1 || r->rank == 2;
  struct error err = {.text = ""};
  if (bad) (fail)(&err, "disk %d is full", r->rank);
  w->agreed = ranks_agree(r, !bad, &err);
  w->agree = err;
  w->any = ranks_any(r, r->rank == r->count - 1);
  w->same = ranks_same(r, "settings", r->rank == 2 ? "b" : "a", 1, &w->other);
}

/* One line, that of the first rank that has one, on every rank. */
static void every_rank_says_the_same(void **state) {
  (void)state;
  struct word *w = forked_shared(MOST * sizeof *w);
  forked_run(MOST, talk, w);
  for (int k = 0; k < MOST; k++) {
    assert_false(w[k].agreed);
    assert_string_equal(w[k].agree.text, "rank 1 of 4: disk 1 is full");
    assert_true(w[k].any);
    assert_false(w[k].same);
    assert_string_equal(w[k].other.text, "rank 2 of 4 has other settings than rank 0");
  }
  struct error err = {.text = ""};
  assert_true(ranks_agree(ranks_alone(), true, &err));
  (fail)(&err, "alone");
  assert_false(ranks_agree(ranks_alone(), false, &err));
  assert_string_equal(err.text, "alone");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(means_are_summed_in_the_order_of_the_ranks),
      cmocka_unit_test(norms_over_ranks_are_those_of_the_whole_batch),
      cmocka_unit_test(statistics_are_the_same_on_every_rank),
      cmocka_unit_test(losses_over_ranks_are_those_of_the_whole_batch),
      cmocka_unit_test(spoiled_collectives_are_found),
      cmocka_unit_test(every_rank_says_the_same),
      cmocka_unit_test(one_rank_changes_no_table),
      cmocka_unit_test(one_rank_has_the_bits_of_one_process), /* last: it runs parallel loops, after which nothing may fork */
  };
  return cmocka_run_group_tests_name("backend over ranks " REAL_SUFFIX, tests, NULL, NULL);
}
