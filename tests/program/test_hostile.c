/* What a hostile or unlucky user does to the program: one line that names the file, key or value, exit status 2, nothing half written. */
#define _GNU_SOURCE /* SIGHUP */
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/safetensors.h"
#include "image/image.h"
#include "program/hostile.h"
#include "support/cmocka.h"
#include "support/sanitized.h"

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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(weights_that_are_no_numbers_are_refused),
                                     cmocka_unit_test(features_that_are_no_numbers_are_not_drawn),
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
                                     cmocka_unit_test(a_lost_terminal_or_pipe_leaves_a_checkpoint),
                                     cmocka_unit_test(a_finished_run_can_be_read_where_nothing_can_be_written),
                                     cmocka_unit_test(a_run_whose_statistics_are_no_numbers_has_no_result),
                                     cmocka_unit_test(a_name_that_is_empty_is_a_mistake),
                                     cmocka_unit_test(a_run_that_was_to_stop_says_what_goes_on),
                                     cmocka_unit_test(a_teacher_that_is_not_read_is_said),
                                     cmocka_unit_test(a_lone_region_is_said),
                                     cmocka_unit_test(a_run_without_a_teacher_names_one),
                                     cmocka_unit_test(keys_of_a_gpu_are_refused_without_one)};
  return cmocka_run_group_tests_name("hostile users", tests, hostile_enter, program_leave);
}
