/* `ediy` and `oracle` with backend=cuda from outside, on the shim's GPU: what they say and leave, and how they end when the GPU fails. */
#define _GNU_SOURCE /* realpath */
#include "cuda/shim_programs.h"
#include "support/fused.h"

#define TRAIN "ediy train " SHIM_RUN

/* Without the machine's own libraries, which would take the shim's memory for a GPU's. */
static int enter(void **state) {
  setenv("EDIY_CUDNN", "nowhere", 1), setenv("EDIY_CUBLAS", "nowhere", 1);
  return shim_programs_enter(state);
}

static void a_bench_has_every_part(void **state) {
  (void)state;
  const struct outcome *o = assert_runs("ediy bench backend=cuda backbone=small size=32 batch=2 steps=1 warmup=0 method=byol "
                                        "projector.hidden=8 projector.out=4 product=16 copy=1 times=1 json=b.json");
  assert_non_null(strstr(o->out, "backend cuda"));
  assert_null(strstr(o->out, "this machine")); /* the processor's peak says nothing of a GPU */
  assert_non_null(strstr(o->out, "this GPU: "));
  static const char *const parts[] = {"conv forward",   "norm backward", "pooling",        "heads backward", "losses", "optimiser",
                                      "moving average", "target",        "online forward", "backward ",      "LARS"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (!strstr(o->out, parts[i])) fail_msg("no %s in\n%s", parts[i], o->out);
  assert_runs("grep -q '\"backend\": \"cuda\"' b.json");
}

static void a_precision_is_of_the_gpu(void **state) {
  (void)state;
  shim_programs_end_with("precision: backend=reference computes in fp32 alone", TRAIN " out=none precision=bf16");
  shim_programs_end_with("precision: backend=reference computes in fp32 alone", "ediy bench precision=tf32");
  assert_runs("test ! -e none");
  const struct outcome *o = assert_runs("ediy bench backend=cuda precision=bf16 backbone=small size=32 batch=2 steps=1 warmup=0 "
                                        "method=byol projector.hidden=8 projector.out=4 product=64 copy=1 times=1 json=b.json");
  assert_non_null(strstr(o->out, "backend cuda, bf16"));
  assert_runs("grep -q '\"precision\": \"bf16\"' b.json");
}

static void a_machine_without_a_gpu_is_refused(void **state) {
  (void)state;
  shim_programs_end_with("no GPU is visible", "EDIY_SHIM_DEVICES=0 " TRAIN " out=none backend=cuda");
  shim_programs_end_with("no GPU is visible", "EDIY_SHIM_DEVICES=0 ediy bench backend=cuda");
  assert_runs("test ! -e none");
}

/* Before anything is written; with the micro-batches that would fit, which then do. So much memory is between what 4 and what 2 images a
 * micro-batch need, about 0.45 MB apart: to be found anew when the backend keeps more or less of its own. */
static void too_little_gpu_memory_names_what_fits(void **state) {
  (void)state;
  shim_programs_end_with("GB of GPU memory, 0.01 GB are available; accumulate=4 (micro-batches of 2 images",
                         "EDIY_SHIM_MEMORY=10016508 " TRAIN " out=small batch=8 backend=cuda stop=1");
  assert_runs("test ! -e small");
  assert_runs("EDIY_SHIM_MEMORY=10016508 " TRAIN " out=small batch=8 accumulate=4 backend=cuda stop=1");
}

/* In the middle of step 3, and while the optimiser of step 2 is at work: what was saved before is whole, and the run goes on from it to the
 * end. */
static void a_failing_gpu_leaves_the_last_checkpoint(void **state) {
  (void)state;
  shim_programs_end_with(
      "cuda: GPU 0: loss_byol: unspecified launch failure; nothing after it was computed: go on from the last checkpoint (step 2)",
      "EDIY_SHIM_REFUSE=byol EDIY_SHIM_AFTER=5 " TRAIN " out=lost backend=cuda cuda.graph=no");
  assert_runs("test -e lost/checkpoint-00000002.safetensors && test ! -e lost/checkpoint-00000003.safetensors && rm -r lost");
  /* in a graph it fails when it runs: whichever call comes next hears of it */
  shim_programs_end_with(": unspecified launch failure; nothing after it was computed: go on from the last checkpoint (step 2)",
                         "EDIY_SHIM_ORDER=late EDIY_SHIM_REFUSE=byol EDIY_SHIM_AFTER=5 " TRAIN " out=late backend=cuda");
  shim_programs_end_with(": unspecified launch failure; nothing after it was computed: go on from the last checkpoint (step 2)",
                         "EDIY_SHIM_REFUSE=byol EDIY_SHIM_AFTER=5 " TRAIN " out=lost backend=cuda");
  assert_runs("test -e lost/checkpoint-00000002.safetensors && test ! -e lost/checkpoint-00000003.safetensors");
  assert_int_equal(program_lines(assert_runs("cat lost/log.jsonl")->out), 2);
  assert_runs("grep null lost/log.jsonl && exit 1; true");
  assert_runs(TRAIN " out=lost");
  assert_runs("test -e lost/backbone.safetensors");

  shim_programs_end_with(
      "cuda: GPU 0: ema_update_all: unspecified launch failure; nothing after it was computed: go on from the last checkpoint (there is "
      "none in first yet)",
      "EDIY_SHIM_REFUSE=average " TRAIN " out=first backend=cuda");
  assert_runs("test ! -e first/checkpoint-00000001.safetensors && test ! -e first/checkpoint-00000000.safetensors");
}

/* Found on the GPU, and named as on the processors. */
static void what_is_not_finite_is_named(void **state) {
  (void)state;
  const char *words = "first in target bn1 running_var, view 1, forward";
#define ONE " lr=1e9 trust=1e9 checkpoint.every=100"
  shim_programs_end_with(words, TRAIN " out=inf" ONE);
  shim_programs_end_with(words, TRAIN " out=infgpu backend=cuda" ONE);
  assert_runs("test ! -e infgpu/checkpoint-00000002.safetensors");
  words = "checkpoint-00000002.safetensors: not written: tensor online.layer1.0.bn1.running_var holds "; /* which nothing has read yet */
  shim_programs_end_with(words, TRAIN " out=kept lr=1e9 trust=1e9");
  shim_programs_end_with(words, TRAIN " out=keptgpu lr=1e9 trust=1e9 backend=cuda");
  assert_runs("test -e keptgpu/checkpoint-00000001.safetensors && test ! -e keptgpu/checkpoint-00000002.safetensors");
  words = "first in online layer1.0.bn1 running_var, view 1, forward";
#define TWO " lr=1e9 trust=1e9 epochs=2 batch=4 accumulate=2"
  shim_programs_end_with(words, TRAIN " out=two" TWO);
  shim_programs_end_with(words, TRAIN " out=twogpu backend=cuda" TWO);
}

/* The answers of the reference, whose features are the same; and no file where the GPU is not there or fails. */
static void evaluation_is_the_reference_s(void **state) {
  (void)state;
#define FROZEN " weights=random backbone=small stem=cifar size=16 batch=3"
#define KNN "ediy eval knn train=s/train test=s/val" FROZEN
  assert_runs("ls s/train && " KNN " >reference.txt && " KNN " backend=cuda >gpu.txt && diff reference.txt gpu.txt");
  assert_runs("ediy embed data=s/val backend=cuda out=features.safetensors" FROZEN);
  shim_programs_end_with("no GPU is visible", "EDIY_SHIM_DEVICES=0 ediy embed data=s/val backend=cuda out=none.safetensors" FROZEN);
  shim_programs_end_with(
      "avgpool_forward: unspecified launch failure",
      "EDIY_SHIM_REFUSE=avgpool_forward_kernel EDIY_SHIM_AFTER=1 ediy embed data=s/val backend=cuda out=none.safetensors" FROZEN);
  shim_programs_end_with("GB of GPU memory, 0.00 GB are available; batch=32 (",
                         "EDIY_SHIM_MEMORY=8807636 ediy embed data=s/val backend=cuda out=none.safetensors batch=64 weights=random "
                         "backbone=small stem=cifar size=16");
  assert_runs("test ! -e none.safetensors");
}

/* Values, what is written beside them, and whether a second call gives the same bits. */
static void the_oracle_judges_every_operation(void **state) {
  (void)state;
  assert_runs("mkdir cases; for op in conv linear norm relu maxpool avgpool match loss lars ema; do for fill in normal int; do\n"
              "$ORACLE case make op=$op fill=$fill out=cases/$op-$fill.safetensors >made.txt || exit 9; done; done");
  const struct outcome *o = assert_runs("$ORACLE case cases backend=cuda");
  assert_non_null(strstr(o->out, "20 cases, 94 tensors: 0 failed"));
  assert_non_null(strstr(assert_runs("$ORACLE case cases backend=cuda:tf32")->out, "20 cases, 94 tensors: 0 failed"));
  assert_non_null(strstr(assert_runs("$ORACLE case cases backend=cuda:bf16")->out, "20 cases, 94 tensors: 0 failed"));
  /* under the name of another class */
  assert_int_equal(program_run("$ORACLE case cases backend=cuda:tf32 precision=fp32")->status, 1);
  assert_int_equal(program_run("$ORACLE case cases backend=cuda:bf16 precision=fp32")->status, 1);
  assert_int_equal(program_run("$ORACLE case cases backend=cuda:bf16 precision=tf32")->status, 1);
  o = program_run("$ORACLE case cases/conv-int.safetensors backend=cuda winograd=yes"); /* would be ignored */
  program_expect(2, "case: winograd=yes is not for backend=cuda, which computes", o);
  assert_int_equal(program_lines(o->err), 1);
  o = program_run("EDIY_SHIM_REFUSE=riem EDIY_SHIM_AFTER=7 $ORACLE case cases/loss-int.safetensors backend=cuda");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "cuda: GPU 0: loss_riem: unspecified launch failure"));
}

/* Every tensor of a step within the drift of right implementations, and not only in its parts. A step that failed is no dump. */
static void the_oracle_judges_a_whole_step(void **state) {
  (void)state;
#define STEP "backbone=small stem=cifar size=16 batch=4 projector.hidden=8 projector.out=4 sampler=random"
  assert_runs("$ORACLE dump out=truth backend=ref64 drift=4 " STEP " && $ORACLE dump out=gpu backend=cuda " STEP);
  const struct outcome *o = assert_runs("$ORACLE check truth gpu");
  assert_non_null(strstr(o->out, "within what is allowed, 0 vacuous, 0 incomplete, 0 wrong"));
  assert_non_null(strstr(assert_runs("$ORACLE replay gpu")->out, ": pass"));
  o = program_run("EDIY_SHIM_REFUSE=average $ORACLE dump out=failed backend=cuda " STEP);
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "cuda: GPU 0: ema_update: unspecified launch failure"));
  assert_runs("test ! -e failed/manifest.json");
}

static void a_step_has_the_reference_s_tensors(void **state) {
  (void)state;
  if (!TEST_FUSED) skip_because("compiled for processors without fused multiply-adds (docs/numerics.md)");
  assert_runs("$ORACLE dump out=reference " STEP " && $ORACLE dump out=same backend=cuda " STEP);
  assert_non_null(
      strstr(assert_runs("$ORACLE check reference same")->out, " identical, 0 within what is allowed, 0 vacuous, 0 incomplete, 0 wrong"));
}

/* What a step in a class leaves is right in that class and in no other, as it ran and operation by operation, and is the same again. */
static void a_step_is_of_its_class(void **state) {
  (void)state;
  static const char *const classes[] = {"tf32", "bf16"};
  for (int i = 0; i < 2; i++) {
    setenv("CLASS", classes[i], 1);
    assert_runs("$ORACLE dump out=$CLASS backend=cuda:$CLASS " STEP " && $ORACLE dump out=$CLASS.2 backend=cuda:$CLASS " STEP);
    assert_non_null(strstr(assert_runs("$ORACLE replay $CLASS")->out, ": pass"));
    assert_non_null(strstr(assert_runs("$ORACLE replay $CLASS backend=cuda:$CLASS")->out, ": pass"));
    assert_non_null(strstr(assert_runs("$ORACLE check $CLASS $CLASS.2")->out,
                           " identical, 0 within what is allowed, 0 vacuous, 0 incomplete, 0 wrong"));
    assert_int_equal(program_run("$ORACLE replay $CLASS precision=fp32")->status, 1);
  }
  assert_int_equal(program_run("$ORACLE replay bf16 precision=tf32")->status, 1);
  assert_runs("grep -q '\"precision\":\"bf16\"' bf16/manifest.json && grep -q 'conv1/y.*\"dtype\":\"BF16\"' bf16/manifest.json");
  const struct outcome *o = program_run("$ORACLE dump out=none backend=cuda precision=bf16 " STEP);
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "backend=cuda:bf16"));
  assert_non_null(strstr(assert_runs("$ORACLE lockstep a=ref32 b=cuda:bf16 " STEP)->out, "cuda:bf16 once more"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_bench_has_every_part),
                                     cmocka_unit_test(a_precision_is_of_the_gpu),
                                     cmocka_unit_test(a_machine_without_a_gpu_is_refused),
                                     cmocka_unit_test(too_little_gpu_memory_names_what_fits),
                                     cmocka_unit_test(a_failing_gpu_leaves_the_last_checkpoint),
                                     cmocka_unit_test(what_is_not_finite_is_named),
                                     cmocka_unit_test(evaluation_is_the_reference_s),
                                     cmocka_unit_test(the_oracle_judges_every_operation),
                                     cmocka_unit_test(the_oracle_judges_a_whole_step),
                                     cmocka_unit_test(a_step_has_the_reference_s_tensors),
                                     cmocka_unit_test(a_step_is_of_its_class)};
  return cmocka_run_group_tests_name("cuda programs on the shim", tests, enter, program_leave);
}
