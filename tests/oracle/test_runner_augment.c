/* The runner of augmentation: pipelines by hand, and what is refused. That all transforms agree with loops of another hand is in
 * test_fuzz.c. */
#include "oracle/runner_case.h"

enum { TALL = 4, WIDE = 5 };

/* Pixels of 0, 1/5 ... 1: exact in 8 bits. */
static struct numbers fifths(void) {
  struct numbers n = zeros(SHAPE(TALL, WIDE, 3));
  struct philox g = philox_stream(5, PHILOX_TEST, 42, 0, 0);
  for (ptrdiff_t i = 0; i < n.count; i++) n.at[i] = 51 * (double)philox_below(&g, 6);
  return n;
}

static void begin_pipeline(void) {
  begin("augment");
  give_bytes("in.image", fifths());
  set_text("transform", "pipeline"), set_integer("top", 1), set_integer("left", 2), set_integer("height", 3), set_integer("width", 3);
  set_integer("size", 3), set_flag("antialias", true), set_flag("flip", false), set_flag("grey", false), set_flag("solarised", false);
  set_text("jitter", "none"), set_text("order", "hue,brightness,contrast,saturation");
  set_number("brightness", 0.125), set_number("contrast", 1), set_number("saturation", 1), set_number("hue", 0);
  set_number("sigma", 0), set_integer("taps", 3);
}

static const double mean[] = {0.485, 0.456, 0.406}, deviation[] = {0.229, 0.224, 0.225};

/* A window of its own size is a copy, here of rows 1 to 3 and columns 2 to 4, mirrored if so said; then, of BYOL's jitter, the brightness
 * alone, which is added and clipped; then solarised, if so said. */
static struct numbers by_hand(bool flip, double brightness, bool solarised) {
  struct numbers image = fifths(), y = zeros(SHAPE(3, 3, 3));
  for (int h = 0; h < 3; h++)
    for (int x = 0; x < 3; x++)
      for (int c = 0; c < 3; c++) {
        double v = image.at[((h + 1) * WIDE + 2 + (flip ? 2 - x : x)) * 3 + c] / 255;
        v = fmin(v + brightness, 1);
        if (solarised && !(v < 0.5)) v = 1 - v;
        y.at[(h * 3 + x) * 3 + c] = (v - mean[c]) / deviation[c];
      }
  return y;
}

static void pipelines_are_as_by_hand(void **state) {
  (void)state;
  for (int flip = 0; flip < 2; flip++)
    for (int jitter = 0; jitter < 2; jitter++)
      for (int solarised = 0; solarised < 2; solarised++) {
        begin_pipeline();
        set_flag("flip", flip), set_flag("solarised", solarised), set_text("jitter", jitter ? "byol" : "none");
        give("out.image", by_hand(flip, jitter ? 0.125 : 0, solarised));
        holds(64), holds(32), forget(NULL);
      }
}

static void pipelines_that_make_no_sense_are_refused(void **state) {
  (void)state;
  begin_pipeline(), give("out.image", zeros(SHAPE(3, 3, 3)));
  set_integer("top", 2);
  refused("window of 3 x 3 at (2, 2) is not inside the image of 4 x 5");
  set_integer("top", 1), set_integer("left", 3);
  refused("window of 3 x 3 at (1, 3) is not inside the image of 4 x 5");
  set_integer("left", 2), set_number("sigma", 1), set_integer("taps", 4);
  refused("blur needs odd taps");
  static const char *const orders[] = {"hue,hue,contrast,saturation", "hue,brightness,contrast", "hue,brightness,contrast,?",
                                       "hue,brightness,contrast,saturation,hue"};
  set_integer("taps", 3), set_text("jitter", "byol");
  for (int i = 0; i < 4; i++) set_text("order", orders[i]), refused("attribute \"order\" is not the four jitter steps in some order");
  set_text("jitter", "?");
  refused("attribute \"jitter\" is \"?\", expected none | byol | torchvision");
}

static void transforms_that_make_no_sense_are_refused(void **state) {
  (void)state;
  begin("augment");
  give_bytes("in.image", fifths()), give("out.image", zeros(SHAPE(3, 3, 3)));
  set_text("transform", "sharpen");
  refused("unknown transform \"sharpen\"");
  set_text("transform", "blur"), set_number("sigma", 1), set_integer("taps", 2);
  refused("blur needs odd taps and a sigma above 0");
  set_integer("taps", 3), set_number("sigma", 0);
  refused("blur needs odd taps and a sigma above 0");
  set_text("transform", "eval"), set_integer("resize", 4), set_integer("size", 5), set_flag("antialias", true);
  refused("its crop inside the resized image");
  set_integer("size", 3), set_flag("antialias", false);
  refused("evaluation is antialiased");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(pipelines_are_as_by_hand, forget),
      cmocka_unit_test_teardown(pipelines_that_make_no_sense_are_refused, forget),
      cmocka_unit_test_teardown(transforms_that_make_no_sense_are_refused, forget),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
