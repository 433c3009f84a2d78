/* Any bytes at all, read as a safetensors file: refused with a line, or every tensor inside can be read, found and loaded.
 * The input is copied to memory of exactly its size by libFuzzer, so that the sanitizer sees a read beyond it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
  if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct safetensors f;
  struct error err = {.text = ""};
  if (!safetensors_parse(&f, data, size, "input", &err)) {
    require(strncmp(err.text, "input: ", 7) == 0 && !strchr(err.text, '\n'));
    require(f.count == 0 && !f.tensor && !f.path);
    return 0;
  }
  size_t bytes = 0;
  for (int i = 0; i < f.count; i++) {
    const struct tensor *t = &f.tensor[i];
    require(safetensors_find(&f, t->name) == t);
    ptrdiff_t n = tensor_count(t);
    require(n >= 0);
    bytes += (size_t)n * dtype_size(t->dtype);
    require(bytes <= size);
    double sum = 0;
    for (ptrdiff_t k = 0; k < n; k++) sum += tensor_at(t, k);
    double *copy = malloc((size_t)n * sizeof *copy + 1);
    require(copy != NULL);
    bool is_float = t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64 || t->dtype == DTYPE_BF16 || t->dtype == DTYPE_F16;
    require(safetensors_load(&f, t->name, DTYPE_F64, t->ndim, t->shape, copy, &err) == is_float);
    double total = 0;
    for (ptrdiff_t k = 0; is_float && k < n; k++) total += copy[k];
    require(!is_float || total == sum || (total != total && sum != sum));
    free(copy);
  }
  for (int i = 0; i < f.metadata_count; i++) require(safetensors_metadata(&f, f.metadata[i].key) == f.metadata[i].value);
  safetensors_close(&f);
  return 0;
}
