/* The configuration: presets are docs/method.md's, arguments override them, and a resumed run must be the same run. */
#include "train/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/cmocka.h"
#include "train/folder.h"

static struct config c;

/* As from a command line: text that may be written to. */
static bool from_arguments(int count, const char *const *arguments, struct error *err) {
  static char text[64][FOLDER_PATH + 64];
  char *argv[64];
  for (int i = 0; i < count; i++) {
    snprintf(text[i], sizeof text[i], "%s", arguments[i]);
    argv[i] = text[i];
  }
  return config_from_arguments(&c, count, argv, err);
}

static void set(int count, const char *const *arguments) {
  struct error err;
  if (!from_arguments(count, arguments, &err)) fail_msg("%s", err.text);
}
#define SET(...) set(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void refuse(int count, const char *const *arguments, const char *reason) {
  struct error err = {.text = ""};
  if (from_arguments(count, arguments, &err)) fail_msg("accepted, expected: %s", reason);
  if (!strstr(err.text, reason)) fail_msg("message: %s\nexpected: %s", err.text, reason);
}
#define REFUSE(reason, ...) refuse(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__}, reason)

/* The table of docs/method.md, "Optimisation". */
static void presets_are_the_published_ones(void **state) {
  (void)state;
  static const struct {
    const char *argument;
    int64_t epochs, accumulate;
    double peak, decay, tau0, lambda12;
  } table[] = {{"preset=ediy-1000", 1000, 2, 3.2, 1.5e-6, 0.996, 1}, {"preset=ediy-300", 300, 2, 3.2, 1.5e-6, 0.996, 1},
               {"preset=ediy-100", 100, 2, 3.2, 1.5e-6, 0.996, 1},   {"preset=byol-1000", 1000, 1, 3.2, 1.5e-6, 0.996, 0},
               {"preset=byol-300", 300, 1, 4.8, 1e-6, 0.99, 0},      {"preset=byol-100", 100, 1, 7.2, 1e-6, 0.99, 0}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    SET("data=d", "out=o", "teacher=t", table[i].argument);
    assert_int_equal(c.epochs, table[i].epochs);
    assert_int_equal(c.warmup, 10);
    assert_int_equal(c.batch, 4096);
    assert_int_equal(c.accumulate, table[i].accumulate);
    assert_true(fabs(c.lr * 4096 / 256 - table[i].peak) < 1e-12); /* the published rates are peaks */
    assert_true(c.weight_decay == table[i].decay && c.tau0 == table[i].tau0);
    assert_true(c.lambda1 == table[i].lambda12 && c.lambda2 == table[i].lambda12 && c.lambda3 == 1);
    assert_true(c.momentum == 0.9 && c.trust == 0.001);
    assert_int_equal(c.size, 224);
    struct model_config m = config_model(&c);
    assert_int_equal(m.arch.block, BLOCK_BOTTLENECK);
    assert_int_equal(m.arch.blocks[2], 6);
    assert_int_equal(m.arch.hidden, 4096);
    assert_int_equal(m.arch.out, 256);
    assert_int_equal(m.regions, table[i].lambda12 > 0);
    assert_int_equal(m.teacher, table[i].lambda12 > 0);
  }
}

/* Every option of docs/method.md has the default that stands first there. */
static void defaults_are_the_first_of_the_options(void **state) {
  (void)state;
  SET("data=d", "out=o", "teacher=t");
  struct model_config m = config_model(&c);
  assert_int_equal(m.lars.variant, LARS_BYOL);
  assert_int_equal(m.stopgrad, RDEM_STOPGRAD_NONE);
  assert_int_equal(m.negative, NEGATIVE_REGION);
  assert_int_equal(m.sampler, SAMPLER_TEACHER);
  assert_int_equal(m.similarity, SIMILARITY_COSINE);
  assert_int_equal(m.arch.stem, STEM_IMAGENET);
  assert_false(m.teacher_batch || m.region_predictor);
  struct augmentation a = config_augmentation(&c, 1);
  assert_int_equal(a.form, JITTER_BYOL);
  assert_true(a.antialias);
}

/* The order of every CHOICE is that of its enum. */
static void choices_mean_what_they_say(void **state) {
  (void)state;
  SET("data=d", "out=o", "teacher=t", "lars.variant=openselfsup", "rdem.stopgrad=match", "rdem.negative=instance", "match.similarity=dot",
      "stem=cifar", "teacher.bn=batch", "region.predictor=mlp", "augment.jitter=torchvision", "augment.antialias=no", "batch=96",
      "accumulate=3", "backbone=resnet34");
  struct model_config m = config_model(&c);
  assert_int_equal(m.lars.variant, LARS_OPENSELFSUP);
  assert_int_equal(m.stopgrad, RDEM_STOPGRAD_MATCH);
  assert_int_equal(m.negative, NEGATIVE_INSTANCE);
  assert_int_equal(m.similarity, SIMILARITY_DOT);
  assert_int_equal(m.arch.stem, STEM_CIFAR);
  assert_int_equal(m.arch.block, BLOCK_BASIC);
  assert_int_equal(m.arch.blocks[2], 6);
  assert_true(m.teacher_batch && m.region_predictor);
  assert_int_equal(m.batch, 32);
  assert_int_equal(config_augmentation(&c, 0).form, JITTER_TORCHVISION);
  assert_false(config_augmentation(&c, 0).antialias);
  SET("data=d", "out=o", "sampler=random", "augment.jitter=none", "backbone=small");
  assert_int_equal(config_model(&c).sampler, SAMPLER_RANDOM);
  assert_int_equal(config_augmentation(&c, 0).form, JITTER_NONE);
  assert_int_equal(config_model(&c).arch.base_width, 16);
}

static void arguments_override_the_preset_wherever_it_stands(void **state) {
  (void)state;
  SET("lr=0.25", "data=d", "preset=byol-300", "out=o");
  assert_true(c.lr == 0.25 && c.tau0 == 0.99);
  assert_string_equal(c.preset, "byol-300");
}

static void every_preset_is_a_valid_run(void **state) {
  (void)state;
  for (int i = 0; i < preset_count; i++) {
    char argument[64];
    snprintf(argument, sizeof argument, "preset=%s", presets[i].name);
    SET("data=d", "out=o", "teacher=t", argument);
  }
}

/* The configuration that a run writes down starts the same run. */
static void a_written_configuration_is_a_preset(void **state) {
  (void)state;
  char folder[FOLDER_PATH], argument[FOLDER_PATH + 32];
  folder_make(folder);
  SET("data=some place", "out=o", "preset=byol-100", "lr=0.1", "tau0=0.987654321012345678", "seed=9007199254740991");
  char *text = options_format(config_options, config_option_count, &c);
  folder_file(folder, "config.txt", text, strlen(text));
  snprintf(argument, sizeof argument, "preset=%s/config.txt", folder);
  struct config before = c;
  SET(argument);
  snprintf(c.preset, sizeof c.preset, "%s", before.preset);
  char *again = options_format(config_options, config_option_count, &c);
  assert_string_equal(again, text);
  free(text), free(again);
  folder_remove(folder);
}

static void what_cannot_be_run_is_refused_with_the_key(void **state) {
  (void)state;
  REFUSE("data is not set", "out=o");
  REFUSE("out is not set", "data=d");
  REFUSE("accumulate = 3", "data=d", "out=o", "batch=64", "accumulate=3", "sampler=random");
  REFUSE("one image each", "data=d", "out=o", "batch=4", "accumulate=4", "sampler=random");
  REFUSE("nothing to train", "data=d", "out=o", "lambda1=0", "lambda2=0", "lambda3=0");
  REFUSE("teacher=FILE", "data=d", "out=o");
  REFUSE("teacher=FILE", "data=d", "out=o", "resume=no");
  REFUSE("no such preset; there are ediy-1000", "data=d", "out=o", "preset=edyi-1000");
  REFUSE("preset: ./none.txt", "data=d", "out=o", "preset=./none.txt");
  REFUSE("lambda1", "data=d", "out=o", "lambda=1");
  REFUSE("size", "data=d", "out=o", "size=2");
}

/* Its weights are in the checkpoint; but another one than was trained with is a mistake. */
static void resuming_needs_no_teacher_and_takes_no_other(void **state) {
  (void)state;
  struct error err;
  char teacher[OPTION_TEXT_SIZE];
  SET("data=d", "out=o", "teacher=t");
  char *before = options_format(config_options, config_option_count, &c);
  SET("data=d", "out=o", "teacher=t2");
  assert_false(config_same_run(&c, before, "x", teacher, &err));
  assert_non_null(strstr(err.text, "x: was trained with teacher = t, this run has teacher = t2; leave teacher= out"));
  SET("data=d", "out=o", "resume=x"); /* which may have one */
  assert_true(config_same_run(&c, before, "x", teacher, &err));
  assert_string_equal(teacher, "t");
  free(before);
  SET("data=d", "out=o", "sampler=random", "teacher=t");
  before = options_format(config_options, config_option_count, &c);
  SET("data=d", "out=o", "sampler=random", "teacher=t2"); /* neither is read */
  assert_true(config_same_run(&c, before, "x", NULL, &err));
  free(before);
}

static void resuming_allows_other_threads_and_no_other_loss(void **state) {
  (void)state;
  SET("data=d", "out=o", "teacher=t", "lr=0.3");
  char *before = options_format(config_options, config_option_count, &c);
  struct error err;
  SET("data=elsewhere", "out=o2", "teacher=t", "lr=0.3", "workers=7", "threads=3", "data.cache=1", "log.every=1", "checkpoint.every=5",
      "backend=cuda", "precision=bf16", "cuda.conv=cudnn", "cuda.gemm=cublas", "stop=3", "resume=no", "data.ahead=9", "data.max_bad=0");
  if (!config_same_run(&c, before, "x", NULL, &err)) fail_msg("%s", err.text);
  SET("data=d", "out=o", "teacher=t", "lr=0.3", "rdem.stopgrad=match");
  assert_false(config_same_run(&c, before, "run/checkpoint-7", NULL, &err));
  if (!strstr(err.text, "run/checkpoint-7: was trained with rdem.stopgrad = none, this run has rdem.stopgrad = match"))
    fail_msg("%s", err.text);
  SET("data=d", "out=o", "teacher=t", "lr=0.30000000000000004"); /* the next double */
  assert_false(config_same_run(&c, before, "x", NULL, &err));
  free(before);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(presets_are_the_published_ones),
                                     cmocka_unit_test(defaults_are_the_first_of_the_options),
                                     cmocka_unit_test(choices_mean_what_they_say),
                                     cmocka_unit_test(arguments_override_the_preset_wherever_it_stands),
                                     cmocka_unit_test(every_preset_is_a_valid_run),
                                     cmocka_unit_test(a_written_configuration_is_a_preset),
                                     cmocka_unit_test(what_cannot_be_run_is_refused_with_the_key),
                                     cmocka_unit_test(resuming_needs_no_teacher_and_takes_no_other),
                                     cmocka_unit_test(resuming_allows_other_threads_and_no_other_loss)};
  return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
