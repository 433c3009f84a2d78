/* The log is JSON, reads back to the bit, and after an interruption goes on as if there had been none. */
#include "train/log.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "support/cmocka.h"
#include "train/folder.h"

static char folder[FOLDER_PATH], path[FOLDER_PATH + 16];

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  snprintf(path, sizeof path, "%s/log.jsonl", folder);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

static struct record sample(int64_t step) {
  return (struct record){.step = step,
                         .epoch = step / 3,
                         .lr = 0.1 * (double)step,
                         .tau = 1 - 1.0 / 3 / (double)step,
                         .total = 5.0 / 3,
                         .rdem = 1e-300,
                         .riem = -2.5e17,
                         .byol = 4,
                         .regions = true,
                         .images_per_s = 12.25};
}

static void open_log(struct log *log, int64_t keep) {
  struct error err;
  if (!log_open(log, path, keep, &err)) fail_msg("%s", err.text);
}
static void write_steps(struct log *log, int64_t first, int64_t last) {
  struct error err;
  for (int64_t s = first; s <= last; s++) {
    struct record r = sample(s);
    if (!log_write(log, &r, &err)) fail_msg("%s", err.text);
  }
}

/* The whole file; free by the caller. */
static char *contents(void) {
  FILE *f = fopen(path, "rb");
  char *text = calloc(1, 100000);
  size_t n = fread(text, 1, 99999, f);
  text[n] = 0;
  fclose(f);
  return text;
}

/* In the table of docs/method.md, "What to expect". Runs in the root of the source tree. */
static void every_key_is_documented(void **state) {
  (void)state;
  char line[1000], *document, quoted[64];
  size_t size;
  struct error err;
  const struct record r = sample(1);
  record_format(&r, line, sizeof line);
  json_t *object = json_loads(line, 0, NULL), *value;
  const char *key;
  assert_non_null(object);
  if (!file_read("docs/method.md", 1 << 20, &document, &size, &err)) fail_msg("%s", err.text);
  const char *section = strstr(document, "## What to expect\n");
  assert_non_null(section);
  json_object_foreach(object, key, value) {
    snprintf(quoted, sizeof quoted, "`%s`", key);
    if (!strstr(section, quoted)) fail_msg("docs/method.md says nothing of %s", key);
  }
  free(document);
  json_decref(object);
}

static void a_line_is_json_that_reads_back_exactly(void **state) {
  (void)state;
  struct record r = sample(7);
  char line[1024];
  int n = record_format(&r, line, sizeof line);
  assert_int_equal(n, strlen(line));
  assert_int_equal(line[n - 1], '\n');
  json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
  assert_non_null(json);
  assert_int_equal(json_integer_value(json_object_get(json, "step")), 7);
  assert_int_equal(json_integer_value(json_object_get(json, "epoch")), 2);
  assert_true(json_number_value(json_object_get(json, "lr")) == r.lr);
  assert_true(json_number_value(json_object_get(json, "tau")) == r.tau);
  assert_true(json_number_value(json_object_get(json, "loss")) == r.total);
  assert_true(json_number_value(json_object_get(json, "rdem")) == r.rdem);
  assert_true(json_number_value(json_object_get(json, "riem")) == r.riem);
  json_decref(json);

  r.regions = false, r.total = NAN, r.byol = -INFINITY;
  record_format(&r, line, sizeof line);
  json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
  assert_non_null(json);
  assert_true(json_is_null(json_object_get(json, "loss")));
  assert_true(json_is_null(json_object_get(json, "byol")));
  assert_null(json_object_get(json, "rdem"));
  json_decref(json);
  r = sample(7);
  n = record_format(&r, line, sizeof line);
  for (size_t size = 1; size <= (size_t)n + 1; size++) { /* as snprintf: cut, and the length it would have had; nothing behind is touched */
    char cut[1024];
    memset(cut, 'x', sizeof cut);
    assert_int_equal(record_format(&r, cut, size), n);
    assert_true(strlen(cut) == size - 1 && memcmp(cut, line, size - 1) == 0 && cut[size] == 'x');
  }
}

static void each_line_is_on_disk_at_once(void **state) {
  (void)state;
  struct log log;
  open_log(&log, 0);
  write_steps(&log, 1, 2);
  char *text = contents();
  int lines = 0;
  for (char *c = text; *c; c++) lines += *c == '\n';
  assert_int_equal(lines, 2);
  free(text);
  log_close(&log);
}

/* The run in one piece against: seven steps, a torn eighth line, then on from the checkpoint at five. */
static void a_resumed_log_is_that_of_one_piece(void **state) {
  (void)state;
  struct log log;
  open_log(&log, 0);
  write_steps(&log, 1, 12);
  log_close(&log);
  char *whole = contents();

  static const char *const torn[] = {"", "{\"step\": 8, \"epo", "{\"step\": 8, \"epoch\"}", "\n", "\0\0\0\0\n"};
  for (size_t i = 0; i < sizeof torn / sizeof torn[0]; i++)
    for (int64_t checkpoint = 1; checkpoint <= 7; checkpoint++) {
      open_log(&log, 0); /* begins anew */
      write_steps(&log, 1, 7);
      log_close(&log);
      FILE *f = fopen(path, "ab");
      fwrite(torn[i], 1, i == 4 ? 5 : strlen(torn[i]), f);
      fclose(f);
      open_log(&log, checkpoint);
      write_steps(&log, checkpoint + 1, 12);
      log_close(&log);
      char *text = contents();
      assert_string_equal(text, whole);
      free(text);
    }
  free(whole);
}

static void nothing_behind_a_damaged_line_is_kept(void **state) {
  (void)state;
  struct log log;
  open_log(&log, 0);
  write_steps(&log, 1, 3);
  char *before = contents();
  fputs("{\"step\": 4, \"epo\n", log.file);
  write_steps(&log, 5, 7);
  log_close(&log);
  open_log(&log, 7);
  log_close(&log);
  char *after = contents();
  assert_string_equal(after, before);
  free(before), free(after);
}

/* Another run's lines behind this one's: steps that do not rise are none of it. */
static void steps_that_do_not_rise_are_not_kept(void **state) {
  (void)state;
  static const int64_t next[] = {1, 2, 3};
  for (int i = 0; i < 3; i++) {
    struct log log;
    open_log(&log, 0);
    write_steps(&log, 1, 3);
    char *before = contents();
    write_steps(&log, next[i], 5);
    log_close(&log);
    open_log(&log, 9);
    log_close(&log);
    char *after = contents();
    assert_string_equal(after, before);
    free(before), free(after);
  }
}

static void a_missing_log_is_no_reason_to_stop(void **state) {
  (void)state;
  struct log log;
  open_log(&log, 5);
  write_steps(&log, 6, 6);
  log_close(&log);
  char *text = contents();
  assert_memory_equal(text, "{\"step\": 6, ", 12);
  free(text);
}

static void a_run_has_one_writer(void **state) {
  (void)state;
  struct log log, second;
  struct error err;
  open_log(&log, 0);
  write_steps(&log, 1, 1);
  assert_false(log_open(&second, path, 0, &err));
  assert_non_null(strstr(err.text, "another process is training"));
  write_steps(&log, 2, 2);
  char *text = contents();
  assert_non_null(strstr(text, "{\"step\": 1, "));
  free(text);
  log_close(&log);
  open_log(&second, 2);
  log_close(&second);
}

/* As one that is written does, and without a change; one that is not there is not made. */
static void a_held_log_keeps_writers_out(void **state) {
  (void)state;
  struct log log, second;
  struct error err;
  assert_true(log_hold(&log, path, &err));
  assert_false(log.locked);
  log_close(&log);
  assert_int_equal(access(path, F_OK), -1);
  open_log(&log, 0);
  write_steps(&log, 1, 2);
  assert_false(log_hold(&second, path, &err));
  assert_non_null(strstr(err.text, "another process is training"));
  assert_false(second.locked);
  log_close(&second);
  log_close(&log);
  char *before = contents();
  assert_true(log_hold(&log, path, &err) && log.locked);
  assert_false(log_open(&second, path, 0, &err));
  assert_non_null(strstr(err.text, "another process is training"));
  log_close(&log);
  char *after = contents();
  assert_string_equal(after, before);
  free(before), free(after);
}

static void a_folder_in_the_way_is_named(void **state) {
  (void)state;
  struct log log;
  struct error err;
  mkdir(path, 0777);
  assert_false(log_open(&log, path, 0, &err));
  assert_non_null(strstr(err.text, path));
  assert_null(log.file);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_key_is_documented),   TEST(a_line_is_json_that_reads_back_exactly),
                                     TEST(each_line_is_on_disk_at_once),          TEST(a_resumed_log_is_that_of_one_piece),
                                     TEST(nothing_behind_a_damaged_line_is_kept), TEST(steps_that_do_not_rise_are_not_kept),
                                     TEST(a_missing_log_is_no_reason_to_stop),    TEST(a_run_has_one_writer),
                                     TEST(a_held_log_keeps_writers_out),          TEST(a_folder_in_the_way_is_named)};
  return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
