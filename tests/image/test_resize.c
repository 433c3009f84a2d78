/* The resize: exact answers, and the fast form against the definition written plainly.
 *
 * u is the unit roundoff of real. Bounds are counts of roundings on the way times the largest magnitude met. */
#include "image/augment.h"

#include <math.h>
#include <string.h>

#include "image/pixels.h"
#include "support/cmocka.h"
#include "support/support.h"

static const double u = REAL_ROUNDOFF;

/* The definition, in double: every weight of the window, no fixed number of taps. w: n_out x n_in. */
static double *plain_weights(int n_in, int n_out, bool antialias) {
  double *w = malloc((size_t)n_in * (size_t)n_out * sizeof *w), s = antialias && n_in > n_out ? (double)n_in / n_out : 1;
  if (!w) abort();
  for (int i = 0; i < n_out; i++) {
    double c = (i + 0.5) * n_in / n_out, sum = 0;
    for (int j = 0; j < n_in; j++) {
      double x = fabs((j + 0.5 - c) / s);
      w[i * n_in + j] = x < 1 ? 1.5 * x * x * x - 2.5 * x * x + 1 : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
      sum += w[i * n_in + j];
    }
    for (int j = 0; j < n_in; j++) w[i * n_in + j] /= sum;
  }
  return w;
}

/* Roundings of a result of the resize: each of the two sums has taps products, sums and rounded weights, of sums of |weight| below 1.5 (the
 * cubic's negative lobes), then one division. Plus as much again in double for the expected value, which is nothing in float. */
static double resize_bound(int window_h, int window_w, int size_h, int size_w) {
  double taps = 4 * fmax(1, (double)window_h / size_h) + 1 + 4 * fmax(1, (double)window_w / size_w) + 1;
  return (taps * 3 + 2) * 1.5 * 1.5 * u + 64 * 0x1p-53;
}

static void resize_is_the_definition(void **state) {
  (void)state;
  static const struct {
    int height, width, top, left, h, w, size_h, size_w;
  } shape[] = {{20, 30, 0, 0, 20, 30, 20, 30}, {20, 30, 3, 5, 13, 17, 32, 32}, {64, 48, 1, 2, 60, 45, 16, 16},
               {90, 120, 5, 0, 85, 120, 7, 9}, {5, 5, 2, 2, 1, 1, 8, 8},       {9, 4, 0, 1, 9, 2, 3, 11},
               {33, 65, 0, 0, 33, 65, 32, 64}, {3, 3, 0, 0, 3, 3, 1, 1}};
  for (size_t k = 0; k < 2 * sizeof shape / sizeof shape[0]; k++) {
    int height = shape[k / 2].height, width = shape[k / 2].width, top = shape[k / 2].top, left = shape[k / 2].left, h = shape[k / 2].h,
        w = shape[k / 2].w, size_h = shape[k / 2].size_h, size_w = shape[k / 2].size_w;
    bool antialias = k % 2;
    uint8_t *rgb = random_bytes(height, width, (uint32_t)k);
    double *rows = plain_weights(h, size_h, antialias), *columns = plain_weights(w, size_w, antialias);
    ptrdiff_t n = (ptrdiff_t)size_h * size_w * 3;
    real *want = test_reals(n), *got = test_reals(n), *scratch = test_reals(augment_resize_scratch(h, w, size_h, size_w));
    for (int i = 0; i < size_h; i++)
      for (int j = 0; j < size_w; j++)
        for (int c = 0; c < 3; c++) {
          double sum = 0;
          for (int a = 0; a < h; a++)
            for (int b = 0; b < w; b++) sum += rows[i * h + a] * columns[j * w + b] * rgb[((top + a) * width + left + b) * 3 + c] / 255.0;
          want[(i * size_w + j) * 3 + c] = (real)sum;
        }
    augment_resize(rgb, height, width, top, left, h, w, size_h, size_w, antialias, false, got, scratch);
    assert_all_close(got, want, n, resize_bound(h, w, size_h, size_w));
    for (ptrdiff_t i = 0; i < n; i++) want[i] = (real)fmin(1, fmax(0, (double)got[i]));
    augment_resize(rgb, height, width, top, left, h, w, size_h, size_w, antialias, true, got, scratch);
    assert_all_equal(got, want, n);
    free(rgb), free(rows), free(columns), free(want), free(got), free(scratch);
  }
}

static void the_same_size_is_an_exact_copy(void **state) {
  (void)state;
  uint8_t *rgb = random_bytes(19, 23, 1);
  real *want = test_reals(19 * 23 * 3), *got = test_reals(19 * 23 * 3), *scratch = test_reals(augment_resize_scratch(19, 23, 19, 23));
  for (int i = 0; i < 19 * 23 * 3; i++) want[i] = (real)rgb[i] / 255;
  for (int antialias = 0; antialias < 2; antialias++) {
    augment_resize(rgb, 19, 23, 0, 0, 19, 23, 19, 23, antialias, false, got, scratch);
    assert_all_equal(got, want, 19 * 23 * 3);
  }
  free(rgb), free(want), free(got), free(scratch);
}

static void flat_stays_flat(void **state) {
  (void)state;
  uint8_t rgb[40 * 50 * 3];
  for (int i = 0; i < 40 * 50 * 3; i++) rgb[i] = (uint8_t)(50 + 70 * (i % 3));
  static const int size[][2] = {{7, 5}, {40, 50}, {64, 100}, {1, 1}};
  for (int k = 0; k < 8; k++) {
    int h = size[k / 2][0], w = size[k / 2][1];
    real *y = test_reals(h * w * 3), *scratch = test_reals(augment_resize_scratch(40, 50, h, w));
    augment_resize(rgb, 40, 50, 0, 0, 40, 50, h, w, k % 2, true, y, scratch);
    for (int i = 0; i < h * w; i++) assert_pixel(y + 3 * i, 50 / 255.0, 120 / 255.0, 190 / 255.0, resize_bound(40, 50, h, w));
    free(y), free(scratch);
  }
}

/* Of all of Keys' cubics, a = -1/2 is the one that reproduces a quadratic: f(j + 1/2) = j^2 becomes (c - 1/2)^2. Rows and columns. */
static void a_quadratic_is_reproduced_inside(void **state) {
  (void)state;
  uint8_t rgb[16 * 16 * 3];
  enum { SIZE = 40 };
  real *y = test_reals(SIZE * SIZE * 3), *scratch = test_reals(augment_resize_scratch(16, 16, SIZE, SIZE));
  for (int vertical = 0; vertical < 2; vertical++) {
    for (int i = 0; i < 16 * 16 * 3; i++) {
      int j = vertical ? i / (16 * 3) : i / 3 % 16;
      rgb[i] = (uint8_t)(j * j);
    }
    augment_resize(rgb, 16, 16, 0, 0, 16, 16, SIZE, SIZE, false, false, y, scratch);
    for (int i = 0; i < SIZE * SIZE; i++) {
      double c = ((vertical ? i / SIZE : i % SIZE) + 0.5) * 16 / SIZE;
      if (c < 2 || c > 14) continue; /* taps outside are dropped there */
      double want = (c - 0.5) * (c - 0.5) / 255;
      assert_pixel(y + 3 * i, want, want, want, resize_bound(16, 16, SIZE, SIZE));
    }
  }
  free(y), free(scratch);
}

static void nothing_outside_the_window_matters(void **state) {
  (void)state;
  uint8_t *a = random_bytes(30, 40, 1), *b = random_bytes(30, 40, 2);
  for (int row = 4; row < 24; row++) memcpy(b + (row * 40 + 7) * 3, a + (row * 40 + 7) * 3, 25 * 3);
  real *y = test_reals(16 * 16 * 3), *z = test_reals(16 * 16 * 3), *scratch = test_reals(augment_resize_scratch(20, 25, 16, 16));
  augment_resize(a, 30, 40, 4, 7, 20, 25, 16, 16, true, false, y, scratch);
  augment_resize(b, 30, 40, 4, 7, 20, 25, 16, 16, true, false, z, scratch);
  assert_all_equal(y, z, 16 * 16 * 3);
  free(a), free(b), free(y), free(z), free(scratch);
}

static void a_part_is_cut_from_the_whole(void **state) {
  (void)state;
  uint8_t *rgb = random_bytes(30, 40, 3);
  real *whole = test_reals(20 * 24 * 3), *part = test_reals(9 * 7 * 3), *scratch = test_reals(augment_resize_scratch(30, 40, 20, 24));
  augment_resize(rgb, 30, 40, 0, 0, 30, 40, 20, 24, true, false, whole, scratch);
  augment_resize_part(rgb, 30, 40, 0, 0, 30, 40, 20, 24, 5, 11, 9, 7, true, false, part, scratch);
  for (int row = 0; row < 9; row++) assert_all_equal(part + row * 7 * 3, whole + ((5 + row) * 24 + 11) * 3, 7 * 3);
  free(rgb), free(whole), free(part), free(scratch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(resize_is_the_definition),
      cmocka_unit_test(the_same_size_is_an_exact_copy),
      cmocka_unit_test(flat_stays_flat),
      cmocka_unit_test(a_quadratic_is_reproduced_inside),
      cmocka_unit_test(nothing_outside_the_window_matters),
      cmocka_unit_test(a_part_is_cut_from_the_whole),
  };
  return cmocka_run_group_tests_name("resize", tests, NULL, NULL);
}
