/* Whole training runs of a few steps on noise, for tests of the trainer on a GPU. */
#ifndef EDIY_TESTS_CUDA_RUNS_H
#define EDIY_TESTS_CUDA_RUNS_H

#include "train/backends.h"
#include "train/folder.h"
#include "train/trainer.h"

#include "cuda/device.h"

enum { RUNS_IMAGES = 12 }; /* batch 4: three steps an epoch */

static char runs_folder[FOLDER_PATH];

/* In the place of the library's (the linker takes this one): what stands for the reference is chosen by the tests. */
static const struct backend *runs_reference;
const struct backend *backend_open(const struct backend_options *options, struct error *err) {
  const struct backend_cuda_options o = {.precision = (enum cuda_precision)options->precision};
  return options->backend == BACKEND_CUDA ? backend_cuda(0, &o, err) : runs_reference;
}

/* The ranks that train together; null: this process alone. */
static const struct ranks *runs_ranks;

/* What the last run said, a line after the other. */
static char runs_said[4096];
static inline void runs_hear(void *context, const char *line) {
  (void)context;
  size_t n = strlen(runs_said);
  snprintf(runs_said + n, sizeof runs_said - n, "%s\n", line);
}

/* A run into the folder `out`, with the words of extra as further keys; a teacher is a file in the folder of the runs. */
static inline void runs_on(const struct backend *reference, const char *out, const char *extra) {
  enum { MOST = 40 };
  char text[MOST][FOLDER_PATH + 64], *argv[MOST];
  int n = 0;
  snprintf(text[n++], sizeof text[0], "data=%s/data", runs_folder);
  snprintf(text[n++], sizeof text[0], "out=%s/%s", runs_folder, out);
  static const char *const common[] = {"epochs=1",    "warmup=0",  "batch=4",   "backbone=small",     "stem=cifar",
                                       "size=16",     "lr=4",      "tau0=0.9",  "projector.hidden=8", "projector.out=4",
                                       "log.every=1", "threads=1", "workers=1", "checkpoint.every=1"};
  for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) snprintf(text[n++], sizeof text[0], "%s", common[i]);
  for (const char *s = extra; *s;) { /* words */
    size_t k = strcspn(s, " ");
    assert_true(n < MOST);
    if (strncmp(s, "teacher=", 8) == 0)
      snprintf(text[n++], sizeof text[0], "teacher=%s/%.*s", runs_folder, (int)k - 8, s + 8);
    else
      snprintf(text[n++], sizeof text[0], "%.*s", (int)k, s);
    s += k + (s[k] == ' ');
  }
  for (int i = 0; i < n; i++) argv[i] = text[i];
  static struct config c;
  struct train_callbacks callbacks = {.message = runs_hear, .ranks = runs_ranks};
  struct train_result result;
  struct error err;
  runs_reference = reference;
  runs_said[0] = 0;
  if (!config_from_arguments(&c, n, argv, &err) || !train(&c, &callbacks, &result, &err)) fail_msg("%s", err.text);
}

static inline int runs_setup(void **state) {
  (void)state;
  folder_make(runs_folder);
  for (int i = 0; i < RUNS_IMAGES; i++) {
    char name[32];
    snprintf(name, sizeof name, "data/%02d.png", i);
    folder_noise(runs_folder, name, 20 + i % 3, 18 + i % 4, (uint32_t)i);
  }
  return 0;
}

static inline int runs_teardown(void **state) {
  (void)state;
  folder_remove(runs_folder);
  return 0;
}

/* Checkpoint `step` of a run; whole: the hash is looked at. */
static inline void runs_checkpoint(struct checkpoint *c, const char *out, int64_t step) {
  char where[FOLDER_PATH + 64], path[CHECKPOINT_PATH];
  struct error err;
  snprintf(where, sizeof where, "%s/%s", runs_folder, out);
  checkpoint_path(where, step, path);
  if (!checkpoint_open(c, path, &err)) fail_msg("%s", err.text);
}

/* The same bits in every tensor of both. */
static inline void runs_same_tensors(const struct safetensors *x, const struct safetensors *y, const char *a, const char *b) {
  assert_int_equal(x->count, y->count);
  for (int i = 0; i < x->count; i++) {
    const struct tensor *t = &x->tensor[i], *u = safetensors_find(y, t->name);
    if (!u || memcmp(t->data, u->data, (size_t)tensor_count(t) * dtype_size(t->dtype)) != 0)
      fail_msg("%s and %s differ in %s", a, b, t->name);
  }
}

/* The same bits in every tensor of the checkpoints of two runs. */
static inline void runs_agree(const char *a, const char *b, int64_t step) {
  struct checkpoint x, y;
  runs_checkpoint(&x, a, step), runs_checkpoint(&y, b, step);
  runs_same_tensors(&x.file, &y.file, a, b);
  checkpoint_close(&x), checkpoint_close(&y);
}

#endif
