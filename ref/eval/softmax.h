/* Softmax regression: logits = x w^T + b, the loss the mean cross-entropy, trained by SGD with Nesterov momentum. x: rows x d, w: c x d,
 * b: c; row-major.
 *
 *     loss = mean over rows of (ln sum_j exp(l_j) - l_label)
 *     m = mu m + g;   w -= lr (g + mu m)          Nesterov as in PyTorch's SGD and optax.sgd, from m = 0
 */
#ifndef EDIY_EVAL_SOFTMAX_H
#define EDIY_EVAL_SOFTMAX_H

#include <stddef.h>
#include <stdint.h>

#include "base/real.h"

#ifndef EDIY_EVAL_SOFTMAX_SHAPE
#define EDIY_EVAL_SOFTMAX_SHAPE
struct softmax_shape {
  ptrdiff_t rows, d, c; /* rows of a batch, features, classes; all >= 1 */
};
#endif

#define softmax_logits REAL_NAME(softmax_logits)
#define softmax_cross_entropy REAL_NAME(softmax_cross_entropy)
#define softmax_weights_gradient REAL_NAME(softmax_weights_gradient)
#define softmax_gradient_scratch REAL_NAME(softmax_gradient_scratch)
#define softmax_scratch REAL_NAME(softmax_scratch)
#define softmax_loss REAL_NAME(softmax_loss)
#define nesterov_step REAL_NAME(nesterov_step)

/* logits: rows x c, overwritten. */
void softmax_logits(const struct softmax_shape *g, const real *x, const real *w, const real *b, real *logits);

/* One row: ln sum exp(l) - l[label] in double, safe for logits of any size, and dlogits = scale (softmax(l) - onehot(label)), overwritten;
 * dlogits may be null or the logits themselves. 0 <= label < c. */
double softmax_cross_entropy(ptrdiff_t c, const real *logits, int32_t label, double scale, real *dlogits);

/* dw = dlogits^T x, overwritten, as linear_backward_weights sums (op/linear.h). scratch: softmax_gradient_scratch(g, omp_get_max_threads())
 * reals, aligned for pointers. */
ptrdiff_t softmax_gradient_scratch(const struct softmax_shape *g, int threads);
void softmax_weights_gradient(const struct softmax_shape *g, const real *x, const real *dlogits, real *dw, real *scratch);

/* Reals of scratch that softmax_loss needs on this many threads. */
ptrdiff_t softmax_scratch(const struct softmax_shape *g, int threads);

/* The mean cross-entropy of a batch and its gradient. label: rows, in [0, c). dw, db: overwritten. scratch: softmax_scratch(g,
 * omp_get_max_threads()) reals; row_loss: rows doubles, overwritten by the loss of each row. Sums over rows are made in order (db, loss) or
 * in chunks that the shape decides (dw). */
double softmax_loss(const struct softmax_shape *g, const real *x, const int32_t *label, const real *w, const real *b, real *dw, real *db,
                    real *scratch, double *row_loss);

/* One step of n parameters; g: gradient, m: momentum buffer, w: parameters; each element in double, rounded when stored. */
void nesterov_step(ptrdiff_t n, double lr, double mu, const real *g, real *m, real *w);

#endif
