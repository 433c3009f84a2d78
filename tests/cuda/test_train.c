/* Whole training runs: data, loader, teacher, steps, watching, checkpoints, the exported backbone; on the CUDA table, on the reference, and
 * begun on one and ended on the other. How far their checkpoints may be apart is measured by runs of the reference with products that are
 * off (moved.h), tensor by tensor, in the largest element. */
#include <float.h>

#include "cuda/moved_class.h"
#include "cuda/runs.h"
#include "support/moved.h"

enum { STEPS = 3, DRAWS = 4 };

/* ---- runs ---------------------------------------------------------------------------------------------------------------------------- */

static void run(const char *out, const char *extra) { runs_on(backend_reference(), out, extra); }

static void copy(const char *from, const char *to) {
  char command[3 * FOLDER_PATH];
  snprintf(command, sizeof command, "cp -r '%s/%s' '%s/%s'", runs_folder, from, runs_folder, to);
  if (system(command) != 0) abort();
}

/* ---- comparing ----------------------------------------------------------------------------------------------------------------------- */

static double distance(const struct tensor *a, const struct tensor *b) {
  double most = 0;
  for (ptrdiff_t i = 0; i < tensor_count(a); i++) {
    double e = fabs(tensor_at(a, i) - tensor_at(b, i));
    if (isnan(e)) return e;
    most = fmax(most, e);
  }
  return most;
}

/* How far the moved runs are in this tensor, and a spacing of floats at its largest element. */
static double allowed_of(const struct safetensors *expected, const struct checkpoint gauge[DRAWS], const char *name) {
  const struct tensor *e = safetensors_find(expected, name);
  double most = 0, largest = 0;
  for (int d = 0; d < DRAWS; d++) most = fmax(most, distance(safetensors_find(&gauge[d].file, name), e));
  for (ptrdiff_t i = 0; i < tensor_count(e); i++) largest = fmax(largest, fabs(tensor_at(e, i)));
  return most + FLT_EPSILON * largest;
}

/* The bias in front of a batch norm (0.bias of every head) has a gradient of exactly zero: what is there is rounding, and is judged beside
 * the weights of the same layer. */
static void check(const char *out, const struct safetensors *expected, const struct checkpoint gauge[DRAWS], int64_t step) {
  struct checkpoint c;
  runs_checkpoint(&c, out, step);
  assert_int_equal(c.file.count, expected->count);
  for (int i = 0; i < expected->count; i++) {
    const char *name = expected->tensor[i].name, *end = strstr(name, ".0.bias");
    double allowed = allowed_of(expected, gauge, name);
    if (end) {
      char weight[TENSOR_MAX_NAME];
      snprintf(weight, sizeof weight, "%.*s.0.weight", (int)(end - name), name);
      allowed = fmax(allowed, allowed_of(expected, gauge, weight));
    }
    double off = distance(safetensors_find(&c.file, name), &expected->tensor[i]);
    if (!(off <= allowed)) fail_msg("%s: %s is off by %.3g, allowed %.3g", out, name, off, allowed);
  }
  checkpoint_close(&c);
}

/* Checkpoint `step` of each of `outs` against the run `expected` of the reference; extra: what that run was started with. */
static void check_all(const char *const *outs, int count, const char *extra, int64_t step) {
  struct checkpoint expected, gauge[DRAWS];
  runs_checkpoint(&expected, "reference", step);
  for (int d = 0; d < DRAWS; d++) {
    char out[32];
    snprintf(out, sizeof out, "moved%d", d);
    runs_on(backend_moved((uint32_t)d), out, extra);
    runs_checkpoint(&gauge[d], out, step);
  }
  for (int i = 0; i < count; i++) check(outs[i], &expected.file, gauge, step);
  for (int d = 0; d < DRAWS; d++) checkpoint_close(&gauge[d]);
  checkpoint_close(&expected);
}

/* The numbers of the last line of the log. */
static void read_log(const char *out, double *loss, double *diagnostic) {
  char path[FOLDER_PATH + 64], line[2048], last[2048] = "";
  snprintf(path, sizeof path, "%s/%s/log.jsonl", runs_folder, out);
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f)) memcpy(last, line, sizeof last);
  if (f) fclose(f);
  const char *at = strstr(last, "\"loss\": "), *std = strstr(last, "\"std_local\": ");
  if (!at || !std || sscanf(at, "\"loss\": %lf", loss) != 1 || sscanf(std, "\"std_local\": %lf", diagnostic) != 1)
    fail_msg("%s: last line %s", path, last);
}

/* ---- the tests ----------------------------------------------------------------------------------------------------------------------- */

static void runs_agree_and_go_on_on_the_other_backend(void **state) {
  (void)state;
  device_backend();
  static const char teacher[] = "teacher=byol/backbone.safetensors";
  run("byol", "lambda1=0 lambda2=0");
  run("reference", teacher);
  run("there", "teacher=byol/backbone.safetensors backend=cuda stop=1"); /* begun on the GPU */
  copy("there", "there-here");
  run("there", "teacher=byol/backbone.safetensors backend=cuda");
  run("there-here", teacher);
  run("here-there", "teacher=byol/backbone.safetensors stop=2");
  run("here-there", "teacher=byol/backbone.safetensors backend=cuda");
  static const char *const outs[] = {"there", "there-here", "here-there"};
  check_all(outs, 3, teacher, STEPS);

  /* what the log and the exported backbone say was fetched from the GPU */
  double loss[2], diagnostic[2];
  read_log("reference", &loss[0], &diagnostic[0]);
  read_log("there", &loss[1], &diagnostic[1]);
  assert_true(loss[0] > 0 && fabs(loss[1] - loss[0]) < 1e-3 * loss[0] && fabs(diagnostic[1] - diagnostic[0]) < 1e-3 * diagnostic[0]);
  struct checkpoint last;
  struct safetensors backbone;
  struct error err;
  char path[FOLDER_PATH + 64];
  runs_checkpoint(&last, "there", STEPS);
  snprintf(path, sizeof path, "%s/there/backbone.safetensors", runs_folder);
  if (!safetensors_open(&backbone, path, &err)) fail_msg("%s", err.text);
  const struct tensor *a = safetensors_find(&last.file, "online.layer4.0.conv2.weight"),
                      *b = safetensors_find(&backbone, "layer4.0.conv2.weight");
  assert_true(a && b);
  assert_memory_equal(a->data, b->data, (size_t)tensor_count(a) * sizeof(float));
  checkpoint_close(&last);
  safetensors_close(&backbone);
}

/* Regions and negatives that are drawn on the host go up; two micro-batches. */
static void a_run_with_drawn_regions_agrees(void **state) {
  (void)state;
  device_backend();
  static const char drawn[] = "accumulate=2 sampler=random rdem.negative=instance stop=1";
  char extra[128];
  folder_remove(runs_folder);
  runs_setup(NULL);
  run("reference", drawn);
  snprintf(extra, sizeof extra, "%s backend=cuda", drawn);
  run("there", extra);
  static const char *const outs[] = {"there"};
  check_all(outs, 1, drawn, 1);
}

/* The losses of all steps of a run, from its log. */
static void read_losses(const char *out, double loss[STEPS]) {
  char path[FOLDER_PATH + 64], line[2048];
  int n = 0;
  snprintf(path, sizeof path, "%s/%s/log.jsonl", runs_folder, out);
  FILE *f = fopen(path, "r");
  while (f && n < STEPS && fgets(line, sizeof line, f)) {
    const char *at = strstr(line, "\"loss\": ");
    if (!at || sscanf(at, "\"loss\": %lf", &loss[n++]) != 1) fail_msg("%s: line %s", path, line);
  }
  if (f) fclose(f);
  assert_int_equal(n, STEPS);
}

/* In a class a loss is as far from the reference's as with the class' roundings at random, which it is one more draw of: not beyond six of
 * their root mean square, as Student's t with as many degrees of freedom as draws is once in 3000. And at some step further than rounding
 * in float would have it. Which class it is the oracle tells, tensor by tensor. Small steps, lest they be chaos's. */
static void the_losses_of_a_class_stay_near(void **state) {
  (void)state;
  enum { CLASS_DRAWS = 8 };
  device_backend();
  static const char *const names[] = {[CUDA_TF32] = "tf32", [CUDA_BF16] = "bf16"}, drawn[] = "sampler=random lr=0.1";
  double expected[STEPS], loss[STEPS];
  folder_remove(runs_folder);
  runs_setup(NULL);
  run("reference", drawn);
  read_losses("reference", expected);
  for (int precision = CUDA_TF32; precision <= CUDA_BF16; precision++) {
    char out[32], extra[128];
    double squares[STEPS] = {0};
    for (uint32_t d = 0; d < CLASS_DRAWS; d++) {
      snprintf(out, sizeof out, "%s%u", names[precision], d);
      runs_on(backend_moved_in((enum cuda_precision)precision, d), out, drawn);
      read_losses(out, loss);
      for (int i = 0; i < STEPS; i++) squares[i] += (loss[i] - expected[i]) * (loss[i] - expected[i]);
    }
    snprintf(extra, sizeof extra, "%s backend=cuda precision=%s", drawn, names[precision]);
    run(names[precision], extra);
    read_losses(names[precision], loss);
    bool further = false;
    for (int i = 0; i < STEPS; i++) {
      double off = fabs(loss[i] - expected[i]), allowed = 6 * sqrt(squares[i] / CLASS_DRAWS);
      if (!(off <= allowed)) fail_msg("%s, step %d: the loss is off by %.3g, allowed %.3g", names[precision], i + 1, off, allowed);
      further |= off > 0x1p-16 * expected[i];
    }
    if (!further) fail_msg("%s: the losses are float's", names[precision]);
  }
}

/* One run, a step in each class and the last on the reference. */
static void a_run_goes_on_in_another_class(void **state) {
  (void)state;
  device_backend();
  run("classes", "sampler=random backend=cuda precision=bf16 stop=1");
  run("classes", "sampler=random backend=cuda precision=tf32 stop=2");
  run("classes", "sampler=random");
  double loss[STEPS];
  struct checkpoint c;
  read_losses("classes", loss);
  for (int i = 0; i < STEPS; i++) assert_true(isfinite(loss[i]) && loss[i] > 0);
  runs_checkpoint(&c, "classes", STEPS);
  for (int i = 0; i < c.file.count; i++) assert_int_equal(c.file.tensor[i].dtype, DTYPE_F32);
  checkpoint_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(runs_agree_and_go_on_on_the_other_backend),
                                     cmocka_unit_test(a_run_with_drawn_regions_agrees), cmocka_unit_test(the_losses_of_a_class_stay_near),
                                     cmocka_unit_test(a_run_goes_on_in_another_class)};
  return cmocka_run_group_tests_name("cuda train", tests, runs_setup, runs_teardown);
}
