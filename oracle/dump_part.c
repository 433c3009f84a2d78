#define _GNU_SOURCE /* O_DIRECT */
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
  PREFIX = 8,
  HEADER_ROOM = (1 << 20) - PREFIX,   /* so that data begin at a multiple of BLOCK */
  ENTRY_ROOM = TENSOR_MAX_NAME + 256, /* of one tensor in a header, at most */
  BLOCK = 4096 /* what is written past the page cache begins and ends at multiples of it, in memory and in the file */
};
static const size_t PART_SIZE = (size_t)2 << 30;

static void part_path(const struct dump_part *p, int number, char path[FILE_PATH_SIZE + 32]) {
  snprintf(path, FILE_PATH_SIZE + 32, "%s/part-%05d.safetensors", p->folder, number);
}

/* ---- files -------------------------------------------------------------------------------------------------------------------------- */

static bool open_part(struct dump_part *p, struct error *err) {
  char path[FILE_PATH_SIZE + 32];
  part_path(p, p->number, path);
  p->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (p->fd < 0) return fail(err, "%s: cannot be written: %s", path, strerror(errno));
  p->direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (p->direct < 0) p->direct = p->fd; /* a file system that has no such thing */
  return true;
}

static bool close_part(struct dump_part *p) {
  if (p->direct != p->fd) close(p->direct);
  int closed = close(p->fd);
  p->fd = p->direct = -1;
  return closed == 0 || errno == EINTR;
}

static bool write_at(const struct dump_part *p, int fd, const char *data, size_t size, size_t at, struct error *err) {
  while (size > 0) {
    ssize_t n = pwrite(fd, data, size, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    bool cut = n > 0 && (size_t)n < size && n % BLOCK != 0;
    if (fd != p->fd && ((n < 0 && errno == EINVAL) || cut))
      fd = p->fd; /* this device wants other blocks */
    else if (n <= 0) {
      int reason = n < 0 ? errno : EIO;
      return fail(err, "%s: part %d: %s; free space there or choose another place", p->folder, p->number,
                  reason == ENOSPC ? "the disk is full" : strerror(reason));
    }
    if (n > 0) data += n, size -= (size_t)n, at += (size_t)n;
  }
  return true;
}

/* The header, padded with blanks to `room` bytes. */
static bool write_header(struct dump_part *p, size_t room, struct error *err) {
  char *padded = malloc(room + PREFIX);
  if (!padded || !text_append(&p->header, "}")) {
    free(padded);
    return fail(err, "%s: out of memory", p->folder);
  }
  assert(p->header.size <= room);
  uint64_t length = room;
  memset(padded + PREFIX, ' ', room);
  memcpy(padded, &length, PREFIX);
  memcpy(padded + PREFIX, p->header.data, p->header.size);
  bool ok = write_at(p, p->fd, padded, room + PREFIX, 0, err);
  free(padded);
  return ok;
}

/* ---- the thread --------------------------------------------------------------------------------------------------------------------- */

static void *write_buffer(void *context) {
  struct dump_part_write *w = context;
  w->ok = write_at(w->part, w->part->direct, w->data, w->bytes, w->at, &w->err);
  return NULL;
}

static bool wait_for_write(struct dump_part *p, struct error *err) {
  struct dump_part_write *w = &p->write;
  if (!w->running) return true;
  pthread_join(w->thread, NULL);
  w->running = false;
  if (!w->ok) *err = w->err;
  return w->ok;
}

bool dump_part_turn(struct dump_part *p, struct error *err) {
  const size_t whole = p->used / BLOCK * BLOCK, rest = p->used - whole;
  if (!wait_for_write(p, err) || (p->fd < 0 && !open_part(p, err))) return false;
  p->write = (struct dump_part_write){.part = p, .data = p->buffer[p->now], .bytes = whole, .at = p->at};
  p->write.running = pthread_create(&p->write.thread, NULL, write_buffer, &p->write) == 0;
  if (!p->write.running) { /* no thread to be had */
    write_buffer(&p->write);
    if (!p->write.ok) return *err = p->write.err, false;
  }
  p->now = 1 - p->now;
  memcpy(p->buffer[p->now], p->write.data + whole, rest);
  p->used = rest;
  p->at += whole;
  return true;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------------------------ */

bool dump_part_begin(struct dump_part *p, const char *folder, size_t capacity, struct error *err) {
  *p = (struct dump_part){.folder = folder, .fd = -1, .direct = -1, .capacity = capacity, .at = HEADER_ROOM + PREFIX};
  for (int i = 0; i < 2; i++) {
    if (!(p->buffer[i] = aligned_alloc(BLOCK, capacity))) return fail(err, "%s: out of memory", folder);
  }
  return true;
}

size_t dump_part_most(void) { return PART_SIZE - HEADER_ROOM - PREFIX; }

bool dump_part_full(const struct dump_part *p, size_t bytes) {
  return bytes > dump_part_most() - p->size || p->header.size + ENTRY_ROOM > HEADER_ROOM;
}

bool dump_part_fits(const struct dump_part *p, size_t bytes) { return bytes <= p->capacity - p->used; }

static bool name_in_header(struct dump_part *p, const char *name, const struct tensor *t, size_t bytes, struct error *err) {
  struct text *h = &p->header;
  bool ok = text_append(h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", h->size ? "," : "{", name, dtype_name(t->dtype));
  for (int i = 0; i < t->ndim; i++) ok = ok && text_append(h, i ? ",%td" : "%td", t->shape[i]);
  ok = ok && text_append(h, "],\"data_offsets\":[%zu,%zu]}", p->size, p->size + bytes);
  p->size += bytes;
  return ok || fail(err, "%s: out of memory", p->folder);
}

void *dump_part_place(struct dump_part *p, const char *name, const struct tensor *t, struct error *err) {
  size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype);
  assert(dump_part_fits(p, bytes));
  if (!name_in_header(p, name, t, bytes, err)) return NULL;
  p->used += bytes;
  return p->buffer[p->now] + p->used - bytes;
}

bool dump_part_stream(struct dump_part *p, const struct tensor *t, struct error *err) {
  size_t bytes = (size_t)tensor_count(t) * dtype_size(t->dtype);
  const char *from = t->data;
  if (!name_in_header(p, t->name, t, bytes, err)) return false;
  while (bytes > 0) {
    size_t room = p->capacity - p->used, n = bytes < room ? bytes : room;
    memcpy(p->buffer[p->now] + p->used, from, n);
    p->used += n, from += n, bytes -= n;
    if (bytes > 0 && !dump_part_turn(p, err)) return false;
  }
  return true;
}

bool dump_part_end(struct dump_part *p, struct error *err) {
  if (p->size == 0) return true;
  const bool began = p->fd >= 0;
  const size_t room = began ? HEADER_ROOM : (p->header.size + 1 + 7) / 8 * 8;
  if (!wait_for_write(p, err) || (!began && !open_part(p, err)) ||
      !write_at(p, p->fd, p->buffer[p->now], p->used, began ? p->at : PREFIX + room, err) || !write_header(p, room, err))
    return false;
  if (!close_part(p)) return fail(err, "%s: part %d: %s", p->folder, p->number, strerror(errno));
  p->number++;
  p->size = p->used = p->header.size = 0;
  p->at = HEADER_ROOM + PREFIX;
  return true;
}

void dump_part_release(struct dump_part *p, bool remove) {
  struct error ignored;
  (void)wait_for_write(p, &ignored);
  if (p->fd >= 0) close_part(p);
  for (int i = 0; remove && i <= p->number; i++) {
    char path[FILE_PATH_SIZE + 32];
    part_path(p, i, path);
    unlink(path);
  }
  free(p->header.data), free(p->buffer[0]), free(p->buffer[1]);
  *p = (struct dump_part){.fd = -1, .direct = -1};
}
