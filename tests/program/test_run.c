/* ediy train, eval, export from outside: interruption, results that do not depend on threads, weights that survive exchange. */
#include <stdio.h>
#include <string.h>

#include "support/cmocka.h"
#include "support/program.h"

/* Kernels of OpenBLAS that every processor runs and none takes by itself. */
#if defined(__aarch64__)
#define OTHER_KERNELS "NeoverseN1"
#else
#define OTHER_KERNELS "Prescott"
#endif

#define SMALL "backbone=small stem=cifar size=16 projector.hidden=16 projector.out=8"

/* The first signal ends a run by that signal, with a checkpoint that resume=auto goes on from to the same weights. */
static void a_signal_leaves_a_checkpoint_to_go_on_from(void **state) {
  (void)state;
  const char *train = "ediy train " SMALL " lambda1=0 lambda2=0 batch=8 epochs=12 warmup=1 workers=1 log.every=1 data=../s/train";
  assert_runs("ediy scenes out=s images=32 val=8 classes=2 size=24 && mkdir cut whole");
  const struct outcome *o = program_run("cd cut; %s out=run & child=$!\n"
                                        "while ! grep -q '\"step\": 3' run/log.jsonl 2>/dev/null; do sleep 0.02; done\n"
                                        "kill -TERM $child; wait $child",
                                        train);
  assert_int_equal(o->status, 128 + 15);
  assert_non_null(strstr(o->out, "resume=auto"));
  assert_runs("ls cut/run/checkpoint-*.safetensors && test ! -e cut/run/backbone.safetensors");
  assert_runs("(cd cut && %s out=run resume=auto) && (cd whole && %s out=run resume=auto)", train, train);
  assert_runs("cmp cut/run/backbone.safetensors whole/run/backbone.safetensors");
}

static void evaluation_does_not_depend_on_threads(void **state) {
  (void)state;
  const char *keys = "weights=random backbone=small stem=cifar size=16 train=e/train test=e/val";
  assert_runs("ediy scenes out=e images=40 val=20 classes=4 size=24");
  assert_runs("OMP_NUM_THREADS=1 ediy eval knn %s >one && OMP_NUM_THREADS=3 ediy eval knn %s >three && cmp one three", keys, keys);
  assert_non_null(strstr(assert_runs("cat one")->out, "(")); /* hits of images */
  assert_runs(
      "OMP_NUM_THREADS=1 ediy eval linear %s epochs=3 views=1 >one && OMP_NUM_THREADS=3 ediy eval linear %s epochs=3 views=1 >three "
      "&& cmp one three",
      keys, keys);
}

/* Training and evaluation have sums of their own: OpenBLAS's kernels, which sum in other orders, have no say in a byte of either. */
static void results_do_not_depend_on_kernels_of_openblas(void **state) {
  (void)state;
  const char *train = SMALL " batch=8 epochs=2 warmup=0 workers=1 seed=3 data=../k/train";
  const char *eval = "weights=run/backbone.safetensors train=../k/train test=../k/val";
  assert_runs("ediy scenes out=k images=24 val=12 classes=3 size=24 && mkdir own other");
  for (int other = 0; other < 2; other++)
    assert_runs("cd %s && export %s && ediy train %s lambda1=0 lambda2=0 out=teacher >/dev/null && "
                "ediy train %s teacher=teacher/backbone.safetensors out=run >/dev/null && "
                "ediy eval knn %s >knn && ediy eval linear %s epochs=3 views=1 >linear",
                other ? "other" : "own", other ? "OPENBLAS_CORETYPE=" OTHER_KERNELS : "EDIY_TEST=", train, train, eval, eval);
  assert_runs("for f in teacher/backbone.safetensors run/backbone.safetensors knn linear; do cmp own/$f other/$f || exit; done");
}

/* Of 20, 10, 100 and 200 neighbours those that 40 images are enough for, of 8 images one; or as many as were asked for. */
static void neighbours_are_no_more_than_images(void **state) {
  (void)state;
  const char *eval = "ediy eval knn weights=random backbone=small stem=cifar size=16 test=e/val";
  const char *out = assert_runs("%s train=e/train", eval)->out;
  assert_true(strstr(out, "k = 20 ") && strstr(out, "k = 10 ") && !strstr(out, "k = 1 ") && !strstr(out, "k = 100"));
  out = assert_runs("%s train=e/train k=3", eval)->out;
  assert_true(strstr(out, "k = 3 ") && !strstr(out, "k = 20") && !strstr(out, "k = 10"));
  assert_runs("ediy scenes out=few images=8 val=4 classes=4 size=24");
  out = assert_runs("%s train=few/train", eval)->out;
  assert_true(strstr(out, "k = 1 ") && !strstr(out, "k = 20") && !strstr(out, "k = 10"));
}

static void five_guesses_are_scored_where_they_can_be_wrong(void **state) {
  (void)state;
  const char *keys = "weights=random backbone=small stem=cifar size=16 epochs=1 views=1";
  assert_runs("ediy scenes out=five images=20 val=10 classes=5 size=24 && ediy scenes out=six images=24 val=12 classes=6 size=24");
  assert_null(strstr(assert_runs("ediy eval linear %s train=five/train test=five/val", keys)->out, "top-5"));
  assert_non_null(strstr(assert_runs("ediy eval linear %s train=six/train test=six/val", keys)->out, "top-5"));
}

/* The rates that were asked for are tried and no others, and with one nothing is chosen. */
static void a_classifier_s_rates_and_scale_can_be_said(void **state) {
  (void)state;
  const char *eval = "ediy eval linear weights=random backbone=small stem=cifar size=16 epochs=1 views=1 train=e/train test=e/val";
  const char *all = "0.4,0.3,0.2,0.1,0.05", *most = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16";
  static const char *const wrong[] = {"1,,2", "1,2,", "0.1;0.2", "0", "-1", "inf", "nan", "0.1,x"};
  assert_runs("%s >usual && %s classifier.lr=%s classifier.scale=no >said && cmp usual said", eval, eval, all);
  assert_non_null(strstr(assert_runs("%s classifier.lr=0.125", eval)->out, "base learning rate 0.125 (best of 1 on"));
  assert_non_null(strstr(assert_runs("%s classifier.lr=1e-3,1e-3", eval)->out, "base learning rate 0.001 (best of 2 on"));
  assert_non_null(strstr(assert_runs("%s classifier.lr=%s", eval, most)->out, "(best of 16 on"));
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_refused("is not positive numbers with commas between", "%s 'classifier.lr=%s'", eval, wrong[i]);
  assert_refused("classifier.lr: 16 rates at most", "%s classifier.lr=%s,17", eval, most);
  assert_non_null(strstr(assert_runs("%s classifier.scale=yes", eval)->out, "linear classifier on scaled features, 1 epoch, "));
}

static void weights_survive_export_and_import(void **state) {
  (void)state;
  assert_runs("ediy export weights=random backbone=small stem=cifar size=16 out=a.safetensors");
  assert_runs("ediy import weights=a.safetensors out=b.safetensors");
  assert_runs("ediy scenes out=x images=8 val=4 classes=2 size=24");
  assert_runs("ediy embed weights=a.safetensors data=x/train out=fa && ediy embed weights=b.safetensors data=x/train out=fb && cmp fa fb");
  /* features say nothing of an architecture, and a.safetensors is not a ResNet-50 */
  assert_refused("architecture; give backbone=", "ediy import weights=fa out=c.safetensors");
  assert_refused("a.safetensors", "ediy import weights=a.safetensors backbone=resnet50 out=c.safetensors");
  /* no image goes through the network */
  assert_refused("batch: there is no such option", "ediy import weights=a.safetensors out=c.safetensors batch=8");
  assert_refused("batch: there is no such option", "ediy export weights=a.safetensors out=c.safetensors batch=8");
  assert_runs("test ! -e c.safetensors");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_signal_leaves_a_checkpoint_to_go_on_from),
                                     cmocka_unit_test(evaluation_does_not_depend_on_threads),
                                     cmocka_unit_test(results_do_not_depend_on_kernels_of_openblas),
                                     cmocka_unit_test(neighbours_are_no_more_than_images),
                                     cmocka_unit_test(five_guesses_are_scored_where_they_can_be_wrong),
                                     cmocka_unit_test(a_classifier_s_rates_and_scale_can_be_said),
                                     cmocka_unit_test(weights_survive_export_and_import)};
  return cmocka_run_group_tests_name("runs", tests, program_enter, program_leave);
}
