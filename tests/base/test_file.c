/* Files are whole or not there: whatever fails, the target keeps its old bytes and no temporary file stays behind. SHA-256 gives the
 * known answers of FIPS 180-4. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/sha256.h"
#include "support/cmocka.h"
#include "support/folder.h"

static char folder[FOLDER_PATH];

static char *in_folder(const char *name) {
  static char path[IN_FOLDER_PATH];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static int files_in_folder(const char *path) {
  DIR *d = opendir(path);
  assert_non_null(d);
  int n = 0;
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static void remove_file(const char *path) { assert_int_equal(unlink(path), 0); }

static void assert_holds(const char *path, const char *text) {
  struct error err;
  char *data;
  size_t size;
  if (!file_read(path, 1 << 20, &data, &size, &err)) fail_msg("%s", err.text);
  assert_int_equal(size, strlen(text));
  assert_string_equal(data, text);
  free(data);
}

static int make_folder(void **state) {
  (void)state;
  folder_make(folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  return rmdir(folder); /* fails if a test left anything in it */
}

static void nothing_appears_before_commit(void **state) {
  (void)state;
  struct error err;
  struct file_writer f;
  const char *path = in_folder("target");
  assert_true(file_replace(path, "old", 3, &err));
  assert_true(file_create(&f, path, &err));
  assert_true(file_write(&f, "new", 3, &err));
  assert_true(file_write(&f, " bytes", 6, &err));
  assert_holds(path, "old");
  assert_int_equal(files_in_folder(folder), 2);
  assert_true(file_commit(&f, &err));
  assert_holds(path, "new bytes");
  assert_int_equal(files_in_folder(folder), 1);
  file_abandon(&f); /* of no effect now */
  assert_holds(path, "new bytes");
  remove_file(path);
}

static void an_abandoned_file_leaves_nothing(void **state) {
  (void)state;
  struct error err;
  struct file_writer f;
  assert_true(file_create(&f, in_folder("target"), &err));
  assert_true(file_write(&f, "half", 4, &err));
  file_abandon(&f);
  assert_int_equal(files_in_folder(folder), 0);
}

static void two_writers_of_one_file_do_not_meet(void **state) {
  (void)state;
  struct error err;
  struct file_writer a, b;
  const char *path = in_folder("target");
  assert_true(file_create(&a, path, &err) && file_create(&b, path, &err));
  assert_string_not_equal(a.temporary, b.temporary);
  assert_true(file_write(&a, "aaaa", 4, &err) && file_write(&b, "b", 1, &err));
  assert_true(file_commit(&a, &err) && file_commit(&b, &err));
  assert_holds(path, "b");
  assert_int_equal(files_in_folder(folder), 1);
  remove_file(path);
}

static void temporary_names_are_known(void **state) {
  (void)state;
  struct error err;
  struct file_writer f;
  size_t length;
  long process;
  assert_true(file_create(&f, in_folder("a.1.2.tmp.b"), &err));
  const char *name = strrchr(f.temporary, '/') + 1;
  assert_true(file_is_temporary(name, &length, &process));
  assert_int_equal(length, strlen("a.1.2.tmp.b"));
  assert_int_equal(process, getpid());
  file_abandon(&f);
  assert_true(file_is_temporary("a.4194304.99.tmp", &length, &process));
  assert_int_equal(process, 4194304);
  static const char *const others[] = {"",           "tmp",         ".tmp",        "a.tmp",       "a.1.tmp",     "a.1.0.tmp2",
                                       "a.1.0",      "a.1.0tmp",    ".1.0.tmp",    "1.0.tmp",     "a.1.100.tmp", "a.0.0.tmp",
                                       "a.01.0.tmp", "a.1.00.tmp",  "a.-1.0.tmp",  "a.1.-1.tmp",  "a.1..tmp",    "a..0.tmp",
                                       "a.x1.0.tmp", "a.1x.0.tmp",  "a.1.0x.tmp",  "a.1. 0.tmp",  "a1.0.tmp",    "a.1.0.tmp.tmp",
                                       "a.1.0.TMP",  "a.1.x.0.tmp", "a.1.0.0.xmp", "a.1e1.0.tmp", "a.+1.0.tmp",  "a.1.0.tmp~"};
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    if (file_is_temporary(others[i], &length, &process)) fail_msg("%s", others[i]);
}

/* A full disk without a disk to fill: the system lets this process write no file beyond 4096 bytes. In a child, since a limit lowered
 * stays. Exit status 0 if the write failed as it should. */
static int write_beyond_limit(const char *path) {
  struct error err;
  static char data[10000];
  signal(SIGXFSZ, SIG_IGN); /* then write says EFBIG instead */
  if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096}) != 0) return 2;
  if (file_replace(path, data, sizeof data, &err)) return 3;
  if (!strstr(err.text, path) || !strstr(err.text, "10000 bytes")) return 4;
  return 0;
}

static void a_write_that_fails_leaves_the_target(void **state) {
  (void)state;
  struct error err;
  const char *path = in_folder("target");
  assert_true(file_replace(path, "precious", 8, &err));
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) _exit(write_beyond_limit(path));
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_holds(path, "precious");
  assert_int_equal(files_in_folder(folder), 1);
  remove_file(path);
}

/* /dev/full answers every write with ENOSPC. The writer is opened by hand, since file_create rightly refuses a device. */
static void a_full_disk_says_how_much_is_needed(void **state) {
  (void)state;
  struct error err;
  struct file_writer f = {.expected = 123456, .path = "checkpoint"};
  f.fd = open("/dev/full", O_WRONLY);
  if (f.fd < 0) skip_because("there is no /dev/full");
  assert_false(file_write(&f, "x", 1, &err));
  assert_string_equal(err.text, "checkpoint: the disk is full: 123456 bytes are needed; free space there or choose another place");
  assert_int_equal(f.fd, -1);

  /* who does not know how long the file will be, as a picture's writer */
  f = (struct file_writer){.written = 7, .path = "picture.png"};
  f.fd = open("/dev/full", O_WRONLY);
  assert_false(file_write(&f, "x", 1, &err));
  assert_string_equal(err.text, "picture.png: the disk is full: at least 8 bytes are needed; free space there or choose another place");
}

/* A folder that is not there yet will be on the disk of the first that is, above it. Others write to the disk meanwhile. */
static void the_space_is_that_of_the_disk_above(void **state) {
  (void)state;
  size_t here, below;
  char path[IN_FOLDER_PATH];
  snprintf(path, sizeof path, "%s/a/b//c/", folder);
  if (!folder_space(folder, &here)) skip_because("the system does not say how much room a disk has");
  assert_true(folder_space(path, &below));
  assert_in_range(below, here / 2, here + here / 2);
  assert_true(folder_space("no/such/folder", &here));
  assert_true(folder_space(".", &below));
  assert_in_range(below, here / 2, here + here / 2);
}

static void interrupted(int number) { (void)number; }

/* write may take a part, or nothing, when a signal arrives: a pipe with a slow reader and a timer that fires all the while. */
static void interrupted_writes_go_on(void **state) {
  (void)state;
  enum { SIZE = 1 << 20 };
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  unsigned char *data = malloc(SIZE);
  assert_non_null(data);
  for (int i = 0; i < SIZE; i++) data[i] = (unsigned char)(i * 7 + i / 251);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) { /* exit status 0 if every byte arrives in its place */
    close(ends[1]);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* the pipe is full: signals find a write that has written nothing */
    unsigned char piece[5000];
    ssize_t n;
    ptrdiff_t have = 0;
    while ((n = read(ends[0], piece, sizeof piece)) > 0) {
      if (have + n > SIZE || memcmp(piece, data + have, (size_t)n) != 0) _exit(3);
      have += n;
      nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    _exit(have == SIZE ? 0 : 4);
  }
  close(ends[0]);
  signal(SIGPIPE, SIG_IGN);                              /* the reader leaves at the first wrong byte */
  struct sigaction action = {.sa_handler = interrupted}; /* without SA_RESTART */
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
  struct error err = {.text = ""};
  struct file_writer f = {.fd = ends[1], .path = "pipe"};
  bool ok = file_write(&f, data, SIZE, &err);
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
  action.sa_flags = SA_RESTART; /* one signal more may be on its way, late under valgrind */
  sigaction(SIGALRM, &action, NULL);
  signal(SIGPIPE, SIG_DFL);
  file_abandon(&f);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!ok) fail_msg("%s", err.text);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(f.written, SIZE);
  free(data);
}

/* Runs as another user if this one may write everywhere. Exit status as above, 5 if that cannot be. */
static int write_without_permission(const char *path) {
  struct error err;
  if (geteuid() == 0 && setuid(65534) != 0) return 5;
  if (file_replace(path, "x", 1, &err)) return 3;
  return strstr(err.text, path) && strstr(err.text, "no permission") ? 0 : 4;
}

static void no_permission_is_said(void **state) {
  (void)state;
  assert_int_equal(chmod(folder, 0555), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) _exit(write_without_permission(in_folder("target")));
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(chmod(folder, 0700), 0);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == 5) skip_because("root may write everywhere here, and cannot become another user");
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(files_in_folder(folder), 0);
}

static void assert_cannot_write(const char *path, const char *message) {
  struct error err;
  assert_false(file_replace(path, "x", 1, &err));
  if (!strstr(err.text, message)) fail_msg("'%s' does not say '%s'", err.text, message);
}

static void a_target_that_cannot_be_is_refused(void **state) {
  (void)state;
  struct error err;
  char path[FILE_PATH_SIZE + 10];
  assert_cannot_write(in_folder("missing/target"), "there is no folder");
  assert_cannot_write(folder, "is a folder");
  assert_cannot_write("/dev/null", "is a device or pipe"); /* and is not replaced, even for root */
  assert_cannot_write("", "empty");
  memset(path, 'x', sizeof path - 1);
  path[sizeof path - 1] = 0;
  assert_cannot_write(path, "more than 4095");
  assert_true(file_replace(in_folder("file"), "", 0, &err));
  assert_cannot_write(in_folder("file/target"), "is not a folder");
  assert_holds(in_folder("file"), "");
  remove_file(in_folder("file"));
}

static void assert_cannot_read(const char *path, size_t limit, const char *message) {
  struct error err;
  char *data = folder;
  size_t size = 7;
  assert_false(file_read(path, limit, &data, &size, &err));
  if (!strstr(err.text, message) || !strstr(err.text, path)) fail_msg("'%s' does not say '%s'", err.text, message);
  assert_null(data);
  assert_int_equal(size, 0);
}

static void reading_has_a_limit_and_ends_in_zero(void **state) {
  (void)state;
  struct error err;
  const char *path = in_folder("target");
  assert_true(file_replace(path, "a\0b", 3, &err));
  char *data;
  size_t size;
  assert_true(file_read(path, 3, &data, &size, &err));
  assert_int_equal(size, 3);
  assert_memory_equal(data, "a\0b", 4);
  free(data);
  assert_cannot_read(path, 2, "more than the 2");
  remove_file(path);
  assert_cannot_read(path, 10, "no such file");
  assert_cannot_read(folder, 10, "is a folder");
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_cannot_read(path, 10, "is a device or pipe"); /* and nobody waits for a writer */
  remove_file(path);
}

static void folders_are_created_with_their_parents(void **state) {
  (void)state;
  struct error err;
  const char *names[] = {"a", "a/b/c", "a//b/./c/", "a/b/c"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    struct stat st;
    if (!folder_create(in_folder(names[i]), &err)) fail_msg("%s", err.text);
    assert_true(stat(in_folder(names[i]), &st) == 0 && S_ISDIR(st.st_mode));
  }
  assert_true(folder_create("/", &err) && folder_create(".", &err));
  assert_true(file_replace(in_folder("a/file"), "", 0, &err));
  assert_false(folder_create(in_folder("a/file"), &err));
  assert_non_null(strstr(err.text, "is a file"));
  assert_false(folder_create(in_folder("a/file/b"), &err));
  assert_non_null(strstr(err.text, "is a file"));
  assert_false(folder_create("", &err));
  remove_file(in_folder("a/file"));
  assert_true(rmdir(in_folder("a/b/c")) == 0 && rmdir(in_folder("a/b")) == 0 && rmdir(in_folder("a")) == 0);
}

static void assert_sha256(const char *text, size_t repeat, size_t piece, const char *expected) {
  size_t size = strlen(text) * repeat;
  char *data = malloc(size + 1);
  assert_non_null(data);
  for (size_t i = 0; i < repeat; i++) memcpy(data + i * strlen(text), text, strlen(text));
  struct sha256 s;
  sha256_begin(&s);
  for (size_t i = 0; i < size; i += piece) sha256_add(&s, data + i, size - i < piece ? size - i : piece);
  free(data);
  unsigned char digest[32];
  char hex[SHA256_HEX_SIZE];
  sha256_end(&s, digest);
  sha256_hex(digest, hex);
  assert_string_equal(hex, expected);
}

/* FIPS 180-4's examples, and the lengths around which the padding changes (55, 56, 64: known from sha256sum), cut in every way. */
static void sha256_gives_the_known_answers(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t repeat;
    const char *digest;
  } known[] = {
      {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"a", 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
      {"a", 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
      {"a", 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    for (size_t piece = 1; piece <= 65; piece++) assert_sha256(known[i].text, known[i].repeat, piece, known[i].digest);
  assert_sha256("a", 1000000, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  assert_sha256("a", 1000000, 997, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void sha256_of_two_is_that_of_each(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 55, 63, 64, 65, 127, 128, 300, 640, 1000};
  enum { SIZES = sizeof sizes / sizeof sizes[0] };
  unsigned char data[2][1000];
  for (size_t i = 0; i < sizeof data[0]; i++) data[0][i] = (unsigned char)(i * i + (i >> 3)), data[1][i] = (unsigned char)(7 * i + 1);
  for (int a = 0; a < SIZES; a++) {
    for (int b = 0; b < SIZES; b++) {
      const void *const both[2] = {data[0], data[1]};
      const size_t size[2] = {sizes[a], sizes[b]};
      unsigned char two[2][32], one[32];
      sha256_of_two(both, size, two);
      for (int i = 0; i < 2; i++) {
        struct sha256 s;
        sha256_begin(&s);
        sha256_add(&s, data[i], size[i]);
        sha256_end(&s, one);
        assert_memory_equal(two[i], one, sizeof one);
      }
    }
  }
}

static void the_fast_form_of_sha256_is_the_plain_one(void **state) {
  (void)state;
  enum { BLOCKS = 40 };
  unsigned char data[64 * BLOCKS + 1];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * i + (i >> 3));
  for (size_t blocks = 0; blocks <= BLOCKS; blocks++) {
    uint32_t plain[8], fast[8];
    for (uint32_t i = 0; i < 8; i++) plain[i] = fast[i] = 0x9e3779b9u * (i + 1);
    sha256_blocks_plain(plain, data + blocks % 2, blocks);
    if (!sha256_blocks_fast(fast, data + blocks % 2, blocks)) skip_because("this processor has no instructions for SHA-256");
    assert_memory_equal(fast, plain, sizeof plain);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_appears_before_commit),
                                     cmocka_unit_test(an_abandoned_file_leaves_nothing),
                                     cmocka_unit_test(two_writers_of_one_file_do_not_meet),
                                     cmocka_unit_test(temporary_names_are_known),
                                     cmocka_unit_test(a_write_that_fails_leaves_the_target),
                                     cmocka_unit_test(a_full_disk_says_how_much_is_needed),
                                     cmocka_unit_test(the_space_is_that_of_the_disk_above),
                                     cmocka_unit_test(interrupted_writes_go_on),
                                     cmocka_unit_test(no_permission_is_said),
                                     cmocka_unit_test(a_target_that_cannot_be_is_refused),
                                     cmocka_unit_test(reading_has_a_limit_and_ends_in_zero),
                                     cmocka_unit_test(folders_are_created_with_their_parents),
                                     cmocka_unit_test(sha256_gives_the_known_answers),
                                     cmocka_unit_test(sha256_of_two_is_that_of_each),
                                     cmocka_unit_test(the_fast_form_of_sha256_is_the_plain_one)};
  return cmocka_run_group_tests_name("file", tests, make_folder, remove_folder);
}
