/* A case in memory whose gauges are looked at: what test_gauge.c and test_gauge_derived.c share. */
#ifndef EDIY_TESTS_ORACLE_GAUGE_CASE_H
#define EDIY_TESTS_ORACLE_GAUGE_CASE_H

#include <math.h>
#include <stdlib.h>

#include "base/philox.h"
#include "oracle/gauge.h"
#include "oracle/memory_case.h"
#include "support/cmocka.h"

enum { LARGEST = 6000, TENSORS = 16 };
static double store[TENSORS][LARGEST];
static int stored;
static struct memory_case m;
static struct case_run g, g2;
static struct error err;

static void begin(const char *op) {
  stored = 0;
  memory_case_begin(&m, op, "case");
}

/* A given tensor of normal numbers, and where they are. */
static double *give(const char *name, int ndim, const ptrdiff_t *shape) {
  assert_true(stored < TENSORS);
  struct philox draws = philox_stream(3, PHILOX_TEST, 12, (uint32_t)stored, 0);
  double *x = store[stored++];
  struct tensor t = tensor_make(DTYPE_F64, x, ndim, shape, "%s", name);
  assert_true(tensor_count(&t) <= LARGEST);
  for (ptrdiff_t i = 0; i < tensor_count(&t); i++) x[i] = philox_normal(&draws);
  memory_case_give(&m, name, &t);
  return x;
}

static void expect(const char *name, int ndim, const ptrdiff_t *shape) { memory_case_expect(&m, name, DTYPE_F64, ndim, shape); }

static void compute(double chain) {
  if (!memory_case_end(&m, &err) || !run_begin(&g, &m.file, &err) || !run_begin(&g2, &m.file, &err) ||
      !gauge_compute(&m.file, chain, &g, &g2, &err))
    fail_msg("%s", err.text);
}

static void end(void) {
  run_end(&g), run_end(&g2);
  memory_case_free(&m);
}

static double gauge_in(const struct case_run *run, const char *name, ptrdiff_t i) {
  const struct tensor *t = run_result(run, name);
  if (!t || i >= tensor_count(t)) fail_msg("no %s", name);
  return tensor_at(t, i);
}
static double of(const char *name, ptrdiff_t i) { return gauge_in(&g, name, i); }

static void assert_near(const char *name, ptrdiff_t i, double is, double expected) {
  if (!(fabs(is - expected) <= 1e-12 * fabs(expected))) fail_msg("%s[%td]: %.17g, not %.17g", name, i, is, expected);
}
static void assert_gauge(const char *name, ptrdiff_t i, double expected) { assert_near(name, i, of(name, i), expected); }

#endif
