#include "oracle/memory_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void memory_case_begin(struct memory_case *m, const char *op, const char *name) {
  memset(m, 0, sizeof *m);
  snprintf(m->path, sizeof m->path, "%s", name);
  snprintf(m->file.name, sizeof m->file.name, "%s", name);
  m->file.op = op;
  m->file.layout = "NHWC,KRSC";
  m->file.attributes = json_object();
  m->file.file.path = m->path;
  m->file.file.tensor = m->tensor;
  m->file.file.by_name = m->by_name;
}

static void set(struct memory_case *m, const char *key, json_t *value) {
  if (json_object_set_new(m->file.attributes, key, value) != 0) m->problem = "out of memory";
}

/* JSON has no numbers that are not finite: json_real has none for them. */
void memory_case_number(struct memory_case *m, const char *key, double value) {
  if (isfinite(value))
    set(m, key, json_real(value));
  else
    m->problem = "a number among the attributes is not finite";
}
void memory_case_integer(struct memory_case *m, const char *key, ptrdiff_t value) { set(m, key, json_integer(value)); }
void memory_case_flag(struct memory_case *m, const char *key, bool value) { set(m, key, json_boolean(value)); }
void memory_case_text(struct memory_case *m, const char *key, const char *value) { set(m, key, json_string(value)); }

static void add(struct memory_case *m, const struct tensor *t) {
  if (m->file.file.count == MEMORY_CASE_TENSORS) {
    m->problem = "too many tensors for a case in memory";
    return;
  }
  m->tensor[m->file.file.count++] = *t;
}

void memory_case_give_as(struct memory_case *m, const char *name, const struct tensor *t, int ndim, const ptrdiff_t *shape) {
  struct tensor given = tensor_make(t->dtype, t->data, ndim, shape, "%s", name);
  if (tensor_count(&given) != tensor_count(t)) m->problem = "a tensor is given in a shape of another size";
  if (!t->data) m->problem = "a tensor is given without values";
  add(m, &given);
}

void memory_case_give(struct memory_case *m, const char *name, const struct tensor *t) {
  memory_case_give_as(m, name, t, t->ndim, t->shape);
}

void memory_case_expect(struct memory_case *m, const char *name, enum dtype dtype, int ndim, const ptrdiff_t *shape) {
  struct tensor expected = tensor_make(dtype, NULL, ndim, shape, "%s", name);
  add(m, &expected);
}

bool memory_case_end(struct memory_case *m, struct error *err) {
  int count = m->file.file.count;
  if (!m->file.attributes) m->problem = "out of memory";
  if (m->problem) return fail(err, "%s: %s", m->path, m->problem);
  for (int i = 0; i < count; i++) { /* safetensors_find searches by name; they are few: by insertion */
    int at = i;
    while (at > 0 && strcmp(m->tensor[m->by_name[at - 1]].name, m->tensor[i].name) > 0) m->by_name[at] = m->by_name[at - 1], at--;
    m->by_name[at] = i;
  }
  return true;
}

void memory_case_free(struct memory_case *m) {
  json_decref(m->file.attributes);
  memset(m, 0, sizeof *m);
}
