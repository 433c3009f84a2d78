/* oracle replay and oracle bisect as their users meet them: what is printed, and with which exit status. */
#define _GNU_SOURCE /* realpath */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/recorded.h"

#include "support/cmocka.h"
#include "support/program.h"

enum { MISMATCH = 1, BAD_INPUT = 2, INCOMPLETE = 5 };

static struct dump step; /* right; tests put back what they spoil */

static int enter(void **state) {
  struct recorded_options o = recorded_small();
  program_enter(state);
  recorded_make(&step, &o);
  recorded_write(&step, "right");
  return 0;
}

static int leave(void **state) {
  recorded_free(&step);
  return program_leave(state);
}

/* One element of a tensor, moved by a hundredth of itself, in a dump of its own. */
static void write_spoiled(const char *folder, const char *name, int at) {
  float *x = (float *)recorded_entry(&step, name)->data.data + at, before = *x;
  *x *= 1.01f;
  recorded_write(&step, folder);
  *x = before;
}

static void a_right_dump_passes_in_one_line(void **state) {
  (void)state;
  const struct outcome *o = program_run("oracle replay right");
  program_expect(0, "right: 683 tensors judged as fp32, 268 given: pass; closest to its limit: ", o);
  assert_int_equal(program_lines(o->out), 1);
  program_expect(0, "right: 683 tensors judged as fp32, 268 given: pass", program_run("oracle bisect right"));
}

/* The tensor itself, and those that were made of the right one; each line ends with a command that says it again. */
static void a_wrong_element_is_named_with_its_index_and_a_command(void **state) {
  (void)state;
  write_spoiled("wrong", "0.0/forward/target/1/layer2.0.conv1/y", 17);
  const struct outcome *o = program_run("oracle replay wrong json=wrong.json");
  program_expect(MISMATCH, "0.0/forward/target/1/layer2.0.conv1/y[0, 0, 1, 1] is ", o);
  program_expect(MISMATCH, "(element): off by ", o);
  program_expect(MISMATCH, "; again: oracle replay wrong only=0.0/forward/target/1/layer2.0.conv1/y\n", o);
  program_expect(MISMATCH, "; again: oracle replay 'a wrong one' only=0.0/forward",
                 program_run("cp -r wrong 'a wrong one'; oracle replay 'a wrong one'"));
  o = program_run("oracle replay wrong only='0.0/forward/target/1/layer2.0.conv1/y'");
  program_expect(MISMATCH, "wrong: 1 tensor judged as fp32, 0 given: 1 wrong, 0 missing or too many, 0 vacuous", o);
  program_expect(MISMATCH, "[0, 0, 1, 1]", o);
  program_expect(0, "pass", program_run("oracle replay wrong only='*/target/1/layer1.0.conv*/y'"));

  json_t *root = json_load_file("wrong.json", 0, NULL), *row;
  size_t i, wrong = 0;
  assert_string_equal(json_string_value(json_object_get(root, "format")), "ediy-findings-1");
  assert_int_equal(json_integer_value(json_object_get(root, "exit")), MISMATCH);
  assert_int_equal(json_array_size(json_object_get(root, "rows")), 683);
  json_array_foreach(json_object_get(root, "rows"), i, row) {
    if (strcmp(json_string_value(json_object_get(row, "verdict")), "pass") == 0) continue;
    if (wrong++ == 0) assert_string_equal(json_string_value(json_object_get(row, "name")), "0.0/forward/target/1/layer2.0.conv1/y");
    assert_int_equal(json_array_size(json_object_get(row, "histogram")), 16);
    assert_int_equal(json_array_size(json_object_get(row, "ulp")), 3);
  }
  assert_true(wrong >= 1);
  json_decref(root);
  program_expect(0, "first divergence: 0.0/forward/target/1/layer2.0.conv1/y", program_run("oracle report wrong.json out=wrong.html"));
}

static void bisect_names_the_first_and_its_inputs(void **state) {
  (void)state;
  write_spoiled("first", "0.0/forward/online/1/layer3.0.conv2/y", 40);
  const struct outcome *o = program_run("oracle bisect first");
  program_expect(MISMATCH, "first wrong: 0.0/forward/online/1/layer3.0.conv2/y", o);
  program_expect(MISMATCH, "phase forward, network online, view 1, layer layer3.0.conv2, tensor y (conv)", o);
  program_expect(MISMATCH, "    0.0/forward/online/1/layer3.0.bn1/y (judged)", o);
  program_expect(MISMATCH, "    0.0/state/online/0/layer3.0.conv2.weight/parameter (given)", o);
  program_expect(MISMATCH, " in the dump) are right: ", o);
  program_expect(MISMATCH, "again: oracle bisect first\n", o);
  program_expect(MISMATCH, "again: oracle bisect 'it'\\''s'\n", program_run("mv first \"it's\"; oracle bisect \"it's\""));
  assert_null(strstr(o->out, "layer3.0.bn2"));
}

static void what_is_missing_is_incomplete(void **state) {
  (void)state;
  struct recorded_options o = recorded_small();
  struct dump d;
  recorded_make(&d, &o);
  recorded_remove(&d, "0.0/ema/target/0/bn1.bias/parameter");
  recorded_write(&d, "short");
  recorded_free(&d);
  program_expect(INCOMPLETE, "0.0/ema/target/0/bn1.bias/parameter: missing: the configuration has it", program_run("oracle replay short"));
  program_expect(INCOMPLETE, "first wrong: 0.0/ema/target/0/bn1.bias/parameter", program_run("oracle bisect short"));
  /* A dump without states can be checked, but most of it hangs on them. */
  program_expect(0, "written",
                 program_run("oracle dump out=stateless backbone=small stem=cifar size=16 batch=2 states=no >said && echo written"));
  program_expect(0, "pass", program_run("oracle check stateless stateless"));
  program_expect(INCOMPLETE, "cannot be judged without 0.0/state/", program_run("oracle replay stateless"));
}

static void bad_input_is_refused_in_one_line(void **state) {
  (void)state;
  static const char *const commands[][2] = {
      {"oracle replay", "no dump"},
      {"oracle replay nothing", "nothing"},
      {"oracle replay right right", "one dump at a time"},
      {"oracle replay right precision=fp31", "precision"},
      {"oracle replay right only='0.0/nothing'", "no tensor of right is called '0.0/nothing'"},
      {"oracle bisect right json=x", "json"},
      {"cp -r right bent && printf x | dd of=bent/part-00000.safetensors bs=1 seek=2000000 conv=notrunc 2>/dev/null; oracle replay bent",
       "SHA-256"},
  };
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    const struct outcome *o = program_run("%s", commands[i][0]);
    if (o->status != BAD_INPUT || o->out[0] || program_lines(o->err) != 1 || !strstr(o->err, commands[i][1])) {
      fail_msg("%s: exit %d, expected 2 and one line with \"%s\":\n%s%s", commands[i][0], o->status, commands[i][1], o->out, o->err);
    }
  }
}

static void the_examples_of_the_help_work_as_printed(void **state) {
  (void)state;
  static const char *const verbs[] = {"replay", "bisect"};
  for (int i = 0; i < 2; i++) {
    program_expect(
        0, "pass",
        program_run(
            "mkdir help-%s && cd help-%s && oracle help %s | sed -n '/^example:/,$p' | tail -n +2 >commands.sh && sh -e commands.sh",
            verbs[i], verbs[i], verbs[i]));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_right_dump_passes_in_one_line),       cmocka_unit_test(a_wrong_element_is_named_with_its_index_and_a_command),
      cmocka_unit_test(bisect_names_the_first_and_its_inputs), cmocka_unit_test(what_is_missing_is_incomplete),
      cmocka_unit_test(bad_input_is_refused_in_one_line),      cmocka_unit_test(the_examples_of_the_help_work_as_printed),
  };
  return cmocka_run_group_tests(tests, enter, leave);
}
