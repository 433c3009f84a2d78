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
              {1, 1, 1, 1, 1, 1, 1, "one number"}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

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

static void fixture_make(struct fixture *f, enum cuda_precision precision, enum cuda_conv conv, int i, bool relu, bool residual) {
  struct error err = {0};
  *f = (struct fixture){.gpu = device_backend_by(precision, conv)};
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

/* The kernels that have it, by turns. */
static enum cuda_conv conv_of(int i) { return i % 2 ? CUDA_CONV_PLAIN : CUDA_CONV_OWN; }

static void one_has_the_bits_of_two(void **state) {
  (void)state;
  for (int i = 0; i < 16 * SHAPES; i++) {
    struct fixture f;
    fixture_make(&f, i / 4 % 2 ? CUDA_TF32 : CUDA_FP32, conv_of(i / 8), i / 16, i % 2, i / 2 % 2);
    real *one = as_one(&f), *two = as_two(&f);
    if (memcmp(one, two, (size_t)f.out * sizeof *one) != 0) fail_msg("%s, relu %d, residual %d", shapes[i / 16].what, i % 2, i / 2 % 2);
    free(one), free(two);
    fixture_free(&f);
  }
}

static void integers_are_normalised_as_the_reference_does(void **state) {
  (void)state;
  const struct backend *cpu = backend_reference();
  for (int i = 0; i < 8 * SHAPES * CUDA_PRECISIONS; i++) {
    struct fixture f;
    int turn = i / CUDA_PRECISIONS, shape = turn / 8;
    fixture_make(&f, (enum cuda_precision)(i % CUDA_PRECISIONS), conv_of(turn / 4), shape, turn % 2, turn / 2 % 2);
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_has_the_bits_of_two),
                                     cmocka_unit_test(integers_are_normalised_as_the_reference_does)};
  return cmocka_run_group_tests_name("cuda convolution and norm", tests, NULL, NULL);
}
