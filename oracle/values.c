#include "oracle/values.h"

#include <stdlib.h>
#include <string.h>

enum { WORTH_THREADS = 1 << 15 };

bool tensor_is_index(const struct tensor *t) { return t->dtype == DTYPE_I32 || t->dtype == DTYPE_I64; }
bool tensor_is_float(const struct tensor *t) { return t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64 || t->dtype == DTYPE_BF16; }

bool values_known(const struct safetensors *f, struct error *err) {
  for (int i = 0; i < f->count; i++)
    if (f->tensor[i].dtype == DTYPE_F16)
      return fail(err, "%s: tensor %s: dtype F16, which no precision here is judged in; convert it to F32", f->path, f->tensor[i].name);
  return true;
}

bool tensor_same_shape(const struct tensor *a, const struct tensor *b) {
  bool same = a->ndim == b->ndim;
  for (int d = 0; same && d < a->ndim; d++) same = a->shape[d] == b->shape[d];
  return same;
}

void tensor_load(const struct tensor *t, double *to) {
  ptrdiff_t n = tensor_count(t);
  const char *from = t->data;
  if (t->dtype == DTYPE_F64) {
    memcpy(to, from, (size_t)n * sizeof *to);
  } else if (t->dtype == DTYPE_F32) {
#pragma omp parallel for simd schedule(static) if (parallel : n > WORTH_THREADS)
    for (ptrdiff_t i = 0; i < n; i++) {
      float x;
      memcpy(&x, from + (size_t)i * sizeof x, sizeof x); /* in a mapped file it may start at any byte */
      to[i] = (double)x;
    }
  } else {
#pragma omp parallel for schedule(static) if (n > WORTH_THREADS)
    for (ptrdiff_t i = 0; i < n; i++) to[i] = tensor_at(t, i);
  }
}

double *tensor_values(const struct tensor *t) {
  double *x = malloc(((size_t)tensor_count(t) + 1) * sizeof *x);
  if (x) tensor_load(t, x);
  return x;
}

const struct tensor *tensor_find(const struct tensor *tensors, int count, const char *name) {
  for (int i = 0; i < count; i++) {
    if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
  }
  return NULL;
}
