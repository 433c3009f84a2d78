/* What changes from step to step: the learning rate (BYOL, section 3.3: linear warm-up, then a cosine to 0) and tau, the weight of the past
 * in the moving average (Eq. 1 of BYOL). Both count optimiser steps k, not micro-batches, from 0: step k uses lr(k), and the moving average
 * after it tau(k).
 *
 *     K = epochs * steps_per_epoch,  W = warmup_epochs * steps_per_epoch,  peak = base_lr * batch / 256
 *     lr(k)  = peak k / W                                        for k < W     (the first step of a warm-up has rate 0)
 *     lr(k)  = peak (1 + cos(pi (k - W) / (K - W))) / 2          for k >= W
 *     tau(k) = 1 - (1 - tau0) (1 + cos(pi k / K)) / 2
 *
 * All in double, as written. k = K is allowed (what would come after the last step): lr = 0, tau = 1.
 */
#ifndef EDIY_TRAIN_SCHEDULE_H
#define EDIY_TRAIN_SCHEDULE_H

#include <stdint.h>

struct schedule {
  int64_t steps, warmup; /* K and W, optimiser steps; 0 < K, 0 <= W <= K */
  double peak, tau0;
};

/* batch counts the images of one optimiser step: micro-batch times accumulation. warmup_epochs above epochs is cut to epochs: the run then
 * ends inside its warm-up. */
struct schedule schedule_make(double base_lr, int64_t batch, int64_t warmup_epochs, int64_t epochs, int64_t steps_per_epoch, double tau0);

double schedule_lr(const struct schedule *s, int64_t k);  /* 0 <= k <= K */
double schedule_tau(const struct schedule *s, int64_t k); /* 0 <= k <= K */

#endif
