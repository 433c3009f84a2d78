/* Runs of the trainer over several ranks: what they leave is what one process leaves but for rounding (measured as in test_ranks_step.c, by
 * runs of the reference with products that are off), whatever the number of ranks and wherever it changed; every rank ends in the same way,
 * with the same line.
 *
 * Everything that trains is forked: this process runs no parallel loop. */
#include "train/trainer.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/resource.h>

#include "image/image.h"
#include "train/backends.h"
#include "train/folder.h"
#include "train/logged.h"
#include "train/near.h"

#include "support/forked.h"
#include "support/moved.h"

enum { IMAGES = 26, BATCH = 12, STEPS = 4, MOST = 4 }; /* two epochs of two steps */

static char folder[FOLDER_PATH];

/* ---- runs ---------------------------------------------------------------------------------------------------------------------------- */

/* The reference, whose memory is counted, with a guard behind every block. */
static struct backend counted;
static ptrdiff_t reserved, blocks, torn;
enum { GUARD = 64, GUARD_BYTE = 0xa5 };
static bool reserve_counted(size_t bytes, void **memory, struct error *err) {
  reserved += (ptrdiff_t)bytes, blocks++;
  if (!backend_reference()->reserve(bytes + GUARD, memory, err)) return false;
  memset((char *)*memory + bytes, GUARD_BYTE, GUARD);
  return true;
}
static void release_counted(void *memory, size_t bytes) {
  const unsigned char *guard = (const unsigned char *)memory + bytes;
  reserved -= (ptrdiff_t)bytes;
  for (int i = 0; i < GUARD; i++) torn += guard[i] != GUARD_BYTE;
  backend_reference()->release(memory, bytes + GUARD);
}

/* In the place of the library's (the linker takes this one): products may be off, memory may be counted. */
static int moved_draw = -1;
const struct backend *backend_open(const struct backend_options *options, struct error *err) {
  (void)options, (void)err;
  return counted.reserve ? &counted : moved_draw < 0 ? backend_reference() : backend_moved((uint32_t)moved_draw);
}

/* What a rank says of a run, in shared memory. */
struct told {
  bool ok;
  struct error err;
  struct train_result result;
  int lines, progress;
  char last_line[1200];
};

struct job {
  const char *out, *extra; /* words of key=value */
  const char *other;       /* for the last rank only */
  int stopping;            /* a rank whose program has been asked to stop; -1: none */
  bool counted;            /* fails unless the backend's memory is kept to, and given back */
  size_t file_limit;       /* bytes that rank 0 may write to a file; 0: any number */
  struct told *told;       /* of every rank */
  volatile sig_atomic_t stop;
};

static void on_message(void *context, const char *line) {
  struct told *t = context;
  t->lines++;
  snprintf(t->last_line, sizeof t->last_line, "%s", line);
}
static void on_progress(void *context, const struct progress *p) {
  struct told *t = context;
  (void)p;
  t->progress++;
}

static void train_here(const struct ranks *r, void *context) {
  struct job *job = context;
  struct told *told = &job->told[r->rank];
  char text[32][FOLDER_PATH + 64], *argv[32];
  int n = 0;
  snprintf(text[n++], sizeof text[0], "data=%s/data", folder);
  snprintf(text[n++], sizeof text[0], "out=%s/%s", folder, job->out);
  static const char *const common[] = {"epochs=2",        "warmup=0",    "batch=12",  "backbone=small",    "stem=cifar",
                                       "size=16",         "lr=4",        "tau0=0.9",  "workers=1",         "projector.hidden=8",
                                       "projector.out=4", "log.every=1", "threads=1", "checkpoint.every=1"};
  for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) snprintf(text[n++], sizeof text[0], "%s", common[i]);
  const char *const words[] = {job->extra, r->rank == r->count - 1 && job->other ? job->other : ""};
  for (int w = 0; w < 2; w++)
    for (const char *s = words[w]; *s;) {
      size_t k = strcspn(s, " ");
      if (strncmp(s, "teacher=", 8) == 0)
        snprintf(text[n++], sizeof text[0], "teacher=%s/%.*s", folder, (int)k - 8, s + 8);
      else
        snprintf(text[n++], sizeof text[0], "%.*s", (int)k, s);
      s += k + (s[k] == ' ');
    }
  for (int i = 0; i < n; i++) argv[i] = text[i];
  if (job->file_limit > 0 && r->rank == 0) {
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){job->file_limit, job->file_limit});
  }
  job->stop = job->stopping == r->rank;
  static struct config c;
  struct train_callbacks callbacks = {on_message, on_progress, told, &job->stop, r};
  if (!config_from_arguments(&c, n, argv, &told->err)) abort();
  if (job->counted) counted = *backend_reference(), counted.reserve = reserve_counted, counted.release = release_counted;
  told->ok = train(&c, &callbacks, &told->result, &told->err);
  if (job->counted && (blocks < 4 || reserved != 0 || torn > 0))
    told->ok = false, snprintf(told->err.text, sizeof told->err.text, "of %td blocks %td bytes are left, %td behind them were written",
                               blocks, reserved, torn);
}

static const struct told *run_job(int ranks, struct job job) {
  job.told = forked_shared(MOST * sizeof *job.told);
  forked_run(ranks, train_here, &job);
  for (int k = 1; k < ranks; k++) {
    if (job.told[k].ok != job.told[0].ok || strcmp(job.told[k].err.text, job.told[0].err.text) != 0)
      fail_msg("rank %d ended with %d '%s', rank 0 with %d '%s'", k, job.told[k].ok, job.told[k].err.text, job.told[0].ok,
               job.told[0].err.text);
    assert_int_equal(job.told[k].result.step, job.told[0].result.step);
    assert_int_equal(job.told[k].lines + job.told[k].progress, 0); /* rank 0 alone speaks */
  }
  return job.told;
}

static const struct told *run(int ranks, const char *out, const char *extra) {
  const struct told *t = run_job(ranks, (struct job){.out = out, .extra = extra, .stopping = -1});
  if (!t->ok) fail_msg("%s: %s", out, t->err.text);
  return t;
}

static void refused(int ranks, struct job job, const char *words) {
  const struct told *t = run_job(ranks, job);
  if (t->ok || !strstr(t->err.text, words)) fail_msg("%s: '%s', expected '%s'", job.out, t->ok ? "went well" : t->err.text, words);
}

/* A line for the shell, in the folder. */
static void shell(const char *line) {
  char command[IN_FOLDER_PATH];
  snprintf(command, sizeof command, "cd '%.400s' && %.400s", folder, line);
  if (system(command) != 0) abort();
}

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  for (int i = 0; i < IMAGES; i++) {
    struct image image = {.height = 20 + i % 3, .width = 18 + i % 4};
    size_t bytes = (size_t)image.height * (size_t)image.width * 3;
    if (!(image.rgb = malloc(bytes))) abort();
    struct philox g = philox_stream(1, PHILOX_TEST, 0, (uint32_t)i, 0);
    for (size_t j = 0; j < bytes; j++) image.rgb[j] = (uint8_t)philox_below(&g, 256);
    char name[32], path[FOLDER_PATH + 64];
    struct error err;
    snprintf(name, sizeof name, "data/%02d.png", i);
    folder_file(folder, name, "", 0);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!image_write_png(path, &image, &err)) abort();
    image_free(&image);
  }
  run(1, "byol", "lambda1=0 lambda2=0");
  return 0;
}

static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

/* ---- comparing ----------------------------------------------------------------------------------------------------------------------- */

static const char matched[] = "teacher=byol/backbone.safetensors";
static const char drawn[] = "accumulate=2 sampler=random rdem.negative=instance";

static void assert_same_weights(const char *a, const char *b, int64_t step) {
  struct checkpoint x, y;
  near_open(&x, folder, a, step), near_open(&y, folder, b, step);
  for (int i = 0; i < x.file.count; i++) {
    const struct tensor *t = &x.file.tensor[i], *u = safetensors_find(&y.file, t->name);
    assert_non_null(u);
    if (memcmp(t->data, u->data, (size_t)tensor_count(t) * dtype_size(t->dtype)) != 0) fail_msg("%s and %s differ in %s", a, b, t->name);
  }
  checkpoint_close(&x), checkpoint_close(&y);
}

static void measure(struct near *g, const char *expected, const char *extra) {
  g->step = STEPS;
  near_open(&g->expected, folder, expected, STEPS);
  for (int d = 0; d < MOVED_DRAWS; d++) {
    char out[64];
    snprintf(out, sizeof out, "%s-moved%d", expected, d);
    moved_draw = d;
    run(1, out, extra);
    moved_draw = -1;
    near_open(&g->moved[d], folder, out, STEPS);
  }
}

/* A number of each line of the log. */
static int read_log(const char *out, const char *key, double value[STEPS]) { return logged(folder, out, key, value, STEPS); }

/* Losses and diagnostics of the whole batch, from rank 0, as far from those of one process as the moved runs' may be at that step: in the
 * first a few units in the fifth digit, where leaving a rank out changes the first or second; the entropy of the matches is a function of
 * the indices, and the same number. */
static void check_log(const char *out, const char *one, bool same_matches) {
  static const char *const keys[] = {"loss", "byol", "rdem", "riem", "std_global", "std_local", "region_cosine"};
  static const char *const exact[] = {"lr", "tau", "step", "epoch", "bad_files"};
  static const char *const entropies[] = {"entropy_rdem", "entropy_riem"};
  double a[STEPS], b[STEPS];
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    assert_int_equal(read_log(out, keys[i], a), STEPS), assert_int_equal(read_log(one, keys[i], b), STEPS);
    double moved_by[STEPS][MOVED_DRAWS];
    for (int d = 0; d < MOVED_DRAWS; d++) {
      double value[STEPS];
      char name[64];
      snprintf(name, sizeof name, "%s-moved%d", one, d);
      assert_int_equal(read_log(name, keys[i], value), STEPS);
      for (int s = 0; s < STEPS; s++) moved_by[s][d] = fabs(value[s] - b[s]);
    }
    for (int s = 0; s < STEPS; s++) {
      double allowed = moved_limit(moved_by[s]) + FLT_EPSILON * fabs(b[s]);
      if (!(fabs(a[s] - b[s]) <= allowed))
        fail_msg("%s, step %d: %s is %.9g, %s has %.9g, allowed %.3g", out, s + 1, keys[i], a[s], one, b[s], allowed);
    }
  }
  for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
    read_log(out, exact[i], a), read_log(one, exact[i], b);
    assert_memory_equal(a, b, sizeof a);
  }
  for (size_t i = 0; same_matches && i < 2; i++) {
    read_log(out, entropies[i], a), read_log(one, entropies[i], b);
    assert_memory_equal(a, b, sizeof a);
  }
}

/* ---- the tests ----------------------------------------------------------------------------------------------------------------------- */

static void runs_over_ranks_are_one_process_s(void **state) {
  (void)state;
  static const char *const outs[] = {"two", "three", "four"};
  struct near g;
  run(1, "one", matched);
  measure(&g, "one", matched);
  for (int k = 0; k < 3; k++) {
    run(k + 2, outs[k], matched);
    near_check(folder, outs[k], &g);
    check_log(outs[k], "one", true);
  }
  near_close(&g);
  run(3, "again", matched);
  assert_same_weights("again", "three", STEPS);
}

/* Regions and negatives are those that one process draws; two micro-batches. */
static void runs_with_drawn_regions_are_one_process_s(void **state) {
  (void)state;
  struct near g;
  run(1, "drawn", drawn);
  measure(&g, "drawn", drawn);
  run(3, "drawn-three", drawn);
  near_check(folder, "drawn-three", &g);
  check_log("drawn-three", "drawn", true);
  near_close(&g);
}

/* Begun on two ranks, continued on one, ended on four; and on two again, which changes no bit. */
static void a_run_resumes_on_another_number_of_ranks(void **state) {
  (void)state;
  struct near g;
  char extra[128];
  run(1, "whole", matched);
  measure(&g, "whole", matched);
  run(2, "two-whole", matched);
  snprintf(extra, sizeof extra, "%s stop=1", matched);
  assert_false(run(2, "changing", extra)->result.finished);
  shell("cp -r changing same");
  snprintf(extra, sizeof extra, "%s stop=3", matched);
  run(1, "changing", extra);
  assert_true(run(4, "changing", matched)->result.finished);
  near_check(folder, "changing", &g);
  run(2, "same", matched);
  assert_same_weights("same", "two-whole", STEPS);
  near_close(&g);
}

static void a_bad_file_is_counted_once(void **state) {
  (void)state;
  struct near g;
  shell("cp data/04.png data/05.png data/06.png . && printf x >data/06.png");
  run(1, "bad", drawn);
  measure(&g, "bad", drawn);
  const struct told *t = run(3, "bad-three", drawn);
  near_check(folder, "bad-three", &g);
  double bad[STEPS], alone[STEPS];
  read_log("bad-three", "bad_files", bad);
  read_log("bad", "bad_files", alone);
  for (int k = 0; k < STEPS; k++) assert_true(bad[k] == alone[k]); /* from the step that one process meets it in; here rank 0 does not */
  assert_true(bad[STEPS - 1] == 1);
  assert_int_equal(t->lines, 4); /* ranks, data, network, the file */
  if (!strstr(t->last_line, "06.png")) fail_msg("%s", t->last_line);
  near_close(&g);

  /* of two bad files, which two ranks may meet, one is allowed: every rank ends, and the step before is kept */
  shell("printf x >data/04.png && printf x >data/05.png");
  refused(2, (struct job){.out = "worse", .extra = "sampler=random data.max_bad=1", .stopping = -1},
          "more than the 1 that data.max_bad allows");
  shell("ls worse/checkpoint-*.safetensors >/dev/null && cp 04.png 05.png 06.png data");
}

static void ranks_must_be_of_one_mind(void **state) {
  (void)state;
  refused(3, (struct job){.out = "mind", .extra = "sampler=random", .other = "seed=2", .stopping = -1},
          "rank 2 of 3 has other settings than rank 0");
  refused(4, (struct job){.out = "mind", .extra = "sampler=random batch=10", .stopping = -1},
          "batch = 10 cannot be cut into 4 equal parts, accumulate = 1 micro-batches for 4 ranks");
  refused(2, (struct job){.out = "mind", .extra = "sampler=random teacher=none", .stopping = -1, .file_limit = 100}, "rank 0 of 2: ");
}

/* Rank 0 alone writes: the folder is a file, the disk is full at the first checkpoint. The others must not wait for it. */
static void what_fails_on_rank_0_ends_all(void **state) {
  (void)state;
  shell("printf x >file");
  refused(2, (struct job){.out = "file", .extra = "sampler=random", .stopping = -1}, "rank 0 of 2: ");
  refused(2, (struct job){.out = "full", .extra = "sampler=random", .stopping = -1, .file_limit = 20000}, "rank 0 of 2: ");
}

static void a_loss_that_is_not_finite_ends_all(void **state) {
  (void)state;
  refused(3, (struct job){.out = "wild", .extra = "sampler=random lr=1e9 trust=1e9", .stopping = -1}, "is not finite");
}

/* A signal that reached one rank only. */
static void any_rank_may_be_asked_to_stop(void **state) {
  (void)state;
  const struct told *t = run_job(3, (struct job){.out = "stopped", .extra = "sampler=random", .stopping = 1});
  assert_true(t->ok && !t->result.finished);
  assert_int_equal(t->result.step, 0);
}

/* Nothing is written behind a block; and as the library may be asked for many runs, each is released, as large as it was reserved. */
static void a_run_keeps_to_its_memory_and_gives_it_back(void **state) {
  (void)state;
  const struct told *t = run_job(2, (struct job){.out = "counted", .extra = drawn, .stopping = -1, .counted = true});
  if (!t->ok) fail_msg("%s", t->err.text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(runs_over_ranks_are_one_process_s),
                                     cmocka_unit_test(runs_with_drawn_regions_are_one_process_s),
                                     cmocka_unit_test(a_run_resumes_on_another_number_of_ranks),
                                     cmocka_unit_test(a_bad_file_is_counted_once),
                                     cmocka_unit_test(ranks_must_be_of_one_mind),
                                     cmocka_unit_test(what_fails_on_rank_0_ends_all),
                                     cmocka_unit_test(a_loss_that_is_not_finite_ends_all),
                                     cmocka_unit_test(any_rank_may_be_asked_to_stop),
                                     cmocka_unit_test(a_run_keeps_to_its_memory_and_gives_it_back)};
  return cmocka_run_group_tests_name("runs over ranks", tests, setup, teardown);
}
