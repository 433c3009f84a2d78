#include "base/safetensors.h"

#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian and the data is used as it lies in the file");

enum { PREFIX = 8, HEADER_MAX = 100000000 }; /* bytes; the limit of the format's own reader */

/* ---- reading ------------------------------------------------------------------------------------------------------------------- */

/* A tensor with the place the header gives it, counted from the end of the header. */
struct extent {
  struct tensor tensor;
  int64_t begin, end;
};

/* By place; of those that begin together the empty ones first, in the order of their names, so that the order is always the same. */
static int by_offset(const void *a, const void *b) {
  const struct extent *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end) return x->end < y->end ? -1 : 1;
  return strcmp(x->tensor.name, y->tensor.name);
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const struct tensor *const *)a)->name, (*(const struct tensor *const *)b)->name);
}

static bool fail_memory(const char *path, struct error *err) { return fail(err, "%s: out of memory for its header", path); }

/* One entry of the header, "name": {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}, with data_size bytes of data behind
 * the header. */
static bool parse_tensor(struct extent *e, const char *name, const json_t *entry, size_t data_size, const char *path, struct error *err) {
  struct tensor *t = &e->tensor;
  size_t length = strlen(name);
  if (length >= TENSOR_MAX_NAME)
    return fail(err, "%s: tensor %.40s...: the name has %zu bytes, more than the %d read here", path, name, length, TENSOR_MAX_NAME - 1);
  memcpy(t->name, name, length + 1);

  const char *dtype = json_string_value(json_object_get(entry, "dtype"));
  if (!dtype) return fail(err, "%s: tensor %s: no dtype; the file is damaged", path, name);
  if (!dtype_parse(dtype, &t->dtype))
    return fail(err, "%s: tensor %s: dtype %.20s is not known here; convert it to one of F32 F64 BF16 F16 I32 I64 U8", path, name, dtype);

  const json_t *shape = json_object_get(entry, "shape");
  size_t ndim = json_array_size(shape);
  if (!json_is_array(shape)) return fail(err, "%s: tensor %s: no shape; the file is damaged", path, name);
  if (ndim > TENSOR_MAX_DIMS)
    return fail(err, "%s: tensor %s: %zu dimensions, more than the %d read here", path, name, ndim, TENSOR_MAX_DIMS);
  t->ndim = (int)ndim;
  for (int i = 0; i < t->ndim; i++) {
    const json_t *size = json_array_get(shape, (size_t)i);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
      return fail(err, "%s: tensor %s: dimension %d of its shape is not a whole number >= 0; the file is damaged", path, name, i);
    t->shape[i] = (ptrdiff_t)json_integer_value(size);
  }
  ptrdiff_t count = tensor_count(t), bytes;
  if (count < 0 || __builtin_mul_overflow(count, (ptrdiff_t)dtype_size(t->dtype), &bytes))
    return fail(err, "%s: tensor %s: its shape is larger than any memory; the file is damaged", path, name);

  const json_t *offsets = json_object_get(entry, "data_offsets");
  const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
  if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
    return fail(err, "%s: tensor %s: data_offsets are not two whole numbers; the file is damaged", path, name);
  e->begin = json_integer_value(begin), e->end = json_integer_value(end);
  if (e->begin < 0 || e->begin > e->end)
    return fail(err, "%s: tensor %s: data_offsets [%" PRId64 ", %" PRId64 "] are no interval; the file is damaged", path, name, e->begin,
                e->end);
  if ((uint64_t)e->end > data_size)
    return fail(err, "%s: tensor %s: ends at byte %" PRId64 " of %zu bytes of data; the file is truncated: copy or download it again", path,
                name, e->end, data_size);
  if (e->end - e->begin != bytes)
    return fail(err, "%s: tensor %s: %" PRId64 " bytes of data where its shape and dtype %s need %td; the file is damaged", path, name,
                e->end - e->begin, dtype, bytes);
  return true;
}

static bool parse_metadata(struct safetensors *f, json_t *object, struct error *err) {
  if (!json_is_object(object)) return fail(err, "%s: __metadata__ is not a JSON object; the file is damaged", f->path);
  f->metadata = calloc(json_object_size(object) + 1, sizeof f->metadata[0]);
  if (!f->metadata) return fail_memory(f->path, err);
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value) {
    if (!json_is_string(value)) return fail(err, "%s: metadata %.100s is not a string; the file is damaged", f->path, key);
    struct safetensors_metadata *m = &f->metadata[f->metadata_count++];
    m->key = strdup(key), m->value = strdup(json_string_value(value));
    if (!m->key || !m->value) return fail_memory(f->path, err);
  }
  return true;
}

/* The tensors must fill the data exactly: sorted by place, each begins where the one before it ends. */
static bool check_cover(const struct extent *e, int count, size_t data_size, const char *path, struct error *err) {
  int64_t end = 0;
  for (int i = 0; i < count; i++) {
    if (e[i].begin < end)
      return fail(err, "%s: tensors %s and %s overlap; the file is damaged", path, e[i - 1].tensor.name, e[i].tensor.name);
    if (e[i].begin > end)
      return fail(err, "%s: %" PRId64 " bytes before tensor %s belong to no tensor; the file is damaged", path, e[i].begin - end,
                  e[i].tensor.name);
    end = e[i].end;
  }
  if ((uint64_t)end != data_size)
    return fail(err, "%s: %" PRIu64 " bytes at the end belong to no tensor; the file is damaged", path,
                (uint64_t)data_size - (uint64_t)end);
  return true;
}

/* Fills f->tensor and f->by_name from extents that have been checked. */
static bool index_tensors(struct safetensors *f, const struct extent *e, int count, const char *data, struct error *err) {
  f->tensor = malloc(((size_t)count + 1) * sizeof f->tensor[0]);
  f->by_name = malloc(((size_t)count + 1) * sizeof f->by_name[0]);
  const struct tensor **sorted = malloc(((size_t)count + 1) * sizeof sorted[0]);
  if (!f->tensor || !f->by_name || !sorted) {
    free(sorted);
    return fail_memory(f->path, err);
  }
  f->count = count;
  for (int i = 0; i < count; i++) {
    f->tensor[i] = e[i].tensor;
    f->tensor[i].data = (void *)(uintptr_t)(data + e[i].begin); /* struct tensor has no const form; readers do not write */
    sorted[i] = &f->tensor[i];
  }
  qsort(sorted, (size_t)count, sizeof sorted[0], by_name);
  for (int i = 0; i < count; i++) f->by_name[i] = (int)(sorted[i] - f->tensor);
  free(sorted);
  return true;
}

static bool parse_header(struct safetensors *f, json_t *header, const char *data, size_t data_size, struct error *err) {
  if (!json_is_object(header)) return fail(err, "%s: the header is not a JSON object; the file is damaged", f->path);
  assert(json_object_size(header) < INT_MAX); /* by HEADER_MAX */
  struct extent *extent = calloc(json_object_size(header) + 1, sizeof *extent);
  if (!extent) return fail_memory(f->path, err);
  int count = 0;
  bool ok = true;
  const char *name;
  json_t *entry;
  json_object_foreach(header, name, entry) {
    if (strcmp(name, "__metadata__") == 0)
      ok = parse_metadata(f, entry, err);
    else
      ok = parse_tensor(&extent[count++], name, entry, data_size, f->path, err);
    if (!ok) break;
  }
  if (ok) {
    qsort(extent, (size_t)count, sizeof *extent, by_offset);
    ok = check_cover(extent, count, data_size, f->path, err) && index_tensors(f, extent, count, data, err);
  }
  free(extent);
  return ok;
}

static bool parse(struct safetensors *f, const char *bytes, size_t size, struct error *err) {
  if (size < PREFIX) return fail(err, "%s: %zu bytes are too few for a safetensors file; it is truncated or something else", f->path, size);
  uint64_t length;
  memcpy(&length, bytes, sizeof length);
  bool zip = memcmp(bytes, "PK\3\4", 4) == 0, pickle = memcmp(bytes, "\x80\2", 2) == 0 && length > HEADER_MAX; /* before PyTorch 1.6 */
  if (zip || pickle)
    return fail(err, "%s: a %s, such as torch.save writes; write it again by safetensors.torch.save_file(state_dict, FILE)", f->path,
                zip ? "zip archive" : "pickle");
  if (length > HEADER_MAX)
    return fail(err, "%s: not a safetensors file (its header would have %" PRIu64 " bytes, the format allows %d)", f->path, length,
                HEADER_MAX);
  if (length > size - PREFIX)
    return fail(err, "%s: the header of %" PRIu64 " bytes ends beyond the file's %zu; it is truncated: copy or download it again", f->path,
                length, size);
  const char *text = bytes + PREFIX;
  if (length == 0 || text[0] != '{') return fail(err, "%s: not a safetensors file (its header does not begin with '{')", f->path);
  json_error_t error;
  json_t *header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
  if (!header)
    return fail(err, "%s: the header is not valid JSON at byte %d: %s; the file is damaged", f->path, PREFIX + error.position, error.text);
  bool ok = parse_header(f, header, text + length, size - PREFIX - (size_t)length, err);
  json_decref(header);
  return ok;
}

bool safetensors_parse(struct safetensors *f, const void *data, size_t size, const char *path, struct error *err) {
  *f = (struct safetensors){.path = strdup(path)};
  if (!f->path) return fail_memory(path, err);
  if (parse(f, data, size, err)) return true;
  safetensors_close(f);
  return false;
}

/* A folder in place of a file, that of a run say: the first of its files that could have been meant. */
static bool is_folder(const char *path, struct error *err) {
  char first[256] = "";
  DIR *folder = opendir(path);
  if (!folder) return false;
  for (const struct dirent *e; (e = readdir(folder));) {
    const char *dot = strrchr(e->d_name, '.');
    if (!dot || strcmp(dot, ".safetensors") != 0 || e->d_name[0] == '.') continue;
    if (!first[0] || strcmp(e->d_name, first) < 0) snprintf(first, sizeof first, "%s", e->d_name);
  }
  closedir(folder);
  if (first[0]) return !fail(err, "%s: is a folder; give a file in it, such as %s/%s", path, path, first);
  return !fail(err, "%s: is a folder; a safetensors file is expected", path);
}

bool safetensors_open(struct safetensors *f, const char *path, struct error *err) {
  *f = (struct safetensors){0};
  int fd;
  size_t size;
  if (is_folder(path, err) || !file_open(path, &fd, &size, err)) return false;
  void *map = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL; /* nothing cannot be mapped */
  close(fd);
  if (map == MAP_FAILED) return fail(err, "%s: cannot be mapped into memory (%zu bytes)", path, size);
  if (!safetensors_parse(f, map, size, path, err)) {
    if (map) munmap(map, size);
    return false;
  }
  f->map = map, f->map_size = size;
  return true;
}

void safetensors_close(struct safetensors *f) {
  for (int i = 0; i < f->metadata_count; i++) {
    free(f->metadata[i].key);
    free(f->metadata[i].value);
  }
  free(f->metadata);
  free(f->tensor);
  free(f->by_name);
  free(f->path);
  if (f->map) munmap(f->map, f->map_size);
  *f = (struct safetensors){0};
}

/* ---- looking up ---------------------------------------------------------------------------------------------------------------- */

const struct tensor *safetensors_find(const struct safetensors *f, const char *name) {
  int low = 0, high = f->count;
  while (low < high) {
    int middle = low + (high - low) / 2;
    const struct tensor *t = &f->tensor[f->by_name[middle]];
    int order = strcmp(name, t->name);
    if (order == 0) return t;
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return NULL;
}

const char *safetensors_metadata(const struct safetensors *f, const char *key) {
  for (int i = 0; i < f->metadata_count; i++)
    if (strcmp(f->metadata[i].key, key) == 0) return f->metadata[i].value;
  return NULL;
}

/* "[2, 3]" */
static void shape_text(int ndim, const ptrdiff_t *shape, char *text, size_t size) {
  size_t used = (size_t)snprintf(text, size, "[");
  for (int i = 0; i < ndim && used < size; i++) used += (size_t)snprintf(text + used, size - used, i ? ", %td" : "%td", shape[i]);
  if (used < size) snprintf(text + used, size - used, "]");
}

static bool is_float(enum dtype dtype) { return dtype == DTYPE_F32 || dtype == DTYPE_F64 || dtype == DTYPE_BF16 || dtype == DTYPE_F16; }

bool safetensors_load(const struct safetensors *f, const char *name, enum dtype dtype, int ndim, const ptrdiff_t *shape, void *data,
                      struct error *err) {
  const struct tensor *t = safetensors_find(f, name);
  if (!t) return fail(err, "%s: has no tensor %s; is it the right file?", f->path, name);
  bool same_shape = t->ndim == ndim;
  for (int i = 0; same_shape && i < ndim; i++) same_shape = t->shape[i] == shape[i];
  if (!same_shape) {
    enum { SHAPE_TEXT = TENSOR_MAX_DIMS * 22 + 4 }; /* 20 digits and ", " each */
    char have[SHAPE_TEXT], want[SHAPE_TEXT];
    shape_text(t->ndim, t->shape, have, sizeof have);
    shape_text(ndim, shape, want, sizeof want);
    return fail(err, "%s: tensor %s has shape %s where %s is needed; is it the right file for this configuration?", f->path, name, have,
                want);
  }
  ptrdiff_t n = tensor_count(t);
  if (t->dtype == dtype) {
    if (n > 0) memcpy(data, t->data, (size_t)n * dtype_size(dtype));
  } else if (is_float(t->dtype) && dtype == DTYPE_F32) {
    float *out = data;
    for (ptrdiff_t i = 0; i < n; i++) out[i] = (float)tensor_at(t, i); /* exact from BF16 and F16 */
  } else if (is_float(t->dtype) && dtype == DTYPE_F64) {
    double *out = data;
    for (ptrdiff_t i = 0; i < n; i++) out[i] = tensor_at(t, i); /* exact */
  } else {
    return fail(err, "%s: tensor %s has dtype %s where %s is needed; is it the right file?", f->path, name, dtype_name(t->dtype),
                dtype_name(dtype));
  }
  return true;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------- */

/* Adds key: value, which is then the header's. False if the key is not UTF-8 or memory is short. */
static bool add(json_t *object, const char *key, json_t *value) { return value && json_object_set_new(object, key, value) == 0; }

bool safetensors_is_text(const char *text) {
  json_t *string = json_string(text); /* which checks it */
  json_decref(string);
  return string != NULL;
}

static bool add_metadata(json_t *header, const char *const *metadata, const char *path, struct error *err) {
  json_t *object = json_object();
  if (!add(header, "__metadata__", object)) return fail_memory(path, err);
  for (; metadata[0]; metadata += 2) {
    assert(metadata[1] && "metadata come in pairs");
    if (json_object_get(object, metadata[0])) return fail(err, "%s: not written: metadata %s is given twice", path, metadata[0]);
    if (!add(object, metadata[0], json_string(metadata[1])))
      return fail(err, "%s: not written: metadata %.100s is not UTF-8 text", path, metadata[0]);
  }
  return true;
}

/* Adds the header's entry of a tensor whose data begins at *offset, and moves *offset behind it. */
static bool add_tensor(json_t *header, const struct tensor *t, int64_t *offset, const char *path, struct error *err) {
  ptrdiff_t count = tensor_count(t), bytes;
  int64_t begin = *offset;
  if (count < 0 || __builtin_mul_overflow(count, (ptrdiff_t)dtype_size(t->dtype), &bytes) || __builtin_add_overflow(begin, bytes, offset))
    return fail(err, "%s: not written: the size of tensor %s overflows", path, t->name);
  if (strcmp(t->name, "__metadata__") == 0 || json_object_get(header, t->name))
    return fail(err, "%s: not written: there are two tensors %s", path, t->name);
  json_t *entry = json_object(), *shape = json_array();
  bool ok = add(header, t->name, entry);
  if (!ok) {
    json_decref(shape);
    return fail(err, "%s: not written: the tensor name %s is not UTF-8 text", path, t->name);
  }
  ok = add(entry, "dtype", json_string(dtype_name(t->dtype)));
  ok = add(entry, "shape", shape) && ok;
  for (int i = 0; ok && i < t->ndim; i++) ok = json_array_append_new(shape, json_integer(t->shape[i])) == 0;
  ok = ok && add(entry, "data_offsets", json_pack("[I,I]", (json_int_t)begin, (json_int_t)*offset));
  return ok || fail_memory(path, err);
}

/* The header as text, *length bytes padded with spaces to a multiple of 8, so that the data begins aligned; free() by the caller. */
static char *format_header(const json_t *header, size_t *length) {
  char *compact = json_dumps(header, JSON_COMPACT);
  if (!compact) return NULL;
  size_t n = strlen(compact);
  *length = (n + 7) / 8 * 8;
  char *padded = malloc(*length + 1);
  if (padded) {
    memset(padded, ' ', *length);
    memcpy(padded, compact, n);
  }
  free(compact);
  return padded;
}

static bool write_all(const char *path, const char *header, uint64_t length, const struct tensor *tensors, int count, int64_t data_size,
                      struct error *err) {
  struct file_writer f;
  if (!file_create(&f, path, err)) return false;
  f.expected = PREFIX + (size_t)length + (size_t)data_size;
  bool ok = file_write(&f, &length, PREFIX, err) && file_write(&f, header, (size_t)length, err);
  for (int i = 0; ok && i < count; i++)
    ok = file_write(&f, tensors[i].data, (size_t)tensor_count(&tensors[i]) * dtype_size(tensors[i].dtype), err);
  return ok && file_commit(&f, err);
}

bool safetensors_write(const char *path, const struct tensor *tensors, int count, const char *const *metadata, struct error *err) {
  json_t *header = json_object();
  if (!header) return fail_memory(path, err);
  int64_t data_size = 0;
  bool ok = !metadata || add_metadata(header, metadata, path, err);
  for (int i = 0; ok && i < count; i++) ok = add_tensor(header, &tensors[i], &data_size, path, err);
  if (ok) {
    size_t length = 0;
    char *text = format_header(header, &length);
    if (!text)
      ok = fail_memory(path, err);
    else if (length > HEADER_MAX)
      ok = fail(err, "%s: not written: a header of %zu bytes is more than the format's %d; write fewer tensors", path, length, HEADER_MAX);
    else
      ok = write_all(path, text, length, tensors, count, data_size, err);
    free(text);
  }
  json_decref(header);
  return ok;
}
