/* One run of a case: what a runner reads its inputs from and leaves its results in.
 *
 * The memory it hands out is hostile on purpose: outputs and scratch are poisoned with NaN, so that an element nobody wrote cannot pass;
 * every block stands between guards; inputs are compared with the file afterwards. run_finish checks all of that.
 *
 * Names are formats with arguments. Functions that return a pointer return null on failure, with *run->err filled.
 */
#ifndef EDIY_ORACLE_RUN_H
#define EDIY_ORACLE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/tensor.h"
#include "model/trace.h"
#include "oracle/case.h"

struct run_block;

struct case_run {
  const struct case_file *file;
  struct error *err;
  struct run_block *blocks;
  struct tensor *result; /* count; data inside blocks */
  int count, capacity;
  bool *read;                /* one for each tensor of the file */
  bool everything;           /* compute all results, whatever the case expects */
  const struct trace *trace; /* who watches the networks; null: nobody */
};

/* Starts a run of an open case, which must outlive it. err is where every later failure goes. */
MUST_CHECK bool run_begin(struct case_run *run, const struct case_file *file, struct error *err);

/* Every given tensor was read, every input is as it was, every guard is untouched. */
MUST_CHECK bool run_finish(struct case_run *run);
void run_end(struct case_run *run);

/* A given tensor, converted to dtype (F32, F64, I32, U8) in memory of the run. shape: entries below zero are unknown and filled in; the
 * others must be met. */
const void *run_input(struct case_run *run, enum dtype dtype, int ndim, ptrdiff_t *shape, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* The same with any number of dimensions: *ndim and *shape point into the file's tensor. */
const void *run_input_any(struct case_run *run, enum dtype dtype, int *ndim, const ptrdiff_t **shape, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* Indices (I32), each of which must be in [0, below). */
const int32_t *run_indices(struct case_run *run, ptrdiff_t below, int ndim, ptrdiff_t *shape, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* True if the file has a tensor of this name. */
bool run_has(const struct case_run *run, const char *name, ...) __attribute__((format(printf, 2, 3)));

/* True if this result has to be computed: the case expects it, or expects nothing at all (one that is being made). A runner may leave out
 * what is not wanted, with the work for it. */
bool run_wants(const struct case_run *run, const char *name, ...) __attribute__((format(printf, 2, 3)));

/* A new result of this name: poisoned, or all zeros for what is accumulated into. */
void *run_output(struct case_run *run, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name, ...)
    __attribute__((format(printf, 5, 6)));
void *run_accumulator(struct case_run *run, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name, ...)
    __attribute__((format(printf, 5, 6)));

/* The same, beginning as the given tensor `before` where the case has it. */
void *run_added(struct case_run *run, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name, const char *before);

/* Memory that is no result: poisoned. count >= 0 elements. */
void *run_scratch(struct case_run *run, enum dtype dtype, ptrdiff_t count);

/* The result of this name, or null. */
const struct tensor *run_result(const struct case_run *run, const char *name);

#endif
