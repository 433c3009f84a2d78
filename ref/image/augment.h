/* Augmentation (docs/method.md, "Views"; BYOL, appendix B): a photograph becomes a normalised view.
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
  int size;                                  /* of the view, pixels */
  double area_min, area_max;                 /* of the crop, share of the image */
  double aspect_min, aspect_max;             /* width / height, log-uniform */
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
  enum jitter_form form; /* JITTER_NONE: no jitter */
  enum jitter_step order[4];
  double brightness, contrast, saturation, hue; /* the value v of augment_jitter */
  double sigma;                                 /* 0: no blur */
  int taps;                                     /* of the blur: augment_taps(size) */
};

/* A view that another machine than this is to compute; pointers are into its memory. */
struct augment_item {
  struct view view;
  const uint8_t *rgb; /* height x width x 3 */
  int height, width;
  float *y; /* size x size x 3, overwritten */
};
enum { AUGMENT_WINDOW = 4 }; /* its window is at most so many times the view's size, each way */
#endif

#define augment_scratch REAL_NAME(augment_scratch)
#define augment_apply REAL_NAME(augment_apply)
#define augment_eval REAL_NAME(augment_eval)
#define augment_eval_possible REAL_NAME(augment_eval_possible)
#define augment_resize_scratch REAL_NAME(augment_resize_scratch)
#define augment_resize REAL_NAME(augment_resize)
#define augment_resize_part REAL_NAME(augment_resize_part)
#define augment_flip REAL_NAME(augment_flip)
#define augment_jitter REAL_NAME(augment_jitter)
#define augment_grey REAL_NAME(augment_grey)
#define augment_blur_scratch REAL_NAME(augment_blur_scratch)
#define augment_blur REAL_NAME(augment_blur)
#define augment_solarise REAL_NAME(augment_solarise)
#define augment_clip REAL_NAME(augment_clip)
#define augment_normalise REAL_NAME(augment_normalise)

/* T (view 0) and T' (view 1) of BYOL for views of this size: the two columns of docs/method.md, jitter in the form of BYOL's own
 * code, antialiased resize. */
struct augmentation augmentation_byol(int view, int size);

/* Every draw of one view of an image of this size (height, width >= 1). Crop as torchvision's RandomResizedCrop.get_params: ten attempts of
 * area and aspect, then the central fallback. Deterministic in (seed, epoch, sample, view).
 *
 * Which word of the stream (seed, PHILOX_AUGMENT, view, sample, epoch) is what, so that another implementation can draw the same:
 *     2a, 2a + 1    area and aspect of attempt a = 0..9           22        flip
 *     20, 21        top and left of the window                    23        jitter at all
 *     24 .. 26      order of the jitter, Fisher-Yates from the end
 *     27 .. 30      brightness, contrast, saturation, hue         31        greyscale
 *     32, 33        blur, sigma                                   34        solarise
 * All are drawn, used or not: a probability or a range changed in a configuration leaves every other draw as it was. A step of
 * probability p happens where its uniform u in [0, 1) is below p, so that 0 is never and 1 always. */
struct view augment_draw(const struct augmentation *a, int height, int width, uint64_t seed, uint32_t epoch, uint32_t sample, int view);

/* Taps of the blur for views of this size: 23 at 224. */
int augment_taps(int size);

/* Scratch of augment_apply and augment_eval for this source and output size, in reals. Scratch holds indices too: it must be memory
 * without a declared type (malloc, arena), aligned as malloc aligns. */
ptrdiff_t augment_scratch(int height, int width, int size);

/* rgb: height x width x 3 bytes, x = byte / 255; y: size x size x 3, overwritten. One thread. Order: resize the window (bicubic,
 * clipped to [0,1]), flip, jitter, greyscale, blur, solarise, clip, normalise by ImageNet's mean and standard deviation. */
void augment_apply(const struct view *v, const uint8_t *rgb, int height, int width, real *y, real *scratch);

/* Evaluation: short side to `resize` (long side floor(resize long / short)), antialiased bicubic, centre crop to `size` <= `resize` at
 * round((H - size) / 2) (halves to even), clip, normalise. y: size x size x 3, overwritten. The long side must be possible. */
void augment_eval(int resize, int size, const uint8_t *rgb, int height, int width, real *y, real *scratch);

/* Whether the resized long side, floor(resize long / short), is a number of pixels that an int holds: a strip of 1 x 10^8 pixels has
 * none. */
bool augment_eval_possible(int resize, int height, int width);

/* ---- the single steps ------------------------------------------------------------------------------------------------------------------
 * Images are height x width x 3, interleaved, in [0, 1]; all but the resize work in place. None rounds to 8 bits. */

/* Scratch of augment_resize in reals. */
ptrdiff_t augment_resize_scratch(int window_h, int window_w, int size_h, int size_w);

/* y (size_h x size_w x 3, overwritten) = the window_h x window_w window at (top, left) of rgb / 255, resized; nothing outside the window
 * is read. Separable; output i of an axis has its centre at c = (i + 0.5) n_in / n_out and input j the weight K((j + 0.5 - c) / s), divided
 * by the sum of the weights inside the window; K is Keys' cubic for a = -1/2 (Keys 1981; Pillow and TensorFlow alike).
 * antialias: s = max(n_in / n_out, 1) (Pillow, torchvision); else s = 1, four taps (tf.image.resize, the official BYOL).
 * clip: to [0, 1] at the end (the cubic overshoots). Sums run over the taps in order, vertical first; the division by 255 comes last. The
 * same size copies exactly. */
void augment_resize(const uint8_t *rgb, int height, int width, int top, int left, int window_h, int window_w, int size_h, int size_w,
                    bool antialias, bool clip, real *y, real *scratch);

/* The part of that result at rows part_top .. part_top + part_h, columns part_left .. part_left + part_w: y is part_h x part_w x 3. */
void augment_resize_part(const uint8_t *rgb, int height, int width, int top, int left, int window_h, int window_w, int size_h, int size_w,
                         int part_top, int part_left, int part_h, int part_w, bool antialias, bool clip, real *y, real *scratch);

/* y[h, w] = x[h, width - 1 - w]. */
void augment_flip(int height, int width, real *x);

/* One step of the colour jitter with value v, then a clip to [0, 1]; m is a mean over the image, summed in double in an order fixed by
 * the size.
 *                   JITTER_BYOL                                        JITTER_TORCHVISION
 *     brightness    x + v                                              v x
 *     contrast      v (x - m) + m, m the mean of each channel          v x + (1 - v) m, m the mean of the grey image
 *     saturation    in HSV: s = clip(v s, 0, 1)                        v x + (1 - v) grey(x)
 *     hue           in HSV: h = (h + v) mod 1                          the same
 * JITTER_NONE does nothing. */
void augment_jitter(enum jitter_form form, enum jitter_step step, double v, ptrdiff_t pixels, real *x);

/* 0.2989 r + 0.587 g + 0.114 b in all three channels. */
void augment_grey(ptrdiff_t pixels, real *x);

/* Scratch of augment_blur in reals. */
ptrdiff_t augment_blur_scratch(int height, int width, int taps);

/* Gaussian blur, horizontal then vertical, zeros outside: weights exp(-i^2 / (2 sigma^2)), i = -taps/2 .. taps/2, divided by their sum.
 * taps is odd, sigma > 0. */
void augment_blur(double sigma, int taps, int height, int width, real *x, real *scratch);

/* x < 0.5 ? x : 1 - x, of n reals. */
void augment_solarise(ptrdiff_t n, real *x);

/* max(0, min(1, x)) of n reals. */
void augment_clip(ptrdiff_t n, real *x);

/* (x - mean) / std with ImageNet's (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225). */
void augment_normalise(ptrdiff_t pixels, real *x);

#endif
