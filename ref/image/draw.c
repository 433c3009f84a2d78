/* The random numbers of a view (docs/method.md, "Views"). Compiled once: they do not depend on the precision of the pixels. */
#include <assert.h>
#include <math.h>

#include "base/philox.h"
#include "image/augment.h"

struct augmentation augmentation_byol(int view, int size) {
  assert(view == 0 || view == 1);
  return (struct augmentation){
      .size = size,
      .area_min = 0.08,
      .area_max = 1,
      .aspect_min = 3.0 / 4.0,
      .aspect_max = 4.0 / 3.0,
      .flip = 0.5,
      .jitter = 0.8,
      .grey = 0.2,
      .blur = view == 0 ? 1.0 : 0.1,
      .solarise = view == 0 ? 0.0 : 0.2,
      .brightness = 0.4,
      .contrast = 0.4,
      .saturation = 0.2,
      .hue = 0.1,
      .sigma_min = 0.1,
      .sigma_max = 2,
      .antialias = true,
      .form = JITTER_BYOL,
  };
}

int augment_taps(int size) { return 2 * (size / 20) + 1; }

static double uniform(struct philox *g, double min, double max) { return min + (max - min) * philox_uniform(g); }

static bool happens(struct philox *g, double probability) { return philox_uniform(g) < probability; }

/* The largest window in the middle whose aspect is allowed: what torchvision takes when ten attempts did not fit. */
static void central_window(const struct augmentation *a, int height, int width, struct view *v) {
  double aspect = (double)width / height;
  v->height = height, v->width = width;
  if (aspect < a->aspect_min) v->height = (int)fmax(1, rint(width / a->aspect_min));
  if (aspect > a->aspect_max) v->width = (int)fmax(1, rint(height * a->aspect_max));
  v->top = (height - v->height) / 2, v->left = (width - v->width) / 2;
}

/* Words 0 to 21 of the stream. Sizes are rounded to pixels, halves to even, as Python does. */
static void draw_window(const struct augmentation *a, int height, int width, struct philox *g, struct view *v) {
  bool found = false;
  for (int attempt = 0; attempt < 10; attempt++) {
    double area = uniform(g, a->area_min, a->area_max) * height * width;
    double aspect = exp(uniform(g, log(a->aspect_min), log(a->aspect_max)));
    double h = rint(sqrt(area / aspect)), w = rint(sqrt(area * aspect));
    if (found || h < 1 || w < 1 || h > height || w > width) continue;
    found = true;
    v->height = (int)h, v->width = (int)w;
  }
  if (!found) v->height = height, v->width = width;
  v->top = (int)philox_below(g, (uint32_t)(height - v->height + 1));
  v->left = (int)philox_below(g, (uint32_t)(width - v->width + 1));
  if (!found) central_window(a, height, width, v);
}

struct view augment_draw(const struct augmentation *a, int height, int width, uint64_t seed, uint32_t epoch, uint32_t sample, int view) {
  assert(height >= 1 && width >= 1 && a->size >= 1 && a->area_min > 0 && a->aspect_min > 0 && a->sigma_min > 0);
  struct philox g = philox_stream(seed, PHILOX_AUGMENT, (uint32_t)view, sample, epoch);
  struct view v = {.size = a->size,
                   .antialias = a->antialias,
                   .order = {JITTER_BRIGHTNESS, JITTER_CONTRAST, JITTER_SATURATION, JITTER_HUE},
                   .taps = augment_taps(a->size)};
  draw_window(a, height, width, &g, &v);
  v.flip = happens(&g, a->flip);
  v.form = happens(&g, a->jitter) ? a->form : JITTER_NONE;
  for (uint32_t i = 3; i > 0; i--) { /* Fisher-Yates: every order is equally likely */
    uint32_t j = philox_below(&g, i + 1);
    enum jitter_step step = v.order[i];
    v.order[i] = v.order[j], v.order[j] = step;
  }
  if (a->form == JITTER_TORCHVISION) { /* ColorJitter: a factor, not below 0 */
    v.brightness = uniform(&g, fmax(0, 1 - a->brightness), 1 + a->brightness);
    v.contrast = uniform(&g, fmax(0, 1 - a->contrast), 1 + a->contrast);
    v.saturation = uniform(&g, fmax(0, 1 - a->saturation), 1 + a->saturation);
  } else { /* BYOL: brightness is added */
    v.brightness = uniform(&g, -a->brightness, a->brightness);
    v.contrast = uniform(&g, 1 - a->contrast, 1 + a->contrast);
    v.saturation = uniform(&g, 1 - a->saturation, 1 + a->saturation);
  }
  v.hue = uniform(&g, -a->hue, a->hue);
  v.grey = happens(&g, a->grey);
  bool blur = happens(&g, a->blur);
  double sigma = uniform(&g, a->sigma_min, a->sigma_max);
  v.sigma = blur ? sigma : 0;
  v.solarise = happens(&g, a->solarise);
  return v;
}
