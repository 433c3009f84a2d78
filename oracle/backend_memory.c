#include "oracle/backend_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "oracle/mixed.h"

enum { GUARD_BYTES = 4096 };

/* What stands beside the slots in the first pass, the second, the third: -2e38, 8e37, NaN. An operation that reads it is found, whatever it
 * does with it (kernel_memory.c): the second pass is judged, and must have the bits of the third and of a first in fresh memory. */
static const unsigned char guard_values[] = {0xfe, 0x7e, 0xff};
enum { GUARD_VALUES = sizeof guard_values };

/* What outputs and scratch hold beforehand: NaN (as an integer -1), in the third pass 8e37, in fresh memory -2e38. NaN alone would hide an
 * operation that begins with what is there and goes on by fmax or fmin, which pass it by. */
static const unsigned char poison_values[] = {0xff, 0xff, 0x7e, 0xfe};
enum { POISON_VALUES = sizeof poison_values };

static int guard_value(const struct pass *p) { return guard_values[(p->memory->passes + GUARD_VALUES - 1) % GUARD_VALUES]; }
static int poison_value(const struct pass *p) { return poison_values[(p->memory->passes + POISON_VALUES - 1) % POISON_VALUES]; }

enum slot_use { SLOT_IDLE, SLOT_INPUT, SLOT_OUTPUT, SLOT_SCRATCH };

struct memory_slot {
  char name[TENSOR_MAX_NAME];
  unsigned char *memory; /* the backend's: guard, bytes, guard */
  size_t bytes;
  enum slot_use use;  /* in this pass */
  bool stored;        /* in bf16, and a float in the case */
  const void *source; /* input: what was uploaded */
  void *result;       /* output: where it goes, as floats */
};

static unsigned char *slot_data(const struct memory_slot *s) { return s->memory + GUARD_BYTES; }
static size_t slot_size(const struct memory_slot *s) { return s->bytes + 2 * GUARD_BYTES; }

static bool out_of_memory(struct pass *p) { return fail(p->run->err, "%s: out of memory", p->run->file->name); }

/* The slot of this name and size, in the place where it was in the pass before, filled with guards around one byte value. */
static struct memory_slot *slot_take(struct pass *p, size_t bytes, const char *name, enum slot_use use) {
  struct backend_memory *m = p->memory;
  struct memory_slot *s = NULL;
  for (int i = 0; i < m->count && !s; i++) {
    if (m->slot[i].bytes == bytes && strcmp(m->slot[i].name, name) == 0) s = &m->slot[i];
  }
  if (!s) {
    if (m->count == m->capacity) {
      int capacity = m->capacity ? 2 * m->capacity : 32;
      struct memory_slot *grown = realloc(m->slot, (size_t)capacity * sizeof *grown);
      if (!grown) return out_of_memory(p), NULL;
      m->slot = grown;
      m->capacity = capacity;
    }
    s = &m->slot[m->count];
    *s = (struct memory_slot){.bytes = bytes};
    snprintf(s->name, sizeof s->name, "%s", name);
    void *memory;
    if (!m->table->reserve(slot_size(s), &memory, p->run->err)) return NULL;
    s->memory = memory;
    m->count++;
  }
  unsigned char *image = malloc(slot_size(s));
  if (!image) return out_of_memory(p), NULL;
  memset(image, guard_value(p), slot_size(s));
  memset(image + GUARD_BYTES, poison_value(p), bytes);
  m->table->upload(s->memory, image, slot_size(s));
  free(image);
  s->use = use;
  return s;
}

/* ---- what is stored as bf16 ---------------------------------------------------------------------------------------------------------- */

/* Whether the tensor of this name, a float on the host, is a bf16 on the backend. */
static bool is_stored(const struct pass *p, enum dtype dtype, const char *name) {
  return dtype == DTYPE_F32 && p->memory->table->activation_size != sizeof(float) && mixed_is_stored(p->run->file->op, name);
}

/* n floats rounded, in memory of the run. */
static uint16_t *rounded(struct pass *p, const float *x, ptrdiff_t n) {
  uint16_t *half = run_scratch(p->run, DTYPE_BF16, n);
  for (ptrdiff_t i = 0; half && i < n; i++) half[i] = bf16_round(x[i]);
  return half;
}

/* ---- inputs -------------------------------------------------------------------------------------------------------------------------- */

static const void *upload_input(struct pass *p, enum dtype dtype, int ndim, const ptrdiff_t *shape, const void *host, const char *name) {
  if (!host) return NULL;
  const struct tensor t = tensor_make(dtype, NULL, ndim, shape, "%s", name);
  bool stored = is_stored(p, dtype, name);
  if (stored && !(host = rounded(p, host, tensor_count(&t)))) return NULL;
  size_t bytes = (size_t)tensor_count(&t) * (stored ? sizeof(uint16_t) : dtype_size(dtype));
  struct memory_slot *s = slot_take(p, bytes, name, SLOT_INPUT);
  if (!s) return NULL;
  p->memory->table->upload(slot_data(s), host, bytes);
  s->source = host;
  return slot_data(s);
}

const void *pass_input(struct pass *p, enum dtype dtype, int ndim, ptrdiff_t *shape, const char *name) {
  const void *host = run_input(p->run, dtype, ndim, shape, "%s", name);
  return upload_input(p, dtype, ndim, shape, host, name);
}

const void *pass_input_any(struct pass *p, enum dtype dtype, int *ndim, const ptrdiff_t **shape, const char *name) {
  const void *host = run_input_any(p->run, dtype, ndim, shape, "%s", name);
  return host ? upload_input(p, dtype, *ndim, *shape, host, name) : NULL;
}

const void *pass_indices(struct pass *p, ptrdiff_t below, int ndim, ptrdiff_t *shape, const char *name) {
  const int32_t *host = run_indices(p->run, below, ndim, shape, "%s", name);
  return upload_input(p, DTYPE_I32, ndim, shape, host, name);
}

/* ---- results ------------------------------------------------------------------------------------------------------------------------- */

void *pass_output(struct pass *p, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name) {
  void *host = run_output(p->run, dtype, ndim, shape, "%s", name);
  if (!host) return NULL;
  const struct tensor *t = run_result(p->run, name);
  bool stored = is_stored(p, dtype, name);
  size_t bytes = (size_t)tensor_count(t) * (stored ? sizeof(uint16_t) : dtype_size(dtype));
  struct memory_slot *s = slot_take(p, bytes, name, SLOT_OUTPUT);
  if (!s) return NULL;
  s->result = host, s->stored = stored;
  return slot_data(s);
}

void *pass_updated(struct pass *p, int ndim, const ptrdiff_t *shape, const char *name, const char *before) {
  ptrdiff_t s[TENSOR_MAX_DIMS];
  void *to = pass_output(p, DTYPE_F32, ndim, shape, name);
  if (!to) return NULL;
  const struct tensor *t = run_result(p->run, name);
  for (int d = 0; d < ndim; d++) s[d] = shape[d];
  bool stored = is_stored(p, DTYPE_F32, name);
  size_t bytes = (size_t)tensor_count(t) * sizeof(float);
  const void *start = run_has(p->run, "%s", before) ? run_input(p->run, DTYPE_F32, ndim, s, "%s", before) : memset(t->data, 0, bytes);
  if (start && stored) start = rounded(p, start, tensor_count(t)), bytes = (size_t)tensor_count(t) * sizeof(uint16_t);
  if (!start) return NULL;
  p->memory->table->upload(to, start, bytes);
  return to;
}

void *pass_scratch(struct pass *p, size_t bytes, const char *name) {
  struct memory_slot *s = slot_take(p, bytes, name, SLOT_SCRATCH);
  return s ? slot_data(s) : NULL;
}

void pass_download(struct pass *p, void *to, const void *from, size_t bytes) { p->memory->table->download(to, from, bytes); }

/* ---- afterwards ---------------------------------------------------------------------------------------------------------------------- */

static bool guards_intact(const unsigned char *image, size_t bytes, int value) {
  for (size_t i = 0; i < GUARD_BYTES; i++) {
    if (image[i] != value || image[GUARD_BYTES + bytes + i] != value) return false;
  }
  return true;
}

static void take_result(const struct memory_slot *s, const unsigned char *data) {
  if (!s->stored) {
    memcpy(s->result, data, s->bytes);
    return;
  }
  for (size_t i = 0; i < s->bytes / sizeof(uint16_t); i++) {
    uint16_t half;
    memcpy(&half, data + i * sizeof half, sizeof half);
    ((float *)s->result)[i] = bf16_widen(half);
  }
}

bool pass_finish(struct pass *p, char *text, size_t size) {
  const char *op = p->run->file->op;
  bool good = true;
  text[0] = 0;
  for (int i = 0; i < p->memory->count; i++) {
    struct memory_slot *s = &p->memory->slot[i];
    if (s->use == SLOT_IDLE) continue;
    unsigned char *image = malloc(slot_size(s));
    if (!image) return snprintf(text, size, "out of memory"), false;
    p->memory->table->download(image, s->memory, slot_size(s));
    if (s->use == SLOT_OUTPUT) take_result(s, image + GUARD_BYTES);
    if (good && !guards_intact(image, s->bytes, guard_value(p))) {
      good = false;
      snprintf(text, size, "operation %s wrote outside %s (%zu bytes)", op, s->name, s->bytes);
    } else if (good && s->use == SLOT_INPUT && memcmp(image + GUARD_BYTES, s->source, s->bytes) != 0) {
      good = false;
      snprintf(text, size, "operation %s changed its input %s", op, s->name);
    }
    free(image);
    s->use = SLOT_IDLE;
  }
  return good;
}

void backend_memory_free(struct backend_memory *m) {
  for (int i = 0; i < m->count; i++) m->table->release(m->slot[i].memory, slot_size(&m->slot[i]));
  free(m->slot);
  *m = (struct backend_memory){0};
}
