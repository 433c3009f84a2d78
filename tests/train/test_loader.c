/* What a batch holds depends on the data set, the seed and its number; never on threads, timing, the cache or where a run began. All of it
 * twice: with batches of views, and with batches of windows, of which the views are computed here. */
#include "train/loader.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "base/philox.h"
#include "image/image.h"
#include "support/cmocka.h"
#include "train/folder.h"

enum { IMAGES = 23, BATCH = 4, SIZE = 8, PIXELS = SIZE * SIZE * 3, EPOCH = IMAGES / BATCH };

static char folder[FOLDER_PATH];
static struct dataset data;
static bool windows; /* what batches are of */

/* 23 images of different sizes and contents. */
static int setup(void **state) {
  (void)state;
  folder_make(folder);
  for (int i = 0; i < IMAGES; i++) {
    char name[32];
    snprintf(name, sizeof name, "%c/%02d.png", "ab"[i % 2], i);
    folder_noise(folder, name, 15 + i % 5, 14 + i % 7, (uint32_t)i);
  }
  struct error err;
  return dataset_open(&data, folder, &err) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  dataset_close(&data);
  folder_remove(folder);
  return 0;
}

static struct loader_options options(int workers, int ahead, size_t cache) {
  return (struct loader_options){.batch = BATCH,
                                 .group = 1,
                                 .workers = workers,
                                 .ahead = ahead,
                                 .seed = 5,
                                 .view = {augmentation_byol(0, SIZE), augmentation_byol(1, SIZE)},
                                 .cache_bytes = cache,
                                 .windows = windows};
}

/* The views of a batch of windows, as its parts say. A window of more than 256 pixels, of images of up to 380, has more bytes
 * than a view of 8 x 8 floats: some come finished. */
static int finished, computed;
static void compute_views(const struct batch *b, ptrdiff_t images, float *const view[2]) {
  static float scratch[100000];
  size_t used = 0;
  assert_null(b->view[0]);
  for (ptrdiff_t i = 0; i < 2 * images; i++) {
    const struct batch_view *p = &b->part[i];
    float *y = view[i % 2] + i / 2 * PIXELS;
    size_t bytes = p->finished ? PIXELS * sizeof *y : (size_t)p->view.height * (size_t)p->view.width * 3;
    assert_true(p->at % 64 == 0 && p->at + bytes <= b->packed_bytes);
    used += (bytes + 63) / 64 * 64;
    finished += p->finished, computed += !p->finished;
    if (p->finished) {
      memcpy(y, b->packed + p->at, bytes);
      continue;
    }
    assert_true(p->view.top == 0 && p->view.left == 0 && p->view.size == SIZE);
    uint8_t *alone = malloc(bytes); /* so that a sanitizer sees what is read beside it */
    assert_non_null(alone);
    memcpy(alone, b->packed + p->at, bytes);
    augment_apply_f32(&p->view, alone, p->view.height, p->view.width, y, scratch);
    free(alone);
  }
  assert_int_equal(used, b->packed_bytes); /* beside each other, and nothing else */
}

static struct loader *start(const struct loader_options *o, uint64_t first, void (*report)(void *, ptrdiff_t, const char *),
                            void *context) {
  struct error err;
  struct loader *l;
  if (!loader_open(&l, &data, o, first, report, context, &err)) fail_msg("%s", err.text);
  return l;
}

/* Batches first .. first + n - 1, one after the other. */
struct record {
  float view[2][BATCH * PIXELS];
  int32_t sample[BATCH], label[BATCH], epoch;
  uint64_t number;
};
static struct record *record(const struct loader_options *o, uint64_t first, int n) {
  struct record *r = calloc((size_t)n, sizeof *r);
  struct loader *l = start(o, first, NULL, NULL);
  for (int i = 0; i < n; i++) {
    struct batch b;
    struct error err;
    if (!loader_next(l, &b, NULL, &err)) fail_msg("%s", err.text);
    if (windows) {
      assert_true(b.packed_bytes <= loader_packed_bytes(o));
      compute_views(&b, o->batch, (float *[2]){r[i].view[0], r[i].view[1]});
    } else
      for (int v = 0; v < 2; v++) memcpy(r[i].view[v], b.view[v], sizeof r[i].view[v]);
    memcpy(r[i].sample, b.sample, sizeof r[i].sample);
    memcpy(r[i].label, b.label, sizeof r[i].label);
    r[i].number = b.number, r[i].epoch = b.epoch;
  }
  loader_close(l);
  return r;
}

/* The plain form: one image after the other, straight from the definitions. */
static void batches_are_what_the_definitions_say(void **state) {
  (void)state;
  enum { N = 2 * EPOCH + 1 };
  struct loader_options o = options(2, 3, 0);
  struct record *r = record(&o, 0, N);
  static float expected[PIXELS], scratch[100000];
  for (int k = 0; k < N; k++) {
    assert_int_equal(r[k].number, k);
    assert_int_equal(r[k].epoch, k / EPOCH);
    for (int i = 0; i < BATCH; i++) {
      int32_t s = r[k].sample[i];
      assert_int_equal(r[k].label[i], data.label[s]);
      struct image image;
      struct error err;
      assert_true(image_read(data.path[s], &image, &err));
      assert_true(augment_scratch_f32(image.height, image.width, SIZE) <= (ptrdiff_t)(sizeof scratch / sizeof scratch[0]));
      for (int v = 0; v < 2; v++) {
        struct view view = augment_draw(&o.view[v], image.height, image.width, o.seed, (uint32_t)r[k].epoch, (uint32_t)s, v);
        augment_apply_f32(&view, image.rgb, image.height, image.width, expected, scratch);
        assert_memory_equal(expected, r[k].view[v] + i * PIXELS, sizeof expected);
      }
      image_free(&image);
    }
  }
  free(r);
}

static void an_epoch_visits_no_image_twice_and_the_next_in_another_order(void **state) {
  (void)state;
  struct loader_options o = options(1, 1, 0);
  struct record *r = record(&o, 0, 2 * EPOCH);
  for (int e = 0; e < 2; e++) {
    int seen[IMAGES] = {0};
    for (int k = e * EPOCH; k < (e + 1) * EPOCH; k++)
      for (int i = 0; i < BATCH; i++) assert_int_equal(seen[r[k].sample[i]]++, 0);
  }
  int same = 0;
  for (int k = 0; k < EPOCH; k++)
    for (int i = 0; i < BATCH; i++) same += r[k].sample[i] == r[k + EPOCH].sample[i];
  assert_true(same < EPOCH * BATCH / 2); /* two random orders share one place on average */
  free(r);
}

static void threads_depth_and_cache_change_nothing(void **state) {
  (void)state;
  enum { N = 3 * EPOCH };
  struct loader_options plain = options(1, 1, 0);
  struct record *expected = record(&plain, 0, N);
  /* 23 images of some 900 bytes: 4000 bytes hold a few, 1 MB all */
  static const struct {
    int workers, ahead;
    size_t cache;
  } other[] = {{3, 2, 0}, {5, 7, 4000}, {2, 1, 1 << 20}, {8, 12, 1 << 20}};
  for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
    struct loader_options o = options(other[i].workers, other[i].ahead, other[i].cache);
    struct record *r = record(&o, 0, N);
    assert_memory_equal(r, expected, N * sizeof *r);
    free(r);
  }
  free(expected);
}

static void a_run_can_begin_at_any_batch(void **state) {
  (void)state;
  enum { N = 3 * EPOCH };
  struct loader_options o = options(2, 2, 0);
  struct record *whole = record(&o, 0, N);
  for (int first = 1; first < N; first += 3) {
    struct record *r = record(&o, (uint64_t)first, N - first);
    assert_memory_equal(r, whole + first, (size_t)(N - first) * sizeof *r);
    free(r);
  }
  free(whole);
}

/* 23 images hold five batches of 4, hence two groups of two: the first four batches of the ungrouped order, then the next epoch. */
static void an_epoch_holds_whole_groups(void **state) {
  (void)state;
  struct loader_options o = options(2, 2, 0);
  struct record *plain = record(&o, 0, 2 * EPOCH);
  o.group = 2;
  struct record *r = record(&o, 0, 8);
  for (int k = 0; k < 8; k++) {
    assert_int_equal(r[k].epoch, k / 4);
    assert_memory_equal(r[k].view, plain[k < 4 ? k : k + 1].view, sizeof r[k].view);
  }
  assert_int_equal(loader_epoch_batches(&data, BATCH, 2), 4);
  free(plain), free(r);
}

/* Two loaders that share every batch give, image by image, what the one gives; and stand in for a bad file as it does. */
static void shards_of_a_batch_are_the_batch(void **state) {
  (void)state;
  enum { N = EPOCH + 1 };
  struct loader_options o = options(2, 2, 0);
  struct record *whole = record(&o, 0, N);
  const ptrdiff_t cut[] = {0, 1, BATCH};
  for (int shard = 0; shard < 2; shard++) {
    struct error err;
    struct batch b;
    static float views[2][BATCH * PIXELS];
    float *const view[2] = {views[0], views[1]};
    o.before = cut[shard], o.batch = cut[shard + 1] - cut[shard], o.after = BATCH - cut[shard + 1];
    struct loader *l = start(&o, 0, NULL, NULL);
    for (int k = 0; k < N; k++) {
      if (!loader_next(l, &b, NULL, &err)) fail_msg("%s", err.text);
      assert_true(b.number == (uint64_t)k && b.epoch == k / EPOCH);
      assert_memory_equal(b.sample, whole[k].sample + o.before, (size_t)o.batch * sizeof *b.sample);
      if (windows) compute_views(&b, o.batch, view);
      for (int v = 0; v < 2; v++)
        assert_memory_equal(windows ? view[v] : b.view[v], whole[k].view[v] + o.before * PIXELS,
                            (size_t)(o.batch * PIXELS) * sizeof(float));
    }
    loader_close(l);
  }
  free(whole);
}

struct reports {
  int lines;
  ptrdiff_t image[2];
  char last[1200];
  pthread_t thread;
};
static void keep_report(void *context, ptrdiff_t image, const char *line) {
  struct reports *r = context;
  r->image[r->lines++ % 2] = image;
  r->thread = pthread_self();
  snprintf(r->last, sizeof r->last, "%s", line);
}

/* Images 7 and 8 are broken: 9 stands in for both, seen through their streams. */
static void a_bad_file_is_reported_once_and_replaced(void **state) {
  (void)state;
  enum { N = 3 * EPOCH };
  struct loader_options o = options(3, 2, 0);
  struct record *whole = record(&o, 0, N);
  folder_file(folder, dataset_name(&data, 7), "not an image", 12);
  assert_int_equal(truncate(data.path[8], 40), 0);
  o.max_bad = 2;
  struct record *r = record(&o, 0, N), *again = record(&o, 4, N - 4);
  int replaced = 0;
  for (int k = 0; k < N; k++)
    for (int i = 0; i < BATCH; i++) {
      int32_t was = whole[k].sample[i], is = r[k].sample[i];
      bool bad = was == 7 || was == 8;
      assert_int_equal(is, bad ? 9 : was);
      assert_int_equal(r[k].label[i], data.label[is]);
      bool same = memcmp(r[k].view[0] + i * PIXELS, whole[k].view[0] + i * PIXELS, PIXELS * sizeof(float)) == 0;
      assert_true(same == !bad);
      for (int j = 0; bad && j < BATCH; j++) /* were 9's own streams used, both would be equal */
        if (r[k].sample[j] == 9 && j != i)
          assert_memory_not_equal(r[k].view[0] + i * PIXELS, r[k].view[0] + j * PIXELS, PIXELS * sizeof(float));
      replaced += bad;
    }
  assert_true(replaced >= 2);
  assert_memory_equal(again, r + 4, (N - 4) * sizeof *r);
  free(whole), free(r), free(again);

  struct reports reports = {0};
  struct loader *l = start(&o, 0, keep_report, &reports);
  struct batch b;
  struct error err;
  for (int k = 0; k < N; k++) assert_true(loader_next(l, &b, NULL, &err));
  assert_int_equal(loader_bad(l), 2);
  loader_close(l);
  assert_int_equal(reports.lines, 2);
  assert_true(reports.image[0] + reports.image[1] == 7 + 8 && abs((int)(reports.image[0] - reports.image[1])) == 1);
  assert_true(pthread_equal(reports.thread, pthread_self()));
  assert_true(strstr(reports.last, data.path[7]) || strstr(reports.last, data.path[8]));
}

static void too_many_bad_files_stop_the_run(void **state) {
  (void)state;
  for (int i = 3; i < 6; i++) folder_file(folder, dataset_name(&data, i), "x", 1);
  struct loader_options o = options(3, 2, 0);
  o.max_bad = 2;
  struct loader *l = start(&o, 0, NULL, NULL);
  struct batch b;
  struct error err;
  int k = 0;
  while (k <= 2 * EPOCH && loader_next(l, &b, NULL, &err)) k++;
  assert_true(k <= EPOCH + 3); /* all 23 but 3 images pass in an epoch, and what is ahead */
  if (!strstr(err.text, "3 images cannot be read, more than the 2 that data.max_bad allows") || !strstr(err.text, folder))
    fail_msg("%s", err.text);
  struct error second;
  assert_false(loader_next(l, &b, NULL, &second));
  assert_string_equal(second.text, err.text);
  loader_close(l);
}

/* No file is at fault, and another image in place of each would be another training, which goes on as if nothing were. */
static void a_limit_of_open_files_is_no_bad_file(void **state) {
  (void)state;
  struct loader_options o = options(2, 2, 0);
  struct rlimit before, none;
  struct error err;
  struct batch b;
  bool ok = true;
  o.max_bad = 1000;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  none = before;
  none.rlim_cur = 0;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  struct loader *l = start(&o, 0, NULL, NULL);
  for (int k = 0; ok && k < 4; k++) ok = loader_next(l, &b, NULL, &err);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_false(ok);
  if (!strstr(err.text, ".png: cannot be opened: too many files are open; raise their limit (ulimit -n)")) fail_msg("%s", err.text);
  assert_int_equal(loader_bad(l), 0);
  loader_close(l);
}

static void a_folder_of_bad_files_ends(void **state) {
  (void)state;
  for (int i = 0; i < IMAGES; i++) folder_file(folder, dataset_name(&data, i), "x", 1);
  struct loader_options o = options(2, 2, 0);
  o.max_bad = 1000;
  struct loader *l = start(&o, 0, NULL, NULL);
  struct batch b;
  struct error err;
  assert_false(loader_next(l, &b, NULL, &err));
  if (!strstr(err.text, "none of its 23 images can be read")) fail_msg("%s", err.text);
  loader_close(l);
}

static void a_data_set_smaller_than_a_batch_is_refused(void **state) {
  (void)state;
  struct loader_options o = options(1, 1, 0);
  o.batch = IMAGES + 1;
  struct error err;
  struct loader *l;
  assert_false(loader_open(&l, &data, &o, 0, NULL, NULL, &err));
  if (!strstr(err.text, "23 images do not fill one step of 1 x 24")) fail_msg("%s", err.text);
  assert_null(l);
}

/* With nobody taking batches, workers stop once `ahead` = 2 are ready: batch 2 is begun by the first call of loader_next. */
static void work_ahead_is_bounded(void **state) {
  (void)state;
  struct loader_options o = options(4, 2, 1 << 20);
  struct record *r = record(&o, 0, 3);
  /* break exactly the images of batch 2, which nobody may read before the first batch is asked for */
  for (int i = 0; i < BATCH; i++) folder_file(folder, dataset_name(&data, r[2].sample[i]), "x", 1);
  o.max_bad = 1000;
  struct loader *l = start(&o, 0, NULL, NULL);
  struct timespec pause = {.tv_nsec = 50000000}; /* far longer than eight images take; a slow machine can only pass by mistake */
  nanosleep(&pause, NULL);
  assert_int_equal(loader_bad(l), 0);
  struct batch b;
  struct error err;
  double waited;
  for (int k = 0; k < 3; k++) assert_true(loader_next(l, &b, &waited, &err) && waited >= 0);
  assert_int_equal(loader_bad(l), BATCH);
  loader_close(l);
  free(r);
}

/* The workers leave signals to the program: a signal to the process reaches this thread although many workers run. */
static volatile sig_atomic_t handled_here;
static pthread_t main_thread;
static void handler(int signal) {
  (void)signal;
  handled_here = pthread_equal(pthread_self(), main_thread) ? 1 : -1;
}
static void workers_block_signals(void **state) {
  (void)state;
  main_thread = pthread_self();
  struct sigaction action = {.sa_handler = handler}, before;
  sigaction(SIGUSR1, &action, &before);
  struct loader_options o = options(4, 2, 0);
  struct loader *l = start(&o, 0, NULL, NULL);
  for (int i = 0; i < 20; i++) {
    sigset_t block, old;
    sigemptyset(&block), sigaddset(&block, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &block, &old); /* a worker that did not block it would now take it */
    handled_here = 0;
    kill(getpid(), SIGUSR1);
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
    assert_int_equal(handled_here, 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    assert_int_equal(handled_here, 1);
  }
  loader_close(l);
  sigaction(SIGUSR1, &before, NULL);
}

static void closing_in_the_middle_of_work_is_clean(void **state) {
  (void)state;
  for (int i = 0; i < 60; i++) {
    struct loader_options o = options(1 + i % 5, 1 + i % 3, i % 2 ? 3000 : 0);
    struct loader *l = start(&o, (uint64_t)i, NULL, NULL);
    struct batch b;
    struct error err;
    for (int k = 0; k < i % 4; k++) assert_true(loader_next(l, &b, NULL, &err));
    loader_close(l);
  }
  loader_close(NULL);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(batches_are_what_the_definitions_say),
                                     TEST(an_epoch_visits_no_image_twice_and_the_next_in_another_order),
                                     TEST(threads_depth_and_cache_change_nothing),
                                     TEST(a_run_can_begin_at_any_batch),
                                     TEST(an_epoch_holds_whole_groups),
                                     TEST(shards_of_a_batch_are_the_batch),
                                     TEST(a_bad_file_is_reported_once_and_replaced),
                                     TEST(too_many_bad_files_stop_the_run),
                                     TEST(a_limit_of_open_files_is_no_bad_file),
                                     TEST(a_folder_of_bad_files_ends),
                                     TEST(a_data_set_smaller_than_a_batch_is_refused),
                                     TEST(work_ahead_is_bounded),
                                     TEST(workers_block_signals),
                                     TEST(closing_in_the_middle_of_work_is_clean)};
  int failed = cmocka_run_group_tests_name("loader", tests, NULL, NULL);
  windows = true;
  failed += cmocka_run_group_tests_name("loader of windows", tests, NULL, NULL);
  if (finished == 0 || computed == 0) print_error("of the windows, %d came finished and %d did not\n", finished, computed);
  return failed + (finished == 0 || computed == 0);
}
