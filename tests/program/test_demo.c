/* ediy demo, interrupted: the same command goes on to the same end, and touches nothing but what a demo has made. */
#include <string.h>

#include "support/cmocka.h"
#include "support/program.h"

#define DEMO "ediy demo out=d images=64 epochs=6"

/* In folders of their own, since weights say where they were trained. */
static void the_same_command_goes_on_to_the_same_end(void **state) {
  (void)state;
  assert_runs("mkdir whole cut && cd whole && " DEMO);
  const struct outcome *o = program_run("cd cut; " DEMO " & child=$!\n"
                                        "while ! grep -q '\"step\": 1' d/teacher/log.jsonl 2>/dev/null; do sleep 0.01; done\n"
                                        "kill -TERM $child; wait $child");
  assert_int_equal(o->status, 128 + 15);
  o = assert_runs("cd cut && " DEMO);
  assert_non_null(strstr(o->out, "d/scenes: drawn before"));
  assert_runs("cmp cut/d/ediy/backbone.safetensors whole/d/ediy/backbone.safetensors && cmp cut/d/results.png whole/d/results.png");
  assert_runs("cmp cut/d/matches.png whole/d/matches.png && cmp cut/d/saliency.png whole/d/saliency.png && test ! -e cut/d/scenes.partial");
}

/* A demo that was killed while it drew leaves half of its scenes. */
static void half_drawn_scenes_are_drawn_again(void **state) {
  (void)state;
  assert_runs("mkdir half && cp -r whole/d half/d && cd half/d && mv scenes scenes.partial && rm -r scenes.partial/val teacher ediy *.png");
  assert_runs("cd half && " DEMO " && test ! -e d/scenes.partial && diff -r d/scenes ../whole/d/scenes");
  assert_runs("cmp half/d/ediy/backbone.safetensors whole/d/ediy/backbone.safetensors");
}

/* A demo that was killed before it had written demo.txt, or half of it, leaves a folder with nothing else. Others are not a demo's. */
static void a_demo_that_had_only_begun_is_gone_on_with(void **state) {
  (void)state;
  const struct outcome *o = assert_runs("mkdir -p \"begun/it's \\$d\" && : >\"begun/it's \\$d/demo.txt\" && cd begun && "
                                        "ediy demo out=\"it's \\$d\" images=64 epochs=6");
  assert_non_null(strstr(o->out, " 'data=it'\\''s $d/scenes/train'")); /* as a shell takes it */
  assert_runs("cd begun && mv \"it's \\$d\" d && cmp d/demo.txt ../whole/d/demo.txt && cmp d/results.png ../whole/d/results.png");
  assert_runs("mkdir -p half/d2 theirs/d/scenes.partial && head -c 15 whole/d/demo.txt >half/d2/demo.txt && cp half/d2/demo.txt theirs/d");
  assert_refused("d2: holds a demo with other keys (epochs = 6, imag)", "cd half && ediy demo out=d2 images=64 epochs=7");
  assert_refused("d: holds a demo with other keys (epochs = 6, imag)", "cd theirs && " DEMO);
  assert_runs(
      "test -d theirs/d/scenes.partial && cd half && ediy demo out=d2 images=64 epochs=6 >said && cmp d2/demo.txt ../whole/d/demo.txt");
}

static void a_finished_demo_says_its_results_again(void **state) {
  (void)state;
  assert_runs("cp whole/d/teacher/log.jsonl before && cp whole/d/results.png results.png");
  const struct outcome *o = assert_runs("cd whole && " DEMO);
  assert_non_null(strstr(o->out, "d/teacher: done before, 12 steps"));
  assert_non_null(strstr(o->out, "Accuracy on 32 validation images"));
  assert_runs("cmp before whole/d/teacher/log.jsonl && cmp results.png whole/d/results.png");
}

static void only_a_demos_own_folder_is_gone_on_in(void **state) {
  (void)state;
  assert_refused("d: holds a demo with other keys (epochs = 6, images = 64); give these", "cd whole && ediy demo out=d images=64");
  assert_refused("d: another demo is at work in it", "cd whole && flock d/demo.txt " DEMO);
  assert_runs("mkdir -p mine/d/scenes.partial && touch mine/d/scenes.partial/photo && cp -r mine/d mine/before");
  assert_refused("d: exists and is not an empty folder", "cd mine && " DEMO);
  assert_runs("echo words >mine/d/demo.txt && cp mine/d/demo.txt mine/before");
  assert_refused("d: holds a demo with other keys (words)", "cd mine && " DEMO);
  assert_runs("diff -r mine/d mine/before");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_same_command_goes_on_to_the_same_end), cmocka_unit_test(half_drawn_scenes_are_drawn_again),
      cmocka_unit_test(a_demo_that_had_only_begun_is_gone_on_with), cmocka_unit_test(a_finished_demo_says_its_results_again),
      cmocka_unit_test(only_a_demos_own_folder_is_gone_on_in)};
  return cmocka_run_group_tests_name("demo", tests, program_enter, program_leave);
}
