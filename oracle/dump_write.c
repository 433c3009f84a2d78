/* Tensors are copied to a stage, and when it is full they are hashed and written together, by all threads: hashing is what a dump costs most, and
 * one tensor cannot be hashed by two. One that is larger than the stage is hashed by one thread while another writes it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sha256.h"
#include "oracle/digest.h"
#include "oracle/dump.h"
#include "oracle/dump_part.h"

enum {
  STAGE = 64 << 20, /* bytes */
  STAGED = 4096,    /* tensors */
  ALIGN = 64,
  WORTH_THREADS = 1 << 18 /* bytes */
};

struct staged {
  struct dump_entry e;
  struct tensor t; /* on the stage, or the caller's */
  size_t bytes;
  size_t offset; /* of what is written, in the part */
};

struct dump_writer {
  char folder[FILE_PATH_SIZE];
  bool made_folder;
  enum dump_kind kind;
  json_t *described;
  struct text tensors; /* lines of the manifest */
  struct dump_part part;
  char *stage;
  size_t used;
  struct staged *staged;
  int count;
};

static bool memory(const char *folder, struct error *err) { return fail(err, "%s: out of memory", folder); }

/* ---- the manifest's lines ----------------------------------------------------------------------------------------------------------- */

/* d: the dump whose precision and chain an entry need not repeat, or null. */
static bool append_line(struct text *t, const struct dump_entry *e, const struct dump *d) {
  bool ok = text_append(t, "%s{\"name\":\"%s\",\"part\":%d,\"dtype\":\"%s\",\"shape\":[", t->size ? ",\n" : "", e->name, e->part,
                        dtype_name(e->dtype));
  for (int i = 0; i < e->ndim; i++) ok = ok && text_append(t, i ? ",%td" : "%td", e->shape[i]);
  ok = ok && text_append(t, "],\"sha256\":\"%s\"", e->sha256);
  if (d && e->precision != d->precision) ok = ok && text_append(t, ",\"precision\":\"%s\"", precision_classes[e->precision].name);
  if (d && e->chain != d->chain) ok = ok && text_append(t, ",\"chain\":%.0f", e->chain);
  if (e->drift >= 0) ok = ok && text_append(t, ",\"drift\":{\"l2\":%.3g}", e->drift);
  return ok && text_append(t, "}");
}

/* ---- the stage ---------------------------------------------------------------------------------------------------------------------- */

/* Writes what the part gets of a tensor: itself, or its digest. */
static bool put(const struct dump_writer *w, const struct staged *s, struct error *err) {
  if (w->kind == DUMP_FULL) return dump_part_write(&w->part, s->t.data, s->bytes, s->offset, err);
  struct digest g;
  digest_tensor(&g, &s->t);
  return dump_part_write(&w->part, g.value, (size_t)digest_length(s->t.dtype, tensor_count(&s->t)) * sizeof(double), s->offset, err);
}

/* Hashes one or two tensors. */
static void hash(struct staged *a, struct staged *b) {
  const void *const data[2] = {a->t.data, b ? b->t.data : NULL};
  const size_t size[2] = {a->bytes, b ? b->bytes : 0};
  unsigned char digest[2][32];
  sha256_of_two(data, size, digest);
  sha256_hex(digest[0], a->e.sha256);
  if (b) sha256_hex(digest[1], b->e.sha256);
}

static int by_size(const void *a, const void *b) {
  const struct staged *const *x = a, *const *y = b;
  return ((*x)->bytes < (*y)->bytes) - ((*x)->bytes > (*y)->bytes);
}

/* Hashes and writes everything on the stage, largest first, two of about the same size at a time. */
static bool hash_and_put_all(struct dump_writer *w, struct error *err) {
  struct staged **order = malloc((size_t)w->count * sizeof *order);
  bool ok = order != NULL || memory(w->folder, err);
  for (int i = 0; ok && i < w->count; i++) order[i] = &w->staged[i];
  if (ok) qsort(order, (size_t)w->count, sizeof *order, by_size);
  const bool ordered = ok;
#pragma omp parallel for schedule(dynamic) if (w->used > WORTH_THREADS)
  for (int i = 0; i < (ordered ? w->count : 0); i += 2) {
    struct error mine;
    struct staged *second = i + 1 < w->count ? order[i + 1] : NULL;
    hash(order[i], second);
    if (!put(w, order[i], &mine) || (second && !put(w, second, &mine))) {
#pragma omp critical(dump_write)
      {
        if (ok) *err = mine;
        ok = false;
      }
    }
  }
  free(order);
  return ok;
}

/* ending: nothing more comes into this part. */
static bool clear_stage(struct dump_writer *w, bool ending, struct error *err) {
  if (w->count == 0) return true;
  if (!dump_part_open(&w->part, ending, err) || !hash_and_put_all(w, err)) return false;
  for (int i = 0; i < w->count; i++) {
    if (!append_line(&w->tensors, &w->staged[i].e, NULL)) return memory(w->folder, err);
  }
  w->count = 0, w->used = 0;
  return true;
}

static bool end_part(struct dump_writer *w, struct error *err) {
  return w->part.size == 0 || (clear_stage(w, true, err) && dump_part_end(&w->part, err));
}

/* A tensor that is larger than the stage. */
static bool hash_and_put(struct dump_writer *w, struct staged *s, struct error *err) {
  bool ok = true;
  if (!dump_part_open(&w->part, false, err)) return false;
#pragma omp parallel sections num_threads(2)
  {
#pragma omp section
    hash(s, NULL);
#pragma omp section
    ok = put(w, s, err);
  }
  return ok && (append_line(&w->tensors, &s->e, NULL) || memory(w->folder, err));
}

bool dump_add(struct dump_writer *w, const struct tensor *t, struct error *err) {
  ptrdiff_t count = tensor_count(t);
  struct staged s = {.e = {.dtype = t->dtype, .ndim = t->ndim, .drift = -1}, .t = *t, .bytes = (size_t)count * dtype_size(t->dtype)};
  struct tensor kept = *t;
  if (!dump_name_parse(t->name, &s.e, err)) return false;
  assert(count > 0);
  memcpy(s.e.shape, t->shape, sizeof s.e.shape);
  if (w->kind == DUMP_DIGEST) kept.dtype = DTYPE_F64, kept.ndim = 1, kept.shape[0] = digest_length(t->dtype, count);
  size_t bytes = (size_t)tensor_count(&kept) * dtype_size(kept.dtype);
  if (bytes > dump_part_most()) return fail(err, "%s: %s has %zu bytes, a part at most 2 GiB", w->folder, t->name, bytes);
  if (dump_part_full(&w->part, bytes) && !end_part(w, err)) return false;
  if ((w->count == STAGED || s.bytes > STAGE - w->used) && !clear_stage(w, false, err)) return false;
  s.e.part = w->part.number;
  if (!dump_part_place(&w->part, t->name, &kept, &s.offset, err)) return false;
  if (s.bytes > STAGE) return hash_and_put(w, &s, err);
  struct staged *to = &w->staged[w->count++];
  *to = s;
  to->t.data = memcpy(w->stage + w->used, t->data, s.bytes);
  w->used += (s.bytes + ALIGN - 1) / ALIGN * ALIGN;
  return true;
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
  char *stage = aligned_alloc(ALIGN, STAGE);
  struct staged *staged = malloc(STAGED * sizeof *staged);
  json_t *described = json_object();
  if (!w || !stage || !staged || !described) {
    free(w), free(stage), free(staged), json_decref(described);
    return memory(folder, err);
  }
  w->kind = kind, w->stage = stage, w->staged = staged, w->described = described, w->made_folder = !there;
  memcpy(w->folder, folder, strlen(folder) + 1);
  w->part = (struct dump_part){.folder = w->folder, .fd = -1};
  *writer = w;
  dump_describe(w, "format", json_string("ediy-dump-1"));
  dump_describe(w, "kind", json_string(kind == DUMP_FULL ? "full" : "digest"));
  dump_describe(w, "layout", json_string("NHWC,KRSC"));
  return true;
}

void dump_describe(struct dump_writer *w, const char *key, json_t *value) { json_object_set_new(w->described, key, value); }

static void release(struct dump_writer *w, bool remove) {
  dump_part_release(&w->part, remove);
  json_decref(w->described);
  free(w->tensors.data);
  free(w->stage);
  free(w->staged);
  if (remove && w->made_folder) rmdir(w->folder);
  free(w);
}

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
    ok = append_line(&tensors, &e, d) || fail(err, "%s: out of memory", d->path);
  }
  ok = ok && write_manifest(d->path, d->manifest, &tensors, err);
  free(tensors.data);
  return ok;
}
