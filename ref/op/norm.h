/* Batch normalisation over every axis but the last, with an optional residual and ReLU in the same pass (Ioffe, Szegedy 2015).
 *
 *     train:  mu[c] = mean over rows of x,  v[c] = mean of (x - mu)^2            (biased)
 *     eval:   mu, v = running_mean, running_var
 *     y = gamma (x - mu) / sqrt(v + eps) + beta  [+ residual]  [then max(., 0)]
 *     train:  running_mean += momentum (mu - running_mean);  running_var += momentum (v m/(m-1) - running_var)   (unbiased)
 *
 * x, residual, y: m x c, where m = N H W for a map and the number of rows for features. eps stands inside the root. Statistics are
 * accumulated in double, in one pass over a chunk of rows, as sums of differences from its first row. Chunks are joined in order to groups,
 * and groups in order to the whole; how they are cut depends on m alone. m = 1 is allowed in train mode: then v = 0, and the running
 * variance takes v itself.
 */
#ifndef EDIY_OP_NORM_H
#define EDIY_OP_NORM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/real.h"

#ifndef EDIY_OP_NORM_SHAPE
#define EDIY_OP_NORM_SHAPE
struct norm {
  ptrdiff_t m, c; /* rows, channels */
  double eps, momentum;
  bool relu;
  /* For backends that have them (backend.h), else null: */
  unsigned char *signs;  /* with relu, norm_signs bytes */
  const double *moments; /* of x, as conv_forward_moments left them */
};
#endif

#define norm_scratch REAL_NAME(norm_scratch)
#define norm_forward_train REAL_NAME(norm_forward_train)
#define norm_forward_eval REAL_NAME(norm_forward_eval)
#define norm_eval_part REAL_NAME(norm_eval_part)
#define norm_backward_train REAL_NAME(norm_backward_train)
#define norm_backward_eval REAL_NAME(norm_backward_eval)
#define norm_rank_moments REAL_NAME(norm_rank_moments)
#define norm_rank_forward REAL_NAME(norm_rank_forward)
#define norm_rank_gradient REAL_NAME(norm_rank_gradient)
#define norm_rank_backward REAL_NAME(norm_rank_backward)

/* Scratch of any function below, in doubles. */
ptrdiff_t norm_scratch(const struct norm *g);

/* residual: null, or m x c added before the ReLU. running_mean, running_var (c): updated. y: overwritten; may not overlap x.
 * Saved for backward: mean (c), invstd = 1 / sqrt(v + eps) (c), as doubles, and y itself when relu (its sign is the mask). */
void norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta, real *running_mean,
                        real *running_var, real *y, double *mean, double *invstd, double *scratch);

void norm_forward_eval(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                       const real *running_mean, const real *running_var, real *y);

/* The same in place, on the calling thread, for rows [row, row + rows) and channels [channel, channel + channels) of y alone: for
 * conv_norm_forward_eval, which has just computed them. At most 1024 channels. */
void norm_eval_part(const struct norm *g, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t channel, ptrdiff_t channels, const real *residual,
                    const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y);

/* With d = dy where y > 0, else 0 (d = dy without relu), and xhat = (x - mean) invstd:
 *     dgamma[c] += sum d xhat,  dbeta[c] += sum d,  dresidual = d
 *     dx = gamma invstd (d - mean over rows of d - xhat * mean over rows of d xhat)
 * dx: overwritten; may be the same array as dy. dresidual: null or overwritten; may not overlap the others. dgamma, dbeta:
 * accumulated. y may be null when !relu. */
void norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean, const double *invstd,
                         const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, double *scratch);

/* mu and v are constants: dx = gamma / sqrt(running_var + eps) d; the rest as above. */
void norm_backward_eval(const struct norm *g, const real *x, const real *y, const real *gamma, const real *running_mean,
                        const real *running_var, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, double *scratch);

/* ---- the same over several ranks (base/ranks.h) ---------------------------------------------------------------------------------------
 *
 * Each of `ranks` ranks holds m of the rows. It sums its own, the sums of all are gathered (ranks x 2 x c doubles, in the order of the
 * ranks), and every rank joins them in that order: mean, variance and gradient are those of ranks * m rows, the same bits on every rank,
 * and for one rank those of norm_forward_train and norm_backward_train. Arguments are as there. */

/* sums: 2 x c, overwritten: of the rows, sum x and sum (x - their own mean)^2. */
void norm_rank_moments(const struct norm *g, const real *x, double *sums, double *scratch);

/* sums: what all ranks' norm_rank_moments gave. */
void norm_rank_forward(const struct norm *g, int ranks, const double *sums, const real *x, const real *residual, const real *gamma,
                       const real *beta, real *running_mean, real *running_var, real *y, double *mean, double *invstd);

/* sums: 2 x c, overwritten: of the rows, sum d and sum d (x - mean). dgamma, dbeta: what these rows give is added; the sum over the ranks
 * is that of the whole batch. */
void norm_rank_gradient(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd, const real *dy,
                        real *dgamma, real *dbeta, double *sums, double *scratch);

/* sums: what all ranks' norm_rank_gradient gave. */
void norm_rank_backward(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                        const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, double *scratch);

#endif
