/* What a tensor is called, how it is shaped and where its numbers are: the common coin of files, traces and comparisons. */
#ifndef EDIY_BASE_TENSOR_H
#define EDIY_BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>

/* F16 is that of files with weights; the oracle, whose rules do not know it, refuses it (oracle/values.h). */
enum dtype { DTYPE_F32, DTYPE_F64, DTYPE_BF16, DTYPE_F16, DTYPE_I32, DTYPE_I64, DTYPE_U8 };

enum { TENSOR_MAX_DIMS = 6, TENSOR_MAX_NAME = 160 /* bytes, the end of the string among them */ };

struct tensor {
  char name[TENSOR_MAX_NAME];
  enum dtype dtype;
  int ndim; /* 0: a scalar */
  ptrdiff_t shape[TENSOR_MAX_DIMS];
  void *data; /* row-major, not owned; inside a mapped file it may be unaligned */
};

size_t dtype_size(enum dtype dtype);      /* bytes of one element */
const char *dtype_name(enum dtype dtype); /* as in safetensors: "F32" ... */
bool dtype_parse(const char *name, enum dtype *dtype);

/* Elements (1 for a scalar); -1 if a size is negative or the product overflows. */
ptrdiff_t tensor_count(const struct tensor *t);

/* Element i as a double, of any dtype; i is not checked. Integers beyond 2^53 are rounded. */
double tensor_at(const struct tensor *t, ptrdiff_t i);

/* Builds a tensor: tensor_make(DTYPE_F32, data, 2, (ptrdiff_t[]){m, c}, "x"). The name may be a format with arguments appended;
 * a name that is too long, or more dimensions than TENSOR_MAX_DIMS, is a programming error. */
struct tensor tensor_make(enum dtype dtype, void *data, int ndim, const ptrdiff_t *shape, const char *name_format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
