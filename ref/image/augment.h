/* Augmentation (method.md section 3; BYOL, appendix B): a photograph becomes a normalised view.
 *
 * Two steps, kept apart so that a GPU can do the second and a test can give the first: augment_draw draws every parameter of one view
 * from its own Philox stream (seed, epoch, image, view); augment_apply computes the view from the image and the parameters.
 */
#ifndef EDIY_IMAGE_AUGMENT_H
#define EDIY_IMAGE_AUGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/real.h"

#ifndef EDIY_IMAGE_AUGMENT_TYPES
#define EDIY_IMAGE_AUGMENT_TYPES
enum jitter_form { JITTER_NONE, JITTER_BYOL, JITTER_TORCHVISION };
enum jitter_step { JITTER_BRIGHTNESS, JITTER_CONTRAST, JITTER_SATURATION, JITTER_HUE };

/* A distribution of views: T or T' of the table, or another. */
struct augmentation {
  int size;                        /* of the view, pixels */
  double area_min, area_max;       /* of the crop, share of the image */
  double aspect_min, aspect_max;   /* width / height, log-uniform */
  double flip, jitter, grey, blur, solarise; /* probabilities */
  double brightness, contrast, saturation, hue;
  double sigma_min, sigma_max;
  bool antialias;
  enum jitter_form form;
};

/* The drawn parameters of one view. */
struct view {
  int size, top, left, height, width; /* window of the source image, pixels */
  bool antialias, flip, grey, solarise;
  enum jitter_form form;          /* JITTER_NONE: no jitter */
  enum jitter_step order[4];
  double brightness, contrast, saturation, hue; /* the values v of README of the cases: byol brightness is added, the others scale */
  double sigma;                   /* 0: no blur */
  int taps;                       /* 2 (size / 20) + 1 */
};
#endif

#define augment_scratch REAL_NAME(augment_scratch)
#define augment_apply REAL_NAME(augment_apply)
#define augment_eval REAL_NAME(augment_eval)
#define augment_resize REAL_NAME(augment_resize)
#define augment_flip REAL_NAME(augment_flip)
#define augment_jitter REAL_NAME(augment_jitter)
#define augment_grey REAL_NAME(augment_grey)
#define augment_blur REAL_NAME(augment_blur)
#define augment_solarise REAL_NAME(augment_solarise)
#define augment_normalise REAL_NAME(augment_normalise)

/* T (view 0) and T' (view 1) of BYOL for views of this size. */
struct augmentation augmentation_byol(int view, int size);

/* Every draw of one view of an image of this size. Crop as torchvision's RandomResizedCrop.get_params: ten attempts of area and
 * aspect, then the central fallback. Deterministic in (seed, epoch, sample, view). */
struct view augment_draw(const struct augmentation *a, int height, int width, uint64_t seed, uint32_t epoch, uint32_t sample, int view);

/* Scratch of augment_apply and augment_eval for this source and output size, in reals. */
ptrdiff_t augment_scratch(int height, int width, int size);

/* rgb: height x width x 3 bytes, x = byte / 255; y: size x size x 3, overwritten. One thread. Order: resize the window (bicubic,
 * clipped to [0,1]), flip, jitter, greyscale, blur, solarise, clip, normalise by ImageNet's mean and standard deviation. */
void augment_apply(const struct view *v, const uint8_t *rgb, int height, int width, real *y, real *scratch);

/* Evaluation: short side to `resize` (long side floor(resize long / short)), antialiased bicubic, centre crop to `size` at
 * round((H - size) / 2) (halves to even), clip, normalise. */
void augment_eval(int resize, int size, const uint8_t *rgb, int height, int width, real *y, real *scratch);

#endif
