/* Features of images under a frozen backbone, on the CUDA table and on the reference: what every evaluation starts from. How far they may
 * be apart is measured by the reference with products that are off (moved.h), in the largest element. */
#include <float.h>

#include "model/init.h"
#include "train/features.h"
#include "train/folder.h"

#include "cuda/device.h"
#include "support/moved.h"

enum { IMAGES = 7, BATCH = 3, SIZE = 32, DRAWS = 4 }; /* the last batch is not full */

static char folder[FOLDER_PATH], path[IMAGES][FOLDER_PATH + 64], *paths[IMAGES];

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  for (int i = 0; i < IMAGES; i++) {
    char name[32];
    snprintf(name, sizeof name, "%02d.png", i);
    folder_noise(folder, name, 40 + i, 47 - i, (uint32_t)i);
    snprintf(path[i], sizeof path[i], "%s/%s", folder, name);
    paths[i] = path[i];
  }
  return 0;
}

static int teardown(void **state) {
  (void)state;
  folder_remove(folder);
  return 0;
}

struct features {
  real *pooled, *map;
  ptrdiff_t pooled_size, map_size;
};

/* Statistics unlike those of a fresh network, so that the norms count. */
static void set_state(struct extractor *e) {
  for (int i = 0; i < e->net.parameters; i++) {
    const struct parameter *p = &e->net.parameter[i];
    real *x = test_reals(p->size);
    init_parameter(p, i, 11, 0, x);
    if (p->role != ROLE_WEIGHT) {
      struct philox g = philox_stream(1, PHILOX_TEST, 1, (uint32_t)i, 0);
      for (ptrdiff_t j = 0; j < p->size; j++) x[j] += (real)(philox_uniform(&g) / 2);
    }
    e->backend->upload(e->state + p->offset, x, (size_t)p->size * sizeof *x);
    free(x);
  }
}

static struct features extract(const struct backend *b) {
  struct architecture arch;
  struct extractor e;
  struct error err;
  const struct feature_view view = {.form = PREPROCESS_EVAL, .resize = SIZE + 4};
  if (!architecture_named("small", &arch)) abort();
  arch.base_width = 4;
  if (!extractor_create(&e, b, &arch, BATCH, SIZE, SIZE, &err)) fail_msg("%s", err.text);
  set_state(&e);
  struct features f = {.pooled_size = IMAGES * e.channels, .map_size = IMAGES * e.map_h * e.map_w * e.channels};
  f.pooled = test_reals(f.pooled_size), f.map = test_reals(f.map_size);
  if (!extractor_run(&e, IMAGES, paths, &view, f.pooled, f.map, NULL, NULL, &err)) fail_msg("%s", err.text);
  extractor_free(&e);
  return f;
}

static void features_free(struct features *f) { free(f->pooled), free(f->map); }

static void features_are_the_reference_s(void **state) {
  (void)state;
  struct features got = extract(device_backend()), expected = extract(backend_reference());
  double pooled = 0, map = 0;
  for (uint32_t d = 0; d < DRAWS; d++) {
    struct features moved_features = extract(backend_moved(d));
    pooled = fmax(pooled, moved_apart(moved_features.pooled, expected.pooled, expected.pooled_size));
    map = fmax(map, moved_apart(moved_features.map, expected.map, expected.map_size));
    features_free(&moved_features);
  }
  /* and a spacing of floats at the largest element: rounding to the neighbour is always allowed */
  pooled += FLT_EPSILON * test_max_abs(expected.pooled, expected.pooled_size);
  map += FLT_EPSILON * test_max_abs(expected.map, expected.map_size);
  double off = moved_apart(got.pooled, expected.pooled, expected.pooled_size),
         off_map = moved_apart(got.map, expected.map, expected.map_size);
  if (!(off <= pooled)) fail_msg("pooled features are off by %.3g, allowed %.3g", off, pooled);
  if (!(off_map <= map)) fail_msg("the map is off by %.3g, allowed %.3g", off_map, map);
  features_free(&got), features_free(&expected);
  device_end();
}

/* Convolutions with the norms behind them as one operation, against one after the other. */
static void joining_changes_no_bit(void **state) {
  (void)state;
  struct backend apart = *device_backend();
  assert_non_null(apart.conv_norm_forward_eval);
  apart.conv_norm_forward_eval = NULL;
  struct features one = extract(device_backend()), two = extract(&apart);
  assert_memory_equal(one.pooled, two.pooled, (size_t)one.pooled_size * sizeof(real));
  assert_memory_equal(one.map, two.map, (size_t)one.map_size * sizeof(real));
  features_free(&one), features_free(&two);
  device_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(features_are_the_reference_s), cmocka_unit_test(joining_changes_no_bit)};
  return cmocka_run_group_tests_name("cuda features", tests, setup, teardown);
}
