/* Region matching: directions by hand, the plain definition, ties of duplicated rows wherever they stand, NaN. */
#include "op/match.h"

#include "op/numeric.h"

static double *scratch_for(const struct match *g) { return test_doubles(match_scratch(g)); }

/* Directions in the plane, of several lengths: right, up, left, and right again (longer). */
static void hand_computed(void **state) {
  (void)state;
  struct match g = {1, 4, 2, SIMILARITY_COSINE};
  const real a[8] = {1, 0, 0, 2, -4, 0, 8, 0}, b[8] = {0, 1, 0, -1, 4, 0, -3, 0};
  const real sim[16] = {0, 0, 1, -1, 1, -1, 0, 0, 0, 0, -1, 1, 0, 0, 1, -1};
  const int32_t d[4] = {2, 0, 0, 2}; /* the opposite; up is at right angles to three rows: the first of them */
  const int32_t s[4] = {2, 0, 3, 2}; /* the same direction in b */
  int32_t out[4] = {-1, -1, -1, -1};
  real *shown = test_poisoned(16);
  double *scratch = scratch_for(&g);
  match_similarity(&g, a, b, shown, scratch);
  assert_all_equal(shown, sim, 16);
  assert_end_untouched(shown, 16);
  match_diversity(&g, a, out, scratch);
  assert_memory_equal(out, d, sizeof d);
  match_invariance(&g, a, b, out, scratch);
  assert_memory_equal(out, s, sizeof s);
  g.similarity = SIMILARITY_DOT; /* now length counts: 8 . 4 is the largest, and -4 . 8 the smallest product */
  const int32_t dot_d[4] = {2, 0, 3, 2};
  match_diversity(&g, a, out, scratch);
  assert_memory_equal(out, dot_d, sizeof dot_d);
  match_similarity(&g, a, b, shown, scratch);
  assert_true(shown[3 * 4 + 2] == 32 && shown[2 * 4 + 2] == -16);
  free(shown), free(scratch);
}

/* Straight from Eq. 4 and 6; indices are compared through the similarities that match_similarity gives. */
static void equals_the_definition(void **state) {
  (void)state;
  /* around the blocks of 128 channels and of four, and the 32 workers */
  static const struct match shapes[] = {{1, 1, 1, 0}, {2, 5, 3, 0}, {3, 49, 131, 0}, {35, 4, 6, 0}, {2, 9, 258, 1}, {1, 50, 512, 0}};
  for (size_t t = 0; t < sizeof shapes / sizeof shapes[0]; t++) {
    const struct match *g = &shapes[t];
    ptrdiff_t n = g->n, c = g->c, rows = g->b * n, sims = rows * n;
    real *from = test_reals(rows * c), *to = test_reals(rows * c), *sim = test_poisoned(sims);
    double *expected = test_doubles(sims), *scratch = scratch_for(g), largest = 0;
    int32_t *index = malloc((size_t)rows * sizeof *index);
    test_fill_normal(from, rows * c, 1), test_fill_normal(to, rows * c, 2);
    for (int same = 0; same < 2; same++) { /* the second time inside one view */
      const real *other = same ? from : to;
      for (ptrdiff_t b = 0; b < g->b; b++)
        for (ptrdiff_t i = 0; i < n; i++)
          for (ptrdiff_t j = 0; j < n; j++) {
            const real *x = from + (b * n + i) * c, *y = other + (b * n + j) * c;
            double xx = 0, yy = 0, xy = 0;
            for (ptrdiff_t k = 0; k < c; k++) {
              xx += (double)x[k] * (double)x[k];
              yy += (double)y[k] * (double)y[k];
              xy += (double)x[k] * (double)y[k];
            }
            expected[(b * n + i) * n + j] = g->similarity == SIMILARITY_COSINE ? xy / sqrt(xx) / sqrt(yy) : xy;
            largest = fmax(largest, sqrt(xx) * sqrt(yy));
          }
      if (g->similarity == SIMILARITY_COSINE) largest = 1;
      match_similarity(g, from, other, sim, scratch);
      /* one rounding to real; sums of c products in double, here and there */
      assert_all_near(sim, expected, sims, (REAL_ROUNDOFF + 4 * (double)(c + 4) * 0x1p-53) * largest);
      if (same)
        match_diversity(g, from, index, scratch);
      else
        match_invariance(g, from, to, index, scratch);
      for (ptrdiff_t j = 0; j < rows; j++) {
        ptrdiff_t best = 0;
        for (ptrdiff_t z = 1; z < n; z++)
          if (same ? sim[j * n + z] < sim[j * n + best] : sim[j * n + z] > sim[j * n + best]) best = z;
        assert_int_equal(index[j], best);
      }
      if (same) /* sim(z, j) and sim(j, z) are the same bits */
        for (ptrdiff_t i = 0; i < n; i++)
          for (ptrdiff_t j = 0; j < n; j++) assert_true(sim[i * n + j] == sim[j * n + i]);
    }
    assert_end_untouched(sim, sims);
    free(from), free(to), free(sim), free(expected), free(scratch), free(index);
  }
}

/* Every row of `to` is repeated: three copies of 13 rows and one of the first 10, at places that fall into every lane of a vector
 * and its tail. All columns of copies must be the same bits, and the first copy must win. */
static void duplicated_rows_tie(void **state) {
  (void)state;
  struct match g = {1, 49, 131, SIMILARITY_COSINE};
  real *from = test_reals(49 * 131), *to = test_reals(49 * 131), *sim = test_reals(49 * 49);
  double *scratch = scratch_for(&g);
  int32_t index[49];
  test_fill_normal(from, 49 * 131, 1), test_fill_normal(to, 49 * 131, 2);
  for (int j = 13; j < 49; j++) memcpy(to + j * 131, to + j % 13 * 131, 131 * sizeof(real));
  match_similarity(&g, from, to, sim, scratch);
  for (int i = 0; i < 49; i++)
    for (int j = 13; j < 49; j++) assert_memory_equal(&sim[i * 49 + j], &sim[i * 49 + j % 13], sizeof(real));
  match_invariance(&g, from, to, index, scratch);
  for (int j = 0; j < 49; j++) assert_true(index[j] < 13);
  match_diversity(&g, to, index, scratch);
  for (int j = 0; j < 49; j++) assert_true(index[j] < 13 && index[j] == index[j % 13]);
  match_invariance(&g, to, to, index, scratch); /* most similar to a row: the first of its copies */
  for (int j = 0; j < 49; j++) assert_int_equal(index[j], j % 13);
  free(from), free(to), free(sim), free(scratch);
}

static void zero_rows_have_similarity_zero(void **state) {
  (void)state;
  struct match g = {2, 3, 4, SIMILARITY_COSINE};
  real t[24] = {0}, sim[18];
  double *scratch = scratch_for(&g);
  int32_t index[6];
  match_similarity(&g, t, t, sim, scratch);
  for (int i = 0; i < 18; i++) assert_true(sim[i] == 0);
  match_diversity(&g, t, index, scratch);
  for (int i = 0; i < 6; i++) assert_int_equal(index[i], 0);
  t[0] = 1, t[8] = 2; /* image 0: right, zero, right: the zero row is least similar to all */
  match_diversity(&g, t, index, scratch);
  assert_true(index[0] == 1 && index[1] == 0 && index[2] == 1);
  free(scratch);
}

static void nan_loses_unless_alone(void **state) {
  (void)state;
  struct match g = {1, 3, 1, SIMILARITY_DOT};
  const real from[3] = {1, 1, (real)NAN}, to[3] = {(real)NAN, -2, 3};
  double *scratch = scratch_for(&g);
  int32_t index[3];
  match_invariance(&g, from, to, index, scratch);
  assert_true(index[0] == 2 && index[1] == 2 && index[2] == 0);
  match_diversity(&g, to, index, scratch);
  assert_true(index[0] == 0 && index[1] == 2 && index[2] == 1);
  free(scratch);
}

static void threads_do_not_change_a_bit(void **state) {
  (void)state;
  struct match g = {5, 17, 70, SIMILARITY_COSINE};
  enum { ROWS = 5 * 17, SIMS = ROWS * 17 };
  real *from = test_reals(ROWS * 70), *to = test_reals(ROWS * 70), *sim[2] = {test_reals(SIMS), test_reals(SIMS)};
  double *scratch = scratch_for(&g);
  int32_t d[2][ROWS], s[2][ROWS];
  test_fill_normal(from, ROWS * 70, 1), test_fill_normal(to, ROWS * 70, 2);
  for (int t = 0; t < THREAD_COUNTS; t++) {
    omp_set_num_threads(thread_counts[t]);
    match_similarity(&g, from, to, sim[t > 0], scratch);
    match_diversity(&g, from, d[t > 0], scratch);
    match_invariance(&g, from, to, s[t > 0], scratch);
    if (t == 0) continue;
    assert_memory_equal(sim[1], sim[0], SIMS * sizeof(real));
    assert_memory_equal(d[1], d[0], sizeof d[0]);
    assert_memory_equal(s[1], s[0], sizeof s[0]);
  }
  free(from), free(to), free(sim[0]), free(sim[1]), free(scratch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hand_computed),          cmocka_unit_test(equals_the_definition),
      cmocka_unit_test(duplicated_rows_tie),    cmocka_unit_test(zero_rows_have_similarity_zero),
      cmocka_unit_test(nan_loses_unless_alone), cmocka_unit_test(threads_do_not_change_a_bit),
  };
  return cmocka_run_group_tests_name("match " REAL_SUFFIX, tests, NULL, NULL);
}
