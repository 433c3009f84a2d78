#include "eval/softmax.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "op/linear.h"

/* The regression as a layer, whose bias is added and summed here. */
static struct linear layer_of(const struct softmax_shape *g) { return (struct linear){.m = g->rows, .i = g->d, .o = g->c}; }

void softmax_logits(const struct softmax_shape *g, const real *x, const real *w, const real *b, real *logits) {
  const struct linear layer = layer_of(g);
  linear_forward(&layer, x, w, NULL, logits);
  for (ptrdiff_t i = 0; i < g->rows; i++)
    for (ptrdiff_t j = 0; j < g->c; j++) logits[i * g->c + j] += b[j];
}

double softmax_cross_entropy(ptrdiff_t c, const real *logits, int32_t label, double scale, real *dlogits) {
  assert(0 <= label && label < c);
  double most = -INFINITY, sum = 0, own = (double)logits[label]; /* read first: dlogits may be the logits */
  for (ptrdiff_t j = 0; j < c; j++)
    if ((double)logits[j] > most) most = (double)logits[j];
  for (ptrdiff_t j = 0; j < c; j++) {
    double e = exp((double)logits[j] - most);
    sum += e;
    if (dlogits) dlogits[j] = (real)e;
  }
  if (dlogits) {
    for (ptrdiff_t j = 0; j < c; j++) dlogits[j] = (real)((double)dlogits[j] * (scale / sum));
    dlogits[label] = (real)(-scale * (1 - exp(own - most) / sum));
  }
  return log(sum) - (own - most); /* not the difference of two large numbers */
}

ptrdiff_t softmax_gradient_scratch(const struct softmax_shape *g, int threads) {
  const struct linear layer = layer_of(g);
  return linear_scratch(&layer, threads);
}

void softmax_weights_gradient(const struct softmax_shape *g, const real *x, const real *dlogits, real *dw, real *scratch) {
  const struct linear layer = layer_of(g);
  memset(dw, 0, (size_t)(g->c * g->d) * sizeof(real));
  linear_backward_weights(&layer, x, dlogits, dw, NULL, scratch);
}

/* The logits, which become their gradient, then what the product takes, aligned for pointers. */
static ptrdiff_t logits_size(const struct softmax_shape *g) { return size_ceil_div(g->rows * g->c, 16) * 16; }

ptrdiff_t softmax_scratch(const struct softmax_shape *g, int threads) { return logits_size(g) + softmax_gradient_scratch(g, threads); }

double softmax_loss(const struct softmax_shape *g, const real *x, const int32_t *label, const real *w, const real *b, real *dw, real *db,
                    real *scratch, double *row_loss) {
  softmax_logits(g, x, w, b, scratch);
#pragma omp parallel for schedule(static)
  for (ptrdiff_t i = 0; i < g->rows; i++)
    row_loss[i] = softmax_cross_entropy(g->c, scratch + i * g->c, label[i], 1 / (double)g->rows, scratch + i * g->c);
  softmax_weights_gradient(g, x, scratch, dw, scratch + logits_size(g));
  for (ptrdiff_t j = 0; j < g->c; j++) {
    double sum = 0;
    for (ptrdiff_t i = 0; i < g->rows; i++) sum += (double)scratch[i * g->c + j];
    db[j] = (real)sum;
  }
  double loss = 0;
  for (ptrdiff_t i = 0; i < g->rows; i++) loss += row_loss[i];
  return loss / (double)g->rows;
}

void nesterov_step(ptrdiff_t n, double lr, double mu, const real *g, real *m, real *w) {
#pragma omp parallel for schedule(static) if (n > 65536)
  for (ptrdiff_t i = 0; i < n; i++) {
    double momentum = mu * (double)m[i] + (double)g[i];
    m[i] = (real)momentum;
    w[i] = (real)((double)w[i] - lr * ((double)g[i] + mu * momentum));
  }
}
