/* Convolution on tensor cores against the plain forms of rounded operands, in every class: exact for integers, else within the bound of
 * its sum; nothing left unwritten. And, in fp32 too, the same bits again, by the plain kernel, and the scratch of it all. cuda.conv=plain,
 * the plain kernel for every shape, is held to the same. */
#include <math.h>

#include "cuda/conv_fixture.h"

static const struct conv_shape shapes[] = {
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
    {6, 20, 20, 8, 8, 3, 3, 1, 1, "three chunks of positions"},
    {1, 30, 52, 1, 3, 3, 3, 1, 1, "two chunks, one channel"},
    {6, 20, 20, 3, 8, 3, 3, 1, 1, "three chunks, channels with zeros beside them"},
    {1, 6, 7, 8, 8, 5, 6, 1, 2, "a kernel that is not square, and the next slabs' taps are behind the last"},
    {1, 16, 17, 8, 8, 15, 15, 1, 1, "as many rows of a kernel as have bits"},
    {1, 17, 17, 8, 8, 16, 16, 1, 0, "more rows of a kernel than have bits"},
    {2, 11, 13, 72, 72, 1, 1, 1, 0, "a large tile of dw over more than a ring of slabs"},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], SEVERAL_CHUNKS = 12 };

static void make(struct fixture *f, const struct backend *b, int i, bool ints) { fixture_make(f, b, &shapes[i], ints, false); }

static void check(const struct fixture *f, struct result *r, bool ints) {
  test_tensor_result(f->b, r->activations, ints, r->device, r->expected, r->magnitude, r->size, r->length, f->what);
  result_free(r);
}

static void forward(struct fixture *f, bool ints) {
  struct result y = result_y(f);
  f->b->conv_forward(&f->g, f->dev_x, f->dev_w, y.device, f->scratch);
  check(f, &y, ints);
}

static void backward_data(struct fixture *f, bool ints, bool accumulate) {
  struct result dx = result_dx(f, ints, accumulate);
  f->b->conv_backward_data(&f->g, f->dev_dy, f->dev_w, dx.device, accumulate, f->scratch);
  check(f, &dx, ints);
}

static void backward_weights(struct fixture *f, bool ints) {
  struct result dw = result_dw(f, ints);
  f->b->conv_backward_weights(&f->g, f->dev_x, f->dev_dy, dw.device, f->scratch);
  check(f, &dw, ints);
}

static void forward_is_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 2 * CLASSES * SHAPES; i++) {
    struct fixture f;
    bool ints = i % 2 == 0;
    make(&f, class_of(i / 2), i / 2 / CLASSES, ints);
    forward(&f, ints);
    fixture_free(&f);
  }
}

static void backward_data_is_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 4 * CLASSES * SHAPES; i++) {
    struct fixture f;
    bool ints = i % 2 == 0;
    make(&f, class_of(i / 4), i / 4 / CLASSES, ints);
    backward_data(&f, ints, i / 2 % 2);
    fixture_free(&f);
  }
}

static void backward_weights_adds_the_sum(void **state) {
  (void)state;
  for (int i = 0; i < 2 * CLASSES * SHAPES; i++) {
    struct fixture f;
    bool ints = i % 2 == 0;
    make(&f, class_of(i / 2), i / 2 / CLASSES, ints);
    backward_weights(&f, ints);
    fixture_free(&f);
  }
}

/* cuda.conv=plain in the classes of rounded operands. For integers, and in fp32, it has the bits of the others (below). */
static void the_plain_kernel_is_within_the_bound_of_its_class(void **state) {
  (void)state;
  for (int i = 0; i < 2 * SHAPES; i++) {
    struct fixture f;
    make(&f, device_backend_by(i % 2 ? CUDA_BF16 : CUDA_TF32, CUDA_CONV_PLAIN), i / 2, false);
    forward(&f, false), backward_data(&f, false, true), backward_weights(&f, false);
    fixture_free(&f);
  }
}

/* ---- to the bit ---------------------------------------------------------------------------------------------------------------------- */

/* The three results of a fixture, from pointers that may be moved by elements of their own within larger allocations. */
struct results {
  real *y, *dx, *dw;
};

static void *moved_by(void *p, ptrdiff_t bytes) { return (char *)p + bytes; }

/* A copy on the device that begins `shift` elements later: with one, no address is a multiple of 16. */
static real *shifted(const struct fixture *f, const real *device, ptrdiff_t n, ptrdiff_t shift) {
  ptrdiff_t size = (ptrdiff_t)f->b->activation_size;
  char *host = malloc((size_t)((n + shift) * size)), *bytes = device_read_bytes(device, (size_t)(n * size));
  if (!host) abort();
  memset(host, 0xff, (size_t)(shift * size));
  memcpy(host + shift * size, bytes, (size_t)(n * size));
  real *p = moved_by(device_from_bytes(host, (size_t)((n + shift) * size)), shift * size);
  free(host), free(bytes);
  return p;
}

/* On the host, to be freed. */
static struct results run(struct fixture *f, ptrdiff_t shift) {
  ptrdiff_t activation = (ptrdiff_t)f->b->activation_size;
  real *x = shifted(f, f->dev_x, f->xs, shift), *dy = shifted(f, f->dev_dy, f->ys, shift), *w = shifted(f, f->dev_w, f->ws, shift),
       *zero = test_reals(f->ws);
  real *y = moved_by(device_activations(f->b, f->ys + shift), shift * activation),
       *dx = moved_by(device_activations(f->b, f->xs + shift), shift * activation), *dw = device_from(zero, f->ws);
  f->b->conv_forward(&f->g, x, w, y, f->scratch);
  f->b->conv_backward_data(&f->g, dy, w, dx, false, f->scratch);
  f->b->conv_backward_weights(&f->g, x, dy, dw, f->scratch);
  free(zero);
  return (struct results){device_read_activations(f->b, y, f->ys), device_read_activations(f->b, dx, f->xs), device_read(dw, f->ws)};
}

static void assert_same_results(const struct fixture *f, struct results a, struct results b) {
  assert_memory_equal(a.y, b.y, (size_t)f->ys * sizeof(real));
  assert_memory_equal(a.dx, b.dx, (size_t)f->xs * sizeof(real));
  assert_memory_equal(a.dw, b.dw, (size_t)f->ws * sizeof(real));
  free(a.y), free(a.dx), free(a.dw);
}

/* The same call twice: the same bits. And with every number at an odd address, where the plain kernel computes, and by cuda.conv=plain: the
 * same chains in fp32, and in the others sums that are exact in any order. */
static void results_are_the_same_bits_again_and_by_the_plain_kernel(void **state) {
  (void)state;
  enum { AGAIN, ODD_ADDRESSES, PLAIN, WAYS };
  for (int i = 0; i < WAYS * CUDA_PRECISIONS * SHAPES; i++) {
    struct fixture f;
    enum cuda_precision precision = (enum cuda_precision)(i / WAYS % CUDA_PRECISIONS);
    int way = i % WAYS;
    make(&f, device_backend_in(precision), i / WAYS / CUDA_PRECISIONS, way != AGAIN && precision != CUDA_FP32);
    struct results first = run(&f, 0);
    if (way == PLAIN) f.b = device_backend_by(precision, CUDA_CONV_PLAIN);
    assert_same_results(&f, run(&f, way == ODD_ADDRESSES), first);
    free(first.y), free(first.dx), free(first.dw);
    fixture_free(&f);
  }
}

/* Numbers beside the ties of both formats. */
static const float numbers[] = {1,           0x1.008p0f,     0x1.01p0f,       0x1.02p0f, 0x1.03p0f,   0x1.0102p0f,
                                0x1.00fep0f, 0x1.001p0f,     0x1.003p0f,      0x1p-3f,   -0x1.002p0f, -0x1.001002p0f,
                                0x1.fffp0f,  0x1.000ffep-5f, -0x1.0300002p9f, 3};
enum { NUMBERS = sizeof numbers / sizeof numbers[0] };

/* The numbers `apart` from each other, in an otherwise empty matrix of NUMBERS + 1 columns. */
static real *spread(const real *x, ptrdiff_t first, ptrdiff_t apart) {
  real *m = test_reals((NUMBERS + 1) * (NUMBERS + 1));
  for (int i = 0; i < NUMBERS; i++) m[first + i * apart] = x[i];
  return m;
}

/* Each operand of each product in turn holds the numbers and the other one a single 1, so that the results are the numbers as operands. In
 * whole pieces, and with a channel more and no scratch, by the plain kernel. */
static void operands_are_rounded_to_nearest(void **state) {
  (void)state;
  for (int i = 0; i < 2 * CLASSES; i++) {
    const struct backend *c = class_of(i);
    ptrdiff_t channels = NUMBERS + i / CLASSES, all = (NUMBERS + 1) * (NUMBERS + 1);
    struct error err = {0};
    struct conv g;
    if (!conv_make(&g, NUMBERS + 1, 1, 1, channels, channels, 1, 1, 1, 0, &err)) fail_msg("%s", err.text);
    real *rounded = test_operand(c, numbers, NUMBERS), *one = test_reals(all), *zero = test_reals(all);
    real *row = spread(numbers, channels, 1), *column = spread(numbers, 1, channels); /* of row 1, and of column 1 */
    real *first_row = spread(numbers, 0, 1),
         *expected[] = {spread(rounded, 0, 1), spread(rounded, 1, channels), spread(rounded, channels, 1)};
    enum { FIRST_ROW, COLUMN, ROW };
    one[1] = 1; /* row 0, column 1 */
    real *dev_one = device_activations_from(c, one, all), *center = test_reals(all);
    center[channels + 1] = 1;
    real *dev_center = device_activations_from(c, center, all);
    const struct {
      real *result;
      int expected;
    } made[] = {{device_activations(c, all), FIRST_ROW}, {device_activations(c, all), COLUMN}, {device_activations(c, all), FIRST_ROW},
                {device_activations(c, all), COLUMN},    {device_from(zero, all), ROW},        {device_from(zero, all), COLUMN}};
    c->conv_forward(&g, dev_one, device_activations_from(c, column, all), made[0].result, NULL);                 /* w, a column */
    c->conv_forward(&g, device_activations_from(c, column, all), dev_center, made[1].result, NULL);              /* x */
    c->conv_backward_data(&g, dev_one, device_activations_from(c, row, all), made[2].result, false, NULL);       /* w, a row */
    c->conv_backward_data(&g, device_activations_from(c, column, all), dev_center, made[3].result, false, NULL); /* dy */
    c->conv_backward_weights(&g, device_activations_from(c, first_row, all), dev_one, made[4].result, NULL);     /* x */
    c->conv_backward_weights(&g, dev_one, device_activations_from(c, first_row, all), made[5].result, NULL);     /* dy */
    for (int m = 0; m < 6; m++) {
      ptrdiff_t size = (m < 4 ? NUMBERS + 1 : channels) * channels;
      real *got = m < 4 ? device_read_activations(c, made[m].result, size) : device_read(made[m].result, size);
      for (ptrdiff_t e = 0; e < size; e++)
        if (got[e] != expected[made[m].expected][e])
          fail_msg("%s, %td channels, result %d: [%td] is %a, expected %a", c->name, channels, m, e, (double)got[e],
                   (double)expected[made[m].expected][e]);
      free(got);
    }
    free(rounded), free(one), free(zero), free(row), free(column), free(first_row), free(center);
    for (int e = 0; e < 3; e++) free(expected[e]);
    device_end();
  }
}

/* A result in bf16 is the sum rounded once, to nearest, ties to even: 1 + 2^-8 and what lies beside it, summed from parts that are bf16. */
static void results_are_rounded_once(void **state) {
  (void)state;
  static const struct {
    float part[3], sum;
  } sums[] = {{{1, 0x1p-8f, 0}, 1},
              {{1, 0x1p-8f, 0x1p-20f}, 0x1.02p0f},
              {{1, 0x1p-8f, -0x1p-20f}, 1},
              {{1, 0x1.8p-7f, 0}, 0x1.04p0f},
              {{1, 0x1.8p-7f, -0x1p-20f}, 0x1.02p0f}};
  const struct backend *c = device_backend_in(CUDA_BF16);
  for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
    struct error err = {0};
    struct conv g;
    real ones[3] = {1, 1, 1}, last[1] = {sums[i].part[2]};
    if (!conv_make(&g, 1, 1, 1, 3, 1, 1, 1, 1, 0, &err)) fail_msg("%s", err.text);
    real *y = device_activations(c, 1);
    c->conv_forward(&g, device_activations_from(c, sums[i].part, 3), device_activations_from(c, ones, 3), y, NULL);
    real *got = device_read_activations(c, y, 1);
    assert_true(got[0] == sums[i].sum);
    free(got);

    if (!conv_make(&g, 1, 1, 1, 1, 2, 1, 1, 1, 0, &err)) fail_msg("%s", err.text);
    real *dx = device_activations_from(c, last, 1); /* what dx held is a part of the sum, too */
    c->conv_backward_data(&g, device_activations_from(c, sums[i].part, 2), device_activations_from(c, ones, 2), dx, true, NULL);
    got = device_read_activations(c, dx, 1);
    assert_true(got[0] == sums[i].sum);
    free(got);
    device_end();
  }
}

/* A NaN in x reaches the outputs whose windows hold it, one in the weights its output channel, and neither any other: what is read beside a
 * matrix is no number of it. */
static void a_nan_stays_where_it_belongs(void **state) {
  (void)state;
  for (int i = 0; i < CLASSES * SHAPES; i++) {
    struct fixture f;
    make(&f, class_of(i), i / CLASSES, false);
    f.x[f.xs / 2] = (real)NAN;
    ptrdiff_t depth = f.ws / f.g.k, channel = f.g.k / 2;
    real *y = device_activations(f.b, f.ys), *expected = test_reals(f.ys);
    conv_forward_plain(&f.g, f.x, f.w, expected);
    f.b->conv_forward(&f.g, device_activations_from(f.b, f.x, f.xs), f.dev_w, y, f.scratch);
    real *got = device_read_activations(f.b, y, f.ys);
    for (ptrdiff_t k = 0; k < f.ys; k++) assert_int_equal(isnan(got[k]), isnan(expected[k]));
    free(got);

    for (ptrdiff_t k = 0; k < depth; k++) f.w[channel * depth + k] = (real)NAN;
    f.b->conv_forward(&f.g, f.dev_x, device_activations_from(f.b, f.w, f.ws), y, f.scratch);
    got = device_read_activations(f.b, y, f.ys);
    for (ptrdiff_t k = 0; k < f.ys; k++) assert_int_equal(isnan(got[k]), k % f.g.k == channel);
    free(got), free(expected);
    fixture_free(&f);
  }
}

/* The cut into chunks is the shape's, and three shapes above have several. In front: partial dw of chunks, or of channels with zeros beside
 * them. Behind: x and w with those zeros. */
static void chunks_and_copies_need_scratch(void **state) {
  (void)state;
  for (int i = 0; i < CUDA_PRECISIONS * SHAPES; i++) {
    int shape = i / CUDA_PRECISIONS;
    const struct backend *b = device_backend_in((enum cuda_precision)(i % CUDA_PRECISIONS));
    struct conv g = conv_of_shape(&shapes[shape]);
    ptrdiff_t size = (ptrdiff_t)b->activation_size, piece = 16 / size, wide = (g.c + piece - 1) / piece * piece;
    ptrdiff_t chunks = shape == SEVERAL_CHUNKS || shape == SEVERAL_CHUNKS + 2 ? 3 : shape == SEVERAL_CHUNKS + 1 ? 2 : wide > g.c ? 1 : 0;
    ptrdiff_t partials = chunks * g.k * g.r * g.s * wide * (ptrdiff_t)sizeof(float);
    ptrdiff_t copies = wide > g.c ? (g.n * g.h * g.w + g.k * g.r * g.s) * wide * size : 0;
    assert_int_equal(b->conv_scratch(&g), partials + copies);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(forward_is_the_sum),
                                     cmocka_unit_test(backward_data_is_the_sum),
                                     cmocka_unit_test(backward_weights_adds_the_sum),
                                     cmocka_unit_test(the_plain_kernel_is_within_the_bound_of_its_class),
                                     cmocka_unit_test(results_are_the_same_bits_again_and_by_the_plain_kernel),
                                     cmocka_unit_test(operands_are_rounded_to_nearest),
                                     cmocka_unit_test(results_are_rounded_once),
                                     cmocka_unit_test(a_nan_stays_where_it_belongs),
                                     cmocka_unit_test(chunks_and_copies_need_scratch)};
  return cmocka_run_group_tests_name("cuda tensor conv", tests, NULL, NULL);
}
