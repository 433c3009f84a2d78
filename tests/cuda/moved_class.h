/* The reference with the roundings of a class of precision, each up or down at random: how far a run in the class may be from the
 * reference, measured and not guessed. A number between two neighbours becomes the upper one with the probability of its place between
 * them, so that it is off by up to a whole spacing where a right implementation is off by half of one, and in other places in every draw.
 *
 *     tf32   operands of products
 *     bf16   activations and their gradients where they are stored, weights where products load them */
#ifndef EDIY_TESTS_CUDA_MOVED_CLASS_H
#define EDIY_TESTS_CUDA_MOVED_CLASS_H

#include "cuda/device.h"
#include "support/bf16_table.h"

static struct philox class_moves;

/* Cuts so many bits off, after something was added that they may carry over. */
static float class_rounded(float x, int bits) {
  uint32_t word, cut = ((uint32_t)1 << bits) - 1;
  memcpy(&word, &x, sizeof word);
  if (!isfinite(x)) return x;
  word = (word + (philox_u32(&class_moves) & cut)) & ~cut;
  memcpy(&x, &word, sizeof word);
  return x;
}

static uint16_t class_bf16(float x) { return bf16_round(class_rounded(x, 16)); }

static real *class_operand(const real *x, ptrdiff_t n) {
  enum { CUT = 13 }; /* of float's 24 bits, tf32 has 11 */
  real *y = test_reals(n);
  for (ptrdiff_t i = 0; i < n; i++) y[i] = class_rounded(x[i], CUT);
  return y;
}

static void class_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  real *a = class_operand(x, g->n * g->h * g->w * g->c), *b = class_operand(w, g->k * g->r * g->s * g->c);
  backend_reference()->conv_forward(g, a, b, y, scratch);
  free(a), free(b);
}

static void class_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch) {
  real *a = class_operand(dy, g->n * g->p * g->q * g->k), *b = class_operand(w, g->k * g->r * g->s * g->c);
  backend_reference()->conv_backward_data(g, a, b, dx, accumulate, scratch);
  free(a), free(b);
}

static void class_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  real *a = class_operand(x, g->n * g->h * g->w * g->c), *b = class_operand(dy, g->n * g->p * g->q * g->k);
  backend_reference()->conv_backward_weights(g, a, b, dw, scratch);
  free(a), free(b);
}

static void class_linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  real *rows = class_operand(x, g->m * g->i), *weights = class_operand(w, g->o * g->i);
  backend_reference()->linear_forward(g, rows, weights, b, y);
  free(rows), free(weights);
}

static void class_linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  real *rows = class_operand(dy, g->m * g->o), *weights = class_operand(w, g->o * g->i);
  backend_reference()->linear_backward_data(g, rows, weights, dx, accumulate);
  free(rows), free(weights);
}

/* db is a sum of floats in every class. */
static void class_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  real *a = class_operand(x, g->m * g->i), *b = class_operand(dy, g->m * g->o), *unused = test_reals(g->o * g->i);
  backend_reference()->linear_backward_weights(g, a, b, dw, NULL, scratch);
  if (db) backend_reference()->linear_backward_weights(g, x, dy, unused, db, scratch);
  free(a), free(b), free(unused);
}

/* Another draw, other roundings. One at a time. */
static const struct backend *backend_moved_in(enum cuda_precision precision, uint32_t draw) {
  static struct backend table;
  class_moves = philox_stream(1, PHILOX_TEST, 11, draw, 0);
  bf16_rounding = class_bf16;
  if (precision == CUDA_BF16) {
    table = backend_bf16_over(backend_reference());
    return &table;
  }
  table = *backend_reference();
  table.conv_forward = class_conv_forward;
  table.conv_norm_forward_eval = NULL;
  table.conv_backward_data = class_conv_backward_data;
  table.conv_backward_weights = class_conv_backward_weights;
  table.linear_forward = class_linear_forward;
  table.linear_backward_data = class_linear_backward_data;
  table.linear_backward_weights = class_linear_backward_weights;
  return &table;
}

#endif
