/* Convolution on tensor cores against the plain forms of rounded operands, in both classes: exact for integers, else within the bound of its sum; whole pieces
 * and gathered ones the same bits; nothing left unwritten. */
#include <math.h>

#include "cuda/classes.h"

static const struct {
  ptrdiff_t n, h, w, c, k, r, s, stride, pad;
  const char *what;
} shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, "one of everything"},
    {2, 7, 5, 3, 5, 3, 3, 1, 1, "odd sizes"},
    {2, 9, 8, 3, 16, 7, 7, 2, 3, "the stem: channels of x are no pieces"},
    {2, 6, 6, 8, 72, 1, 1, 1, 0, "whole pieces, one slab"},
    {1, 3, 3, 70, 66, 1, 1, 1, 0, "more channels than a tile, no pieces"},
    {1, 5, 7, 72, 136, 3, 3, 1, 1, "more than a ring of slabs, tiles that are not full"},
    {2, 8, 7, 8, 16, 1, 1, 2, 0, "1x1/2: pixels that no output reads"},
    {2, 8, 8, 40, 24, 3, 3, 2, 1, "3x3/2: a slab ends within a tap"},
    {2, 9, 7, 16, 8, 3, 3, 2, 1, "3x3/2 of odd sizes: two taps a slab"},
    {1, 5, 6, 8, 3, 3, 2, 3, 1, "a kernel that is not square, stride 3, y no pieces"},
    {2, 2, 2, 4, 4, 7, 7, 2, 3, "a kernel larger than the map; pieces of float only"},
    {2, 4, 3, 24, 9, 3, 3, 1, 2, "more padding than the kernel needs"},
    {4, 20, 20, 8, 8, 3, 3, 1, 1, "three chunks of positions"},
    {1, 30, 40, 1, 3, 3, 3, 1, 1, "two chunks, gathered"},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], SEVERAL_CHUNKS = SHAPES - 2 };

struct fixture {
  const struct class *c;
  const char *what;
  struct conv g;
  ptrdiff_t xs, ws, ys;
  real *x, *w, *dy;    /* host, as operands */
  real *ax, *aw, *ady; /* their magnitudes */
  real *dev_x, *dev_w, *dev_dy;
  void *scratch;
};

static void fixture_make_of(struct fixture *f, const struct class *c, struct conv g, const char *what, bool ints) {
  device_backend();
  f->c = c, f->what = what, f->g = g;
  f->xs = g.n * g.h * g.w * g.c, f->ws = g.k * g.r * g.s * g.c, f->ys = g.n * g.p * g.q * g.k;
  real *x = ints ? test_ints(f->xs, INT_RANGE, 1) : test_normal(f->xs, 1);
  real *w = ints ? test_ints(f->ws, INT_RANGE, 2) : test_normal(f->ws, 2);
  real *dy = ints ? test_ints(f->ys, INT_RANGE, 3) : test_normal(f->ys, 3);
  f->dev_x = device_activations(c, x, f->xs), f->dev_w = device_from(w, f->ws), f->dev_dy = device_activations(c, dy, f->ys);
  f->x = test_operand(c, x, f->xs), f->w = test_operand(c, w, f->ws), f->dy = test_operand(c, dy, f->ys);
  free(x), free(w), free(dy);
  f->ax = test_magnitudes(f->x, f->xs), f->aw = test_magnitudes(f->w, f->ws), f->ady = test_magnitudes(f->dy, f->ys);
  f->scratch = device_scratch(c->conv_scratch(&f->g));
}

static struct conv conv_of(int i) {
  struct error err = {0};
  struct conv g;
  if (!conv_make(&g, shapes[i].n, shapes[i].h, shapes[i].w, shapes[i].c, shapes[i].k, shapes[i].r, shapes[i].s, shapes[i].stride,
                 shapes[i].pad, &err))
    fail_msg("%s: %s", shapes[i].what, err.text);
  return g;
}

static void fixture_make(struct fixture *f, const struct class *c, int i, bool ints) {
  fixture_make_of(f, c, conv_of(i), shapes[i].what, ints);
}

static void fixture_free(struct fixture *f) {
  free(f->x), free(f->w), free(f->dy), free(f->ax), free(f->aw), free(f->ady);
  device_end();
}

static void forward(struct fixture *f, bool ints) {
  real *y = device_activations_poisoned(f->c, f->ys), *expected = test_reals(f->ys), *magnitude = test_reals(f->ys);
  conv_forward_plain(&f->g, f->x, f->w, expected);
  conv_forward_plain(&f->g, f->ax, f->aw, magnitude);
  f->c->conv_forward(&f->g, f->dev_x, f->dev_w, y, f->scratch);
  test_tensor_result(f->c, f->c->half, ints, y, expected, magnitude, f->ys, f->g.r * f->g.s * f->g.c, f->what);
  free(expected), free(magnitude);
}

static void backward_data(struct fixture *f, bool ints, bool accumulate) {
  real *before = ints ? test_ints(f->xs, INT_RANGE, 4) : test_normal(f->xs, 4);
  if (f->c->half) test_round_to_bf16(before, f->xs);
  real *expected = test_copy(before, f->xs), *magnitude = test_magnitudes(before, f->xs);
  real *dx = accumulate ? device_activations(f->c, before, f->xs) : device_activations_poisoned(f->c, f->xs);
  conv_backward_data_plain(&f->g, f->dy, f->w, expected, accumulate);
  conv_backward_data_plain(&f->g, f->ady, f->aw, magnitude, accumulate);
  f->c->conv_backward_data(&f->g, f->dev_dy, f->dev_w, dx, accumulate, f->scratch);
  test_tensor_result(f->c, f->c->half, ints, dx, expected, magnitude, f->xs, f->g.r * f->g.s * f->g.k, f->what);
  free(before), free(expected), free(magnitude);
}

static void backward_weights(struct fixture *f, bool ints) {
  real *before = ints ? test_ints(f->ws, INT_RANGE, 5) : test_normal(f->ws, 5), *expected = test_copy(before, f->ws),
       *magnitude = test_magnitudes(before, f->ws), *dw = device_from(before, f->ws);
  conv_backward_weights_plain(&f->g, f->x, f->dy, expected);
  conv_backward_weights_plain(&f->g, f->ax, f->ady, magnitude);
  f->c->conv_backward_weights(&f->g, f->dev_x, f->dev_dy, dw, f->scratch);
  test_tensor_result(f->c, false, ints, dw, expected, magnitude, f->ws, f->g.n * f->g.p * f->g.q, f->what);
  free(before), free(expected), free(magnitude);
}

static void forward_is_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 2 * CLASSES * SHAPES; i++) {
    struct fixture f;
    bool ints = i % 2 == 0;
    fixture_make(&f, &classes[i / 2 % CLASSES], i / 2 / CLASSES, ints);
    forward(&f, ints);
    fixture_free(&f);
  }
}

static void backward_data_is_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 4 * CLASSES * SHAPES; i++) {
    struct fixture f;
    bool ints = i % 2 == 0;
    fixture_make(&f, &classes[i / 4 % CLASSES], i / 4 / CLASSES, ints);
    backward_data(&f, ints, i / 2 % 2);
    fixture_free(&f);
  }
}

static void backward_weights_adds_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 2 * CLASSES * SHAPES; i++) {
    struct fixture f;
    bool ints = i % 2 == 0;
    fixture_make(&f, &classes[i / 2 % CLASSES], i / 2 / CLASSES, ints);
    backward_weights(&f, ints);
    fixture_free(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(forward_is_the_sum), cmocka_unit_test(backward_data_is_the_sum),
                                     cmocka_unit_test(backward_weights_adds_the_sum)};
  return cmocka_run_group_tests_name("cuda tensor conv", tests, NULL, NULL);
}
