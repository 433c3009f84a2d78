/* Files that are whole or not there: written under a temporary name beside the target, synced, renamed, the folder synced. */
#ifndef EDIY_BASE_FILE_H
#define EDIY_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { FILE_PATH_SIZE = 4096 };

/* A file being written. Nothing appears under its own name before file_commit. Use: file_create, file_write any number of times,
 * file_commit; every one of them removes the temporary file when it fails, and file_abandon does so for any other reason to stop. */
struct file_writer {
  int fd; /* -1: not open */
  char path[FILE_PATH_SIZE], temporary[FILE_PATH_SIZE + 32];
  size_t written;  /* bytes so far */
  size_t expected; /* bytes in all, set by a caller that knows, for the message about a full disk; 0: not known */
};

/* Opens the temporary file PATH.PID.N.tmp. Fails where the folder is missing or may not be written, and where path is there but is
 * no ordinary file (a folder, a device). A symbolic link at path is replaced by file_commit, not followed. */
MUST_CHECK bool file_create(struct file_writer *f, const char *path, struct error *err);

/* Appends. A full disk is reported with the path and the bytes that were needed. */
MUST_CHECK bool file_write(struct file_writer *f, const void *data, size_t size, struct error *err);

/* Puts the file in place of whatever had its name before, and waits until the disk has it. */
MUST_CHECK bool file_commit(struct file_writer *f, struct error *err);

/* Removes the temporary file; the target is as it was. No effect after file_commit or a failure. */
void file_abandon(struct file_writer *f);

/* Whether name is one that file_create gives a temporary file: *length bytes of it are the file's own name, and *process is the number of
 * the process that writes it, or wrote it until it was killed. */
bool file_is_temporary(const char *name, size_t *length, long *process);

/* create + write + commit. */
MUST_CHECK bool file_replace(const char *path, const void *data, size_t size, struct error *err);

/* Whether file_create would succeed: to be asked before work whose result goes there. */
MUST_CHECK bool file_writable(const char *path, struct error *err);

/* Whether both names lead to the same ordinary file, which is there: what one names would be lost where the other is written. */
bool file_same(const char *a, const char *b);

/* Whether path names a file, there or still to be made, in this folder or in one below it, links followed. */
bool file_inside(const char *path, const char *folder);

/* A whole ordinary file in memory; free(*data) by the caller. Fails for more than limit bytes. A zero byte follows the data. */
MUST_CHECK bool file_read(const char *path, size_t limit, char **data, size_t *size, struct error *err);

/* Opens an ordinary file for reading (never waits for a pipe) and says how long it is; close(*fd) by the caller. */
MUST_CHECK bool file_open(const char *path, int *fd, size_t *size, struct error *err);

/* The first bytes of an ordinary file, size at most: how many there are, -1 where there is no such file or it cannot be read. */
ptrdiff_t file_start(const char *path, void *bytes, size_t size);

/* Creates a folder and its parents if missing. */
MUST_CHECK bool folder_create(const char *path, struct error *err);

/* *bytes that are free on the disk that a folder is on, or will be once it is made. False where the system does not tell. Quotas are not
 * known to it. */
bool folder_space(const char *path, size_t *bytes);

#endif
