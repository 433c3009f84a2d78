/* Runs of the trainer as small as one can be that has every part, in a folder of their own. `whole` is the run from end to end that the
 * others are held to. For one test program at a time: the folder and the functions are its own. */
#ifndef EDIY_TESTS_TRAIN_SMALL_RUN_H
#define EDIY_TESTS_TRAIN_SMALL_RUN_H

#include <omp.h>

#include "train/trainer.h"

#include "image/image.h"
#include "support/cmocka.h"
#include "support/support.h"
#include "train/folder.h"
#include "train/log.h"
#include "train/run.h"

enum { IMAGES = 26, STEPS = 12 }; /* batch 8: 3 steps an epoch, 4 epochs */

static char folder[FOLDER_PATH];

struct watcher {
  int lines, steps;
  int threads;                                       /* of the arithmetic, in the last step */
  char last_line[1200], removed[1200], warmup[1200]; /* empty: not said */
  bool resumed;                                      /* said to be */
  int64_t stop_at;
  volatile sig_atomic_t stop;
  struct progress progress;
};
static inline void on_message(void *context, const char *line) {
  struct watcher *w = context;
  w->lines++;
  snprintf(w->last_line, sizeof w->last_line, "%s", line);
  w->resumed = w->resumed || strncmp(line, "resumed from ", 13) == 0;
  if (strstr(line, ": removed ")) snprintf(w->removed, sizeof w->removed, "%s", line);
  if (strncmp(line, "warmup = ", 9) == 0) snprintf(w->warmup, sizeof w->warmup, "%s", line);
}
static inline void on_progress(void *context, const struct progress *p) {
  struct watcher *w = context;
  w->steps++;
  w->threads = omp_get_max_threads();
  w->progress = *p;
  if (p->now.step == w->stop_at) w->stop = 1;
}

/* The smallest run that has every part: two micro-batches a step, regions, a drawn sampler unless a teacher is given. */
static inline bool configure(const char *out, const char *extra, struct config *c, struct error *err) {
  char text[24][FOLDER_PATH + 64], *argv[24];
  int n = 0;
  snprintf(text[n++], sizeof text[0], "data=%s/data", folder);
  snprintf(text[n++], sizeof text[0], "out=%s/%s", folder, out);
  static const char *const common[] = {"epochs=4",        "warmup=1",       "batch=8",     "accumulate=2", "backbone=small",
                                       "stem=cifar",      "size=16",        "lr=2",        "tau0=0.9",     "projector.hidden=16",
                                       "projector.out=8", "sampler=random", "log.every=1", "threads=2",    "workers=2"};
  for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) snprintf(text[n++], sizeof text[0], "%s", common[i]);
  for (const char *s = extra; *s;) { /* words */
    size_t k = strcspn(s, " ");
    snprintf(text[n++], sizeof text[0], "%.*s", (int)k, s);
    s += k + (s[k] == ' ');
  }
  for (int i = 0; i < n; i++) argv[i] = text[i];
  return config_from_arguments(c, n, argv, err);
}

static inline bool start(const char *out, const char *extra, struct watcher *w, struct train_result *result, struct error *err) {
  static struct config c;
  if (!configure(out, extra, &c, err)) return false;
  struct watcher nobody = {0};
  if (!w) w = &nobody;
  struct train_callbacks callbacks = {on_message, on_progress, w, &w->stop, NULL};
  return train(&c, &callbacks, result, err);
}

static inline struct train_result run(const char *out, const char *extra) {
  struct train_result result;
  struct error err;
  if (!start(out, extra, NULL, &result, &err)) fail_msg("%s", err.text);
  return result;
}

static inline void refused(const char *out, const char *extra, const char *reason) {
  struct train_result result;
  struct error err = {.text = ""};
  if (start(out, extra, NULL, &result, &err)) fail_msg("accepted, expected: %s", reason);
  if (!strstr(err.text, reason)) fail_msg("message: %s\nexpected: %s", err.text, reason);
}

/* Every tensor of two checkpoints, bit for bit. */
static inline void assert_same_weights(const char *a, const char *b) {
  struct safetensors x, y;
  struct error err;
  if (!safetensors_open(&x, a, &err) || !safetensors_open(&y, b, &err)) fail_msg("%s", err.text);
  assert_int_equal(x.count, y.count);
  for (int i = 0; i < x.count; i++) {
    assert_string_equal(x.tensor[i].name, y.tensor[i].name);
    size_t bytes = (size_t)tensor_count(&x.tensor[i]) * dtype_size(x.tensor[i].dtype);
    if (memcmp(x.tensor[i].data, y.tensor[i].data, bytes) != 0) fail_msg("%s and %s differ in %s", a, b, x.tensor[i].name);
  }
  safetensors_close(&x), safetensors_close(&y);
}

static inline char *checkpoint_of(const char *out, int64_t step) {
  static char path[2][CHECKPOINT_PATH];
  static int turn;
  char where[FOLDER_PATH + 64];
  snprintf(where, sizeof where, "%s/%s", folder, out);
  checkpoint_path(where, step, path[turn ^= 1]);
  return path[turn];
}

static inline int setup(void **state) {
  (void)state;
  folder_make(folder);
  for (int i = 0; i < IMAGES; i++) {
    char name[32];
    snprintf(name, sizeof name, "data/%02d.png", i);
    folder_noise(folder, name, 20 + i % 3, 18 + i % 4, (uint32_t)i);
  }
  run("whole", ""); /* what the others are held to */
  return 0;
}
static inline int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

/* Threads that wait by spinning, OpenMP's default, take a busy machine's processors from those they wait for; these runs are all
 * waiting. */
static inline void wait_passively(char *const *arguments) {
  if (getenv("OMP_WAIT_POLICY")) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv(arguments[0], arguments);
}

#endif
