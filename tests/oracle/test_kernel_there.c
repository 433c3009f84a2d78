/* ediy_oracle.h with options.memory: kernels whose arrays are not in the host's memory. The device here is the heap behind addresses that
 * no load or store of the host takes; its functions have to translate them, as a GPU's do by running there. What is found on the host has
 * to be found there, and by the same words. */
#include <stdint.h>
#include <stdio.h>

#include "oracle/spoiled_kernels.h"

/* ---- the device ---------------------------------------------------------------------------------------------------------------------- */

#define FAR ((uintptr_t)1 << 62) /* no processor has memory there */

static struct {
  int reserved;                                         /* that is not released */
  int most;                                             /* reservations that there is room for */
  int uploads, downloads, upload_fails, download_fails; /* the number of the one that fails; 0: none */
  size_t off;                                           /* bytes that addresses are off by from multiples of 64 */
} device;

static void *here(const void *there) { return there ? (void *)((uintptr_t)there ^ FAR) : NULL; }

static void *reserve(void *context, size_t bytes) {
  assert_ptr_equal(context, &device);
  if (device.reserved == device.most) return NULL;
  char *p = aligned_alloc(64, (bytes + device.off + 63) / 64 * 64);
  assert_non_null(p);
  device.reserved++;
  return here(p + device.off);
}
static void release(void *context, void *there) {
  assert_ptr_equal(context, &device);
  device.reserved--;
  free((char *)here(there) - device.off);
}
static bool upload(void *context, void *there, const void *from, size_t bytes) {
  assert_ptr_equal(context, &device);
  memcpy(here(there), from, bytes);
  return ++device.uploads != device.upload_fails;
}
static bool download(void *context, void *to, const void *there, size_t bytes) {
  assert_ptr_equal(context, &device);
  memcpy(to, here(there), bytes);
  return ++device.downloads != device.download_fails;
}
static const ediy_oracle_memory memory = {&device, reserve, release, upload, download};

/* ---- kernels on it ------------------------------------------------------------------------------------------------------------------- */

static int conv_y_there(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  return conv_y(context, g, here(x), here(w), here(y));
}
static int conv_dx_there(void *context, const ediy_oracle_conv *g, const float *dy, const float *w, float *dx) {
  return conv_dx(context, g, here(dy), here(w), here(dx));
}
static int norm_y_there(void *context, const ediy_oracle_norm *g, const float *x, const float *residual, const float *gamma,
                        const float *beta, float *mean, float *var, float *y, float *saved) {
  return norm_y(context, g, here(x), here(residual), here(gamma), here(beta), here(mean), here(var), here(y), here(saved));
}
static int norm_d_there(void *context, const ediy_oracle_norm *g, const float *x, const float *y, const float *gamma, const float *saved,
                        const float *dy, float *dx, float *dresidual, float *dgamma, float *dbeta) {
  return norm_d(context, g, here(x), here(y), here(gamma), here(saved), here(dy), here(dx), here(dresidual), here(dgamma), here(dbeta));
}
static int diversity_there(void *context, const ediy_oracle_regions *g, const float *t, int32_t *index) {
  return diversity(context, g, here(t), here(index));
}
static int rdem_there(void *context, const ediy_oracle_regions *g, const float *r, const int32_t *index, float *value, float *dr) {
  return rdem(context, g, here(r), here(index), here(value), here(dr));
}
static int lars_there(void *context, const ediy_oracle_lars *g, const float *grad, float *w, float *m) {
  return lars(context, g, here(grad), here(w), here(m));
}

static const struct {
  ediy_oracle_kernel kernel;
  const char *result[7];
} all[] = {
    {{.conv_forward = conv_y_there, .conv_backward_data = conv_dx_there}, {"y", "dx"}},
    {{.norm_forward = norm_y_there, .norm_backward = norm_d_there},
     {"y", "running_mean", "running_var", "dx", "dresidual", "dgamma", "dbeta"}},
    {{.norm_backward = norm_d_there}, {"dx"}},
    {{.match_diversity = diversity_there}, {NULL}},
    {{.loss_rdem = rdem_there}, {"value", "gradient"}},
    {{.lars = lars_there}, {"w", "m"}},
};
enum { ALL = sizeof all / sizeof *all };

/* Whatever comes of it, everything is released. */
static const ediy_oracle_verdict *judge(const ediy_oracle_kernel *kernel, enum fault fault, const char *at) {
  static ediy_oracle_verdict v;
  const ediy_oracle_options options = {.cases = 12, .seed = 3, .memory = memory};
  struct spoiler s = {.fault = fault, .at = at};
  ediy_oracle_kernel k = *kernel;
  k.context = &s;
  device.uploads = device.downloads = 0;
  ediy_oracle_judge(&k, &options, &v);
  free(s.first);
  assert_int_equal(device.reserved, 0);
  return &v;
}

static void expect(ediy_oracle_status status, const char *words, const ediy_oracle_verdict *v) {
  if (v->status != status || !strstr(v->text, words))
    fail_msg("status %d, expected %d with \"%s\": %s", (int)v->status, (int)status, words, v->text);
}

static int enter(void **state) {
  (void)state;
  memset(&device, 0, sizeof device);
  device.most = 1000;
  return 0;
}

/* ---- tests --------------------------------------------------------------------------------------------------------------------------- */

static void right_kernels_pass(void **state) {
  (void)state;
  for (int i = 0; i < ALL; i++) {
    expect(EDIY_ORACLE_PASS, ": pass, ", judge(&all[i].kernel, RIGHT, ""));
    assert_true(device.uploads > 0 && device.downloads > 0);
  }
}

/* What is not written is the NaN of there, what is written beside an array its guard of there. */
static void faults_are_found_there(void **state) {
  (void)state;
  static const struct {
    enum fault fault;
    const char *words;
  } faults[] = {{FACTOR, ""},
                {NANS, "nan"},
                {BEYOND, "behind the end of"},
                {UNDERRUN, "before the start of"},
                {STALE, ", in the second call, on other inputs in the same memory"}};
  for (int i = 0; i < ALL; i++) {
    for (int r = 0; r < 7 && all[i].result[r]; r++) {
      for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        expect(EDIY_ORACLE_MISMATCH, faults[f].words, judge(&all[i].kernel, faults[f].fault, all[i].result[r]));
      }
    }
  }
  expect(EDIY_ORACLE_MISMATCH, "out.d1", judge(&all[3].kernel, SHIFTED, "diversity"));
  expect(EDIY_ORACLE_MISMATCH, "changed its input in.x", judge(&all[0].kernel, TO_INPUT, ""));
}

static int conv_but_last(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  float *last = (float *)here(y) + g->n * g->p * g->q * g->k - 1, was = *last;
  int status = conv_y(context, g, here(x), here(w), here(y));
  *last = was;
  return status;
}
static int conv_reading(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  int status = conv_y(context, g, here(x), here(w), here(y));
  *(float *)here(y) += ((const float *)here(x))[g->n * g->h * g->w * g->c];
  return status;
}

static void what_is_left_out_or_read_beside_is_found_there(void **state) {
  (void)state;
  expect(EDIY_ORACLE_MISMATCH, "nan, expected ", judge(&(const ediy_oracle_kernel){.conv_forward = conv_but_last}, RIGHT, ""));
  expect(EDIY_ORACLE_MISMATCH, "expected ", judge(&(const ediy_oracle_kernel){.conv_forward = conv_reading}, RIGHT, ""));
}

/* The first copy of each kind that fails: before a function it is the memory's, after it the function's. */
static void memory_that_fails_is_said(void **state) {
  (void)state;
  device.most = 2;
  expect(EDIY_ORACLE_BAD_INPUT, "memory: reserve has no ", judge(&all[0].kernel, RIGHT, ""));
  device.most = 1000, device.upload_fails = 3;
  expect(EDIY_ORACLE_BAD_INPUT, "memory: grad_out.y cannot be uploaded", judge(&all[0].kernel, RIGHT, ""));
  device.upload_fails = 0, device.download_fails = 4;
  const ediy_oracle_verdict *v = judge(&all[0].kernel, RIGHT, "");
  expect(EDIY_ORACLE_MISMATCH,
         "conv: out.y cannot be downloaded after the call: what was called may have failed where it runs; the case: ", v);
  assert_string_equal(v->operation, "conv");
  assert_string_equal(v->tensor, "out.y");
}

/* Vector loads of the kernel would fail where nobody looks for the reason. */
static void memory_that_is_not_aligned_is_refused(void **state) {
  (void)state;
  device.off = 16;
  const ediy_oracle_verdict *v = judge(&all[0].kernel, RIGHT, "");
  expect(EDIY_ORACLE_BAD_INPUT, "memory: reserve gave 0x", v);
  expect(EDIY_ORACLE_BAD_INPUT, ", which is no multiple of 64", v);
  assert_int_equal(device.uploads, 0);
}

static void a_part_of_a_memory_is_refused(void **state) {
  (void)state;
  ediy_oracle_options options = {.memory = memory};
  ediy_oracle_verdict v;
  options.memory.download = NULL;
  ediy_oracle_judge(&all[0].kernel, &options, &v);
  expect(EDIY_ORACLE_BAD_INPUT, "memory: reserve, release, upload and download go together; 1 of them are null", &v);
  options.memory = (ediy_oracle_memory){.upload = upload};
  ediy_oracle_judge(&all[0].kernel, &options, &v);
  expect(EDIY_ORACLE_BAD_INPUT, "; 3 of them are null", &v);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup(right_kernels_pass, enter),
                                     cmocka_unit_test_setup(faults_are_found_there, enter),
                                     cmocka_unit_test_setup(what_is_left_out_or_read_beside_is_found_there, enter),
                                     cmocka_unit_test_setup(memory_that_fails_is_said, enter),
                                     cmocka_unit_test_setup(memory_that_is_not_aligned_is_refused, enter),
                                     cmocka_unit_test_setup(a_part_of_a_memory_is_refused, enter)};
  return cmocka_run_group_tests_name("kernels in memory of their own", tests, NULL, NULL);
}
