/* A convolution with the norm behind it, in evaluation, as one operation: the bits of the two one after the other, where nothing is rounded
 * between them. In bf16 something would be: there the convolution is of integers, whose sums are exact in float, and the reference's norm
 * of them, rounded once, is what has to come out, to the bit. */
#include "cuda/activations.h"

static const struct {
  ptrdiff_t n, h, w, c, k, kernel, stride;
  const char *what;
} shapes[] = {{2, 9, 7, 3, 5, 3, 2, "odd sizes"},
              {1, 12, 11, 16, 72, 1, 1, "more channels than a tile is wide"},
              {3, 10, 9, 8, 24, 3, 1, "more positions than a tile is high"},
              {1, 15, 17, 3, 64, 7, 2, "a stem"},
              {1, 1, 1, 1, 1, 1, 1, "one number"},
              {1, 91, 89, 8, 72, 1, 1, "tiles of 128 x 64"},
              {1, 127, 129, 8, 104, 1, 1, "tiles of 128 x 128"}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], LARGE = SHAPES - 2 /* from there on a few cases each: they take long */, TURN = 3 };

struct fixture {
  const struct backend *gpu;
  struct conv g;
  struct norm n;
  ptrdiff_t in, weights, out;
  real *x, *w, *residual, *gamma, *beta, *mean, *var;
};

static real *positive(ptrdiff_t n, uint32_t stream) {
  real *x = test_normal(n, stream);
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (real)0.1 + (real)fabs((double)x[i]);
  return x;
}

static void fixture_make(struct fixture *f, const struct backend *gpu, int i, bool relu, bool residual) {
  struct error err = {0};
  *f = (struct fixture){.gpu = gpu};
  if (!conv_make(&f->g, shapes[i].n, shapes[i].h, shapes[i].w, shapes[i].c, shapes[i].k, shapes[i].kernel, shapes[i].kernel,
                 shapes[i].stride, shapes[i].kernel / 2, &err))
    fail_msg("%s", err.text);
  f->in = f->g.n * f->g.h * f->g.w * f->g.c, f->weights = f->g.k * f->g.r * f->g.s * f->g.c, f->out = f->g.n * f->g.p * f->g.q * f->g.k;
  f->n = (struct norm){.m = f->out / f->g.k, .c = f->g.k, .eps = 1e-5, .momentum = 0.1, .relu = relu};
  f->x = test_normal(f->in, 1), f->w = test_normal(f->weights, 2), f->residual = residual ? test_normal(f->out, 3) : NULL;
  f->gamma = test_normal(f->g.k, 4), f->beta = test_normal(f->g.k, 5), f->mean = test_normal(f->g.k, 6), f->var = positive(f->g.k, 7);
  test_round_activations(f->gpu, f->x, f->in), test_round_activations(f->gpu, f->residual, f->out);
}

static void fixture_free(struct fixture *f) {
  free(f->x), free(f->w), free(f->residual), free(f->gamma), free(f->beta), free(f->mean), free(f->var);
  device_end();
}

/* Both ways. */
static real *as_one(const struct fixture *f) {
  const struct backend *b = f->gpu;
  real *y = device_activations(b, f->out);
  ptrdiff_t k = f->g.k;
  b->conv_norm_forward_eval(&f->g, &f->n, device_activations_from(b, f->x, f->in), device_activations_from(b, f->w, f->weights),
                            device_activations_from(b, f->residual, f->out), device_from(f->gamma, k), device_from(f->beta, k),
                            device_from(f->mean, k), device_from(f->var, k), y, device_scratch(b->conv_scratch(&f->g)));
  return device_read_activations(b, y, f->out);
}
static real *as_two(const struct fixture *f) {
  const struct backend *b = f->gpu;
  real *between = device_activations(b, f->out), *y = device_activations(b, f->out);
  ptrdiff_t k = f->g.k;
  b->conv_forward(&f->g, device_activations_from(b, f->x, f->in), device_activations_from(b, f->w, f->weights), between,
                  device_scratch(b->conv_scratch(&f->g)));
  b->norm_forward_eval(&f->n, between, device_activations_from(b, f->residual, f->out), device_from(f->gamma, k), device_from(f->beta, k),
                       device_from(f->mean, k), device_from(f->var, k), y);
  return device_read_activations(b, y, f->out);
}

/* The kernels that have it, in the classes by turns, and the plain ones every second time. */
static const struct backend *table_of(int i, int turn) {
  return turn % 2 ? device_backend_by(classes[i % CLASSES].precision, CUDA_CONV_PLAIN) : class_of(i);
}

static void one_has_the_bits_of_two(void **state) {
  (void)state;
  for (int i = 0; i < 16 * SHAPES; i++) {
    struct fixture f;
    if (i / 16 >= LARGE && i % 8 != TURN && i % 16 != 4 + TURN) continue;
    fixture_make(&f, table_of(i / 4 % 2 /* fp32, tf32 */, i / 8), i / 16, i % 2, i / 2 % 2);
    real *one = as_one(&f), *two = as_two(&f);
    if (memcmp(one, two, (size_t)f.out * sizeof *one) != 0) fail_msg("%s, relu %d, residual %d", shapes[i / 16].what, i % 2, i / 2 % 2);
    free(one), free(two);
    fixture_free(&f);
  }
}

static void integers_are_normalised_as_the_reference_does(void **state) {
  (void)state;
  const struct backend *cpu = backend_reference();
  for (int i = 0; i < 8 * SHAPES * CLASSES; i++) {
    struct fixture f;
    int turn = i / CLASSES, shape = turn / 8;
    if (shape >= LARGE && turn % 8 != TURN) continue;
    fixture_make(&f, table_of(i, turn / 4), shape, turn % 2, turn / 2 % 2);
    test_fill_int(f.x, f.in, 3, 8), test_fill_int(f.w, f.weights, 3, 9);
    real *between = test_reals(f.out), *y = test_reals(f.out), *one = as_one(&f);
    void *scratch = malloc(cpu->conv_scratch(&f.g) + 1);
    if (!scratch) abort();
    cpu->conv_forward(&f.g, f.x, f.w, between, scratch);
    cpu->norm_forward_eval(&f.n, between, f.residual, f.gamma, f.beta, f.mean, f.var, y);
    test_round_activations(f.gpu, y, f.out);
    for (ptrdiff_t j = 0; j < f.out; j++)
      if (memcmp(&one[j], &y[j], sizeof y[j]) != 0)
        fail_msg("%s in %s: [%td] is %.9g, expected %.9g", shapes[shape].what, f.gpu->name, j, (double)one[j], (double)y[j]);
    free(between), free(y), free(one), free(scratch);
    fixture_free(&f);
  }
}

/* ---- moments ------------------------------------------------------------------------------------------------------------------------ */

/* Outputs of enough tiles that their rows are chunks: two tiles across or one, the last of rows and of columns not full; channels that are
 * no pieces; a copy with zeros. */
static const struct {
  ptrdiff_t n, h, w, c, k, kernel;
  const char *what;
} summed[] = {{1, 91, 89, 8, 72, 1, "tiles of 128 x 64"},
              {1, 127, 129, 8, 104, 1, "tiles of 128 x 128"},
              {2, 90, 91, 8, 27, 1, "a row of odd length"},
              {1, 128, 128, 3, 8, 3, "three channels"}};
enum { SUMMED = sizeof summed / sizeof summed[0] };

struct outputs {
  real *y, *mean, *var; /* of the norm; running statistics */
  double *mu, *invstd;
};

/* The norm behind a convolution's output, with moments or, null, without. */
static void norm_behind(const struct backend *b, const struct norm *n, const double *moments, const real *between, struct outputs *o) {
  struct norm g = *n;
  ptrdiff_t c = n->c;
  real *ones = test_reals(c);
  for (ptrdiff_t i = 0; i < c; i++) ones[i] = 1;
  g.moments = moments;
  *o = (struct outputs){device_activations(b, n->m * c), device_from(ones, c), device_from(ones, c), device_doubles(c), device_doubles(c)};
  real *gamma = device_from(ones, c);
  b->norm_forward_train(&g, between, NULL, gamma, gamma, o->mean, o->var, o->y, o->mu, o->invstd, device_scratch(b->norm_scratch(&g)));
  free(ones);
}

static void assert_equal_bytes(const struct backend *b, const void *x, const void *y, size_t bytes, const char *what) {
  void *p = malloc(bytes), *q = malloc(bytes);
  if (!p || !q) abort();
  b->download(p, x, bytes), b->download(q, y, bytes);
  if (memcmp(p, q, bytes) != 0) fail_msg("%s in %s", what, b->name);
  free(p), free(q);
}

/* odd: the tensors begin between pieces of 16 bytes, and are computed the slow way. */
static void moments_of(const struct backend *b, int i, bool odd, bool infinite) {
  struct error err = {0};
  struct conv g;
  if (!conv_make(&g, summed[i].n, summed[i].h, summed[i].w, summed[i].c, summed[i].k, summed[i].kernel, summed[i].kernel, 1,
                 summed[i].kernel / 2, &err))
    fail_msg("%s", err.text);
  ptrdiff_t in = g.n * g.h * g.w * g.c, weights = g.k * g.r * g.s * g.c, out = g.n * g.p * g.q * g.k;
  size_t one = b->activation_size, off = odd ? one : 0, bytes = (size_t)out * one;
  real *x = test_normal(in, 1), *w = test_normal(weights, 2);
  if (infinite) x[0] = (real)INFINITY;
  void *dev_x = device_activations_from(b, x, in), *dev_w = device_activations_from(b, w, weights);
  void *moved = (char *)device_activations(b, in + 1) + off, *scratch = device_scratch(b->conv_scratch(&g));
  void *with = (char *)device_activations(b, out + 1) + off, *without = device_activations(b, out);
  struct norm n = {.m = out / g.k, .c = g.k, .eps = 1e-5, .momentum = 0.1, .relu = true};
  b->copy(moved, dev_x, (size_t)in * one);
  size_t room = b->conv_moments(&g);
  assert_int_equal(room, (size_t)((n.m + 127) / 128 * 2 * n.c) * sizeof(double));
  double *moments = device_scratch(room);
  b->conv_forward_moments(&g, moved, dev_w, with, moments, scratch);
  b->conv_forward(&g, moved, dev_w, without, scratch);
  assert_equal_bytes(b, with, without, bytes, summed[i].what);
  struct outputs a, c, other;
  norm_behind(b, &n, moments, with, &a), norm_behind(b, &n, NULL, with, &c);
  b->zero(moments, room), norm_behind(b, &n, moments, with, &other); /* a norm does read them */
  assert_equal_bytes(b, a.mu, c.mu, (size_t)n.c * sizeof(double), summed[i].what);
  assert_equal_bytes(b, a.invstd, c.invstd, (size_t)n.c * sizeof(double), summed[i].what);
  assert_equal_bytes(b, a.mean, c.mean, (size_t)n.c * sizeof(real), summed[i].what);
  assert_equal_bytes(b, a.var, c.var, (size_t)n.c * sizeof(real), summed[i].what);
  assert_equal_bytes(b, a.y, c.y, bytes, summed[i].what);
  double mu;
  b->download(&mu, other.mu, sizeof mu);
  assert_true(mu == 0);
  free(x), free(w);
  device_end();
}

static void moments_have_the_bits_of_a_pass_over_the_output(void **state) {
  (void)state;
  for (int i = 0; i < SUMMED * CLASSES; i++) moments_of(class_of(i), i / CLASSES, false, false);
}

static void so_where_tensors_begin_anywhere(void **state) {
  (void)state;
  for (int i = 0; i < CLASSES; i++) moments_of(class_of(i), 0, true, false);
}

/* In the first row of a chunk, from which others are counted. */
static void and_with_an_infinity(void **state) {
  (void)state;
  for (int i = 0; i < CLASSES; i++) moments_of(class_of(i), i % 2, false, true);
}

/* Where an output is small nothing is left of it, and other kernels leave nothing. */
static void small_outputs_and_other_kernels_leave_no_moments(void **state) {
  (void)state;
  const struct backend *b = device_backend_by(CUDA_FP32, CUDA_CONV_OWN), *plain = device_backend_by(CUDA_FP32, CUDA_CONV_PLAIN);
  struct error err = {0};
  struct conv g;
  assert_true(conv_make(&g, 1, 90, 89, 8, 64, 1, 1, 1, 0, &err)); /* 63 x 1 tiles of 128 x 64 */
  assert_int_equal(b->conv_moments(&g), 0);
  assert_null(plain->conv_moments);
  assert_null(plain->conv_forward_moments);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_has_the_bits_of_two),
                                     cmocka_unit_test(integers_are_normalised_as_the_reference_does),
                                     cmocka_unit_test(moments_have_the_bits_of_a_pass_over_the_output),
                                     cmocka_unit_test(so_where_tensors_begin_anywhere),
                                     cmocka_unit_test(and_with_an_infinity),
                                     cmocka_unit_test(small_outputs_and_other_kernels_leave_no_moments)};
  return cmocka_run_group_tests_name("cuda convolution and norm", tests, NULL, NULL);
}
