/* The memory of a backend, as a case is run on it: named slots, each between guards, that keep their place from one pass to the next.
 *
 * One pass is one computation of a case. Inputs are uploaded, outputs and scratch are poisoned (with NaN; in the third pass and in fresh
 * memory with huge numbers), the operation is called, outputs are downloaded. A second pass with other numbers finds the same storage:
 * what an operation kept from the first is then wrong. Everything goes through the backend's own upload and download, so that guards and
 * inputs can be looked at wherever its memory is. Activations and weights that products read (mixed.h), floats in the case, are bf16 there
 * where the table stores them so: rounded on the way in, widened on the way out.
 */
#ifndef EDIY_ORACLE_BACKEND_MEMORY_H
#define EDIY_ORACLE_BACKEND_MEMORY_H

#include "op/backend.h"
#include "oracle/run.h"

struct memory_slot;

struct backend_memory { /* zero-initialised with a table */
  const struct backend *table;
  struct memory_slot *slot;
  int count, capacity;
  int passes; /* this one included, and those that it is taken to come after */
};

struct pass {
  struct backend_memory *memory;
  struct case_run *run; /* the case and its inputs on the host; results are left in it */
};

/* Functions that return a pointer return null on failure, with *run->err filled. Names are those of the case's tensors. */

/* A given tensor as floats (or another type), on the backend. shape: as of run_input. */
const void *pass_input(struct pass *p, enum dtype dtype, int ndim, ptrdiff_t *shape, const char *name);
/* The same with any shape. */
const void *pass_input_any(struct pass *p, enum dtype dtype, int *ndim, const ptrdiff_t **shape, const char *name);
const void *pass_indices(struct pass *p, ptrdiff_t below, int ndim, ptrdiff_t *shape, const char *name);

/* A result, poisoned. */
void *pass_output(struct pass *p, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name);
/* A float result that the operation adds to or updates: begins as the given tensor `before`, or as zeros where the case has none. */
void *pass_updated(struct pass *p, int ndim, const ptrdiff_t *shape, const char *name, const char *before);
/* Memory that is no result, poisoned. */
void *pass_scratch(struct pass *p, size_t bytes, const char *name);

/* Copies bytes of a slot to the host in the middle of a pass. */
void pass_download(struct pass *p, void *to, const void *from, size_t bytes);

/* Downloads every result. Fills text and returns false when memory was written outside a slot, or an input was changed. */
MUST_CHECK bool pass_finish(struct pass *p, char *text, size_t size);

void backend_memory_free(struct backend_memory *m);

#endif
