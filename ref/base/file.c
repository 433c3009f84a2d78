#define _XOPEN_SOURCE 700 /* realpath */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Temporary names to try: some may be left over from a process that was killed and had our number, or belong to another thread. */
enum { TEMPORARY_NAMES = 100 };

/* The folder that holds path: "." for a plain name. folder has room for FILE_PATH_SIZE bytes, and path is shorter. */
static void folder_of(const char *path, char *folder) {
  const char *slash = strrchr(path, '/');
  size_t n = slash == path ? 1 : slash ? (size_t)(slash - path) : 0;
  memcpy(folder, path, n);
  folder[n] = 0;
  if (n == 0) strcpy(folder, ".");
}

static bool fail_create(const char *path, int error_number, struct error *err) {
  char folder[FILE_PATH_SIZE];
  folder_of(path, folder);
  switch (error_number) {
  case ENOENT: return fail(err, "%s: cannot be written: there is no folder %s; create it first", path, folder);
  case ENOTDIR: return fail(err, "%s: cannot be written: %s is not a folder", path, folder);
  case EACCES:
  case EPERM: return fail(err, "%s: no permission to create a file in %s; choose another place or change its permissions", path, folder);
  case EROFS: return fail(err, "%s: cannot be written: %s is on a read-only file system; choose another place", path, folder);
  default: return fail(err, "%s: cannot create a file in %s: %s", path, folder, strerror(error_number));
  }
}

bool file_create(struct file_writer *f, const char *path, struct error *err) {
  f->fd = -1, f->written = f->expected = 0;
  f->path[0] = f->temporary[0] = 0;
  size_t length = strlen(path);
  if (length == 0) return fail(err, "the name of the file to write is empty");
  if (length >= sizeof f->path)
    return fail(err, "%.100s...: the file's path has %zu bytes, more than %zu", path, length, sizeof f->path - 1);
  struct stat st;
  if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
    return fail(err, "%s: is %s, not an ordinary file; choose another name", path, S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
  memcpy(f->path, path, length + 1);
  for (int i = 0; i < TEMPORARY_NAMES; i++) {
    snprintf(f->temporary, sizeof f->temporary, "%s.%ld.%d.tmp", path, (long)getpid(), i);
    f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (f->fd >= 0) return true;
    if (errno != EEXIST) return fail_create(path, errno, err);
  }
  return fail(err, "%s: %d unfinished files %s.*.tmp are in the way; remove them", path, TEMPORARY_NAMES, path);
}

static bool fail_write(struct file_writer *f, size_t size, int error_number, struct error *err) {
  size_t needed = f->expected > f->written + size ? f->expected : f->written + size;
  const char *least = f->expected ? "" : "at least ";
  file_abandon(f);
  switch (error_number) {
  case ENOSPC:
    return fail(err, "%s: the disk is full: %s%zu bytes are needed; free space there or choose another place", f->path, least, needed);
  case EDQUOT:
    return fail(err, "%s: your disk quota is used up: %s%zu bytes are needed; free space there or choose another place", f->path, least,
                needed);
  case EFBIG: return fail(err, "%s: %zu bytes are more than a file may have here; see ulimit -f, or choose another place", f->path, needed);
  default: return fail(err, "%s: writing %zu bytes failed: %s", f->path, needed, strerror(error_number));
  }
}

bool file_write(struct file_writer *f, const void *data, size_t size, struct error *err) {
  const char *p = data;
  while (size > 0) {
    ssize_t n = write(f->fd, p, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_write(f, size, n == 0 ? EIO : errno, err);
    p += n, size -= (size_t)n, f->written += (size_t)n;
  }
  return true;
}

bool file_commit(struct file_writer *f, struct error *err) {
  if (fsync(f->fd) != 0) return fail_write(f, 0, errno, err);
  int closed = close(f->fd);
  f->fd = -1;
  if (closed != 0 && errno != EINTR) return fail_write(f, 0, errno, err); /* NFS tells of a full disk here */
  if (rename(f->temporary, f->path) != 0) return fail_write(f, 0, errno, err);
  f->temporary[0] = 0;
  /* The new name is in the folder's data, which has to reach the disk too. Some file systems cannot sync a folder (EINVAL). */
  char folder[FILE_PATH_SIZE];
  folder_of(f->path, folder);
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return true; /* a folder that may be written but not read */
  int error_number = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (error_number != 0 && error_number != EINVAL)
    return fail(err, "%s: written, but may be lost if the power fails now: syncing its folder failed: %s", f->path, strerror(error_number));
  return true;
}

void file_abandon(struct file_writer *f) {
  if (f->fd >= 0) close(f->fd);
  f->fd = -1;
  if (f->temporary[0]) unlink(f->temporary);
  f->temporary[0] = 0;
}

/* The dot in front of the digits that end at `end`, as "%ld" writes a number; null if there is none. */
static const char *dot_before(const char *begin, const char *end) {
  const char *p = end;
  while (p > begin && p[-1] >= '0' && p[-1] <= '9') p--;
  bool number = end > p && end - p <= 18 && (*p != '0' || end - p == 1);
  return number && p > begin && p[-1] == '.' ? p - 1 : NULL;
}

bool file_is_temporary(const char *name, size_t *length, long *process) {
  size_t n = strlen(name);
  const char *end = n > 4 ? name + n - 4 : name;
  const char *second = strcmp(end, ".tmp") == 0 ? dot_before(name, end) : NULL, *first = second ? dot_before(name, second) : NULL;
  if (!first || first == name || strtol(second + 1, NULL, 10) >= TEMPORARY_NAMES) return false;
  *length = (size_t)(first - name), *process = strtol(first + 1, NULL, 10);
  return *process > 0;
}

bool file_replace(const char *path, const void *data, size_t size, struct error *err) {
  struct file_writer f;
  if (!file_create(&f, path, err)) return false;
  f.expected = size;
  return file_write(&f, data, size, err) && file_commit(&f, err);
}

bool file_writable(const char *path, struct error *err) {
  struct file_writer f;
  if (!file_create(&f, path, err)) return false;
  file_abandon(&f);
  return true;
}

bool file_same(const char *a, const char *b) {
  struct stat one, other;
  return stat(a, &one) == 0 && stat(b, &other) == 0 && S_ISREG(one.st_mode) && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

bool file_inside(const char *path, const char *folder) {
  const char *slash = strrchr(path, '/');
  char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
  char *file = realpath(path, NULL), *root = realpath(folder, NULL);
  if (!file && parent) file = realpath(parent, NULL); /* of what is not there the folder is, or nothing can be written */
  size_t length = root ? strlen(root) : 0;
  bool inside = file && root && strncmp(file, root, length) == 0 && (!file[length] || file[length] == '/' || root[length - 1] == '/');
  free(parent), free(file), free(root);
  return inside;
}

bool file_open(const char *path, int *fd, size_t *size, struct error *err) {
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0) {
    if (errno == ENOENT) return fail(err, "%s: no such file", path);
    if (errno == EACCES) return fail(err, "%s: no permission to read it", path);
    if (errno == EMFILE || errno == ENFILE)
      return fail_short(err, "%s: cannot be opened: too many files are open; raise their limit (ulimit -n), or let fewer workers read",
                        path);
    if (errno == ENOMEM) return fail_short(err, "%s: cannot be opened: out of memory", path);
    return fail(err, "%s: cannot be opened: %s", path, strerror(errno));
  }
  struct stat st;
  if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode)) {
    *size = (size_t)st.st_size;
    return true;
  }
  close(*fd);
  *fd = -1;
  return fail(err, "%s: is %s, not an ordinary file", path, S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
}

bool file_read(const char *path, size_t limit, char **data, size_t *size, struct error *err) {
  int fd;
  size_t expected;
  *data = NULL, *size = 0;
  if (!file_open(path, &fd, &expected, err)) return false;
  if (expected > limit) {
    close(fd);
    return fail(err, "%s: has %zu bytes, more than the %zu that such a file may have", path, expected, limit);
  }
  char *bytes = malloc(expected + 1);
  size_t have = 0;
  while (bytes && have < expected) {
    ssize_t n = read(fd, bytes + have, expected - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int error_number = n < 0 ? errno : 0;
      free(bytes);
      close(fd);
      return fail(err, "%s: reading stopped after %zu of %zu bytes: %s", path, have, expected,
                  error_number ? strerror(error_number) : "it became shorter meanwhile");
    }
    have += (size_t)n;
  }
  close(fd);
  if (!bytes) return fail_short(err, "%s: out of memory for its %zu bytes", path, expected);
  bytes[have] = 0;
  *data = bytes, *size = have;
  return true;
}

ptrdiff_t file_start(const char *path, void *bytes, size_t size) {
  int file = -1;
  size_t whole;
  if (!file_open(path, &file, &whole, NULL)) return -1;
  ssize_t n = read(file, bytes, size);
  close(file);
  return n;
}

bool folder_create(const char *path, struct error *err) {
  char part[FILE_PATH_SIZE];
  size_t length = strlen(path);
  if (length == 0) return fail(err, "the name of the folder to create is empty");
  if (length >= sizeof part) return fail(err, "%.100s...: the folder's path has %zu bytes, more than %zu", path, length, sizeof part - 1);
  /* Every prefix that ends before a slash, then the whole. One that exists is found by stat, since mkdir may say EACCES or EROFS first. */
  for (size_t i = 1; i <= length; i++) {
    if (i < length && path[i] != '/') continue;
    memcpy(part, path, i);
    part[i] = 0;
    struct stat st;
    if (stat(part, &st) == 0 && S_ISDIR(st.st_mode)) continue;
    if (mkdir(part, 0777) == 0) continue;
    int error_number = errno;
    if (error_number == EEXIST && stat(part, &st) == 0 && S_ISDIR(st.st_mode)) continue; /* another process was faster */
    if (error_number == EEXIST)
      return fail(err, "%s: cannot create the folder: %s is a file; remove it or choose another place", path, part);
    if (error_number == EACCES || error_number == EPERM)
      return fail(err, "%s: no permission to create the folder %s; choose another place or change its permissions", path, part);
    return fail(err, "%s: cannot create the folder %s: %s", path, part, strerror(error_number));
  }
  return true;
}

bool folder_space(const char *path, size_t *bytes) {
  char at[FILE_PATH_SIZE], above[FILE_PATH_SIZE];
  struct statvfs disk;
  if (strlen(path) >= sizeof at) return false;
  strcpy(at, path);
  while (statvfs(at, &disk) != 0) { /* not there yet: the folder that it will be in */
    size_t n = strlen(at);
    while (n > 1 && at[n - 1] == '/') at[--n] = 0;
    folder_of(at, above);
    if (errno != ENOENT || strcmp(at, above) == 0) return false;
    strcpy(at, above);
  }
  /* A block or a count of 0: file systems that have no such number. */
  if (disk.f_frsize == 0 || disk.f_blocks == 0 || disk.f_bavail > SIZE_MAX / disk.f_frsize) return false;
  *bytes = (size_t)disk.f_bavail * disk.f_frsize;
  return true;
}
