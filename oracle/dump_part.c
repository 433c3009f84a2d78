#include "oracle/dump_part.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum {
  HEADER_ROOM = 1 << 20,
  ENTRY_ROOM = TENSOR_MAX_NAME + 256, /* of one tensor in a header, at most */
  PREFIX = 8
};
static const size_t PART_SIZE = (size_t)2 << 30;

static void part_path(const struct dump_part *p, int number, char path[FILE_PATH_SIZE + 32]) {
  snprintf(path, FILE_PATH_SIZE + 32, "%s/part-%05d.safetensors", p->folder, number);
}

size_t dump_part_most(void) { return PART_SIZE - HEADER_ROOM - PREFIX; }

bool dump_part_full(const struct dump_part *p, size_t bytes) {
  return bytes > dump_part_most() - p->size || p->header.size + ENTRY_ROOM > HEADER_ROOM;
}

bool dump_part_place(struct dump_part *p, const char *name, const struct tensor *t, size_t *offset, struct error *err) {
  size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype);
  struct text *h = &p->header;
  bool ok = text_append(h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", h->size ? "," : "{", name, dtype_name(t->dtype));
  for (int i = 0; i < t->ndim; i++) ok = ok && text_append(h, i ? ",%td" : "%td", t->shape[i]);
  *offset = p->size;
  p->size += bytes;
  return (ok && text_append(h, "],\"data_offsets\":[%zu,%zu]}", *offset, p->size)) || fail(err, "%s: out of memory", p->folder);
}

bool dump_part_open(struct dump_part *p, bool ending, struct error *err) {
  char path[FILE_PATH_SIZE + 32];
  if (p->fd >= 0) return true;
  part_path(p, p->number, path);
  p->room = ending ? (p->header.size + 1 + 7) / 8 * 8 : HEADER_ROOM;
  p->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  return p->fd >= 0 || fail(err, "%s: cannot be written: %s", path, strerror(errno));
}

static bool write_at(const struct dump_part *p, const void *data, size_t size, size_t at, struct error *err) {
  const char *from = data;
  while (size > 0) {
    ssize_t n = pwrite(p->fd, from, size, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int reason = n < 0 ? errno : EIO;
      return fail(err, "%s: part %d: %s; free space there or choose another place", p->folder, p->number,
                  reason == ENOSPC ? "the disk is full" : strerror(reason));
    }
    from += n, size -= (size_t)n, at += (size_t)n;
  }
  return true;
}

bool dump_part_write(const struct dump_part *p, const void *data, size_t bytes, size_t offset, struct error *err) {
  return write_at(p, data, bytes, PREFIX + p->room + offset, err);
}

/* The header, padded with blanks to its room. */
static bool write_header(struct dump_part *p, struct error *err) {
  char *padded = malloc(p->room + PREFIX);
  if (!padded || !text_append(&p->header, "}")) {
    free(padded);
    return fail(err, "%s: out of memory", p->folder);
  }
  assert(p->header.size <= p->room);
  uint64_t length = p->room;
  memset(padded + PREFIX, ' ', p->room);
  memcpy(padded, &length, PREFIX);
  memcpy(padded + PREFIX, p->header.data, p->header.size);
  bool ok = write_at(p, padded, p->room + PREFIX, 0, err);
  free(padded);
  return ok;
}

bool dump_part_end(struct dump_part *p, struct error *err) {
  if (!write_header(p, err)) return false;
  int closed = close(p->fd);
  p->fd = -1;
  if (closed != 0 && errno != EINTR) return fail(err, "%s: part %d: %s", p->folder, p->number, strerror(errno));
  p->number++;
  p->size = p->header.size = 0;
  return true;
}

void dump_part_release(struct dump_part *p, bool remove) {
  if (p->fd >= 0) close(p->fd);
  for (int i = 0; remove && i <= p->number; i++) {
    char path[FILE_PATH_SIZE + 32];
    part_path(p, i, path);
    unlink(path);
  }
  free(p->header.data);
  p->header = (struct text){0};
  p->fd = -1;
}
