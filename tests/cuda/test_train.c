/* Whole training runs: data, loader, teacher, steps, watching, checkpoints, the exported backbone; on the CUDA table, on the reference, and
 * begun on one and ended on the other. In fp32 all of them leave the same bits: in the tensors of checkpoints and of the backbone, and in
 * the numbers of the log. */
#include "cuda/moved_class.h"
#include "cuda/runs.h"
#include "train/logged.h"

enum { STEPS = 3 };

/* ---- runs ---------------------------------------------------------------------------------------------------------------------------- */

static void run(const char *out, const char *extra) { runs_on(backend_reference(), out, extra); }

static void copy(const char *from, const char *to) {
  char command[3 * FOLDER_PATH];
  snprintf(command, sizeof command, "cp -r '%s/%s' '%s/%s'", runs_folder, from, runs_folder, to);
  if (system(command) != 0) abort();
}

/* ---- comparing ----------------------------------------------------------------------------------------------------------------------- */

static void assert_same_backbone(const char *a, const char *b) {
  const char *const run[] = {a, b};
  struct safetensors file[2];
  for (int i = 0; i < 2; i++) {
    char path[FOLDER_PATH + 64];
    struct error err;
    snprintf(path, sizeof path, "%s/%s/backbone.safetensors", runs_folder, run[i]);
    if (!safetensors_open(&file[i], path, &err)) fail_msg("%s", err.text);
  }
  runs_same_tensors(&file[0], &file[1], a, b);
  for (int i = 0; i < 2; i++) safetensors_close(&file[i]);
}

/* Lines of the log, without the times in them. */
static int read_log(const char *out, char line[STEPS][2048]) {
  char path[FOLDER_PATH + 64];
  int n = 0;
  snprintf(path, sizeof path, "%s/%s/log.jsonl", runs_folder, out);
  FILE *f = fopen(path, "r");
  while (f && n < STEPS && fgets(line[n], sizeof line[0], f)) {
    char *times = strstr(line[n++], "\"images_per_s");
    if (times) *times = 0;
  }
  if (f) fclose(f);
  return n;
}

/* Run `out` has left what the run `expected` has, which ended at `step`. */
static void assert_same_run(const char *out, const char *expected, int64_t step) {
  char got[STEPS][2048], like[STEPS][2048];
  runs_agree(out, expected, step);
  if (step == STEPS) assert_same_backbone(out, expected);
  assert_int_equal(read_log(out, got), step);
  assert_int_equal(read_log(expected, like), step);
  for (int i = 0; i < step; i++) assert_string_equal(got[i], like[i]);
}

/* ---- the tests ----------------------------------------------------------------------------------------------------------------------- */

static void runs_agree_and_go_on_on_the_other_backend(void **state) {
  (void)state;
  device_needs_fused_reference();
  device_backend();
  static const char teacher[] = "teacher=byol/backbone.safetensors", on_gpu[] = "teacher=byol/backbone.safetensors backend=cuda";
  run("byol", "lambda1=0 lambda2=0");
  run("reference", teacher);
  run("there", "teacher=byol/backbone.safetensors backend=cuda stop=1"); /* begun on the GPU */
  copy("there", "there-here");
  run("there", on_gpu);
  run("there-here", teacher);
  run("here-there", "teacher=byol/backbone.safetensors stop=2");
  run("here-there", on_gpu);
  static const char *const outs[] = {"there", "there-here", "here-there"};
  for (int i = 0; i < 3; i++) assert_same_run(outs[i], "reference", STEPS);
}

/* Regions and negatives that are drawn on the host go up; two micro-batches. */
static void a_run_with_drawn_regions_agrees(void **state) {
  (void)state;
  device_needs_fused_reference();
  device_backend();
  static const char drawn[] = "accumulate=2 sampler=random rdem.negative=instance stop=1";
  char extra[128];
  folder_remove(runs_folder);
  runs_setup(NULL);
  run("reference", drawn);
  snprintf(extra, sizeof extra, "%s backend=cuda", drawn);
  run("there", extra);
  assert_same_run("there", "reference", 1);
}

/* The losses of all steps of a run. */
static void read_losses(const char *out, double loss[STEPS]) { assert_int_equal(logged(runs_folder, out, "loss", loss, STEPS), STEPS); }

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
