/* Random cases on a backend: right ones are accepted in every variant, a wrong one is found, shrunk, and reproduced by the commands
 * printed. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/backends.h"
#include "oracle/fuzz.h"
#include "oracle/make_case.h"
#include "oracle/mutants/plain.h"
#include "support/cmocka.h"

static struct fuzz_tally tally;
static struct fuzz_failure failure;

/* Returns how many runs were rejected. */
static int64_t fuzzed(const struct fuzz_options *o) {
  struct error err;
  int64_t rejected = 0;
  fuzz_tally_free(&tally);
  memset(&failure, 0, sizeof failure);
  if (!fuzz(o, &tally, &failure, NULL, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < tally.count; i++) rejected += tally.row[i].rejected;
  if (failure.found) print_message("%s\n  %s\n", failure.text, failure.command);
  return rejected;
}

static void every_right_variant_is_accepted(void **state) {
  (void)state;
  const char *wanted = getenv("EDIY_TEST_RUNS");
  const struct fuzz_options o = {.on = "plain", .runs = wanted ? atoi(wanted) : 240, .seed = 11, .variants = true};
  assert_int_equal(fuzzed(&o), 0);
  assert_true(tally.count >= PLAIN_VARIANTS - 4); /* some are those of convolution alone */
}

static void the_reference_is_accepted_and_gives_the_same_bits_again(void **state) {
  (void)state;
  const struct fuzz_options o = {.on = "reference", .precision = PRECISION_FP32, .runs = 40, .seed = 3, .repeat = true};
  assert_int_equal(fuzzed(&o), 0);
}

/* No table has these, and a runner reads many attributes for them, of which each transform in turn has some: two dozen cases of each. */
static void views_and_schedules_are_those_of_the_plain_loops(void **state) {
  (void)state;
  const struct fuzz_options views = {.op = "augment", .on = "plain", .precision = PRECISION_FP32, .runs = 288, .seed = 5};
  const struct fuzz_options rates = {.op = "schedule", .on = "plain", .precision = PRECISION_FP32, .runs = 24, .seed = 5};
  assert_int_equal(fuzzed(&views), 0);
  assert_int_equal(fuzzed(&rates), 0);
}

/* Half the work in bf16 under the name of float. */
static void a_lower_precision_is_found_and_shrunk(void **state) {
  (void)state;
  const struct fuzz_options o = {.op = "linear", .on = "plain:bf16", .precision = PRECISION_FP32, .runs = 6, .seed = 3};
  assert_true(fuzzed(&o) > 0);
  assert_true(failure.found && !failure.unsteady);
  assert_non_null(strstr(failure.command, "oracle case make op=linear "));
  assert_non_null(strstr(failure.command, " m=1 i=1 o=1 "));
  assert_non_null(strstr(failure.command, " backend=plain:bf16 precision=fp32"));
}

static int asked_for;

static void ask_for(const struct fuzz_failure *f) {
  struct make_options o;
  struct error err;
  char command[sizeof f->command], *word[2 * MAKE_KEYS];
  int count = 0;
  snprintf(command, sizeof command, "%.*s", (int)(strstr(f->command, " && ") - f->command), f->command);
  make_defaults(&o);
  for (char *at = strtok(command, " "); at; at = strtok(NULL, " "))
    if (strchr(at, '=')) word[count++] = at;
  for (int i = 0; i < count; i++)
    if (!options_argument(make_keys, MAKE_KEYS, &o, word[i], &err)) fail_msg("%s: %s", f->command, err.text);
  if (!make_check(&o, count, word, &err)) fail_msg("%s: %s", f->command, err.text);
  asked_for++;
}

/* Of every kind of inputs that runs draw for these operations. */
static void a_rejected_case_can_be_made_by_its_command(void **state) {
  (void)state;
  static const char *const ops[] = {"norm", "loss", "lars"};
  asked_for = 0;
  for (int i = 0; i < 3; i++) {
    const struct fuzz_options o = {
        .op = ops[i], .on = "plain:bf16", .precision = PRECISION_FP32, .runs = 2 * MAKE_FILLS, .seed = 3, .rejected = ask_for};
    assert_true(fuzzed(&o) > MAKE_FILLS);
  }
  assert_true(asked_for > 3 * MAKE_FILLS);
}

static void names_that_do_not_exist_are_refused(void **state) {
  (void)state;
  struct error err;
  const struct fuzz_options op = {.op = "convolution", .on = "plain", .runs = 1}, on = {.on = "opencl", .runs = 1};
  assert_false(fuzz(&op, &tally, &failure, NULL, &err));
  assert_non_null(strstr(err.text, "'convolution'"));
  assert_false(fuzz(&on, &tally, &failure, NULL, &err));
  assert_non_null(strstr(err.text, "'opencl'"));
  struct named_backend b;
  assert_false(backend_named("plain:sideways", &b, &err));
  assert_non_null(strstr(err.text, "'sideways'"));
}

/* A variant by its words is that variant. */
static void words_and_variants_are_one_another(void **state) {
  (void)state;
  for (int k = 0; k < PLAIN_VARIANTS; k++) {
    struct plain_choice a, b;
    struct error err;
    char words[64], again[64];
    plain_variant(k, true, false, &a);
    plain_words(&a, words, sizeof words);
    if (!plain_parse(words + 1, &b, &err)) fail_msg("%s", err.text);
    plain_words(&b, again, sizeof again);
    assert_string_equal(words, again);
  }
}

static int clean(void **state) {
  (void)state;
  fuzz_tally_free(&tally);
  return 0;
}

int main(void) {
  omp_set_num_threads(1); /* shapes too small to share out: threads would spend their time waiting */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_right_variant_is_accepted),
      cmocka_unit_test(the_reference_is_accepted_and_gives_the_same_bits_again),
      cmocka_unit_test(a_lower_precision_is_found_and_shrunk),
      cmocka_unit_test(names_that_do_not_exist_are_refused),
      cmocka_unit_test(a_rejected_case_can_be_made_by_its_command),
      cmocka_unit_test(words_and_variants_are_one_another),
      cmocka_unit_test(views_and_schedules_are_those_of_the_plain_loops),
  };
  return cmocka_run_group_tests(tests, NULL, clean);
}
