/* Linear evaluation (docs/method.md, "Evaluation"; BYOL appendix C.1, and byol/eval_experiment.py of the official code): a softmax
 * regression on the pooled features of a frozen backbone.
 *
 * SGD with Nesterov momentum, no weight decay; lr = base batch / 256, from there by a cosine to 0 over all steps, no warm-up; weights
 * start at 0. Features are used as they are: neither standardised nor normalised. The base learning rate is chosen on held-out training
 * images, drawn by Philox; with it a regression from 0 on all training images is scored once on the test images.
 *
 * An epoch visits the images in the order of a Philox shuffle, the last batch may be smaller. Where there are fewer images than a batch,
 * the batch, also in the learning rate, is all of them. Nothing depends on the number of threads.
 *
 * Training images are cropped and flipped afresh every epoch, so that the features change: the caller gives them epoch by epoch. It may
 * compute them at each call, or return one of a few matrices it keeps.
 */
#ifndef EDIY_EVAL_LINEAR_EVAL_H
#define EDIY_EVAL_LINEAR_EVAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/real.h"
#include "eval/interval.h"

#ifndef EDIY_EVAL_LINEAR_EVAL_TYPES
#define EDIY_EVAL_LINEAR_EVAL_TYPES
enum { LINEAR_EVAL_RATES = 16, LINEAR_EVAL_PLAIN = -1 };

struct linear_eval_options {
  int epochs;
  ptrdiff_t batch;
  double momentum;
  double base_lr[LINEAR_EVAL_RATES]; /* rates of them are tried, in this order */
  int rates;
  double held_out; /* share of the training images kept aside for the choice; at least one image */
  uint64_t seed;   /* of the split and of the shuffles: streams PHILOX_EVAL */
};

struct linear_eval_result {
  double base_lr;                           /* chosen: the first of the best */
  struct share held_out[LINEAR_EVAL_RATES]; /* accuracy of each rate on the held-out images; count 0 if rates is 1 */
  double loss;                              /* mean over the last epoch of the final regression, before each step */
  struct share train, test, test5;          /* of the final regression: top-1, and top-5 on the test images */
};
#endif

#define linear_features REAL_NAME(linear_features)
#define linear_eval_split REAL_NAME(linear_eval_split)
#define linear_eval_shuffle REAL_NAME(linear_eval_shuffle)
#define linear_eval_defaults REAL_NAME(linear_eval_defaults)
#define linear_eval REAL_NAME(linear_eval)

/* Where training features come from. epoch: 0, 1, ... asks for the features under the crops and flips of that epoch, LINEAR_EVAL_PLAIN for
 * those under evaluation preprocessing (for the held-out images and the training accuracy). *x: count x d, in data set order, valid until
 * the next call. The sweep asks for each epoch once, all rates side by side; the final regression asks for the epochs again. */
struct linear_features {
  ptrdiff_t count, d;
  const int32_t *label; /* count */
  void *context;
  bool (*epoch)(void *context, int epoch, const real **x, struct error *err);
};

/* The protocol's values: 80 epochs, batch 1024, momentum .9, base rates .4 .3 .2 .1 .05, a tenth held out, seed 0. */
struct linear_eval_options linear_eval_defaults(void);

/* order: n, overwritten by a permutation of 0..n-1 (philox_permutation, PHILOX_EVAL), of its own for each epoch. */
void linear_eval_shuffle(uint64_t seed, int epoch, ptrdiff_t n, int32_t *order);

/* order: n, overwritten: a permutation whose first elements, as many as the function returns, are the held-out images: round(share n), but
 * between 1 and n - 1. n >= 2. */
ptrdiff_t linear_eval_split(uint64_t seed, double share, ptrdiff_t n, int32_t *order);

/* test: test_count x train->d, test_label: test_count. weight (classes x d) and bias (classes), overwritten by the final regression, may
 * be null. progress (may be null) is called after each epoch of epochs in all, the sweep's among them. Fails for options out of range, a
 * label out of range, fewer than two training images, a regression that diverged at every rate, and what train->epoch reports. */
MUST_CHECK bool linear_eval(const struct linear_features *train, ptrdiff_t test_count, const real *test, const int32_t *test_label,
                            int classes, const struct linear_eval_options *o, void (*progress)(void *context, int epoch, int epochs),
                            void *context, struct linear_eval_result *result, real *weight, real *bias, struct error *err);

#endif
