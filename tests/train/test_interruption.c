/* A run that is interrupted, wherever and however rudely, ends in the same bits as one that is not, and the next one clears up after it.
 *
 * EDIY_TEST_KILLS=50 in the environment: that many kills instead of a few. */
#include <math.h>
#include <sys/wait.h>
#include <time.h>

#include "train/small_run.h"

static const char *program;

/* ---- stops --------------------------------------------------------------------------------------------------------------------------- */

static void two_halves_are_the_whole(void **state) {
  (void)state;
  for (int at = 1; at < STEPS; at += 8) { /* within an epoch, and at its end */
    char out[16], extra[32];
    snprintf(out, sizeof out, "h%d", at);
    snprintf(extra, sizeof extra, "stop=%d", at);
    struct train_result r = run(out, extra);
    assert_false(r.finished);
    assert_int_equal(r.step, at);
    r = run(out, "threads=3");
    assert_true(r.finished);
    assert_same_weights(checkpoint_of(out, STEPS), checkpoint_of("whole", STEPS));
  }
}

static void a_stop_asked_for_ends_after_the_step(void **state) {
  (void)state;
  struct watcher w = {.stop_at = 4};
  struct train_result r;
  struct error err;
  if (!start("s", "", &w, &r, &err)) fail_msg("%s", err.text);
  assert_false(r.finished);
  assert_int_equal(r.step, 4);
  assert_string_equal(r.checkpoint, checkpoint_of("s", 4));
  assert_int_equal(access(r.checkpoint, F_OK), 0);
  run("s", "");
  assert_same_weights(checkpoint_of("s", STEPS), checkpoint_of("whole", STEPS));
}

static void a_damaged_newest_checkpoint_is_passed_over(void **state) {
  (void)state;
  run("d", "stop=7 checkpoint.every=2");
  assert_int_equal(truncate(checkpoint_of("d", 7), 3000), 0);
  struct watcher w = {0};
  struct train_result r;
  struct error err;
  if (!start("d", "", &w, &r, &err)) fail_msg("%s", err.text);
  assert_int_equal(w.steps, STEPS - 6);
  assert_same_weights(checkpoint_of("d", STEPS), checkpoint_of("whole", STEPS));
}

/* The last two that can be used are kept: a damaged one that was passed over is none of them, nor what goes on from another folder's. */
static void a_damaged_checkpoint_does_not_outlive_a_good_one(void **state) {
  (void)state;
  run("o", "stop=9");
  assert_int_equal(access(checkpoint_of("o", 8), F_OK), -1);
  assert_int_equal(access(checkpoint_of("o", 6), F_OK), 0);
  assert_int_equal(truncate(checkpoint_of("o", 9), 3000), 0);
  run("o", "stop=11 checkpoint.every=20");
  const bool there[] = {true, false, true};
  const int64_t steps[] = {6, 9, 11};
  for (int i = 0; i < 3; i++) assert_int_equal(access(checkpoint_of("o", steps[i]), F_OK) == 0, there[i]);
  assert_int_equal(truncate(checkpoint_of("o", 11), 3000), 0);
  run("o", "");
  assert_same_weights(checkpoint_of("o", STEPS), checkpoint_of("whole", STEPS));

  char from[FOLDER_PATH + 64];
  run("p", "stop=3");
  run("p2", "stop=2 checkpoint.every=1");
  snprintf(from, sizeof from, "resume=%s stop=4", checkpoint_of("p", 3));
  run("p2", from);
  assert_int_equal(access(checkpoint_of("p2", 2), F_OK), 0);
  assert_int_equal(access(checkpoint_of("p2", 1), F_OK), -1);
}

/* A child process (this program with "child OUT") is killed at random moments of a run, whose length is learnt on the way. Whatever it
 * leaves must hold a whole newest checkpoint, or none at all, and the run that goes on from there must end in the same bits. */
static void child(const char *out) {
  struct train_result r;
  struct error err;
  if (!start(out, "checkpoint.every=1", NULL, &r, &err)) {
    fprintf(stderr, "%s\n", err.text);
    exit(2);
  }
  exit(0);
}
static int kill_child_after(const char *out, double seconds) {
  pid_t pid = fork();
  if (pid == 0) {
    execl(program, program, "child", folder, out, (char *)NULL);
    _exit(3);
  }
  struct timespec pause = {(time_t)seconds, (long)(1e9 * (seconds - floor(seconds)))};
  nanosleep(&pause, NULL);
  kill(pid, SIGKILL);
  int status;
  waitpid(pid, &status, 0);
  return status;
}
static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void kill_leaves_a_whole_checkpoint(void **state) {
  (void)state;
  const char *wanted = getenv("EDIY_TEST_KILLS");
  int kills = wanted ? atoi(wanted) : 4, killed = 0;
  double begun = seconds_now();
  run("k", "checkpoint.every=1");
  double length = seconds_now() - begun;
  struct philox g = philox_stream((uint64_t)time(NULL), PHILOX_TEST, 0, 0, 0);
  int64_t before = -1;
  for (int i = 0; killed < kills && i < 20 * kills; i++) {
    int status = kill_child_after("k2", length * philox_uniform(&g));
    struct checkpoint c;
    struct error err;
    bool found;
    char out[FOLDER_PATH + 8];
    snprintf(out, sizeof out, "%s/k2", folder);
    if (!checkpoint_latest(out, &c, &found, NULL, NULL, &err)) fail_msg("%s", err.text);
    int64_t after = found ? c.step : -1;
    if (found) checkpoint_close(&c);
    assert_true(after >= before);
    if (WIFSIGNALED(status)) {
      killed++;
      if (after == before) length *= 1.1; /* the machine is busier than before: let it come further */
      before = after;
    } else {
      assert_int_equal(WEXITSTATUS(status), 0); /* it was done before the kill: compare, and begin a new one */
      assert_same_weights(checkpoint_of("k2", STEPS), checkpoint_of("whole", STEPS));
      folder_remove(out);
      length *= 0.8;
      before = -1;
    }
  }
  assert_int_equal(killed, kills);
  run("k2", "");
  assert_same_weights(checkpoint_of("k2", STEPS), checkpoint_of("whole", STEPS));
}

/* Two files of the folder: whether they are there. */
static void assert_there(const char *const name[2], bool there) {
  char path[IN_FOLDER_PATH];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, name[i]);
    assert_int_equal(access(path, F_OK), there ? 0 : -1);
  }
}

/* By the run that holds the folder's lock, which says so; another one, refused, leaves them: they may be what the first is writing. */
static void what_a_killed_run_left_is_removed(void **state) {
  (void)state;
  static const char *const left[] = {"left/checkpoint-00000004.safetensors.1.0.tmp", "left/checkpoint-00000003.safetensors.4194999.1.tmp"};
  static char block[1000000];
  char path[IN_FOLDER_PATH];
  struct log log;
  struct error err;
  struct watcher w = {0};
  struct train_result r;
  run("left", "stop=2");
  for (int i = 0; i < 2; i++) folder_file(folder, left[i], block, sizeof block);
  snprintf(path, sizeof path, "%s/left/log.jsonl", folder);
  if (!log_open(&log, path, 2, &err)) fail_msg("%s", err.text);
  assert_true(log.locked);
  assert_false(start("left", "", &w, &r, &err));
  assert_non_null(strstr(err.text, "another process is training in this folder"));
  assert_false(w.resumed); /* nothing is said of what the first is at work on */
  assert_there(left, true);
  log_close(&log);
  /* which ends before a checkpoint of its own would have removed them */
  if (!start("left", "stop=2", &w, &r, &err)) fail_msg("%s", err.text);
  assert_there(left, false);
  const char *said = strstr(w.removed, "/left: removed 2 unfinished files of 2.0 MB, left by a run that was killed: checkpoint-0000000");
  if (!said || !strstr(said, ".tmp, ...")) fail_msg("%s", w.removed);
  *w.removed = 0;
  if (!start("left", "stop=2", &w, &r, &err)) fail_msg("%s", err.text);
  assert_string_equal(w.removed, "");
}

/* Killed while it wrote its result, or removed its last checkpoint but two: the run is done, and the next one has nothing else to do. */
static void what_a_run_killed_at_its_end_left_is_removed(void **state) {
  (void)state;
  static const char *const left[] = {"end/checkpoint-00000004.safetensors.1.0.tmp", "end/backbone.safetensors.4194999.0.tmp"};
  char path[IN_FOLDER_PATH];
  struct log log;
  struct error err;
  struct watcher w = {0};
  struct train_result r;
  run("end", "");
  for (int i = 0; i < 2; i++) folder_file(folder, left[i], "x", 1);
  snprintf(path, sizeof path, "%s/end/log.jsonl", folder);
  for (int held = 1; held >= 0; held--) { /* by another process, which may be writing them; then by nobody */
    if (held) assert_true(log_hold(&log, path, &err) && log.locked);
    if (!start("end", "", &w, &r, &err)) fail_msg("%s", err.text);
    assert_true(r.finished && r.last.step == 0);
    if (held) log_close(&log);
    assert_true(held == !strstr(w.removed, "/end: removed 2 unfinished files"));
    assert_there(left, held);
  }
}

int main(int argc, char **argv) {
  wait_passively(argv);
  program = argv[0];
  if (argc == 4 && strcmp(argv[1], "child") == 0) {
    snprintf(folder, sizeof folder, "%s", argv[2]);
    child(argv[3]);
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(two_halves_are_the_whole),
                                     cmocka_unit_test(a_stop_asked_for_ends_after_the_step),
                                     cmocka_unit_test(a_damaged_newest_checkpoint_is_passed_over),
                                     cmocka_unit_test(a_damaged_checkpoint_does_not_outlive_a_good_one),
                                     cmocka_unit_test(kill_leaves_a_whole_checkpoint),
                                     cmocka_unit_test(what_a_killed_run_left_is_removed),
                                     cmocka_unit_test(what_a_run_killed_at_its_end_left_is_removed)};
  return cmocka_run_group_tests_name("interruption", tests, setup, teardown);
}
