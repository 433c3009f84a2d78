/* Diagnostics of collapse (docs/method.md, "Evaluation"): numbers that show, while training, whether features still tell images and regions
 * apart.
 *
 *     std       of feature c: sqrt(mean over rows of (u - mean u)^2), u the normalised rows, biased. 1 / sqrt(d) for features spread evenly
 *               over the sphere, 0 when all rows are the same.
 *     cosine    of an image: the mean of u_i . u_j over the ordered pairs i != j of its n regions. 1: all regions say the same.
 *     entropy   of an image: - sum p ln p in nats, p_z the share of regions whose match is z. 0: all match one region; ln n at most.
 *
 * Rows are divided by sqrt(max(sum x^2, 1e-12)). All sums in double in index order, on one thread; cost a few passes over the data.
 */
#ifndef EDIY_EVAL_COLLAPSE_H
#define EDIY_EVAL_COLLAPSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/real.h"

#define collapse_scratch REAL_NAME(collapse_scratch)
#define collapse_std REAL_NAME(collapse_std)
#define collapse_cosine REAL_NAME(collapse_cosine)
#define collapse_entropy REAL_NAME(collapse_entropy)

/* Scratch of the functions below, in doubles, for at most m rows or regions of d features. */
ptrdiff_t collapse_scratch(ptrdiff_t m, ptrdiff_t d);

/* features: m x d, m >= 1. std: d, overwritten; may be null. Returns the mean of std over d. */
double collapse_std(ptrdiff_t m, ptrdiff_t d, const real *features, double *std, double *scratch);

/* regions: b x n x c, b >= 1. image: b, overwritten; may be null. Returns the mean over b. With n = 1 there is no pair: 0. */
double collapse_cosine(ptrdiff_t b, ptrdiff_t n, ptrdiff_t c, const real *regions, double *image, double *scratch);

/* index: b x n, in [0, n). image: b, overwritten; may be null. Returns the mean over b. */
double collapse_entropy(ptrdiff_t b, ptrdiff_t n, const int32_t *index, double *image, double *scratch);

#endif
