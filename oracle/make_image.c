/* Cases of augmentation and of the schedules: everything is drawn from the seed. */
#include <stdio.h>

#include "base/philox.h"
#include "oracle/make_parts.h"

static int between(struct philox *g, int least, int most) { return least + (int)philox_below(g, (uint32_t)(most - least + 1)); }

/* A number of [least, most) that is exact in float. */
static double real_between(struct philox *g, double least, double most) {
  return (double)(float)(least + (most - least) * philox_uniform(g));
}

static struct philox stream(const struct making *m) { return philox_stream((uint64_t)m->o->seed, PHILOX_TEST, 4, 0, 0); }

/* ---- schedules ----------------------------------------------------------------------------------------------------------------------- */

bool make_schedule(struct making *m) {
  enum { STEPS = 24 };
  struct philox g = stream(m);
  int warmup = between(&g, 0, 4), epochs = between(&g, 5, 40), each = between(&g, 3, 50), last = epochs * each;
  m->made->file.attributes =
      json_pack("{s:f,s:i,s:i,s:i,s:i,s:f}", "base_lr", real_between(&g, 0.05, 5), "batch", 32 << between(&g, 0, 6), "warmup_epochs",
                warmup, "epochs", epochs, "steps_per_epoch", each, "tau0", real_between(&g, 0.9, 0.999));
  ptrdiff_t count = STEPS;
  int64_t *step = (int64_t *)(void *)make_input(m, DTYPE_I64, 1, &count, "in.step");
  if (!step) return false;
  const int turns[] = {0, 1, warmup * each, last - 1, last};
  for (int i = 0; i < STEPS; i++) step[i] = i < 5 ? turns[i] : between(&g, 0, last);
  return true;
}

/* ---- images -------------------------------------------------------------------------------------------------------------------------- */

/* A colour, bands and noise, with some black and white pixels. */
static bool draw_pixels(struct making *m, struct philox *g, int height, int width) {
  ptrdiff_t shape[] = {height, width, 3};
  uint8_t *x = (uint8_t *)(void *)make_input(m, DTYPE_U8, 3, shape, "in.image");
  if (!x) return false;
  int base[3], noise = between(g, 0, 3) ? between(g, 1, 120) : 0;
  for (int c = 0; c < 3; c++) base[c] = between(g, 0, 255);
  for (int i = 0; i < height * width; i++)
    for (int c = 0; c < 3; c++) {
      int v = base[c] + (i % width / 4 * (17 + 5 * c) + i / width / 3 * 11) % 90 + (noise ? between(g, -noise, noise) : 0);
      x[3 * i + c] = (uint8_t)(i % 41 == 0 ? 0 : i % 43 == 0 ? 255 : v < 0 ? 0 : v > 255 ? 255 : v);
    }
  return true;
}

static void put(json_t *a, const char *key, json_t *value) { json_object_set_new(a, key, value); }

/* A window inside the image. */
static void put_window(json_t *a, struct philox *g, int height, int width) {
  int h = between(g, 2, height), w = between(g, 2, width);
  put(a, "top", json_integer(between(g, 0, height - h)));
  put(a, "left", json_integer(between(g, 0, width - w)));
  put(a, "height", json_integer(h));
  put(a, "width", json_integer(w));
}

static void put_jitter_order(json_t *a, struct philox *g) {
  static const char *const names[] = {"brightness", "contrast", "saturation", "hue"};
  int order[] = {0, 1, 2, 3};
  char text[64];
  for (int i = 3; i > 0; i--) {
    int j = between(g, 0, i), kept = order[i];
    order[i] = order[j], order[j] = kept;
  }
  snprintf(text, sizeof text, "%s,%s,%s,%s", names[order[0]], names[order[1]], names[order[2]], names[order[3]]);
  put(a, "order", json_string(text));
}

static void put_pipeline(json_t *a, struct philox *g, int height, int width) {
  static const char *const forms[] = {"none", "byol", "torchvision"};
  int form = between(g, 0, 4), size = between(g, 5, 14);
  form = form > 2 ? 1 : form;
  put_window(a, g, height, width);
  put(a, "size", json_integer(size));
  put(a, "antialias", json_boolean(between(g, 0, 1)));
  put(a, "flip", json_boolean(between(g, 0, 1)));
  put(a, "jitter", json_string(forms[form]));
  put_jitter_order(a, g);
  put(a, "brightness", json_real(form == 2 ? real_between(g, 0.6, 1.4) : real_between(g, -0.4, 0.4)));
  put(a, "contrast", json_real(real_between(g, 0.6, 1.4)));
  put(a, "saturation", json_real(real_between(g, 0.8, 1.2)));
  put(a, "hue", json_real(real_between(g, -0.1, 0.1)));
  put(a, "grey", json_boolean(between(g, 0, 2) == 0));
  put(a, "sigma", json_real(between(g, 0, 2) ? real_between(g, 0.1, 2) : 0));
  put(a, "taps", json_integer(2 * between(g, 1, 4) + 1));
  put(a, "solarised", json_boolean(between(g, 0, 2) == 0));
}

bool make_image(struct making *m) {
  static const char *const transforms[] = {"crop_resize", "flip", "brightness", "contrast",  "saturation", "hue",
                                           "greyscale",   "blur", "solarise",   "normalise", "eval",       "pipeline"};
  static const double least[] = {-0.4, 0.6, 0.8, -0.4}, most[] = {0.4, 1.4, 1.9, 0.4};
  struct philox g = stream(m);
  int which = (int)(m->o->seed % 12), height = between(&g, 6, 22), width = between(&g, 6, 22);
  json_t *a = m->made->file.attributes = json_object();
  if (!a) return false;
  put(a, "transform", json_string(transforms[which]));
  if (which == 0) {
    put_window(a, &g, height, width);
    put(a, "size_h", json_integer(between(&g, 2, 18)));
    put(a, "size_w", json_integer(between(&g, 2, 18)));
    put(a, "antialias", json_boolean(between(&g, 0, 1)));
    put(a, "clip", json_boolean(between(&g, 0, 1)));
  } else if (which >= 2 && which <= 5) {
    bool torch = between(&g, 0, 1) && which != 5;
    double value = real_between(&g, least[which - 2], most[which - 2]);
    put(a, "form", json_string(torch ? "torchvision" : "byol"));
    put(a, "value", json_real(torch && which == 2 ? 1 + value : value));
  } else if (which == 7) {
    put(a, "sigma", json_real(real_between(&g, 0.2, 2)));
    put(a, "taps", json_integer(2 * between(&g, 1, 5) + 1));
  } else if (which == 10) {
    int resize = between(&g, 6, 16);
    put(a, "resize", json_integer(resize));
    put(a, "size", json_integer(between(&g, 4, resize)));
    put(a, "antialias", json_true());
  } else if (which == 11) {
    put_pipeline(a, &g, height, width);
  }
  return draw_pixels(m, &g, height, width);
}
