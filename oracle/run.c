#include "oracle/run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "oracle/values.h"

enum {
  BLOCK_ALIGN = 64, /* a cache line, and an AVX-512 vector */
  GUARD_BYTES = 256,
  GUARD_VALUE = 0xa5,
  WORTH_THREADS = 1 << 15,
  POISON_VALUE = 0xff /* every float and double of such bytes is NaN, every integer is -1 */
};

struct run_block {
  struct run_block *next;
  unsigned char *base; /* guard, size bytes of data, guard */
  size_t size;
  const struct tensor *input; /* what the block was converted from; null: not an input */
  enum dtype dtype;
};

static void *block_data(const struct run_block *b) { return b->base + GUARD_BYTES; }

bool run_begin(struct case_run *run, const struct case_file *file, struct error *err) {
  *run = (struct case_run){.file = file, .err = err, .read = calloc((size_t)file->file.count + 1, sizeof *run->read)};
  return run->read || fail(err, "%s: out of memory", file->name);
}

void run_end(struct case_run *run) {
  for (struct run_block *b = run->blocks, *next; b; b = next) {
    next = b->next;
    free(b->base);
    free(b);
  }
  free(run->result);
  free(run->read);
  *run = (struct case_run){0};
}

/* A new block of count elements, poisoned, between guards. */
static struct run_block *block_new(struct case_run *run, enum dtype dtype, ptrdiff_t count) {
  ptrdiff_t bytes, padded;
  struct run_block *b = calloc(1, sizeof *b);
  if (!b || !size_product(count, (ptrdiff_t)dtype_size(dtype), 1, 1, &bytes) ||
      __builtin_add_overflow(bytes, 2 * GUARD_BYTES + BLOCK_ALIGN, &padded) ||
      !(b->base = aligned_alloc(BLOCK_ALIGN, (size_t)padded / BLOCK_ALIGN * BLOCK_ALIGN))) {
    free(b);
    fail(run->err, "%s: out of memory for %td elements", run->file->name, count);
    return NULL;
  }
  b->size = (size_t)bytes;
  b->dtype = dtype;
  b->next = run->blocks;
  run->blocks = b;
  memset(b->base, GUARD_VALUE, GUARD_BYTES);
  memset(b->base + GUARD_BYTES, POISON_VALUE, b->size);
  memset(b->base + GUARD_BYTES + b->size, GUARD_VALUE, GUARD_BYTES);
  return b;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------------------------ */

/* Element i of t in this dtype, at `to`; false if the dtype cannot hold it. */
static bool convert(const struct tensor *t, ptrdiff_t i, enum dtype dtype, void *to) {
  double x = tensor_at(t, i);
  switch (dtype) {
  case DTYPE_F32: {
    float f = (float)x;
    memcpy(to, &f, sizeof f);
    return true;
  }
  case DTYPE_F64: memcpy(to, &x, sizeof x); return true;
  case DTYPE_I32: {
    int32_t k = x >= INT32_MIN && x <= INT32_MAX ? (int32_t)x : 0;
    memcpy(to, &k, sizeof k);
    return (double)k == x;
  }
  case DTYPE_U8: {
    uint8_t k = x >= 0 && x <= UINT8_MAX ? (uint8_t)x : 0;
    memcpy(to, &k, sizeof k);
    return (double)k == x;
  }
  case DTYPE_I64:
  case DTYPE_F16:
  case DTYPE_BF16: break; /* nothing here computes in these */
  }
  return false;
}

static const struct tensor *find_given(struct case_run *run, const char *name) {
  const struct safetensors *f = &run->file->file;
  const struct tensor *t = safetensors_find(f, name);
  if (!t) {
    fail(run->err, "%s: tensor %s is missing; operation %s needs it", f->path, name, run->file->op);
    return NULL;
  }
  run->read[t - f->tensor] = true;
  return t;
}

/* All elements of t in this dtype at once, where no element can fail: the same type, and float and double. */
static bool load_plain(const struct tensor *t, enum dtype dtype, void *data) {
  ptrdiff_t count = tensor_count(t);
  if (t->dtype == dtype) {
    memcpy(data, t->data, (size_t)count * dtype_size(dtype));
    return true;
  }
  if (dtype == DTYPE_F64) {
    tensor_load(t, data);
    return true;
  }
  if (dtype != DTYPE_F32 || t->dtype != DTYPE_F64) return false;
  const char *from = t->data;
  float *to = data;
#pragma omp parallel for simd schedule(static) if (parallel : count > WORTH_THREADS)
  for (ptrdiff_t i = 0; i < count; i++) {
    double x;
    memcpy(&x, from + (size_t)i * sizeof x, sizeof x); /* in a mapped file it may start at any byte */
    to[i] = (float)x;
  }
  return true;
}

static const void *load(struct case_run *run, const struct tensor *t, enum dtype dtype) {
  ptrdiff_t count = tensor_count(t);
  struct run_block *b = block_new(run, dtype, count);
  if (!b) return NULL;
  unsigned char *data = block_data(b);
  b->input = t;
  if (load_plain(t, dtype, data)) return data;
  for (ptrdiff_t i = 0; i < count; i++) {
    if (!convert(t, i, dtype, data + (size_t)i * dtype_size(dtype))) {
      fail(run->err, "%s: tensor %s: element %td is %.17g, not a number of type %s", run->file->file.path, t->name, i, tensor_at(t, i),
           dtype_name(dtype));
      return NULL;
    }
  }
  return data;
}

/* shape as text: [2, ?, 3] */
static void shape_text(char *text, size_t size, int ndim, const ptrdiff_t *shape) {
  size_t used = (size_t)snprintf(text, size, "[");
  for (int d = 0; d < ndim && used < size; d++) {
    const char *comma = d ? ", " : "";
    used += (size_t)(shape[d] < 0 ? snprintf(text + used, size - used, "%s?", comma)
                                  : snprintf(text + used, size - used, "%s%td", comma, shape[d]));
  }
  if (used < size) snprintf(text + used, size - used, "]");
}

static const void *load_shaped(struct case_run *run, enum dtype dtype, int ndim, ptrdiff_t *shape, const char *name) {
  const struct tensor *t = find_given(run, name);
  if (!t) return NULL;
  bool same = t->ndim == ndim;
  for (int d = 0; same && d < ndim; d++) same = shape[d] < 0 || shape[d] == t->shape[d];
  if (!same) {
    char has[128], needs[128];
    shape_text(has, sizeof has, t->ndim, t->shape);
    shape_text(needs, sizeof needs, ndim, shape);
    fail(run->err, "%s: tensor %s has shape %s, expected %s", run->file->file.path, name, has, needs);
    return NULL;
  }
  for (int d = 0; d < ndim; d++) shape[d] = t->shape[d];
  return load(run, t, dtype);
}

/* The formatted name of a variadic function, in a local array `to`. */
#define FORMAT_NAME(to, format)                                                                                                            \
  char to[TENSOR_MAX_NAME];                                                                                                                \
  do {                                                                                                                                     \
    va_list arguments;                                                                                                                     \
    va_start(arguments, format);                                                                                                           \
    vsnprintf(to, sizeof to, format, arguments);                                                                                           \
    va_end(arguments);                                                                                                                     \
  } while (0)

const void *run_input(struct case_run *run, enum dtype dtype, int ndim, ptrdiff_t *shape, const char *name, ...) {
  FORMAT_NAME(key, name);
  return load_shaped(run, dtype, ndim, shape, key);
}

const void *run_input_any(struct case_run *run, enum dtype dtype, int *ndim, const ptrdiff_t **shape, const char *name, ...) {
  FORMAT_NAME(key, name);
  const struct tensor *t = find_given(run, key);
  if (!t) return NULL;
  *ndim = t->ndim;
  *shape = t->shape;
  return load(run, t, dtype);
}

const int32_t *run_indices(struct case_run *run, ptrdiff_t below, int ndim, ptrdiff_t *shape, const char *name, ...) {
  FORMAT_NAME(key, name);
  const int32_t *index = load_shaped(run, DTYPE_I32, ndim, shape, key);
  if (!index) return NULL;
  ptrdiff_t count = 1;
  for (int d = 0; d < ndim; d++) count *= shape[d];
  for (ptrdiff_t i = 0; i < count; i++) {
    if (index[i] < 0 || index[i] >= below) {
      fail(run->err, "%s: tensor %s: element %td is %d, expected 0 to %td", run->file->file.path, key, i, (int)index[i], below - 1);
      return NULL;
    }
  }
  return index;
}

bool run_has(const struct case_run *run, const char *name, ...) {
  FORMAT_NAME(key, name);
  return safetensors_find(&run->file->file, key) != NULL;
}

bool run_wants(const struct case_run *run, const char *name, ...) {
  FORMAT_NAME(key, name);
  if (run->everything) return true;
  char digest[TENSOR_MAX_NAME + sizeof "#digest"];
  snprintf(digest, sizeof digest, "%s#digest", key);
  if (safetensors_find(&run->file->file, key) || safetensors_find(&run->file->file, digest)) return true;
  for (int i = 0; i < run->file->file.count; i++) {
    if (case_expected(&run->file->file.tensor[i])) return false;
  }
  return true;
}

/* ---- results ----------------------------------------------------------------------------------------------------------------------- */

static void *output(struct case_run *run, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name) {
  if (run_result(run, name)) {
    fail(run->err, "%s: result %s is produced twice", run->file->name, name);
    return NULL;
  }
  if (run->count == run->capacity) {
    int capacity = run->capacity ? 2 * run->capacity : 64;
    struct tensor *grown = realloc(run->result, (size_t)capacity * sizeof *grown);
    if (!grown) {
      fail(run->err, "%s: out of memory", run->file->name);
      return NULL;
    }
    run->result = grown;
    run->capacity = capacity;
  }
  struct tensor t = tensor_make(dtype, NULL, ndim, shape, "%s", name);
  struct run_block *b = block_new(run, dtype, tensor_count(&t));
  if (!b) return NULL;
  t.data = block_data(b);
  run->result[run->count++] = t;
  return t.data;
}

void *run_output(struct case_run *run, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name, ...) {
  FORMAT_NAME(key, name);
  return output(run, dtype, ndim, shape, key);
}

void *run_accumulator(struct case_run *run, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name, ...) {
  FORMAT_NAME(key, name);
  void *data = output(run, dtype, ndim, shape, key);
  if (data) memset(data, 0, run->blocks->size); /* the newest block */
  return data;
}

void *run_added(struct case_run *run, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name, const char *before) {
  ptrdiff_t s[TENSOR_MAX_DIMS];
  for (int d = 0; d < ndim; d++) s[d] = shape[d];
  void *data = run_accumulator(run, dtype, ndim, shape, "%s", name);
  if (!data || !run_has(run, "%s", before)) return data;
  const struct tensor *t = run_result(run, name);
  const void *start = run_input(run, dtype, ndim, s, "%s", before);
  return start ? memcpy(data, start, (size_t)tensor_count(t) * dtype_size(dtype)) : NULL;
}

void *run_scratch(struct case_run *run, enum dtype dtype, ptrdiff_t count) {
  struct run_block *b = block_new(run, dtype, count);
  return b ? block_data(b) : NULL;
}

const struct tensor *run_result(const struct case_run *run, const char *name) {
  for (int i = 0; i < run->count; i++) {
    if (strcmp(run->result[i].name, name) == 0) return &run->result[i];
  }
  return NULL;
}

/* ---- afterwards -------------------------------------------------------------------------------------------------------------------- */

static bool guard_intact(const unsigned char *guard) {
  for (int i = 0; i < GUARD_BYTES; i++) {
    if (guard[i] != GUARD_VALUE) return false;
  }
  return true;
}

/* Both as bits: a NaN is as it was, too. */
static bool same_bits(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }
static bool same_float(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

/* Converted once more from the file, the input has the same bytes. */
static bool input_intact(const struct run_block *b) {
  const unsigned char *data = block_data(b), *from = b->input->data;
  size_t element = dtype_size(b->dtype);
  ptrdiff_t count = tensor_count(b->input);
  bool same = true;
  if (b->dtype == b->input->dtype) return memcmp(data, from, (size_t)count * element) == 0;
  if (b->dtype == DTYPE_F64 && b->input->dtype == DTYPE_F32) {
    const double *to = (const double *)(const void *)data;
#pragma omp parallel for schedule(static) reduction(&& : same) if (count > WORTH_THREADS)
    for (ptrdiff_t i = 0; i < count; i++) {
      float x;
      memcpy(&x, from + (size_t)i * sizeof x, sizeof x);
      same = same && same_bits((double)x, to[i]);
    }
    return same;
  }
  if (b->dtype == DTYPE_F32 && b->input->dtype == DTYPE_F64) {
    const float *to = (const float *)(const void *)data;
#pragma omp parallel for schedule(static) reduction(&& : same) if (count > WORTH_THREADS)
    for (ptrdiff_t i = 0; i < count; i++) {
      double x;
      memcpy(&x, from + (size_t)i * sizeof x, sizeof x);
      same = same && same_float((float)x, to[i]);
    }
    return same;
  }
  for (ptrdiff_t i = 0; i < count && same; i++) {
    double again;
    same = convert(b->input, i, b->dtype, &again) && memcmp(&again, data + (size_t)i * element, element) == 0;
  }
  return same;
}

/* What the block holds, for a message. */
static const char *block_name(const struct case_run *run, const struct run_block *b) {
  if (b->input) return b->input->name;
  for (int i = 0; i < run->count; i++) {
    if (run->result[i].data == block_data(b)) return run->result[i].name;
  }
  return "scratch";
}

bool run_finish(struct case_run *run) {
  const struct safetensors *f = &run->file->file;
  for (int i = 0; i < f->count; i++) {
    if (!run->read[i] && !case_expected(&f->tensor[i])) {
      return fail(run->err, "%s: tensor %s was given, but operation %s does not read it", f->path, f->tensor[i].name, run->file->op);
    }
  }
  for (const struct run_block *b = run->blocks; b; b = b->next) {
    if (!guard_intact(b->base) || !guard_intact(b->base + GUARD_BYTES + b->size)) {
      return fail(run->err, "%s: operation %s wrote outside %s (%zu bytes)", run->file->name, run->file->op, block_name(run, b), b->size);
    }
    if (b->input && !input_intact(b)) {
      return fail(run->err, "%s: operation %s changed its input %s", run->file->name, run->file->op, block_name(run, b));
    }
  }
  return true;
}
