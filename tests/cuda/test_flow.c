/* A training run has the same bits however its steps reach the GPU: operation by operation or as a graph, with views that the host or the
 * GPU has computed, in one run or in two. */
#include "cuda/runs.h"

/* Learning rate and decay change from step to step, as does everything that is drawn: what a graph had kept of the step it was made in
 * would show. Five steps, of which it repeats four. */
#define CHANGING "backend=cuda size=8 epochs=2 warmup=1 tau0=0.5 stop=5 "

static void a_graph_has_the_bits_of_its_operations(void **state) {
  (void)state;
  device_backend();
  static const char *const kinds[] = {"lambda1=0 lambda2=0", "sampler=random rdem.negative=instance accumulate=2 region.predictor=mlp"};
  for (int i = 0; i < 2; i++) {
    char extra[256], graph[32], plain[32];
    snprintf(graph, sizeof graph, "graph%d", i), snprintf(plain, sizeof plain, "plain%d", i);
    snprintf(extra, sizeof extra, CHANGING "%s", kinds[i]);
    runs_on(NULL, graph, extra);
    assert_null(strstr(runs_said, "cannot be recorded"));
    snprintf(extra, sizeof extra, CHANGING "cuda.graph=no %s", kinds[i]);
    runs_on(NULL, plain, extra);
    runs_agree(graph, plain, 5);
  }
}

/* Windows of 8 x 8 views come finished above 256 pixels, which many of these images are; of 12 x 12 none does. */
static void views_computed_on_either_side_have_the_same_bits(void **state) {
  (void)state;
  device_backend();
  for (int size = 8; size <= 12; size += 4) {
    char keys[128], out[2][32];
    for (int cpu = 0; cpu < 2; cpu++) {
      snprintf(out[cpu], sizeof out[cpu], "a%d%d", size, cpu);
      snprintf(keys, sizeof keys, CHANGING "sampler=random accumulate=2 size=%d stop=3 augment.on=%s", size, cpu ? "cpu" : "backend");
      runs_on(NULL, out[cpu], keys);
    }
    runs_agree(out[0], out[1], 3);
  }
}

/* Stopped and begun again: what was sent ahead is sent anew. */
static void a_run_in_two_parts_has_the_bits_of_one(void **state) {
  (void)state;
  device_backend();
#define DRAWN CHANGING "sampler=random accumulate=2 "
  runs_on(NULL, "whole", DRAWN);
  runs_on(NULL, "parts", DRAWN "stop=2");
  runs_on(NULL, "parts", DRAWN "data.ahead=5 workers=3 augment.on=cpu");
  runs_agree("whole", "parts", 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_graph_has_the_bits_of_its_operations),
                                     cmocka_unit_test(views_computed_on_either_side_have_the_same_bits),
                                     cmocka_unit_test(a_run_in_two_parts_has_the_bits_of_one)};
  return cmocka_run_group_tests_name("cuda flow", tests, runs_setup, runs_teardown);
}
