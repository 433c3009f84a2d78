/* Batch normalisation's twin: the reference's bits, with and without residual and ReLU; where activations are bf16, those bits rounded
 * once. */
#include "cuda/activations.h"

static const struct {
  ptrdiff_t m, c;
  const char *what;
} shapes[] = {{1, 1, "one number"},
              {1, 5, "one row: variance 0"},
              {7, 3, "odd sizes"},
              {130, 33, "more rows than a band, more channels than a warp"},
              {70, 1025, "a channel more than the reference's tile"},
              {32769, 1, "257 chunks, the last of one row"},
              {37, 264, "pieces of 16 bytes, a few more than a warp has lanes"},
              {128, 5, "one whole chunk"},
              {3001, 64, "24 chunks in three groups, and a block's rows not full"},
              {19, 1 << 16, "enough channels that a thread that sums has two"},
              {11, 1 << 17, "and four"},
              {65541, 33, "enough rows that a thread that computes elements has sixteen"}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] - 3, PIECES = 6 };

static double *host_doubles(ptrdiff_t n) {
  double *p = malloc((size_t)n * sizeof *p);
  if (!p) abort();
  return p;
}

struct fixture {
  const struct backend *gpu, *cpu;
  struct norm g;
  ptrdiff_t size;
  real *x, *residual, *gamma, *beta, *mean, *var, *dy; /* host inputs */
  real *dev_x, *dev_residual, *dev_gamma, *dev_beta, *dev_mean, *dev_var, *dev_dy;
  void *scratch, *host_scratch;
};

static void fixture_make(struct fixture *f, enum cuda_precision precision, int i, bool relu, bool residual, double offset) {
  *f = (struct fixture){.gpu = device_backend_in(precision), .cpu = backend_reference()};
  f->g = (struct norm){.m = shapes[i].m, .c = shapes[i].c, .eps = 1e-5, .momentum = 0.1, .relu = relu};
  ptrdiff_t n = f->size = f->g.m * f->g.c, c = f->g.c;
  f->x = test_normal(n, 1), f->residual = residual ? test_normal(n, 2) : NULL, f->dy = test_normal(n, 3);
  for (ptrdiff_t k = 0; k < n; k++) f->x[k] = (real)(offset + (offset > 0 ? 0.01 : 1) * (double)f->x[k]);
  f->gamma = test_normal(c, 4), f->beta = test_normal(c, 5), f->mean = test_normal(c, 6), f->var = test_normal(c, 7);
  for (ptrdiff_t k = 0; k < c; k++) f->var[k] = (real)fabs((double)f->var[k]);
  test_round_activations(f->gpu, f->x, n), test_round_activations(f->gpu, f->residual, n), test_round_activations(f->gpu, f->dy, n);
  f->dev_x = device_activations_from(f->gpu, f->x, n), f->dev_residual = device_activations_from(f->gpu, f->residual, n);
  f->dev_dy = device_activations_from(f->gpu, f->dy, n);
  f->dev_gamma = device_from(f->gamma, c), f->dev_beta = device_from(f->beta, c);
  f->dev_mean = device_from(f->mean, c), f->dev_var = device_from(f->var, c);
  f->scratch = device_scratch(f->gpu->norm_scratch(&f->g));
  f->host_scratch = malloc(f->cpu->norm_scratch(&f->g));
  if (relu) f->g.signs = device_poisoned(f->gpu->norm_signs(&f->g)); /* which the reference has no use for */
}

/* For a backward that has to find the signs in y. */
static struct norm without_signs(const struct norm *g) {
  struct norm other = *g;
  other.signs = NULL;
  return other;
}

static void fixture_free(struct fixture *f) {
  free(f->x), free(f->residual), free(f->gamma), free(f->beta), free(f->mean), free(f->var), free(f->dy), free(f->host_scratch);
  device_end();
}

static void train(enum cuda_precision precision, int i, bool relu, bool residual, double offset) {
  struct fixture f;
  fixture_make(&f, precision, i, relu, residual, offset);
  ptrdiff_t c = f.g.c;
  real *y = test_reals(f.size), *dev_y = device_activations(f.gpu, f.size);
  double *mean = host_doubles(c), *invstd = host_doubles(c), *dev_mu = device_doubles(c), *dev_invstd = device_doubles(c);
  f.cpu->norm_forward_train(&f.g, f.x, f.residual, f.gamma, f.beta, f.mean, f.var, y, mean, invstd, f.host_scratch);
  f.gpu->norm_forward_train(&f.g, f.dev_x, f.dev_residual, f.dev_gamma, f.dev_beta, f.dev_mean, f.dev_var, dev_y, dev_mu, dev_invstd,
                            f.scratch);
  assert_same_bits(dev_mu, mean, c);
  assert_same_bits(dev_invstd, invstd, c);
  assert_same_activations(f.gpu, dev_y, y, f.size);
  assert_same_bits(f.dev_mean, f.mean, c);
  assert_same_bits(f.dev_var, f.var, c);

  real *dx = test_reals(f.size), *dev_dx = device_activations(f.gpu, f.size);
  real *dr = test_reals(f.size), *dev_dr = device_activations(f.gpu, f.size);
  test_round_activations(f.gpu, y, f.size); /* as the device has it */
  real *dgamma = test_normal(c, 8), *dev_dgamma = device_from(dgamma, c), *dbeta = test_normal(c, 9), *dev_dbeta = device_from(dbeta, c);
  f.cpu->norm_backward_train(&f.g, f.x, y, f.gamma, mean, invstd, f.dy, dx, residual ? dr : NULL, dgamma, dbeta, f.host_scratch);
  f.gpu->norm_backward_train(&f.g, f.dev_x, NULL, f.dev_gamma, dev_mu, dev_invstd, f.dev_dy, dev_dx, residual ? dev_dr : NULL, dev_dgamma,
                             dev_dbeta, f.scratch);
  assert_same_activations(f.gpu, dev_dx, dx, f.size);
  if (residual) assert_same_activations(f.gpu, dev_dr, dr, f.size);
  assert_same_bits(dev_dgamma, dgamma, c);
  assert_same_bits(dev_dbeta, dbeta, c);

  /* dx in the place of dy, and y in that of its signs */
  struct norm g = without_signs(&f.g);
  f.gpu->norm_backward_train(&g, f.dev_x, relu ? dev_y : NULL, f.dev_gamma, dev_mu, dev_invstd, f.dev_dy, f.dev_dy, NULL, dev_dgamma,
                             dev_dbeta, f.scratch);
  assert_same_activations(f.gpu, f.dev_dy, dx, f.size);
  free(y), free(dx), free(dr), free(dgamma), free(dbeta), free(mean), free(invstd);
  fixture_free(&f);
}

static void training_has_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 4 * SHAPES; i++) train(CUDA_FP32, i / 4, i % 2, i / 2 % 2, 0);
}

static void training_in_bf16_rounds_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 4 * SHAPES; i++) train(CUDA_BF16, i / 4, i % 2, i / 2 % 2, 0);
}

static void large_shapes_have_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) train(i % 2 ? CUDA_BF16 : CUDA_FP32, SHAPES + i / 2, i % 3 == 0, false, 0);
  train(CUDA_FP32, SHAPES + 2, true, true, 0);
}

/* A mean of 100 and a deviation of 0.01: the mean must be subtracted in two parts. */
static void a_far_mean_has_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 2 * SHAPES; i++) train(i % 2 ? CUDA_BF16 : CUDA_FP32, i / 2, true, false, 100);
}

static void evaluation_has_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 8 * SHAPES; i++) {
    struct fixture f;
    fixture_make(&f, i / 4 % 2 ? CUDA_BF16 : CUDA_FP32, i / 8, i % 2, i / 2 % 2, 0);
    real *y = test_reals(f.size), *dev_y = device_activations(f.gpu, f.size);
    f.cpu->norm_forward_eval(&f.g, f.x, f.residual, f.gamma, f.beta, f.mean, f.var, y);
    f.gpu->norm_forward_eval(&f.g, f.dev_x, f.dev_residual, f.dev_gamma, f.dev_beta, f.dev_mean, f.dev_var, dev_y);
    assert_same_activations(f.gpu, dev_y, y, f.size);
    free(y);
    fixture_free(&f);
  }
}

/* The parts that ranks compute: all ranks' sums one after the other, then one of them goes on with the rows of all. */
static void over_ranks(enum cuda_precision precision, int shape, bool relu, bool residual, int ranks) {
  enum { OWN = 1 };
  struct fixture f;
  fixture_make(&f, precision, shape, relu, residual, 0);
  struct norm bare = without_signs(&f.g);
  ptrdiff_t c = f.g.c, part = 2 * c;
  double *sums = host_doubles(ranks * part), *dev_sums = device_doubles(ranks * part);
  double *mean = host_doubles(c), *invstd = host_doubles(c);
  double *dev_mu = device_doubles(c), *dev_invstd = device_doubles(c);
  real *y = test_reals(f.size), *dev_y = device_activations(f.gpu, f.size), *dx = test_reals(f.size);
  real *dgamma = test_normal(c, 8), *dev_dgamma = device_from(dgamma, c), *dbeta = test_normal(c, 9), *dev_dbeta = device_from(dbeta, c);
  for (int k = 0; k < ranks; k++) { /* what others have in x: here the residual, or the gradient */
    const real *x = k == OWN ? f.x : k == 0 && residual ? f.residual : f.dy;
    const real *dev_x = k == OWN ? f.dev_x : k == 0 && residual ? f.dev_residual : f.dev_dy;
    f.cpu->norm_rank_moments(&f.g, x, sums + k * part, f.host_scratch);
    f.gpu->norm_rank_moments(&f.g, dev_x, dev_sums + k * part, f.scratch);
  }
  assert_same_bits(dev_sums, sums, ranks * part);
  f.cpu->norm_rank_forward(&f.g, ranks, sums, f.x, f.residual, f.gamma, f.beta, f.mean, f.var, y, mean, invstd);
  f.gpu->norm_rank_forward(&f.g, ranks, dev_sums, f.dev_x, f.dev_residual, f.dev_gamma, f.dev_beta, f.dev_mean, f.dev_var, dev_y, dev_mu,
                           dev_invstd);
  assert_same_activations(f.gpu, dev_y, y, f.size);
  assert_same_bits(dev_mu, mean, c), assert_same_bits(dev_invstd, invstd, c);
  assert_same_bits(f.dev_mean, f.mean, c), assert_same_bits(f.dev_var, f.var, c);
  test_round_activations(f.gpu, y, f.size); /* as the device has it */

  for (int k = 0; k < ranks; k++) {
    f.cpu->norm_rank_gradient(&f.g, f.x, y, mean, invstd, k == 0 ? f.x : f.dy, dgamma, dbeta, sums + k * part, f.host_scratch);
    f.gpu->norm_rank_gradient(k == OWN ? &f.g : &bare, f.dev_x, relu && k != OWN ? dev_y : NULL, dev_mu, dev_invstd,
                              k == 0 ? f.dev_x : f.dev_dy, dev_dgamma, dev_dbeta, dev_sums + k * part, f.scratch);
  }
  assert_same_bits(dev_sums, sums, ranks * part);
  assert_same_bits(dev_dgamma, dgamma, c), assert_same_bits(dev_dbeta, dbeta, c);
  f.cpu->norm_rank_backward(&f.g, ranks, sums, f.x, y, f.gamma, mean, invstd, f.dy, dx, NULL, f.host_scratch);
  f.gpu->norm_rank_backward(residual ? &f.g : &bare, ranks, dev_sums, f.dev_x, relu && !residual ? dev_y : NULL, f.dev_gamma, dev_mu,
                            dev_invstd, f.dev_dy, f.dev_dy, NULL, f.scratch);
  assert_same_activations(f.gpu, f.dev_dy, dx, f.size);
  free(sums), free(mean), free(invstd), free(y), free(dx), free(dgamma), free(dbeta);
  fixture_free(&f);
}

/* Tensors that begin between pieces of 16 bytes: numbers are then taken one by one, and are the same. */
static void tensors_may_begin_anywhere(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    struct fixture f;
    fixture_make(&f, i ? CUDA_BF16 : CUDA_FP32, PIECES, true, true, 0);
    ptrdiff_t n = f.size, c = f.g.c;
    size_t one = f.gpu->activation_size, bytes = (size_t)n * one;
    real *y = test_reals(n), *dx = test_reals(n), *dr = test_reals(n), *dgamma = test_normal(c, 8), *dbeta = test_normal(c, 9);
    real *before = test_normal(c, 8), *dev_dgamma = device_from(dgamma, c), *dev_dbeta = device_from(dbeta, c);
    double *mean = host_doubles(c), *invstd = host_doubles(c), *dev_mu = device_doubles(c), *dev_invstd = device_doubles(c);
    void *moved[6];
    for (int k = 0; k < 6; k++) moved[k] = (char *)device_activations(f.gpu, n + 1) + one; /* x residual y dy dx dresidual */
    f.gpu->copy(moved[0], f.dev_x, bytes), f.gpu->copy(moved[1], f.dev_residual, bytes), f.gpu->copy(moved[3], f.dev_dy, bytes);
    f.cpu->norm_forward_train(&f.g, f.x, f.residual, f.gamma, f.beta, f.mean, f.var, y, mean, invstd, f.host_scratch);
    f.gpu->norm_forward_train(&f.g, moved[0], moved[1], f.dev_gamma, f.dev_beta, f.dev_mean, f.dev_var, moved[2], dev_mu, dev_invstd,
                              f.scratch);
    assert_same_activations(f.gpu, moved[2], y, n);
    test_round_activations(f.gpu, y, n);
    f.cpu->norm_backward_train(&f.g, f.x, y, f.gamma, mean, invstd, f.dy, dx, dr, dgamma, dbeta, f.host_scratch);
    struct norm by_output = without_signs(&f.g);
    for (int k = 0; k < 2; k++) {
      f.gpu->upload(dev_dgamma, before, (size_t)c * sizeof *before);
      f.gpu->norm_backward_train(k ? &f.g : &by_output, moved[0], k ? NULL : moved[2], f.dev_gamma, dev_mu, dev_invstd, moved[3], moved[4],
                                 moved[5], dev_dgamma, dev_dbeta, f.scratch);
      assert_same_activations(f.gpu, moved[4], dx, n);
      assert_same_activations(f.gpu, moved[5], dr, n);
      assert_same_bits(dev_dgamma, dgamma, c);
    }
    free(y), free(dx), free(dr), free(dgamma), free(before), free(dbeta), free(mean), free(invstd);
    fixture_free(&f);
  }
}

static void parts_of_ranks_have_the_same_bits(void **state) {
  (void)state;
  for (int i = 0; i < 8 * SHAPES; i++) over_ranks(i / 4 % 2 ? CUDA_BF16 : CUDA_FP32, i / 8, i % 2, i / 2 % 2, 3);
}

/* More parts than a thread that joins asks for at once, of 1, 7 or 64 rows: a power of two is divided by in a way of its own. */
static void many_parts_have_the_same_bits(void **state) {
  (void)state;
  static const int few_rows[] = {0, 1, 2, 7};
  for (int i = 0; i < 4; i++)
    for (int ranks = 15; ranks < 37; ranks++) over_ranks(CUDA_FP32, few_rows[i], true, false, ranks);
}

static void means_over_ranks_have_the_same_bits(void **state) {
  (void)state;
  const struct backend *gpu = device_backend(), *cpu = backend_reference();
  enum { RANKS = 3, N = 1000 };
  real *parts = test_normal(RANKS * N, 1), *dev_parts = device_from(parts, RANKS * N), *mean = test_reals(N), *dev_mean = device_reals(N);
  cpu->rank_mean(RANKS, N, parts, mean);
  gpu->rank_mean(RANKS, N, dev_parts, dev_mean);
  assert_same_bits(dev_mean, mean, N);
  gpu->rank_mean(RANKS, N, dev_parts, dev_parts + N);
  assert_same_bits(dev_parts + N, mean, N);
  free(parts), free(mean);
  device_end();
}

/* A shift whose bits are all ones, which adding half a unit would turn into 0. */
static void a_nan_stays_one_in_bf16(void **state) {
  (void)state;
  struct fixture f;
  fixture_make(&f, CUDA_BF16, 2, false, false, 0);
  real *beta = device_reals(f.g.c), *dev_y = device_activations(f.gpu, f.size);
  f.gpu->zero(dev_y, (size_t)f.size * f.gpu->activation_size);
  f.gpu->norm_forward_eval(&f.g, f.dev_x, NULL, f.dev_gamma, beta, f.dev_mean, f.dev_var, dev_y);
  real *y = device_read_activations(f.gpu, dev_y, f.size);
  for (ptrdiff_t i = 0; i < f.size; i++) assert_true(isnan(y[i]));
  free(y);
  fixture_free(&f);
}

/* In the first row, from which a chunk's others are counted: the mean is infinite and the variance no number, and no other channel's. */
static void an_infinity_is_where_the_reference_has_it(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    struct fixture f;
    fixture_make(&f, i ? CUDA_BF16 : CUDA_FP32, PIECES, false, false, 0);
    ptrdiff_t c = f.g.c;
    f.x[1] = (real)INFINITY;
    real *dev_x = device_activations_from(f.gpu, f.x, f.size), *y = test_reals(f.size), *dev_y = device_activations(f.gpu, f.size);
    double *mean = host_doubles(c), *invstd = host_doubles(c), *dev_mu = device_doubles(c), *dev_invstd = device_doubles(c);
    f.cpu->norm_forward_train(&f.g, f.x, NULL, f.gamma, f.beta, f.mean, f.var, y, mean, invstd, f.host_scratch);
    f.gpu->norm_forward_train(&f.g, dev_x, NULL, f.dev_gamma, f.dev_beta, f.dev_mean, f.dev_var, dev_y, dev_mu, dev_invstd, f.scratch);
    assert_same_bits(dev_mu, mean, c);
    double got;
    f.gpu->download(&got, dev_invstd + 1, sizeof got);
    assert_true(isinf(mean[1]) && isnan(invstd[1]) && isnan(got));
    free(y), free(mean), free(invstd);
    fixture_free(&f);
  }
}

/* y that is no number is not positive, whoever asks. */
static void a_nan_lets_no_gradient_through(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    struct fixture f;
    fixture_make(&f, i % 2 ? CUDA_BF16 : CUDA_FP32, PIECES, true, true, 0);
    ptrdiff_t n = f.size, c = f.g.c;
    for (ptrdiff_t k = 0; k < n; k += 5) f.residual[k] = NAN;
    real *dev_residual = device_activations_from(f.gpu, f.residual, n), *dev_y = device_activations(f.gpu, n);
    real *y = test_reals(n), *dx = test_reals(n), *dev_dx = device_activations(f.gpu, n), *sums = test_normal(c, 8);
    real *dev_sums = device_from(sums, c);
    double *mean = host_doubles(c), *invstd = host_doubles(c), *dev_mu = device_doubles(c), *dev_invstd = device_doubles(c);
    struct norm bare = without_signs(&f.g);
    f.cpu->norm_forward_train(&f.g, f.x, f.residual, f.gamma, f.beta, f.mean, f.var, y, mean, invstd, f.host_scratch);
    f.gpu->norm_forward_train(&f.g, f.dev_x, dev_residual, f.dev_gamma, f.dev_beta, f.dev_mean, f.dev_var, dev_y, dev_mu, dev_invstd,
                              f.scratch);
    f.cpu->norm_backward_train(&f.g, f.x, y, f.gamma, mean, invstd, f.dy, dx, NULL, sums, sums, f.host_scratch);
    f.gpu->norm_backward_train(i < 2 ? &f.g : &bare, f.dev_x, dev_y, f.dev_gamma, dev_mu, dev_invstd, f.dev_dy, dev_dx, NULL, dev_sums,
                               dev_sums, f.scratch);
    assert_same_activations(f.gpu, dev_dx, dx, n);
    free(y), free(dx), free(sums), free(mean), free(invstd);
    fixture_free(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(training_has_the_same_bits),          cmocka_unit_test(training_in_bf16_rounds_the_same_bits),
      cmocka_unit_test(a_far_mean_has_the_same_bits),        cmocka_unit_test(evaluation_has_the_same_bits),
      cmocka_unit_test(tensors_may_begin_anywhere),          cmocka_unit_test(parts_of_ranks_have_the_same_bits),
      cmocka_unit_test(many_parts_have_the_same_bits),       cmocka_unit_test(large_shapes_have_the_same_bits),
      cmocka_unit_test(means_over_ranks_have_the_same_bits), cmocka_unit_test(a_nan_stays_one_in_bf16),
      cmocka_unit_test(a_nan_lets_no_gradient_through),      cmocka_unit_test(an_infinity_is_where_the_reference_has_it)};
  return cmocka_run_group_tests_name("cuda norm", tests, NULL, NULL);
}
