/* The steps of the augmentation behind the resize, plainly. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/mutants/plain_image.h"

static void swap(float *a, float *b) {
  float kept = *a;
  *a = *b, *b = kept;
}

void plain_flip(int height, int width, float *x) {
  if (FAULT(FLIP_NONE)) return;
  if (FAULT(FLIP_ROWS)) {
    for (int h = 0; h < height / 2; h++)
      for (int i = 0; i < 3 * width; i++) swap(&x[3 * h * width + i], &x[3 * (height - 1 - h) * width + i]);
    return;
  }
  for (int h = 0; h < height; h++)
    for (int w = 0; w < width / 2; w++)
      for (int c = 0; c < 3; c++) {
        int other = FAULT(FLIP_ODD) ? (width - w) % width : width - 1 - w, to = FAULT(FLIP_CHANNELS) ? 2 - c : c;
        swap(&x[3 * (h * width + w) + c], &x[3 * (h * width + other) + to]);
      }
}

static float grey_of(const float *x) {
  const float red = FAULT(GREY_BGR) ? 0.114f : 0.2989f, blue = FAULT(GREY_BGR) ? 0.2989f : 0.114f;
  return FAULT(GREY_MEAN) ? (x[0] + x[1] + x[2]) / 3 : red * x[0] + 0.587f * x[1] + blue * x[2];
}

void plain_grey(int pixels, float *x) {
  for (int i = 0; i < pixels; i++) {
    float grey = grey_of(x + 3 * i);
    for (int c = 0; c < 3; c++) x[3 * i + c] = grey;
  }
}

/* ---- jitter -------------------------------------------------------------------------------------------------------------------------- */

static void to_hsv(const float *x, float *h, float *s, float *v) {
  float most = fmaxf(x[0], fmaxf(x[1], x[2])), least = fminf(x[0], fminf(x[1], x[2])), d = most - least;
  *v = most;
  *s = most > 0 ? d / most : 0;
  *h = d == 0         ? 0
       : most == x[0] ? (x[1] - x[2]) / (6 * d)
       : most == x[1] ? 1.0f / 3 + (x[2] - x[0]) / (6 * d)
                      : 2.0f / 3 + (x[0] - x[1]) / (6 * d);
  *h -= floorf(*h);
}

static void from_hsv(float h, float s, float v, float *x) {
  float sector = 6 * h, whole = floorf(sector), f = sector - whole, p = v * (1 - s), q = v * (1 - s * f), t = v * (1 - s * (1 - f));
  const float rgb[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
  memcpy(x, rgb[(int)whole % 6], 3 * sizeof *x);
}

static void change_hue(float shift, int pixels, float *x) {
  for (int i = 0; i < pixels; i++) {
    float h, s, v;
    to_hsv(x + 3 * i, &h, &s, &v);
    h += FAULT(HUE_DEGREES) ? -shift : shift;
    h = FAULT(HUE_WRAP) ? fminf(fmaxf(h, 0), 1 - 0x1p-24f) : h - floorf(h);
    from_hsv(h, s, v, x + 3 * i);
  }
}

static void saturate(enum jitter_form form, float factor, int pixels, float *x) {
  for (int i = 0; i < pixels; i++) {
    float h, s, v, grey = grey_of(x + 3 * i);
    to_hsv(x + 3 * i, &h, &s, &v);
    s *= factor;
    if (!FAULT(SATURATION_CLIP)) s = fminf(fmaxf(s, 0), 1);
    if (form == JITTER_BYOL) from_hsv(h, s, v, x + 3 * i);
    for (int c = 0; c < 3 && form == JITTER_TORCHVISION; c++) x[3 * i + c] = factor * x[3 * i + c] + (1 - factor) * grey;
  }
}

static void change_contrast(enum jitter_form form, float factor, int pixels, float *x) {
  double sum[3] = {0}, grey = 0;
  for (int i = 0; i < pixels; i++) {
    for (int c = 0; c < 3; c++) sum[c] += (double)x[3 * i + c];
    grey += (double)grey_of(x + 3 * i);
  }
  for (int c = 0; c < 3; c++) {
    double own = form == JITTER_BYOL ? sum[c] : grey, all = (sum[0] + sum[1] + sum[2]) / 3;
    float mean = FAULT(CONTRAST_MEAN) ? 0.5f : (float)((FAULT(CONTRAST_CHANNELS) ? all : own) / pixels);
    for (int i = 0; i < pixels; i++) x[3 * i + c] = factor * (x[3 * i + c] - mean) + mean;
  }
}

void plain_jitter(enum jitter_form form, enum jitter_step step, float v, int pixels, float *x) {
  if (form == JITTER_NONE) return;
  if (step == JITTER_BRIGHTNESS) {
    bool adds = (form == JITTER_BYOL) != FAULT(BRIGHTNESS_FORM);
    for (int i = 0; i < 3 * pixels; i++) x[i] = adds ? x[i] + v : v * x[i];
  } else if (step == JITTER_CONTRAST) {
    change_contrast(form, v, pixels, x);
  } else if (step == JITTER_SATURATION) {
    saturate(form, v, pixels, x);
  } else {
    change_hue(v, pixels, x);
  }
  if (!FAULT(JITTER_NO_CLIP)) plain_clip(3 * pixels, x);
}

/* ---- the rest ------------------------------------------------------------------------------------------------------------------------ */

static float tap(double sigma, int i, int radius) {
  if (FAULT(BLUR_TAPS) && (i == radius || i == -radius) && radius > 0) return 0;
  return (float)exp(-(double)i * i / ((FAULT(BLUR_SIGMA) ? 1 : 2) * sigma * sigma));
}

/* One row or column of n pixels, `step` floats apart, of one channel. */
static void blur_line(double sigma, int radius, int n, int step, const float *x, float *y) {
  float all = 0;
  for (int i = -radius; i <= radius; i++) all += tap(sigma, i, radius);
  for (int p = 0; p < n; p++) {
    float sum = 0, inside = 0;
    for (int i = -radius; i <= radius; i++) {
      int at = p + i;
      if (FAULT(BLUR_EDGE)) at = at < 0 ? 0 : at >= n ? n - 1 : at;
      if (at < 0 || at >= n) continue;
      sum += tap(sigma, i, radius) * x[at * step];
      inside += tap(sigma, i, radius);
    }
    y[p * step] = sum / (FAULT(BLUR_NORMALISED) ? inside : all);
  }
}

bool plain_blur(double sigma, int taps, int height, int width, float *x) {
  size_t size = (size_t)height * (size_t)width * 3;
  float *y = malloc(size * sizeof *y);
  if (!y) return false;
  for (int h = 0; h < height; h++)
    for (int c = 0; c < 3; c++) blur_line(sigma, taps / 2, width, 3, x + 3 * h * width + c, y + 3 * h * width + c);
  if (FAULT(BLUR_ONE_WAY)) memcpy(x, y, size * sizeof *y);
  for (int w = 0; w < width && !FAULT(BLUR_ONE_WAY); w++)
    for (int c = 0; c < 3; c++) blur_line(sigma, taps / 2, height, 3 * width, y + 3 * w + c, x + 3 * w + c);
  free(y);
  return true;
}

void plain_solarise(int n, float *x) {
  float threshold = FAULT(SOLARISE_THRESHOLD) ? 0.55f : 0.5f;
  for (int i = 0; i < n; i++) {
    bool stays = FAULT(SOLARISE_GE) ? x[i] >= threshold : x[i] < threshold;
    x[i] = stays ? x[i] : 1 - x[i];
  }
}

void plain_clip(int n, float *x) {
  for (int i = 0; i < n; i++) x[i] = fminf(fmaxf(x[i], 0), 1);
}

void plain_normalise(int pixels, float *x) {
  static const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
  for (int i = 0; i < 3 * pixels; i++) {
    int c = FAULT(NORMALISE_BGR) ? 2 - i % 3 : i % 3;
    x[i] = (x[i] - mean[c]) / (FAULT(NORMALISE_STD) ? deviation[c] * deviation[c] : deviation[c]);
  }
}
