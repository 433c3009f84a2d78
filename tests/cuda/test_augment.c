/* Augmentation's twin has the reference's bits: whole views as they are drawn in both forms of the jitter, and each step alone. */
#include "base/size.h"
#include "cuda/augment.h"
#include "cuda/device.h"

enum { SIZE = 21, IMAGES = 3, MOST = 70 /* more than a group */ };

static const int height[IMAGES] = {30, 17, 64}, width[IMAGES] = {47, 19, 25};
static uint8_t *image[IMAGES], *device_image[IMAGES];

/* Noise with patches of grey, black, white and primaries, where maxima tie. */
static void make_images(void) {
  for (int i = 0; i < IMAGES; i++) {
    ptrdiff_t pixels = (ptrdiff_t)height[i] * width[i];
    struct philox g = philox_stream(1, PHILOX_TEST, 1, (uint32_t)i, 0);
    if (!(image[i] = malloc((size_t)pixels * 3))) abort();
    for (ptrdiff_t p = 0; p < pixels; p++) {
      int patch = (int)(p / width[i] / 6 + p % width[i] / 6) % 4;
      for (int c = 0; c < 3; c++) {
        uint8_t noise = (uint8_t)philox_below(&g, 256);
        image[i][3 * p + c] = patch == 0 ? noise : patch == 1 ? (uint8_t)(255 * (p / 7 >> c & 1)) : patch == 2 ? (uint8_t)(p % 251) : 200;
      }
    }
    device_image[i] = device_from_bytes(image[i], (size_t)pixels * 3);
  }
}

/* Views k of the images in turn, all at once on the device and one by one in the reference. */
static void compare(int count, const struct view *view) {
  static struct augment_item item[MOST];
  int size = view->size;
  ptrdiff_t n = (ptrdiff_t)size * size * 3;
  make_images();
  real *expected = test_reals(count * n);
  real *y = device_reals(count * n);
  for (int k = 0; k < count; k++) {
    int i = k % IMAGES;
    item[k] = (struct augment_item){view[k], device_image[i], height[i], width[i], y + k * n};
    ptrdiff_t room = size_max(augment_scratch(height[i], width[i], size), augment_blur_scratch(size, size, view[k].taps));
    real *scratch = malloc((size_t)room * sizeof *scratch);
    if (!scratch) abort();
    augment_apply(&view[k], image[i], height[i], width[i], expected + k * n, scratch);
    free(scratch);
  }
  cuda_augment_apply(count, item, device_scratch(cuda_augment_scratch(count, item)));
  assert_same_bits(y, expected, count * n);
  free(expected);
  for (int i = 0; i < IMAGES; i++) free(image[i]);
  device_end();
}

/* Both distributions of BYOL in all forms, as the loader draws them; more than a group. */
static void drawn_views_have_the_same_bits(void **state) {
  (void)state;
  device_backend();
  static const enum jitter_form form[] = {JITTER_BYOL, JITTER_TORCHVISION, JITTER_NONE};
  for (int f = 0; f < 3; f++) {
    struct view view[MOST];
    int blurred = 0, jittered = 0, solarised = 0, grey = 0, flipped = 0;
    for (int k = 0; k < MOST; k++) {
      struct augmentation a = augmentation_byol(k % 2, SIZE);
      a.form = form[f], a.antialias = k % 3 > 0, a.blur = 0.3; /* many of each kind in few views */
      view[k] = augment_draw(&a, height[k % IMAGES], width[k % IMAGES], 5, (uint32_t)f, (uint32_t)k, k % 2);
      blurred += view[k].sigma > 0, jittered += view[k].form != JITTER_NONE;
      solarised += view[k].solarise, grey += view[k].grey, flipped += view[k].flip;
    }
    assert_true(blurred > 0 && (jittered > 0) == (f < 2) && solarised > 0 && grey > 0 && flipped > 0);
    compare(MOST, view);
  }
}

/* Windows of one pixel, of one row, enlarged and reduced, at the far corner; the same size, which is an exact copy. */
static void every_window_is_resized_alike(void **state) {
  (void)state;
  device_backend();
  static const struct {
    int top, left, height, width;
  } window[] = {{0, 0, 1, 1}, {16, 18, 1, 1}, {3, 0, 1, 19}, {0, 4, 17, 1}, {2, 3, 5, 7}, {0, 0, 17, 19}};
  for (int size = 1; size <= 19; size += 6) {
    struct view view[12];
    for (int k = 0; k < 12; k++) {
      view[k] = (struct view){.size = size, .antialias = k % 2, .taps = augment_taps(size), .flip = k % 4 > 1};
      view[k].top = window[k / 2].top, view[k].left = window[k / 2].left;
      view[k].height = window[k / 2].height, view[k].width = window[k / 2].width;
    }
    compare(12, view);
  }
}

/* Each step of each form with values at and beyond their ends, in every place of the order. */
static void every_step_of_the_jitter_is_alike(void **state) {
  (void)state;
  device_backend();
  static const double value[] = {0, 1, -0.4, 1.4, 0.37};
  for (int form = JITTER_BYOL; form <= JITTER_TORCHVISION; form++) {
    struct view view[20];
    for (int k = 0; k < 20; k++) {
      int step = k / 5;
      bool one = form == JITTER_TORCHVISION; /* what leaves the image as it is */
      view[k] = (struct view){.size = SIZE, .antialias = true, .height = 16, .width = 17, .form = (enum jitter_form)form};
      for (int i = 0; i < 4; i++) view[k].order[i] = (enum jitter_step)((i + k) % 4);
      view[k].brightness = step == 0 ? value[k % 5] : one, view[k].contrast = step == 1 ? value[k % 5] : 1;
      view[k].saturation = step == 2 ? value[k % 5] : 1, view[k].hue = step == 3 ? value[k % 5] : 0;
    }
    compare(20, view);
  }
}

/* Wider than the image, and hardly a blur at all. */
static void blurs_are_alike(void **state) {
  (void)state;
  device_backend();
  struct view view[64];
  for (int k = 0; k < 6; k++)
    view[k] = (struct view){
        .size = 9, .antialias = true, .height = 12, .width = 15, .sigma = k % 3 ? 2.0 * (k % 3) : 0.1, .taps = k < 3 ? 23 : 1};
  compare(6, view);
  /* so wide that a launch has no room for the weights of all */
  for (int k = 0; k < 64; k++)
    view[k] = (struct view){.size = 9, .antialias = true, .height = 12, .width = 15, .sigma = k % 7 ? 20.0 + k : 0, .taps = 409};
  compare(64, view);
}

/* Of views that fit the bound, none needs more. */
static void scratch_is_bounded_by_the_size(void **state) {
  (void)state;
  struct augment_item item[MOST] = {0};
  for (int k = 0; k < MOST; k++)
    item[k].view = (struct view){.size = SIZE,
                                 .antialias = k % 2,
                                 .height = 1 + k * (AUGMENT_WINDOW * SIZE - 1) / (MOST - 1),
                                 .width = k % 3 ? AUGMENT_WINDOW * SIZE : 1 + k};
  for (int count = 1; count <= MOST; count++) assert_true(cuda_augment_scratch(count, item) <= cuda_augment_most_scratch(count, SIZE));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(drawn_views_have_the_same_bits), cmocka_unit_test(every_window_is_resized_alike),
                                     cmocka_unit_test(every_step_of_the_jitter_is_alike), cmocka_unit_test(blurs_are_alike),
                                     cmocka_unit_test(scratch_is_bounded_by_the_size)};
  return cmocka_run_group_tests_name("cuda augmentation", tests, NULL, NULL);
}
