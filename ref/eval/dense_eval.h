/* The protocol of dense evaluation (dense.h): the classifier is trained by SGD with Nesterov momentum and no weight decay from zero
 * weights, on batches of images in the order of a Philox shuffle, the loss of a batch being the mean over its labelled pixels; lr decays
 * by a cosine to 0 over all steps. The learning rate is chosen by mean IoU on the validation images; the classifier of the best one is
 * scored on the test images. It is not trained again with the validation images. Features are used as they are, images are not augmented.
 *
 * docs/method.md fixes what is evaluated, not these numbers: they are this project's own, chosen so that CamVid on a CPU takes minutes.
 */
#ifndef EDIY_EVAL_DENSE_EVAL_H
#define EDIY_EVAL_DENSE_EVAL_H

#include "eval/dense.h"

#ifndef EDIY_EVAL_DENSE_EVAL_TYPES
#define EDIY_EVAL_DENSE_EVAL_TYPES
enum { DENSE_EVAL_RATES = 16 };

struct dense_eval_options {
  int epochs;
  ptrdiff_t batch; /* images */
  double momentum;
  double lr[DENSE_EVAL_RATES]; /* rates of them are tried, in this order; not scaled by the batch */
  int rates;
  uint64_t seed; /* of the shuffles */
};

struct dense_eval_result {
  double lr;                                       /* chosen: the first of the best */
  struct dense_score validation[DENSE_EVAL_RATES]; /* of each rate */
  double loss;                                     /* of the chosen one: mean over the batches of the last epoch */
  struct dense_score test;
};
#endif

#define dense_images REAL_NAME(dense_images)
#define dense_eval_defaults REAL_NAME(dense_eval_defaults)
#define dense_eval REAL_NAME(dense_eval)

/* Images as their last feature maps. */
struct dense_images {
  ptrdiff_t count;
  const real *cells;    /* count x h x w x d */
  const uint8_t *label; /* count x height x width */
};

/* 30 epochs, batches of 8, momentum .9, rates .3 .1 .03 .01, seed 0. */
struct dense_eval_options dense_eval_defaults(void);

/* d: features of a cell. iou: classes, overwritten by the intersection over union of each class on the test images (-1: does not occur);
 * weight (classes x d) and bias (classes), overwritten by the chosen classifier; all three may be null. progress (may be null) is called
 * after each epoch of epochs in all. Results do not depend on the number of threads. Fails for options out of range, no training or
 * validation images, a label out of range, no labelled pixel in the training, the validation or the test
 * images, a loss that diverged at every rate, and when memory is short. */
MUST_CHECK bool dense_eval(const struct dense_shape *g, ptrdiff_t d, const struct dense_images *train,
                           const struct dense_images *validation, const struct dense_images *test, const struct dense_eval_options *o,
                           void (*progress)(void *context, int epoch, int epochs), void *context, struct dense_eval_result *result,
                           double *iou, real *weight, real *bias, struct error *err);

#endif
