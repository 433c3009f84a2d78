/* Activations of a table that may store them as bf16. On the host they are floats; what the device is given is rounded, and what it leaves
 * is compared with the expected float rounded once: where a twin computes the reference's bits and rounds at the end, that is exact. */
#ifndef EDIY_TESTS_CUDA_ACTIVATIONS_H
#define EDIY_TESTS_CUDA_ACTIVATIONS_H

#include "base/bf16.h"

#include "cuda/device.h"

/* The table of this precision, whose convolutions are computed like that, or the test is skipped. */
static inline const struct backend *device_backend_by(enum cuda_precision precision, enum cuda_conv conv) {
  struct error err = {0};
  device_backend();
  const struct backend *b = backend_cuda(0, &(struct backend_cuda_options){.precision = precision, .conv = conv}, &err);
  if (!b) fail_msg("%s", err.text);
  return b;
}

static inline const struct backend *device_backend_in(enum cuda_precision precision) { return device_backend_by(precision, CUDA_CONV_OWN); }

/* The ways to compute a product, each in its class of precision. */
static const struct backend_cuda_options classes[] = {
    {.precision = CUDA_FP32}, {.precision = CUDA_TF32}, {.precision = CUDA_BF16}, {CUDA_BF16, CUDA_CONV_WGMMA, CUDA_GEMM_WGMMA}};
enum { CLASSES = sizeof classes / sizeof classes[0] };

/* The table of one of them, by turns, or the test is skipped. On a GPU that has no wgmma that one is bf16 again, and so it is with
 * EDIY_TEST_WGMMA=no, for what a kernel breaks stays broken for the rest of a program; and it is said. */
static inline const struct backend *class_of(int i) {
  const struct backend_cuda_options *o = &classes[i % CLASSES];
  const char *asked = getenv("EDIY_TEST_WGMMA");
  struct error err = {.text = "EDIY_TEST_WGMMA=no"};
  bool left_out = o->conv == CUDA_CONV_WGMMA && asked && strcmp(asked, "no") == 0;
  device_backend();
  const struct backend *b = left_out ? NULL : backend_cuda(0, o, &err);
  static bool said;
  if (!b && o->conv != CUDA_CONV_WGMMA) fail_msg("%s", err.text);
  if (!b && !said) print_message("wgmma: skipped: %s\n", err.text), said = true;
  return b ? b : device_backend_in(CUDA_BF16);
}

static inline bool stores_bf16(const struct backend *b) { return b->activation_size == sizeof(uint16_t); }

/* Rounds what is on the host to what the table can store. Null is none. */
static inline void test_round_activations(const struct backend *b, real *x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; x && stores_bf16(b) && i < n; i++) x[i] = bf16_widen(bf16_round(x[i]));
}

/* As the table stores them: to be freed. */
static inline void *test_stored(const struct backend *b, const real *x, ptrdiff_t n) {
  void *stored = malloc((size_t)(n > 0 ? n : 1) * b->activation_size);
  if (!stored) abort();
  for (ptrdiff_t i = 0; i < n; i++)
    if (stores_bf16(b))
      ((uint16_t *)stored)[i] = bf16_round(x[i]);
    else
      ((real *)stored)[i] = x[i];
  return stored;
}

static inline real *device_activations_from(const struct backend *b, const real *x, ptrdiff_t n) {
  if (!x) return NULL;
  void *stored = test_stored(b, x, n), *p = device_from_bytes(stored, (size_t)n * b->activation_size);
  free(stored);
  return p;
}

static inline real *device_activations(const struct backend *b, ptrdiff_t n) { return device_poisoned((size_t)n * b->activation_size); }

/* A copy on the host as floats, to be freed. */
static inline real *device_read_activations(const struct backend *b, const real *p, ptrdiff_t n) {
  void *stored = device_read_bytes(p, (size_t)n * b->activation_size);
  real *x = test_reals(n);
  for (ptrdiff_t i = 0; i < n; i++) x[i] = stores_bf16(b) ? bf16_widen(((uint16_t *)stored)[i]) : ((real *)stored)[i];
  free(stored);
  return x;
}

/* The device has the host's numbers, each rounded once to what the table stores; any NaN for a NaN. */
#define assert_same_activations(b, device, host, n) test_same_activations(b, device, host, n, #device, __FILE__, __LINE__)
static inline void test_same_activations(const struct backend *b, const real *device, const real *host, ptrdiff_t n, const char *what,
                                         const char *file, int line) {
  char *got = device_read_bytes(device, (size_t)n * b->activation_size), *expected = test_stored(b, host, n);
  for (ptrdiff_t i = 0; i < n; i++) {
    size_t at = (size_t)i * b->activation_size;
    if (memcmp(got + at, expected + at, b->activation_size) == 0) continue;
    real *x = device_read_activations(b, device, n);
    if (isnan(x[i]) && isnan(host[i])) {
      free(x);
      continue;
    }
    print_error("%s[%td] of %s is %.9g, expected %.9g rounded once\n", what, i, b->name, (double)x[i], (double)host[i]);
    _fail(file, line);
  }
  free(got), free(expected);
}

#endif
