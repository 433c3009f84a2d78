/* Cases of augmentation and of the schedules by the plain forms. The attributes are those of oracle/twice/case_augment.c. */
#include <math.h>
#include <string.h>

#include "oracle/mutants/plain_image.h"

/* ---- augmentation -------------------------------------------------------------------------------------------------------------------- */

static const char *const steps[] = {"brightness", "contrast", "saturation", "hue"}; /* in the order of enum jitter_step */

static bool size_of(struct case_run *run, const char *key, int *value) {
  ptrdiff_t v;
  if (!case_integer(run->file, key, 0, 1 << 14, &v, run->err)) return false;
  *value = (int)v;
  return true;
}

static float *image(struct case_run *run, int height, int width) {
  return run_output(run, DTYPE_F32, 3, (ptrdiff_t[]){height, width, 3}, "out.image");
}

static bool crop_resize(struct case_run *run, const struct plain_source *s) {
  int top, left, h, w, size_h, size_w;
  bool antialias, clip;
  float *y;
  if (!size_of(run, "top", &top) || !size_of(run, "left", &left) || !size_of(run, "height", &h) || !size_of(run, "width", &w) ||
      !size_of(run, "size_h", &size_h) || !size_of(run, "size_w", &size_w) || !case_flag(run->file, "antialias", &antialias, run->err) ||
      !case_flag(run->file, "clip", &clip, run->err) || !(y = image(run, size_h, size_w))) {
    return false;
  }
  plain_resize(s, top, left, h, w, size_h, size_w, antialias, clip, y);
  return true;
}

/* (n - size) / 2, rounded to the nearest, halves to even. */
static int centred(int n, int size) { return FAULT(EVAL_CROP) ? (n - size) / 2 : (int)nearbyint((n - size) / 2.0); }

static bool evaluation(struct case_run *run, const struct plain_source *s) {
  int resize, size;
  float *y, *whole;
  if (!size_of(run, "resize", &resize) || !size_of(run, "size", &size) || !(y = image(run, size, size))) return false;
  int least = s->height < s->width ? s->height : s->width;
  int h = resize * s->height / least, w = resize * s->width / least;
  if (FAULT(EVAL_LONG)) h = w = resize;
  if (!(whole = run_scratch(run, DTYPE_F32, (ptrdiff_t)h * w * 3))) return false;
  plain_resize(s, 0, 0, s->height, s->width, h, w, true, true, whole);
  int top = centred(h, size), left = centred(w, size);
  for (int p = 0; p < size; p++) memcpy(y + 3 * p * size, whole + 3 * ((top + p) * w + left), (size_t)size * 3 * sizeof *y);
  plain_normalise(size * size, y);
  return true;
}

static bool read_order(struct case_run *run, enum jitter_step order[4]) {
  const char *text;
  if (!case_text(run->file, "order", &text, run->err)) return false;
  for (int i = 0; i < 4; i++) {
    size_t n = strcspn(text, ",");
    for (int k = 0; k < 4; k++) {
      if (strlen(steps[k]) == n && strncmp(text, steps[k], n) == 0) order[i] = (enum jitter_step)(FAULT(JITTER_ORDER) ? i : k);
    }
    text += n + (text[n] == ',');
  }
  return true;
}

static bool pipeline(struct case_run *run, const struct plain_source *s) {
  static const char *const forms[] = {"none", "byol", "torchvision"};
  struct view v = {0};
  int form;
  float *y;
  if (!size_of(run, "size", &v.size) || !size_of(run, "top", &v.top) || !size_of(run, "left", &v.left) ||
      !size_of(run, "height", &v.height) || !size_of(run, "width", &v.width) ||
      !case_flag(run->file, "antialias", &v.antialias, run->err) || !case_flag(run->file, "flip", &v.flip, run->err) ||
      !case_flag(run->file, "grey", &v.grey, run->err) || !case_flag(run->file, "solarised", &v.solarise, run->err) ||
      !case_choice(run->file, "jitter", forms, 3, &form, run->err) || !case_number(run->file, "brightness", &v.brightness, run->err) ||
      !case_number(run->file, "contrast", &v.contrast, run->err) || !case_number(run->file, "saturation", &v.saturation, run->err) ||
      !case_number(run->file, "hue", &v.hue, run->err) || !case_number(run->file, "sigma", &v.sigma, run->err) ||
      !size_of(run, "taps", &v.taps) || !(y = image(run, v.size, v.size))) {
    return false;
  }
  v.form = (enum jitter_form)form;
  if (v.form != JITTER_NONE && !read_order(run, v.order)) return false;
  const double values[] = {v.brightness, v.contrast, v.saturation, v.hue};
  int pixels = v.size * v.size, left = FAULT(PIPELINE_FLIP_LAST) && v.flip ? s->width - v.left - v.width : v.left;
  bool early = FAULT(PIPELINE_ORDER), late = FAULT(PIPELINE_GREY_LAST), ok = true;
  plain_resize(s, v.top, left, v.height, v.width, v.size, v.size, v.antialias, true, y);
  if (v.flip && !FAULT(PIPELINE_FLIP_LAST)) plain_flip(v.size, v.size, y);
  if (v.sigma > 0 && early) ok = plain_blur(v.sigma, v.taps, v.size, v.size, y);
  for (int i = 0; i < 4; i++) plain_jitter(v.form, v.order[i], (float)values[v.order[i]], pixels, y);
  if (v.grey && !late) plain_grey(pixels, y);
  if (v.sigma > 0 && !early) ok = plain_blur(v.sigma, v.taps, v.size, v.size, y);
  if (v.solarise) plain_solarise(3 * pixels, y);
  if (v.grey && late) plain_grey(pixels, y);
  plain_clip(3 * pixels, y);
  plain_normalise(pixels, y);
  return ok || fail(run->err, "%s: out of memory", run->file->name);
}

static bool in_place(struct case_run *run, const struct plain_source *s, const char *transform) {
  static const char *const forms[] = {"byol", "torchvision"};
  int pixels = s->height * s->width, form, taps;
  double value;
  float *x = image(run, s->height, s->width);
  if (!x) return false;
  for (int i = 0; i < 3 * pixels; i++) x[i] = (float)(s->rgb[i] / 255.0);
  for (int k = 0; k < 4; k++) {
    if (strcmp(transform, steps[k]) != 0) continue;
    if (!case_choice(run->file, "form", forms, 2, &form, run->err) || !case_number(run->file, "value", &value, run->err)) return false;
    plain_jitter(form == 0 ? JITTER_BYOL : JITTER_TORCHVISION, (enum jitter_step)k, (float)value, pixels, x);
    return true;
  }
  if (strcmp(transform, "flip") == 0) return plain_flip(s->height, s->width, x), true;
  if (strcmp(transform, "greyscale") == 0) return plain_grey(pixels, x), true;
  if (strcmp(transform, "solarise") == 0) return plain_solarise(3 * pixels, x), true;
  if (strcmp(transform, "normalise") == 0) return plain_normalise(pixels, x), true;
  if (strcmp(transform, "blur") != 0) return fail(run->err, "%s: unknown transform \"%s\"", run->file->file.path, transform);
  return case_number(run->file, "sigma", &value, run->err) && size_of(run, "taps", &taps) &&
         (plain_blur(value, taps, s->height, s->width, x) || fail(run->err, "%s: out of memory", run->file->name));
}

bool plain_case_augment(struct case_run *run) {
  const char *transform;
  ptrdiff_t shape[3] = {-1, -1, 3};
  struct plain_source s;
  plain_begin(CALL_OTHER);
  if (!case_text(run->file, "transform", &transform, run->err) || !(s.rgb = run_input(run, DTYPE_U8, 3, shape, "in.image"))) return false;
  s.height = (int)shape[0], s.width = (int)shape[1];
  if (strcmp(transform, "crop_resize") == 0) return crop_resize(run, &s);
  if (strcmp(transform, "eval") == 0) return evaluation(run, &s);
  return strcmp(transform, "pipeline") == 0 ? pipeline(run, &s) : in_place(run, &s, transform);
}

/* ---- schedules ----------------------------------------------------------------------------------------------------------------------- */

static double cosine(double k, double K) { return (1 + cos(3.14159265358979323846 * k / K)) / 2; }

bool plain_case_schedule(struct case_run *run) {
  double base, tau0;
  ptrdiff_t batch, warmup, epochs, each, count = -1;
  const int32_t *step;
  double *lr, *tau;
  plain_begin(CALL_OTHER);
  if (!case_number(run->file, "base_lr", &base, run->err) || !case_number(run->file, "tau0", &tau0, run->err) ||
      !case_integer(run->file, "batch", 1, 1 << 24, &batch, run->err) ||
      !case_integer(run->file, "warmup_epochs", 0, 1 << 24, &warmup, run->err) ||
      !case_integer(run->file, "epochs", 1, 1 << 24, &epochs, run->err) ||
      !case_integer(run->file, "steps_per_epoch", 1, 1 << 24, &each, run->err) ||
      !(step = run_indices(run, epochs * each + 1, 1, &count, "in.step")) || !(lr = run_output(run, DTYPE_F64, 1, &count, "out.lr")) ||
      !(tau = run_output(run, DTYPE_F64, 1, &count, "out.tau"))) {
    return false;
  }
  double K = (double)(epochs * each) - (FAULT(SCHEDULE_END) ? 1 : 0), W = (double)(warmup * each), peak = base * (double)batch / 256;
  if (FAULT(SCHEDULE_NOT_SCALED)) peak = base;
  for (ptrdiff_t i = 0; i < count; i++) {
    double k = step[i];
    if (FAULT(SCHEDULE_LATE)) k += 1;
    if (FAULT(SCHEDULE_EARLY)) k = fmax(k - 1, 0);
    if (FAULT(SCHEDULE_EPOCH)) k = floor(k / (double)each) * (double)each;
    double from = FAULT(SCHEDULE_COSINE) ? 0 : W, rise = FAULT(SCHEDULE_WARMUP_START) ? (k + 1) / W : k / W;
    lr[i] = k < W && !FAULT(SCHEDULE_NO_WARMUP) ? peak * rise : peak * cosine(k - from, K - from);
    double share = FAULT(SCHEDULE_TAU_WARMUP) ? cosine(fmax(k - W, 0), K - W) : FAULT(SCHEDULE_TAU_LINEAR) ? 1 - k / K : cosine(k, K);
    tau[i] = FAULT(SCHEDULE_TAU_DOWN) ? tau0 + (1 - tau0) * (share - 1) : 1 - (1 - tau0) * share;
    if (FAULT(SCHEDULE_FLOAT)) lr[i] = (double)(float)lr[i], tau[i] = (double)(float)tau[i];
  }
  return true;
}
