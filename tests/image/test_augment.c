/* The steps of the augmentation: closed forms, and the fast forms against the definitions written plainly.
 *
 * u is the unit roundoff of real. Bounds are counts of roundings on the way times the largest magnitude met. */
#include "image/augment.h"

#include <string.h>

#include "image/pixels.h"
#include "support/cmocka.h"
#include "support/support.h"

static const double u = REAL_ROUNDOFF;

/* Pixels of every kind: noise, grey, black, white, primaries, ties of the maximum. */
static real *random_pixels(ptrdiff_t pixels, uint32_t stream) {
  real *x = test_reals(pixels * 3);
  struct philox g = philox_stream(1, PHILOX_TEST, 3, stream, 0);
  for (ptrdiff_t i = 0; i < pixels; i++) {
    uint32_t kind = philox_below(&g, 6);
    for (int c = 0; c < 3; c++) x[3 * i + c] = (real)(float)philox_uniform(&g);
    if (kind == 0) x[3 * i + 1] = x[3 * i + 2] = x[3 * i];
    if (kind == 1)
      for (int c = 0; c < 3; c++) x[3 * i + c] = (real)philox_below(&g, 2);
    if (kind == 2) x[3 * i + philox_below(&g, 3)] = x[3 * i];
  }
  return x;
}

/* ---- flip, blur, solarise, normalise --------------------------------------------------------------------------------------------------*/

static void flip_mirrors_rows(void **state) {
  (void)state;
  for (int width = 1; width < 7; width++) {
    real *x = random_pixels(3 * width, 1), *y = random_pixels(3 * width, 1);
    augment_flip(3, width, y);
    for (int row = 0; row < 3; row++)
      for (int col = 0; col < width; col++) assert_all_equal(y + (row * width + col) * 3, x + (row * width + width - 1 - col) * 3, 3);
    free(x), free(y);
  }
}

/* A bright pixel becomes the outer product of the weights, so far as it lies inside. */
static void blur_of_a_point_is_its_weights(void **state) {
  (void)state;
  enum { H = 9, W = 50, TAPS = 7 };
  double weight[TAPS], sum = 0, sigma = 1.3;
  for (int i = 0; i < TAPS; i++) sum += weight[i] = exp(-(i - 3) * (i - 3) / (2 * sigma * sigma));
  for (int at_h = 0; at_h < H; at_h += 4)
    for (int at_w = 0; at_w < W; at_w += 7) {
      real *x = test_reals(H * W * 3), *scratch = test_reals(augment_blur_scratch(H, W, TAPS));
      x[(at_h * W + at_w) * 3 + 1] = 1;
      augment_blur(sigma, TAPS, H, W, x, scratch);
      for (int i = 0; i < H * W; i++) {
        int dh = i / W - at_h + 3, dw = i % W - at_w + 3;
        double want = dh < 0 || dw < 0 || dh >= TAPS || dw >= TAPS ? 0 : weight[dh] * weight[dw] / (sum * sum);
        assert_pixel(x + 3 * i, 0, want, 0, 4 * u * want + 8 * 0x1p-53); /* two rounded weights and two products */
      }
      free(x), free(scratch);
    }
}

static void blur_darkens_a_flat_image_only_at_the_border(void **state) {
  (void)state;
  enum { H = 40, W = 60, TAPS = 23 };
  real *x = test_reals(H * W * 3), *scratch = test_reals(augment_blur_scratch(H, W, TAPS));
  for (int i = 0; i < H * W * 3; i++) x[i] = (real)0.75;
  augment_blur(2, TAPS, H, W, x, scratch);
  for (int i = 0; i < H * W; i++) {
    int row = i / W, col = i % W;
    bool inside = row >= TAPS / 2 && col >= TAPS / 2 && row < H - TAPS / 2 && col < W - TAPS / 2;
    if (inside) assert_pixel(x + 3 * i, 0.75, 0.75, 0.75, 2 * (2 * TAPS + 1) * u); /* two sums of TAPS rounded weights and products */
    if (row == 0 || col == 0 || row == H - 1 || col == W - 1) assert_true(x[3 * i] < (real)0.5);
  }
  free(x), free(scratch);
}

/* Weights beside the middle are exp(-1 / (2 sigma^2)) = 10^-217: they vanish against it, and the middle weighs exactly 1. */
static void a_narrow_blur_changes_nothing(void **state) {
  (void)state;
  real *x = random_pixels(12 * 70, 4), *y = random_pixels(12 * 70, 4), *scratch = test_reals(augment_blur_scratch(12, 70, 23));
  augment_blur(0.03162, 23, 12, 70, y, scratch);
  assert_all_close(y, x, 12 * 70 * 3, 0x1p-500);
  free(x), free(y), free(scratch);
}

static void solarise_turns_at_one_half(void **state) {
  (void)state;
  real below = (real)0.5 - (real)(u / 2), x[] = {0, below, (real)0.5, (real)0.75, 1};
  assert_true(below < (real)0.5);
  const real want[] = {0, below, (real)0.5, (real)0.25, 0};
  augment_solarise(5, x);
  assert_all_equal(x, want, 5);
}

static void clip_keeps_the_unit_interval(void **state) {
  (void)state;
  real x[] = {-1, (real)-1e-9, 0, (real)0.3, 1, (real)1.5};
  const real want[] = {0, 0, 0, (real)0.3, 1, 1};
  augment_clip(6, x);
  assert_all_equal(x, want, 6);
}

static void normalise_takes_mean_to_0_and_a_deviation_to_1(void **state) {
  (void)state;
  real x[] = {(real)0.485, (real)0.456, (real)0.406, (real)(0.485 + 0.229), (real)(0.456 + 0.224), (real)(0.406 + 0.225)};
  augment_normalise(2, x);
  assert_pixel(x, 0, 0, 0, 0);
  assert_pixel(x + 3, 1, 1, 1, 4 * u / 0.224); /* the sum, the mean and the difference round below 1, then the division by 0.224 */
}

/* ---- colour ---------------------------------------------------------------------------------------------------------------------------*/

enum { PIXELS = 1003 }; /* not a multiple of any vector */

static void grey_is_the_weighted_sum(void **state) {
  (void)state;
  real *x = random_pixels(PIXELS, 5), *y = random_pixels(PIXELS, 5);
  augment_grey(PIXELS, y);
  for (int i = 0; i < PIXELS; i++) {
    double grey = 0.2989 * (double)x[3 * i] + 0.587 * (double)x[3 * i + 1] + 0.114 * (double)x[3 * i + 2];
    assert_pixel(y + 3 * i, grey, grey, grey, 8 * u); /* three weights, three products, two sums, below 1 */
  }
  free(x), free(y);
}

/* The textbook's way there and back (Smith 1978), in double. */
static void plain_hsv(double x[3], double hue, double saturation) {
  double v = fmax(x[0], fmax(x[1], x[2])), d = v - fmin(x[0], fmin(x[1], x[2])), s = v > 0 ? d / v : 0, h = 0;
  if (d > 0) h = v == x[0] ? (x[1] - x[2]) / (6 * d) : v == x[1] ? 1.0 / 3 + (x[2] - x[0]) / (6 * d) : 2.0 / 3 + (x[0] - x[1]) / (6 * d);
  h += hue;
  h -= floor(h);
  s = fmin(1, fmax(0, s * saturation));
  int sector = (int)floor(6 * h) % 6;
  double f = 6 * h - floor(6 * h), p = v * (1 - s), q = v * (1 - s * f), t = v * (1 - s * (1 - f));
  const double rgb[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
  for (int c = 0; c < 3; c++) x[c] = fmin(1, fmax(0, rgb[sector][c]));
}

/* The hue in sixths, below 8, takes 8 roundings, and so does the way back, times d <= 1. In double the expected value does as much. */
static const double hsv_bound = 16 * 8 * REAL_ROUNDOFF;

static void hue_and_saturation_are_those_of_hsv(void **state) {
  (void)state;
  static const double value[] = {0, 0.1, -0.1, 0.5, 0.8, 1.2, 1.0 / 3, 3, 1};
  for (int k = 0; k < 18; k++) {
    double v = value[k / 2];
    bool hue = k % 2;
    real *x = random_pixels(PIXELS, 6), *y = random_pixels(PIXELS, 6);
    augment_jitter(JITTER_BYOL, hue ? JITTER_HUE : JITTER_SATURATION, v, PIXELS, y);
    for (int i = 0; i < PIXELS; i++) {
      double want[3] = {(double)x[3 * i], (double)x[3 * i + 1], (double)x[3 * i + 2]};
      plain_hsv(want, hue ? v : 0, hue ? 1 : v);
      assert_pixel(y + 3 * i, want[0], want[1], want[2], hsv_bound);
    }
    free(x), free(y);
  }
}

static void hue_by_a_third_permutes_the_channels(void **state) {
  (void)state;
  real *x = random_pixels(PIXELS, 7), *y = random_pixels(PIXELS, 7), primary[] = {1, 0, 0};
  augment_jitter(JITTER_TORCHVISION, JITTER_HUE, 1.0 / 3, PIXELS, y);
  for (int i = 0; i < PIXELS; i++) assert_pixel(y + 3 * i, (double)x[3 * i + 2], (double)x[3 * i], (double)x[3 * i + 1], hsv_bound);
  augment_jitter(JITTER_BYOL, JITTER_HUE, 1.0 / 3, 1, primary);
  assert_pixel(primary, 0, 1, 0, hsv_bound);
  free(x), free(y);
}

static void saturation_0_takes_all_colour(void **state) {
  (void)state;
  real *x = random_pixels(PIXELS, 8), *y = random_pixels(PIXELS, 8), *z = random_pixels(PIXELS, 8);
  augment_jitter(JITTER_BYOL, JITTER_SATURATION, 0, PIXELS, y);
  augment_jitter(JITTER_TORCHVISION, JITTER_SATURATION, 0, PIXELS, z);
  for (int i = 0; i < PIXELS; i++) {
    double high = fmax((double)x[3 * i], fmax((double)x[3 * i + 1], (double)x[3 * i + 2]));
    assert_pixel(y + 3 * i, high, high, high, 0);
  }
  augment_grey(PIXELS, x);
  assert_all_equal(z, x, PIXELS * 3);
  free(x), free(y), free(z);
}

static void saturation_of_torchvision_blends_with_grey(void **state) {
  (void)state;
  real *x = random_pixels(PIXELS, 12), *y = random_pixels(PIXELS, 12);
  augment_jitter(JITTER_TORCHVISION, JITTER_SATURATION, 1.2, PIXELS, y);
  for (int i = 0; i < PIXELS; i++) {
    double grey = 0.2989 * (double)x[3 * i] + 0.587 * (double)x[3 * i + 1] + 0.114 * (double)x[3 * i + 2], want[3];
    for (int c = 0; c < 3; c++) want[c] = fmin(1, fmax(0, 1.2 * (double)x[3 * i + c] - 0.2 * grey));
    assert_pixel(y + 3 * i, want[0], want[1], want[2], 16 * 1.2 * u); /* the 8 of the grey, the two factors, two products, the sum */
  }
  free(x), free(y);
}

static void brightness_adds_or_scales(void **state) {
  (void)state;
  for (int k = 0; k < 4; k++) {
    bool byol = k % 2;
    double v = byol ? (k < 2 ? 0.375 : -0.25) : (k < 2 ? 0.625 : 1.375); /* exact in float */
    real *x = random_pixels(PIXELS, 9), *y = random_pixels(PIXELS, 9);
    augment_jitter(byol ? JITTER_BYOL : JITTER_TORCHVISION, JITTER_BRIGHTNESS, v, PIXELS, y);
    for (int i = 0; i < PIXELS * 3; i++) x[i] = (real)fmin(1, fmax(0, byol ? (double)x[i] + v : (double)x[i] * v));
    assert_all_close(y, x, PIXELS * 3, 2 * u);
    free(x), free(y);
  }
}

/* About the mean of each channel, or of the grey image. The mean is in double; factor, product, addend and sum round once each, below 2. */
static void contrast_scales_about_the_mean(void **state) {
  (void)state;
  for (int k = 0; k < 4; k++) {
    bool byol = k % 2;
    double v = k < 2 ? 0.6 : 1.4, mean[3] = {0}, grey = 0;
    real *x = random_pixels(PIXELS, 10), *y = random_pixels(PIXELS, 10);
    for (int i = 0; i < PIXELS * 3; i++) mean[i % 3] += (double)x[i] / PIXELS;
    grey = 0.2989 * mean[0] + 0.587 * mean[1] + 0.114 * mean[2];
    augment_jitter(byol ? JITTER_BYOL : JITTER_TORCHVISION, JITTER_CONTRAST, v, PIXELS, y);
    for (int i = 0; i < PIXELS * 3; i++) {
      double m = byol ? mean[i % 3] : grey;
      x[i] = (real)fmin(1, fmax(0, v * ((double)x[i] - m) + m));
    }
    assert_all_close(y, x, PIXELS * 3, 6 * 2 * u + PIXELS * 0x1p-53);
    free(x), free(y);
  }
}

static void no_jitter_is_no_change(void **state) {
  (void)state;
  real *x = random_pixels(PIXELS, 11), *y = random_pixels(PIXELS, 11);
  for (int step = JITTER_BRIGHTNESS; step <= JITTER_HUE; step++) augment_jitter(JITTER_NONE, (enum jitter_step)step, 0.3, PIXELS, y);
  augment_jitter(JITTER_TORCHVISION, JITTER_BRIGHTNESS, 1, PIXELS, y);
  augment_jitter(JITTER_BYOL, JITTER_BRIGHTNESS, 0, PIXELS, y);
  augment_jitter(JITTER_BYOL, JITTER_CONTRAST, 1, PIXELS, y);
  augment_jitter(JITTER_TORCHVISION, JITTER_CONTRAST, 1, PIXELS, y);
  augment_jitter(JITTER_TORCHVISION, JITTER_SATURATION, 1, PIXELS, y);
  assert_all_equal(y, x, PIXELS * 3);
  augment_jitter(JITTER_BYOL, JITTER_SATURATION, 1, PIXELS, y);
  assert_all_close(y, x, PIXELS * 3, 2 * u);
  augment_jitter(JITTER_BYOL, JITTER_HUE, 1, PIXELS, y);
  assert_all_close(y, x, PIXELS * 3, hsv_bound);
  free(x), free(y);
}

/* ---- whole views ----------------------------------------------------------------------------------------------------------------------*/

static struct view everything(enum jitter_form form) {
  return (struct view){.size = 64,
                       .top = 5,
                       .left = 9,
                       .height = 70,
                       .width = 90,
                       .antialias = true,
                       .flip = true,
                       .grey = false,
                       .solarise = true,
                       .form = form,
                       .order = {JITTER_HUE, JITTER_BRIGHTNESS, JITTER_SATURATION, JITTER_CONTRAST},
                       .brightness = form == JITTER_BYOL ? 0.125 : 1.125,
                       .contrast = 1.25,
                       .saturation = 0.875,
                       .hue = -0.0625,
                       .sigma = 1.5,
                       .taps = 7};
}

enum { H = 80, W = 110, SIZE = 64, VIEW = SIZE * SIZE * 3 };

/* The view is its steps in the order of the paper; scratch is not used beyond its size, and the order of the jitter is the drawn one. */
static void a_view_is_its_steps_in_order(void **state) {
  (void)state;
  uint8_t *rgb = random_bytes(H, W, 20);
  ptrdiff_t size = augment_scratch(H, W, SIZE);
  real *y = test_reals(VIEW + 1), *z = test_reals(VIEW), *scratch = test_reals(size + 1);
  for (int k = 0; k < 3; k++) {
    struct view v = everything((enum jitter_form)k);
    v.grey = k == 0;
    y[VIEW] = scratch[size] = 77;
    augment_apply(&v, rgb, H, W, y, scratch);
    assert_true(y[VIEW] == 77 && scratch[size] == 77);
    augment_resize(rgb, H, W, v.top, v.left, v.height, v.width, SIZE, SIZE, true, true, z, scratch);
    augment_flip(SIZE, SIZE, z);
    augment_jitter(v.form, JITTER_HUE, v.hue, SIZE * SIZE, z);
    augment_jitter(v.form, JITTER_BRIGHTNESS, v.brightness, SIZE * SIZE, z);
    augment_jitter(v.form, JITTER_SATURATION, v.saturation, SIZE * SIZE, z);
    augment_jitter(v.form, JITTER_CONTRAST, v.contrast, SIZE * SIZE, z);
    if (v.grey) augment_grey(SIZE * SIZE, z);
    augment_blur(v.sigma, v.taps, SIZE, SIZE, z, scratch);
    augment_solarise(VIEW, z);
    augment_clip(VIEW, z);
    augment_normalise(SIZE * SIZE, z);
    assert_all_equal(y, z, VIEW);
  }
  free(rgb), free(y), free(z), free(scratch);
}

/* H x W = 80 x 110 to 72 x 99, crop 64 at round(4) and round(17.5) = 18; turned round, 99 x 72. round(16.5) = 16 with 97. */
static void evaluation_is_a_central_crop(void **state) {
  (void)state;
  static const struct {
    int height, width, resize, h, w, top, left;
  } shape[] = {{80, 110, 72, 72, 99, 4, 18}, {110, 80, 72, 99, 72, 18, 4}, {80, 108, 72, 72, 97, 4, 16}, {50, 50, 64, 64, 64, 0, 0}};
  for (size_t k = 0; k < sizeof shape / sizeof shape[0]; k++) {
    int height = shape[k].height, width = shape[k].width, h = shape[k].h, w = shape[k].w;
    uint8_t *rgb = random_bytes(height, width, 30);
    ptrdiff_t size = augment_scratch(height, width, SIZE);
    real *y = test_reals(VIEW), *whole = test_reals(h * w * 3), *scratch = test_reals(size + 1);
    real *whole_scratch = test_reals(augment_resize_scratch(height, width, h, w));
    scratch[size] = 77;
    augment_eval(shape[k].resize, SIZE, rgb, height, width, y, scratch);
    assert_true(scratch[size] == 77);
    augment_resize(rgb, height, width, 0, 0, height, width, h, w, true, true, whole, whole_scratch);
    augment_normalise(h * w, whole);
    for (int row = 0; row < SIZE; row++)
      assert_all_equal(y + row * SIZE * 3, whole + ((shape[k].top + row) * w + shape[k].left) * 3, SIZE * 3);
    free(rgb), free(y), free(whole), free(scratch), free(whole_scratch);
  }
}

/* The two precisions of the library, side by side; declared here because the header shows one at a time. */
void augment_apply_f32(const struct view *v, const uint8_t *rgb, int height, int width, float *y, float *scratch);
void augment_apply_f64(const struct view *v, const uint8_t *rgb, int height, int width, double *y, double *scratch);
ptrdiff_t augment_scratch_f32(int height, int width, int size);
ptrdiff_t augment_scratch_f64(int height, int width, int size);

/* An error e of a pixel's channels becomes, at most: 1.25 e by contrast; 7 e by saturation or hue (V moves by e, d by 2 e, and with d the
 * hue's numerator and denominator by 2 e each); e by blur, flip, solarise and clip (all continuous); e / 0.224 by the normalisation. Each
 * step adds its own roundings, fewer than the blur's 2 (2 taps + 1) = 30, of the resize below 140 (resize_bound / u). */
static void float_follows_double(void **state) {
  (void)state;
  double own = 140 + 6 * 30, bound = own * 1.25 * 7 * 7 / 0.224 * 0x1p-24;
  uint8_t *rgb = random_bytes(H, W, 40);
  float *y = calloc(VIEW, sizeof *y), *s = calloc((size_t)augment_scratch_f32(H, W, SIZE), sizeof *s);
  double *z = calloc(VIEW, sizeof *z), *t = calloc((size_t)augment_scratch_f64(H, W, SIZE), sizeof *t), most = 0;
  assert_true(y && s && z && t);
  for (int form = JITTER_NONE; form <= JITTER_TORCHVISION; form++) {
    struct view v = everything((enum jitter_form)form);
    augment_apply_f32(&v, rgb, H, W, y, s);
    augment_apply_f64(&v, rgb, H, W, z, t);
    for (int i = 0; i < VIEW; i++) most = fmax(most, fabs((double)y[i] - z[i]));
  }
  if (!(most <= bound)) fail_msg("float and double differ by %g, allowed %g", most, bound);
  assert_true(most > 0); /* they are two computations */
  free(rgb), free(y), free(z), free(s), free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(flip_mirrors_rows),
      cmocka_unit_test(blur_of_a_point_is_its_weights),
      cmocka_unit_test(blur_darkens_a_flat_image_only_at_the_border),
      cmocka_unit_test(a_narrow_blur_changes_nothing),
      cmocka_unit_test(solarise_turns_at_one_half),
      cmocka_unit_test(clip_keeps_the_unit_interval),
      cmocka_unit_test(normalise_takes_mean_to_0_and_a_deviation_to_1),
      cmocka_unit_test(grey_is_the_weighted_sum),
      cmocka_unit_test(hue_and_saturation_are_those_of_hsv),
      cmocka_unit_test(hue_by_a_third_permutes_the_channels),
      cmocka_unit_test(saturation_0_takes_all_colour),
      cmocka_unit_test(saturation_of_torchvision_blends_with_grey),
      cmocka_unit_test(brightness_adds_or_scales),
      cmocka_unit_test(contrast_scales_about_the_mean),
      cmocka_unit_test(no_jitter_is_no_change),
      cmocka_unit_test(a_view_is_its_steps_in_order),
      cmocka_unit_test(evaluation_is_a_central_crop),
      cmocka_unit_test(float_follows_double),
  };
  return cmocka_run_group_tests_name("augment", tests, NULL, NULL);
}
