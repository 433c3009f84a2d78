/* The outside program of test_install.c, compiled into the tests: every public function runs under whatever watches them
 * (AddressSanitizer, valgrind, another compiler), which an installed library cannot. What more there is to say about arguments is said
 * here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define main outside_main
int outside_main(int argc, char **argv);
#include "install/outside.c"
#undef main

#include <locale.h>
#include <omp.h>

#include "oracle/ediy_oracle.h"
#include "support/cmocka.h"
#include "support/folder.h"

static void the_outside_program_finds_nothing_wrong(void **state) {
  (void)state;
  char folder[FOLDER_PATH], name[] = "outside";
  char *arguments[] = {name, folder, NULL};
  folder_make(folder);
  assert_int_equal(outside_main(2, arguments), 0); /* exits, with a line, at the first thing that is wrong */
  folder_remove(folder);
}

/* A caller that gets more threads after it made a backbone must not run beyond the scratch that was made for fewer, nor lose them. */
static void a_backbone_outlives_a_change_of_threads(void **state) {
  (void)state;
  enum { SIDE = 64, COUNT = 4, MANY = 16 };
  const ediy_backbone_options options = {"small", "cifar", SIDE, SIDE, COUNT};
  ediy_backbone *b;
  static float input[COUNT * SIDE * SIDE * 3];
  float few[COUNT * 128], many[COUNT * 128];
  int before = omp_get_max_threads();
  for (int i = 0; i < COUNT * SIDE * SIDE * 3; i++) input[i] = (float)(i % 17) - 8;
  omp_set_num_threads(1);
  assert_true(ediy_backbone_fresh(&b, 1, &options, &err) && ediy_backbone_inputs(b, COUNT, input, few, NULL, &err));
  omp_set_num_threads(MANY);
  assert_true(ediy_backbone_inputs(b, COUNT, input, many, NULL, &err));
  assert_int_equal(omp_get_max_threads(), MANY);
  assert_memory_equal(few, many, sizeof few);
  ediy_backbone_close(b);
  omp_set_num_threads(before);
}

/* Five images and five inputs, each alone, in batches of 2 with one left over, and all at once: the same features and map, to the bit. */
static void features_do_not_depend_on_the_batch(void **state) {
  (void)state;
  enum { SIDE = 32, COUNT = 5, CHANNELS = 128, MAP = 4 * 4 * CHANNELS, PIXELS = SIDE * SIDE * 3, MOST = 48 * 40 * 3 };
  static uint8_t rgb[COUNT][MOST];
  static float input[COUNT * PIXELS], features[2][COUNT * CHANNELS], map[2][COUNT * MAP], f[COUNT * CHANNELS], m[COUNT * MAP];
  ediy_image image[COUNT];
  for (int i = 0; i < COUNT; i++) {
    for (int k = 0; k < MOST; k++) rgb[i][k] = (uint8_t)((k * (7 + i) + k / 31) % 251);
    for (int k = 0; k < PIXELS; k++) input[i * PIXELS + k] = (float)((k * (3 + i)) % 17) / 4 - 2;
    image[i] = (ediy_image){48 - i, 40 - 2 * i, rgb[i]};
  }
  for (int batch = 1; batch <= 5; batch += batch) {
    const ediy_backbone_options options = {"small", "cifar", SIDE, SIDE, batch == 4 ? COUNT : batch};
    ediy_backbone *b;
    assert_true(ediy_backbone_fresh(&b, 1, &options, &err));
    assert_int_equal(ediy_backbone_channels(b), CHANNELS);
    assert_int_equal(ediy_backbone_cells(b), 4);
    for (int inputs = 0; inputs < 2; inputs++) {
      memset(f, 0xff, sizeof f), memset(m, 0xff, sizeof m);
      assert_true(inputs ? ediy_backbone_inputs(b, COUNT, input, f, m, &err) : ediy_backbone_images(b, COUNT, image, f, m, &err));
      for (int k = 0; k < COUNT * MAP; k++) assert_true(isfinite(m[k])); /* all of it is written */
      if (batch == 1) memcpy(features[inputs], f, sizeof f), memcpy(map[inputs], m, sizeof m);
      assert_memory_equal(f, features[inputs], sizeof f);
      assert_memory_equal(m, map[inputs], sizeof m);
      for (int i = 1; i < COUNT; i++) assert_memory_not_equal(f, f + i * CHANNELS, sizeof *f * CHANNELS);
      for (int i = 0; batch == 1 && i < COUNT; i++) {
        assert_true(inputs ? ediy_backbone_inputs(b, 1, input + i * PIXELS, f, m, &err)
                           : ediy_backbone_images(b, 1, image + i, f, m, &err));
        assert_memory_equal(f, features[inputs] + i * CHANNELS, sizeof *f * CHANNELS);
        assert_memory_equal(m, map[inputs] + i * MAP, sizeof *m * MAP);
      }
    }
    ediy_backbone_close(b);
  }
}

/* OpenMP's threads are not the child's: it would wait for them without end. What the header says to call before keeps it from that. */
static void a_child_of_fork_goes_on_without_its_parents_threads(void **state) {
  (void)state;
  enum { SIDE = 32, CHANNELS = 16, WAIT = 60 /* seconds, where it does not end */ };
  static float x[4 * SIDE * SIDE * CHANNELS], w[CHANNELS * 9 * CHANNELS], y[4 * SIDE * SIDE * CHANNELS], again[4 * SIDE * SIDE * CHANNELS];
  const ediy_conv conv = {4, SIDE, SIDE, CHANNELS, CHANNELS, 3, 3, 1, 1};
  int before = omp_get_max_threads(), status;
  for (int i = 0; i < 4 * SIDE * SIDE * CHANNELS; i++) x[i] = (float)(i % 17) - 8;
  for (int i = 0; i < CHANNELS * 9 * CHANNELS; i++) w[i] = (float)(i % 5) - 2;
  omp_set_num_threads(4);
  assert_true(ediy_conv_forward_f32(&conv, x, w, y, &err));
  assert_int_equal(omp_pause_resource_all(omp_pause_soft), 0);
  pid_t child = fork();
  if (child == 0) {
    alarm(WAIT);
    _exit(ediy_conv_forward_f32(&conv, x, w, again, &err) && memcmp(y, again, sizeof y) == 0 ? 0 : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_true(ediy_conv_forward_f32(&conv, x, w, again, &err) && memcmp(y, again, sizeof y) == 0); /* nor does the parent miss them */
  omp_set_num_threads(before);
}

#define assert_refused(call, part)                                                                                                         \
  do {                                                                                                                                     \
    err.text[0] = 0;                                                                                                                       \
    assert_false(call);                                                                                                                    \
    if (!strstr(err.text, part)) fail_msg("\"%s\" does not say \"%s\"", err.text, part);                                                   \
  } while (0)

/* Each in the place of a good one: a number that is none, or without a meaning, is not handed on to the caller's arrays. */
static void numbers_without_a_meaning_are_named(void **state) {
  (void)state;
  static const double wrong[] = {NAN, INFINITY, -INFINITY};
  enum { N = 8 };
  float x[N] = {1, 2, 3, 4, 5, 6, 7, 8}, y[N] = {0}, m[N] = {0}, ones[N] = {1, 1, 1, 1, 1, 1, 1, 1}, zeros[N] = {0};
  double value[2], mean[2], invstd[2];
  int32_t index[4] = {1, 0, 1, 0};
  for (int i = 0; i < 3; i++) {
    const double bad = wrong[i];
    const ediy_lars good = {EDIY_LARS_BYOL, 1, 0.9, 0};
    ediy_lars o[4] = {good, good, good, good};
    o[1].trust = bad, o[2].momentum = bad, o[3].weight_decay = bad;
    const char *const rate[] = {"ediy_lars: lr is ", "ediy_lars: trust is ", "ediy_lars: momentum is ", "ediy_lars: weight_decay is "};
    for (int k = 0; k < 4; k++) assert_refused(ediy_lars_f32(&o[k], N, true, k == 0 ? bad : 1, x, y, m, &err), rate[k]);
    assert_refused(ediy_loss_byol_f32(2, 4, x, x, bad, value, y, &err), "ediy_loss_byol: scale is ");
    assert_refused(ediy_loss_rdem_f32(2, 2, 2, x, index, false, bad, value, y, &err), "ediy_loss_rdem: scale is ");
    assert_refused(ediy_loss_riem_f32(2, 2, 2, x, x, index, bad, value, y, &err), "ediy_loss_riem: scale is ");
    const ediy_norm norm = {4, 2, 1e-5, bad, false};
    assert_refused(ediy_norm_forward_f32(&norm, x, NULL, ones, ones, m, m + 4, y, mean, invstd, &err), "momentum is ");
    for (int k = 0; k < N; k++) assert_true(y[k] == 0 && m[k] == 0);
  }
  const double tau[] = {NAN, -0.5, 2, INFINITY};
  for (int i = 0; i < 4; i++) assert_refused(ediy_ema_f32(N, tau[i], x, zeros, &err), "it must be from 0 to 1");
  for (int k = 0; k < N; k++) assert_true(zeros[k] == 0);
}

static void jitters_without_a_meaning_are_named(void **state) {
  (void)state;
  uint8_t rgb[4 * 4 * 3] = {0};
  const ediy_image image = {4, 4, rgb};
  ediy_view view;
  float y[4 * 4 * 3];
  assert_true(ediy_augment_draw(0, 4, 4, 4, 0, 0, 0, &view, &err));
  double *const strength[] = {&view.brightness, &view.contrast, &view.saturation, &view.hue};
  static const char *const says[] = {"brightness of the jitter is ", "contrast of", "saturation of",
                                     "hue of the jitter is nan; it must be"};
  for (int i = 0; i < 4; i++) {
    const double before = *strength[i];
    *strength[i] = NAN, view.jitter = true;
    assert_refused(ediy_augment_apply_f32(&view, &image, y, &err), says[i]);
    view.jitter = false; /* which nobody reads then */
    assert_true(ediy_augment_apply_f32(&view, &image, y, &err));
    *strength[i] = before;
  }
}

static void wrong_arguments_are_named(void **state) {
  (void)state;
  ediy_backbone_options o = {0};
  ediy_backbone *b;
  ediy_view view;
  uint8_t pixel[3] = {0};
  ediy_image image = {1, 1, pixel}, endless = {1, 100000000, pixel}, nothing = {1, 1, NULL};
  float x[4], y[3 * 4 * 4];
  double value[1];
  ediy_lars lars = {EDIY_LARS_BYOL, 1, 0.9, 0};
  int32_t index[4] = {0, 0, 0, -1};

  assert_refused(ediy_backbone_fresh(&b, 1, NULL, &err), "options.architecture");
  o.architecture = "resnet19";
  assert_refused(ediy_backbone_fresh(&b, 1, &o, &err), "resnet18");
  assert_null(b);
  o.architecture = "small", o.size = 64, o.resize = 63;
  assert_refused(ediy_backbone_fresh(&b, 1, &o, &err), "resize 63");
  o.resize = -1;
  assert_refused(ediy_backbone_fresh(&b, 1, &o, &err), "negative");
  o.resize = 0, o.size = 2;
  assert_refused(ediy_backbone_fresh(&b, 1, &o, &err), "size");
  o.size = 32, o.batch = 1;
  assert_true(ediy_backbone_fresh(&b, 1, &o, &err));
  assert_refused(ediy_backbone_images(b, 1, &endless, y, NULL, &err), "image 0");
  assert_refused(ediy_backbone_images(b, 1, &nothing, y, NULL, &err), "image 0 has 1 x 1 pixels at a null pointer");
  assert_refused(ediy_image_read(NULL, &nothing, &err), "ediy_image_read: an argument is null");
  assert_refused(ediy_image_read("x.png", NULL, &err), "ediy_image_read: an argument is null");
  assert_refused(ediy_backbone_inputs(b, -1, x, y, NULL, &err), "-1");
  assert_refused(ediy_backbone_save(b, "/nowhere/x.safetensors", &err), "/nowhere/x.safetensors");
  assert_true(ediy_backbone_images(b, 0, &image, NULL, NULL, &err) && err.text[0] == 0);
  assert_true(ediy_backbone_images(b, 0, NULL, NULL, NULL, &err) && ediy_backbone_inputs(b, 0, NULL, y, NULL, &err));
  assert_true(ediy_backbone_files(b, 0, NULL, NULL, NULL, &err)); /* an empty list is often null */
  ediy_backbone_close(b);

  assert_refused(ediy_match_diversity_f32(1, 2, 2, (ediy_similarity)7, x, index, &err), "similarity 7");
  assert_refused(ediy_match_diversity_f32(1, 2, 2, EDIY_COSINE, NULL, index, &err), "null");
  assert_refused(ediy_loss_rdem_f32(2, 2, 1, x, index, false, 1, value, NULL, &err), "image 1, region 1");
  assert_refused(ediy_loss_byol_f32(PTRDIFF_MAX / 4, 2, x, x, 1, value, NULL, &err), "too large");
  assert_refused(ediy_lars_f32(&lars, 0, true, 1, x, y, y + 4, &err), "ediy_lars: 0 numbers");
  assert_refused(ediy_lars_f32(&lars, PTRDIFF_MAX / 4, true, 1, x, y, y + 4, &err), "too large");
  assert_refused(ediy_lars_f32(NULL, 4, true, 1, x, y, y + 4, &err), "null");
  for (int i = 0; i < 3; i++)
    assert_refused(ediy_lars_f32(&lars, 4, true, 1, i == 0 ? NULL : x, i == 1 ? NULL : y, i == 2 ? NULL : y + 4, &err), "null");
  lars.variant = (ediy_lars_variant)7;
  assert_refused(ediy_lars_f32(&lars, 4, true, 1, x, y, y + 4, &err), "variant 7");
  assert_refused(ediy_ema_f32(-1, 0.5, x, y, &err), "ediy_ema: -1 numbers");
  assert_refused(ediy_ema_f32(4, 0.5, NULL, y, &err), "null");
  assert_refused(ediy_ema_f32(4, 0.5, x, NULL, &err), "null");
  assert_refused(ediy_augment_draw(2, 4, 8, 8, 0, 0, 0, &view, &err), "view 2");
  assert_refused(ediy_augment_draw(0, 4, 0, 8, 0, 0, 0, &view, &err), "8 x 0");
  assert_true(ediy_augment_draw(0, 4, 1, 1, 0, 0, 0, &view, &err));
  view.sigma = 1, view.taps = 2;
  assert_refused(ediy_augment_apply_f32(&view, &image, y, &err), "2 taps");
  view.order[2] = 4, view.sigma = 0;
  assert_refused(ediy_augment_apply_f32(&view, &image, y, &err), "step 2");
  assert_refused(ediy_train(0, NULL, NULL, NULL, &err), "data");
  assert_refused(ediy_image_read("/nowhere/x.png", &image, &err), "/nowhere/x.png");
  assert_null(image.rgb);
}

/* ---- the program's locale ----------------------------------------------------------------------------------------------------------- */

static char last_number[16], said_number[16]; /* 1.5 as the program itself prints it, in a callback */

static bool print_number(void *context, const ediy_progress *p) {
  (void)context, (void)p;
  snprintf(last_number, sizeof last_number, "%.1f", 1.5);
  return true;
}

static bool said_point; /* a line behind another one still has a point */

static void say_number(void *context, const char *line) {
  (void)context;
  said_point |= strstr(line, "network: 0.3 million weights") != NULL;
  snprintf(said_number, sizeof said_number, "%.1f", 1.5);
}

static int average(void *context, ptrdiff_t size, double tau, const float *theta, float *xi) {
  (void)context;
  snprintf(last_number, sizeof last_number, "%.1f", 1.5);
  for (ptrdiff_t i = 0; i < size; i++) xi[i] = (float)((double)xi[i] + (1 - tau) * ((double)theta[i] - (double)xi[i]));
  return 0;
}

static void check_numbers(const char *folder) {
  char data[IN_FOLDER_PATH], out[IN_FOLDER_PATH], path[IN_FOLDER_PATH], line[4096];
  const char *const options[] = {data,         out,        "preset=sanity", "lambda1=0", "lambda2=0", "lr=0.25",
                                 "tau0=0.875", "epochs=1", "batch=2",       "warmup=0",  "workers=1", "threads=1"};
  const ediy_train_callbacks callbacks = {.progress = print_number, .message = say_number};
  snprintf(data, sizeof data, "data=%s", folder);
  snprintf(out, sizeof out, "out=%s/run", folder);
  assert_true(ediy_train((int)(sizeof options / sizeof *options), options, &callbacks, NULL, &err));
  assert_string_equal(last_number, "1,5");
  assert_string_equal(said_number, "1,5");
  assert_true(said_point);
  snprintf(path, sizeof path, "%s/run/config.txt", folder);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  bool found = false;
  while (fgets(line, sizeof line, f)) found |= strcmp(line, "lr = 0.25\n") == 0;
  fclose(f);
  assert_true(found);

  ediy_backbone *b;
  snprintf(path, sizeof path, "%s/run/backbone.safetensors", folder); /* has the configuration in it */
  assert_true(ediy_backbone_open(&b, path, NULL, &err));
  ediy_backbone_close(b);

  ediy_oracle_kernel kernel = {0};
  ediy_oracle_options judged = {0};
  ediy_oracle_verdict v;
  kernel.ema = average;
  judged.shape = "k=64 r=3 c=16 tau=0.75";
  last_number[0] = 0;
  if (ediy_oracle_judge(&kernel, &judged, &v) != EDIY_ORACLE_PASS) fail_msg("%s", v.text);
  assert_non_null(strstr(v.text, "tau=0.75"));
  assert_string_equal(last_number, "1,5");
}

/* A program with windows calls setlocale for its user, to whom one and a half may be 1,5. Options and files have points all the same, and
 * what the program prints while it is called back has its comma. */
static void a_decimal_comma_of_the_program_changes_nothing(void **state) {
  (void)state;
  char folder[FOLDER_PATH], command[1024], path[IN_FOLDER_PATH];
  folder_make(folder);
  snprintf(command, sizeof command,
           "cd '%s' && printf 'LC_NUMERIC\\ndecimal_point \",\"\\nthousands_sep \".\"\\ngrouping 3;3\\nEND LC_NUMERIC\\n' >comma.src && "
           "{ localedef -c -i comma.src -f ANSI_X3.4-1968 ./comma >/dev/null 2>&1; test -e comma/LC_NUMERIC; }",
           folder);
  bool made = system(command) == 0;
  if (made) {
    setenv("LOCPATH", folder, 1);
    assert_non_null(setlocale(LC_NUMERIC, "comma"));
    unsetenv("LOCPATH");
    for (int i = 0; i < 4; i++) {
      ediy_image image = draw(i);
      snprintf(path, sizeof path, "%s/%d.png", folder, i);
      write_png(path, &image);
      ediy_image_free(&image);
    }
    check_numbers(folder);
    assert_string_equal(localeconv()->decimal_point, ",");
    setlocale(LC_NUMERIC, "C");
  }
  folder_remove(folder);
  if (!made) skip_because("localedef makes no locale here");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_outside_program_finds_nothing_wrong),
      cmocka_unit_test(a_backbone_outlives_a_change_of_threads),
      cmocka_unit_test(features_do_not_depend_on_the_batch),
      cmocka_unit_test(a_child_of_fork_goes_on_without_its_parents_threads),
      cmocka_unit_test(numbers_without_a_meaning_are_named),
      cmocka_unit_test(jitters_without_a_meaning_are_named),
      cmocka_unit_test(wrong_arguments_are_named),
      cmocka_unit_test(a_decimal_comma_of_the_program_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
