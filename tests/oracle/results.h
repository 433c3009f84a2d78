/* Results of a case as a kernel would leave them, to be spoiled and judged by the program. */
#ifndef EDIY_TESTS_ORACLE_RESULTS_H
#define EDIY_TESTS_ORACLE_RESULTS_H

#include <stdlib.h>
#include <string.h>

#include "oracle/case.h"
#include "oracle/operations.h"
#include "oracle/variant.h"
#include "support/cmocka.h"
#include "support/program.h"

enum { MISMATCH = 1, BAD_INPUT = 2, VACUOUS = 3, INCOMPLETE = 5 };

enum { MAX_TENSORS = 16 };

/* Results to be spoiled and written: the expected tensors of a case as floats. */
struct results {
  struct tensor t[MAX_TENSORS];
  int count;
};

static inline struct results right_results(const char *path) {
  struct case_file c;
  struct error err;
  struct results r = {.count = 0};
  if (!case_open(&c, path, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < c.file.count; i++) {
    const struct tensor *t = &c.file.tensor[i];
    if (!case_expected(t)) continue;
    float *x = calloc((size_t)tensor_count(t), sizeof *x);
    assert_true(x && r.count < MAX_TENSORS);
    for (ptrdiff_t j = 0; j < tensor_count(t); j++) x[j] = (float)tensor_at(t, j);
    r.t[r.count++] = tensor_make(DTYPE_F32, x, t->ndim, t->shape, "%s", t->name);
  }
  case_close(&c);
  return r;
}

/* What the reference in float makes of inputs rounded to this format. */
static inline struct results rounded_results(const char *path, enum precision precision) {
  struct case_file c;
  struct variant v;
  struct case_run run;
  struct error err;
  struct results r = right_results(path);
  if (!case_open(&c, path, &err) || !variant_make(&v, &c, variant_rounded, &precision_classes[precision].in, &err) ||
      !run_begin(&run, &v.file, &err) || !case_compute(&run, 32)) {
    fail_msg("%s", err.text);
  }
  for (int i = 0; i < r.count; i++) {
    memcpy(r.t[i].data, run_result(&run, r.t[i].name)->data, (size_t)tensor_count(&r.t[i]) * sizeof(float));
  }
  run_end(&run);
  variant_close(&v);
  case_close(&c);
  return r;
}

static inline float *values(struct results *r, const char *name, ptrdiff_t *count) {
  for (int i = 0; i < r->count; i++) {
    if (strcmp(r->t[i].name, name) != 0) continue;
    *count = tensor_count(&r->t[i]);
    return r->t[i].data;
  }
  fail_msg("no %s", name);
  return NULL;
}

/* Writes the first count results, judges them, frees all. */
static inline const struct outcome *judged(struct results *r, int count, const char *path, const char *keys) {
  struct error err;
  if (!safetensors_write("candidate.safetensors", r->t, count, NULL, &err)) fail_msg("%s", err.text);
  for (int i = 0; i < r->count; i++) free(r->t[i].data);
  return program_run("oracle case %s candidate=candidate.safetensors %s", path, keys);
}

static inline void make_conv(const char *keys) {
  program_expect(0, "written", program_run("oracle case make op=conv out=conv.safetensors %s", keys));
}

#endif
