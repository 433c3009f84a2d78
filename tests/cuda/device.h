/* What the tests of the CUDA backend share. They are C, know nothing of CUDA, and run against whatever backend_cuda was linked: our kernels
 * on the CPU (make check; shim.h) or on a GPU (make check-cuda). Without a GPU every test skips and says why.
 *
 * A tensor is an allocation of its own, so that the shim's guard zones, AddressSanitizer and compute-sanitizer see both of its ends.
 */
#ifndef EDIY_TESTS_CUDA_DEVICE_H
#define EDIY_TESTS_CUDA_DEVICE_H

#include <string.h>

#include "cuda/backend.h"

#include "support/cmocka.h"
#include "support/fused.h"
#include "support/support.h"

/* The backend under test, or the test is skipped. */
static inline const struct backend *device_backend(void) {
  struct error err = {0};
  const struct backend *b = backend_cuda(0, NULL, &err);
  if (!b) skip_because("%s", err.text);
  return b;
}

/* Skips a test that asks for the bits of the reference's products where they are others. */
static inline void device_needs_fused_reference(void) {
  if (!TEST_FUSED) skip_because("compiled for processors without fused multiply-adds (docs/numerics.md)");
}

/* What a test has allocated, freed by device_end. */
enum { DEVICE_MOST = 64 };
static void *device_memory[DEVICE_MOST];
static size_t device_bytes[DEVICE_MOST];
static int device_count;

static inline void *device_from_bytes(const void *host, size_t bytes) {
  const struct backend *b = device_backend();
  struct error err = {0};
  void *p;
  assert_true(device_count < DEVICE_MOST);
  if (!b->reserve(bytes, &p, &err)) fail_msg("%s", err.text);
  b->upload(p, host, bytes);
  device_memory[device_count] = p, device_bytes[device_count++] = bytes;
  return p;
}

/* Bytes of ones: NaN, and -1 for an index. */
static inline void *device_poisoned(size_t bytes) {
  void *poison = malloc(bytes ? bytes : 1);
  if (!poison) abort();
  memset(poison, 0xff, bytes);
  void *p = device_from_bytes(poison, bytes);
  free(poison);
  return p;
}

static inline real *device_from(const real *x, ptrdiff_t n) { return x ? device_from_bytes(x, (size_t)n * sizeof *x) : NULL; }
static inline real *device_reals(ptrdiff_t n) { return device_poisoned((size_t)n * sizeof(real)); }
static inline double *device_doubles(ptrdiff_t n) { return device_poisoned((size_t)n * sizeof(double)); }
static inline void *device_scratch(size_t bytes) { return device_poisoned(bytes); }

/* A copy on the host, to be freed. */
static inline void *device_read_bytes(const void *p, size_t bytes) {
  void *host = malloc(bytes ? bytes : 1);
  if (!host) abort();
  device_backend()->download(host, p, bytes);
  return host;
}
static inline real *device_read(const real *p, ptrdiff_t n) { return device_read_bytes(p, (size_t)n * sizeof *p); }

/* ---- bf16: float's upper half, as cuda/number.h has it. On the host numbers are float. ----------------------------------------------- */

enum { BF16_BYTES = sizeof(uint16_t) };
#define BF16_ROUNDOFF 0x1p-8 /* half a unit in the last of 8 places, relative to the number */

/* To nearest, ties to even; a NaN stays one. Through double, and so by other means than the device's: for the exponent e of x a multiple of
 * 2^(e - 7), or of 2^-133 below the normal numbers. */
static inline float test_to_bf16(float x) {
  int exponent;
  if (!isfinite(x) || x == 0) return x;
  frexp((double)x, &exponent); /* one more than e */
  double unit = ldexp(1, exponent - 8 < -133 ? -133 : exponent - 8), rounded = rint((double)x / unit) * unit;
  return fabs(rounded) >= 0x1p128 ? (float)copysign(INFINITY, (double)x) : (float)rounded;
}
static inline void test_round_to_bf16(real *x, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = test_to_bf16(x[i]);
}

/* n floats rounded to bf16 in device memory; null for null. */
static inline void *device_from_bf16(const real *x, ptrdiff_t n) {
  if (!x) return NULL;
  uint16_t *half = malloc((size_t)n * sizeof *half + 1);
  if (!half) abort();
  for (ptrdiff_t i = 0; i < n; i++) {
    float rounded = test_to_bf16(x[i]);
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    half[i] = (uint16_t)(isnan(rounded) ? 0x7fc0 : bits >> 16);
  }
  void *p = device_from_bytes(half, (size_t)n * sizeof *half);
  free(half);
  return p;
}
static inline void *device_bf16s(ptrdiff_t n) { return device_poisoned((size_t)n * BF16_BYTES); }

/* n numbers in bf16 as float on the host, to be freed. */
static inline real *device_read_bf16(const void *p, ptrdiff_t n) {
  uint16_t *half = device_read_bytes(p, (size_t)n * sizeof *half);
  real *x = test_reals(n);
  for (ptrdiff_t i = 0; i < n; i++) {
    uint32_t bits = (uint32_t)half[i] << 16;
    memcpy(&x[i], &bits, sizeof bits);
  }
  free(half);
  return x;
}

/* Nothing has failed, and everything is freed. */
static inline void device_end(void) {
  struct error err = {0};
  if (!backend_cuda_status(&err)) fail_msg("%s", err.text);
  while (device_count > 0) {
    device_count--;
    device_backend()->release(device_memory[device_count], device_bytes[device_count]);
  }
}

/* The same bits on the device as on the host. */
#define assert_same_bits(device, host, n)                                                                                                  \
  test_same_bits(device, host, (size_t)(n) * sizeof *(host), sizeof *(host), #device, __FILE__, __LINE__)
static inline void test_same_bits(const void *device, const void *host, size_t bytes, size_t element, const char *what, const char *file,
                                  int line) {
  char *got = device_read_bytes(device, bytes);
  for (size_t i = 0; i < bytes; i += element)
    if (memcmp(got + i, (const char *)host + i, element) != 0) {
      float f[2] = {0};
      double d[2] = {0};
      memcpy(element == sizeof(float) ? (void *)&f[0] : &d[0], got + i, element);
      memcpy(element == sizeof(float) ? (void *)&f[1] : &d[1], (const char *)host + i, element);
      print_error("%s[%zu] is %.17g, expected %.17g (bytes read as a number of their size)\n", what, i / element, (double)f[0] + d[0],
                  (double)f[1] + d[1]);
      _fail(file, line);
    }
  free(got);
}

/* |device - expected| <= bound, each element with its own. */
#define assert_within(device, expected, bound, n) test_within(device, expected, bound, n, #device, __FILE__, __LINE__)
static inline void test_within(const real *device, const real *expected, const double *bound, ptrdiff_t n, const char *what,
                               const char *file, int line) {
  real *got = device_read(device, n);
  for (ptrdiff_t i = 0; i < n; i++) {
    double e = fabs((double)got[i] - (double)expected[i]);
    if (!(e <= bound[i])) {
      print_error("%s[%td] is %.9g, expected %.9g: off by %.3g, allowed %.3g\n", what, i, (double)got[i], (double)expected[i], e, bound[i]);
      _fail(file, line);
    }
  }
  free(got);
}

static inline real *test_normal(ptrdiff_t n, uint32_t stream) {
  real *x = test_reals(n);
  test_fill_normal(x, n, stream);
  return x;
}
static inline real *test_ints(ptrdiff_t n, int range, uint32_t stream) {
  real *x = test_reals(n);
  test_fill_int(x, n, range, stream);
  return x;
}
static inline real *test_copy(const real *x, ptrdiff_t n) {
  real *y = test_reals(n);
  memcpy(y, x, (size_t)n * sizeof *x);
  return y;
}

#endif
