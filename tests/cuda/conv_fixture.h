/* A convolution in a test of its twins: numbers on the host and on the device, and for each direction where its result goes and what has to
 * be there. Over a table of any precision and with any kernels behind it; what a result may be off by is the test's. */
#ifndef EDIY_TESTS_CUDA_CONV_FIXTURE_H
#define EDIY_TESTS_CUDA_CONV_FIXTURE_H

#include "cuda/classes.h"

struct conv_shape {
  ptrdiff_t n, h, w, c, k, r, s, stride, pad;
  const char *what;
};

static inline struct conv conv_of_shape(const struct conv_shape *shape) {
  struct error err = {0};
  struct conv g;
  if (!conv_make(&g, shape->n, shape->h, shape->w, shape->c, shape->k, shape->r, shape->s, shape->stride, shape->pad, &err))
    fail_msg("%s: %s", shape->what, err.text);
  return g;
}

struct fixture {
  const struct backend *b;
  const char *what;
  struct conv g;
  ptrdiff_t xs, ws, ys;
  real *x, *w, *dy; /* host, as operands */
  real *dev_x, *dev_w, *dev_dy;
  void *scratch;
};

static inline real *fixture_numbers(ptrdiff_t n, bool ints, uint32_t stream) {
  return ints ? test_ints(n, INT_RANGE, stream) : test_normal(n, stream);
}

/* given: the device gets the operands, rounded on the host. Else it gets numbers that a kernel in tf32 has to round itself. */
static inline void fixture_make(struct fixture *f, const struct backend *b, const struct conv_shape *shape, bool ints, bool given) {
  struct conv g = conv_of_shape(shape);
  *f = (struct fixture){.b = b, .what = shape->what, .g = g};
  f->xs = g.n * g.h * g.w * g.c, f->ws = g.k * g.r * g.s * g.c, f->ys = g.n * g.p * g.q * g.k;
  real *x = fixture_numbers(f->xs, ints, 1), *w = fixture_numbers(f->ws, ints, 2), *dy = fixture_numbers(f->ys, ints, 3);
  f->x = test_operand(b, x, f->xs), f->w = test_operand(b, w, f->ws), f->dy = test_operand(b, dy, f->ys);
  f->dev_x = device_activations_from(b, given ? f->x : x, f->xs), f->dev_w = device_activations_from(b, given ? f->w : w, f->ws);
  f->dev_dy = device_activations_from(b, given ? f->dy : dy, f->ys);
  f->scratch = device_scratch(b->conv_scratch(&f->g));
  free(x), free(w), free(dy);
}

static inline void fixture_free(struct fixture *f) {
  free(f->x), free(f->w), free(f->dy);
  device_end();
}

/* ---- results ------------------------------------------------------------------------------------------------------------------------ */

/* A result of `size` numbers, activations or floats: on the device poison, or what is added to; the plain form's sums of `length` products;
 * and S, the same of magnitudes (products.h). */
struct result {
  real *device, *expected, *magnitude;
  ptrdiff_t size, length;
  bool activations;
};

/* before: what is added to, or null; is freed. */
static inline struct result result_of(const struct fixture *f, ptrdiff_t size, ptrdiff_t length, bool activations, real *before) {
  struct result r = {.size = size, .length = length, .activations = activations};
  if (activations)
    r.device = before ? device_activations_from(f->b, before, size) : device_activations(f->b, size);
  else
    r.device = device_from(before, size);
  r.expected = before ? test_copy(before, size) : test_reals(size);
  r.magnitude = test_magnitudes(r.expected, size);
  free(before);
  return r;
}

static inline void result_free(struct result *r) { free(r->expected), free(r->magnitude); }

static inline struct result result_y(const struct fixture *f) {
  struct result r = result_of(f, f->ys, f->g.r * f->g.s * f->g.c, true, NULL);
  real *ax = test_magnitudes(f->x, f->xs), *aw = test_magnitudes(f->w, f->ws);
  conv_forward_plain(&f->g, f->x, f->w, r.expected);
  conv_forward_plain(&f->g, ax, aw, r.magnitude);
  free(ax), free(aw);
  return r;
}

static inline struct result result_dx(const struct fixture *f, bool ints, bool accumulate) {
  real *before = accumulate ? fixture_numbers(f->xs, ints, 4) : NULL;
  test_round_activations(f->b, before, f->xs);
  struct result r = result_of(f, f->xs, f->g.r * f->g.s * f->g.k, true, before);
  real *ady = test_magnitudes(f->dy, f->ys), *aw = test_magnitudes(f->w, f->ws);
  conv_backward_data_plain(&f->g, f->dy, f->w, r.expected, accumulate);
  conv_backward_data_plain(&f->g, ady, aw, r.magnitude, accumulate);
  free(ady), free(aw);
  return r;
}

/* dw is added to. */
static inline struct result result_dw(const struct fixture *f, bool ints) {
  struct result r = result_of(f, f->ws, f->g.n * f->g.p * f->g.q, false, fixture_numbers(f->ws, ints, 5));
  real *ax = test_magnitudes(f->x, f->xs), *ady = test_magnitudes(f->dy, f->ys);
  conv_backward_weights_plain(&f->g, f->x, f->dy, r.expected);
  conv_backward_weights_plain(&f->g, ax, ady, r.magnitude);
  free(ax), free(ady);
  return r;
}

/* The same call twice leaves the same bits. */
static inline void fixture_dw_repeats(const struct fixture *f) {
  real *zero = test_reals(f->ws), *first = device_from(zero, f->ws), *second = device_from(zero, f->ws);
  f->b->conv_backward_weights(&f->g, f->dev_x, f->dev_dy, first, f->scratch);
  f->b->conv_backward_weights(&f->g, f->dev_x, f->dev_dy, second, f->scratch);
  real *expected = device_read(first, f->ws);
  assert_same_bits(second, expected, f->ws);
  free(expected), free(zero);
}

#endif
