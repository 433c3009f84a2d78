/* oracle fuzz and oracle-mutants mutate as their users meet them: what is printed, what is written as JSON, and the exit status. */
#include <jansson.h>
#include <string.h>

#include "support/cmocka.h"
#include "support/program.h"

enum { PASS = 0, MISMATCH = 1, BAD_INPUT = 2 };

static json_t *read_json(const char *path, const char *format, int exit) {
  json_error_t why;
  json_t *root = json_load_file(path, 0, &why);
  if (!root) fail_msg("%s: %s", path, why.text);
  assert_string_equal(json_string_value(json_object_get(root, "format")), format);
  assert_int_equal(json_integer_value(json_object_get(root, "exit")), exit);
  return root;
}

static json_int_t sum_of(const json_t *root, const char *key) {
  json_int_t sum = 0;
  size_t i;
  json_t *row;
  json_array_foreach(json_object_get(root, "rows"), i, row) sum += json_integer_value(json_object_get(row, key));
  return sum;
}

static void right_runs_are_counted(void **state) {
  (void)state;
  char last[64];
  const struct outcome *o = program_run("oracle fuzz runs=24 repeat=no json=right.json");
  program_expect(PASS, "24 runs, ", o);
  json_t *root = read_json("right.json", "ediy-fuzz-1", PASS);
  snprintf(last, sizeof last, "24 runs, %d tensors: 0 rejected, %d tensors vacuous", (int)sum_of(root, "tensors"),
           (int)sum_of(root, "vacuous"));
  assert_non_null(strstr(o->out, last));
  assert_true(sum_of(root, "vacuous") > 0); /* a case of zeros among them */
  assert_int_equal(sum_of(root, "runs"), 24);
  assert_int_equal(sum_of(root, "rejected"), 0);
  assert_true(json_is_null(json_object_get(root, "smallest")));
  json_decref(root);
}

/* What is written is a command that makes the smallest case, and that the program takes. */
static void the_smallest_rejected_case_can_be_made_again(void **state) {
  (void)state;
  program_expect(MISMATCH, "smallest: ", program_run("oracle fuzz op=linear backend=plain:bf16 runs=4 seed=3 repeat=no json=wrong.json"));
  json_t *root = read_json("wrong.json", "ediy-fuzz-1", MISMATCH), *smallest = json_object_get(root, "smallest");
  assert_true(sum_of(root, "rejected") > 0);
  assert_non_null(json_string_value(json_object_get(smallest, "finding")));
  program_expect(MISMATCH, " (element): off by ", program_run("%s", json_string_value(json_object_get(smallest, "command"))));
  json_decref(root);
}

static void every_fault_has_its_score(void **state) {
  (void)state;
  program_expect(PASS, " killed (100.0 %)", program_run("oracle-mutants mutate op=ema cases=4 quiet=yes json=score.json"));
  json_t *root = read_json("score.json", "ediy-mutate-1", PASS);
  assert_true(json_array_size(json_object_get(root, "rows")) >= 10);
  assert_true(sum_of(root, "rejected") > 0 && sum_of(root, "rejected") + sum_of(root, "passed") <= sum_of(root, "runs"));
  assert_int_equal(sum_of(root, "located"), sum_of(root, "rejected"));
  json_decref(root);
}

/* Said before the work, which here would take days. */
static void what_cannot_be_written_is_an_error(void **state) {
  (void)state;
  program_expect(BAD_INPUT, "nowhere/f.json", program_run("oracle fuzz runs=1000000000 json=nowhere/f.json"));
  program_expect(BAD_INPUT, "nowhere/m.json", program_run("oracle-mutants mutate cases=1000000 json=nowhere/m.json"));
  program_expect(BAD_INPUT, "nowhere/l.json",
                 program_run("oracle lockstep steps=100000 preset=sanity batch=4 epochs=100000 json=nowhere/l.json"));
  program_expect(BAD_INPUT, "backend: there is no such option", program_run("oracle-mutants mutate op=relu backend=plain"));
}

static void the_judge_is_not_judged(void **state) {
  (void)state;
  program_expect(BAD_INPUT, "fuzz: ref32 is what judges here; backend=reference", program_run("oracle fuzz backend=ref32 runs=1"));
  program_expect(BAD_INPUT, "fuzz: ref64 is what judges here; backend=reference", program_run("oracle fuzz backend=ref64 runs=1"));
}

static void what_variants_would_not_heed_is_refused(void **state) {
  (void)state;
  static const char *const given[] = {"precision=tf32", "backend=reference"};
  for (int i = 0; i < 2; i++) {
    const struct outcome *o = program_run("oracle fuzz variants=yes runs=1 %s", given[i]);
    program_expect(BAD_INPUT, "fuzz: variants=yes runs the plain backend", o);
    program_expect(BAD_INPUT, given[i], o);
    assert_int_equal(program_lines(o->err), 1);
  }
  program_expect(PASS, "1 run, ", program_run("oracle fuzz variants=yes runs=1 chain=2048 repeat=no"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(right_runs_are_counted),    cmocka_unit_test(the_smallest_rejected_case_can_be_made_again),
      cmocka_unit_test(every_fault_has_its_score), cmocka_unit_test(what_cannot_be_written_is_an_error),
      cmocka_unit_test(the_judge_is_not_judged),   cmocka_unit_test(what_variants_would_not_heed_is_refused),
  };
  return cmocka_run_group_tests(tests, program_enter, program_leave);
}
