/* The oracle is right when it finds what is wrong: the catalogue of faults is sound, and a sample of it is killed. The whole catalogue is
 * `make oracle-proof`. EDIY_TEST_CASES=N: that many cases for each operation. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/mutants/mutate.h"
#include "oracle/mutants/plain.h"
#include "support/cmocka.h"

static void names_are_unique_and_whole(void **state) {
  (void)state;
  int of_operations = 0;
  for (int a = FAULT_NONE + 1; a < FAULTS; a++) {
    const struct fault_description *d = &fault_catalogue[a];
    assert_true(d->name && d->name[0] && d->description[0] && d->tensors[0] && d->op[0]);
    of_operations++;
    for (int b = a + 1; b < FAULTS; b++) assert_string_not_equal(d->name, fault_catalogue[b].name);
  }
  assert_true(of_operations >= 150);
}

/* Every fault of the operations that are tried is rejected at least once, with the right tensors named; what rejects nothing finds
 * nothing. */
static void faults_are_killed_and_located(void **state) {
  (void)state;
  const char *wanted = getenv("EDIY_TEST_CASES");
  struct fault_score *scores = calloc(FAULTS, sizeof *scores);
  const struct mutate_options o = {.cases = wanted ? atoi(wanted) : 6, .seed = 1};
  struct error err;
  int tried = 0, killed = 0, kills = 0, located = 0;
  assert_non_null(scores);
  if (!mutate_isolated(&o, scores, NULL, &err)) fail_msg("%s", err.text);
  for (int f = FAULT_NONE + 1; f < FAULTS; f++) {
    if (scores[f].tries == 0) continue;
    tried++;
    killed += scores[f].kills > 0;
    kills += scores[f].kills;
    located += scores[f].located;
    if (scores[f].kills == 0) print_message("survived: %s: %s\n", fault_catalogue[f].name, scores[f].survived);
    assert_true(scores[f].kills <= scores[f].tries && scores[f].located <= scores[f].kills);
  }
  print_message("%d faults changed a bit, %d killed; %d rejections, %d located\n", tried, killed, kills, located);
  assert_true(tried >= 150);
  assert_true(killed + 1 >= tried); /* of so few cases one may hide: a one-pass variance needs a large mean */
  assert_true(100 * located >= 95 * kills);
  free(scores);
}

/* A fault that happens in the second call alone leaves the first as it was. */
static void a_fault_can_be_in_one_call_alone(void **state) {
  (void)state;
  const struct linear g = {.m = 1, .i = 2, .o = 1};
  const float x[] = {1, 2}, w[] = {3, 4}, b[] = {5};
  float y[3] = {0};
  plain_fault(FAULT_LINEAR_NO_BIAS, 1);
  for (int i = 0; i < 3; i++) plain_linear_forward(&g, x, w, b, &y[i]);
  assert_true(plain_fault_reached());
  assert_int_equal(plain_calls(CALL_LINEAR_FORWARD), 3);
  assert_true(y[0] == 16 && y[1] == 11 && y[2] == 16);
  plain_fault(FAULT_NONE, -1);
}

int main(void) {
  omp_set_num_threads(1); /* shapes too small to share out: threads would spend their time waiting */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_are_unique_and_whole),
      cmocka_unit_test(a_fault_can_be_in_one_call_alone),
      cmocka_unit_test(faults_are_killed_and_located),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
