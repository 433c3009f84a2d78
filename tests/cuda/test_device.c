/* Opening a GPU, its memory, and what is refused: true of the shim and of any GPU; the first two tests also hold where there is none. */
#include "cuda/device.h"

static void a_gpu_that_is_not_there_is_refused(void **state) {
  (void)state;
  struct error err = {0};
  assert_null(backend_cuda(1000, &err));
  assert_true(strncmp(err.text, "cuda: ", 6) == 0 && !strchr(err.text, '\n'));
  print_message("%s\n", err.text);
}

static void a_status_before_opening_is_refused(void **state) {
  (void)state;
  struct error err = {0};
  assert_false(backend_cuda_status(&err));
  assert_non_null(strstr(err.text, "no GPU is open"));
}

static void every_operation_is_there(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  const void *const *entry = (const void *const *)(const void *)b; /* pointers, but for one size */
  for (size_t i = 0; i < sizeof *b / sizeof *entry; i++)
    if (!entry[i]) fail_msg("entry %zu of the table is empty", i);
  struct error err = {0};
  assert_true(b == backend_cuda(0, &err));
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_gpu_that_is_not_there_is_refused),
                                     cmocka_unit_test(a_status_before_opening_is_refused), cmocka_unit_test(every_operation_is_there),
                                     cmocka_unit_test(memory_is_zero_at_first_and_keeps_what_is_put_there),
                                     cmocka_unit_test(too_much_memory_is_refused)};
  return cmocka_run_group_tests_name("cuda device", tests, NULL, NULL);
}
