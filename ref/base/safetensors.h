/* safetensors files: 8 bytes little-endian header length, a JSON header, the tensors. Any reader of the format can open what is written
 * here, and what is read here is checked in full before a byte of data is used: the header is valid JSON in UTF-8, names are unique and
 * short enough, dtypes are known (tensor.h), every tensor lies inside the file and has the bytes its shape and dtype say, and the tensors
 * fill the file with no overlap, no hole and no byte left over.
 * Format: https://huggingface.co/docs/safetensors */
#ifndef EDIY_BASE_SAFETENSORS_H
#define EDIY_BASE_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/tensor.h"

struct safetensors_metadata {
  char *key, *value;
};

/* An open file, mapped read-only. tensor[i].data points into the mapping; tensors are in the order of their offsets. The data begins
 * where the file says, so it may be unaligned: read it through tensor_at, safetensors_load or memcpy. Writing to it is a fault.
 * The file must not be cut short while it is open (a file replaced by file.h is not: the mapping keeps the old one). */
struct safetensors {
  char *path; /* owned copy */
  struct tensor *tensor;
  int count;
  int *by_name; /* indices of tensor[] in the order of strcmp, for safetensors_find */
  struct safetensors_metadata *metadata;
  int metadata_count;
  void *map; /* null after safetensors_parse */
  size_t map_size;
};

/* Opens and checks a file. On failure f is empty and the message names the file, the tensor and what is wrong with it. */
MUST_CHECK bool safetensors_open(struct safetensors *f, const char *path, struct error *err);
/* The same from memory that the caller keeps (fuzzing); path is for messages. */
MUST_CHECK bool safetensors_parse(struct safetensors *f, const void *data, size_t size, const char *path, struct error *err);
/* Frees what was opened. No effect on an f that is empty or all zero. */
void safetensors_close(struct safetensors *f);

/* The tensor of this name, or null. O(log count). */
const struct tensor *safetensors_find(const struct safetensors *f, const char *name);
/* The metadata value of this key, or null. */
const char *safetensors_metadata(const struct safetensors *f, const char *key);

/* Copies the tensor of this name into data, which has the given dtype and shape. Shapes must be equal. F32, F64, BF16 and F16 are converted
 * to F32 or F64 (to nearest; an F64 beyond the range of F32 becomes infinite); otherwise the dtypes must be equal.
 * Fails with file, tensor and both shapes or dtypes in the message; data is then untouched. */
MUST_CHECK bool safetensors_load(const struct safetensors *f, const char *name, enum dtype dtype, int ndim, const ptrdiff_t *shape,
                                 void *data, struct error *err);

/* Whether a text may be metadata or a name: UTF-8. */
bool safetensors_is_text(const char *text);

/* Writes count tensors, one after the other in the given order, and pairs of metadata (key, value, key, value, ..., null; or null)
 * to path, whole or not at all (file.h). The header is padded with spaces to a multiple of 8, names are escaped as JSON. Fails for
 * what safetensors_open would refuse: a name twice or "__metadata__", text that is not UTF-8. Tensors are aligned in the file if the
 * caller puts wide dtypes first. */
MUST_CHECK bool safetensors_write(const char *path, const struct tensor *tensors, int count, const char *const *metadata,
                                  struct error *err);

#endif
