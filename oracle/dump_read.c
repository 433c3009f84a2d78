#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "oracle/digest.h"
#include "oracle/dump.h"

enum { MANIFEST_LIMIT = 1 << 30, PART_LIMIT = 100000 };

static const char format_name[] = "ediy-dump-1", layout_name[] = "NHWC,KRSC";

/* ---- the manifest ------------------------------------------------------------------------------------------------------------------- */

static bool memory(const char *path, struct error *err) { return fail(err, "%s: out of memory for its manifest", path); }

static bool parse_precision(const json_t *value, enum precision *p) {
  const char *text = json_string_value(value);
  for (int i = 0; text && i < PRECISION_COUNT; i++) {
    if (strcmp(text, precision_classes[i].name) != 0) continue;
    *p = (enum precision)i;
    return true;
  }
  return false;
}

static bool parse_chain(const json_t *value, double *chain) {
  if (!json_is_integer(value) || json_integer_value(value) < 1) return false;
  *chain = (double)json_integer_value(value);
  return true;
}

static bool parse_shape(const json_t *shape, struct dump_entry *e) {
  size_t ndim = json_array_size(shape);
  if (!json_is_array(shape) || ndim > TENSOR_MAX_DIMS) return false;
  struct tensor t = {.ndim = (int)ndim};
  for (int i = 0; i < t.ndim; i++) {
    const json_t *size = json_array_get(shape, (size_t)i);
    if (!json_is_integer(size) || json_integer_value(size) < 0) return false;
    t.shape[i] = (ptrdiff_t)json_integer_value(size);
  }
  ptrdiff_t bytes, count = tensor_count(&t);
  if (count < 1 || __builtin_mul_overflow(count, (ptrdiff_t)sizeof(double), &bytes)) return false;
  e->ndim = t.ndim;
  memcpy(e->shape, t.shape, sizeof e->shape);
  return true;
}

static bool parse_sha256(const json_t *value, struct dump_entry *e) {
  const char *text = json_string_value(value);
  if (!text || strlen(text) != SHA256_HEX_SIZE - 1 || strspn(text, "0123456789abcdef") != SHA256_HEX_SIZE - 1) return false;
  memcpy(e->sha256, text, SHA256_HEX_SIZE);
  return true;
}

/* {"l2": x}, or nothing. */
static bool parse_drift(const json_t *value, struct dump_entry *e) {
  e->drift = -1;
  if (!value) return true;
  const json_t *l2 = json_object_get(value, "l2");
  if (!json_is_number(l2)) return false;
  e->drift = json_number_value(l2);
  return e->drift >= 0 && isfinite(e->drift);
}

static bool parse_entry(const struct dump *d, const json_t *o, struct dump_entry *e, struct error *err) {
  const char *name = json_string_value(json_object_get(o, "name"));
  if (!name) return fail(err, "a tensor without a name");
  if (!dump_name_parse(name, e, err)) return false;
  const char *dtype = json_string_value(json_object_get(o, "dtype"));
  if (!dtype || !dtype_parse(dtype, &e->dtype) || e->dtype == DTYPE_F16)
    return fail(err, "tensor %s: dtype is one of F32 F64 BF16 I32 I64 U8", name);
  if (!parse_shape(json_object_get(o, "shape"), e))
    return fail(err, "tensor %s: shape is a list of at most %d sizes with at least one element", name, TENSOR_MAX_DIMS);
  if (!parse_sha256(json_object_get(o, "sha256"), e)) return fail(err, "tensor %s: sha256 is not 64 digits in lower case", name);
  const json_t *part = json_object_get(o, "part");
  if (!json_is_integer(part) || json_integer_value(part) < 0 || json_integer_value(part) >= PART_LIMIT)
    return fail(err, "tensor %s: part is not the number of a part", name);
  e->part = (int)json_integer_value(part);
  if (!parse_drift(json_object_get(o, "drift"), e)) return fail(err, "tensor %s: drift is {\"l2\": number of at least 0}", name);
  const json_t *precision = json_object_get(o, "precision"), *chain = json_object_get(o, "chain");
  e->precision = d->precision, e->chain = d->chain;
  if (precision && !parse_precision(precision, &e->precision)) return fail(err, "tensor %s: no such precision", name);
  if (chain && !parse_chain(chain, &e->chain)) return fail(err, "tensor %s: chain is a whole number of at least 1", name);
  return true;
}

struct named { /* for sorting */
  const char *name;
  int index;
};

static int name_order(const void *a, const void *b) { return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name); }

static bool index_names(struct dump *d, struct error *err) {
  struct named *sorted = malloc(((size_t)d->count + 1) * sizeof *sorted);
  d->by_name = malloc(((size_t)d->count + 1) * sizeof *d->by_name);
  if (!sorted || !d->by_name) {
    free(sorted);
    return fail(err, "out of memory");
  }
  for (int i = 0; i < d->count; i++) sorted[i] = (struct named){d->entry[i].name, i};
  qsort(sorted, (size_t)d->count, sizeof *sorted, name_order);
  bool ok = true;
  for (int i = 0; i < d->count; i++) {
    d->by_name[i] = sorted[i].index;
    if (ok && i > 0 && strcmp(sorted[i - 1].name, sorted[i].name) == 0) ok = fail(err, "tensor %s is there twice", sorted[i].name);
  }
  free(sorted);
  return ok;
}

static bool parse_entries(struct dump *d, const json_t *tensors, struct error *err) {
  size_t count = json_array_size(tensors);
  if (!json_is_array(tensors) || count == 0 || count > INT_MAX / 2) return fail(err, "\"tensors\" is not a list of tensors");
  if (!(d->entry = calloc(count, sizeof *d->entry))) return fail(err, "out of memory for %zu tensors", count);
  for (size_t i = 0; i < count; i++) {
    struct dump_entry *e = &d->entry[i];
    if (!parse_entry(d, json_array_get(tensors, i), e, err)) return false;
    if (e->part + 1 > d->parts) d->parts = e->part + 1;
    d->count++;
    if (i > 0 && dump_name_rank(e) < dump_name_rank(e - 1))
      return fail(err, "tensor %s stands behind %s; the order is that of execution (docs/golden-format.md)", e->name, (e - 1)->name);
  }
  return index_names(d, err);
}

static bool parse_steps(const struct dump *d, const json_t *steps, struct error *err) {
  if (!json_is_array(steps) || json_array_size(steps) == 0) return fail(err, "\"steps\" is not a list of steps");
  for (size_t i = 0; i < json_array_size(steps); i++) {
    const json_t *s = json_array_get(steps, i);
    if (!json_is_integer(json_object_get(s, "step")) || !json_is_number(json_object_get(s, "lr")) ||
        !json_is_number(json_object_get(s, "tau")))
      return fail(err, "steps[%zu] has not the numbers step, lr and tau", i);
  }
  int last = d->entry[d->count - 1].step;
  return (size_t)last < json_array_size(steps) || fail(err, "tensors are of step %d, and \"steps\" has %zu", last, json_array_size(steps));
}

static bool parse_manifest(struct dump *d, struct error *err) {
  static const char *const kinds[] = {"full", "digest"};
  const json_t *m = d->manifest, *chain = json_object_get(m, "chain");
  const char *format = json_string_value(json_object_get(m, "format")), *kind = json_string_value(json_object_get(m, "kind"));
  const char *layout = json_string_value(json_object_get(m, "layout"));
  if (!format || strcmp(format, format_name) != 0)
    return fail(err, "not a dump: \"format\" is \"%.40s\", expected \"%s\"", format ? format : "(none)", format_name);
  if (!kind || (strcmp(kind, kinds[0]) != 0 && strcmp(kind, kinds[1]) != 0)) return fail(err, "\"kind\" is not full or digest");
  d->kind = strcmp(kind, kinds[1]) == 0 ? DUMP_DIGEST : DUMP_FULL;
  if (!layout || strcmp(layout, layout_name) != 0) return fail(err, "\"layout\" is not \"%s\"", layout_name);
  if (!parse_precision(json_object_get(m, "precision"), &d->precision))
    return fail(err, "\"precision\" is one of fp64 fp32 tf32 bf16 fp16 bf16-out fp32-rz");
  d->chain = 1024;
  if (chain && !parse_chain(chain, &d->chain)) return fail(err, "\"chain\" is a whole number of at least 1");
  if (!json_is_object(json_object_get(m, "attrs"))) return fail(err, "\"attrs\" is not a JSON object");
  if (!json_is_string(json_object_get(m, "producer"))) return fail(err, "\"producer\" is not a text");
  return parse_entries(d, json_object_get(m, "tensors"), err) && parse_steps(d, json_object_get(m, "steps"), err);
}

bool dump_parse(struct dump *d, const char *text, size_t size, const char *path, struct error *err) {
  json_error_t problem;
  *d = (struct dump){.path = strdup(path)};
  if (!d->path) return memory(path, err);
  d->manifest = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
  bool ok = d->manifest ? parse_manifest(d, err) || fail_within(err, "%s/" DUMP_MANIFEST, path)
                        : fail(err, "%s/" DUMP_MANIFEST ": not valid JSON at byte %d: %s", path, problem.position, problem.text);
  if (!ok) {
    dump_close(d);
    return false;
  }
  json_object_del(d->manifest, "tensors"); /* most of its memory */
  return true;
}

/* ---- the parts ---------------------------------------------------------------------------------------------------------------------- */

/* Is the tensor of the part what the manifest says? */
static bool fits(const struct dump *d, const struct dump_entry *e, const struct tensor *t, struct error *err) {
  if (d->kind == DUMP_DIGEST) {
    return digest_fits(e->dtype, e->ndim, e->shape, t) ||
           fail(err, "%s: part %d: %s is no digest of such a tensor", d->path, e->part, e->name);
  }
  bool same = t->ndim == e->ndim && t->dtype == e->dtype;
  for (int i = 0; same && i < e->ndim; i++) same = t->shape[i] == e->shape[i];
  return same || fail(err, "%s: part %d: dtype or shape of %s is not that of the manifest", d->path, e->part, e->name);
}

static bool attach_part(struct dump *d, int p, struct error *err) {
  char path[FILE_PATH_SIZE];
  snprintf(path, sizeof path, "%s/part-%05d.safetensors", d->path, p);
  if (!safetensors_open(&d->part[p], path, err)) return false;
  for (int i = 0; i < d->part[p].count; i++) {
    const struct tensor *t = &d->part[p].tensor[i];
    const struct dump_entry *e = dump_find(d, "%s", t->name);
    if (!e || e->part != p) return fail(err, "%s: holds tensor %s, which the manifest does not say", path, t->name);
    struct dump_entry *own = &d->entry[e - d->entry];
    if (!fits(d, own, t, err)) return false;
    own->data = *t;
  }
  return true;
}

static bool attach(struct dump *d, struct error *err) {
  int parts = d->parts;
  d->part = calloc((size_t)parts, sizeof *d->part);
  if (!d->part) return memory(d->path, err);
  for (int p = 0; p < parts; p++)
    if (!attach_part(d, p, err)) return false;
  for (int i = 0; i < d->count; i++) {
    const struct dump_entry *e = &d->entry[i];
    if (!e->data.data) return fail(err, "%s: part-%05d.safetensors has no tensor %s", d->path, e->part, e->name);
  }
  return true;
}

bool dump_open(struct dump *d, const char *folder, struct error *err) {
  char path[FILE_PATH_SIZE], *text;
  size_t size;
  *d = (struct dump){0};
  if (snprintf(path, sizeof path, "%s/" DUMP_MANIFEST, folder) >= (int)sizeof path)
    return fail(err, "%.80s...: the path is too long", folder);
  if (!file_read(path, MANIFEST_LIMIT, &text, &size, err)) return fail_within(err, "%s: is no dump", folder);
  bool ok = dump_parse(d, text, size, folder, err);
  free(text);
  if (ok && !attach(d, err)) {
    dump_close(d);
    return false;
  }
  return ok;
}

void dump_close(struct dump *d) {
  for (int p = 0; d->part && p < d->parts; p++) safetensors_close(&d->part[p]);
  free(d->part);
  free(d->entry);
  free(d->by_name);
  json_decref(d->manifest);
  free((char *)(uintptr_t)d->path);
  *d = (struct dump){0};
}

/* Hashes tensors i and i + 1; returns the first whose hash is not the manifest's, or -1, and its hash. */
static int damaged_of_two(const struct dump *d, int i, char hex[SHA256_HEX_SIZE]) {
  const void *data[2] = {NULL, NULL};
  size_t size[2] = {0, 0};
  unsigned char digest[2][32];
  int count = i + 1 < d->count ? 2 : 1;
  for (int k = 0; k < count; k++) {
    const struct tensor *t = &d->entry[i + k].data;
    data[k] = t->data, size[k] = (size_t)tensor_count(t) * dtype_size(t->dtype);
  }
  sha256_of_two(data, size, digest);
  for (int k = 0; k < count; k++) {
    sha256_hex(digest[k], hex);
    if (strcmp(hex, d->entry[i + k].sha256) != 0) return i + k;
  }
  return -1;
}

bool dump_verify(const struct dump *d, struct error *err) {
  if (d->kind == DUMP_DIGEST) return true;
  int first = d->count; /* of a pair with a damaged tensor */
#pragma omp parallel for schedule(dynamic) reduction(min : first)
  for (int i = 0; i < d->count; i += 2) {
    char hex[SHA256_HEX_SIZE];
    if (i < first && damaged_of_two(d, i, hex) >= 0) first = i;
  }
  char hex[SHA256_HEX_SIZE];
  int bad = first < d->count ? damaged_of_two(d, first, hex) : -1;
  if (bad < 0) return true;
  const struct dump_entry *e = &d->entry[bad];
  return fail(err, "%s: tensor %s has SHA-256 %s, the manifest says %s; the dump is damaged", d->path, e->name, hex, e->sha256);
}

const struct dump_entry *dump_find(const struct dump *d, const char *format, ...) {
  char name[TENSOR_MAX_NAME];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(name, sizeof name, format, args);
  va_end(args);
  if (length < 0 || length >= (int)sizeof name) return NULL;
  int low = 0, high = d->count;
  while (low < high) {
    int middle = low + (high - low) / 2, order = strcmp(name, d->entry[d->by_name[middle]].name);
    if (order == 0) return &d->entry[d->by_name[middle]];
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return NULL;
}
