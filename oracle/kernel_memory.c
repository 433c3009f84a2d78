#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/kernel.h"

enum { ALIGN = 64, GUARD_BYTES = 16384 };

/* What stands beside an array in the first call, the second, the third: 8e37, NaN, -2e38. A kernel that reads it is found, whatever it does
 * with it: adds it up or takes the largest (first), multiplies it by zero (second), takes the smallest (other bits in the third). */
static const unsigned char guard_values[] = {0x7e, 0xff, 0xfe};
enum { GUARD_VALUES = sizeof guard_values };

/* What outputs hold beforehand: NaN, 8e37, -2e38. NaN alone would hide a kernel that begins with what is there and goes on by fmax or fmin,
 * which pass it by: the largest shows in the second call, which is judged, the smallest in the bits of the third. */
static const unsigned char poison_values[GUARD_VALUES] = {0xff, 0x7e, 0xfe};

static size_t bytes_of(const struct tensor *t) { return (size_t)tensor_count(t) * dtype_size(t->dtype); }

static int guard_value(const struct kernel_memory *m) { return guard_values[(m->calls + GUARD_VALUES - 1) % GUARD_VALUES]; }
static int poison_value(const struct kernel_memory *m) { return poison_values[(m->calls + GUARD_VALUES - 1) % GUARD_VALUES]; }

static void guard_buffer(const struct kernel_memory *m, const struct kernel_buffer *b) {
  memset(b->base, guard_value(m), GUARD_BYTES);
  memset(b->base + GUARD_BYTES + bytes_of(&b->t), guard_value(m), GUARD_BYTES);
}

void kernel_memory_begin(struct kernel_memory *m, const struct made_case *inputs) {
  m->inputs = inputs;
  m->calls++;
  m->status = 0, m->sent = false;
  for (int i = 0; i < m->count; i++) guard_buffer(m, &m->buffer[i]);
}

bool kernel_takes(const struct kernel_memory *m, int function) { return !(m->declined >> function & 1); }

bool kernel_is_judged(const struct kernel_memory *m, const struct kernel_buffer *b) { return b->result && kernel_takes(m, b->function); }

bool kernel_returned(struct kernel_memory *m, int function, int status) {
  if (status == EDIY_ORACLE_DECLINE && m->calls == 1) {
    m->declined |= 1u << function;
    return true;
  }
  m->status = status, m->by = function;
  return status == 0;
}

/* Memory of it where the kernel runs. What lies there begins as far behind a multiple of ALIGN as the address that is given. */
static bool reserve(const struct kernel_memory *m, struct kernel_buffer *b, size_t bytes) {
  b->there = m->where->reserve(m->where->context, bytes);
  if (!b->there) return fail(m->err, "memory: reserve has no %zu bytes for %s", bytes, b->t.name);
  return (uintptr_t)b->there % ALIGN == 0 ||
         fail(m->err, "memory: reserve gave %p for %s, which is no multiple of %d: arrays begin at one", b->there, b->t.name, ALIGN);
}

/* The buffer of this name, made if it is not there. Null on failure. */
static struct kernel_buffer *buffer(struct kernel_memory *m, const char *name, enum dtype dtype, int ndim, const ptrdiff_t *shape) {
  for (int i = 0; i < m->count; i++) {
    if (strcmp(m->buffer[i].t.name, name) == 0) return &m->buffer[i];
  }
  struct tensor t = tensor_make(dtype, NULL, ndim, shape, "%s", name);
  size_t size = bytes_of(&t);
  unsigned char *base = m->count < KERNEL_BUFFERS ? aligned_alloc(ALIGN, (size + 2 * GUARD_BYTES + ALIGN - 1) / ALIGN * ALIGN) : NULL;
  if (!base) {
    m->failed = true;
    fail(m->err, "out of memory for %s", name);
    return NULL;
  }
  t.data = base + GUARD_BYTES;
  struct kernel_buffer *b = &m->buffer[m->count++];
  *b = (struct kernel_buffer){.t = t, .base = base};
  guard_buffer(m, b);
  if (m->where && !reserve(m, b, size + 2 * GUARD_BYTES)) {
    m->failed = true;
    return NULL;
  }
  return b;
}

/* Where the kernel finds it. */
static void *address(const struct kernel_buffer *b) { return b->there ? (char *)b->there + GUARD_BYTES : b->t.data; }

bool kernel_memory_send(struct kernel_memory *m) {
  for (int i = 0; m->where && !m->sent && i < m->count; i++) {
    const struct kernel_buffer *b = &m->buffer[i];
    if (m->where->upload(m->where->context, b->there, b->base, bytes_of(&b->t) + 2 * GUARD_BYTES)) continue;
    m->failed = true;
    return fail(m->err, "memory: %s cannot be uploaded", b->t.name);
  }
  m->sent = true;
  return true;
}

float *kernel_on_host(const struct kernel_memory *m, const char *name) {
  for (int i = 0; i < m->count; i++) {
    if (strcmp(m->buffer[i].t.name, name) == 0) return m->buffer[i].t.data;
  }
  return NULL;
}

/* Element i of what was given, in the type of the buffer. */
static void put(const struct tensor *from, ptrdiff_t i, enum dtype dtype, void *to) {
  double x = tensor_at(from, i);
  if (dtype == DTYPE_F32) {
    float f = (float)x; /* exact: inputs of cases are */
    memcpy(to, &f, sizeof f);
  } else {
    int32_t k = (int32_t)x;
    memcpy(to, &k, sizeof k);
  }
}

static struct kernel_buffer *fill(struct kernel_memory *m, const char *from, const char *name, enum dtype dtype) {
  const struct tensor *t = safetensors_find(&m->inputs->file.file, from);
  if (!t) {
    m->failed = true;
    fail(m->err, "the case has no %s", from);
    return NULL;
  }
  struct kernel_buffer *b = buffer(m, name, dtype, t->ndim, t->shape);
  if (!b) return NULL;
  b->given = t;
  for (ptrdiff_t i = 0, n = tensor_count(t); i < n; i++) put(t, i, dtype, (char *)b->t.data + (size_t)i * dtype_size(dtype));
  return b;
}

static struct kernel_buffer *poison(struct kernel_memory *m, const char *name, enum dtype dtype, int ndim, const ptrdiff_t *shape) {
  struct kernel_buffer *b = buffer(m, name, dtype, ndim, shape);
  if (b) memset(b->t.data, poison_value(m), bytes_of(&b->t));
  return b;
}

const float *kernel_given(struct kernel_memory *m, const char *name) {
  struct kernel_buffer *b = fill(m, name, name, DTYPE_F32);
  return b ? address(b) : NULL;
}

const int32_t *kernel_given_index(struct kernel_memory *m, const char *name) {
  struct kernel_buffer *b = fill(m, name, name, DTYPE_I32);
  return b ? address(b) : NULL;
}

float *kernel_result(struct kernel_memory *m, int function, const char *name, int ndim, const ptrdiff_t *shape) {
  struct kernel_buffer *b = poison(m, name, DTYPE_F32, ndim, shape);
  if (b) b->result = true, b->function = function;
  return b ? address(b) : NULL;
}

int32_t *kernel_result_index(struct kernel_memory *m, int function, const char *name, int ndim, const ptrdiff_t *shape) {
  struct kernel_buffer *b = poison(m, name, DTYPE_I32, ndim, shape);
  if (b) b->result = true, b->function = function;
  return b ? address(b) : NULL;
}

float *kernel_updated(struct kernel_memory *m, int function, const char *from, const char *name) {
  struct kernel_buffer *b = fill(m, from, name, DTYPE_F32);
  if (b) b->result = b->updated = true, b->function = function;
  return b ? address(b) : NULL;
}

float *kernel_kept(struct kernel_memory *m, const char *name) {
  struct kernel_buffer *b = fill(m, name, name, DTYPE_F32);
  return b ? address(b) : NULL;
}

float *kernel_scratch(struct kernel_memory *m, const char *name, ptrdiff_t size) {
  struct kernel_buffer *b = poison(m, name, DTYPE_F32, 1, &size);
  return b ? address(b) : NULL;
}

static bool guard_intact(const struct kernel_memory *m, const unsigned char *guard) {
  for (int i = 0; i < GUARD_BYTES; i++) {
    if (guard[i] != guard_value(m)) return false;
  }
  return true;
}

static bool given_intact(const struct kernel_buffer *b) {
  size_t element = dtype_size(b->t.dtype);
  for (ptrdiff_t i = 0, n = tensor_count(&b->t); i < n; i++) {
    unsigned char was[sizeof(double)];
    put(b->given, i, b->t.dtype, was);
    if (memcmp(was, (const char *)b->t.data + (size_t)i * element, element) != 0) return false;
  }
  return true;
}

/* Null, or the name of what cannot be fetched. */
static const char *fetch(const struct kernel_memory *m) {
  for (int i = 0; m->where && m->sent && i < m->count; i++) {
    const struct kernel_buffer *b = &m->buffer[i];
    if (!m->where->download(m->where->context, b->base, b->there, bytes_of(&b->t) + 2 * GUARD_BYTES)) return b->t.name;
  }
  return NULL;
}

const char *kernel_memory_harmed(const struct kernel_memory *m, char *what, size_t size) {
  const char *lost = fetch(m);
  if (lost) {
    snprintf(what, size, "%s cannot be downloaded after the call: what was called may have failed where it runs", lost);
    return lost;
  }
  for (int i = 0; i < m->count; i++) {
    const struct kernel_buffer *b = &m->buffer[i];
    bool before = guard_intact(m, b->base), behind = guard_intact(m, b->base + GUARD_BYTES + bytes_of(&b->t));
    if (!before || !behind) {
      snprintf(what, size, "the kernel wrote %s %s", before ? "behind the end of" : "before the start of", b->t.name);
      return b->t.name;
    }
    if (b->given && !b->updated && !given_intact(b)) {
      snprintf(what, size, "the kernel changed its input %s", b->t.name);
      return b->t.name;
    }
  }
  return NULL;
}

void kernel_memory_free(struct kernel_memory *m) {
  for (int i = 0; i < m->count; i++) {
    free(m->buffer[i].base);
    if (m->buffer[i].there) m->where->release(m->where->context, m->buffer[i].there);
  }
  m->count = 0;
}
