/* Views for outsiders. */
#include <math.h>
#include <stdlib.h>

#include "api/outside.h"
#include "image/augment.h"
#include "image/image.h"

enum { MAX_SIZE = 16384 }; /* pixels of a view's side: its floats still fit a few GB */

static bool check_image(const char *what, int height, int width, struct error *err) {
  if (height < 1 || width < 1) return fail(err, "%s: an image of %d x %d pixels; both must be at least 1", what, width, height);
  if ((int64_t)height * width > IMAGE_MAX_PIXELS)
    return fail(err, "%s: an image of %d x %d pixels; there may be at most %d", what, width, height, IMAGE_MAX_PIXELS);
  return true;
}

static bool check_size(const char *what, int size, struct error *err) {
  return (size >= 1 && size <= MAX_SIZE) || fail(err, "%s: a view of %d pixels; 1 to %d are possible", what, size, MAX_SIZE);
}

#if EDIY_REAL_BITS == 32 /* independent of real: once is enough */
EDIY_API bool ediy_augment_draw(int view, int size, int height, int width, uint64_t seed, uint32_t epoch, uint32_t sample, ediy_view *drawn,
                                ediy_error *err) {
  static const char what[] = "ediy_augment_draw";
  struct error inner = {.text = ""};
  bool ok = drawn || fail(&inner, "%s: drawn is null", what);
  ok = ok && (view == 0 || view == 1 || fail(&inner, "%s: view %d; 0 is T, 1 is T'", what, view));
  ok = ok && check_size(what, size, &inner) && check_image(what, height, width, &inner);
  if (ok) {
    const struct augmentation a = augmentation_byol(view, size);
    const struct view v = augment_draw(&a, height, width, seed, epoch, sample, view);
    *drawn = (ediy_view){.size = v.size,
                         .top = v.top,
                         .left = v.left,
                         .height = v.height,
                         .width = v.width,
                         .antialias = v.antialias,
                         .flip = v.flip,
                         .grey = v.grey,
                         .solarise = v.solarise,
                         .jitter = v.form != JITTER_NONE,
                         .brightness = v.brightness,
                         .contrast = v.contrast,
                         .saturation = v.saturation,
                         .hue = v.hue,
                         .sigma = v.sigma,
                         .taps = v.taps};
    for (int i = 0; i < 4; i++) drawn->order[i] = (int)v.order[i];
  }
  return outside(ok, &inner, err);
}
#endif

static bool check_view(const char *what, const ediy_view *v, const ediy_image *image, struct error *err) {
  if (!check_size(what, v->size, err)) return false;
  if (v->height < 1 || v->width < 1 || v->top < 0 || v->left < 0 || v->height > image->height || v->width > image->width ||
      v->top > image->height - v->height || v->left > image->width - v->width)
    return fail(err, "%s: a window of %d x %d pixels at (%d, %d) does not lie in an image of %d x %d", what, v->width, v->height, v->left,
                v->top, image->width, image->height);
  for (int i = 0; i < 4; i++)
    if (v->order[i] < 0 || v->order[i] > 3) return fail(err, "%s: step %d of the jitter is %d; 0 to 3 are possible", what, i, v->order[i]);
  const double strength[] = {v->brightness, v->contrast, v->saturation, v->hue};
  static const char *const name[] = {"brightness", "contrast", "saturation", "hue"};
  for (int i = 0; v->jitter && i < 4; i++)
    if (!isfinite(strength[i])) return fail(err, "%s: %s of the jitter is %g; it must be a finite number", what, name[i], strength[i]);
  if (!(v->sigma >= 0)) return fail(err, "%s: sigma of the blur is %g; it must be 0 or more", what, v->sigma);
  if (v->sigma > 0 && (v->taps < 1 || v->taps % 2 == 0 || v->taps > augment_taps(v->size)))
    return fail(err, "%s: a blur of %d taps; it must be odd and, for views of %d pixels, at most %d", what, v->taps, v->size,
                augment_taps(v->size));
  return true;
}

EDIY_API bool REAL_NAME(ediy_augment_apply)(const ediy_view *view, const ediy_image *image, real *y, ediy_error *err) {
  static const char what[] = "ediy_augment_apply";
  struct error inner = {.text = ""};
  real *scratch = NULL;
  bool ok = (view && image && image->rgb && y) || fail(&inner, "%s: an argument is null", what);
  ok = ok && check_image(what, image->height, image->width, &inner) && check_view(what, view, image, &inner);
  if (ok) {
    scratch = malloc((size_t)augment_scratch(image->height, image->width, view->size) * sizeof *scratch);
    ok = scratch || fail(&inner, "%s: out of memory for an image of %d x %d pixels", what, image->width, image->height);
  }
  if (ok) {
    struct view v = {.size = view->size,
                     .top = view->top,
                     .left = view->left,
                     .height = view->height,
                     .width = view->width,
                     .antialias = view->antialias,
                     .flip = view->flip,
                     .grey = view->grey,
                     .solarise = view->solarise,
                     .form = view->jitter ? JITTER_BYOL : JITTER_NONE,
                     .brightness = view->brightness,
                     .contrast = view->contrast,
                     .saturation = view->saturation,
                     .hue = view->hue,
                     .sigma = view->sigma,
                     .taps = view->taps};
    for (int i = 0; i < 4; i++) v.order[i] = (enum jitter_step)view->order[i];
    augment_apply(&v, image->rgb, image->height, image->width, y, scratch);
  }
  free(scratch);
  return outside(ok, &inner, err);
}
