/* How many kernels the views of a batch take. */
#include "cuda/augment.h"
#include "cuda/device.h"
#include "cuda/shim_control.h"

enum { MOST = 128, SIZE = 5, HEIGHT = 6, WIDTH = 7, GROUP = 64 };

/* The first `blurred` of so many views, their taps from one number to another in turn. */
static int64_t kernels_of(int views, int blurred, int taps, int last_taps) {
  static struct augment_item item[MOST];
  static const uint8_t image[HEIGHT * WIDTH * 3];
  const ptrdiff_t n = SIZE * SIZE * 3;
  const uint8_t *rgb = device_from_bytes(image, sizeof image);
  real *y = device_reals(views * n);
  for (int k = 0; k < views; k++) {
    item[k] = (struct augment_item){{.size = SIZE, .height = HEIGHT, .width = WIDTH}, rgb, HEIGHT, WIDTH, y + k * n};
    item[k].view.sigma = k < blurred ? 1 + k : 0, item[k].view.taps = taps + 2 * (k % ((last_taps - taps) / 2 + 1));
  }
  void *scratch = device_scratch(cuda_augment_scratch(views, item));
  int64_t before = shim_counts.kernels;
  cuda_augment_apply(views, item, scratch);
  int64_t kernels = shim_counts.kernels - before;
  device_end();
  return kernels;
}

/* As many for 64 views as for one, whatever their taps; none where none is blurred. 157 taps are those of views of 1579 pixels. */
static void blurs_of_many_views_are_two_kernels(void **state) {
  (void)state;
  device_backend();
  static const int taps[][2] = {{1, 1}, {23, 23}, {1, 23}, {157, 157}};
  const int64_t sharp = kernels_of(1, 0, 23, 23);
  assert_int_equal(kernels_of(GROUP, 0, 23, 23), sharp);
  for (int t = 0; t < 4; t++)
    for (int blurred = 1; blurred <= GROUP; blurred = 2 * blurred + 1) /* 1, 3, 7, ... 63 */
      assert_int_equal(kernels_of(GROUP, blurred, taps[t][0], taps[t][1]), sharp + 2);
  assert_int_equal(kernels_of(GROUP, GROUP, 1, 157), sharp + 2);
  assert_int_equal(kernels_of(MOST, MOST, 23, 23), 2 * (sharp + 2));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(blurs_of_many_views_are_two_kernels)};
  return cmocka_run_group_tests_name("cuda augmentation on the shim", tests, NULL, NULL);
}
