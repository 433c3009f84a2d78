#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/kernel.h"

enum { ALIGN = 64, GUARD_BYTES = 1024, GUARD_VALUE = 0xa5, POISON_VALUE = 0xff /* every float of such bytes is NaN */ };

static size_t bytes_of(const struct tensor *t) { return (size_t)tensor_count(t) * dtype_size(t->dtype); }

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
  memset(base, GUARD_VALUE, GUARD_BYTES);
  memset(base + GUARD_BYTES + size, GUARD_VALUE, GUARD_BYTES);
  t.data = base + GUARD_BYTES;
  struct kernel_buffer *b = &m->buffer[m->count++];
  *b = (struct kernel_buffer){.t = t, .base = base};
  return b;
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
  if (b) memset(b->t.data, POISON_VALUE, bytes_of(&b->t));
  return b;
}

const float *kernel_given(struct kernel_memory *m, const char *name) {
  struct kernel_buffer *b = fill(m, name, name, DTYPE_F32);
  return b ? b->t.data : NULL;
}

const int32_t *kernel_given_index(struct kernel_memory *m, const char *name) {
  struct kernel_buffer *b = fill(m, name, name, DTYPE_I32);
  return b ? b->t.data : NULL;
}

float *kernel_result(struct kernel_memory *m, const char *name, int ndim, const ptrdiff_t *shape) {
  struct kernel_buffer *b = poison(m, name, DTYPE_F32, ndim, shape);
  if (b) b->result = true;
  return b ? b->t.data : NULL;
}

int32_t *kernel_result_index(struct kernel_memory *m, const char *name, int ndim, const ptrdiff_t *shape) {
  struct kernel_buffer *b = poison(m, name, DTYPE_I32, ndim, shape);
  if (b) b->result = true;
  return b ? b->t.data : NULL;
}

float *kernel_updated(struct kernel_memory *m, const char *from, const char *name) {
  struct kernel_buffer *b = fill(m, from, name, DTYPE_F32);
  if (b) b->result = b->updated = true;
  return b ? b->t.data : NULL;
}

float *kernel_kept(struct kernel_memory *m, const char *name) {
  struct kernel_buffer *b = fill(m, name, name, DTYPE_F32);
  return b ? b->t.data : NULL;
}

float *kernel_scratch(struct kernel_memory *m, const char *name, ptrdiff_t size) {
  struct kernel_buffer *b = poison(m, name, DTYPE_F32, 1, &size);
  return b ? b->t.data : NULL;
}

static bool guard_intact(const unsigned char *guard) {
  for (int i = 0; i < GUARD_BYTES; i++) {
    if (guard[i] != GUARD_VALUE) return false;
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

bool kernel_memory_intact(const struct kernel_memory *m, char *what, size_t size) {
  for (int i = 0; i < m->count; i++) {
    const struct kernel_buffer *b = &m->buffer[i];
    bool before = guard_intact(b->base), behind = guard_intact(b->base + GUARD_BYTES + bytes_of(&b->t));
    if (!before || !behind) {
      snprintf(what, size, "the kernel wrote %s %s", before ? "behind the end of" : "before the start of", b->t.name);
      return false;
    }
    if (b->given && !b->updated && !given_intact(b)) {
      snprintf(what, size, "the kernel changed its input %s", b->t.name);
      return false;
    }
  }
  return true;
}

void kernel_memory_free(struct kernel_memory *m) {
  for (int i = 0; i < m->count; i++) free(m->buffer[i].base);
  m->count = 0;
}
