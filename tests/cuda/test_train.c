/* Whole training runs: data, loader, teacher, steps, watching, checkpoints, the exported backbone; on the CUDA table, on the reference, and
 * begun on one and ended on the other. How far their checkpoints may be apart is measured by runs of the reference with products that are off
 * (moved.h), tensor by tensor, in the largest element. */
#include <float.h>

#include "image/image.h"
#include "train/backends.h"
#include "train/folder.h"
#include "train/trainer.h"

#include "cuda/moved.h"

enum { IMAGES = 12, STEPS = 3, DRAWS = 4 }; /* batch 4, one epoch */

static char folder[FOLDER_PATH];

/* ---- runs ----------------------------------------------------------------------------------------------------------------------------- */

/* In the place of the library's (the linker takes this one): what stands for the reference is chosen by the tests. */
static const struct backend *reference_now;
const struct backend *backend_open(const struct backend_options *options, struct error *err) {
  return options->backend == BACKEND_CUDA ? backend_cuda(0, NULL, err) : reference_now;
}

static void run_on(const struct backend *reference, const char *out, const char *extra) {
  char text[24][FOLDER_PATH + 64], *argv[24];
  int n = 0;
  snprintf(text[n++], sizeof text[0], "data=%s/data", folder);
  snprintf(text[n++], sizeof text[0], "out=%s/%s", folder, out);
  static const char *const common[] = {"epochs=1",    "warmup=0",  "batch=4",   "backbone=small",     "stem=cifar",
                                       "size=16",     "lr=4",      "tau0=0.9",  "projector.hidden=8", "projector.out=4",
                                       "log.every=1", "threads=1", "workers=1", "checkpoint.every=1"};
  for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) snprintf(text[n++], sizeof text[0], "%s", common[i]);
  for (const char *s = extra; *s;) { /* words */
    size_t k = strcspn(s, " ");
    if (strncmp(s, "teacher=", 8) == 0)
      snprintf(text[n++], sizeof text[0], "teacher=%s/%.*s", folder, (int)k - 8, s + 8);
    else
      snprintf(text[n++], sizeof text[0], "%.*s", (int)k, s);
    s += k + (s[k] == ' ');
  }
  for (int i = 0; i < n; i++) argv[i] = text[i];
  static struct config c;
  struct train_callbacks nobody = {0};
  struct train_result result;
  struct error err;
  reference_now = reference;
  if (!config_from_arguments(&c, n, argv, &err) || !train(&c, &nobody, &result, &err)) fail_msg("%s", err.text);
}

static void run(const char *out, const char *extra) { run_on(backend_reference(), out, extra); }

static void copy(const char *from, const char *to) {
  char command[3 * FOLDER_PATH];
  snprintf(command, sizeof command, "cp -r '%s/%s' '%s/%s'", folder, from, folder, to);
  if (system(command) != 0) abort();
}

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  for (int i = 0; i < IMAGES; i++) {
    char name[32];
    snprintf(name, sizeof name, "data/%02d.png", i);
    folder_noise(folder, name, 20 + i % 3, 18 + i % 4, (uint32_t)i);
  }
  return 0;
}

static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

/* ---- comparing ------------------------------------------------------------------------------------------------------------------------ */

static void open_checkpoint(struct checkpoint *c, const char *out, int64_t step) {
  char where[FOLDER_PATH + 64], path[CHECKPOINT_PATH];
  struct error err;
  snprintf(where, sizeof where, "%s/%s", folder, out);
  checkpoint_path(where, step, path);
  if (!checkpoint_open(c, path, &err)) fail_msg("%s", err.text); /* whole: the hash is looked at */
}

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
  open_checkpoint(&c, out, step);
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
  open_checkpoint(&expected, "reference", step);
  for (int d = 0; d < DRAWS; d++) {
    char out[32];
    snprintf(out, sizeof out, "moved%d", d);
    run_on(backend_moved((uint32_t)d), out, extra);
    open_checkpoint(&gauge[d], out, step);
  }
  for (int i = 0; i < count; i++) check(outs[i], &expected.file, gauge, step);
  for (int d = 0; d < DRAWS; d++) checkpoint_close(&gauge[d]);
  checkpoint_close(&expected);
}

/* The numbers of the last line of the log. */
static void read_log(const char *out, double *loss, double *diagnostic) {
  char path[FOLDER_PATH + 64], line[2048], last[2048] = "";
  snprintf(path, sizeof path, "%s/%s/log.jsonl", folder, out);
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f)) memcpy(last, line, sizeof last);
  if (f) fclose(f);
  const char *at = strstr(last, "\"loss\": "), *std = strstr(last, "\"std_local\": ");
  if (!at || !std || sscanf(at, "\"loss\": %lf", loss) != 1 || sscanf(std, "\"std_local\": %lf", diagnostic) != 1)
    fail_msg("%s: last line %s", path, last);
}

/* ---- the tests ------------------------------------------------------------------------------------------------------------------------ */

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
  open_checkpoint(&last, "there", STEPS);
  snprintf(path, sizeof path, "%s/there/backbone.safetensors", folder);
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
  folder_remove(folder);
  setup(NULL);
  run("reference", drawn);
  snprintf(extra, sizeof extra, "%s backend=cuda", drawn);
  run("there", extra);
  static const char *const outs[] = {"there"};
  check_all(outs, 1, drawn, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(runs_agree_and_go_on_on_the_other_backend),
                                     cmocka_unit_test(a_run_with_drawn_regions_agrees)};
  return cmocka_run_group_tests_name("cuda train", tests, setup, teardown);
}
