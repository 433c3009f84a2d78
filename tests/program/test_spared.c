/* What lies where something is to be written: it is spared, and a place that is full or closed is named before the work where it can be. */
#include <stdio.h>
#include <string.h>

#include "program/hostile.h"
#include "support/cmocka.h"

#define BENCH "ediy bench backbone=small size=32 batch=2 steps=1 warmup=0 projector.hidden=8 "

/* After hours of features or steps it would be too late. */
static void a_place_that_cannot_be_written_is_found_out_first(void **state) {
  (void)state;
  assert_runs("mkdir broken && cp s/val/00*/*.png broken && printf x >broken/bad.png");
  assert_refused("nowhere/f", "ediy embed weights=w.safetensors data=broken out=nowhere/f");
  assert_refused("broken: ", "ediy embed weights=w.safetensors data=s/val out=broken");
  assert_refused("nowhere/j", BENCH "json=nowhere/j");
  assert_runs("rm -r broken");
}

/* A run's own files, say. */
static void a_file_of_another_kind_is_not_written_over(void **state) {
  (void)state;
  const char *no_png = "out=kind is there and is no PNG file", *no_weights = "out=kind is there and is no file of export's or import's";
  assert_runs("printf 'epochs = 100\n' >kind && cp kind before");
  assert_refused(no_png, "ediy show views data=s/val size=16 out=kind");
  assert_refused(no_png, "ediy show saliency weights=w.safetensors data=s/val out=kind");
  assert_refused(no_png, "ediy show matches teacher=w.safetensors data=s/val out=kind");
  assert_refused(no_weights, "ediy export weights=random " SMALL " out=kind");
  assert_refused("out=kind is there and is no file of features", "ediy embed weights=w.safetensors data=s/val out=kind");
  assert_refused("json=kind is there and is no file of figures", BENCH "json=kind");
  assert_runs("cmp kind before && cp w.safetensors kind && ediy export weights=random " SMALL
              " out=kind && rm kind && : >kind && for i in 1 2; do ediy show views data=s/val size=16 out=kind; done");
  assert_refused(no_weights, "ediy import weights=w.safetensors out=kind");
  assert_runs("rm kind && for i in 1 2; do " BENCH "json=kind; done");
  assert_runs("rm kind before");
}

/* All of them safetensors files, which their metadata tells apart; and one that is damaged, of which nobody knows. */
static void weights_and_features_take_the_place_of_their_own_kind_alone(void **state) {
  (void)state;
  const char *exports = "ediy export weights=random " SMALL " out=kind", *embeds = "ediy embed weights=w.safetensors data=s/val out=kind";
  const char *const is_there[] = {"out=kind is there and is no file of export's or import's, and would be written over",
                                  "out=kind is there and is no file of features, and would be written over"};
  assert_runs(BYOL "epochs=1 data=s/train out=kinds 2>/dev/null && ediy embed weights=w.safetensors data=s/val out=features 2>/dev/null");
  assert_runs("oracle case make op=ema out=case && head -c -1 w.safetensors >short && head -c -1 features >short-features");
  static const char *const files[] = {"kinds/checkpoint-00000004.safetensors",
                                      "kinds/backbone.safetensors",
                                      "case",
                                      "short",
                                      "short-features",
                                      "w.safetensors",
                                      "features"};
  for (int i = 0; i < 7; i++) {
    assert_runs("cp %s kind", files[i]);
    if (i != 5) assert_refused(is_there[0], "%s", exports);
    if (i != 6) assert_refused(is_there[1], "%s", embeds);
    assert_runs("cmp kind %s", files[i]);
  }
  assert_runs("cp w.safetensors kind && %s && ediy import weights=w.safetensors out=kind && rm kind", exports);
  assert_runs("cp features kind && %s 2>/dev/null && cmp features kind && rm -r kind kinds features case short short-features", embeds);
}

/* Of a folder that somebody keeps a config.txt in, or a log. What a run left there before its first checkpoint is taken up. */
static void a_run_spares_files_that_no_run_wrote(void **state) {
  (void)state;
  const char *spared = "is there and was not written by a run, and would be written over; choose another out, or move it";
  assert_runs("mkdir mine somebodys && printf 'batch = 16\n' >somebodys/config.txt && printf 'Monday: rain\n' >somebodys/log.jsonl");
  for (int i = 0; i < 2; i++) {
    assert_runs("cp somebodys/%s mine", i ? "log.jsonl" : "config.txt");
    program_expect(2, spared, program_run(BYOL "epochs=1 data=s/train out=mine"));
    assert_runs("cmp mine/* somebodys/%s && rm mine/*", i ? "log.jsonl" : "config.txt");
  }
  assert_runs(
      BYOL "epochs=1 data=s/train out=mine stop=1 2>/dev/null && cp mine/checkpoint* begun && cp somebodys/log.jsonl mine && rm mine/c*");
  program_expect(2, spared, program_run(BYOL "epochs=1 data=s/train out=mine resume=begun"));
  assert_runs("cmp mine/log.jsonl somebodys/log.jsonl && printf '{\"st' >mine/log.jsonl && printf 'preset = none\n' >mine/config.txt");
  assert_runs(BYOL "epochs=1 data=s/train out=mine 2>/dev/null && rm -r mine somebodys begun");
}

static void results_without_checkpoints_are_kept(void **state) {
  (void)state;
  assert_runs(BYOL "epochs=1 data=s/train out=kept && cp kept/log.jsonl log && cp kept/backbone.safetensors result");
  assert_non_null(strstr(assert_runs(BYOL "epochs=1 data=s/train out=kept")->out, "done before, 4 steps"));
  assert_runs("rm kept/checkpoint-*");
  const struct outcome *o = program_run(BYOL "epochs=1 data=s/train out=kept seed=2");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "kept/backbone.safetensors"));
  assert_runs("cmp kept/log.jsonl log && cmp kept/backbone.safetensors result");
}

/* A run says before its first step that its checkpoints will not fit, and leaves nothing; with fewer of them it fits. The disk is one of
 * memory, seen by this command alone. */
static void a_disk_too_small_for_checkpoints_is_told_first(void **state) {
  (void)state;
  const char *disk = "mkdir -p disk && unshare -m sh -c 'mount -t tmpfs -o size=6m none disk";
  if (program_run("%s'", disk)->status != 0) skip_because("mounting a small disk needs root and unshare");
  const struct outcome *o = program_run("%s && " BYOL "epochs=3 data=s/train out=disk/run; status=$?; ls disk; exit $status'", disk);
  assert_int_equal(o->status, 2);
  assert_string_equal(o->out, "");
  if (!strstr(o->err, "disk/run: 3 checkpoints of ") || strstr(o->err, "step 1")) fail_msg("%s", o->err);
  /* what a run that was killed has left goes, and is in nobody's way */
  o = program_run("%s && mkdir disk/run && head -c 5M /dev/zero >disk/run/checkpoint-00000012.safetensors.1.0.tmp && " BYOL
                  "epochs=3 checkpoint.every=100 data=s/train out=disk/run && ls disk/run/backbone.safetensors && ! ls disk/run/*.tmp'",
                  disk);
  if (o->status != 0) fail_msg("%s", o->err);
  assert_non_null(strstr(o->err, "disk/run: removed 1 unfinished file of 5.2 MB, left by a run that was killed: checkpoint-00000012"));
}

/* Of a run that has to stop, since its log or a checkpoint cannot be written. The log's first line is made longer than a file may become,
 * which checkpoints are not; then they are, too. */
static void a_disk_that_fills_up_costs_no_step_that_can_be_kept(void **state) {
  (void)state;
  assert_runs(BYOL
              "data=s/train out=full stop=2 && (printf '{\"step\": 1'; head -c 12M /dev/zero | tr '\\0' ' '; echo '}') >full/log.jsonl");
  const struct outcome *o = program_run("ulimit -f 9000; " BYOL "data=s/train out=full");
  assert_int_equal(o->status, 2);
  if (!strstr(o->err, "full/log.jsonl: cannot write the log: ") ||
      !strstr(o->err, "; the state after this step is in full/checkpoint-00000003.safetensors\n"))
    fail_msg("%s", o->err);
  assert_runs(": >full/log.jsonl && " BYOL "data=s/train out=full stop=4 && ls full/checkpoint-00000004.safetensors");
  o = program_run("ulimit -f 3000; " BYOL "data=s/train out=full stop=5");
  assert_int_equal(o->status, 2);
  if (!strstr(o->err, "full/checkpoint-00000005.safetensors: ") || !strstr(o->err, " (the last checkpoint is of step 4)\n"))
    fail_msg("%s", o->err);
  o = program_run("ulimit -f 3000; " BYOL "data=s/train out=full2 stop=1");
  assert_int_equal(o->status, 2);
  if (!strstr(o->err, " (there is no checkpoint in full2 yet)\n")) fail_msg("%s", o->err);
  assert_runs("! ls full/*.tmp full2/*.tmp 2>/dev/null && rm -r full full2");
}

static void outputs_of_a_run_are_looked_at_first(void **state) {
  (void)state;
  assert_runs("printf x >plain && mkdir -p flat stopped && cp s/val/*/*.png flat");
  assert_int_equal(program_run(BYOL "data=s/train out=plain")->status, 2);
  assert_non_null(strstr(program_run(BYOL "data=s/train out=plain")->err, "plain: is a file; give out=FOLDER, another one"));
  assert_non_null(strstr(program_run(BYOL "data=s/train out=plain/run")->err, "plain/run: a part of this path is a file; give out=FOLDER"));
  const struct outcome *o = program_run(BYOL "data=s/train out=fresh resume=stopped");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "resume = stopped is a folder; name a file in it, or go on in it with out=stopped"));
  assert_non_null(strstr(program_run(BYOL "batch=4 data=flat out=flatrun stop=1")->err, "data: 8 images, 2 steps an epoch"));
}

/* By any name. A file that is no input is written over, as ever. */
static void what_is_read_is_not_written_over(void **state) {
  (void)state;
  assert_runs("cp w.safetensors w && cp w.safetensors before && ln -sf w link");
  assert_refused("export: out=w is the file that weights= names, and would be written over", "ediy export weights=w out=w");
  assert_refused("import: out=./w is the file that weights= names", "ediy import " SMALL " weights=w out=./w");
  assert_refused("embed: out=link is the file that weights= names", "ediy embed weights=w data=s/val out=link");
  assert_refused("show matches: out=w is the file that teacher= names", "ediy show matches teacher=w data=s/val out=w");
  assert_runs("mkdir drawn && cp kept/log.jsonl drawn");
  assert_refused("show curves: out=drawn/log.jsonl is read here (drawn/log.jsonl)", "ediy show curves run=drawn out=drawn/log.jsonl");
  assert_refused("out=text is there and is no PNG file", "echo x >text && ediy show curves run=drawn out=text");
  assert_refused("out=kept/log.jsonl is read here", "ediy show curves run=drawn beside=kept out=kept/log.jsonl");
  assert_runs("cmp drawn/log.jsonl kept/log.jsonl");
  assert_runs("cmp w before && ediy export weights=before out=w && rm w before link");
  assert_runs("cp -r s/val gallery && ln -s gallery linked");
  const char *spared = "is read here (", *first = "$(ls gallery/*/* | head -n 1)";
  assert_refused(spared, "ediy show views data=gallery size=32 out=%s", first);
  assert_refused(spared, "ediy show views data=linked size=32 out=%s", first);
  assert_refused(spared, "ediy show matches teacher=w.safetensors data=gallery out=%s", first);
  assert_refused(spared, "ediy show saliency weights=w.safetensors data=gallery out=%s", first);
  assert_refused(spared, "ediy embed weights=w.safetensors data=gallery out=%s", first);
  const char *added = "would be one of the images of";
  assert_refused(added, "cd gallery && ediy show views data=. size=32");
  assert_refused(added, "ediy show views data=linked size=32 out=gallery/new.png");
  assert_refused(added, "ediy show matches teacher=w.safetensors data=gallery out=$(ls -d gallery/* | head -n 1)/new.png");
  assert_runs("diff -r s/val gallery && ediy show views data=gallery size=32 out=gallery.png && rm -r gallery linked gallery.png");
}

static void full_outputs_are_named(void **state) {
  (void)state;
  assert_refused("standard output", "ediy --version >/dev/full");
  assert_refused("no/b.json", "ediy bench backbone=small size=32 batch=2 steps=1 warmup=0 json=no/b.json >/dev/null");
  /* a file may have 1024 bytes (clang's OpenMP makes one of that size): whatever is larger is refused, and nothing of it stays */
  assert_refused("b.json", "ulimit -f 2; ediy bench backbone=small size=32 batch=2 steps=1 warmup=0 json=b.json >/dev/null");
  assert_refused("f.safetensors", "ulimit -f 2; ediy embed weights=w.safetensors data=s/val out=f.safetensors");
  assert_refused("e.safetensors", "ulimit -f 2; ediy export weights=w.safetensors out=e.safetensors");
  assert_refused("x.partial/", "ulimit -f 2; ediy scenes out=x images=4 val=4 size=64");
  assert_refused("v.png", "ulimit -f 2; ediy show views data=s/val size=16 out=v.png");
  assert_runs("test ! -e b.json -a ! -e f.safetensors -a ! -e e.safetensors -a ! -e x -a ! -e x.partial -a ! -e v.png && "
              "! ls *.tmp 2>/dev/null");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_place_that_cannot_be_written_is_found_out_first),
                                     cmocka_unit_test(a_file_of_another_kind_is_not_written_over),
                                     cmocka_unit_test(weights_and_features_take_the_place_of_their_own_kind_alone),
                                     cmocka_unit_test(a_run_spares_files_that_no_run_wrote),
                                     cmocka_unit_test(results_without_checkpoints_are_kept),
                                     cmocka_unit_test(a_disk_too_small_for_checkpoints_is_told_first),
                                     cmocka_unit_test(a_disk_that_fills_up_costs_no_step_that_can_be_kept),
                                     cmocka_unit_test(outputs_of_a_run_are_looked_at_first),
                                     cmocka_unit_test(what_is_read_is_not_written_over),
                                     cmocka_unit_test(full_outputs_are_named)};
  return cmocka_run_group_tests_name("files that are there", tests, hostile_enter, program_leave);
}
