/* Opening a GPU, its memory, and what is refused: true of the shim and of any GPU; the first two tests also hold where there is none. */
#include <time.h>

#include "base/bf16.h"

#include "cuda/device.h"

static void a_gpu_that_is_not_there_is_refused(void **state) {
  (void)state;
  struct error err = {0};
  assert_null(backend_cuda(1000, NULL, &err));
  assert_true(strncmp(err.text, "cuda: ", 6) == 0 && !strchr(err.text, '\n'));
  print_message("%s\n", err.text);
}

static void a_status_before_opening_is_refused(void **state) {
  (void)state;
  struct error err = {0};
  assert_false(backend_cuda_status(&err));
  assert_non_null(strstr(err.text, "no GPU is open"));
}

static void every_operation_of_every_table_is_there(void **state) {
  (void)state;
  const struct backend *fp32 = device_backend();
  const size_t store = offsetof(struct backend, store_activations) / sizeof(void *), /* floats are stored as they are */
      least = offsetof(struct backend, conv_scratch_least) / sizeof(void *);         /* conv_scratch is soon known */
  struct error err = {0};
  for (int precision = 0; precision < CUDA_PRECISIONS; precision++) {
    const struct backend *b = backend_cuda(0, &(struct backend_cuda_options){.precision = (enum cuda_precision)precision}, &err);
    assert_non_null(b);
    const void *const *entry = (const void *const *)(const void *)b; /* pointers, but for one size */
    for (size_t i = 0; i < sizeof *b / sizeof *entry; i++)
      if (!entry[i] != (i == least || (i == store && precision != CUDA_BF16)))
        fail_msg("entry %zu of %s is%s empty", i, b->name, entry[i] ? " not" : "");
    assert_int_equal(b->activation_size, precision == CUDA_BF16 ? 2 : 4);
  }
  assert_true(fp32 == backend_cuda(0, NULL, &err));
  assert_true(fp32 == backend_cuda(0, &(struct backend_cuda_options){0}, &err));
}

/* In tf32 products alone are other operations, and in bf16 all that reads or writes activations. */
static void classes_have_operations_of_their_own(void **state) {
  (void)state;
  device_backend();
#define AT(entry) offsetof(struct backend, entry)
  static const size_t products[] = {AT(conv_forward_moments), AT(conv_norm_forward_eval), AT(conv_scratch),   AT(conv_forward),
                                    AT(conv_backward_data),   AT(conv_backward_weights),  AT(linear_scratch), AT(linear_forward),
                                    AT(linear_backward_data), AT(linear_backward_weights)};
  static const size_t others[] = {AT(norm_signs),         AT(norm_forward_train), AT(norm_forward_eval),  AT(norm_backward_train),
                                  AT(norm_rank_moments),  AT(norm_rank_forward),  AT(norm_rank_gradient), AT(norm_rank_backward),
                                  AT(maxpool_forward),    AT(maxpool_backward),   AT(avgpool_forward),    AT(avgpool_backward),
                                  AT(match_diversity),    AT(match_invariance),   AT(loss_byol),          AT(loss_rdem),
                                  AT(loss_rdem_instance), AT(loss_riem),          AT(store_activations),  AT(activation_size)};
#undef AT
  enum { PRODUCTS = sizeof products / sizeof products[0], OTHERS = sizeof others / sizeof others[0] };
  const char *table[CUDA_PRECISIONS];
  struct error err = {0};
  for (int i = 0; i < CUDA_PRECISIONS; i++)
    table[i] = (const char *)backend_cuda(0, &(struct backend_cuda_options){.precision = (enum cuda_precision)i}, &err);
  for (size_t at = sizeof(void *); at < sizeof(struct backend); at += sizeof(void *)) { /* behind the name */
    bool product = false, other = false;
    for (int k = 0; k < PRODUCTS; k++) product |= products[k] == at;
    for (int k = 0; k < OTHERS; k++) other |= others[k] == at;
    bool tf32 = memcmp(table[CUDA_TF32] + at, table[CUDA_FP32] + at, sizeof(void *)) != 0;
    bool bf16 = memcmp(table[CUDA_BF16] + at, table[CUDA_FP32] + at, sizeof(void *)) != 0;
    if (tf32 != product || bf16 != (product || other)) fail_msg("entry %zu of the tables", at / sizeof(void *));
  }
}

/* cuda.conv and cuda.gemm put other products in their place, whose bits may be the same, and nothing else. */
static void ways_have_products_of_their_own(void **state) {
  (void)state;
  device_backend();
#define AT(entry) offsetof(struct backend, entry)
  static const size_t conv[] = {AT(conv_forward), AT(conv_norm_forward_eval), AT(conv_backward_data), AT(conv_backward_weights),
                                AT(conv_forward_moments)};
  static const size_t linear[] = {AT(linear_forward), AT(linear_backward_data), AT(linear_backward_weights), AT(linear_scratch)};
  enum {
    MOMENTS = AT(conv_moments) /* which the plain kernel leaves none of */,
    SCRATCH = AT(conv_scratch) /* another function of the same numbers */
  };
#undef AT
  static const struct {
    enum cuda_precision precision;
    enum cuda_conv conv;
    enum cuda_gemm gemm;
  } ways[] = {{CUDA_FP32, CUDA_CONV_PLAIN, CUDA_GEMM_OWN},  {CUDA_TF32, CUDA_CONV_PLAIN, CUDA_GEMM_OWN},
              {CUDA_BF16, CUDA_CONV_PLAIN, CUDA_GEMM_OWN},  {CUDA_BF16, CUDA_CONV_WGMMA, CUDA_GEMM_OWN},
              {CUDA_BF16, CUDA_CONV_OWN, CUDA_GEMM_WGMMA},  {CUDA_BF16, CUDA_CONV_WGMMA, CUDA_GEMM_WGMMA},
              {CUDA_BF16, CUDA_CONV_PLAIN, CUDA_GEMM_WGMMA}};
  for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
    struct error err = {0};
    const char *own = (const char *)backend_cuda(0, &(struct backend_cuda_options){.precision = ways[i].precision}, &err);
    const char *other = (const char *)backend_cuda(0, &(struct backend_cuda_options){ways[i].precision, ways[i].conv, ways[i].gemm}, &err);
    if (!other) { /* a GPU without wgmma */
      print_message("%s\n", err.text);
      continue;
    }
    for (size_t at = 0; at < sizeof(struct backend); at += sizeof(void *)) {
      bool expected = (at == MOMENTS && ways[i].conv == CUDA_CONV_PLAIN) || (at == SCRATCH && ways[i].conv == CUDA_CONV_WGMMA);
      for (size_t k = 0; k < sizeof conv / sizeof conv[0]; k++) expected |= conv[k] == at && ways[i].conv != CUDA_CONV_OWN;
      for (size_t k = 0; k < sizeof linear / sizeof linear[0]; k++) expected |= linear[k] == at && ways[i].gemm != CUDA_GEMM_OWN;
      if ((memcmp(own + at, other + at, sizeof(void *)) != 0) != expected)
        fail_msg("way %zu, entry %zu of the tables", i, at / sizeof(void *));
    }
  }
}

static void memory_is_zero_at_first_and_keeps_what_is_put_there(void **state) {
  (void)state;
  enum { BYTES = 1000, PART = 300 };
  const struct backend *b = device_backend();
  struct error err = {0};
  void *p;
  char expected[BYTES] = {0}, *middle;
  if (!b->reserve(BYTES, &p, &err)) fail_msg("%s", err.text);
  middle = (char *)p + PART;
  assert_same_bits(p, expected, BYTES);
  for (int i = 0; i < BYTES; i++) expected[i] = (char)i;
  b->upload(p, expected, BYTES);
  assert_same_bits(p, expected, BYTES);
  memcpy(expected, expected + PART, PART);
  b->copy(p, middle, PART);
  memset(expected + PART, 0, PART);
  b->zero(middle, PART);
  assert_same_bits(p, expected, BYTES);
  b->release(p, BYTES);
}

static double host_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Some of what the host has seen go by, in its unit, whatever marks were set before. */
static void the_clock_tells_what_lies_between_two_marks(void **state) {
  (void)state;
  enum { BYTES = 1 << 22, LAST = BACKEND_MARKS - 1 };
  const struct backend *b = device_backend();
  char *p = device_poisoned(BYTES);
  for (int turn = 0; turn < 2; turn++) {
    double before = host_seconds();
    b->mark(0), b->zero(p, BYTES), b->mark(LAST);
    double between = b->seconds_between(0, LAST), all = host_seconds() - before;
    if (!(between > 0 && between <= all)) fail_msg("%g s of %g s", between, all);
  }
  device_end();
}

/* No failure of the device: a smaller request goes through. */
static void too_much_memory_is_refused(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  struct error err = {0};
  void *p;
  assert_false(b->reserve((size_t)1 << 46, &p, &err));
  assert_non_null(strstr(err.text, "65536.00 GiB are needed; choose a smaller batch"));
  assert_true(b->reserve(8, &p, &err));
  b->release(p, 8);
  device_end();
}

/* What the other tests rest on when they hand over activations in bf16: bits by hand. */
static void bf16_is_to_nearest_even_there_and_back(void **state) {
  (void)state;
  static const struct {
    float x;
    uint16_t bits;
  } known[] = {{0, 0},
               {-0.0f, 0x8000},
               {1, 0x3f80},
               {0x1.01p0f, 0x3f80},      /* a tie, down to even */
               {0x1.03p0f, 0x3f82},      /* a tie, up to even */
               {0x1.010002p0f, 0x3f81},  /* above a tie */
               {-0x1.02fffep0f, 0xbf81}, /* below one */
               {0x1.fffp0f, 0x4000},     /* into the next exponent */
               {0x1.fep127f, 0x7f7f},    /* the largest */
               {0x1.fefffep127f, 0x7f7f},
               {0x1.ffp127f, 0x7f80}, /* beyond it by half a unit */
               {-INFINITY, 0xff80},
               {0x1p-133f, 0x0001}, /* the smallest */
               {0x1p-134f, 0x0000},
               {0x1.8p-133f, 0x0002},
               {0x1.fep-127f, 0x0080}};
  enum { KNOWN = sizeof known / sizeof known[0] };
  float x[KNOWN + 1], back[KNOWN + 1];
  uint16_t bits[KNOWN];
  for (int i = 0; i < KNOWN; i++) {
    uint32_t wide = (uint32_t)known[i].bits << 16;
    x[i] = known[i].x, bits[i] = known[i].bits;
    memcpy(&back[i], &wide, sizeof wide);
  }
  x[KNOWN] = NAN;
  void *p = device_from_bf16(x, KNOWN + 1);
  assert_same_bits(p, bits, KNOWN);
  real *got = device_read_bf16(p, KNOWN + 1);
  assert_memory_equal(got, back, KNOWN * sizeof *got);
  assert_true(isnan(got[KNOWN]));
  free(got);
  device_end();
}

/* Of every length around whole pieces and blocks, at addresses that allow pieces and that do not; nothing behind is written. */
static void floats_are_stored_rounded_wherever_they_lie(void **state) {
  (void)state;
  enum { MOST = 2100, MOVES = 3, ROOM = MOST + MOVES };
  struct error err = {0};
  device_backend();
  const struct backend *b = backend_cuda(0, &(struct backend_cuda_options){.precision = CUDA_BF16}, &err);
  if (!b) fail_msg("%s", err.text);
  real *x = test_normal(ROOM, 1), *from = device_from(x, ROOM);
  uint16_t expected[ROOM], *to = device_bf16s(ROOM);
  for (ptrdiff_t n = 1; n <= MOST; n += n < 20 ? 1 : 77) {
    for (ptrdiff_t move = 0; move < 2 * MOVES; move++) {
      ptrdiff_t read = move % MOVES, written = move < MOVES ? read : 0;
      memset(expected, 0xff, sizeof expected);
      b->upload(to, expected, sizeof expected);
      for (ptrdiff_t i = 0; i < n; i++) expected[written + i] = bf16_round(x[read + i]);
      b->store_activations(n, from + read, (real *)(void *)(to + written));
      assert_same_bits(to, expected, ROOM);
    }
  }
  free(x);
  device_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_gpu_that_is_not_there_is_refused),
                                     cmocka_unit_test(a_status_before_opening_is_refused),
                                     cmocka_unit_test(every_operation_of_every_table_is_there),
                                     cmocka_unit_test(classes_have_operations_of_their_own),
                                     cmocka_unit_test(ways_have_products_of_their_own),
                                     cmocka_unit_test(memory_is_zero_at_first_and_keeps_what_is_put_there),
                                     cmocka_unit_test(the_clock_tells_what_lies_between_two_marks),
                                     cmocka_unit_test(too_much_memory_is_refused),
                                     cmocka_unit_test(bf16_is_to_nearest_even_there_and_back),
                                     cmocka_unit_test(floats_are_stored_rounded_wherever_they_lie)};
  return cmocka_run_group_tests_name("cuda device", tests, NULL, NULL);
}
