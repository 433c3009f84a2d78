/* What a hostile or unlucky user does to the program: one line that names the file, key or value, exit status 2, nothing half written. */
#define _GNU_SOURCE /* SIGHUP */
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/safetensors.h"
#include "image/image.h"
#include "support/cmocka.h"
#include "support/program.h"
#include "support/sanitized.h"

#define SMALL "backbone=small stem=cifar size=16"
#define TRAIN "ediy train " SMALL " projector.hidden=16 projector.out=8 batch=8 warmup=0 workers=1 log.every=1 "
#define BYOL TRAIN "lambda1=0 lambda2=0 "
#define BENCH "ediy bench backbone=small size=32 batch=2 steps=1 warmup=0 projector.hidden=8 "

static int enter(void **state) {
  program_enter(state);
  assert_runs("ediy scenes out=s images=32 val=8 classes=2 size=24");
  assert_runs("ediy export weights=random " SMALL " out=w.safetensors");
  return 0;
}

/* Copies w.safetensors with one number of one tensor replaced. */
static void spoil(const char *name, float value, const char *to) {
  struct error err;
  struct safetensors f;
  if (!safetensors_open(&f, "w.safetensors", &err)) fail_msg("%s", err.text);
  const struct tensor *t = safetensors_find(&f, name);
  assert_non_null(t);
  long at = (long)((const char *)t->data - (const char *)f.map) + 4;
  safetensors_close(&f);
  assert_runs("cp w.safetensors %s", to);
  FILE *file = fopen(to, "r+b");
  assert_non_null(file);
  assert_int_equal(fseek(file, at, SEEK_SET), 0);
  assert_int_equal(fwrite(&value, sizeof value, 1, file), 1);
  assert_int_equal(fclose(file), 0);
}

/* A teacher with one NaN matches every region with the first, and no loss shows it. */
static void weights_that_are_no_numbers_are_refused(void **state) {
  (void)state;
  spoil("layer1.0.conv1.weight", NAN, "nan.safetensors");
  spoil("bn1.bias", -INFINITY, "inf.safetensors");
  spoil("layer2.0.bn1.running_var", -1, "negative.safetensors");
  assert_runs("mkdir quiet"); /* a run that fails early has told of its data: standard error is more than a line */
  const struct outcome *o = program_run(TRAIN "epochs=1 data=s/train out=r teacher=nan.safetensors");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "nan.safetensors: tensor layer1.0.conv1.weight holds nan at element 1"));
  assert_runs("test ! -e r");
  assert_refused("inf.safetensors: tensor bn1.bias holds -inf", "ediy embed weights=inf.safetensors data=s/val out=f");
  assert_refused("negative.safetensors: tensor layer2.0.bn1.running_var holds -1",
                 "ediy import weights=negative.safetensors " SMALL " out=f");
  assert_runs("test ! -e f");
}

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

/* Latin-1; half of a letter; one written too long; a surrogate; what is no letter at all. */
static void names_that_are_not_text_are_drawn(void **state) {
  (void)state;
  assert_runs("mkdir -p names/c && n=0; for b in '\351' '\303' '\300\257' '\340\200\257' '\355\240\200' '\357\277\277' '\364\220\200\200' "
              "'\377'; do "
              "cp $(ls s/val/00*/*.png | head -1) \"names/c/$(printf \"a$b\")z.png\"; done");
  assert_runs("ediy show views data=names rows=8 size=16 out=v.png && rm v.png");
  assert_runs("ediy show saliency weights=w.safetensors data=names images=2 out=v.png && rm -r v.png names");
}

/* Weights that are numbers, and an activation that none can hold. */
static void features_that_are_no_numbers_are_not_drawn(void **state) {
  (void)state;
  spoil("bn1.bias", 3e38F, "large.safetensors");
  assert_refused("large.safetensors makes numbers of it that are not finite", "ediy show saliency weights=large.safetensors data=s/val");
  const char *says = ".png: large.safetensors makes features of it that are not finite";
  assert_refused(says, "ediy embed weights=large.safetensors data=s/val out=f");
  assert_non_null(strstr(program_run("ediy eval knn weights=large.safetensors train=s/train test=s/val")->err, says));
  assert_runs("test ! -e f");
  assert_refused("s/val/00", "ediy show saliency weights=random beside=large.safetensors data=s/val");
  assert_runs("test ! -e saliency.png");
}

/* Of a class in Latin-1: after all features it would be too late, and so it is said before the damaged image is. */
static void a_class_that_is_not_text_is_refused_first(void **state) {
  (void)state;
  assert_runs("mkdir -p \"cafes/$(printf 'caf\351')\" && cp s/val/00*/*.png cafes/* && printf x >\"$(echo cafes/*)/a.png\"");
  assert_refused(": a folder whose name is not UTF-8, in which the file keeps the names of classes; rename it",
                 "ediy embed weights=w.safetensors data=cafes out=f");
  assert_runs("test ! -e f && mv cafes/* cafes/cafe && rm cafes/cafe/a.png && ediy embed weights=w.safetensors data=cafes out=f && "
              "rm -r f cafes");
}

static void sizes_that_cannot_be_are_named(void **state) {
  (void)state;
  assert_runs("mkdir single && cp $(ls s/val/*/* | head -n 1) single");
  assert_refused("single: 1 image does not fill one batch of 8", BYOL "data=single out=r");
  assert_refused("resize = 8", "ediy embed weights=w.safetensors data=s/val resize=8 out=f");
  assert_int_equal(program_run("ediy eval knn weights=w.safetensors train=s/train test=s/val resize=8")->status, 2);
  assert_refused("seed: '9007199254740994' is not a whole number from 0 to 9007199254740992", BYOL "data=s out=r seed=9007199254740994");
  assert_refused("seed: '9007199254740993'", BYOL "data=s out=r seed=9007199254740993"); /* which a double would round into the range */
}

/* The first map of 100 images of 4096 x 4096 alone, 100 x 2048 x 2048 x 64 numbers, has 107 GB; all that one image takes is a few GB. */
static void too_little_memory_names_a_batch(void **state) {
  (void)state;
  if (program_run("awk '/^MemAvailable/ {exit $2 < 100e6}' /proc/meminfo")->status == 0)
    skip_because("this machine has 100 GB of memory free, and more");
  assert_refused(" GB) would fit", "ediy embed weights=random backbone=resnet50 size=4096 batch=100 data=s/val out=f");
}

/* What is left of it is what there is, and the run says so before it takes any. Threads, of which a machine may have many, take some. */
static void a_limit_of_the_address_space_names_what_fits(void **state) {
  (void)state;
  if (SANITIZED) skip_because("a sanitizer takes address space of its own");
  const struct outcome *o =
      program_run("ulimit -v 1500000; export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1; " BYOL "data=s/train out=none batch=32 size=256");
  assert_int_equal(o->status, 2);
  if (!strstr(o->err, "GB are available by ulimit -v; accumulate=")) fail_msg("%s", o->err);
  o = program_run("ulimit -v 1500000; export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1; " BYOL
                  "data=s/train out=none projector.hidden=1000000");
  assert_int_equal(o->status, 2);
  if (!strstr(o->err, "this run needs ") ||
      !strstr(o->err,
              "GB are available by ulimit -v, and no smaller micro-batch helps; choose a smaller backbone, projector.hidden or size"))
    fail_msg("%s", o->err);
  assert_runs("test ! -e none");
}

/* A strip whose long side, resized, no int holds. The PNG is of zeros, 1 bit a pixel: small as a file. */
static void an_endless_strip_is_named(void **state) {
  (void)state;
  assert_runs("mkdir strip");
  struct error err;
  enum { LONG = 400000 };
  static uint8_t row[LONG * 3];
  struct image strip = {.height = 1, .width = LONG, .rgb = row};
  if (!image_write_png("strip/long.png", &strip, &err)) fail_msg("%s", err.text);
  assert_refused("strip/long.png", "ediy embed weights=w.safetensors data=strip resize=8192 out=f");
  assert_runs("ediy embed weights=w.safetensors data=strip out=f && rm f");
  assert_runs("ediy show views data=strip size=16 out=v.png && rm v.png");
}

static void names_of_any_kind_are_trained_on(void **state) {
  (void)state;
  assert_runs("mkdir -p 'any thing/\xc3\xa4 \xc3\xb6' && n=0; for f in s/train/*/*.png; do n=$((n+1)); cp $f \"any thing/\xc3\xa4 "
              "\xc3\xb6/$n a\n.png\"; done");
  assert_runs(BYOL "epochs=1 'data=any thing' 'out=the run'");
  assert_refused("a line break in its name", "ediy embed weights=w.safetensors 'data=any thing' out=f");
}

/* Checkpoints keep the configuration as text: a path that is none would be found out when the first is written, after an epoch of work. */
static void paths_that_checkpoints_cannot_keep_are_refused_first(void **state) {
  (void)state;
  assert_runs("cp -r s/train 'latin-\xe9'");
  assert_refused("data = 'latin-\xe9' is not UTF-8", BYOL "epochs=1 'data=latin-\xe9' out=latin");
  assert_refused("out = 'lat\xe9' is not UTF-8", BYOL "epochs=1 data=s/train 'out=lat\xe9'");
  assert_runs("test ! -e latin -a ! -e 'lat\xe9' && ediy embed weights=w.safetensors 'data=latin-\xe9' out=f && rm f");
}

/* By whatever reads a folder of them; on standard error, so that results are as they were. */
static void images_that_are_left_out_are_said(void **state) {
  (void)state;
  const char *said = "mixed/train: 2 images are left out, the first 00-striped-disc/0.webp; only *.jpg, *.jpeg and *.png are read\n";
  const char *eval = "weights=w.safetensors train=mixed/train test=mixed/val", *dense = "train=mixed/dense/train val=mixed/dense/val";
  assert_runs("cp -r s mixed && : >mixed/train/00-striped-disc/0.webp && : >mixed/train/01-dotted-triangle/1.GIF");
  assert_non_null(strstr(assert_runs(BYOL "data=mixed/train out=mixed-run stop=1")->err, said));
  assert_non_null(strstr(assert_runs("ediy eval knn %s", eval)->err, said));
  assert_non_null(strstr(assert_runs("ediy eval linear %s epochs=1 views=1", eval)->err, said));
  assert_non_null(strstr(assert_runs("ediy embed weights=w.safetensors data=mixed/train out=f && rm f")->err, said));
  assert_non_null(strstr(assert_runs("ediy info mixed/train")->out, said));
  assert_non_null(
      strstr(assert_runs("ediy show saliency weights=w.safetensors data=mixed/train images=1 out=m.png && rm m.png")->err, said));
  assert_non_null(
      strstr(assert_runs("ediy bench backbone=small size=32 batch=2 steps=1 warmup=0 projector.hidden=8 data=mixed/train")->err, said));
  const struct outcome *o = assert_runs("ediy eval dense weights=w.safetensors size=24 %s test=s/dense/val epochs=1", dense);
  assert_non_null(strstr(o->err, "mixed/dense/train/images: 2 images are left out, the first 00-striped-disc/0.webp"));
  assert_null(strstr(assert_runs("ediy eval knn weights=w.safetensors train=s/train test=mixed/val")->err, "left out"));
  assert_runs("rm -r mixed mixed-run");
}

static void one_class_is_no_classification(void **state) {
  (void)state;
  assert_runs("mkdir -p one/c && cp s/val/00*/*.png one/c");
  const struct outcome *o = program_run("ediy eval knn weights=w.safetensors train=one test=one");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "one: one class only (c)"));
  assert_int_equal(program_run("ediy eval linear weights=w.safetensors train=one test=one")->status, 2);
}

static void a_label_out_of_range_names_its_map(void **state) {
  (void)state;
  const struct outcome *o =
      program_run("ediy eval dense weights=w.safetensors size=24 classes=1 train=s/dense/train val=s/dense/val test=s/dense/val");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "s/dense/train/labels/"));
  assert_non_null(strstr(o->err, ".png: level "));
}

static void info_says_what_is_wrong_with_a_file(void **state) {
  (void)state;
  assert_runs(BYOL "epochs=1 data=s/train out=seen");
  assert_non_null(strstr(assert_runs("ediy info seen")->out, "at step 4"));
  assert_runs("cp seen/checkpoint-00000004.safetensors c && printf x | dd of=c bs=1 seek=20000 conv=notrunc status=none");
  assert_refused("c: damaged: SHA-256", "ediy info c");
  assert_runs("printf text >text.JPG && : >none.png && printf 'PK\\003\\004 and more of it' >state.pth");
  assert_refused("text.JPG: neither JPEG nor PNG", "ediy info text.JPG");
  assert_refused("none.png: the file is empty", "ediy info none.png");
  assert_refused("a zip archive, such as torch.save writes; write it again by safetensors.torch.save_file", "ediy info state.pth");
  assert_runs("printf '\\200\\002\\212\\012l\\374\\234F\\371 j\\250P\\031.' >old.pth"); /* as PyTorch 1.5 begins */
  assert_refused("a pickle, such as torch.save writes; write it again by safetensors.torch.save_file",
                 "ediy import weights=old.pth " SMALL " out=f");
  assert_runs("printf 'RIFF\\044\\0\\0\\0WEBPVP8 ' >w.webp && printf '{\"loss\": 1}' >text.json && : >nothing && mkfifo fifo");
  assert_refused("w.webp: a WebP image, neither JPEG nor PNG", "ediy info w.webp");
  assert_refused("text.json: neither a safetensors file nor an image, which is what info reads", "ediy info text.json");
  assert_refused("seen/config.txt: neither a safetensors file nor an image", "ediy info seen/config.txt");
  assert_refused("nothing: the file is empty", "ediy info nothing");
  assert_refused("fifo: is a device or pipe", "timeout 5 ediy info fifo");
}

static void info_says_what_a_dump_is_and_who_reads_it(void **state) {
  (void)state;
  const char *keys = "preset=sanity batch=4 size=16 projector.hidden=16 projector.out=8";
  assert_runs("oracle dump out=full steps=2 %s && oracle dump out=digests kind=digest %s", keys, keys);
  assert_non_null(strstr(assert_runs("ediy info full")->out, "full: full dump of training steps, 2 steps, "));
  assert_non_null(strstr(assert_runs("ediy info full")->out, " tensors; oracle replay full judges it, oracle check"));
  const struct outcome *o = assert_runs("ediy info digests");
  assert_non_null(strstr(o->out, "digests: digest dump of training steps, 1 step, 955 tensors; oracle check"));
  assert_runs("mkdir -p other && echo '{\"format\": \"x\"}' >other/manifest.json");
  assert_refused("other: no image found", "ediy info other");
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

/* A lost terminal (SIGHUP) and a closed pipe behind the progress lines end a run as Ctrl-C does: with a checkpoint of the step at hand. */
static void a_lost_terminal_or_pipe_leaves_a_checkpoint(void **state) {
  (void)state;
  signal(SIGHUP, SIG_DFL); /* under nohup it is ignored, by what the test starts as well */
  const struct outcome *o = program_run(BYOL "epochs=500 checkpoint.every=1000000 data=s/train out=hup & child=$!\n"
                                             "while ! grep -q '\"step\": 3' hup/log.jsonl 2>/dev/null; do sleep 0.02; done\n"
                                             "kill -HUP $child; wait $child");
  assert_int_equal(o->status, 128 + 1);
  assert_runs("ls hup/checkpoint-*.safetensors");
  /* the reader ends once a step is logged, and is waited for; only then do lines find no reader */
  assert_runs(BYOL "epochs=60 checkpoint.every=1000000 data=s/train out=pipe 2>&1 >/dev/null | head -n 3 >/dev/null; "
                   "ls pipe/checkpoint-*.safetensors");
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

/* Whose folder nobody may write: on a medium that was archived, say. Seen by these commands alone. */
static void a_finished_run_can_be_read_where_nothing_can_be_written(void **state) {
  (void)state;
  const char *shut = "mkdir -p shut && unshare -m sh -c 'mount --bind done shut && mount -o remount,bind,ro shut";
  assert_runs(BYOL "epochs=1 data=s/train out=done && : >done/checkpoint-00000004.safetensors.1.0.tmp");
  if (program_run("%s'", shut)->status != 0) skip_because("mounting a folder read-only needs root and unshare");
  const struct outcome *o = assert_runs("%s && " BYOL "epochs=1 data=s/train out=shut'", shut);
  assert_non_null(strstr(o->out, "shut: done before, 4 steps"));
  assert_null(strstr(o->err, "removed"));
  assert_runs("%s && ediy info shut && ediy show curves run=shut out=c.png && ediy show saliency run=shut data=s/val out=a.png && "
              "ediy eval knn weights=shut/backbone.safetensors train=s/train test=s/val && "
              "ediy export weights=shut/backbone.safetensors out=e.safetensors' && rm c.png a.png e.safetensors",
              shut);
  assert_refused("shut/c.png: cannot be written: shut is on a read-only file system; choose another place",
                 "%s && ediy show curves run=shut out=shut/c.png'", shut);
  o = assert_runs(BYOL "epochs=1 data=s/train out=done && ! ls done/*.tmp 2>/dev/null && rm -r done");
  assert_non_null(strstr(o->err, "done: removed 1 unfinished file of 0.0 MB, left by a run that was killed"));
}

/* Its losses are finite to the end, since training reads no running statistics. Results of it would be refused wherever they are read. */
static void a_run_whose_statistics_are_no_numbers_has_no_result(void **state) {
  (void)state;
  const struct outcome *o = program_run(BYOL "epochs=3 data=s/train out=wild lr=1e9");
  assert_int_equal(o->status, 2);
  assert_string_equal(o->out, "");
  if (!strstr(o->err, "a smaller lr or a longer warmup may help")) fail_msg("%s", o->err);
  assert_runs("test ! -e wild/backbone.safetensors && rm -r wild");
}

/* A shell's variable that is not set. */
static void a_name_that_is_empty_is_a_mistake(void **state) {
  (void)state;
  assert_refused("embed: out= is empty; leave it out for out=features.safetensors, or say which",
                 "ediy embed weights=w.safetensors data=s/val out=");
  assert_refused("show views: out= is empty; leave it out for out=views.png", "ediy show views data=s/val size=16 out=");
  assert_refused("info: takes one file or folder", "ediy info ''");
}

/* The same command with the same stop would do nothing more. */
static void a_run_that_was_to_stop_says_what_goes_on(void **state) {
  (void)state;
  assert_non_null(strstr(assert_runs(BYOL "epochs=1 data=s/train out=stopped stop=2")->out,
                         "stopped after step 2 of 4, as stop = 2 says; the same command with a larger stop, or none, goes on"));
  assert_non_null(strstr(assert_runs(BYOL "epochs=1 data=s/train out=stopped")->out, "stopped: 4 steps"));
}

static void outputs_of_a_run_are_looked_at_first(void **state) {
  (void)state;
  assert_runs("printf x >plain && mkdir -p flat && cp s/val/*/*.png flat");
  assert_int_equal(program_run(BYOL "data=s/train out=plain")->status, 2);
  assert_non_null(strstr(program_run(BYOL "data=s/train out=plain")->err, "plain: is a file; give out=FOLDER, another one"));
  assert_non_null(strstr(program_run(BYOL "data=s/train out=plain/run")->err, "plain/run: a part of this path is a file; give out=FOLDER"));
  const struct outcome *o = program_run(BYOL "data=s/train out=fresh resume=stopped");
  assert_int_equal(o->status, 2);
  assert_non_null(strstr(o->err, "resume = stopped is a folder; name a file in it, or go on in it with out=stopped"));
  assert_non_null(strstr(program_run(BYOL "batch=4 data=flat out=flatrun stop=1")->err, "data: 8 images, 2 steps an epoch"));
}

static void a_teacher_that_is_not_read_is_said(void **state) {
  (void)state;
  const char *said = assert_runs(BYOL "data=s/train out=alone stop=1 teacher=nothere")->err;
  assert_non_null(strstr(said, "teacher: not read, as lambda1 = lambda2 = 0"));
  said = assert_runs(TRAIN "data=s/train out=drawn-regions stop=1 sampler=random teacher=nothere")->err;
  assert_non_null(strstr(said, "teacher: not read, as sampler = random"));
  assert_null(strstr(assert_runs(TRAIN "data=s/train out=taught stop=1 teacher=w.safetensors")->err, "not read"));
}

/* On 8 pixels this network has a map of one cell. */
static void a_lone_region_is_said(void **state) {
  (void)state;
  const char *said = assert_runs(TRAIN "data=s/train out=lone stop=1 sampler=random size=8")->err;
  assert_non_null(strstr(said, " 1 region of 128 channels"));
  assert_non_null(
      strstr(said, "R-DEM trains nothing: a view's only region is paired with itself, and its cosine is 1; a larger size gives"));
  said = assert_runs(TRAIN "data=s/train out=lone2 stop=1 sampler=random size=8 stem=imagenet")->err;
  assert_non_null(strstr(said, "a larger size, or stem=cifar, gives more regions"));
  assert_null(strstr(assert_runs(TRAIN "data=s/train out=lone3 stop=1 sampler=random size=8 lambda1=0")->err, "trains nothing"));
  assert_null(
      strstr(assert_runs(TRAIN "data=s/train out=lone4 stop=1 sampler=random size=8 rdem.negative=instance")->err, "trains nothing"));
  assert_null(strstr(assert_runs(BYOL "data=s/train out=lone5 stop=1 size=8")->err, "trains nothing"));
  said = assert_runs(TRAIN "data=s/train out=four stop=1 sampler=random")->err;
  assert_non_null(strstr(said, " 4 regions of 128 channels"));
  assert_null(strstr(said, "trains nothing"));
}

/* Of plain BYOL, or with regions drawn by chance. */
static void a_run_without_a_teacher_names_one(void **state) {
  (void)state;
  assert_runs(BYOL "data=s/train out=untaught epochs=1");
  assert_refused("show matches: run=untaught has no teacher to match regions; give teacher=FILE, say teacher=untaught/backbone.safetensors",
                 "ediy show matches run=untaught out=m.png");
  assert_runs("ediy show matches run=untaught teacher=untaught/backbone.safetensors out=m.png && rm -r untaught m.png");
}

/* Which would change nothing: who gave them has forgotten backend=cuda. */
static void keys_of_a_gpu_are_refused_without_one(void **state) {
  (void)state;
  assert_refused("precision: backend=reference computes in fp32 alone", BYOL "data=s/train out=none precision=tf32");
  assert_refused("cuda.conv: backend=reference has convolutions and linear layers of its own",
                 BYOL "data=s/train out=none cuda.conv=cudnn");
  assert_refused("cuda.gemm: backend=reference has", BYOL "data=s/train out=none cuda.gemm=cublas");
  assert_refused("cuda.conv: backend=reference has", "ediy bench backbone=small size=32 batch=2 steps=1 warmup=0 cuda.conv=plain");
  assert_runs("test ! -e none");
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(weights_that_are_no_numbers_are_refused),
                                     cmocka_unit_test(features_that_are_no_numbers_are_not_drawn),
                                     cmocka_unit_test(a_place_that_cannot_be_written_is_found_out_first),
                                     cmocka_unit_test(a_file_of_another_kind_is_not_written_over),
                                     cmocka_unit_test(weights_and_features_take_the_place_of_their_own_kind_alone),
                                     cmocka_unit_test(a_run_spares_files_that_no_run_wrote),
                                     cmocka_unit_test(names_that_are_not_text_are_drawn),
                                     cmocka_unit_test(a_class_that_is_not_text_is_refused_first),
                                     cmocka_unit_test(sizes_that_cannot_be_are_named),
                                     cmocka_unit_test(too_little_memory_names_a_batch),
                                     cmocka_unit_test(a_limit_of_the_address_space_names_what_fits),
                                     cmocka_unit_test(an_endless_strip_is_named),
                                     cmocka_unit_test(names_of_any_kind_are_trained_on),
                                     cmocka_unit_test(paths_that_checkpoints_cannot_keep_are_refused_first),
                                     cmocka_unit_test(images_that_are_left_out_are_said),
                                     cmocka_unit_test(one_class_is_no_classification),
                                     cmocka_unit_test(a_label_out_of_range_names_its_map),
                                     cmocka_unit_test(info_says_what_is_wrong_with_a_file),
                                     cmocka_unit_test(info_says_what_a_dump_is_and_who_reads_it),
                                     cmocka_unit_test(results_without_checkpoints_are_kept),
                                     cmocka_unit_test(a_lost_terminal_or_pipe_leaves_a_checkpoint),
                                     cmocka_unit_test(a_disk_too_small_for_checkpoints_is_told_first),
                                     cmocka_unit_test(a_disk_that_fills_up_costs_no_step_that_can_be_kept),
                                     cmocka_unit_test(a_finished_run_can_be_read_where_nothing_can_be_written),
                                     cmocka_unit_test(a_run_whose_statistics_are_no_numbers_has_no_result),
                                     cmocka_unit_test(a_name_that_is_empty_is_a_mistake),
                                     cmocka_unit_test(a_run_that_was_to_stop_says_what_goes_on),
                                     cmocka_unit_test(outputs_of_a_run_are_looked_at_first),
                                     cmocka_unit_test(a_teacher_that_is_not_read_is_said),
                                     cmocka_unit_test(a_lone_region_is_said),
                                     cmocka_unit_test(a_run_without_a_teacher_names_one),
                                     cmocka_unit_test(keys_of_a_gpu_are_refused_without_one),
                                     cmocka_unit_test(what_is_read_is_not_written_over),
                                     cmocka_unit_test(full_outputs_are_named)};
  return cmocka_run_group_tests_name("hostile users", tests, enter, program_leave);
}
