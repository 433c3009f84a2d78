/* Dense evaluation (docs/method.md, "Evaluation"): a linear classifier on every cell of the frozen last feature map, its logits brought up
 * to the label map by bilinear interpolation; the loss is the cross-entropy of the labelled pixels, the score the mean intersection over
 * union.
 *
 *     logits[y,x,k] = sum_d cells[y,x,d] weight[k,d] + bias[k]                     h x w cells
 *     pixels[Y,X]   = bilinear(logits)                                            H x W pixels
 *     loss          = mean over pixels with a label of (ln sum_j exp(pixels[j]) - pixels[label])
 *
 * Bilinear interpolation is that of PyTorch's interpolate with align_corners = False: pixel i of `out` has its centre at
 * s = max((i + 1/2) in / out - 1/2, 0) among the cells, and takes (1 - (s - floor s)) of cell floor s and the rest of the next one, if
 * there is one.
 */
#ifndef EDIY_EVAL_DENSE_H
#define EDIY_EVAL_DENSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/real.h"

#ifndef EDIY_EVAL_DENSE_TYPES
#define EDIY_EVAL_DENSE_TYPES
enum { DENSE_NO_VOID = -1 };

struct dense_shape {
  ptrdiff_t h, w, height, width; /* cells; pixels of the label map */
  int classes;                   /* 1 to 255, without the void class */
  int void_class;                /* label of pixels that do not count (CamVid: 11), or DENSE_NO_VOID */
};

/* Pixels by true class (rows) and predicted class (columns). */
struct dense_confusion {
  int classes;
  int64_t *count; /* classes x classes, owned */
};

struct dense_score {
  double mean_iou;       /* mean over the classes that occur, in the labels or the predictions, of true positives / union */
  double pixel_accuracy; /* share of the labelled pixels; neighbouring pixels are not independent, so there is no interval */
  int64_t pixels;        /* labelled */
  int classes_seen;
};
#endif

#define dense_upsample REAL_NAME(dense_upsample)
#define dense_upsample_backward REAL_NAME(dense_upsample_backward)
#define dense_scratch REAL_NAME(dense_scratch)
#define dense_loss REAL_NAME(dense_loss)
#define dense_count REAL_NAME(dense_count)
#define dense_confusion_add REAL_NAME(dense_confusion_add)
#define dense_confusion_score REAL_NAME(dense_confusion_score)
#define dense_labels_fit REAL_NAME(dense_labels_fit)

/* y: height x width x classes, overwritten; x: h x w x classes. */
void dense_upsample(const struct dense_shape *g, const real *x, real *y);

/* The adjoint. dx: h x w x classes, overwritten; dy: height x width x classes. Sums in double, pixels in row-major order. */
void dense_upsample_backward(const struct dense_shape *g, const real *dy, real *dx, double *scratch);

/* Scratch of the functions here, in doubles. */
ptrdiff_t dense_scratch(const struct dense_shape *g);

/* One image, on one thread: the sum of the cross-entropy over its labelled pixels, and dlogits = scale x its gradient.
 * logits, dlogits: h x w x classes; dlogits overwritten, may be the logits, may be null. label: height x width. The upsampled logits are
 * made row by row. */
double dense_loss(const struct dense_shape *g, const real *logits, const uint8_t *label, double scale, real *dlogits, double *scratch);

/* Labelled pixels of one image. */
int64_t dense_count(const struct dense_shape *g, const uint8_t *label);

/* Adds the pixels of one image: the prediction is the class of the largest upsampled logit, ties by the lowest. */
void dense_confusion_add(const struct dense_shape *g, const real *logits, const uint8_t *label, struct dense_confusion *confusion,
                         double *scratch);

/* iou: classes, overwritten, -1 for a class that does not occur; may be null. */
struct dense_score dense_confusion_score(const struct dense_confusion *confusion, double *iou);

/* Checks that every label of count images is below classes or the void class; names the image, the pixel and the label if not. */
MUST_CHECK bool dense_labels_fit(const struct dense_shape *g, ptrdiff_t count, const uint8_t *label, const char *what, struct error *err);

#endif
