/* k-NN: equal to the definition by brute force, ties by the lowest row and class, the same for any number of threads. */
#include "eval/knn.h"

#include <omp.h>
#include <string.h>

#include "op/unit.h"
#include "support/cmocka.h"

#include "support/support.h"

/* The definition: every similarity, then k times the best that is left. */
static void brute_force(const struct knn *g, const real *bank, const real *query, int32_t *neighbour, double *similarity) {
  real *u = test_reals(g->m * g->d), *v = test_reals(g->q * g->d);
  double *s = calloc((size_t)(g->m + g->q), sizeof *s);
  unit_forward(g->m, g->d, bank, u, s);
  unit_forward(g->q, g->d, query, v, s);
  for (ptrdiff_t i = 0; i < g->q; i++) {
    for (ptrdiff_t r = 0; r < g->m; r++) {
      s[r] = 0;
      for (ptrdiff_t j = 0; j < g->d; j++) s[r] += (double)u[r * g->d + j] * (double)v[i * g->d + j];
    }
    for (ptrdiff_t k = 0; k < g->k; k++) {
      ptrdiff_t best = 0;
      for (ptrdiff_t r = 1; r < g->m; r++)
        if (s[r] > s[best]) best = r;
      neighbour[i * g->k + k] = (int32_t)best, similarity[i * g->k + k] = s[best];
      s[best] = -INFINITY;
    }
  }
  free(u), free(v), free(s);
}

struct found {
  int32_t *neighbour;
  double *similarity;
};
static struct found found_make(const struct knn *g) {
  size_t n = (size_t)(g->q * g->k);
  return (struct found){calloc(n + 1, sizeof(int32_t)), calloc(n + 1, sizeof(double))};
}
static void found_free(struct found f) { free(f.neighbour), free(f.similarity); }

/* Bit for bit: the search promises the sums of the definition. */
static void check_against_brute_force(const struct knn *g, const real *bank, const real *query) {
  struct found a = found_make(g), b = found_make(g);
  struct error err;
  brute_force(g, bank, query, b.neighbour, b.similarity);
  assert_true(knn_search(g, bank, query, a.neighbour, a.similarity, &err));
  assert_memory_equal(a.neighbour, b.neighbour, (size_t)(g->q * g->k) * sizeof *a.neighbour);
  assert_memory_equal(a.similarity, b.similarity, (size_t)(g->q * g->k) * sizeof *a.similarity);
  found_free(a), found_free(b);
}

static void equals_brute_force_over_many_tiles(void **state) {
  (void)state;
  /* more rows than a tile of the bank, more queries than a block, k on both sides of the first room for candidates */
  static const struct knn shapes[] = {{5000, 200, 9, 20}, {2049, 129, 33, 1}, {300, 3, 5, 300},
                                      {4097, 2, 64, 200}, {1, 1, 1, 1},       {50, 0, 4, 7}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    const struct knn *g = &shapes[i];
    real *bank = test_reals(g->m * g->d), *query = test_reals(g->q * g->d);
    test_fill_normal(bank, g->m * g->d, 1);
    test_fill_normal(query, g->q * g->d, 2);
    check_against_brute_force(g, bank, query);
    free(bank), free(query);
  }
}

static void rows_in_rising_order_are_all_offered(void **state) {
  (void)state;
  /* the worst order for a running cut-off: every row is nearer than all before it */
  struct knn g = {6000, 1, 2, 5};
  real *bank = test_reals(g.m * 2), query[2] = {1, 0};
  for (ptrdiff_t i = 0; i < g.m; i++)
    bank[2 * i] = (real)cos(1.5 * (double)(g.m - i) / (double)g.m), bank[2 * i + 1] = (real)sin(1.5 * (double)(g.m - i) / (double)g.m);
  int32_t neighbour[5];
  struct error err;
  assert_true(knn_search(&g, bank, query, neighbour, NULL, &err));
  for (int k = 0; k < 5; k++) assert_int_equal(neighbour[k], g.m - 1 - k);
  free(bank);
}

static void equal_rows_tie_by_the_lowest(void **state) {
  (void)state;
  /* 4500 copies of three rows, over tiles and edges of the matrix product: the nearest is a copy of row 0, at 0, 3, 6, ... */
  struct knn g = {4500, 130, 37, 40};
  real *bank = test_reals(g.m * g.d), *query = test_reals(g.q * g.d);
  test_fill_normal(bank, 3 * g.d, 3);
  for (ptrdiff_t i = 3; i < g.m; i++) memcpy(bank + i * g.d, bank + i % 3 * g.d, (size_t)g.d * sizeof *bank);
  for (ptrdiff_t i = 0; i < g.q; i++)
    for (ptrdiff_t j = 0; j < g.d; j++) query[i * g.d + j] = bank[j] * (real)(i + 1);
  struct found f = found_make(&g);
  struct error err;
  assert_true(knn_search(&g, bank, query, f.neighbour, f.similarity, &err));
  for (ptrdiff_t i = 0; i < g.q; i++)
    for (ptrdiff_t k = 0; k < g.k; k++) {
      assert_int_equal(f.neighbour[i * g.k + k], 3 * k);
      assert_true(f.similarity[i * g.k + k] == f.similarity[i * g.k]);
    }
  found_free(f), free(bank), free(query);
}

static void zero_rows_are_at_right_angles_to_everything(void **state) {
  (void)state;
  struct knn g = {4, 2, 2, 4};
  real bank[8] = {0, 0, 3, 0, -1, 0, 0, 0}, query[4] = {2, 0, 0, 0};
  int32_t neighbour[8];
  double similarity[8];
  struct error err;
  assert_true(knn_search(&g, bank, query, neighbour, similarity, &err));
  assert_memory_equal(neighbour, ((int32_t[]){1, 0, 3, 2, 0, 1, 2, 3}), sizeof neighbour);
  assert_memory_equal(similarity, ((double[]){1, 0, 0, -1}), 4 * sizeof *similarity);
  for (int i = 4; i < 8; i++) assert_true(similarity[i] == 0);
}

static void votes_are_the_definition(void **state) {
  (void)state;
  /* classes 0 and 2 vote, class 1 has no image; k = 1, 2, 3 of one search */
  struct knn g = {4, 1, 8, 3};
  int32_t label[4] = {2, 0, 0, 2}, neighbour[3] = {3, 1, 2}, prediction;
  double similarity[3] = {0.5, 0.25, 0.125}, votes[3];
  struct error err;
  static const int expected[] = {2, 2, 0}; /* e^1 against e^.5, then against e^.5 + e^.25 */
  for (int k = 1; k <= 3; k++) {
    assert_true(knn_vote(&g, k, 3, 0.5, label, neighbour, similarity, votes, &prediction, &err));
    assert_int_equal(prediction, expected[k - 1]);
    assert_true(votes[1] == 0 && fabs(votes[2] - exp(1.0)) < 1e-15);
    assert_true(fabs(votes[0] - ((k > 1 ? exp(.5) : 0) + (k > 2 ? exp(.25) : 0))) < 1e-15);
  }
}

/* Three queries, of which each has neighbours, votes and a prediction of its own; more neighbours were searched than vote. */
static void every_query_has_its_own_votes(void **state) {
  (void)state;
  enum { CLASSES = 3, SEARCHED = 3, VOTES = 2 };
  struct knn g = {5, 3, 8, SEARCHED};
  static const int32_t label[5] = {0, 1, 2, 1, 0}, neighbour[3 * SEARCHED] = {3, 0, 4, 2, 1, 3, 4, 0, 2}, expected[3] = {1, 2, 0};
  static const double similarity[3 * SEARCHED] = {0.75, 0.5, 0.25, 1, 0.5, 0.25, 0.5, 0.25, 0.125};
  double votes[3 * CLASSES];
  int32_t prediction[3];
  struct error err;
  memset(votes, 0x7f, sizeof votes);
  assert_true(knn_vote(&g, VOTES, CLASSES, 0.5, label, neighbour, similarity, votes, prediction, &err));
  for (int i = 0; i < 3; i++) {
    double sum[CLASSES] = {0};
    for (int j = 0; j < VOTES; j++) sum[label[neighbour[i * SEARCHED + j]]] += exp(similarity[i * SEARCHED + j] / 0.5);
    for (int c = 0; c < CLASSES; c++) assert_true(votes[i * CLASSES + c] == sum[c]);
    assert_int_equal(prediction[i], expected[i]);
  }
}

static void equal_votes_take_the_lowest_class(void **state) {
  (void)state;
  struct knn g = {4, 1, 8, 4};
  int32_t label[4] = {3, 1, 3, 1}, neighbour[4] = {0, 1, 2, 3}, prediction;
  double similarity[4] = {0.5, 0.5, 0.25, 0.25};
  struct error err;
  assert_true(knn_vote(&g, 4, 4, 0.07, label, neighbour, similarity, NULL, &prediction, &err));
  assert_int_equal(prediction, 1);
}

static void one_class_is_always_right(void **state) {
  (void)state;
  struct knn g = {10, 6, 3, 2};
  real bank[30], query[18];
  test_fill_normal(bank, 30, 4);
  test_fill_normal(query, 18, 5);
  int32_t label[10] = {0}, neighbour[12], prediction[6];
  double similarity[12];
  struct error err;
  assert_true(knn_search(&g, bank, query, neighbour, similarity, &err));
  assert_true(knn_vote(&g, 2, 1, 0.07, label, neighbour, similarity, NULL, prediction, &err));
  struct share s = knn_accuracy(6, prediction, label);
  assert_true(s.hits == 6 && s.count == 6 && s.value == 1 && s.high == 1);
}

static void bad_input_is_named(void **state) {
  (void)state;
  real bank[6] = {1, 2, 3, 4, 5, 6}, query[2] = {1, 1};
  int32_t neighbour[3], label[3] = {0, 1, 2};
  double similarity[3];
  struct error err;
  struct knn g = {3, 1, 2, 4};
  assert_false(knn_search(&g, bank, query, neighbour, similarity, &err));
  assert_non_null(strstr(err.text, "k = 4, but the bank has 3 rows"));
  g.k = 0;
  assert_false(knn_search(&g, bank, query, neighbour, similarity, &err));
  g.k = 3;
  bank[3] = NAN;
  assert_false(knn_search(&g, bank, query, neighbour, similarity, &err));
  assert_non_null(strstr(err.text, "feature 1 of bank row 1"));
  bank[3] = 4;
  query[0] = INFINITY;
  assert_false(knn_search(&g, bank, query, neighbour, similarity, &err));
  assert_non_null(strstr(err.text, "feature 0 of query row 0"));
  query[0] = 1;
  assert_true(knn_search(&g, bank, query, neighbour, similarity, &err));
  assert_false(knn_vote(&g, 3, 2, 0.07, label, neighbour, similarity, NULL, NULL, &err));
  assert_non_null(strstr(err.text, "label 2 of bank row 2 is not in 0..1"));
  label[2] = -1;
  assert_false(knn_vote(&g, 3, 3, 0.07, label, neighbour, similarity, NULL, NULL, &err));
  label[2] = 0;
  assert_false(knn_vote(&g, 4, 3, 0.07, label, neighbour, similarity, NULL, NULL, &err));
  assert_false(knn_vote(&g, 3, 3, 0, label, neighbour, similarity, NULL, NULL, &err));
  assert_false(knn_vote(&g, 3, 3, NAN, label, neighbour, similarity, NULL, NULL, &err));
  assert_true(knn_vote(&g, 3, 3, 0.002, label, neighbour, similarity, NULL, NULL, &err));
}

static void threads_do_not_matter(void **state) {
  (void)state;
  struct knn g = {3000, 400, 24, 20};
  real *bank = test_reals(g.m * g.d), *query = test_reals(g.q * g.d);
  test_fill_normal(bank, g.m * g.d, 6);
  test_fill_normal(query, g.q * g.d, 7);
  struct found one = found_make(&g), many = found_make(&g);
  struct error err;
  int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  assert_true(knn_search(&g, bank, query, one.neighbour, one.similarity, &err));
  omp_set_num_threads(3);
  assert_true(knn_search(&g, bank, query, many.neighbour, many.similarity, &err));
  omp_set_num_threads(threads);
  assert_memory_equal(one.neighbour, many.neighbour, (size_t)(g.q * g.k) * sizeof(int32_t));
  assert_memory_equal(one.similarity, many.similarity, (size_t)(g.q * g.k) * sizeof(double));
  found_free(one), found_free(many), free(bank), free(query);
}

static void wilson_intervals_are_the_published_ones(void **state) {
  (void)state;
  /* Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, 1998, table I, method 3 */
  static const struct {
    ptrdiff_t hits, count;
    double low, high;
  } known[] = {{81, 263, .2553, .3662}, {15, 148, .0624, .1605}, {0, 20, 0, .1611}, {1, 29, .0061, .1718}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    struct share s = share_of(known[i].hits, known[i].count);
    assert_true(fabs(s.low - known[i].low) < 5.1e-5 && fabs(s.high - known[i].high) < 5.1e-5); /* four places are printed */
    struct share misses = share_of(s.count - s.hits, s.count);                                 /* hits and misses mirror each other */
    assert_true(fabs(misses.low - (1 - s.high)) < 1e-15 && fabs(misses.high - (1 - s.low)) < 1e-15);
    /* the ends solve |s - p| = z sqrt(p (1 - p) / n) */
    if (s.low > 0) assert_true(fabs(s.value - s.low - WILSON_Z * sqrt(s.low * (1 - s.low) / (double)s.count)) < 1e-14);
  }
  struct share none = share_of(0, 0);
  assert_true(none.value == 0 && none.low == 0 && none.high == 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_brute_force_over_many_tiles),
                                     cmocka_unit_test(rows_in_rising_order_are_all_offered),
                                     cmocka_unit_test(equal_rows_tie_by_the_lowest),
                                     cmocka_unit_test(zero_rows_are_at_right_angles_to_everything),
                                     cmocka_unit_test(votes_are_the_definition),
                                     cmocka_unit_test(every_query_has_its_own_votes),
                                     cmocka_unit_test(equal_votes_take_the_lowest_class),
                                     cmocka_unit_test(one_class_is_always_right),
                                     cmocka_unit_test(bad_input_is_named),
                                     cmocka_unit_test(threads_do_not_matter),
                                     cmocka_unit_test(wilson_intervals_are_the_published_ones)};
  return cmocka_run_group_tests_name("knn " REAL_SUFFIX, tests, NULL, NULL);
}
