/* oracle dump, check and lockstep as their users meet them: exit codes, lines, files. */
#define _GNU_SOURCE /* realpath */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/cmocka.h"
#include "support/program.h"

enum { MISMATCH = 1, BAD_INPUT = 2, INCOMPLETE = 5 };

#define SMALL "preset=sanity batch=4 size=16 projector.hidden=16 projector.out=8"

/* Exit status, and a part of what was printed on either stream. */
static const struct outcome *expect(int status, const char *part, const struct outcome *o) {
  if (o->status != status || !(strstr(o->out, part) || strstr(o->err, part)))
    fail_msg("exit %d, expected %d with \"%s\":\n%s%s", o->status, status, part, o->out, o->err);
  return o;
}

static void two_precisions_agree_by_drift(void **state) {
  (void)state;
  expect(0, "full dump of 955 tensors", program_run("oracle dump out=t backend=ref64 drift=4 " SMALL));
  expect(0, "1 step on ref32", program_run("oracle dump out=c " SMALL));
  expect(0, "c against t: pass", program_run("oracle check t c json=f.json verify=yes"));
  json_t *f = json_load_file("f.json", 0, NULL);
  assert_non_null(f);
  assert_string_equal(json_string_value(json_object_get(f, "format")), "ediy-findings-1");
  assert_string_equal(json_string_value(json_object_get(f, "subject")), "c");
  assert_int_equal(json_integer_value(json_object_get(f, "exit")), 0);
  assert_int_equal(json_array_size(json_object_get(f, "rows")), 955);
  json_decref(f);
  assert_int_equal(program_run("oracle report f.json out=page.html")->status, 0);
  /* the other way round no drift is known */
  const struct outcome *o = expect(MISMATCH, "first in the order of execution: ", program_run("oracle check c t lines=3"));
  assert_int_equal(program_lines(o->out), 6);
  assert_non_null(strstr(o->out, "; again: oracle check c t tensor="));
  expect(MISMATCH, "conv1/y", program_run("oracle check c t tensor=0.0/forward/teacher/1/conv1/y"));
  expect(MISMATCH, "; again: oracle check 'c'\\''s' t tensor=", program_run("ln -s c \"c's\" && oracle check \"c's\" t lines=1"));
  /* digests of both, and one against full */
  expect(0, "digest dump", program_run("oracle dump out=d kind=digest " SMALL));
  expect(0, "955 identical", program_run("oracle check c d"));
  expect(0, "955 identical", program_run("oracle check d c"));
}

static void what_is_missing_is_incomplete(void **state) {
  (void)state;
  expect(0, "", program_run("oracle dump out=one " SMALL));
  expect(0, "", program_run("oracle dump out=two steps=2 " SMALL));
  expect(INCOMPLETE, "not expected", program_run("oracle check one two"));
  expect(MISMATCH, "manifest: steps[1].step differs", program_run("oracle check two one"));
}

static void backends_drift_and_repeat_themselves(void **state) {
  (void)state;
  const struct outcome *o = expect(0, "ref32 once more with 3 threads: the same bits",
                                   program_run("oracle lockstep steps=2 again=1,3 json=l.json lr=8 warmup=0 " SMALL));
  assert_int_equal(program_lines(o->out), 1 + 2 + 4);
  json_t *l = json_load_file("l.json", 0, NULL), *steps = json_object_get(l, "steps");
  assert_int_equal(json_array_size(steps), 2);
  double first = json_real_value(json_object_get(json_array_get(steps, 0), "parameters"));
  double second = json_real_value(json_object_get(json_array_get(steps, 1), "parameters"));
  assert_true(first > 0 && first < 1e-4 && second > first);
  assert_true(json_is_true(json_object_get(l, "repeats")));
  json_decref(l);
}

static void bad_input_is_refused_in_one_line(void **state) {
  (void)state;
  static const char *const bad[][2] = {
      {"oracle dump", "out= is missing"},
      {"oracle dump out=x nonsense", "not of the form key=value"},
      {"oracle dump out=x steps=0", "steps"},
      {"oracle dump out=x btach=3", "batch"},
      {"oracle dump out=x backend=ref16", "there is no backend 'ref16'"},
      {"oracle dump out=x resume=none.safetensors", "none.safetensors: no such file"},
      {"oracle dump out=x preset=sanity first=500", "step 500 is beyond the end"},
      {"oracle dump out=x preset=sanity first=499 steps=2 " SMALL, "the run has 500 steps"},
      {"oracle dump out=/dev/null/x " SMALL, "/dev/null"},
      {"oracle lockstep a=nix", "there is no backend 'nix'"},
      {"oracle dump resume=none.safetensors", "out= is missing"}, /* the verb's own keys first */
      {"oracle dump out=x backend=nix resume=none.safetensors", "there is no backend 'nix'"},
      {"oracle lockstep a=nix resume=none.safetensors", "there is no backend 'nix'"},
      {"oracle lockstep b=nix again=x resume=none.safetensors", "there is no backend 'nix'"},
      {"oracle lockstep again=x resume=none.safetensors", "again = x"},
      {"oracle lockstep resume=none.safetensors", "none.safetensors: no such file"},
      {"oracle lockstep again=1,x " SMALL, "again = x"},
      {"oracle lockstep again=0 " SMALL, "again = 0"},
      {"oracle dump out=x precision=bf16 " SMALL, "precision: steps are computed by what the name of the backend says"},
      {"oracle dump out=x cuda.conv=cudnn " SMALL, "cuda.conv: steps are"},
      {"oracle dump out=x cuda.gemm=cublas " SMALL, "cuda.gemm: steps are"},
      {"oracle lockstep backend=cuda " SMALL, "backend: steps are"},
      {"oracle check", "two dumps are needed"},
      {"oracle check a b c", "more than two dumps"},
      {"oracle check nowhere nowhere", "nowhere: is no dump: nowhere/manifest.json: no such file"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    const struct outcome *o = program_run("%s", bad[i][0]);
    if (o->status != BAD_INPUT || o->out[0] || program_lines(o->err) != 1 || !strstr(o->err, bad[i][1]))
      fail_msg("%s: exit %d: %s%s", bad[i][0], o->status, o->out, o->err);
    assert_int_equal(program_run("test ! -e x")->status, 0);
  }
  expect(0, "", program_run("oracle dump out=y " SMALL));
  expect(BAD_INPUT, "there is a dump already", program_run("oracle dump out=y " SMALL));
  expect(BAD_INPUT, "no tensor's name begins with 9", program_run("oracle check y y tensor=9"));
}

static void the_examples_of_the_help_work_as_printed(void **state) {
  (void)state;
  static const char *const verbs[] = {"dump", "check", "lockstep"};
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
    const struct outcome *o =
        program_run("mkdir help-%s && cd help-%s && oracle %s --help | sed -n '/^example:/,$p' | tail -n +2 >it.sh && sh -e it.sh",
                    verbs[i], verbs[i], verbs[i]);
    if (o->status != 0 || o->err[0]) fail_msg("%s: exit %d: %s%s", verbs[i], o->status, o->out, o->err);
  }
}

int main(void) {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, program_enter, program_leave)
  const struct CMUnitTest tests[] = {IN_FOLDER(two_precisions_agree_by_drift), IN_FOLDER(what_is_missing_is_incomplete),
                                     IN_FOLDER(backends_drift_and_repeat_themselves), IN_FOLDER(bad_input_is_refused_in_one_line),
                                     IN_FOLDER(the_examples_of_the_help_work_as_printed)};
  return cmocka_run_group_tests_name("oracle dump verbs", tests, NULL, NULL);
}
