/* ediy_oracle.h: what is drawn unasked is wide enough. Each kernel is right but for something that it has built in, or for shapes beyond a
 * tile, and is found by the default options. */
#include "oracle/judged_kernels.h"

static void found(const char *words, const ediy_oracle_kernel *k) { expect(EDIY_ORACLE_MISMATCH, words, judge(k, RIGHT, "", NULL, NULL)); }

/* ---- sizes --------------------------------------------------------------------------------------------------------------------------- */

enum { TILE = 128 };
static enum { COLUMNS, ROWS, INNER, ONE_ROW, SIZES } size_wrong;

/* Wrong behind the first tile of columns or rows, where the inner dimension has more than two, for a single row. */
static int linear_of_a_tile(void *context, const ediy_oracle_linear *g, const float *x, const float *w, const float *b, float *y) {
  int status = linear_y(context, g, x, w, b, y);
  if ((size_wrong == INNER && g->i > 300) || (size_wrong == ONE_ROW && g->m == 1)) y[0] += 1;
  for (ptrdiff_t i = 0; i < g->m * g->o; i++)
    if ((size_wrong == COLUMNS && i % g->o >= TILE) || (size_wrong == ROWS && i / g->o >= TILE)) y[i] = 0;
  return status;
}

/* The gradient of the bias is that of the first tile of rows. */
static int bias_of_a_tile(void *context, const ediy_oracle_linear *g, const float *x, const float *w, const float *dy, float *dx, float *dw,
                          float *db) {
  int status = linear_d(context, g, x, w, dy, dx, dw, db);
  for (ptrdiff_t i = TILE * g->o; db && i < g->m * g->o; i++) db[i % g->o] -= dy[i];
  return status;
}

static int conv_of_a_tile(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  int status = conv_y(context, g, x, w, y);
  const bool wrong[] = {[COLUMNS] = g->k > TILE, [ROWS] = g->q > TILE / 3, [INNER] = g->c > TILE, [ONE_ROW] = g->n > TILE};
  if (wrong[size_wrong]) y[g->n * g->p * g->q * g->k - 1] = 0;
  return status;
}

/* The unbiased variance of one row is 0 / 0. */
static int norm_of_rows(void *context, const ediy_oracle_norm *g, const float *x, const float *residual, const float *gamma,
                        const float *beta, float *running_mean, float *running_var, float *y, float *saved) {
  int status = norm_y(context, g, x, residual, gamma, beta, running_mean, running_var, y, saved);
  if (g->train && g->m == 1) running_var[0] = NAN;
  return status;
}

static void shapes_beyond_a_tile_are_drawn(void **state) {
  (void)state;
  for (size_wrong = 0; size_wrong < SIZES; size_wrong++) {
    found("linear: out.y[", &(ediy_oracle_kernel){.linear_forward = linear_of_a_tile});
    found("conv: out.y[", &(ediy_oracle_kernel){.conv_forward = conv_of_a_tile});
  }
  found("linear: grad_param.bias[", &(ediy_oracle_kernel){.linear_backward = bias_of_a_tile});
  found("norm: out.running_var[0] is nan", &(ediy_oracle_kernel){.norm_forward = norm_of_rows});
}

/* ---- settings ------------------------------------------------------------------------------------------------------------------------ */

static int conv_same(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  struct conv c = conv_of(g);
  (void)context;
  c.pad = g->r / 2; /* whatever was asked for */
  conv_forward_plain(&c, x, w, y);
  return 0;
}

static int conv_to_stride_2(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  int status = conv_y(context, g, x, w, y);
  if (g->stride > 2) y[0] += 1;
  return status;
}

static enum { EPS, MOMENTUM, SIGN, NORM_SETTINGS } norm_wrong;
static int norm_built_in(void *context, const ediy_oracle_norm *g, const float *x, const float *residual, const float *gamma,
                         const float *beta, float *running_mean, float *running_var, float *y, float *saved) {
  ediy_oracle_norm own = *g;
  float *size = scratch_of(g->c, sizeof *size);
  for (ptrdiff_t c = 0; c < g->c; c++) size[c] = fabsf(gamma[c]);
  if (norm_wrong == EPS) own.eps = (double)1e-5f;
  if (norm_wrong == MOMENTUM) own.momentum = (double)0.1f;
  int status = norm_y(context, &own, x, residual, norm_wrong == SIGN ? size : gamma, beta, running_mean, running_var, y, saved);
  free(size);
  return status;
}

static enum { LR, TRUST, MU, DECAY, LENGTH, DIVISOR, LARS_SETTINGS } lars_wrong;
static int lars_built_in(void *context, const ediy_oracle_lars *g, const float *grad, float *w, float *m) {
  ediy_oracle_lars own = *g;
  double length = 0, divisor = 0;
  for (ptrdiff_t i = 0; i < g->size; i++) {
    double d = (double)grad[i] + g->decay * (double)w[i];
    length += (double)w[i] * (double)w[i], divisor += d * d;
  }
  if (lars_wrong == LR) own.lr = (double)0.2f;
  if (lars_wrong == TRUST) own.trust = (double)1e-3f;
  if (lars_wrong == MU) own.momentum = (double)0.9f;
  if (lars_wrong == DECAY) own.decay = (double)1e-4f;
  if (lars_wrong == LENGTH && g->adapt && length == 0) return 0; /* a ratio of 0 in place of 1: weights of zeros never move */
  int status = lars(context, &own, grad, w, m);
  if (lars_wrong == DIVISOR && g->adapt && length > 0 && divisor == 0) { /* trust |w| / 0 = infinity, which times d = 0 is NaN */
    for (ptrdiff_t i = 0; i < g->size; i++) w[i] = m[i] = NAN;
  }
  return status;
}

static int ema_built_in(void *context, ptrdiff_t size, double tau, const float *theta, float *xi) {
  (void)tau;
  return ema(context, size, (double)0.99f, theta, xi);
}

static void settings_other_than_the_usual_are_drawn(void **state) {
  (void)state;
  found("conv: out.y[", &(ediy_oracle_kernel){.conv_forward = conv_same});
  found(" stride=3 ", &(ediy_oracle_kernel){.conv_forward = conv_to_stride_2});
  for (norm_wrong = 0; norm_wrong < NORM_SETTINGS; norm_wrong++) found("norm: out.", &(ediy_oracle_kernel){.norm_forward = norm_built_in});
  for (lars_wrong = 0; lars_wrong < LARS_SETTINGS; lars_wrong++) found("lars: out.", &(ediy_oracle_kernel){.lars = lars_built_in});
  lars_wrong = DIVISOR; /* by any seed, and by both variants */
  bool by_variant[2] = {false, false};
  for (uint64_t seed = 1; seed < 9; seed++) {
    const ediy_oracle_options o = {.seed = seed};
    const ediy_oracle_verdict *v = judge(&(ediy_oracle_kernel){.lars = lars_built_in}, RIGHT, "", &o, NULL);
    expect(EDIY_ORACLE_MISMATCH, " is nan, expected ", v);
    by_variant[strstr(v->text, "openselfsup=yes") != NULL] = true;
  }
  assert_true(by_variant[0] && by_variant[1]);
  found(" tau=", &(ediy_oracle_kernel){.ema = ema_built_in});
}

/* How often inputs of mean 100 came with the usual settings and with others. */
static int usual_tau, other_tau;
static int ema_that_looks(void *context, ptrdiff_t size, double tau, const float *theta, float *xi) {
  if (theta[0] > 90) *(tau == (double)0.99f ? &usual_tau : &other_tau) += 1;
  return ema(context, size, tau, theta, xi);
}

/* In half precision the kinds are seven, an odd number. */
static void each_kind_comes_with_usual_settings_and_with_others(void **state) {
  (void)state;
  static const ediy_oracle_precision precisions[] = {EDIY_ORACLE_FP32, EDIY_ORACLE_FP16};
  for (int i = 0; i < 2; i++) {
    const ediy_oracle_options o = {.precision = precisions[i]};
    usual_tau = other_tau = 0;
    expect(EDIY_ORACLE_PASS, "ema: pass", judge(&(ediy_oracle_kernel){.ema = ema_that_looks}, RIGHT, "", &o, NULL));
    assert_true(usual_tau > 0 && other_tau > 0);
  }
}

/* ---- magnitudes ---------------------------------------------------------------------------------------------------------------------- */

/* Begins a maximum with what half precision may have for the least number. */
static int maxpool_from_somewhere(void *context, const ediy_oracle_pool *g, const float *x, float *y) {
  int status = maxpool_y(context, g, x, y);
  for (ptrdiff_t i = 0; i < g->n * g->p * g->q * g->c; i++) y[i] = fmaxf(y[i], -1e4f);
  return status;
}

/* Ends where numbers of half precision end. */
static int conv_to_somewhere(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  int status = conv_y(context, g, x, w, y);
  for (ptrdiff_t i = 0; i < g->n * g->p * g->q * g->k; i++) y[i] = fmaxf(-65504, fminf(y[i], 65504));
  return status;
}

static int relu_to_somewhere(void *context, ptrdiff_t size, const float *x, float *y) {
  int status = relu_y(context, size, x, y);
  for (ptrdiff_t i = 0; i < size; i++) y[i] = fminf(y[i], 65504);
  return status;
}

static void numbers_beyond_half_precision_are_drawn(void **state) {
  (void)state;
  found("maxpool: out.y[", &(ediy_oracle_kernel){.maxpool_forward = maxpool_from_somewhere});
  found("conv: out.y[", &(ediy_oracle_kernel){.conv_forward = conv_to_somewhere});
  found("relu: out.y[", &(ediy_oracle_kernel){.relu_forward = relu_to_somewhere});
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shapes_beyond_a_tile_are_drawn), cmocka_unit_test(settings_other_than_the_usual_are_drawn),
      cmocka_unit_test(each_kind_comes_with_usual_settings_and_with_others), cmocka_unit_test(numbers_beyond_half_precision_are_drawn)};
  return cmocka_run_group_tests_name("drawn cases", tests, NULL, NULL);
}
