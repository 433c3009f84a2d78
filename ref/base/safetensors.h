/* safetensors files: 8 bytes little-endian header length, a JSON header, the tensors. Any reader of the format can open what is written
 * here, and what is read here is checked in full before a byte of data is used: the header parses, names are unique, every tensor lies
 * inside the file, has the bytes its shape and dtype say, and no two overlap. */
#ifndef EDIY_BASE_SAFETENSORS_H
#define EDIY_BASE_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/tensor.h"

/* An open file, mapped read-only. tensor[i].data points into the mapping; tensors are in the order of their offsets. */
struct safetensors {
  char *path; /* owned copy */
  struct tensor *tensor;
  int count;
  struct {
    char *key, *value;
  } *metadata;
  int metadata_count;
  void *map;
  size_t map_size;
};

MUST_CHECK bool safetensors_open(struct safetensors *f, const char *path, struct error *err);
/* The same from memory that the caller keeps (fuzzing); path is for messages. */
MUST_CHECK bool safetensors_parse(struct safetensors *f, const void *data, size_t size, const char *path, struct error *err);
void safetensors_close(struct safetensors *f);

/* The tensor of this name, or null. */
const struct tensor *safetensors_find(const struct safetensors *f, const char *name);
/* The metadata value of this key, or null. */
const char *safetensors_metadata(const struct safetensors *f, const char *key);

/* Copies the tensor of this name into data as the given float dtype (F32 <-> F64 converted, shapes must be equal, integers as they
 * are). Fails with file, tensor and both shapes in the message. */
MUST_CHECK bool safetensors_load(const struct safetensors *f, const char *name, enum dtype dtype, int ndim, const ptrdiff_t *shape,
                                 void *data, struct error *err);

/* Writes count tensors and pairs of metadata (key, value, key, value, ..., null) to path, whole or not at all (file.h).
 * The header is padded with spaces to a multiple of 8, names are escaped as JSON. */
MUST_CHECK bool safetensors_write(const char *path, const struct tensor *tensors, int count, const char *const *metadata,
                                  struct error *err);

#endif
