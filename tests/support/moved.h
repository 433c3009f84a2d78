/* The reference with products that are off: what rounding alone may make of a step, measured and not guessed.
 *
 * Several ranks differ from one process by the order in which some sums are added up, and by what later layers make of it. Here every
 * element of every product is moved at random by up to what a sum is off but for rare cases, (2 sqrt(length) + 2) u sum |a| |b| (roundings
 * as independent errors: Higham and Mary 2019). Roundings are relative to partial sums, mostly far below sum |a| |b|, so there is room. */
#ifndef EDIY_TESTS_MOVED_H
#define EDIY_TESTS_MOVED_H

#include "op/backend.h"

#include "support/support.h"

static struct backend moved;
static struct philox moves;

/* y[i] += U(-1, 1) (2 sqrt(length) + 2) u (magnitude[i] + |y[i]|); the last term is what was accumulated to. */
static void move(real *y, const real *magnitude, ptrdiff_t n, ptrdiff_t length) {
  double most = (2 * sqrt((double)length) + 2) * REAL_ROUNDOFF;
  for (ptrdiff_t i = 0; i < n; i++) y[i] += (real)((2 * philox_uniform(&moves) - 1) * most * ((double)magnitude[i] + fabs((double)y[i])));
}

static void moved_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  ptrdiff_t n = g->n * g->p * g->q * g->k, depth = g->r * g->s * g->c;
  real *ax = test_magnitudes(x, g->n * g->h * g->w * g->c), *aw = test_magnitudes(w, g->k * depth), *magnitude = test_reals(n);
  backend_reference()->conv_forward(g, ax, aw, magnitude, scratch);
  backend_reference()->conv_forward(g, x, w, y, scratch);
  move(y, magnitude, n, depth);
  free(ax), free(aw), free(magnitude);
}

static void moved_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch) {
  ptrdiff_t n = g->n * g->h * g->w * g->c, depth = g->r * g->s * g->k;
  real *ady = test_magnitudes(dy, g->n * g->p * g->q * g->k), *aw = test_magnitudes(w, depth * g->c), *magnitude = test_reals(n);
  backend_reference()->conv_backward_data(g, ady, aw, magnitude, false, scratch);
  backend_reference()->conv_backward_data(g, dy, w, dx, accumulate, scratch);
  move(dx, magnitude, n, depth);
  free(ady), free(aw), free(magnitude);
}

static void moved_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  ptrdiff_t n = g->k * g->r * g->s * g->c, depth = g->n * g->p * g->q;
  real *ax = test_magnitudes(x, g->n * g->h * g->w * g->c), *ady = test_magnitudes(dy, depth * g->k), *magnitude = test_reals(n);
  backend_reference()->conv_backward_weights(g, ax, ady, magnitude, scratch);
  backend_reference()->conv_backward_weights(g, x, dy, dw, scratch);
  move(dw, magnitude, n, depth);
  free(ax), free(ady), free(magnitude);
}

static void moved_linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  ptrdiff_t n = g->m * g->o;
  real *ax = test_magnitudes(x, g->m * g->i), *aw = test_magnitudes(w, g->o * g->i), *magnitude = test_reals(n);
  backend_reference()->linear_forward(g, ax, aw, NULL, magnitude);
  backend_reference()->linear_forward(g, x, w, b, y);
  move(y, magnitude, n, g->i);
  free(ax), free(aw), free(magnitude);
}

static void moved_linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  ptrdiff_t n = g->m * g->i;
  real *ady = test_magnitudes(dy, g->m * g->o), *aw = test_magnitudes(w, g->o * g->i), *magnitude = test_reals(n);
  backend_reference()->linear_backward_data(g, ady, aw, magnitude, false);
  backend_reference()->linear_backward_data(g, dy, w, dx, accumulate);
  move(dx, magnitude, n, g->o);
  free(ady), free(aw), free(magnitude);
}

static void moved_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  ptrdiff_t n = g->o * g->i;
  real *ax = test_magnitudes(x, g->m * g->i), *ady = test_magnitudes(dy, g->m * g->o), *magnitude = test_reals(n);
  backend_reference()->linear_backward_weights(g, ax, ady, magnitude, NULL, scratch);
  backend_reference()->linear_backward_weights(g, x, dy, dw, db, scratch);
  move(dw, magnitude, n, g->m);
  free(ax), free(ady), free(magnitude);
}

/* Another draw, other errors. One at a time. */
static const struct backend *backend_moved(uint32_t draw) {
  moved = *backend_reference();
  moves = philox_stream(1, PHILOX_TEST, 9, draw, 0);
  moved.conv_forward = moved_conv_forward;
  moved.conv_norm_forward_eval = NULL;
  moved.conv_backward_data = moved_conv_backward_data;
  moved.conv_backward_weights = moved_conv_backward_weights;
  moved.linear_forward = moved_linear_forward;
  moved.linear_backward_data = moved_linear_backward_data;
  moved.linear_backward_weights = moved_linear_backward_weights;
  return &moved;
}

/* What another rounding may make of a number, or of the largest distance in a tensor, from by how much each of the draws is off: it is one
 * more draw, off by less. Not beyond six of their root mean square, as Student's t with eight degrees of freedom is once in 3000, and the
 * largest of many less often. */
enum { MOVED_DRAWS = 8 };
static inline double moved_limit(const double off[MOVED_DRAWS]) {
  double squares = 0;
  for (int d = 0; d < MOVED_DRAWS; d++) squares += off[d] * off[d];
  return 6 * sqrt(squares / MOVED_DRAWS);
}

/* The largest distance of two elements; NaN if any is one. */
static inline double moved_apart(const real *a, const real *b, ptrdiff_t n) {
  double most = 0;
  for (ptrdiff_t i = 0; i < n; i++) {
    double e = fabs((double)a[i] - (double)b[i]);
    if (isnan(e)) return e;
    most = fmax(most, e);
  }
  return most;
}

#endif
