#define _GNU_SOURCE /* nftw, realpath */
#include "support/program.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/cmocka.h"
#include "support/folder.h"

static char program[PATH_MAX], home[PATH_MAX], folder[FOLDER_PATH];

int program_enter(void **state) {
  (void)state;
  const char *name = getenv("EDIY"), *build = getenv("BUILD");
  static const char *const beside[] = {"oracle", "oracle-mutants"};
  char built[PATH_MAX], other[2][PATH_MAX];
  snprintf(built, sizeof built, "%s/ediy", build ? build : "build");
  if (!realpath(name ? name : built, program)) {
    print_error("%s is not there: build it (make), or name it in the environment variable EDIY\n", name ? name : built);
    fail();
  }
  for (int i = 0; i < 2; i++) {
    snprintf(built, sizeof built, "%s/%s", build ? build : "build", beside[i]);
    if (!realpath(built, other[i])) other[i][0] = 0;
  }
  assert_non_null(getcwd(home, sizeof home));
  folder_make(folder);
  /* a folder with the programs under these names goes in front of the path */
  char link[2 * PATH_MAX], path[4 * PATH_MAX];
  snprintf(link, sizeof link, "%s.bin", folder);
  assert_int_equal(mkdir(link, 0700), 0);
  snprintf(path, sizeof path, "%s:%s", link, getenv("PATH"));
  assert_int_equal(setenv("PATH", path, 1), 0);
  snprintf(link, sizeof link, "%s.bin/ediy", folder);
  assert_int_equal(symlink(program, link), 0);
  for (int i = 0; i < 2; i++) {
    snprintf(link, sizeof link, "%s.bin/%s", folder, beside[i]);
    if (other[i][0]) assert_int_equal(symlink(other[i], link), 0);
  }
  assert_int_equal(chdir(folder), 0);
  return 0;
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at) {
  (void)s, (void)type, (void)at;
  return remove(path);
}

int program_leave(void **state) {
  (void)state;
  assert_int_equal(chdir(home), 0);
  char bin[PATH_MAX + 8];
  snprintf(bin, sizeof bin, "%s.bin", folder);
  nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  nftw(bin, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  return 0;
}

static void slurp(const char *path, char *text, size_t size) {
  FILE *f = fopen(path, "r");
  size_t n = f ? fread(text, 1, size - 1, f) : 0;
  text[n] = 0;
  if (f) fclose(f);
  remove(path);
}

static const struct outcome *run(const char *command) {
  static struct outcome o;
  char line[4 * PATH_MAX];
  snprintf(line, sizeof line, "{ %s\n} >'%s.out' 2>'%s.err'", command, folder, folder);
  int status = system(line);
  o.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  snprintf(line, sizeof line, "%s.out", folder);
  slurp(line, o.out, sizeof o.out);
  snprintf(line, sizeof line, "%s.err", folder);
  slurp(line, o.err, sizeof o.err);
  return &o;
}

#define FORMAT_COMMAND(command)                                                                                                            \
  char command[PATH_MAX];                                                                                                                  \
  va_list list;                                                                                                                            \
  va_start(list, format);                                                                                                                  \
  vsnprintf(command, sizeof command, format, list);                                                                                        \
  va_end(list)

const struct outcome *program_run(const char *format, ...) {
  FORMAT_COMMAND(command);
  return run(command);
}

void program_expect(int status, const char *words, const struct outcome *o) {
  if (o->status != status || !(strstr(o->out, words) || strstr(o->err, words))) {
    fail_msg("exit %d, expected %d with \"%s\":\n%s%s", o->status, status, words, o->out, o->err);
  }
}

int program_lines(const char *text) {
  int lines = 0;
  for (; *text; text++) lines += *text == '\n';
  return lines;
}

void program_refused(const char *words, const char *file, int line, const char *format, ...) {
  FORMAT_COMMAND(command);
  const struct outcome *o = run(command);
  if (o->status == 2 && !o->out[0] && program_lines(o->err) == 1 && !strncmp(o->err, "ediy: ", 6) && strstr(o->err, words)) return;
  print_error("%s\nexit status %d (expected 2), printed \"%s\", and as errors \"%s\" (expected one line with \"%s\")\n", command, o->status,
              o->out, o->err, words);
  _fail(file, line);
}

const struct outcome *program_runs(const char *file, int line, const char *format, ...) {
  FORMAT_COMMAND(command);
  const struct outcome *o = run(command);
  if (o->status == 0) return o;
  print_error("%s\nexit status %d, printed \"%s\", and as errors \"%s\"\n", command, o->status, o->out, o->err);
  _fail(file, line);
  return o;
}
