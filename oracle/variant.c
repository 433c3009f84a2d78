#include "oracle/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool variant_make(struct variant *v, const struct case_file *original, variant_rule *rule, const void *context, struct error *err) {
  int count = original->file.count;
  *v = (struct variant){.file = *original, .values = calloc((size_t)count + 1, sizeof *v->values)};
  v->file.attributes = json_deep_copy(original->attributes);
  v->file.file.tensor = malloc(((size_t)count + 1) * sizeof *v->file.file.tensor);
  if (!v->values || !v->file.attributes || !v->file.file.tensor) return fail(err, "%s: out of memory", original->name);
  memcpy(v->file.file.tensor, original->file.tensor, (size_t)count * sizeof *v->file.file.tensor);
  for (int t = 0; t < count; t++) {
    struct tensor *to = &v->file.file.tensor[t];
    const struct tensor *from = &original->file.tensor[t];
    if (case_expected(from) || (from->dtype != DTYPE_F32 && from->dtype != DTYPE_F64 && from->dtype != DTYPE_BF16)) continue;
    ptrdiff_t n = tensor_count(from);
    double *x = malloc((size_t)n * sizeof *x);
    if (!x) return fail(err, "%s: out of memory for %td elements", original->name, n);
#pragma omp parallel for schedule(static) if (n > 1 << 14)
    for (ptrdiff_t i = 0; i < n; i++) x[i] = rule(from, i, tensor_at(from, i), context);
    to->data = v->values[t] = x;
    to->dtype = DTYPE_F64;
  }
  return true;
}

void variant_close(struct variant *v) {
  for (int t = 0; v->values && t < v->file.file.count; t++) free(v->values[t]);
  free(v->values);
  free(v->file.file.tensor);
  json_decref(v->file.attributes);
  *v = (struct variant){0};
}

bool variant_set_flag(struct variant *v, const char *key, bool value, struct error *err) {
  return json_object_set_new(v->file.attributes, key, json_boolean(value)) == 0 || fail(err, "%s: out of memory", v->file.name);
}

bool variant_set_number(struct variant *v, const char *key, double value, struct error *err) {
  return json_object_set_new(v->file.attributes, key, json_real(value)) == 0 || fail(err, "%s: out of memory", v->file.name);
}

double variant_same(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  (void)t, (void)i, (void)context;
  return x;
}

double variant_absolute(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  (void)t, (void)i, (void)context;
  return fabs(x);
}

double variant_absolute_gradient(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  (void)i, (void)context;
  return strncmp(t->name, "grad_out.", strlen("grad_out.")) == 0 ? fabs(x) : x;
}

double variant_square(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  (void)t, (void)i, (void)context;
  return x * x;
}

double variant_rounded(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  (void)t, (void)i;
  return number_round(context, x);
}
