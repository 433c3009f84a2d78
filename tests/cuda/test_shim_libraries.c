/* `ediy` with cuda.conv=cudnn and cuda.gemm=cublas from outside, on the shim's GPU and the stand-ins of the libraries: that runs go through them,
 * and what is said where a library is missing, is another one, or fails. */
#define _GNU_SOURCE /* realpath */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/cmocka.h"
#include "support/program.h"

#define KEYS                                                                                                                               \
  "data=s/train backbone=small stem=cifar size=16 batch=2 epochs=1 warmup=0 lambda1=0 lambda2=0 projector.hidden=8 projector.out=4 "       \
  "log.every=1 checkpoint.every=1 workers=1 backend=cuda"
#define CUDNN "ediy train " KEYS " cuda.conv=cudnn"
#define CUBLAS "ediy train " KEYS " cuda.gemm=cublas"

static int enter(void **state) {
  const char *build = getenv("BUILD");
  char name[PATH_MAX], absolute[PATH_MAX];
  snprintf(name, sizeof name, "%s/shim/lib", build ? build : "build");
  assert_non_null(realpath(name, absolute));
  setenv("EDIY_CUDNN", absolute, 1);
  setenv("EDIY_CUBLAS", absolute, 1);
  snprintf(name, sizeof name, "%s/shim/ediy", build ? build : "build");
  setenv("EDIY", name, 1);
  program_enter(state);
  assert_runs("ediy scenes out=s images=8 val=4 classes=2 size=24");
  return 0;
}

/* Exit status 2, and as the last line of standard error one with these words. */
static void ends_with(const char *words, const char *command) {
  const struct outcome *o = program_run("%s", command);
  size_t n = strlen(o->err);
  const char *last = o->err + (n ? n - 1 : 0);
  while (last > o->err && last[-1] != '\n') last--;
  if (o->status != 2 || strncmp(last, "ediy: ", 6) != 0 || !strstr(last, words))
    fail_msg("%s\nexit status %d, ends with \"%s\"; expected 2, \"%s\"", command, o->status, last, words);
}

static void a_library_that_is_not_there_is_named(void **state) {
  (void)state;
  ends_with("ediy: cuda.conv=cudnn: EDIY_CUDNN=s does not lead to libcudnn.so.9: ", "EDIY_CUDNN=s " CUDNN " out=none");
  ends_with("ediy: cuda.conv=cudnn: EDIY_CUDNN=s/none does not lead to libcudnn.so.9: ", "EDIY_CUDNN=s/none " CUDNN " out=none");
  ends_with("ediy: cuda.gemm=cublas: EDIY_CUBLAS=s does not lead to libcublasLt.so.13: ", "EDIY_CUBLAS=s " CUBLAS " out=none");
  assert_runs("test ! -e none");
}

static void another_library_is_not_taken_for_it(void **state) {
  (void)state;
  ends_with("cuda: libcudnn.so.9 has no function cudnnCreate", "EDIY_CUDNN=$EDIY_CUBLAS/libcublasLt.so.13 " CUDNN " out=none");
}

static void a_library_that_does_not_open_says_why(void **state) {
  (void)state;
  ends_with("cuda.conv=cudnn: opening cuDNN: CUDNN_STATUS_NOT_INITIALIZED: told to fail",
            "EDIY_STANDIN_FAIL=cudnnCreate " CUDNN " out=none");
  ends_with("cuda.gemm=cublas: opening cuBLASLt: the library was not initialized", "EDIY_STANDIN_FAIL=cublasLtCreate " CUBLAS " out=none");
  assert_runs("test ! -e none");
}

static void a_library_that_fails_ends_the_run_with_its_operation(void **state) {
  (void)state;
  ends_with("cuda: GPU 0: conv_forward: CUDNN_STATUS_EXECUTION_FAILED: told to fail; nothing after it was computed",
            "EDIY_STANDIN_FAIL=cudnnBackendExecute " CUDNN " out=lost");
  ends_with("cuda: GPU 0: linear_forward: the function failed to launch on the GPU; nothing after it was computed",
            "EDIY_STANDIN_FAIL=cublasLtMatmul " CUBLAS " out=lost2");
  assert_runs("test ! -e lost/checkpoint-00000001.safetensors && test ! -e lost2/checkpoint-00000001.safetensors");
}

/* A run through both, and on from its checkpoint without them. The launch that is refused is the stand-in's: it was there. */
static void a_run_goes_through_the_libraries(void **state) {
  (void)state;
  assert_runs(CUDNN " cuda.gemm=cublas out=run stop=2");
  assert_runs("ediy train " KEYS " out=run");
  assert_runs("test -e run/backbone.safetensors");
  ends_with("cuda: GPU 0: conv_forward: unspecified launch failure", "EDIY_SHIM_REFUSE=cudnn EDIY_SHIM_AFTER=3 " CUDNN " out=no");
  ends_with("cuda: GPU 0: linear_forward: unspecified launch failure", "EDIY_SHIM_REFUSE=cublas EDIY_SHIM_AFTER=3 " CUBLAS " out=no2");
}

/* Their calls can be recorded: with the graph of a step and where none can be made, the checkpoints are the same bytes. */
static void a_graph_of_library_calls_has_their_bits(void **state) {
  (void)state;
#define THREE "data=../s/train cuda.gemm=cublas out=run stop=3 warmup=1 epochs=3"
  assert_runs("mkdir graph plain && cd graph && " CUDNN " " THREE);
  const struct outcome *o = assert_runs("cd plain && EDIY_SHIM_REFUSE=graph " CUDNN " " THREE);
  assert_non_null(strstr(o->err, "cuda.graph: a step cannot be recorded"));
  assert_runs("cmp graph/run/checkpoint-00000003.safetensors plain/run/checkpoint-00000003.safetensors");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_library_that_is_not_there_is_named), cmocka_unit_test(another_library_is_not_taken_for_it),
      cmocka_unit_test(a_library_that_does_not_open_says_why), cmocka_unit_test(a_library_that_fails_ends_the_run_with_its_operation),
      cmocka_unit_test(a_run_goes_through_the_libraries), cmocka_unit_test(a_graph_of_library_calls_has_their_bits)};
  return cmocka_run_group_tests_name("cuda libraries in programs on the shim", tests, enter, program_leave);
}
