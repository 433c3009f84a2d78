/* A run ends in the same bits whatever its threads, and stops with a line that helps. What interrupts one is in test_interruption.c. */
#include <math.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/file.h"
#include "eval/collapse.h"
#include "train/schedule.h"

#include "train/logged.h"
#include "train/small_run.h"

/* ---- what a run leaves --------------------------------------------------------------------------------------------------------------- */

static void a_run_trains_logs_and_exports(void **state) {
  (void)state;
  struct watcher w = {0};
  struct train_result result;
  struct error err;
  if (!start("a", "checkpoint.every=5", &w, &result, &err)) fail_msg("%s", err.text);
  assert_true(result.finished);
  assert_int_equal(result.step, STEPS);
  assert_int_equal(result.steps, STEPS);
  assert_int_equal(w.steps, STEPS);
  assert_int_equal(w.progress.now.epoch, 4);
  assert_true(w.progress.now.images_per_s > 0 && w.progress.seconds_left == 0);
  assert_string_equal(result.checkpoint, checkpoint_of("a", STEPS));
  assert_int_equal(access(checkpoint_of("a", STEPS), F_OK), 0);
  assert_int_equal(access(checkpoint_of("a", 10), F_OK), 0);
  assert_int_equal(access(checkpoint_of("a", 5), F_OK), -1); /* two are kept */
  assert_same_weights(checkpoint_of("a", STEPS), checkpoint_of("whole", STEPS));

  struct safetensors f;
  char path[FOLDER_PATH + 64];
  snprintf(path, sizeof path, "%s/a/backbone.safetensors", folder);
  if (!safetensors_open(&f, path, &err)) fail_msg("%s", err.text);
  assert_non_null(safetensors_find(&f, "layer4.0.bn2.running_var"));
  assert_null(safetensors_find(&f, "projector.0.weight"));
  safetensors_close(&f);

  /* lr and tau of step k are those of the schedule, losses are there and finite, and something is learnt from: the online network moves */
  snprintf(path, sizeof path, "%s/a/log.jsonl", folder);
  FILE *log = fopen(path, "r");
  char line[1024];
  int64_t step = 0;
  struct schedule s = schedule_make(2, 8, 1, 4, 3, 0.9);
  while (fgets(line, sizeof line, log)) {
    char expected[200];
    snprintf(expected, sizeof expected, "{\"step\": %d, \"epoch\": %d, \"lr\": %.17g, \"tau\": %.17g, ", (int)step + 1, (int)(step + 1) / 3,
             schedule_lr(&s, step), schedule_tau(&s, step));
    if (strncmp(line, expected, strlen(expected)) != 0) fail_msg("line %sexpected %s", line, expected);
    assert_null(strstr(line, "null"));
    assert_non_null(strstr(line, "\"region_cosine\": "));
    step++;
  }
  fclose(log);
  assert_int_equal(step, STEPS);
  assert_true(result.last.std_global > 0 && result.last.entropy_riem > 0);
}

/* The losses and signs of collapse of each step, which is taken here by hand; of several steps their mean, and the signs of the last. */
static void a_log_says_what_the_steps_were(void **state) {
  (void)state;
  enum { TOTAL, BYOL, RDEM, RIEM, GLOBAL, LOCAL, COSINE, D, S, KEYS, LOSSES = 4, EVERY = 5 };
  static const char *const keys[KEYS] = {"loss",      "byol",          "rdem",         "riem",        "std_global",
                                         "std_local", "region_cosine", "entropy_rdem", "entropy_riem"};
  static struct config c;
  static double taken[KEYS][STEPS], said[STEPS];
  const struct backend_f32 *b = backend_reference_f32();
  const struct schedule s = schedule_make(2, 8, 1, 4, 3, 0.9);
  struct error err;
  struct model_f32 m;
  struct dataset d;
  struct loader *l;
  struct feed f;
  if (!configure("byhand", "", &c, &err)) fail_msg("%s", err.text);
  const struct model_config shape = config_model(&c);
  const struct loader_options o = run_loader_options(&c, b, ranks_alone(), 0);
  if (!model_create_f32(&m, &shape, b, &err) || !model_initialise_f32(&m, (uint64_t)c.seed, &err) || !dataset_open(&d, c.data, &err) ||
      !loader_open(&l, &d, &o, 0, NULL, NULL, &err) || !feed_create(&f, &c, &m, ranks_alone(), &err))
    fail_msg("%s", err.text);
  const ptrdiff_t rows = shape.batch, n = m.cells, out = shape.arch.out;
  double *scratch = malloc((size_t)collapse_scratch_f32(rows * n, out) * sizeof *scratch), waited = 0;
  for (int k = 0; k < STEPS; k++) {
    model_zero_gradient_f32(&m);
    for (int a = 0; a < 2; a++) {
      if (!feed_next(&f, l, &waited, &err)) fail_msg("%s", err.text);
      model_accumulate_f32(&m, (const float *const[2]){f.view[0], f.view[1]}, 0.5, NULL);
    }
    const struct losses sum = model_sums_f32(&m).sum;
    taken[TOTAL][k] = sum.total, taken[BYOL][k] = sum.byol, taken[RDEM][k] = sum.rdem, taken[RIEM][k] = sum.riem;
    taken[GLOBAL][k] = collapse_std_f32(rows, out, m.q[0], NULL, scratch);
    taken[LOCAL][k] = collapse_std_f32(rows * n, out, m.r[0], NULL, scratch);
    taken[COSINE][k] = collapse_cosine_f32(rows, n, out, m.r[0], NULL, scratch);
    taken[D][k] = collapse_entropy_f32(rows, n, m.diversity[0], NULL, scratch);
    taken[S][k] = collapse_entropy_f32(rows, n, m.invariance[0], NULL, scratch);
    model_update_f32(&m, schedule_lr(&s, k), schedule_tau(&s, k), NULL);
  }
  free(scratch), feed_free(&f), loader_close(l), dataset_close(&d), model_free_f32(&m);

  run("means", "log.every=5");
  for (int i = 0; i < KEYS; i++) {
    assert_int_equal(logged(folder, "whole", keys[i], said, STEPS), STEPS);
    for (int k = 0; k < STEPS; k++)
      if (said[k] != taken[i][k]) fail_msg("step %d: %s is %.17g, the log has %.17g", k + 1, keys[i], taken[i][k], said[k]);
    assert_int_equal(logged(folder, "means", keys[i], said, STEPS), 3);
    for (int k = 0, line = 0; k < STEPS; line++) {
      double sum = 0;
      int steps = 0;
      for (; steps < EVERY && k < STEPS; steps++) sum += taken[i][k++];
      assert_true(said[line] == (i < LOSSES ? sum / steps : taken[i][k - 1]));
    }
  }

  /* On the terminal a step of which no line tells has its own losses, and the signs that were measured last, those of the first. */
  struct watcher w = {.stop_at = 3};
  struct train_result result;
  if (!start("untold", "log.every=5", &w, &result, &err)) fail_msg("%s", err.text);
  const struct record *now = &w.progress.now;
  const double shown[KEYS] = {now->total,     now->byol,          now->rdem,         now->riem,        now->std_global,
                              now->std_local, now->region_cosine, now->entropy_rdem, now->entropy_riem};
  for (int i = 0; i < KEYS; i++) assert_true(shown[i] == taken[i][i < LOSSES ? 2 : 0]);
}

static void threads_and_workers_change_no_bit(void **state) {
  (void)state;
  static const char *const extra[] = {"threads=1 workers=1", "threads=3 workers=4 data.ahead=5", "threads=5 data.cache=0"};
  const int before = omp_get_max_threads();
  for (int i = 0; i < 3; i++) {
    struct watcher w = {0};
    struct train_result r;
    struct error err;
    char out[16];
    snprintf(out, sizeof out, "t%d", i);
    if (!start(out, extra[i], &w, &r, &err)) fail_msg("%s", err.text);
    assert_int_equal(w.threads, 1 + 2 * i); /* as many as were asked for, and afterwards the caller's own */
    assert_int_equal(omp_get_max_threads(), before);
    assert_same_weights(checkpoint_of(out, STEPS), checkpoint_of("whole", STEPS));
  }
}

/* Accumulating over micro-batches moves schedules and weights once a step; batch statistics are of the micro-batch, so the weights
 * differ. */
static void accumulation_keeps_the_number_of_steps(void **state) {
  (void)state;
  struct train_result r = run("one", "accumulate=1");
  assert_int_equal(r.steps, STEPS);
  assert_true(r.last.lr == schedule_lr(&(struct schedule){STEPS, 3, 2.0 * 8 / 256, 0.9}, STEPS - 1));
}

/* Warm-up that leaves no step behind it is said, with both numbers; one that leaves an epoch is not. */
static void a_warmup_that_fills_the_run_is_said(void **state) {
  (void)state;
  static const struct {
    const char *out, *extra, *said;
  } runs[] = {{"w0", "epochs=1 warmup=0 stop=1", NULL},
              {"w1", "epochs=3 warmup=2 stop=1", NULL},
              {"w2", "epochs=3 warmup=3 stop=1", "warmup = 3 leaves nothing of epochs = 3: "},
              {"w3", "epochs=3 warmup=10 stop=1", "warmup = 10 leaves nothing of epochs = 3: "}};
  for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
    struct watcher w = {0};
    struct train_result result;
    struct error err;
    if (!start(runs[i].out, runs[i].extra, &w, &result, &err)) fail_msg("%s", err.text);
    if (runs[i].said ? !strstr(w.warmup, runs[i].said) : w.warmup[0]) fail_msg("%s: said \"%s\"", runs[i].extra, w.warmup);
  }
}

/* ---- teacher ------------------------------------------------------------------------------------------------------------------------- */

/* BYOL trains a teacher, E-DIY uses it; the teacher does not change, and resuming needs its file no more. */
static void byol_then_ediy(void **state) {
  (void)state;
  run("byol", "lambda1=0 lambda2=0");
  char extra[IN_FOLDER_PATH];
  snprintf(extra, sizeof extra, "sampler=teacher teacher=%s", checkpoint_of("byol", STEPS));
  run("ediy", extra);
  struct safetensors a, b;
  struct error err;
  assert_true(safetensors_open(&a, checkpoint_of("byol", STEPS), &err) && safetensors_open(&b, checkpoint_of("ediy", STEPS), &err));
  int compared = 0;
  for (int i = 0; i < b.count; i++) {
    if (strncmp(b.tensor[i].name, "teacher.", 8) != 0) continue;
    char name[TENSOR_MAX_NAME + 8];
    snprintf(name, sizeof name, "online.%s", b.tensor[i].name + 8);
    const struct tensor *t = safetensors_find(&a, name);
    assert_non_null(t);
    assert_memory_equal(t->data, b.tensor[i].data, (size_t)tensor_count(t) * sizeof(float));
    compared++;
  }
  assert_true(compared > 40);
  safetensors_close(&a), safetensors_close(&b);

  char half[IN_FOLDER_PATH + 16];
  snprintf(half, sizeof half, "%s stop=5", extra);
  run("ediy2", half);
  unlink(checkpoint_of("byol", STEPS));
  char path[FOLDER_PATH + 32], *before, *after;
  size_t size;
  snprintf(path, sizeof path, "%s/ediy2/config.txt", folder);
  assert_true(file_read(path, 1 << 20, &before, &size, &err));
  refused("ediy2", "sampler=teacher teacher=another", "was trained with teacher = ");
  assert_true(file_read(path, 1 << 20, &after, &size, &err));
  assert_string_equal(after, before);
  free(after);
  run("ediy2", "sampler=teacher stop=7"); /* without the key, which config.txt names all the same */
  assert_true(file_read(path, 1 << 20, &after, &size, &err));
  *strstr(before, "stop = ") = *strstr(after, "stop = ") = 0;
  assert_string_equal(after, before);
  free(before), free(after);
  run("ediy2", extra);
  assert_same_weights(checkpoint_of("ediy2", STEPS), checkpoint_of("ediy", STEPS));
  refused("ediy3", extra, "teacher: ");
  refused("ediy3", "sampler=teacher", "give teacher=FILE");
  folder_file(folder, "ediy3/config.txt", "", 0); /* of a run that had not come to a checkpoint */
  refused("ediy3", "sampler=teacher", "give teacher=FILE");
}

/* ---- what stops a run ---------------------------------------------------------------------------------------------------------------- */

static void a_loss_that_is_not_finite_is_located(void **state) {
  (void)state;
  struct train_result r;
  struct error err = {.text = ""};
  assert_false(start("n", "lr=1e9 trust=1e9", NULL, &r, &err));
  int step = 0;
  if (sscanf(err.text, "step %d: ", &step) != 1 || !strstr(err.text, "is not finite") || !strstr(err.text, "; first in ") ||
      !strstr(err.text, ", forward") || !strstr(err.text, "view 1"))
    fail_msg("message: %s", err.text);
  assert_non_null(strstr(err.text, checkpoint_of("n", step - 1)));
  struct checkpoint c;
  assert_true(checkpoint_open(&c, checkpoint_of("n", step - 1), &err));
  assert_int_equal(c.step, step - 1);
  checkpoint_close(&c);

  /* the state before it is exactly that: a run that stops there has the same */
  char extra[64];
  snprintf(extra, sizeof extra, "lr=1e9 trust=1e9 stop=%d", step - 1);
  run("n2", extra);
  assert_same_weights(checkpoint_of("n2", step - 1), checkpoint_of("n", step - 1));
}

/* One broken image among 26: the run goes on without it; where none is allowed it stops, keeps its state, and goes on once the image is
 * mended. */
static void bad_images_are_told_and_too_many_stop_the_run(void **state) {
  (void)state;
  char command[3 * FOLDER_PATH], extra[FOLDER_PATH + 64];
  snprintf(command, sizeof command, "cp -r '%s/data' '%s/data2'", folder, folder);
  assert_int_equal(system(command), 0);
  snprintf(extra, sizeof extra, "data=%s/data2 data.max_bad=1", folder);
  run("b", extra);
  folder_file(folder, "data2/03.png", "not an image", 12);
  struct watcher w = {0};
  struct train_result r;
  struct error err;
  if (!start("b1", extra, &w, &r, &err)) fail_msg("%s", err.text);
  assert_int_equal(r.last.bad_files, 1);
  assert_non_null(strstr(w.last_line, "03.png")); /* the last thing said, after data and network */

  extra[strlen(extra) - 1] = '0';
  assert_false(start("b2", extra, NULL, &r, &err));
  if (!strstr(err.text, "1 image cannot be read, more than the 0 that data.max_bad allows") ||
      !strstr(err.text, "the state before this step is in "))
    fail_msg("message: %s", err.text);
  snprintf(command, sizeof command, "cp '%s/data/03.png' '%s/data2/03.png'", folder, folder);
  assert_int_equal(system(command), 0);
  run("b2", extra);
  assert_same_weights(checkpoint_of("b2", STEPS), checkpoint_of("b", STEPS));
}

static void too_little_memory_is_said_before_anything_is_written(void **state) {
  (void)state;
  static struct config c;
  struct train_result r;
  struct error err = {.text = ""}, other;
  size_t bytes;
  double gb;
  char *argv[] = {(char[]){"data=d"},       (char[]){"out=o"},      (char[]){"sampler=random"},      (char[]){"batch=8"},
                  (char[]){"accumulate=2"}, (char[]){"workers=2"},  (char[]){"projector.hidden=16"}, (char[]){"projector.out=8"},
                  (char[]){"size=4096"},    (char[]){"stem=cifar"}, (char[]){"backbone=resnet50"}};
  if (!config_from_arguments(&c, 11, argv, &other) || !train_memory(&c, &bytes, &other)) fail_msg("%s", other.text);
  assert_false(start("m", "backbone=resnet50 size=4096 stem=cifar", NULL, &r, &err));
  if (sscanf(err.text, "this run needs %lf GB of memory, ", &gb) != 1 || fabs(gb - 1e-9 * (double)bytes) > 0.0051)
    fail_msg("%zu bytes, said: %s", bytes, err.text);
  char path[FOLDER_PATH + 8];
  snprintf(path, sizeof path, "%s/m", folder);
  assert_int_equal(access(path, F_OK), -1);
}

/* The library has no other backend; a program may have been linked with one (tests/cuda). */
static void another_backend_is_refused_before_anything_is_written(void **state) {
  (void)state;
  refused("g", "backend=cuda", "backend=cuda: this program was built without CUDA; build it with make CUDA=1");
  refused("g", "backend=gpu", "backend");
  char path[FOLDER_PATH + 8];
  snprintf(path, sizeof path, "%s/g", folder);
  assert_int_equal(access(path, F_OK), -1);
}

static void more_micro_batches_need_less_memory(void **state) {
  (void)state;
  static struct config c;
  struct error err;
  char *argv[] = {(char[]){"data=d"}, (char[]){"out=o"}, (char[]){"sampler=random"}, (char[]){"batch=64"}, (char[]){"backbone=resnet18"}};
  if (!config_from_arguments(&c, 5, argv, &err)) fail_msg("%s", err.text);
  size_t before = SIZE_MAX, bytes;
  for (c.accumulate = 1; c.accumulate <= 32; c.accumulate *= 2) {
    if (!train_memory(&c, &bytes, &err)) fail_msg("%s", err.text);
    assert_true(bytes < before);
    before = bytes;
  }
}

/* Many ranks on one machine have a share of its memory each, in which this run does not fit. */
static void ranks_on_a_machine_share_its_memory(void **state) {
  (void)state;
  static struct config c;
  struct ranks many = *ranks_alone();
  struct need needed;
  struct error err;
  size_t left = 0;
  if (memory_available() == 0) skip_because("the system does not say how much memory there is");
  if (!configure("shared", "", &c, &err) || !run_check_memory(&c, backend_reference_f32(), &many, &needed, &left, &err))
    fail_msg("%s", err.text);
  assert_true(left > 0);
  many.locals = 1 << 30;
  assert_false(run_check_memory(&c, backend_reference_f32(), &many, &needed, &left, &err));
  assert_non_null(strstr(err.text, "this run needs "));
  assert_true(left == 0);
}

/* Every part by the function that whoever takes it asks. At 64 pixels the estimate of the regions is their number. */
static void memory_is_that_of_every_part(void **state) {
  (void)state;
  static struct config c;
  struct error err;
  char *argv[] = {(char[]){"data=d"},   (char[]){"out=o"},          (char[]){"sampler=random"},
                  (char[]){"batch=64"}, (char[]){"backbone=small"}, (char[]){"size=64"}};
  if (!config_from_arguments(&c, 6, argv, &err)) fail_msg("%s", err.text);
  const struct model_config shape = config_model(&c);
  const struct loader_options l = run_loader_options(&c, backend_reference_f32(), ranks_alone(), 0);
  struct model_f32 m;
  size_t bytes;
  if (!train_memory(&c, &bytes, &err) || !model_create_f32(&m, &shape, backend_reference_f32(), &err)) fail_msg("%s", err.text);
  assert_true(bytes == m.bytes + loader_bytes(&l) + feed_bytes(&c, backend_reference_f32(), ranks_alone()) + checkpoint_bytes(&m) +
                           watch_statistics_bytes(&m) + watch_bytes(&m, 1));
  model_free_f32(&m);
}

static void another_run_is_not_taken_up(void **state) {
  (void)state;
  refused("whole", "lr=3", "lr = 2");
  refused("whole", "resume=no", "holds checkpoints of an earlier run (step 12)");
  refused("whole", "projector.out=16", "projector.out = 8");
  refused("whole", "resume=./none.safetensors", "resume: ./none.safetensors");
  folder_file(folder, "data/more.png", "x", 1);
  refused("whole", "", "another set of images");
  char path[FOLDER_PATH + 32];
  snprintf(path, sizeof path, "%s/data/more.png", folder);
  unlink(path);
  refused("x", "batch=64", "26 images do not fill one batch of 64");
}

static void a_finished_run_has_nothing_to_do(void **state) {
  (void)state;
  struct watcher w = {0};
  struct train_result r;
  struct error err;
  static const char *const file[] = {"", "/config.txt", "/log.jsonl", "/backbone.safetensors"};
  struct stat before[4], after;
  char path[FOLDER_PATH + 32];
  for (int i = 0; i < 4; i++) {
    snprintf(path, sizeof path, "%s/whole%s", folder, file[i]);
    assert_int_equal(stat(path, &before[i]), 0);
  }
  if (!start("whole", "log.every=7", &w, &r, &err)) fail_msg("%s", err.text);
  assert_true(r.finished);
  assert_int_equal(w.steps, 0);
  for (int i = 0; i < 4; i++) { /* nothing is written: neither in place nor anew */
    assert_int_equal(stat((snprintf(path, sizeof path, "%s/whole%s", folder, file[i]), path), &after), 0);
    if (after.st_ino != before[i].st_ino || after.st_mtim.tv_sec != before[i].st_mtim.tv_sec ||
        after.st_mtim.tv_nsec != before[i].st_mtim.tv_nsec)
      fail_msg("%s was written", path);
  }
  unlink(path); /* a run that was killed before its backbone was written */
  run("whole", "");
  assert_int_equal(access(path, F_OK), 0);
}

int main(int argc, char **argv) {
  (void)argc;
  wait_passively(argv);
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_trains_logs_and_exports),
                                     cmocka_unit_test(a_log_says_what_the_steps_were),
                                     cmocka_unit_test(threads_and_workers_change_no_bit),
                                     cmocka_unit_test(accumulation_keeps_the_number_of_steps),
                                     cmocka_unit_test(a_warmup_that_fills_the_run_is_said),
                                     cmocka_unit_test(byol_then_ediy),
                                     cmocka_unit_test(a_loss_that_is_not_finite_is_located),
                                     cmocka_unit_test(bad_images_are_told_and_too_many_stop_the_run),
                                     cmocka_unit_test(too_little_memory_is_said_before_anything_is_written),
                                     cmocka_unit_test(another_backend_is_refused_before_anything_is_written),
                                     cmocka_unit_test(more_micro_batches_need_less_memory),
                                     cmocka_unit_test(ranks_on_a_machine_share_its_memory),
                                     cmocka_unit_test(memory_is_that_of_every_part),
                                     cmocka_unit_test(another_run_is_not_taken_up),
                                     cmocka_unit_test(a_finished_run_has_nothing_to_do)};
  return cmocka_run_group_tests_name("trainer", tests, setup, teardown);
}
