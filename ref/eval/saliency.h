/* Where a network looks (docs/method.md, "Evaluation"): what each region of an image adds to the image's feature.
 *
 * With x_j the n regions of the last map and m = 1/n sum_j x_j the pooled feature,
 *
 *     share_j   = x_j . m / (n |m|^2),   1 / n for m = 0
 *     effective = 1 / sum_j share_j^2    regions that the feature is made of: n for equal shares, 1 for one region alone
 *
 * Shares sum to 1, since sum_j x_j . m = n m . m. And share_j |m|^2 = x_j . d(1/2 |m|^2)/dx_j: Grad-CAM's gradient times activation (R. R.
 * Selvaraju et al., "Grad-CAM", ICCV 2017), for half the squared length of the feature in place of a class's logit, summed over the
 * channels without its ReLU. It needs no label, no head and no pass backward.
 *
 * Behind the last ReLU of a ResNet regions are >= 0, so that 0 <= share_j <= 1 and 1 <= effective <= n. Of other regions shares still sum
 * to 1; those that point away from m are negative, others may be above 1, and effective may be below 1 (never above n).
 *
 * The paper does not say how its Figure 1 was made; this is this project's measure.
 */
#ifndef EDIY_EVAL_SALIENCY_H
#define EDIY_EVAL_SALIENCY_H

#include <stddef.h>

#include "base/real.h"

#define saliency_shares REAL_NAME(saliency_shares)
#define saliency_effective REAL_NAME(saliency_effective)

/* regions: b x n x c, b >= 0, n and c >= 1, entries of magnitude 0 or 1e-150 to 1e150, so that squares are doubles. share: b x n,
 * overwritten. scratch: c doubles, distinct from both. All sums in double in index order, on one thread. A region or sum that is no finite
 * number makes shares of its image that are none. */
void saliency_shares(ptrdiff_t b, ptrdiff_t n, ptrdiff_t c, const real *regions, double *share, double *scratch);

/* share: the n of one image. NaN where one of them is. */
double saliency_effective(ptrdiff_t n, const double *share);

#endif
