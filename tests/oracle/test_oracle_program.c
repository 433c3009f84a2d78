/* The program `oracle` as its users meet it: cases made and run, findings written, exit codes and lines, and the documents beside it. */
#define _GNU_SOURCE /* realpath */
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "oracle/results.h"

static char document[PATH_MAX];

static int enter(void **state) {
  if (!realpath("docs/verify-your-kernel.md", document)) document[0] = 0;
  return program_enter(state);
}

static void every_operation_is_made_and_passes(void **state) {
  (void)state;
  program_expect(0, "",
                 program_run("for op in conv linear norm relu maxpool avgpool match loss lars ema; do\n"
                             "for fill in normal int offset; do\n"
                             "case $op-$fill in match-offset | lars-offset) continue ;; esac\n"
                             "oracle case make op=$op fill=$fill out=made_$op-$fill.safetensors || exit 9; done; done\n"
                             "for seed in 1 2 3 4 5 6; do\n"
                             "oracle case make op=random seed=$seed out=made_random-$seed.safetensors || exit 9; done >made.txt"));
  program_expect(0, "34 cases, ", program_run("mkdir -p all && mv made_* all && oracle case all"));
  program_expect(0, ": 0 failed", program_run("oracle case all backend=ref64"));
  program_expect(
      0, "", program_run("oracle case make op=random seed=3 out=twice.safetensors && cmp twice.safetensors all/made_random-3.safetensors"));
}

/* Of a document, whether a word stands in it between backticks. */
static bool is_named(const char *text, const char *word) {
  char quoted[CASE_MAX_NAME + 2];
  snprintf(quoted, sizeof quoted, "`%s`", word);
  return strstr(text, quoted) != NULL;
}

/* What a script is promised in docs/verify-your-kernel.md. */
static void every_key_is_documented(json_t *root) {
  char *text;
  size_t size;
  struct error err;
  const char *key;
  json_t *value;
  assert_true(document[0] != 0);
  if (!file_read(document, 1 << 20, &text, &size, &err)) fail_msg("%s", err.text);
  char *section = strstr(text, "`json=FILE` writes"), *end = section ? strstr(section, "\n## ") : NULL;
  assert_non_null(end);
  *end = 0;
  json_object_foreach(root, key, value) if (!is_named(section, key)) fail_msg("%s", key);
  json_object_foreach(json_array_get(json_object_get(root, "findings"), 0), key, value) if (!is_named(section, key)) fail_msg("%s", key);
  free(text);
}

static void findings_are_written_as_json(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  values(&r, "out.y", &n)[0] = NAN;
  program_expect(MISMATCH, "out.y", judged(&r, r.count, "conv.safetensors", "json=findings.json"));
  json_t *j = json_load_file("findings.json", JSON_REJECT_DUPLICATES, NULL), *finding;
  size_t i;
  int wrong = 0;
  assert_string_equal(json_string_value(json_object_get(j, "verdict")), "mismatch");
  assert_int_equal(json_array_size(json_object_get(j, "findings")), 3);
  every_key_is_documented(j);
  json_array_foreach(json_object_get(j, "findings"), i, finding) {
    if (strcmp(json_string_value(json_object_get(finding, "verdict")), "pass") == 0) continue;
    wrong++;
    assert_string_equal(json_string_value(json_object_get(finding, "tensor")), "out.y");
    assert_string_equal(json_string_value(json_object_get(finding, "value")), "nan");
  }
  assert_int_equal(wrong, 1);
  json_decref(j);
}

/* JSON is UTF-8, file names need not be. */
static void findings_of_a_file_of_any_name_are_written(void **state) {
  (void)state;
  make_conv("");
  program_expect(0, "pass", program_run("mv conv.safetensors 'conv\xe9.safetensors' && oracle case 'conv\xe9.safetensors' json=any.json"));
  json_t *root = json_load_file("any.json", 0, NULL);
  assert_int_equal(json_array_size(json_object_get(root, "findings")), 3);
  json_decref(root);
}

static void a_case_that_is_wrong_is_no_case(void **state) {
  (void)state;
  make_conv("");
  struct case_file c;
  struct error err;
  if (!case_open(&c, "conv.safetensors", &err)) fail_msg("%s", err.text);
  const char *metadata[] = {"format", "ediy-case-1", "op", "conv", "attrs", "{\"stride\": 1, \"pad\": 1}", "layout", "NHWC,KRSC", NULL};
  struct tensor t[8];
  for (int i = 0; i < c.file.count; i++) t[i] = c.file.tensor[i];
  for (int i = 0; i < c.file.count; i++) {
    if (strcmp(t[i].name, "out.y") != 0) continue;
    double *y = calloc((size_t)tensor_count(&t[i]), sizeof *y);
    assert_non_null(y);
    t[i].data = y; /* a case that expects zeros */
  }
  assert_true(safetensors_write("wrong.safetensors", t, c.file.count, metadata, &err));
  for (int i = 0; i < c.file.count; i++) {
    if (strcmp(t[i].name, "out.y") == 0) free(t[i].data);
  }
  case_close(&c);
  program_expect(MISMATCH, "again: oracle case wrong.safetensors backend=ref64",
                 program_run("oracle case wrong.safetensors backend=ref64"));
  struct results r = right_results("conv.safetensors");
  program_expect(BAD_INPUT, "the reference in double disagrees", judged(&r, r.count, "wrong.safetensors", ""));
}

/* Its numbers are read, as those of weights; what a kernel in fp16 may do, no rule says. */
static void f16_is_refused_in_a_case_and_in_results(void **state) {
  (void)state;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  const char *metadata[] = {"format", "ediy-case-1", "op", "conv", "attrs", "{\"stride\": 1, \"pad\": 1}", "layout", "NHWC,KRSC", NULL};
  struct error err;
  r.t[1].dtype = DTYPE_F16;
  assert_true(safetensors_write("f16.safetensors", r.t, r.count, metadata, &err));
  const char *said = "f16.safetensors: tensor %s: dtype F16, which no precision here is judged in; convert it to F32";
  char line[256];
  snprintf(line, sizeof line, said, r.t[1].name);
  for (int i = 0; i < r.count; i++) free(r.t[i].data);
  program_expect(BAD_INPUT, line, program_run("oracle case conv.safetensors candidate=f16.safetensors"));
  program_expect(BAD_INPUT, line, program_run("oracle case f16.safetensors"));
}

static void bad_input_is_refused_in_one_line(void **state) {
  (void)state;
  static const char *const commands[][2] = {
      {"oracle case", "no case file"},
      {"oracle case nothing.safetensors", "nothing.safetensors: no such file"},
      {"mkdir -p empty && oracle case conv.safetensors empty", "empty: holds no case"},
      {"oracle case conv.safetensors candidate=conv.safetensors backend=plain", "backend=plain computes results itself"},
      {"oracle case conv.safetensors backend=ref16", "backend"},
      {"oracle case conv.safetensors precison=fp32", "precision"},
      {"oracle case conv.safetensors precision=tf32", "case: precision=tf32 is what a kernel declares, and ref32 is held to the case"},
      {"oracle case conv.safetensors backend=ref64 chain=64", "case: chain=64 is what a kernel declares, and ref64"},
      {"oracle case conv.safetensors winograd=yes", "give candidate=FILE, or backend=plain:winograd"},
      {"oracle case conv.safetensors backend=reference winograd=yes", "winograd=yes is not for backend=reference, which computes every"},
      {"oracle case conv.safetensors backend=plain:fused winograd=yes", "winograd=yes is not for backend=plain:fused"},
      {"oracle case make op=conv r=1 pad=0 out=one >made; oracle case one candidate=one winograd=yes",
       "winograd=yes is of 3x3 convolutions with stride 1, and one is none"},
      {"oracle case make op=norm out=norm >made; oracle case norm backend=plain:winograd winograd=yes", "stride 1, and norm is none"},
      {"oracle case conv.safetensors json=conv.safetensors", "json=conv.safetensors is read here, and would be written over"},
      {"cp conv.safetensors r; oracle case conv.safetensors candidate=r json=./r", "json=./r is read here, and would be written over"},
      {"echo kept >notes; oracle case conv.safetensors json=notes", "json=notes is there and holds no findings"},
      {"oracle report r out=r", "report: out=r is read here, and would be written over"},
      {"oracle case make op=relu out=notes", "case make: out=notes is there and is no case, and would be written over"},
      {"cp conv.safetensors half; truncate -s 9000 half; oracle case make op=relu out=half", "half is there and is no case"},
      {"oracle case conv.safetensors candidate=nothing.safetensors", "nothing.safetensors"},
      {"oracle case conv.safetensors candidate=$UNSET", "case: candidate= names nothing; is a variable empty?"},
      {"oracle case conv.safetensors candidate=conv.safetensors only=", "case: only= names nothing"},
      {"oracle case conv.safetensors candidate=conv.safetensors only='grad_inn*'", "only='grad_inn*': no result is called so; there are "},
      {"oracle case conv.safetensors candidate=conv.safetensors only=in.x", "only='in.x': no result is called so"},
      {"oracle case conv.safetensors backend=plain only=out.", "only=out. is of results of a kernel; give candidate=FILE"},
      {"head -c 5000 conv.safetensors >cut.safetensors; oracle case cut.safetensors", "cut.safetensors"},
      {"oracle case conv.safetensors candidate=cut.safetensors", "cut.safetensors"},
      {"oracle case conv.safetensors conv.safetensors candidate=conv.safetensors", "one case"},
      {"oracle case make op=conv", "out= is missing"},
      {"oracle case make op=conv relu=yes out=x.safetensors",
       "case make: relu: says nothing of op=conv, which is made by fill n h w c k r stride"},
      {"oracle case make op=norm fill=inf out=x.safetensors", "case make: fill=inf says nothing of op=norm: its numbers would be normal"},
      {"oracle case make op=conv r=9 pad=0 out=x.safetensors", "kernel"},
      {"oracle case make op=conv out=/nowhere/x.safetensors", "/nowhere/x.safetensors"},
      {"ulimit -f 2; oracle case make op=conv out=x.safetensors", "x.safetensors"},
      {"ulimit -f 2; oracle dump out=limited backbone=small stem=cifar size=16 batch=2", "limited"},
      {"oracle case make op=match fill=offset out=x.safetensors", "hangs on rounding"},
      {"oracle casse", "unknown verb 'casse'; did you mean 'case'?"},
      {"oracle reprot x out=y", "unknown verb 'reprot'; did you mean 'report'?"},
      {"oracle help dmup", "unknown verb 'dmup'; did you mean 'dump'?"},
      {"oracle embroider", "unknown verb 'embroider'; oracle help lists them"},
      {"oracle case ''", "case: an argument is empty; usage: oracle case FILE"},
      {"oracle replay '' only=x", "replay: an argument is empty"},
  };
  make_conv("");
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    const struct outcome *o = program_run("%s", commands[i][0]);
    if (o->status != BAD_INPUT || o->out[0] || program_lines(o->err) != 1 || strncmp(o->err, "oracle: ", 8) != 0 ||
        !strstr(o->err, commands[i][1])) {
      fail_msg("%s: exit %d, expected 2 and one line with \"%s\":\n%s%s", commands[i][0], o->status, commands[i][1], o->out, o->err);
    }
  }
}

/* A case may be made anew; results, which are safetensors as well, may not be lost to one. */
static void only_a_case_is_written_over_by_one(void **state) {
  (void)state;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  program_expect(0, "pass", judged(&r, r.count, "conv.safetensors", ""));
  program_expect(BAD_INPUT, "case make: out=candidate.safetensors is there and is no case, and would be written over; choose another name",
                 program_run("cp candidate.safetensors before; oracle case make op=relu out=candidate.safetensors"));
  program_expect(0, "", program_run("cmp before candidate.safetensors"));
  program_expect(0, "again: written", program_run("cp conv.safetensors again; oracle case make op=relu out=again"));
  program_expect(0, "again: pass, 2 tensors", program_run("oracle case again"));
  program_expect(0, "nothing: written", program_run(": >nothing; oracle case make op=relu out=nothing"));
}

static void the_examples_of_the_help_work_as_printed(void **state) {
  (void)state;
  program_expect(0, "begin with", program_run("oracle"));
  program_expect(0, "oracle 0.", program_run("oracle --version"));
  program_expect(
      0, "",
      program_run("mkdir help && cd help && oracle help case make | sed -n '/^example:/,$p' | tail -n +2 >make.sh && sh -e make.sh"));
  program_expect(0, "exit 5",
                 program_run("cd help && oracle case --help | sed -n '/^example:/,$p' | tail -n +2 >case.sh && sh -e case.sh"));
}

/* The first block of Python in docs/verify-your-kernel.md, and its commands. */
static void the_python_of_the_document_works(void **state) {
  (void)state;
  const char *python = getenv("PYTHON") ? getenv("PYTHON") : "python3";
  if (program_run("'%s' -c 'import torch, safetensors'", python)->status != 0)
    skip_because("%s has no torch and safetensors; name one that has in PYTHON", python);
  assert_true(document[0] != 0);
  program_expect(0, "", program_run("sed -n '/^```python/,/^```/p' '%s' | sed '/^```/d' >kernel.py; test -s kernel.py", document));
  make_conv("stride=2");
  program_expect(
      0, "pass, 3 tensors as fp32",
      program_run("'%s' kernel.py conv.safetensors out.safetensors && oracle case conv.safetensors candidate=out.safetensors", python));
  /* Of a case of losses the indices are numbers of regions, not of floats. */
  program_expect(0, "torch.int64",
                 program_run("oracle case make op=loss out=loss.safetensors && sed '/^x, w/,$d' kernel.py >read.py && "
                             "echo 'print(t[\"in.d1\"].dtype, t[\"in.r1\"].gather(1, t[\"in.d1\"][:, :, None]).dtype)' >>read.py && "
                             "'%s' read.py loss.safetensors",
                             python));
  program_expect(
      MISMATCH, "(element)",
      program_run(
          "sed 's/padding=attrs\\[\"pad\"\\]/padding=0/; s/nchw(x), /torch.nn.functional.pad(nchw(x), [1] * 4, mode=\"replicate\"), /' "
          "kernel.py >wrong.py && '%s' wrong.py conv.safetensors out.safetensors && "
          "oracle case conv.safetensors candidate=out.safetensors",
          python));
}

/* "What a case holds" in docs/verify-your-kernel.md: every tensor and attribute that `oracle case make` writes. */
static void every_tensor_of_a_case_is_documented(void **state) {
  (void)state;
  static const char *const made[] = {"op=conv",
                                     "op=linear",
                                     "op=norm relu=yes residual=yes",
                                     "op=norm train=no",
                                     "op=relu",
                                     "op=maxpool",
                                     "op=avgpool",
                                     "op=match",
                                     "op=loss",
                                     "op=loss instance=yes",
                                     "op=lars",
                                     "op=ema",
                                     "op=schedule",
                                     "op=augment seed=0",
                                     "op=augment seed=1",
                                     "op=augment seed=2",
                                     "op=augment seed=3",
                                     "op=augment seed=4",
                                     "op=augment seed=5",
                                     "op=augment seed=6",
                                     "op=augment seed=7",
                                     "op=augment seed=8",
                                     "op=augment seed=9",
                                     "op=augment seed=10",
                                     "op=augment seed=11"};
  struct error err;
  char *text;
  size_t size;
  assert_true(document[0] != 0);
  if (!file_read(document, 1 << 20, &text, &size, &err)) fail_msg("%s", err.text);
  char *section = strstr(text, "## What a case holds\n"), *end = section ? strstr(section + 1, "\n## ") : NULL;
  assert_non_null(end);
  *end = 0;
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
    struct case_file c;
    const char *key;
    json_t *value;
    program_expect(0, "written", program_run("oracle case make %s out=held.safetensors", made[i]));
    if (!case_open(&c, "held.safetensors", &err)) fail_msg("%s", err.text);
    for (int t = 0; t < c.file.count; t++)
      if (!is_named(section, c.file.tensor[t].name)) fail_msg("%s: %s", made[i], c.file.tensor[t].name);
    json_object_foreach(c.attributes, key, value) {
      if (!is_named(section, key)) fail_msg("%s: %s", made[i], key);
      if (strcmp(key, "transform") == 0 && !is_named(section, json_string_value(value)))
        fail_msg("%s: %s", made[i], json_string_value(value));
    }
    case_close(&c);
  }
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_operation_is_made_and_passes),         cmocka_unit_test(findings_are_written_as_json),
      cmocka_unit_test(findings_of_a_file_of_any_name_are_written), cmocka_unit_test(a_case_that_is_wrong_is_no_case),
      cmocka_unit_test(f16_is_refused_in_a_case_and_in_results),    cmocka_unit_test(bad_input_is_refused_in_one_line),
      cmocka_unit_test(the_examples_of_the_help_work_as_printed),   cmocka_unit_test(the_python_of_the_document_works),
      cmocka_unit_test(every_tensor_of_a_case_is_documented),       cmocka_unit_test(only_a_case_is_written_over_by_one),
  };
  return cmocka_run_group_tests(tests, enter, program_leave);
}
