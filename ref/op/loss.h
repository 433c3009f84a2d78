/* The three losses (paper Eq. 2, 5, 7), one direction each: the paper's losses are sums of two terms that differ by exchanging the
 * views, and neither the target nor the teacher takes a gradient, so the terms of one online view need only that view's online
 * activations. The step calls each function once a view; memory then holds the activations of one view, not of two.
 *
 *     byol[b] = 2 - 2 cos(q[b], z[b])                                        q: online prediction, z: target projection of the other view
 *     rdem[b] = 1/n sum over j of cos(r[b,j], r[b,d[b,j]])                    r: online regions (projections)
 *     riem[b] = 1 - 1/n sum over j of cos(p[b,j], g_target[b,s[b,j]])         p: online regions, g_target: the target's of the other view
 *
 * cos divides both by sqrt(max(sum x^2, 1e-12)). Values: one an image, b of them, overwritten, as doubles. Gradients are of
 * scale * mean over b of the value, ADDED to dq, dr, dp (the three losses share r); scale = 0 adds exact zeros or nothing.
 * All sums in double; an element of a gradient is rounded once, when it is added. A gradient may be null: then only the value is computed.
 * What is written may not overlap what is read. The paper's g is g_target here: g alone is the shape, as in every operation.
 *
 * loss_collect makes the losses of a micro-batch and of a step of those values, in the memory of the backend: a step can then be followed
 * without waiting for it.
 */
#ifndef EDIY_OP_LOSS_H
#define EDIY_OP_LOSS_H

#include <stddef.h>
#include <stdint.h>

#include "base/real.h"

#ifndef EDIY_OP_LOSS_SHAPE
#define EDIY_OP_LOSS_SHAPE
enum rdem_stopgrad { RDEM_STOPGRAD_NONE, RDEM_STOPGRAD_MATCH }; /* MATCH: the second factor of R-DEM is a constant */
struct loss {
  ptrdiff_t b, n, c; /* images, regions, channels (n = 1 for global features) */
};

struct losses {
  double rdem, riem, byol, total; /* means over the batch; rdem and riem are 0 without regions */
};

/* What loss_collect reads: values, one an image, of the online view 1 at [0] and 2 at [1]; both null for a loss that the model does not
 * have. */
struct loss_values {
  const double *rdem[2], *riem[2], *byol[2], lambda_rdem, lambda_riem, lambda_byol; /* lambda1..3 of Eq. 3 */
};

/* What a step says of itself, in backend memory. All zero at its beginning. */
struct loss_sums {
  struct losses last, sum; /* of the last micro-batch; of all, each times its share */
  int64_t halt;            /* not 0: the loss or a gradient is not finite, and nothing is to be updated (finite.h) */
};
#endif

#define loss_scratch REAL_NAME(loss_scratch)
#define loss_byol REAL_NAME(loss_byol)
#define loss_rdem REAL_NAME(loss_rdem)
#define loss_rdem_instance REAL_NAME(loss_rdem_instance)
#define loss_riem REAL_NAME(loss_riem)
#define loss_collect REAL_NAME(loss_collect)

/* Scratch of any function below, in doubles. */
ptrdiff_t loss_scratch(const struct loss *g);

/* Eq. 2, one direction. q, z, dq: b x c. */
void loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, double *scratch);

/* Eq. 5, one view. r, dr: b x n x c; d: b x n. */
void loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value, real *dr,
               double *scratch);

/* Eq. 5 with rdem.negative = instance: every region of image i against the mean over regions of g_target[neg[i]] (raw features, no
 * gradient). r, dr: b x n x c; neg: b, images of g_target, which holds at least b (more with those of other ranks, op/backend_ranks.h). */
void loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale, double *value,
                        real *dr, double *scratch);

/* Eq. 7, one direction. p, g_target, dp: b x n x c; s: b x n. */
void loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value, real *dp,
               double *scratch);

/* Eq. 3 of one micro-batch of b images: each loss the sum of its values over the images in order, view 1 first, divided by b; total the sum
 * of lambda times loss. sums->last: overwritten; sums->sum: share times each added. */
void loss_collect(ptrdiff_t b, const struct loss_values *v, double share, struct loss_sums *sums);

#endif
