#include "op/activation.h"

#include <assert.h>
#include <string.h>

#include "base/bf16.h"

enum dtype activation_dtype(const struct backend *b) {
  if (b->activation_size == sizeof(real)) return REAL_DTYPE;
  assert(b->activation_size == sizeof(uint16_t));
  return DTYPE_BF16;
}

/* The halves lie in front. From the last to the first no real is written over a half that is still to be read. */
void activation_download(const struct backend *b, ptrdiff_t n, real *to_host, const real *from) {
  b->download(to_host, from, (size_t)n * b->activation_size);
  if (activation_dtype(b) == REAL_DTYPE) return;
  for (ptrdiff_t i = n - 1; i >= 0; i--) {
    uint16_t half;
    memcpy(&half, (const char *)to_host + (size_t)i * sizeof half, sizeof half);
    to_host[i] = (real)bf16_widen(half);
  }
}
