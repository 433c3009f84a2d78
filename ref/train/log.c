#include "train/log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"

/* More than any log has: a line of 400 bytes for each of a hundred million steps. */
static const size_t log_limit = (size_t)40 << 30;

static int number(char *text, size_t size, const char *key, double x) {
  return isfinite(x) ? snprintf(text, size, ", \"%s\": %.17g", key, x) : snprintf(text, size, ", \"%s\": null", key);
}

int record_format(const struct record *r, char *text, size_t size) {
  const struct {
    const char *key;
    double value;
    bool regions;
  } fields[] = {{"lr", r->lr, false},
                {"tau", r->tau, false},
                {"loss", r->total, false},
                {"byol", r->byol, false},
                {"rdem", r->rdem, true},
                {"riem", r->riem, true},
                {"std_global", r->std_global, false},
                {"std_local", r->std_local, true},
                {"region_cosine", r->region_cosine, true},
                {"entropy_rdem", r->entropy_rdem, true},
                {"entropy_riem", r->entropy_riem, true},
                {"images_per_s", r->images_per_s, false},
                {"loader_wait_s", r->loader_wait_s, false}};
  int n = snprintf(text, size, RECORD_BEGIN "%" PRId64 ", \"epoch\": %" PRId64, r->step, r->epoch);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    size_t at = (size_t)n < size ? (size_t)n : size;
    if (!fields[i].regions || r->regions) n += number(text + at, size - at, fields[i].key, fields[i].value);
  }
  size_t at = (size_t)n < size ? (size_t)n : size;
  return n + snprintf(text + at, size - at, ", \"bad_files\": %" PRId64 "}\n", r->bad_files);
}

/* Bytes of the lines that stay: whole lines that begin as records do, with rising steps up to keep_steps. Nothing more is looked at: what
 * else a line holds is of no concern to whoever appends. */
static size_t kept_bytes(const char *text, size_t size, int64_t keep_steps) {
  static const char begin[] = RECORD_BEGIN;
  size_t kept = 0;
  int64_t before = 0;
  while (kept < size) {
    const char *line = text + kept, *end = memchr(line, '\n', size - kept);
    if (!end || (size_t)(end - line) < sizeof begin || memcmp(line, begin, sizeof begin - 1) != 0 || end[-1] != '}') break;
    errno = 0;
    int64_t step = strtoll(line + sizeof begin - 1, NULL, 10);
    if (errno || step <= before || step > keep_steps) break;
    before = step;
    kept = (size_t)(end - text) + 1;
  }
  return kept;
}

/* Released by the system however the process ends. A file system without locks (ENOLCK, ...) goes without. */
static bool lock(struct log *log, const char *path, struct error *err) {
  log->locked = flock(fileno(log->file), LOCK_EX | LOCK_NB) == 0;
  return log->locked || errno != EWOULDBLOCK ||
         fail(err, "%s: another process is training in this folder; wait for it, or choose another out", path);
}

bool log_open(struct log *log, const char *path, int64_t keep_steps, struct error *err) {
  *log = (struct log){.path = strdup(path)};
  if (!log->path) return fail(err, "%s: out of memory", path);
  /* "a" and not "w": what stays is never rewritten, so that an interruption here loses none of it */
  log->file = fopen(path, "a");
  if (!log->file) {
    fail(err, "%s: cannot write the log: %s; choose another out", path, strerror(errno));
    log_close(log);
    return false;
  }
  if (!lock(log, path, err)) {
    log_close(log);
    return false;
  }
  size_t kept = 0;
  if (keep_steps > 0) {
    char *text;
    size_t size;
    if (!file_read(path, log_limit, &text, &size, err)) {
      log_close(log);
      return false;
    }
    kept = kept_bytes(text, size, keep_steps);
    free(text);
  }
  if (ftruncate(fileno(log->file), (off_t)kept) != 0) {
    fail(err, "%s: cannot write the log: %s", path, strerror(errno));
    log_close(log);
    return false;
  }
  return true;
}

/* Nothing of the log is changed. A file system that lets only those who may write lock a file goes without. */
bool log_hold(struct log *log, const char *path, struct error *err) {
  *log = (struct log){.file = fopen(path, "r")};
  return !log->file || lock(log, path, err);
}

bool log_write(struct log *log, const struct record *r, struct error *err) {
  char line[1024];
  int n = record_format(r, line, sizeof line);
  if (fwrite(line, 1, (size_t)n, log->file) == (size_t)n && fflush(log->file) == 0) return true;
  return fail(err, "%s: cannot write the log: %s", log->path,
              errno == ENOSPC   ? "the disk is full; free space there"
              : errno == EDQUOT ? "your disk quota is used up; free space there"
                                : strerror(errno));
}

void log_close(struct log *log) {
  if (log->file) fclose(log->file);
  free(log->path);
  *log = (struct log){0};
}
