/* Files that are whole or not there: written under a temporary name beside the target, synced, renamed, the folder synced. */
#ifndef EDIY_BASE_FILE_H
#define EDIY_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A file being written. Nothing appears under its own name before file_commit. */
struct file_writer {
  int fd;
  char path[4096], temporary[4096 + 32];
  size_t written;
};

MUST_CHECK bool file_create(struct file_writer *f, const char *path, struct error *err);
/* Appends; a full disk is reported with the path and the bytes that were needed. On failure the temporary file is removed. */
MUST_CHECK bool file_write(struct file_writer *f, const void *data, size_t size, struct error *err);
MUST_CHECK bool file_commit(struct file_writer *f, struct error *err);
void file_abandon(struct file_writer *f);

/* create + write + commit. */
MUST_CHECK bool file_replace(const char *path, const void *data, size_t size, struct error *err);

/* A whole file in memory; free(*data) by the caller. Fails for more than limit bytes. A zero byte follows the data. */
MUST_CHECK bool file_read(const char *path, size_t limit, char **data, size_t *size, struct error *err);

/* Creates a folder and its parents if missing. */
MUST_CHECK bool folder_create(const char *path, struct error *err);

/* SHA-256 (FIPS 180-4); incremental. */
struct sha256 {
  uint32_t state[8];
  uint64_t length;
  unsigned char block[64];
};
void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t size);
void sha256_end(struct sha256 *s, unsigned char digest[32]);
void sha256_hex(const unsigned char digest[32], char text[65]);

#endif
