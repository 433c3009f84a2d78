/* Convolution on tensor cores with tiles of every size: those that only products of many rows get. */
#include "cuda/classes.h"

/* Large tiles need many rows: the products of 1x1 over images of one line, of which the first and the last are looked at. Integers. */
static void large_tiles_are_sums_as_well(void **state) {
  (void)state;
  enum { ROWS = 16384, IMAGES = 8, NARROW = 64, WIDE = 128, DEPTH = 40 };
  for (int i = 0; i < 4 * CLASSES; i++) {
    const struct backend *c = class_of(i);
    bool back = i / CLASSES % 2;
    ptrdiff_t columns = i / CLASSES / 2 ? WIDE : NARROW, in = back ? columns : DEPTH, out = back ? DEPTH : columns;
    struct error err = {0};
    struct conv g, one;
    if (!conv_make(&g, IMAGES, 1, ROWS / IMAGES, in, out, 1, 1, 1, 0, &err)) fail_msg("%s", err.text);
    one = g, one.n = 1;
    ptrdiff_t from_image = ROWS / IMAGES * DEPTH, to_image = ROWS / IMAGES * columns;
    real *from = test_ints(IMAGES * from_image, INT_RANGE, 1), *w = test_ints(in * out, INT_RANGE, 2), *expected = test_reals(to_image);
    real *to = device_activations(c, IMAGES * to_image), *dev_from = device_activations_from(c, from, IMAGES * from_image);
    if (back)
      c->conv_backward_data(&g, dev_from, device_activations_from(c, w, in * out), to, false, NULL);
    else
      c->conv_forward(&g, dev_from, device_activations_from(c, w, in * out), to, NULL);
    real *got = device_read_activations(c, to, IMAGES * to_image);
    for (ptrdiff_t image = 0; image < IMAGES; image += IMAGES - 1) {
      if (back)
        conv_backward_data_plain(&one, from + image * from_image, w, expected, false);
      else
        conv_forward_plain(&one, from + image * from_image, w, expected);
      test_round_activations(c, expected, to_image);
      for (ptrdiff_t e = 0; e < to_image; e++)
        if (got[image * to_image + e] != expected[e])
          fail_msg("%s, %td columns: image %td [%td] is %g, expected %g", c->name, columns, image, e, (double)got[image * to_image + e],
                   (double)expected[e]);
    }
    for (ptrdiff_t e = 0; e < IMAGES * to_image; e++) assert_false(isnan(got[e]));
    free(from), free(w), free(expected), free(got);
    device_end();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(large_tiles_are_sums_as_well)};
  return cmocka_run_group_tests_name("cuda tensor tiles", tests, NULL, NULL);
}
