/* Cases of augmentation: single transforms of an 8-bit image, the evaluation transform, and the whole pipeline of a view. */
#include <stdlib.h>
#include <string.h>

#include "image/augment.h"
#include "oracle/operations.h"

enum { SIZE_LIMIT = 1 << 14 }; /* of a side, pixels */

static const char *const steps[] = {"brightness", "contrast", "saturation", "hue"}; /* in the order of enum jitter_step */

struct source { /* in.image */
  const uint8_t *rgb;
  int height, width;
};

static bool read_source(struct case_run *run, struct source *s) {
  ptrdiff_t shape[3] = {-1, -1, 3};
  if (!(s->rgb = run_input(run, DTYPE_U8, 3, shape, "in.image"))) return false;
  if (shape[0] > SIZE_LIMIT || shape[1] > SIZE_LIMIT) {
    return fail(run->err, "%s: in.image is %td x %td, at most %d are handled", run->file->name, shape[0], shape[1], SIZE_LIMIT);
  }
  s->height = (int)shape[0], s->width = (int)shape[1];
  return true;
}

static bool read_size(struct case_run *run, const char *key, int min, int *value) {
  ptrdiff_t v;
  if (!case_integer(run->file, key, min, SIZE_LIMIT, &v, run->err)) return false;
  *value = (int)v;
  return true;
}

/* The window: top, left, height, width, inside the image. */
static bool read_window(struct case_run *run, const struct source *s, int *top, int *left, int *height, int *width) {
  return read_size(run, "top", 0, top) && read_size(run, "left", 0, left) && read_size(run, "height", 1, height) &&
         read_size(run, "width", 1, width) &&
         ((*top + *height <= s->height && *left + *width <= s->width) ||
          fail(run->err, "%s: window of %d x %d at (%d, %d) is not inside the image of %d x %d", run->file->name, *height, *width, *top,
               *left, s->height, s->width));
}

static real *output_image(struct case_run *run, int height, int width) {
  return run_output(run, REAL_DTYPE, 3, (ptrdiff_t[]){height, width, 3}, "out.image");
}

static bool crop_resize(struct case_run *run, const struct source *s) {
  int top, left, height, width, size_h, size_w;
  bool antialias, clip;
  if (!read_window(run, s, &top, &left, &height, &width) || !read_size(run, "size_h", 1, &size_h) ||
      !read_size(run, "size_w", 1, &size_w) || !case_flag(run->file, "antialias", &antialias, run->err) ||
      !case_flag(run->file, "clip", &clip, run->err)) {
    return false;
  }
  real *y = output_image(run, size_h, size_w);
  real *scratch = run_scratch(run, REAL_DTYPE, augment_resize_scratch(height, width, size_h, size_w));
  if (!y || !scratch) return false;
  augment_resize(s->rgb, s->height, s->width, top, left, height, width, size_h, size_w, antialias, clip, y, scratch);
  return true;
}

static bool evaluation(struct case_run *run, const struct source *s) {
  int resize, size;
  bool antialias;
  if (!read_size(run, "resize", 1, &resize) || !read_size(run, "size", 1, &size) ||
      !case_flag(run->file, "antialias", &antialias, run->err)) {
    return false;
  }
  if (!antialias || size > resize)
    return fail(run->err, "%s: evaluation is antialiased, and its crop inside the resized image", run->file->name);
  real *y = output_image(run, size, size), *scratch = run_scratch(run, REAL_DTYPE, augment_scratch(s->height, s->width, size));
  if (!y || !scratch) return false;
  augment_eval(resize, size, s->rgb, s->height, s->width, y, scratch);
  return true;
}

/* "hue,brightness,contrast,saturation" */
static bool read_order(struct case_run *run, enum jitter_step order[4]) {
  const char *text;
  if (!case_text(run->file, "order", &text, run->err)) return false;
  bool seen[4] = {false};
  for (int i = 0; i < 4; i++) {
    size_t length = strcspn(text, ",");
    int found = -1;
    for (int k = 0; k < 4; k++) {
      if (strlen(steps[k]) == length && strncmp(text, steps[k], length) == 0) found = k;
    }
    if (found < 0 || seen[found] || (text[length] == ',') != (i < 3)) {
      return fail(run->err, "%s: attribute \"order\" is not the four jitter steps in some order, with commas", run->file->file.path);
    }
    seen[found] = true;
    order[i] = (enum jitter_step)found;
    text += length + (i < 3);
  }
  return true;
}

static bool pipeline(struct case_run *run, const struct source *s) {
  static const char *const forms[] = {"none", "byol", "torchvision"}; /* in the order of enum jitter_form */
  struct view v = {0};
  int form;
  if (!read_size(run, "size", 1, &v.size) || !read_window(run, s, &v.top, &v.left, &v.height, &v.width) ||
      !case_flag(run->file, "antialias", &v.antialias, run->err) || !case_flag(run->file, "flip", &v.flip, run->err) ||
      !case_flag(run->file, "grey", &v.grey, run->err) || !case_flag(run->file, "solarised", &v.solarise, run->err) ||
      !case_choice(run->file, "jitter", forms, 3, &form, run->err) || !case_number(run->file, "brightness", &v.brightness, run->err) ||
      !case_number(run->file, "contrast", &v.contrast, run->err) || !case_number(run->file, "saturation", &v.saturation, run->err) ||
      !case_number(run->file, "hue", &v.hue, run->err) || !case_number(run->file, "sigma", &v.sigma, run->err) ||
      !read_size(run, "taps", 0, &v.taps)) {
    return false;
  }
  v.form = (enum jitter_form)form;
  if (v.form != JITTER_NONE && !read_order(run, v.order)) return false;
  real *y = output_image(run, v.size, v.size);
  if (v.taps % 2 == 0 && v.sigma > 0) return fail(run->err, "%s: blur needs odd taps", run->file->file.path);
  ptrdiff_t blur = augment_blur_scratch(v.size, v.size, v.taps); /* a case may have more taps than its size has */
  real *scratch = run_scratch(run, REAL_DTYPE, augment_scratch(s->height, s->width, v.size) + blur);
  if (!y || !scratch) return false;
  augment_apply(&v, s->rgb, s->height, s->width, y, scratch);
  return true;
}

/* A transform in place: out.image starts as image / 255, the quotient in double, then rounded. */
static bool in_place(struct case_run *run, const struct source *s, const char *transform) {
  static const char *const forms[] = {"byol", "torchvision"};
  ptrdiff_t pixels = (ptrdiff_t)s->height * s->width;
  real *x = output_image(run, s->height, s->width);
  if (!x) return false;
  for (ptrdiff_t i = 0; i < 3 * pixels; i++) x[i] = (real)(s->rgb[i] / 255.0);
  for (int k = 0; k < 4; k++) {
    if (strcmp(transform, steps[k]) == 0) {
      int form;
      double value;
      if (!case_choice(run->file, "form", forms, 2, &form, run->err) || !case_number(run->file, "value", &value, run->err)) return false;
      augment_jitter(form == 0 ? JITTER_BYOL : JITTER_TORCHVISION, (enum jitter_step)k, value, pixels, x);
      return true;
    }
  }
  if (strcmp(transform, "flip") == 0) {
    augment_flip(s->height, s->width, x);
  } else if (strcmp(transform, "greyscale") == 0) {
    augment_grey(pixels, x);
  } else if (strcmp(transform, "solarise") == 0) {
    augment_solarise(3 * pixels, x);
  } else if (strcmp(transform, "normalise") == 0) {
    augment_normalise(pixels, x);
  } else if (strcmp(transform, "blur") == 0) {
    double sigma;
    int taps;
    if (!case_number(run->file, "sigma", &sigma, run->err) || !read_size(run, "taps", 1, &taps)) return false;
    if (taps % 2 == 0 || !(sigma > 0)) return fail(run->err, "%s: blur needs odd taps and a sigma above 0", run->file->file.path);
    real *scratch = run_scratch(run, REAL_DTYPE, augment_blur_scratch(s->height, s->width, taps));
    if (!scratch) return false;
    augment_blur(sigma, taps, s->height, s->width, x, scratch);
  } else {
    return fail(run->err, "%s: unknown transform \"%s\"", run->file->file.path, transform);
  }
  return true;
}

bool REAL_NAME(case_augment)(struct case_run *run) {
  const char *transform;
  struct source s;
  if (!case_text(run->file, "transform", &transform, run->err) || !read_source(run, &s)) return false;
  if (strcmp(transform, "crop_resize") == 0) return crop_resize(run, &s);
  if (strcmp(transform, "eval") == 0) return evaluation(run, &s);
  if (strcmp(transform, "pipeline") == 0) return pipeline(run, &s);
  return in_place(run, &s, transform);
}
