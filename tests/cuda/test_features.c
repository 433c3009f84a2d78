/* Features of images under a frozen backbone, on the CUDA table and on the reference, to the bit: what every evaluation starts from. */
#include "model/init.h"
#include "train/features.h"
#include "train/folder.h"

#include "cuda/device.h"

enum { IMAGES = 7, BATCH = 3, SIZE = 32 }; /* the last batch is not full */

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

static void compare(const struct backend *one, const struct backend *two) {
  struct features a = extract(one), b = extract(two);
  assert_memory_equal(a.pooled, b.pooled, (size_t)a.pooled_size * sizeof(real));
  assert_memory_equal(a.map, b.map, (size_t)a.map_size * sizeof(real));
  features_free(&a), features_free(&b);
  device_end();
}

static void features_are_the_reference_s(void **state) {
  (void)state;
  device_needs_fused_reference();
  compare(device_backend(), backend_reference());
}

/* Convolutions with the norms behind them as one operation, against one after the other. */
static void joining_changes_no_bit(void **state) {
  (void)state;
  struct backend apart = *device_backend();
  assert_non_null(apart.conv_norm_forward_eval);
  apart.conv_norm_forward_eval = NULL;
  compare(device_backend(), &apart);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(features_are_the_reference_s), cmocka_unit_test(joining_changes_no_bit)};
  return cmocka_run_group_tests_name("cuda features", tests, setup, teardown);
}
