/* A case in memory, without a file: for judging one operation on tensors that are somewhere already.
 *
 *     struct memory_case m;
 *     memory_case_begin(&m, "conv", "layer1.0.conv1");
 *     memory_case_integer(&m, "stride", 1), memory_case_integer(&m, "pad", 1);
 *     memory_case_give(&m, "in.x", x), memory_case_give(&m, "param.weight", w);
 *     memory_case_expect(&m, "out.y", DTYPE_F64, 4, shape);
 *     if (memory_case_end(&m, err)) ...  m.file is a case (case.h) whose expected tensors have no values
 *     memory_case_free(&m);
 *
 * What goes wrong on the way (no memory, too many tensors, an attribute that is not finite) is kept and reported by memory_case_end. The
 * struct must not be copied: the case points into it. Only the tensors that are expected need to be computed by a runner (run_wants). */
#ifndef EDIY_ORACLE_MEMORY_CASE_H
#define EDIY_ORACLE_MEMORY_CASE_H

#include "oracle/case.h"

enum { MEMORY_CASE_TENSORS = 48 };

struct memory_case {
  struct case_file file;
  struct tensor tensor[MEMORY_CASE_TENSORS];
  int by_name[MEMORY_CASE_TENSORS];
  char path[CASE_MAX_NAME]; /* for messages */
  const char *problem;
};

/* op: must outlive the case. name: for messages, copied. */
void memory_case_begin(struct memory_case *m, const char *op, const char *name);

void memory_case_number(struct memory_case *m, const char *key, double value);
void memory_case_integer(struct memory_case *m, const char *key, ptrdiff_t value);
void memory_case_flag(struct memory_case *m, const char *key, bool value);
void memory_case_text(struct memory_case *m, const char *key, const char *value);

/* An input of this name: dtype, shape and numbers of t, which are not copied and must outlive the case. */
void memory_case_give(struct memory_case *m, const char *name, const struct tensor *t);
/* The same with another shape of as many elements. */
void memory_case_give_as(struct memory_case *m, const char *name, const struct tensor *t, int ndim, const ptrdiff_t *shape);

/* A result that is wanted: out.*, grad_in.* or grad_param.*. */
void memory_case_expect(struct memory_case *m, const char *name, enum dtype dtype, int ndim, const ptrdiff_t *shape);

MUST_CHECK bool memory_case_end(struct memory_case *m, struct error *err);
void memory_case_free(struct memory_case *m);

#endif
