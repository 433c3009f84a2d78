/* The draws of a view: their distributions (bounds of six standard deviations: a fair generator fails one run in 10^8), their layout in the
 * stream, and that they depend on nothing else. */
#include "image/augment.h"

#include <string.h>

#include "support/cmocka.h"
#include "support/support.h"

enum { N = 20000, LARGE = 4096 };

static struct view draw(const struct augmentation *a, int height, int width, uint32_t sample) {
  return augment_draw(a, height, width, 7, 3, sample, 0);
}

/* Small crops of a large image: no attempt fails, and rounding to pixels moves the numbers little. */
static struct augmentation small_crops(void) {
  struct augmentation a = augmentation_byol(1, 224);
  a.area_max = 0.5; /* the widest is sqrt(0.5 * 4 / 3) = 0.82 of the image */
  return a;
}

static void assert_frequency(int count, int n, double p) {
  double sd = sqrt(p * (1 - p) / n);
  if (fabs((double)count / n - p) > 6 * sd) fail_msg("%d of %d, expected a share of %g +- %g", count, n, p, 6 * sd);
}

/* values: n draws, expected uniform in [min, max] up to `slack`. */
static void assert_uniform(const double *value, int n, double min, double max, double slack) {
  double sum = 0, least = value[0], most = value[0];
  int low = 0;
  for (int i = 0; i < n; i++) {
    assert_true(value[i] >= min - slack && value[i] <= max + slack);
    sum += value[i], least = fmin(least, value[i]), most = fmax(most, value[i]);
    low += value[i] < min + 0.25 * (max - min);
  }
  assert_true(fabs(sum / n - (min + max) / 2) <= 6 * (max - min) / sqrt(12.0 * n) + slack);
  assert_true(fabs((double)low / n - 0.25) <= 6 * sqrt(0.25 * 0.75 / n) + slack / (max - min));
  /* all n stay out of the outer 2 % at one end with probability 0.98^20000 = 10^-175 */
  assert_true(least < min + 0.02 * (max - min) + slack && most > max - 0.02 * (max - min) - slack);
}

static void probabilities(void **state) {
  (void)state;
  struct augmentation a = small_crops();
  int flip = 0, jitter = 0, grey = 0, blur = 0, solarise = 0;
  for (uint32_t i = 0; i < N; i++) {
    struct view v = draw(&a, LARGE, LARGE, i);
    flip += v.flip, jitter += v.form == JITTER_BYOL, grey += v.grey, blur += v.sigma > 0, solarise += v.solarise;
  }
  assert_frequency(flip, N, 0.5);
  assert_frequency(jitter, N, 0.8);
  assert_frequency(grey, N, 0.2);
  assert_frequency(blur, N, 0.1);
  assert_frequency(solarise, N, 0.2);
}

static void probability_zero_is_never_and_one_is_always(void **state) {
  (void)state;
  for (int p = 0; p <= 1; p++) {
    struct augmentation a = small_crops();
    a.flip = a.jitter = a.grey = a.blur = a.solarise = p;
    for (uint32_t i = 0; i < N; i++) {
      struct view v = draw(&a, LARGE, LARGE, i);
      assert_true(v.flip == p && (v.form != JITTER_NONE) == p && v.grey == p && (v.sigma > 0) == p && v.solarise == p);
    }
  }
}

static void values_are_uniform(void **state) {
  (void)state;
  static double brightness[N], contrast[N], saturation[N], hue[N], sigma[N];
  for (int form = JITTER_BYOL; form <= JITTER_TORCHVISION; form++) {
    struct augmentation a = small_crops();
    a.form = (enum jitter_form)form, a.blur = 1, a.contrast = 1.5; /* more than 1: torchvision's factor stops at 0 */
    for (uint32_t i = 0; i < N; i++) {
      struct view v = draw(&a, LARGE, LARGE, i);
      brightness[i] = v.brightness, contrast[i] = v.contrast, saturation[i] = v.saturation, hue[i] = v.hue, sigma[i] = v.sigma;
    }
    bool byol = form == JITTER_BYOL;
    assert_uniform(brightness, N, byol ? -0.4 : 0.6, byol ? 0.4 : 1.4, 0);
    assert_uniform(contrast, N, byol ? -0.5 : 0, 2.5, 0);
    assert_uniform(saturation, N, 0.8, 1.2, 0);
    assert_uniform(hue, N, -0.1, 0.1, 0);
    assert_uniform(sigma, N, 0.1, 2, 0);
  }
}

/* 24 orders, each with probability 1/24. */
static void every_order_is_equally_likely(void **state) {
  (void)state;
  struct augmentation a = small_crops();
  int count[256] = {0}, orders = 0;
  for (uint32_t i = 0; i < N; i++) {
    struct view v = draw(&a, LARGE, LARGE, i);
    unsigned seen = 0, code = 0;
    for (int k = 0; k < 4; k++) seen |= 1u << v.order[k], code = code * 4 + v.order[k];
    assert_int_equal(seen, 15);
    count[code]++;
  }
  for (int c = 0; c < 256; c++)
    if (count[c]) assert_frequency(count[c], N, 1.0 / 24), orders++;
  assert_int_equal(orders, 24);
}

/* Of a 4096 x 4096 image a side of the crop is at least 1000 pixels: rounding it changes area and aspect by less than 1e-3 of
 * themselves. */
static void crops_have_uniform_area_and_log_uniform_aspect(void **state) {
  (void)state;
  struct augmentation a = small_crops();
  static double area[N], aspect[N], top[N], left[N];
  for (uint32_t i = 0; i < N; i++) {
    struct view v = draw(&a, LARGE, LARGE, i);
    assert_true(v.top >= 0 && v.left >= 0 && v.top + v.height <= LARGE && v.left + v.width <= LARGE && v.size == 224 && v.taps == 23);
    area[i] = (double)v.height * v.width / ((double)LARGE * LARGE);
    aspect[i] = log((double)v.width / v.height);
    top[i] = (v.top + 0.5) / (LARGE - v.height + 1), left[i] = (v.left + 0.5) / (LARGE - v.width + 1);
  }
  assert_uniform(area, N, 0.08, 0.5, 1e-3);
  assert_uniform(aspect, N, log(3.0 / 4.0), log(4.0 / 3.0), 1e-3);
  assert_uniform(top, N, 0, 1, 1e-3);
  assert_uniform(left, N, 0, 1, 1e-3);
}

static void a_window_that_cannot_fit_is_central(void **state) {
  (void)state;
  struct augmentation a = augmentation_byol(0, 224);
  a.area_min = 0.9;
  struct view tall = draw(&a, 1000, 10, 1), wide = draw(&a, 10, 1001, 2), one = draw(&a, 1, 1, 3);
  assert_true(tall.width == 10 && tall.height == 13 && tall.left == 0 && tall.top == 493); /* 10 / 0.75 = 13.3; (1000 - 13) / 2 */
  assert_true(wide.height == 10 && wide.width == 13 && wide.top == 0 && wide.left == 494);
  assert_true(one.height == 1 && one.width == 1 && one.top == 0 && one.left == 0);
  a.area_min = a.area_max = 4; /* no attempt fits, the aspect of the whole does */
  struct view whole = draw(&a, 90, 100, 4);
  assert_true(whole.height == 90 && whole.width == 100 && whole.top == 0 && whole.left == 0);
}

static void odd_images_never_leave_themselves(void **state) {
  (void)state;
  struct augmentation a = augmentation_byol(0, 32);
  for (uint32_t i = 0; i < N; i++) {
    int height = 1 + (int)(i % 37), width = 1 + (int)(i % 53);
    struct view v = draw(&a, height, width, i);
    assert_true(v.height >= 1 && v.width >= 1 && v.top >= 0 && v.left >= 0 && v.top + v.height <= height && v.left + v.width <= width);
  }
}

/* The table at augment_draw. */
static void the_words_of_the_stream_are_where_they_are_said_to_be(void **state) {
  (void)state;
  struct augmentation a = augmentation_byol(1, 96);
  for (uint32_t i = 0; i < 200; i++) {
    uint32_t word[36];
    double u[36];
    struct philox g = philox_stream(11, PHILOX_AUGMENT, 1, i, 5);
    for (int k = 0; k < 36; k++) word[k] = philox_u32(&g), u[k] = (word[k] >> 8) * 0x1p-24;
    struct view v = augment_draw(&a, 300, 400, 11, 5, i, 1);
    for (int attempt = 0; attempt < 10; attempt++) {
      double area = (0.08 + 0.92 * u[2 * attempt]) * 300 * 400;
      double aspect = exp(log(0.75) + (log(4.0 / 3.0) - log(0.75)) * u[2 * attempt + 1]);
      double h = rint(sqrt(area / aspect)), w = rint(sqrt(area * aspect));
      if (h > 300 || w > 400) continue;
      assert_true(v.height == h && v.width == w);
      assert_int_equal(v.top, (uint64_t)word[20] * (uint32_t)(301 - v.height) >> 32);
      assert_int_equal(v.left, (uint64_t)word[21] * (uint32_t)(401 - v.width) >> 32);
      break;
    }
    assert_true(v.flip == (u[22] < 0.5) && (v.form == JITTER_BYOL) == (u[23] < 0.8));
    assert_int_equal(v.order[3], (uint64_t)word[24] * 4 >> 32); /* the first swap of Fisher-Yates decides the last place */
    assert_true(fabs(v.brightness - (-0.4 + 0.8 * u[27])) < 1e-15 && fabs(v.contrast - (0.6 + 0.8 * u[28])) < 1e-15);
    assert_true(fabs(v.saturation - (0.8 + 0.4 * u[29])) < 1e-15 && fabs(v.hue - (-0.1 + 0.2 * u[30])) < 1e-15);
    assert_true(v.grey == (u[31] < 0.2) && (v.sigma > 0) == (u[32] < 0.1) && v.solarise == (u[34] < 0.2));
    if (v.sigma > 0) assert_true(fabs(v.sigma - (0.1 + 1.9 * u[33])) < 1e-15);
  }
}

static void draws_repeat_and_depend_on_every_part_of_the_name(void **state) {
  (void)state;
  struct augmentation a = augmentation_byol(0, 224);
  struct view v = augment_draw(&a, 500, 500, 1, 2, 3, 0);
  struct view other[] = {augment_draw(&a, 500, 500, 1, 2, 3, 0), augment_draw(&a, 500, 500, 9, 2, 3, 0),
                         augment_draw(&a, 500, 500, 1, 9, 3, 0), augment_draw(&a, 500, 500, 1, 2, 9, 0),
                         augment_draw(&a, 500, 500, 1, 2, 3, 1)};
  for (int i = 0; i < 5; i++) assert_true((other[i].hue == v.hue && other[i].sigma == v.sigma && other[i].top == v.top) == (i == 0));
}

static void a_changed_probability_moves_no_other_draw(void **state) {
  (void)state;
  for (uint32_t i = 0; i < 100; i++) {
    struct augmentation a = augmentation_byol(0, 224), b = a;
    b.flip = 1 - (i & 1), b.jitter = 0, b.grey = 1, b.solarise = 1, b.area_max = 0.9;
    struct view v = draw(&a, 500, 500, i), w = draw(&b, 500, 500, i);
    assert_true(v.brightness == w.brightness && v.contrast == w.contrast && v.saturation == w.saturation && v.hue == w.hue);
    assert_true(v.sigma == w.sigma && !memcmp(v.order, w.order, sizeof v.order));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(probabilities),
      cmocka_unit_test(probability_zero_is_never_and_one_is_always),
      cmocka_unit_test(values_are_uniform),
      cmocka_unit_test(every_order_is_equally_likely),
      cmocka_unit_test(crops_have_uniform_area_and_log_uniform_aspect),
      cmocka_unit_test(a_window_that_cannot_fit_is_central),
      cmocka_unit_test(odd_images_never_leave_themselves),
      cmocka_unit_test(the_words_of_the_stream_are_where_they_are_said_to_be),
      cmocka_unit_test(draws_repeat_and_depend_on_every_part_of_the_name),
      cmocka_unit_test(a_changed_probability_moves_no_other_draw),
  };
  return cmocka_run_group_tests_name("draw", tests, NULL, NULL);
}
