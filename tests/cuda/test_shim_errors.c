/* What can go wrong with a GPU is one line that says what to do. The shim plays the machine; against a real one this program is not built
 * (test_device has what can be asked of any). */
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/activations.h"
#include "cuda/shim_control.h"

static const struct shim_machine sound = {
    .devices = 1, .driver = 13000, .runtime = 13000, .major = 9, .memory = (size_t)4 << 30, .pinned = (size_t)4 << 30};

static void is_refused(struct shim_machine machine, int device, const char *words) {
  struct error err = {0};
  shim_machine = machine;
  assert_null(backend_cuda(device, NULL, &err));
  if (!strstr(err.text, words) || strncmp(err.text, "cuda: ", 6) != 0 || strchr(err.text, '\n'))
    fail_msg("'%s' does not say '%s'", err.text, words);
  shim_machine = sound;
}

static void a_machine_without_a_usable_gpu_is_refused(void **state) {
  (void)state;
  struct shim_machine m = sound;
  m.driver = 0;
  is_refused(m, 0, "this machine has no NVIDIA driver");
  m.driver = 12040;
  is_refused(m, 0, "the NVIDIA driver is for CUDA 12.4, and this program needs 13.0");
  m = sound, m.devices = 0;
  is_refused(m, 0, "no GPU is visible");
  m = sound, m.devices = 2;
  is_refused(m, 2, "there is no GPU 2: 2 visible, counted from 0");
  is_refused(m, -1, "there is no GPU -1");
  m = sound, m.major = 7, m.minor = 5;
  is_refused(m, 0, "compute capability 7.5");
}

/* 0 where a table by wgmma is refused with these words, and nothing else is. */
static int wgmma_refused(int major, int minor, enum cuda_precision precision, const char *words) {
  struct error err = {0};
  shim_machine.major = major, shim_machine.minor = minor;
  const struct backend_cuda_options conv = {precision, CUDA_CONV_WGMMA, CUDA_GEMM_OWN}, gemm = {precision, CUDA_CONV_OWN, CUDA_GEMM_WGMMA},
                                    other = {.precision = precision};
  if (backend_cuda(0, &conv, &err) || strncmp(err.text, "cuda.conv=wgmma: ", 17) != 0 || !strstr(err.text, words)) return 1;
  if (backend_cuda(0, &gemm, &err) || strncmp(err.text, "cuda.gemm=wgmma: ", 17) != 0 || !strstr(err.text, words)) return 2;
  return backend_cuda(0, &other, &err) ? 0 : 3;
}

/* Each in a process of its own, as a GPU is opened once. */
static void wgmma_is_for_bf16_on_one_generation(void **state) {
  (void)state;
  static const struct {
    int major, minor;
    enum cuda_precision precision;
    const char *words;
  } cases[] = {{8, 0, CUDA_BF16, "GPU 0 has compute capability 8.0, and it is for 9.0 alone; leave it out"},
               {10, 0, CUDA_BF16, "GPU 0 has compute capability 10.0"},
               {9, 0, CUDA_FP32, "it computes in bf16 alone; add precision=bf16, or leave it out"},
               {9, 0, CUDA_TF32, "it computes in bf16 alone"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) _exit(wgmma_refused(cases[i].major, cases[i].minor, cases[i].precision, cases[i].words));
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
  }
}

static void one_gpu_a_process(void **state) {
  (void)state;
  struct error err = {0};
  const struct backend *b = backend_cuda(0, NULL, &err);
  assert_true(b && b == backend_cuda(0, NULL, &err));
  assert_null(backend_cuda(1, NULL, &err));
  assert_non_null(strstr(err.text, "GPU 0 is open"));
}

/* Too little memory is no failure of the device: a smaller request goes through. */
static void too_little_memory_says_how_much(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  struct error err = {0};
  void *p;
  shim_machine.memory = (size_t)1 << 30;
  assert_false(b->reserve((size_t)5 << 29, &p, &err));
  assert_non_null(strstr(err.text, "GPU 0 has 1.00 of its 1.00 GiB free, and 2.50 GiB are needed; choose a smaller batch"));
  assert_true(b->reserve(1000, &p, &err));
  b->release(p, 1000);
  shim_machine = sound;
  assert_true(backend_cuda_status(&err));
}

/* A sixty-fourth of it, at most 256 MiB, is not promised; where less is free, hardly a byte is, which is not 0: that would be a system that
 * does not tell. */
static void some_memory_is_kept_for_what_cuda_takes_later(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  const size_t mib = (size_t)1 << 20;
  struct error err = {0};
  void *p;
  shim_machine.memory = 1024 * mib;
  const size_t small = b->available(), in_use = (1024 - 16) * mib - small;
  assert_true(in_use < 16 * mib);
  assert_true(b->reserve(mib, &p, &err));
  assert_true(b->available() == small - mib);
  b->release(p, mib);
  shim_machine.memory = 65536 * mib;
  assert_true(b->available() == (65536 - 256) * mib - in_use);
  shim_machine.memory = in_use + 1;
  assert_true(b->available() == 1);
  shim_machine = sound;
}

/* A loss whose match is no region: 0 where the line says so and nothing computed passes for a number, else the place that differs. */
static int loss_of_index(const struct backend *b, int kind, int32_t index) {
  struct loss g = {.b = 1, .n = 2, .c = 2};
  const int32_t indices[] = {0, index}, *dev_index = device_from_bytes(indices, sizeof indices);
  real rows[] = {1, 2, 3, 4}, *x = device_from(rows, 4);
  double value = 0, *dev_value = device_doubles(1);
  void *scratch = device_scratch(b->loss_scratch(&g));
  struct error err = {0};
  if (kind == 0) b->loss_rdem(&g, x, dev_index, RDEM_STOPGRAD_NONE, 1, dev_value, x, scratch);
  if (kind == 1) b->loss_riem(&g, x, x, dev_index, 1, dev_value, NULL, scratch);
  if (kind == 2) b->loss_rdem_instance(&g, x, x, dev_index + 1, 1, dev_value, NULL, scratch);
  if (backend_cuda_status(&err)) return 1;
  if (!strstr(err.text, ": device-side assert triggered: standard error says which kernel, and what did not hold; nothing after it was"))
    return 2;
  b->download(&value, dev_value, sizeof value);
  return isnan(value) ? 0 : 3;
}

/* Each in a process of its own, as a failure stays until the process ends. */
static void an_index_out_of_range_ends_in_one_line(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  for (int kind = 0; kind < 3; kind++)
    for (int32_t index = kind == 2 ? -1 : 2; index >= -1; index -= 3) { /* of how many images there are, rdem_instance knows nothing */
      int status = 0;
      pid_t child = fork();
      if (child == 0) _exit(loss_of_index(b, kind, index));
      assert_true(child > 0 && waitpid(child, &status, 0) == child);
      assert_true(WIFEXITED(status));
      assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* The operations of a table, one by one, on memory of which nothing is computed; null behind the last. */
static const char *launch(const struct backend *b, int i, void *p) {
  const struct conv conv = {.n = 1, .h = 3, .w = 3, .c = 8, .k = 8, .r = 3, .s = 3, .stride = 1, .pad = 1, .p = 3, .q = 3};
  const struct conv large = {.n = 1, .h = 128, .w = 128, .c = 8, .k = 8, .r = 1, .s = 1, .stride = 1, .p = 128, .q = 128}; /* has moments */
  const struct norm norm = {.m = 9, .c = 8, .eps = 1e-5, .momentum = 0.1};
  const struct linear linear = {2, 8, 8};
  const struct pool pool = {1, 4, 4, 8};
  const struct match match = {1, 4, 8, SIMILARITY_COSINE};
  const struct loss loss = {1, 4, 8};
  const struct lars lars = {.momentum = 0.9};
  const struct loss_values values = {0};
#define CALL(operation, ...)                                                                                                               \
  if (i-- == 0) return b->operation(__VA_ARGS__), #operation
  CALL(conv_forward, &conv, p, p, p, p);
  CALL(conv_backward_data, &conv, p, p, p, false, p);
  CALL(conv_backward_weights, &conv, p, p, p, p);
  CALL(conv_norm_forward_eval, &conv, &norm, p, p, NULL, p, p, p, p, p, p);
  CALL(norm_forward_train, &norm, p, NULL, p, p, p, p, p, p, p, p);
  CALL(norm_forward_eval, &norm, p, NULL, p, p, p, p, p);
  CALL(norm_backward_train, &norm, p, p, p, p, p, p, p, NULL, p, p, p);
  CALL(norm_rank_moments, &norm, p, p, p);
  CALL(norm_rank_forward, &norm, 2, p, p, NULL, p, p, p, p, p, p, p);
  CALL(norm_rank_gradient, &norm, p, p, p, p, p, p, p, p, p);
  CALL(norm_rank_backward, &norm, 2, p, p, p, p, p, p, p, p, NULL, p);
  CALL(rank_mean, 2, 8, p, p);
  CALL(maxpool_forward, &pool, p, p, p);
  CALL(maxpool_backward, &pool, p, p, p);
  CALL(avgpool_forward, &pool, p, p);
  CALL(avgpool_backward, &pool, p, p, false);
  CALL(linear_forward, &linear, p, p, p, p);
  CALL(linear_backward_data, &linear, p, p, p, false);
  CALL(linear_backward_weights, &linear, p, p, p, p, p);
  CALL(match_diversity, &match, p, p, p);
  CALL(match_invariance, &match, p, p, p, p);
  CALL(loss_byol, &loss, p, p, 1, p, p, p);
  CALL(loss_rdem, &loss, p, p, RDEM_STOPGRAD_NONE, 1, p, p, p);
  CALL(loss_rdem_instance, &loss, p, p, p, 1, p, p, p);
  CALL(loss_riem, &loss, p, p, p, 1, p, p, p);
  CALL(loss_collect, 1, &values, 1, p);
  CALL(halt_unless_finite, 8, p, p);
  CALL(lars_update, &lars, 8, true, 0.1, p, p, p);
  CALL(ema_update, 8, 0.5, p, p);
  CALL(lars_update_all, &lars, 1, &(struct lars_part){0, 8, true}, 0.1, NULL, p, p, p);
  CALL(ema_update_all, 1, &(struct ema_part){0, 0, 8}, 0.5, NULL, p, p);
  if (b->conv_forward_moments) CALL(conv_forward_moments, &large, p, p, p, p, p);
  if (b->store_activations) CALL(store_activations, 8, p, p);
#undef CALL
  return NULL;
}

/* 0 where the failure has the name of the operation. */
static int launch_refused(const struct backend *b, int i, void *p) {
  struct error err = {0};
  char words[128];
  int said = dup(STDERR_FILENO);
  if (said < 0 || !freopen("/dev/null", "w", stderr)) return 3; /* the shim's line about each launch is no news here */
  shim_machine.refuse = "*";
  const char *name = launch(b, i, p);
  if (!name) return 1;
  snprintf(words, sizeof words, "cuda: GPU 0: %s: unspecified launch failure; ", name);
  if (!backend_cuda_status(&err) && strstr(err.text, words)) return 0;
  dprintf(said, "%s of %s: %s\n", name, b->name, err.text);
  return 2;
}

/* In every table, each in a process of its own, as a failure stays until the process ends. */
static void a_failure_has_the_name_of_its_operation(void **state) {
  (void)state;
  enum { WAYS = CUDA_PRECISIONS * 2 };
  void *p = device_poisoned(8);
  for (int way = 0; way < WAYS; way++) {
    const struct backend *b = device_backend_by((enum cuda_precision)(way / 2), way % 2 ? CUDA_CONV_PLAIN : CUDA_CONV_OWN);
    int status = 0, operations = 0;
    for (; status == 0; operations++) {
      pid_t child = fork();
      if (child == 0) _exit(launch_refused(b, operations, p));
      assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    }
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_true(operations > 30);
  }
  device_end();
}

static void nothing(void *context) { (void)context; }

/* The last test: a failure stays until the process ends. */
static void a_failed_launch_is_named_and_stays(void **state) {
  (void)state;
  const struct backend *b = device_backend();
  struct error err = {0};
  real theta[] = {1, 2}, got[] = {0, 0}, *dev = device_from(theta, 2), *xi = device_from(theta, 2);
  shim_machine.refuse = "average";
  b->ema_update(2, 0.5, dev, xi);
  shim_machine.refuse = NULL;
  assert_false(backend_cuda_status(&err));
  assert_non_null(strstr(err.text, "cuda: GPU 0: ema_update: unspecified launch failure; nothing after it was computed"));
  b->download(got, xi, sizeof got);
  assert_true(isnan(got[0]) && isnan(got[1]));
  shim_machine.refuse = "update";
  b->lars_update(&(struct lars){0}, 2, false, 0.5, dev, xi, xi); /* another failure does not hide the first */
  shim_machine.refuse = NULL;
  assert_false(backend_cuda_status(&err));
  assert_non_null(strstr(err.text, "ema_update"));
  void *p;
  assert_false(b->reserve(8, &p, &err));
  assert_non_null(strstr(err.text, "ema_update"));
  err.text[0] = 0;
  assert_false(b->pipeline->pin(8, &p, &err));
  assert_non_null(strstr(err.text, "ema_update"));
  err.text[0] = 0;
  assert_null(b->pipeline->record(nothing, NULL, &err));
  assert_non_null(strstr(err.text, "ema_update"));
  assert_false(backend_cuda_status(&err)); /* which a recording that fails does not forget */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_machine_without_a_usable_gpu_is_refused),

                                     cmocka_unit_test(wgmma_is_for_bf16_on_one_generation),

                                     cmocka_unit_test(one_gpu_a_process),
                                     cmocka_unit_test(too_little_memory_says_how_much),
                                     cmocka_unit_test(some_memory_is_kept_for_what_cuda_takes_later),

                                     cmocka_unit_test(an_index_out_of_range_ends_in_one_line),

                                     cmocka_unit_test(a_failure_has_the_name_of_its_operation),
                                     cmocka_unit_test(a_failed_launch_is_named_and_stays)};
  return cmocka_run_group_tests_name("cuda errors on the shim", tests, NULL, NULL);
}
