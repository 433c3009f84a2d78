/* Hashing is what a dump costs most, and one tensor cannot be hashed by two threads. So tensors gather, 64 MiB of them, and are then hashed
 * side by side, by all threads and two by each (sha256.h), while a thread of the part writes them. One that is larger is hashed by one
 * thread while another hands it to the part in pieces. Of a digest dump the tensors gather on a stage of their own, and the part gets their
 * digests. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sha256.h"
#include "oracle/digest.h"
#include "oracle/dump.h"
#include "oracle/dump_part.h"

enum {
  STAGE = 64 << 20,     /* bytes */
  LARGE = STAGE - 4096, /* a larger tensor does not gather: a buffer of a part may begin with the rest of a block */
  ROWS = 4 << 20,       /* bytes of digests that are written at a time */
  STAGED = 4096,        /* tensors */
  ALIGN = 64,
  WORTH_THREADS = 1 << 18 /* bytes */
};

struct staged {
  struct dump_entry e;
  struct tensor t; /* in the part's buffer, on the stage, or the caller's */
  size_t bytes;
  double *row;               /* of a digest dump: the place of its digest in the part's buffer */
  bool own_class, own_chain; /* not the dump's */
};

struct dump_writer {
  char folder[FILE_PATH_SIZE];
  bool made_folder;
  int lock; /* the folder, held open; -1: not locked */
  enum dump_kind kind;
  json_t *described;
  struct text tensors; /* lines of the manifest */
  struct dump_part part;
  char *stage; /* of a digest dump */
  size_t used;
  struct staged *staged;
  int count;
  size_t bytes; /* of the staged tensors */
};

static bool memory(const char *folder, struct error *err) { return fail(err, "%s: out of memory", folder); }

/* ---- the manifest's lines ----------------------------------------------------------------------------------------------------------- */

/* An entry need not repeat what is the dump's. */
static bool append_line(struct text *t, const struct dump_entry *e, bool precision_differs, bool chain_differs) {
  bool ok = text_append(t, "%s{\"name\":\"%s\",\"part\":%d,\"dtype\":\"%s\",\"shape\":[", t->size ? ",\n" : "", e->name, e->part,
                        dtype_name(e->dtype));
  for (int i = 0; i < e->ndim; i++) ok = ok && text_append(t, i ? ",%td" : "%td", e->shape[i]);
  ok = ok && text_append(t, "],\"sha256\":\"%s\"", e->sha256);
  if (precision_differs) ok = ok && text_append(t, ",\"precision\":\"%s\"", precision_classes[e->precision].name);
  if (chain_differs) ok = ok && text_append(t, ",\"chain\":%.0f", e->chain);
  if (e->drift >= 0) ok = ok && text_append(t, ",\"drift\":{\"l2\":%.3g}", e->drift);
  return ok && text_append(t, "}");
}

/* ---- gathering ---------------------------------------------------------------------------------------------------------------------- */

/* Hashes one or two tensors. */
static void hash(struct staged *a, struct staged *b) {
  const void *const data[2] = {a->t.data, b ? b->t.data : NULL};
  const size_t size[2] = {a->bytes, b ? b->bytes : 0};
  unsigned char digest[2][32];
  sha256_of_two(data, size, digest);
  sha256_hex(digest[0], a->e.sha256);
  if (b) sha256_hex(digest[1], b->e.sha256);
}

static void make_digest(const struct staged *s) {
  struct digest g;
  if (!s || !s->row) return;
  digest_tensor(&g, &s->t);
  memcpy(s->row, g.value, (size_t)digest_length(s->t.dtype, tensor_count(&s->t)) * sizeof *s->row);
}

static int by_size(const void *a, const void *b) {
  const struct staged *const *x = a, *const *y = b;
  return ((*x)->bytes < (*y)->bytes) - ((*x)->bytes > (*y)->bytes);
}

/* Does with all that have gathered what has to be done, largest first, two of about the same size at a time. */
static bool clear_stage(struct dump_writer *w, struct error *err) {
  if (w->count == 0) return true;
  struct staged **order = malloc((size_t)w->count * sizeof *order);
  if (!order) return memory(w->folder, err);
  for (int i = 0; i < w->count; i++) order[i] = &w->staged[i];
  qsort(order, (size_t)w->count, sizeof *order, by_size);
#pragma omp parallel for schedule(dynamic) if (w->bytes > WORTH_THREADS)
  for (int i = 0; i < w->count; i += 2) {
    struct staged *second = i + 1 < w->count ? order[i + 1] : NULL;
    hash(order[i], second);
    make_digest(order[i]);
    make_digest(second);
  }
  free(order);
  for (int i = 0; i < w->count; i++) {
    if (!append_line(&w->tensors, &w->staged[i].e, w->staged[i].own_class, w->staged[i].own_chain)) return memory(w->folder, err);
  }
  w->count = 0, w->used = 0, w->bytes = 0;
  return true;
}

static bool end_part(struct dump_writer *w, struct error *err) { return clear_stage(w, err) && dump_part_end(&w->part, err); }

/* Makes room for a tensor, of which the part gets `kept` bytes. */
static bool make_room(struct dump_writer *w, size_t bytes, size_t kept, struct error *err) {
  bool fits = dump_part_fits(&w->part, kept), staged = w->count < STAGED && (w->kind == DUMP_FULL || bytes <= STAGE - w->used);
  if (w->kind == DUMP_FULL && !fits) return dump_part_turn(&w->part, err) && clear_stage(w, err); /* hashed while they are written */
  if ((!fits || !staged) && !clear_stage(w, err)) return false;
  return fits || dump_part_turn(&w->part, err);
}

/* A tensor that is too large to gather. row: its digest's place, or null. */
static bool add_large(struct dump_writer *w, struct staged *s, struct error *err) {
  bool ok = true;
  if (!clear_stage(w, err)) return false;
#pragma omp parallel sections num_threads(2)
  {
#pragma omp section
    hash(s, NULL);
#pragma omp section
    if (s->row)
      make_digest(s);
    else
      ok = dump_part_stream(&w->part, &s->t, err);
  }
  return ok && (append_line(&w->tensors, &s->e, s->own_class, s->own_chain) || memory(w->folder, err));
}

bool dump_add_as(struct dump_writer *w, const struct tensor *t, const enum precision *own, double chain, struct error *err) {
  const ptrdiff_t count = tensor_count(t);
  struct staged s = {.e = {.dtype = t->dtype, .ndim = t->ndim, .drift = -1}, .t = *t, .bytes = (size_t)count * dtype_size(t->dtype)};
  if (own) s.own_class = true, s.e.precision = *own;
  if (chain > 0) s.own_chain = true, s.e.chain = chain;
  struct tensor kept = *t;
  if (!dump_name_parse(t->name, &s.e, err)) return false;
  assert(count > 0);
  memcpy(s.e.shape, t->shape, sizeof s.e.shape);
  const bool digest = w->kind == DUMP_DIGEST, large = s.bytes > LARGE;
  if (digest) kept.dtype = DTYPE_F64, kept.ndim = 1, kept.shape[0] = digest_length(t->dtype, count);
  const size_t bytes = (size_t)tensor_count(&kept) * dtype_size(kept.dtype);
  if (bytes > dump_part_most()) return fail(err, "%s: %s has %zu bytes, a part at most 2 GiB", w->folder, t->name, bytes);
  if (dump_part_full(&w->part, bytes) && !end_part(w, err)) return false;
  s.e.part = w->part.number;
  if (large && !digest) return add_large(w, &s, err);
  if (!make_room(w, large ? 0 : s.bytes, bytes, err)) return false;
  void *place = dump_part_place(&w->part, t->name, &kept, err);
  if (!place) return false;
  if (digest) s.row = place;
  if (large) return add_large(w, &s, err);
  s.t.data = memcpy(digest ? w->stage + w->used : place, t->data, s.bytes);
  if (digest) w->used += (s.bytes + ALIGN - 1) / ALIGN * ALIGN;
  w->bytes += s.bytes;
  w->staged[w->count++] = s;
  return true;
}

bool dump_add(struct dump_writer *w, const struct tensor *t, struct error *err) { return dump_add_as(w, t, NULL, 0, err); }

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------- */

static void release(struct dump_writer *w, bool remove) {
  dump_part_release(&w->part, remove);
  json_decref(w->described);
  free(w->tensors.data);
  free(w->stage);
  free(w->staged);
  if (remove && w->made_folder) rmdir(w->folder);
  if (w->lock >= 0) close(w->lock);
  free(w);
}

/* Creates the folder and holds it for one writer, until *lock is closed, which the system does however the process ends. A file system that
 * locks no folder goes without. Whether there is a dump is asked behind the lock: another may have ended just now. */
static bool claim_folder(const char *folder, int *lock, struct error *err) {
  char path[FILE_PATH_SIZE + 32];
  snprintf(path, sizeof path, "%s/" DUMP_MANIFEST, folder);
  if (!folder_create(folder, err)) return false;
  *lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (*lock >= 0 && flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    fail(err, "%s: another process is writing a dump there; wait for it, or choose another folder", folder);
  else if (access(path, F_OK) == 0)
    fail(err, "%s: there is a dump already; remove it, or choose another folder", folder);
  else
    return true;
  if (*lock >= 0) close(*lock);
  return false;
}

bool dump_create(struct dump_writer **writer, const char *folder, enum dump_kind kind, struct error *err) {
  *writer = NULL;
  if (strlen(folder) >= FILE_PATH_SIZE - 32) return fail(err, "%.80s...: the path is too long", folder);
  bool there = access(folder, F_OK) == 0;
  struct dump_writer *w = calloc(1, sizeof *w);
  if (!w) return memory(folder, err);
  if (!claim_folder(folder, &w->lock, err)) return free(w), false;
  w->kind = kind, w->made_folder = !there;
  memcpy(w->folder, folder, strlen(folder) + 1);
  bool ok = dump_part_begin(&w->part, w->folder, kind == DUMP_FULL ? STAGE : ROWS, err);
  if (ok && kind == DUMP_DIGEST) w->stage = aligned_alloc(ALIGN, STAGE);
  w->staged = malloc(STAGED * sizeof *w->staged);
  w->described = json_object();
  if (ok && (!w->staged || !w->described || (kind == DUMP_DIGEST && !w->stage))) ok = memory(folder, err);
  if (!ok) return release(w, true), false;
  *writer = w;
  dump_describe(w, "format", json_string("ediy-dump-1"));
  dump_describe(w, "kind", json_string(kind == DUMP_FULL ? "full" : "digest"));
  dump_describe(w, "layout", json_string("NHWC,KRSC"));
  return true;
}

void dump_describe(struct dump_writer *w, const char *key, json_t *value) { json_object_set_new(w->described, key, value); }

void dump_abandon(struct dump_writer *w) {
  if (w) release(w, true);
}

/* One key a line, then one tensor a line, so that two manifests can be read side by side. */
static bool write_manifest(const char *folder, json_t *described, const struct text *tensors, struct error *err) {
  struct text all = {0};
  char path[FILE_PATH_SIZE + 32];
  const char *key;
  json_t *value;
  bool ok = text_append(&all, "{\n");
  json_object_foreach(described, key, value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    ok = ok && text && text_append(&all, "\"%s\":%s,\n", key, text);
    free(text);
  }
  ok = ok && text_append(&all, "\"tensors\":[\n%s\n]}\n", tensors->data);
  snprintf(path, sizeof path, "%s/" DUMP_MANIFEST, folder);
  ok = ok ? file_replace(path, all.data, all.size, err) : fail(err, "%s: out of memory", path);
  free(all.data);
  return ok;
}

bool dump_commit(struct dump_writer *w, struct error *err) {
  bool any = w->tensors.size > 0 || w->count > 0;
  bool ok = (any || fail(err, "%s: nothing to write", w->folder)) && end_part(w, err) &&
            write_manifest(w->folder, w->described, &w->tensors, err);
  release(w, !ok);
  return ok;
}

bool dump_annotate(const struct dump *d, const double *drift, struct error *err) {
  struct text tensors = {0};
  bool ok = true;
  for (int i = 0; ok && i < d->count; i++) {
    struct dump_entry e = d->entry[i];
    e.drift = drift[i];
    ok = append_line(&tensors, &e, e.precision != d->precision, e.chain != d->chain) || fail(err, "%s: out of memory", d->path);
  }
  ok = ok && write_manifest(d->path, d->manifest, &tensors, err);
  free(tensors.data);
  return ok;
}
