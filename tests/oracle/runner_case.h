/* Cases that a test writes: what the tests of the oracle's runners share (test_runner_*.c).
 *
 *     begin("relu");
 *     give("in.x", x), give("out.y", y);     numbers that go in, numbers that are expected
 *     holds(64), holds(32);
 *
 * The case becomes a file, is opened and run as any other, and has to pass. Whatever the runner leaves has to be expected, so that nothing
 * of it is left unseen; and with one number of an expected tensor spoiled, the case is rejected, by the name of that tensor alone.
 *
 * A case named "int_..." is held to the bit (compare.c); others to what compare.c derives. */
#ifndef EDIY_TESTS_ORACLE_RUNNER_CASE_H
#define EDIY_TESTS_ORACLE_RUNNER_CASE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/philox.h"
#include "oracle/check.h"
#include "oracle/operations.h"
#include "support/cmocka.h"
#include "support/folder.h"

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------ */

/* A tensor of doubles, whose memory is kept until the test ends. */
struct numbers {
  int ndim;
  ptrdiff_t shape[TENSOR_MAX_DIMS], count;
  double *at; /* null: no tensor */
};

enum { KEPT = 1 << 14, GIVEN = 640 };
static void *kept[KEPT];
static int kept_count;

static inline void *keep(size_t bytes) {
  void *p = calloc(1, bytes);
  if (!p || kept_count == KEPT) fail_msg("no memory for the numbers of a test");
  return kept[kept_count++] = p;
}

static inline struct numbers zeros(int ndim, const ptrdiff_t *shape) {
  struct numbers n = {.ndim = ndim, .count = 1};
  for (int d = 0; d < ndim; d++) n.count *= n.shape[d] = shape[d];
  n.at = keep((size_t)n.count * sizeof(double));
  return n;
}
#define SHAPE(...)                                                                                                                         \
  (int)(sizeof((ptrdiff_t[]){__VA_ARGS__}) / sizeof(ptrdiff_t)), (ptrdiff_t[]) { __VA_ARGS__ }

static inline struct numbers scalar(double x) {
  struct numbers n = zeros(0, NULL);
  n.at[0] = x;
  return n;
}

/* The given values, row-major. */
static inline struct numbers listed(int ndim, const ptrdiff_t *shape, const double *values) {
  struct numbers n = zeros(ndim, shape);
  memcpy(n.at, values, (size_t)n.count * sizeof(double));
  return n;
}
#define LIST(...)                                                                                                                          \
  (const double[]) { __VA_ARGS__ }

/* middle + spread x: normal numbers x of this stream, each rounded to float, so that both precisions start from the same ones. */
static inline struct numbers drawn(int ndim, const ptrdiff_t *shape, double middle, double spread, uint32_t stream) {
  struct philox g = philox_stream(5, PHILOX_TEST, 40, stream, 0);
  struct numbers n = zeros(ndim, shape);
  for (ptrdiff_t i = 0; i < n.count; i++) n.at[i] = (float)(middle + spread * philox_normal(&g));
  return n;
}

/* ---- a case ------------------------------------------------------------------------------------------------------------------------- */

/* The case that is being written. What is computed through a runner on the way (compute) saves and restores it. */
struct written {
  const char *op, *name;
  json_t *attributes;
  struct tensor tensor[GIVEN];
  int count;
};
static struct written w;
static struct error err;

static inline void begin(const char *op) { w = (struct written){.op = op, .name = "case", .attributes = json_object()}; }
static inline void set(const char *key, json_t *value) { assert_int_equal(json_object_set_new(w.attributes, key, value), 0); }
static inline void set_number(const char *key, double x) { set(key, json_real(x)); }
static inline void set_integer(const char *key, ptrdiff_t x) { set(key, json_integer(x)); }
static inline void set_flag(const char *key, bool x) { set(key, json_boolean(x)); }
static inline void set_text(const char *key, const char *x) { set(key, json_string(x)); }

static inline void give_as(enum dtype dtype, void *data, const struct numbers *n, const char *name) {
  assert_true(w.count < GIVEN);
  w.tensor[w.count++] = tensor_make(dtype, data, n->ndim, n->shape, "%s", name);
}

static inline void give(const char *name, struct numbers n) { give_as(DTYPE_F64, n.at, &n, name); }

/* The same as whole numbers. */
static inline void give_index(const char *name, struct numbers n) {
  int64_t *x = keep((size_t)n.count * sizeof *x);
  for (ptrdiff_t i = 0; i < n.count; i++) x[i] = (int64_t)n.at[i];
  give_as(DTYPE_I64, x, &n, name);
}
static inline void give_bytes(const char *name, struct numbers n) {
  uint8_t *x = keep((size_t)n.count);
  for (ptrdiff_t i = 0; i < n.count; i++) x[i] = (uint8_t)n.at[i];
  give_as(DTYPE_U8, x, &n, name);
}

/* ---- judging it --------------------------------------------------------------------------------------------------------------------- */

static char folder[FOLDER_PATH];

static inline int make_folder(void **state) {
  (void)state;
  folder_make(folder);
  return 0;
}

static inline int remove_folder(void **state) {
  (void)state;
  return rmdir(folder);
}

/* After each test. */
static inline int forget(void **state) {
  (void)state;
  while (kept_count > 0) free(kept[--kept_count]);
  json_decref(w.attributes);
  w = (struct written){.attributes = NULL};
  return 0;
}

static inline void open_written(struct case_file *c) {
  char path[IN_FOLDER_PATH], *attrs = json_dumps(w.attributes, 0);
  const char *metadata[] = {"format", "ediy-case-1", "op", w.op, "attrs", attrs, "layout", "pytorch", NULL};
  snprintf(path, sizeof path, "%s/%s.safetensors", folder, w.name);
  bool ok = attrs && safetensors_write(path, w.tensor, w.count, metadata, &err) && case_open(c, path, &err);
  free(attrs);
  unlink(path); /* an open file stays mapped */
  if (!ok) fail_msg("%s", err.text);
}

static inline void assert_passes(const struct case_file *c, int bits) {
  struct verdict v;
  char line[600];
  if (!case_check(c, bits, false, &v, &err)) fail_msg("%s f%d: %s", w.op, bits, err.text);
  for (int i = 0; i < v.count; i++) {
    if (v.finding[i].pass) continue;
    finding_text(&v.finding[i], line, sizeof line);
    print_error("%s f%d: %s\n", w.op, bits, line);
  }
  int failures = v.failures;
  verdict_free(&v);
  if (failures > 0) fail_msg("%s f%d: %d tensors are not as expected", w.op, bits, failures);
}

/* One number of t, the middle one, changed by a hundredth of the largest (what is nothing but rounding, by 1). */
static inline void *spoil(const struct tensor *t) {
  ptrdiff_t n = tensor_count(t), at = n / 2;
  size_t element = dtype_size(t->dtype);
  char *data = keep((size_t)n * element);
  double most = 0;
  memcpy(data, t->data, (size_t)n * element);
  for (ptrdiff_t i = 0; i < n; i++) most = fmax(most, fabs(tensor_at(t, i)));
  if (t->dtype == DTYPE_I64) {
    int64_t x = (int64_t)tensor_at(t, at) + 1;
    memcpy(data + (size_t)at * element, &x, element);
  } else {
    double x = tensor_at(t, at) + (most > 1e-6 ? most / 100 : 1);
    memcpy(data + (size_t)at * element, &x, element);
  }
  return data;
}

static inline void assert_only(const struct verdict *v, const char *name) {
  for (int i = 0; i < v->count; i++) {
    if (v->finding[i].pass == (strcmp(v->finding[i].tensor, name) == 0))
      fail_msg("%s: with %s spoiled, %s %s", w.op, name, v->finding[i].tensor, v->finding[i].pass ? "passes" : "fails");
  }
}

static inline void assert_each_is_judged(struct case_file *c, int bits, bool whole) {
  struct case_run run;
  struct verdict v;
  int expected = 0;
  if (!run_begin(&run, c, &err) || !case_compute(&run, bits)) fail_msg("%s", err.text);
  for (int i = 0; i < c->file.count; i++) {
    struct tensor *t = &c->file.tensor[i];
    void *right = t->data;
    if (!case_expected(t)) continue;
    expected++;
    t->data = spoil(t);
    if (!compare_case(&run, bits, NULL, NULL, &v, &err)) fail_msg("%s", err.text);
    assert_only(&v, t->name);
    verdict_free(&v);
    t->data = right;
  }
  for (int i = 0; whole && i < run.count; i++) {
    if (!safetensors_find(&c->file, run.result[i].name)) fail_msg("%s: nothing is said of result %s", w.op, run.result[i].name);
  }
  assert_true(expected > 0);
  run_end(&run);
}

static inline void holds(int bits) {
  struct case_file c;
  open_written(&c);
  assert_passes(&c, bits);
  assert_each_is_judged(&c, bits, true);
  case_close(&c);
}

/* The same of a case that expects only some of the results. */
static inline void holds_in_part(int bits) {
  struct case_file c;
  open_written(&c);
  assert_passes(&c, bits);
  assert_each_is_judged(&c, bits, false);
  case_close(&c);
}

static inline void count_event(void *context, const struct trace_event *e) { ((int *)context)[e->phase]++; }

/* How many tensors of each phase somebody sees who watches the networks of the case (run.h). */
static inline void watch(int bits, int seen[PHASE_EMA + 1]) {
  struct case_file c;
  struct case_run run;
  const struct trace trace = {.see = count_event, .context = seen};
  memset(seen, 0, (PHASE_EMA + 1) * sizeof *seen);
  open_written(&c);
  if (!run_begin(&run, &c, &err)) fail_msg("%s", err.text);
  run.trace = &trace;
  if (!case_compute(&run, bits)) fail_msg("%s", err.text);
  run_end(&run), case_close(&c);
}

/* The case cannot be run, and the message has this text. */
static inline void refused(const char *text) {
  for (int bits = 32; bits <= 64; bits += 32) {
    struct case_file c;
    struct verdict v;
    open_written(&c);
    if (case_check(&c, bits, false, &v, &err)) fail_msg("%s f%d: was judged, not refused with \"%s\"", w.op, bits, text);
    if (!strstr(err.text, text)) fail_msg("%s f%d: \"%s\" does not say \"%s\"", w.op, bits, err.text, text);
    case_close(&c);
  }
}

#endif
