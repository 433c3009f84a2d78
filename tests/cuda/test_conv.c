/* The convolution's twins in fp32, to the bit, against chains of fused multiply-adds in the order that conv.h names, and the reference.
 * What is true in every class is in test_tensor_conv.c. */
#include <math.h>

#include "cuda/conv_fixture.h"

static const struct conv_shape shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, "one of everything"},
    {2, 7, 5, 3, 5, 3, 3, 1, 1, "odd sizes"},
    {2, 9, 8, 3, 4, 7, 7, 2, 3, "the stem"},
    {1, 1, 1, 5, 7, 1, 1, 1, 0, "a map of one pixel"},
    {2, 6, 6, 8, 70, 1, 1, 1, 0, "more outputs than a tile"},
    {1, 3, 3, 70, 66, 1, 1, 1, 0, "more channels than a tile"},
    {2, 8, 7, 4, 6, 1, 1, 2, 0, "1x1/2: pixels that no output reads"},
    {2, 8, 8, 5, 3, 3, 3, 2, 1, "3x3/2"},
    {1, 5, 6, 2, 3, 3, 2, 3, 1, "a kernel that is not square, stride 3"},
    {2, 2, 2, 3, 4, 7, 7, 2, 3, "a kernel larger than the map"},
    {2, 4, 3, 17, 9, 3, 3, 1, 2, "more padding than the kernel needs"},
    {2, 9, 8, 3, 16, 7, 7, 2, 3, "the stem with whole pieces of outputs"},
    {1, 5, 7, 72, 136, 3, 3, 1, 1, "whole pieces; more than a ring of slabs, tiles that are not full"},
    {2, 8, 8, 40, 24, 3, 3, 2, 1, "whole pieces, 3x3/2"},
    {1, 6, 7, 8, 8, 5, 6, 1, 2, "whole pieces, a kernel that is not square"},
    {1, 16, 17, 4, 4, 15, 15, 1, 1, "as many rows of a kernel as have bits"},
    {1, 17, 17, 4, 4, 16, 16, 1, 0, "more rows of a kernel than have bits"},
    {1, 5, 7, 3, 2, 2, 2, 9, 1, "a stride larger than the map"},
    {1, 5, 7, 8, 8, 2, 2, 9, 1, "whole pieces, a stride larger than the map"},
    {1, 33000, 2, 1, 1, 1, 1, 33000, 0, "more phases of backward data than a grid is deep"},
    {2, 11, 13, 72, 72, 1, 1, 1, 0, "a large tile of dw over more than a ring of slabs"},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static ptrdiff_t x_at(const struct conv *g, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c) {
  return h >= 0 && h < g->h && w >= 0 && w < g->w ? ((n * g->h + h) * g->w + w) * g->c + c : -1;
}

/* Visits the products of the definition in the order n p q k, r s c. Those outside of the map are left out: a product with 0 changes no
 * sum. */
typedef void visit(void *context, ptrdiff_t y, ptrdiff_t x, ptrdiff_t w);
static void products_in_order(const struct conv *g, visit *f, void *context) {
  for (ptrdiff_t y = 0; y < g->n * g->p * g->q * g->k; y++) {
    ptrdiff_t k = y % g->k, q = y / g->k % g->q, p = y / g->k / g->q % g->p, n = y / g->k / g->q / g->p;
    for (ptrdiff_t tap = 0; tap < g->r * g->s * g->c; tap++) {
      ptrdiff_t c = tap % g->c, s = tap / g->c % g->s, r = tap / g->c / g->s;
      ptrdiff_t x = x_at(g, n, p * g->stride + r - g->pad, q * g->stride + s - g->pad, c);
      if (x >= 0) f(context, y, x, k * g->r * g->s * g->c + tap);
    }
  }
}

struct chain {
  const real *a, *b;
  real *sum;
};
static void add_to_y(void *context, ptrdiff_t y, ptrdiff_t x, ptrdiff_t w) {
  struct chain *c = context;
  c->sum[y] = fmaf(c->a[x], c->b[w], c->sum[y]);
}
static void add_to_dw(void *context, ptrdiff_t y, ptrdiff_t x, ptrdiff_t w) {
  struct chain *c = context;
  c->sum[w] = fmaf(c->a[y], c->b[x], c->sum[w]);
}

/* dx[x] = sum over r, s, k in that order. */
static void chains_of_dx(const struct conv *g, const real *dy, const real *w, real *dx) {
  for (ptrdiff_t x = 0; x < g->n * g->h * g->w * g->c; x++) {
    ptrdiff_t c = x % g->c, v = x / g->c % g->w, h = x / g->c / g->w % g->h, n = x / g->c / g->w / g->h;
    for (ptrdiff_t tap = 0; tap < g->r * g->s * g->k; tap++) {
      ptrdiff_t k = tap % g->k, s = tap / g->k % g->s, r = tap / g->k / g->s, above = h + g->pad - r, before = v + g->pad - s;
      if (above < 0 || before < 0 || above % g->stride || before % g->stride || above / g->stride >= g->p || before / g->stride >= g->q)
        continue;
      real from = dy[((n * g->p + above / g->stride) * g->q + before / g->stride) * g->k + k];
      dx[x] = fmaf(from, w[((k * g->r + r) * g->s + s) * g->c + c], dx[x]);
    }
  }
}

static void sums_are_chains_to_the_bit(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    struct fixture f;
    fixture_make(&f, device_backend(), &shapes[i], false, false);
    real *y = test_reals(f.ys), *dx = test_reals(f.xs), *dw = test_reals(f.ws), *zero = test_reals(f.ws);
    real *dev_y = device_reals(f.ys), *dev_dx = device_reals(f.xs), *dev_dw = device_from(zero, f.ws);
    products_in_order(&f.g, add_to_y, &(struct chain){f.x, f.w, y});
    f.b->conv_forward(&f.g, f.dev_x, f.dev_w, dev_y, f.scratch);
    assert_same_bits(dev_y, y, f.ys);
    chains_of_dx(&f.g, f.dy, f.w, dx);
    f.b->conv_backward_data(&f.g, f.dev_dy, f.dev_w, dev_dx, false, f.scratch);
    assert_same_bits(dev_dx, dx, f.xs);
    products_in_order(&f.g, add_to_dw, &(struct chain){f.dy, f.x, dw});
    f.b->conv_backward_weights(&f.g, f.dev_x, f.dev_dy, dev_dw, f.scratch);
    assert_same_bits(dev_dw, dw, f.ws);
    free(y), free(dx), free(dw), free(zero);
    fixture_free(&f);
  }
}

/* Shapes of several chunks, and sums that are added to. */
static void results_are_the_reference_s(void **state) {
  (void)state;
  static const struct conv_shape several[] = {{5, 32, 32, 4, 4, 1, 1, 1, 0, "six chunks"},
                                              {2, 41, 43, 3, 20, 3, 3, 1, 1, "four, of a padded width"},
                                              {3, 29, 31, 8, 130, 3, 3, 2, 1, "a phase a tile"}};
  const struct backend *cpu = backend_reference();
  device_needs_fused_reference();
  device_backend();
  for (int i = 0; i < SHAPES + 3; i++) {
    struct fixture f;
    fixture_make(&f, device_backend(), i < SHAPES ? &shapes[i] : &several[i - SHAPES], false, false);
    real *y = test_reals(f.ys), *dx = test_normal(f.xs, 4), *dw = test_normal(f.ws, 5), *dev_y = device_reals(f.ys);
    real *dev_dx = device_from(dx, f.xs), *dev_dw = device_from(dw, f.ws);
    void *scratch = malloc(cpu->conv_scratch(&f.g) + 1);
    assert_non_null(scratch);
    cpu->conv_forward(&f.g, f.x, f.w, y, scratch);
    f.b->conv_forward(&f.g, f.dev_x, f.dev_w, dev_y, f.scratch);
    assert_same_bits(dev_y, y, f.ys);
    for (int accumulate = 1; accumulate >= 0; accumulate--) {
      cpu->conv_backward_data(&f.g, f.dy, f.w, dx, accumulate, scratch);
      f.b->conv_backward_data(&f.g, f.dev_dy, f.dev_w, dev_dx, accumulate, f.scratch);
      assert_same_bits(dev_dx, dx, f.xs);
    }
    cpu->conv_backward_weights(&f.g, f.x, f.dy, dw, scratch);
    f.b->conv_backward_weights(&f.g, f.dev_x, f.dev_dy, dev_dw, f.scratch);
    assert_same_bits(dev_dw, dw, f.ws);
    free(y), free(dx), free(dw), free(scratch);
    fixture_free(&f);
  }
}

static void count_terms(void *context, ptrdiff_t y, ptrdiff_t x, ptrdiff_t w) {
  struct chain *terms = context;
  (void)w;
  terms[0].sum[y] += 1, terms[1].sum[x] += 1;
}

static real most_of(const real *x, ptrdiff_t n) {
  real most = 0;
  for (ptrdiff_t i = 0; i < n; i++) most = fmaxf(most, x[i]);
  return most;
}

/* What an oracle is told. Forward and backward data, whose sums are one chain: no fewer than the terms, and no more than zeros at a border
 * and a bias account for. */
static void chains_are_as_long_as_is_said(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct conv g = conv_of_shape(&shapes[i]);
    ptrdiff_t xs = g.n * g.h * g.w * g.c, ys = g.n * g.p * g.q * g.k;
    struct chain terms[2] = {{.sum = test_reals(ys)}, {.sum = test_reals(xs)}};
    products_in_order(&g, count_terms, terms);
    const ptrdiff_t y = device_backend()->conv_chain(&g, 0), dx = device_backend()->conv_chain(&g, 1);
    assert_true(y >= (ptrdiff_t)most_of(terms[0].sum, ys) + 1 && y <= g.r * g.s * g.c + 1);
    assert_true(dx >= (ptrdiff_t)most_of(terms[1].sum, xs) && dx <= g.r * g.s * g.k);
    if (g.pad == 0) assert_int_equal(y, (ptrdiff_t)most_of(terms[0].sum, ys) + 1);
    if (g.r == 1) assert_int_equal(dx, g.k);
    free(terms[0].sum), free(terms[1].sum);
  }
  const struct conv halved = conv_of_shape(&(struct conv_shape){2, 8, 8, 40, 24, 3, 3, 2, 1, "a phase meets four taps at most"});
  assert_int_equal(device_backend()->conv_chain(&halved, 1), 4 * 24);
}

/* Backward weights, measured: behind 2^24 a chain loses every 1, and the sums of the other chunks, joined in double, lose none. */
static void a_chunk_is_as_long_as_is_said(void **state) {
  (void)state;
  static const struct conv_shape long_ones[] = {{5, 32, 32, 4, 4, 1, 1, 1, 0, "six chunks"}, {1, 32, 50, 4, 8, 1, 1, 1, 0, "two"}};
  for (int i = 0; i < 2; i++) {
    struct fixture f;
    fixture_make(&f, device_backend(), &long_ones[i], true, false);
    const ptrdiff_t rows = f.g.n * f.g.p * f.g.q, chain = f.b->conv_chain(&f.g, 2);
    for (ptrdiff_t j = 0; j < f.xs; j++) f.x[j] = j < f.g.c ? 0x1p24f : 1;
    for (ptrdiff_t j = 0; j < f.ys; j++) f.dy[j] = 1;
    real *dw = test_reals(f.ws), *dev_dw = device_from(dw, f.ws), *x = device_from(f.x, f.xs), *dy = device_from(f.dy, f.ys);
    f.b->conv_backward_weights(&f.g, x, dy, dev_dw, f.scratch);
    real *got = device_read(dev_dw, f.ws);
    assert_true(chain > 1 && chain < rows);
    for (ptrdiff_t j = 0; j < f.ws; j++) assert_int_equal((long)got[j], (1L << 24) + rows - chain);
    free(dw), free(got);
    fixture_free(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(sums_are_chains_to_the_bit), cmocka_unit_test(results_are_the_reference_s),
                                     cmocka_unit_test(chains_are_as_long_as_is_said), cmocka_unit_test(a_chunk_is_as_long_as_is_said)};
  return cmocka_run_group_tests_name("cuda conv", tests, NULL, NULL);
}
