/* Colour steps of the augmentation. Every loop is one pass over the pixels, without branches that depend on them. */
#include <assert.h>
#include <math.h>
#include <stddef.h>

#include "base/size.h"
#include "image/augment.h"

/* ITU-R BT.601 luma, four digits, as BYOL's appendix B and torchvision have it. */
static const double grey_weight[3] = {0.2989, 0.587, 0.114};

static inline real least(real a, real b) { return a < b ? a : b; }
static inline real most(real a, real b) { return a > b ? a : b; }
static inline real clip01(real x) { return most(0, least(1, x)); }

static inline real grey_of(real r, real g, real b) {
  return (real)grey_weight[0] * r + (real)grey_weight[1] * g + (real)grey_weight[2] * b;
}

void augment_clip(ptrdiff_t n, real *x) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = clip01(x[i]);
}

void augment_solarise(ptrdiff_t n, real *x) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = x[i] < (real)0.5 ? x[i] : 1 - x[i];
}

void augment_grey(ptrdiff_t pixels, real *x) {
  for (ptrdiff_t i = 0; i < pixels; i++) {
    real grey = grey_of(x[3 * i], x[3 * i + 1], x[3 * i + 2]);
    x[3 * i] = grey, x[3 * i + 1] = grey, x[3 * i + 2] = grey;
  }
}

void augment_normalise(ptrdiff_t pixels, real *x) {
  static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
  for (ptrdiff_t i = 0; i < pixels; i++)
    for (int c = 0; c < 3; c++) x[3 * i + c] = (x[3 * i + c] - (real)mean[c]) / (real)std[c];
}

/* Pixels summed side by side: 3 LANES numbers fill whole vectors. */
enum { LANES = 8 };

/* Pixels whose sum is taken before it is added to those of the pixels before: a GPU takes the sums of an image side by side. */
enum { MEAN_PIXELS = 256 };

/* The mean of each channel: of every MEAN_PIXELS pixels LANES sums in double of every LANES-th, joined in order; and these in order. */
static void channel_means(ptrdiff_t pixels, const real *x, double mean[3]) {
  for (int c = 0; c < 3; c++) mean[c] = 0;
  for (ptrdiff_t first = 0; first < pixels; first += MEAN_PIXELS) {
    double sum[3 * LANES] = {0}, joined[3] = {0};
    ptrdiff_t i = first, end = size_min(first + MEAN_PIXELS, pixels);
    for (; i + LANES <= end; i += LANES)
      for (int k = 0; k < 3 * LANES; k++) sum[k] += (double)x[3 * i + k];
    for (int k = 0; i < end; i++)
      for (int c = 0; c < 3; c++) sum[k++] += (double)x[3 * i + c];
    for (int k = 0; k < 3 * LANES; k++) joined[k % 3] += sum[k];
    for (int c = 0; c < 3; c++) mean[c] += joined[c];
  }
  for (int c = 0; c < 3; c++) mean[c] /= (double)pixels;
}

/* x = clip(v x + add[c]). */
static void scale_and_add(ptrdiff_t pixels, real v, const double add[3], real *x) {
  real a[3 * LANES];
  for (int k = 0; k < 3 * LANES; k++) a[k] = (real)add[k % 3];
  ptrdiff_t i = 0;
  for (; i + LANES <= pixels; i += LANES)
    for (int k = 0; k < 3 * LANES; k++) x[3 * i + k] = clip01(v * x[3 * i + k] + a[k]);
  for (int k = 0; k < 3 * (pixels - i); k++) x[3 * i + k] = clip01(v * x[3 * i + k] + a[k]);
}

/* v (x - m) + m = v x + (1 - v) m: about each channel's mean (byol) or the mean of the grey image, which is the grey of the means
 * (torchvision). */
static void contrast(enum jitter_form form, double v, ptrdiff_t pixels, real *x) {
  double add[3];
  channel_means(pixels, x, add);
  if (form == JITTER_TORCHVISION) add[0] = add[1] = add[2] = grey_weight[0] * add[0] + grey_weight[1] * add[1] + grey_weight[2] * add[2];
  for (int c = 0; c < 3; c++) add[c] *= 1 - v;
  scale_and_add(pixels, (real)v, add, x);
}

/* In HSV: s = clip(v s, 0, 1). Hue and V = max stay, so that every channel keeps its share of the way down from V:
 * x = V - (V - x) s' / s, with s' / s = min(max(v, 0), 1 / s) and s = d / V. */
static void saturation_hsv(real factor, ptrdiff_t pixels, real *x) {
  real v = most(factor, 0);
  for (ptrdiff_t i = 0; i < pixels; i++) {
    real r = x[3 * i], g = x[3 * i + 1], b = x[3 * i + 2];
    real high = most(r, most(g, b)), d = high - least(r, least(g, b));
    real ratio = v * d > high ? high / d : v; /* a grey pixel has d = 0: any ratio leaves it */
    x[3 * i] = clip01(high - (high - r) * ratio);
    x[3 * i + 1] = clip01(high - (high - g) * ratio);
    x[3 * i + 2] = clip01(high - (high - b) * ratio);
  }
}

/* x = clip(v x + (1 - v) grey(x)). */
static void saturation_blend(real v, real rest, ptrdiff_t pixels, real *x) {
  for (ptrdiff_t i = 0; i < pixels; i++) {
    real r = x[3 * i], g = x[3 * i + 1], b = x[3 * i + 2], grey = rest * grey_of(r, g, b);
    x[3 * i] = clip01(v * r + grey);
    x[3 * i + 1] = clip01(v * g + grey);
    x[3 * i + 2] = clip01(v * b + grey);
  }
}

/* In HSV: h = (h + v) mod 1. The hue is measured in sixths, h6 in [0, 6): 0 red, 2 green, 4 blue. Back in RGB, a channel is V less d times
 * how far the hue is from where that channel is at its full, 0 within one sixth and 1 from two sixths on. */
static inline real lack(real h6, real full) {
  real away = (real)fabs(h6 - full);        /* in [0, 10) */
  away = least(away, (real)fabs(6 - away)); /* around the circle */
  return clip01(away - 1);
}

static void hue(real v6, ptrdiff_t pixels, real *x) {
  for (ptrdiff_t i = 0; i < pixels; i++) {
    real r = x[3 * i], g = x[3 * i + 1], b = x[3 * i + 2];
    real high = most(r, most(g, b)), d = high - least(r, least(g, b));
    real slope = d > 0 ? 1 / d : 0;
    real h6 = high == r ? (g - b) * slope : high == g ? 2 + (b - r) * slope : 4 + (r - g) * slope; /* in [-1, 5] */
    h6 += v6;
    h6 -= 6 * (real)floor(h6 / 6);
    x[3 * i] = clip01(high - d * lack(h6, 0));
    x[3 * i + 1] = clip01(high - d * lack(h6, 2));
    x[3 * i + 2] = clip01(high - d * lack(h6, 4));
  }
}

void augment_jitter(enum jitter_form form, enum jitter_step step, double v, ptrdiff_t pixels, real *x) {
  if (form == JITTER_NONE) return;
  bool byol = form == JITTER_BYOL;
  switch (step) {
  case JITTER_BRIGHTNESS: scale_and_add(pixels, byol ? 1 : (real)v, (double[3]){byol ? v : 0, byol ? v : 0, byol ? v : 0}, x); return;
  case JITTER_CONTRAST: contrast(form, v, pixels, x); return;
  case JITTER_SATURATION:
    if (byol)
      saturation_hsv((real)v, pixels, x);
    else
      saturation_blend((real)v, (real)(1 - v), pixels, x);
    return;
  case JITTER_HUE: hue((real)(6 * v), pixels, x); return;
  }
  assert(!"a step of the jitter");
}
