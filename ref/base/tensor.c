#include "base/tensor.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/bf16.h"
#include "base/f16.h"

static const struct {
  const char *name;
  size_t size;
} dtypes[] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_F64] = {"F64", 8}, [DTYPE_BF16] = {"BF16", 2}, [DTYPE_F16] = {"F16", 2},
    [DTYPE_I32] = {"I32", 4}, [DTYPE_I64] = {"I64", 8}, [DTYPE_U8] = {"U8", 1},
};

size_t dtype_size(enum dtype dtype) { return dtypes[dtype].size; }

const char *dtype_name(enum dtype dtype) { return dtypes[dtype].name; }

bool dtype_parse(const char *name, enum dtype *dtype) {
  for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
    if (strcmp(name, dtypes[i].name) == 0) {
      *dtype = (enum dtype)i;
      return true;
    }
  return false;
}

ptrdiff_t tensor_count(const struct tensor *t) {
  ptrdiff_t n = 1;
  for (int i = 0; i < t->ndim; i++)
    if (t->shape[i] < 0 || __builtin_mul_overflow(n, t->shape[i], &n)) return -1;
  return n;
}

double tensor_at(const struct tensor *t, ptrdiff_t i) {
  /* memcpy: a tensor inside a mapped file may start at any byte */
  const char *p = (const char *)t->data + (size_t)i * dtype_size(t->dtype);
  switch (t->dtype) {
  case DTYPE_F32: {
    float x;
    memcpy(&x, p, sizeof x);
    return (double)x;
  }
  case DTYPE_F64: {
    double x;
    memcpy(&x, p, sizeof x);
    return x;
  }
  case DTYPE_BF16: {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return (double)bf16_widen(half);
  }
  case DTYPE_F16: {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return (double)f16_widen(half);
  }
  case DTYPE_I32: {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return (double)x;
  }
  case DTYPE_I64: {
    int64_t x;
    memcpy(&x, p, sizeof x);
    return (double)x;
  }
  case DTYPE_U8: return (double)*(const unsigned char *)p;
  }
  assert(!"no such dtype");
  return 0;
}

struct tensor tensor_make(enum dtype dtype, void *data, int ndim, const ptrdiff_t *shape, const char *name_format, ...) {
  assert(ndim >= 0 && ndim <= TENSOR_MAX_DIMS);
  struct tensor t = {.dtype = dtype, .ndim = ndim, .data = data};
  for (int i = 0; i < ndim; i++) t.shape[i] = shape[i];
  va_list args;
  va_start(args, name_format);
  int length = vsnprintf(t.name, sizeof t.name, name_format, args);
  va_end(args);
  assert(length >= 0 && length < TENSOR_MAX_NAME && "the tensor's name is too long");
  (void)length;
  return t;
}
