/* The program `oracle` as its users meet it: cases made and run, results of a kernel judged, exit codes and lines. */
#define _GNU_SOURCE /* realpath */
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "oracle/operations.h"
#include "oracle/variant.h"
#include "support/cmocka.h"
#include "support/program.h"

enum { MISMATCH = 1, BAD_INPUT = 2, VACUOUS = 3, INCOMPLETE = 5 };

static char document[PATH_MAX];

static int enter(void **state) {
  if (!realpath("docs/verify-your-kernel.md", document)) document[0] = 0;
  return program_enter(state);
}

/* Exit status, and a part of what was printed on either stream. */
/* ---- candidates ---------------------------------------------------------------------------------------------------------------------- */

enum { MAX_TENSORS = 16 };

/* Results to be spoiled and written: the expected tensors of a case as floats. */
struct results {
  struct tensor t[MAX_TENSORS];
  int count;
};

static struct results right_results(const char *path) {
  struct case_file c;
  struct error err;
  struct results r = {.count = 0};
  if (!case_open(&c, path, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < c.file.count; i++) {
    const struct tensor *t = &c.file.tensor[i];
    if (!case_expected(t)) continue;
    float *x = calloc((size_t)tensor_count(t), sizeof *x);
    assert_true(x && r.count < MAX_TENSORS);
    for (ptrdiff_t j = 0; j < tensor_count(t); j++) x[j] = (float)tensor_at(t, j);
    r.t[r.count++] = tensor_make(DTYPE_F32, x, t->ndim, t->shape, "%s", t->name);
  }
  case_close(&c);
  return r;
}

/* What the reference in float makes of inputs rounded to this format. */
static struct results rounded_results(const char *path, enum precision precision) {
  struct case_file c;
  struct variant v;
  struct case_run run;
  struct error err;
  struct results r = right_results(path);
  if (!case_open(&c, path, &err) || !variant_make(&v, &c, variant_rounded, &precision_classes[precision].in, &err) ||
      !run_begin(&run, &v.file, &err) || !case_compute(&run, 32)) {
    fail_msg("%s", err.text);
  }
  for (int i = 0; i < r.count; i++) {
    memcpy(r.t[i].data, run_result(&run, r.t[i].name)->data, (size_t)tensor_count(&r.t[i]) * sizeof(float));
  }
  run_end(&run);
  variant_close(&v);
  case_close(&c);
  return r;
}

static float *values(struct results *r, const char *name, ptrdiff_t *count) {
  for (int i = 0; i < r->count; i++) {
    if (strcmp(r->t[i].name, name) != 0) continue;
    *count = tensor_count(&r->t[i]);
    return r->t[i].data;
  }
  fail_msg("no %s", name);
  return NULL;
}

/* Writes the first count results, judges them, frees all. */
static const struct outcome *judged(struct results *r, int count, const char *path, const char *keys) {
  struct error err;
  if (!safetensors_write("candidate.safetensors", r->t, count, NULL, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < r->count; i++) free(r->t[i].data);
  return program_run("oracle case %s candidate=candidate.safetensors %s", path, keys);
}

static void make_conv(const char *keys) {
  program_expect(0, "written", program_run("oracle case make op=conv out=conv.safetensors %s", keys));
}

static void right_results_pass(void **state) {
  (void)state;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  program_expect(0, "conv: pass, 3 tensors as fp32", judged(&r, r.count, "conv.safetensors", ""));
}

static void a_nan_is_found_where_it_is(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("n=2 h=8 w=8 c=16 k=16");
  struct results r = right_results("conv.safetensors");
  values(&r, "grad_in.x", &n)[((1 * 8 + 2) * 8 + 3) * 16 + 4] = NAN;
  program_expect(MISMATCH, "conv: grad_in.x[1, 2, 3, 4] is nan, expected ", judged(&r, r.count, "conv.safetensors", ""));
}

static void one_element_is_found_where_it_is(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  float most = 0;
  make_conv("n=2 h=8 w=8 c=16 k=16");
  struct results r = right_results("conv.safetensors");
  float *y = values(&r, "out.y", &n);
  for (ptrdiff_t i = 0; i < n; i++) most = fmaxf(most, fabsf(y[i]));
  y[((0 * 8 + 7) * 8 + 5) * 16 + 15] += 1e-3f * most;
  const struct outcome *o = judged(&r, r.count, "conv.safetensors", "");
  program_expect(MISMATCH, "conv: out.y[0, 7, 5, 15] is ", o);
  program_expect(MISMATCH, "(element)", o);
  program_expect(MISMATCH, "again: oracle case conv.safetensors candidate=candidate.safetensors precision=fp32", o);
}

/* A factor so small that every element, and the rms, is within rounding: y is a sum of 576 terms of both signs, of which |y| is a
 * twentieth. */
static void a_factor_is_found(void **state) {
  (void)state;
  static const struct {
    float factor;
    const char *rule;
  } cases[] = {{1.00001f, "(rms)"}, {1.0000008f, "(bias)"}};
  for (int k = 0; k < 2; k++) {
    ptrdiff_t n = 0;
    make_conv("c=64");
    struct results r = right_results("conv.safetensors");
    float *y = values(&r, "out.y", &n);
    for (ptrdiff_t i = 0; i < n; i++) y[i] = (float)((double)y[i] * (double)cases[k].factor);
    program_expect(MISMATCH, cases[k].rule, judged(&r, r.count, "conv.safetensors", ""));
  }
}

static void lower_precision_is_found_unless_it_is_declared(void **state) {
  (void)state;
  make_conv("");
  struct results r = rounded_results("conv.safetensors", PRECISION_TF32);
  program_expect(MISMATCH, "conv: out.y[", judged(&r, r.count, "conv.safetensors", "precision=fp32"));
  r = rounded_results("conv.safetensors", PRECISION_TF32);
  program_expect(0, "pass, 3 tensors as tf32", judged(&r, r.count, "conv.safetensors", "precision=tf32"));
}

/* Then a kernel that rounds them itself is right in a class that does not. */
static void inputs_can_be_made_in_lower_precision(void **state) {
  (void)state;
  static const struct {
    const char *key;
    enum precision precision;
  } formats[] = {{"round=tf32", PRECISION_TF32}, {"round=bf16", PRECISION_BF16}};
  for (int i = 0; i < 2; i++) {
    make_conv("");
    struct results r = rounded_results("conv.safetensors", formats[i].precision);
    program_expect(MISMATCH, "conv: out.y[", judged(&r, r.count, "conv.safetensors", ""));
    make_conv(formats[i].key);
    r = rounded_results("conv.safetensors", formats[i].precision);
    program_expect(0, "pass, 3 tensors as fp32;", judged(&r, r.count, "conv.safetensors", ""));
    r = rounded_results("conv.safetensors", formats[i].precision);
    program_expect(0, "pass, 3 tensors as fp32-rz;", judged(&r, r.count, "conv.safetensors", "precision=fp32-rz"));
  }
}

static void missing_and_extra_tensors_are_incomplete(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  program_expect(INCOMPLETE, "missing", judged(&r, r.count - 1, "conv.safetensors", ""));
  r = right_results("conv.safetensors");
  float *more = calloc(1, sizeof *more);
  assert_non_null(more);
  r.t[r.count++] = tensor_make(DTYPE_F32, more, 0, (ptrdiff_t[]){1}, "out.loss");
  program_expect(INCOMPLETE, "conv: out.loss: extra", judged(&r, r.count, "conv.safetensors", ""));
  r = right_results("conv.safetensors"); /* a wrong tensor is worse than a missing one */
  values(&r, r.t[0].name, &n)[0] = INFINITY;
  program_expect(MISMATCH, "missing", judged(&r, r.count - 1, "conv.safetensors", ""));
}

/* Moves the results that begin so to the front; how many. */
static int to_the_front(struct results *r, const char *beginning) {
  int count = 0;
  for (int i = 0; i < r->count; i++) {
    if (strncmp(r->t[i].name, beginning, strlen(beginning)) != 0) continue;
    struct tensor t = r->t[count];
    r->t[count++] = r->t[i], r->t[i] = t;
  }
  return count;
}

/* A kernel without gradients has nothing to say of them. */
static void what_is_not_asked_for_may_be_missing(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("");
  struct results r = right_results("conv.safetensors");
  program_expect(0, "conv: pass, 1 of 3 tensors as fp32; closest to its limit: out.y (",
                 judged(&r, to_the_front(&r, "out."), "conv.safetensors", "only=out."));
  r = right_results("conv.safetensors");
  program_expect(0, "conv: pass, 2 of 3 tensors as fp32;",
                 judged(&r, to_the_front(&r, "grad_"), "conv.safetensors", "only=grad_in.,grad_param."));
  r = right_results("conv.safetensors"); /* what is not asked for is not judged, and not too many */
  values(&r, "grad_in.x", &n)[0] = INFINITY;
  program_expect(0, "conv: pass, 1 of 3 tensors as fp32;", judged(&r, r.count, "conv.safetensors", "only=out.y"));
  r = right_results("conv.safetensors");
  values(&r, "out.y", &n)[0] = INFINITY;
  program_expect(MISMATCH, "again: oracle case conv.safetensors candidate=candidate.safetensors precision=fp32 only=out.",
                 judged(&r, to_the_front(&r, "out."), "conv.safetensors", "only=out."));
  r = right_results("conv.safetensors");
  program_expect(INCOMPLETE, "conv: grad_in.x: missing", judged(&r, to_the_front(&r, "out."), "conv.safetensors", "only=out.,grad_in."));
}

static void other_shapes_orders_and_types_are_found(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("c=8 k=6");
  struct results r = right_results("conv.safetensors");
  for (int i = 0; i < r.count; i++) {
    if (strcmp(r.t[i].name, "out.y") != 0) continue;
    ptrdiff_t channels = r.t[i].shape[3];
    r.t[i].shape[3] = r.t[i].shape[1], r.t[i].shape[1] = channels; /* N C H W */
  }
  program_expect(MISMATCH, "conv: out.y has shape [2, 6, 8, 8], not [2, 8, 8, 6]", judged(&r, r.count, "conv.safetensors", ""));

  r = right_results("conv.safetensors");
  float *y = values(&r, "out.y", &n);
  for (ptrdiff_t i = 0; i < n / 2; i++) {
    float swap = y[i];
    y[i] = y[i + n / 2], y[i + n / 2] = swap;
  }
  program_expect(MISMATCH, "conv: out.y[", judged(&r, r.count, "conv.safetensors", ""));

  r = right_results("conv.safetensors");
  r.t[0].dtype = DTYPE_I32;
  program_expect(MISMATCH, "dtype: numbers are F32, F64 or BF16", judged(&r, r.count, "conv.safetensors", ""));
}

/* Whole numbers: every order of every sum is exact, so the last bit counts. */
static void whole_numbers_are_held_to_the_bit(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  make_conv("fill=int");
  struct results r = right_results("conv.safetensors");
  values(&r, "grad_param.weight", &n)[5] += 1e-5f;
  program_expect(MISMATCH, "(exact)", judged(&r, r.count, "conv.safetensors", ""));
}

/* Inputs of 100 +- 0.01 are a few numbers in half precision: nothing can be told from the normalised ones. */
static void what_cannot_be_told_is_vacuous(void **state) {
  (void)state;
  program_expect(0, "written", program_run("oracle case make op=norm fill=offset out=norm.safetensors"));
  struct results r = rounded_results("norm.safetensors", PRECISION_FP16);
  program_expect(VACUOUS, "VACUOUS", judged(&r, r.count, "norm.safetensors", "precision=fp16"));
}

static void indices_may_differ_only_within_rounding(void **state) {
  (void)state;
  ptrdiff_t n = 0;
  program_expect(0, "written", program_run("oracle case make op=match out=match.safetensors"));
  struct results r = right_results("match.safetensors");
  for (int i = 0; i < r.count; i++) {
    if (r.t[i].ndim != 2) continue;
    int32_t *index = calloc((size_t)tensor_count(&r.t[i]), sizeof *index);
    assert_non_null(index);
    for (ptrdiff_t j = 0; j < tensor_count(&r.t[i]); j++) index[j] = (int32_t)((float *)r.t[i].data)[j];
    free(r.t[i].data);
    r.t[i].data = index, r.t[i].dtype = DTYPE_I32;
  }
  struct results wrong = r;
  struct error err;
  if (!safetensors_write("candidate.safetensors", r.t, r.count, NULL, &err)) fail_msg("%s", err.text);
  program_expect(0, "pass, 7 tensors", program_run("oracle case match.safetensors candidate=candidate.safetensors"));
  int32_t *s12 = (int32_t *)(void *)values(&wrong, "out.s12", &n);
  s12[3] = (s12[3] + 1) % 64; /* h w = 64 regions */
  program_expect(MISMATCH, "match: out.s12[0, 3] is ", judged(&wrong, wrong.count, "match.safetensors", ""));
}

/* ---- the program --------------------------------------------------------------------------------------------------------------------- */

static void every_operation_is_made_and_passes(void **state) {
  (void)state;
  program_expect(0, "",
                 program_run("for op in conv linear norm relu maxpool avgpool match loss lars ema; do\n"
                             "for fill in normal int offset; do\n"
                             "case $op-$fill in match-offset) continue ;; esac\n"
                             "oracle case make op=$op fill=$fill out=made_$op-$fill.safetensors || exit 9; done; done\n"
                             "for seed in 1 2 3 4 5 6; do\n"
                             "oracle case make op=random seed=$seed out=made_random-$seed.safetensors || exit 9; done >made.txt"));
  program_expect(0, "35 cases, ", program_run("mkdir -p all && mv made_* all && oracle case all"));
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
      {"oracle report r out=r", "report: out=r is read here, and would be written over"},
      {"oracle case conv.safetensors candidate=nothing.safetensors", "nothing.safetensors"},
      {"oracle case conv.safetensors candidate=conv.safetensors only=out.,grad_inn",
       "only=out.,grad_inn: no result begins with 'grad_inn'; there are "},
      {"oracle case conv.safetensors candidate=conv.safetensors only=,", "only=,: no result begins with ''"},
      {"oracle case conv.safetensors candidate=conv.safetensors only=in.x", "no result begins with 'in.x'"},
      {"oracle case conv.safetensors backend=plain only=out.", "only=out. is of results of a kernel; give candidate=FILE"},
      {"head -c 5000 conv.safetensors >cut.safetensors; oracle case cut.safetensors", "cut.safetensors"},
      {"oracle case conv.safetensors candidate=cut.safetensors", "cut.safetensors"},
      {"oracle case conv.safetensors conv.safetensors candidate=conv.safetensors", "one case"},
      {"oracle case make op=conv", "out= is missing"},
      {"oracle case make op=conv relu=yes out=x.safetensors",
       "case make: relu: says nothing of op=conv, which is made by fill n h w c k r stride"},
      {"oracle case make op=conv r=9 pad=0 out=x.safetensors", "kernel"},
      {"oracle case make op=conv out=/nowhere/x.safetensors", "/nowhere/x.safetensors"},
      {"ulimit -f 2; oracle case make op=conv out=x.safetensors", "x.safetensors"},
      {"ulimit -f 2; oracle dump out=limited backbone=small stem=cifar size=16 batch=2", "limited"},
      {"oracle case make op=match fill=offset out=x.safetensors", "hangs on rounding"},
      {"oracle kase", "unknown verb 'kase'"},
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
      cmocka_unit_test(right_results_pass),
      cmocka_unit_test(a_nan_is_found_where_it_is),
      cmocka_unit_test(one_element_is_found_where_it_is),
      cmocka_unit_test(a_factor_is_found),
      cmocka_unit_test(lower_precision_is_found_unless_it_is_declared),
      cmocka_unit_test(inputs_can_be_made_in_lower_precision),
      cmocka_unit_test(missing_and_extra_tensors_are_incomplete),
      cmocka_unit_test(what_is_not_asked_for_may_be_missing),
      cmocka_unit_test(other_shapes_orders_and_types_are_found),
      cmocka_unit_test(whole_numbers_are_held_to_the_bit),
      cmocka_unit_test(what_cannot_be_told_is_vacuous),
      cmocka_unit_test(indices_may_differ_only_within_rounding),
      cmocka_unit_test(every_operation_is_made_and_passes),
      cmocka_unit_test(findings_are_written_as_json),
      cmocka_unit_test(findings_of_a_file_of_any_name_are_written),
      cmocka_unit_test(a_case_that_is_wrong_is_no_case),
      cmocka_unit_test(f16_is_refused_in_a_case_and_in_results),
      cmocka_unit_test(bad_input_is_refused_in_one_line),
      cmocka_unit_test(the_examples_of_the_help_work_as_printed),
      cmocka_unit_test(the_python_of_the_document_works),
      cmocka_unit_test(every_tensor_of_a_case_is_documented),
  };
  return cmocka_run_group_tests(tests, enter, program_leave);
}
