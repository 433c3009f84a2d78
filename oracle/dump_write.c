/* Parts are written from front to back. A safetensors file begins with a header that names everything in it, so its place must be kept free: the
 * beginning of a part is held in memory, and if the part ends there its header is made to measure; else HEADER_ROOM bytes are left, and
 * filled up with blanks, as the format allows. A part is full when 2 GiB or the room for its header are used up. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "oracle/digest.h"
#include "oracle/dump.h"

enum {
  HEADER_ROOM = 1 << 20,
  ENTRY_ROOM = TENSOR_MAX_NAME + 256, /* of one tensor in a header, at most */
  HELD = 4 << 20,                     /* bytes of a part that are kept in memory before they are written */
  INLINE = 1 << 16,                   /* bytes that are hashed by the thread that writes */
  PREFIX = 8
};
static const size_t PART_SIZE = (size_t)2 << 30;

struct text { /* grows */
  char *data;
  size_t size, capacity;
};

struct dump_writer {
  char folder[FILE_PATH_SIZE];
  bool made_folder;
  enum dump_kind kind;
  json_t *described;
  struct text tensors; /* lines of the manifest */
  char last[TENSOR_MAX_NAME];

  int part; /* the one being written */
  int fd;   /* -1: nothing written of it yet */
  struct text header;
  char *held;
  size_t held_size, size; /* bytes in memory; bytes of data of the part in all */
  struct digest digest;
  struct tensor digest_of; /* its row */
};

/* ---- text --------------------------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool append(struct text *t, const char *format, ...) {
  va_list args;
  for (;;) {
    va_start(args, format);
    int n = vsnprintf(t->data ? t->data + t->size : NULL, t->data ? t->capacity - t->size : 0, format, args);
    va_end(args);
    if (n < 0) return false;
    if (t->size + (size_t)n < t->capacity) {
      t->size += (size_t)n;
      return true;
    }
    size_t capacity = 2 * (t->size + (size_t)n + 1024);
    char *grown = realloc(t->data, capacity);
    if (!grown) return false;
    t->data = grown, t->capacity = capacity;
  }
}

static bool append_shape(struct text *t, int ndim, const ptrdiff_t *shape) {
  bool ok = append(t, "[");
  for (int i = 0; i < ndim; i++) ok = append(t, i ? ",%td" : "%td", shape[i]) && ok;
  return append(t, "]") && ok;
}

/* ---- files -------------------------------------------------------------------------------------------------------------------------- */

static void part_path(const struct dump_writer *w, int part, char path[FILE_PATH_SIZE + 32]) {
  snprintf(path, FILE_PATH_SIZE + 32, "%s/part-%05d.safetensors", w->folder, part);
}

static bool memory(const struct dump_writer *w, struct error *err) { return fail(err, "%s: out of memory", w->folder); }

static bool write_at(struct dump_writer *w, const void *data, size_t size, size_t offset, struct error *err) {
  const char *p = data;
  while (size > 0) {
    ssize_t n = pwrite(w->fd, p, size, (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int reason = n < 0 ? errno : EIO;
      return fail(err, "%s: part %d: %s; free space there or choose another place", w->folder, w->part,
                  reason == ENOSPC ? "the disk is full" : strerror(reason));
    }
    p += n, size -= (size_t)n, offset += (size_t)n;
  }
  return true;
}

static bool open_part(struct dump_writer *w, struct error *err) {
  char path[FILE_PATH_SIZE + 32];
  part_path(w, w->part, path);
  w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  return w->fd >= 0 || fail(err, "%s: cannot be written: %s", path, strerror(errno));
}

/* The header, padded with blanks to `room` bytes. */
static bool write_header(struct dump_writer *w, size_t room, struct error *err) {
  if (!append(&w->header, "}")) return memory(w, err);
  assert(w->header.size <= room);
  char *padded = malloc(room + PREFIX);
  if (!padded) return memory(w, err);
  uint64_t length = room;
  memset(padded + PREFIX, ' ', room);
  memcpy(padded, &length, PREFIX);
  memcpy(padded + PREFIX, w->header.data, w->header.size);
  bool ok = write_at(w, padded, room + PREFIX, 0, err);
  free(padded);
  return ok;
}

/* What is held goes to the file, behind the room for a header. */
static bool flush(struct dump_writer *w, size_t room, struct error *err) {
  if (w->fd < 0 && !open_part(w, err)) return false;
  bool ok = write_at(w, w->held, w->held_size, PREFIX + room + w->size - w->held_size, err);
  w->held_size = 0;
  return ok;
}

/* Ends the part at hand, if there is one. */
static bool end_part(struct dump_writer *w, struct error *err) {
  if (w->size == 0) return true;
  size_t room = w->fd >= 0 ? HEADER_ROOM : (w->header.size + 1 + 7) / 8 * 8;
  if (!flush(w, room, err) || !write_header(w, room, err)) return false;
  int closed = close(w->fd);
  w->fd = -1;
  if (closed != 0 && errno != EINTR) return fail(err, "%s: part %d: %s", w->folder, w->part, strerror(errno));
  w->part++;
  w->size = w->header.size = 0;
  return true;
}

/* ---- adding ------------------------------------------------------------------------------------------------------------------------- */

struct work { /* what the two threads of add_large do */
  struct dump_writer *w;
  const struct tensor *t;
  size_t bytes;
  char hex[SHA256_HEX_SIZE];
  struct error *err;
};

static void hash(struct work *k) {
  struct sha256 s;
  unsigned char digest[32];
  sha256_begin(&s);
  sha256_add(&s, k->t->data, k->bytes);
  sha256_end(&s, digest);
  sha256_hex(digest, k->hex);
}

/* Appends the data of a tensor to the part. */
static bool keep(struct dump_writer *w, const void *data, size_t bytes, struct error *err) {
  if (w->held_size + bytes <= HELD) {
    memcpy(w->held + w->held_size, data, bytes);
    w->held_size += bytes, w->size += bytes;
    return true;
  }
  if (!flush(w, HEADER_ROOM, err)) return false;
  if (bytes <= HELD / 2) return keep(w, data, bytes, err);
  bool ok = write_at(w, data, bytes, PREFIX + HEADER_ROOM + w->size, err);
  w->size += bytes;
  return ok;
}

/* The numbers that the part gets: the tensor, or its digest. */
static bool put(struct dump_writer *w, const struct tensor *t, size_t bytes, struct error *err) {
  if (w->kind == DUMP_FULL) return keep(w, t->data, bytes, err);
  digest_tensor(&w->digest, t);
  return keep(w, w->digest.value, (size_t)w->digest_of.shape[0] * sizeof(double), err);
}

/* Hashes and puts, at the same time where that pays. */
static bool hash_and_put(struct work *k) {
  bool ok = true;
  if (k->bytes <= INLINE) {
    hash(k);
    return put(k->w, k->t, k->bytes, k->err);
  }
#pragma omp parallel sections num_threads(2)
  {
#pragma omp section
    hash(k);
#pragma omp section
    ok = put(k->w, k->t, k->bytes, k->err);
  }
  return ok;
}

static bool append_entry(struct text *t, const char *name, const struct tensor *shape, size_t begin, size_t end) {
  return append(t, t->size ? "," : "{") && append(t, "\"%s\":{\"dtype\":\"%s\",\"shape\":", name, dtype_name(shape->dtype)) &&
         append_shape(t, shape->ndim, shape->shape) && append(t, ",\"data_offsets\":[%zu,%zu]}", begin, end);
}

/* d: the dump whose precision and chain an entry need not repeat, or null. */
static bool append_line(struct text *t, const struct dump_entry *e, const struct dump *d) {
  bool ok = append(t, "%s{\"name\":\"%s\",\"part\":%d,\"dtype\":\"%s\",\"shape\":", t->size ? ",\n" : "", e->name, e->part,
                   dtype_name(e->dtype)) &&
            append_shape(t, e->ndim, e->shape) && append(t, ",\"sha256\":\"%s\"", e->sha256);
  if (d && e->precision != d->precision) ok = ok && append(t, ",\"precision\":\"%s\"", precision_classes[e->precision].name);
  if (d && e->chain != d->chain) ok = ok && append(t, ",\"chain\":%.0f", e->chain);
  if (e->drift >= 0) ok = ok && append(t, ",\"drift\":{\"l2\":%.3g}", e->drift);
  return ok && append(t, "}");
}

bool dump_add(struct dump_writer *w, const struct tensor *t, struct error *err) {
  struct dump_entry e = {.dtype = t->dtype, .ndim = t->ndim, .drift = -1};
  ptrdiff_t count = tensor_count(t);
  if (!dump_name_parse(t->name, &e, err)) return false;
  assert(count > 0);
  memcpy(e.shape, t->shape, sizeof e.shape);
  struct work k = {.w = w, .t = t, .bytes = (size_t)count * dtype_size(t->dtype), .err = err};
  w->digest_of = *t;
  if (w->kind == DUMP_DIGEST) {
    w->digest_of.dtype = DTYPE_F64, w->digest_of.ndim = 1;
    w->digest_of.shape[0] = digest_length(t->dtype, count);
  }
  size_t bytes = (size_t)tensor_count(&w->digest_of) * dtype_size(w->digest_of.dtype);
  if (bytes > PART_SIZE - HEADER_ROOM - PREFIX) return fail(err, "%s: %s has %zu bytes, a part at most 2 GiB", w->folder, t->name, bytes);
  bool full = bytes > PART_SIZE - HEADER_ROOM - PREFIX - w->size || w->header.size + ENTRY_ROOM > HEADER_ROOM;
  if (full && !end_part(w, err)) return false;
  size_t begin = w->size;
  if (!hash_and_put(&k)) return false;
  e.part = w->part;
  memcpy(e.sha256, k.hex, sizeof e.sha256);
  return (append_entry(&w->header, t->name, &w->digest_of, begin, begin + bytes) && append_line(&w->tensors, &e, NULL)) || memory(w, err);
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------- */

bool dump_create(struct dump_writer **writer, const char *folder, enum dump_kind kind, struct error *err) {
  char path[FILE_PATH_SIZE + 32];
  *writer = NULL;
  if (strlen(folder) >= FILE_PATH_SIZE - 32) return fail(err, "%.80s...: the path is too long", folder);
  snprintf(path, sizeof path, "%s/" DUMP_MANIFEST, folder);
  if (access(path, F_OK) == 0) return fail(err, "%s: there is a dump already; remove it, or choose another folder", folder);
  bool there = access(folder, F_OK) == 0;
  if (!folder_create(folder, err)) return false;
  struct dump_writer *w = calloc(1, sizeof *w);
  char *held = malloc(HELD);
  json_t *described = json_object();
  if (!w || !held || !described) {
    free(w), free(held), json_decref(described);
    return fail(err, "%s: out of memory", folder);
  }
  w->kind = kind, w->fd = -1, w->held = held, w->described = described, w->made_folder = !there;
  memcpy(w->folder, folder, strlen(folder) + 1);
  *writer = w;
  dump_describe(w, "format", json_string("ediy-dump-1"));
  dump_describe(w, "kind", json_string(kind == DUMP_FULL ? "full" : "digest"));
  dump_describe(w, "layout", json_string("NHWC,KRSC"));
  return true;
}

void dump_describe(struct dump_writer *w, const char *key, json_t *value) { json_object_set_new(w->described, key, value); }

static void release(struct dump_writer *w) {
  if (w->fd >= 0) close(w->fd);
  json_decref(w->described);
  free(w->tensors.data);
  free(w->header.data);
  free(w->held);
  free(w);
}

void dump_abandon(struct dump_writer *w) {
  if (!w) return;
  for (int p = 0; p <= w->part; p++) {
    char path[FILE_PATH_SIZE + 32];
    part_path(w, p, path);
    unlink(path);
  }
  if (w->made_folder) rmdir(w->folder);
  release(w);
}

/* One key a line, then one tensor a line, so that two manifests can be read side by side. */
static bool write_manifest(const char *folder, json_t *described, const struct text *tensors, struct error *err) {
  struct text all = {0};
  char path[FILE_PATH_SIZE + 32];
  const char *key;
  json_t *value;
  bool ok = append(&all, "{\n");
  json_object_foreach(described, key, value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    ok = ok && text && append(&all, "\"%s\":%s,\n", key, text);
    free(text);
  }
  ok = ok && append(&all, "\"tensors\":[\n%s\n]}\n", tensors->data);
  snprintf(path, sizeof path, "%s/" DUMP_MANIFEST, folder);
  ok = ok ? file_replace(path, all.data, all.size, err) : fail(err, "%s: out of memory", path);
  free(all.data);
  return ok;
}

bool dump_commit(struct dump_writer *w, struct error *err) {
  bool ok = (w->tensors.size > 0 || fail(err, "%s: nothing to write", w->folder)) && end_part(w, err) &&
            write_manifest(w->folder, w->described, &w->tensors, err);
  if (ok)
    release(w);
  else
    dump_abandon(w);
  return ok;
}

bool dump_annotate(const struct dump *d, const double *drift, struct error *err) {
  struct text tensors = {0};
  bool ok = true;
  for (int i = 0; ok && i < d->count; i++) {
    struct dump_entry e = d->entry[i];
    e.drift = drift[i];
    ok = append_line(&tensors, &e, d) || fail(err, "%s: out of memory", d->path);
  }
  ok = ok && write_manifest(d->path, d->manifest, &tensors, err);
  free(tensors.data);
  return ok;
}
