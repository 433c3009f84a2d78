/* Softmax regression and the protocol of linear evaluation. */
#include "eval/linear_eval.h"

#include <omp.h>
#include <string.h>

#include "eval/softmax.h"
#include "support/cmocka.h"

#include "support/support.h"

enum { ROWS = 6, D = 5, C = 4 };

static double loss_at(const real *x, const int32_t *label, const real *w, const real *b) {
  struct softmax_shape g = {ROWS, D, C};
  real dw[C * D], db[C], *scratch = test_reals(softmax_scratch(&g, omp_get_max_threads()));
  double row_loss[ROWS], loss = softmax_loss(&g, x, label, w, b, dw, db, scratch, row_loss);
  free(scratch);
  return loss;
}

static void loss_of_zero_weights_is_ln_c(void **state) {
  (void)state;
  real x[ROWS * D], w[C * D] = {0}, b[C] = {0};
  int32_t label[ROWS] = {0, 1, 2, 3, 0, 1};
  test_fill_normal(x, ROWS * D, 1);
  assert_true(fabs(loss_at(x, label, w, b) - log(C)) < 1e-15);
}

static void gradient_is_the_difference_quotient(void **state) {
  (void)state;
  struct softmax_shape g = {ROWS, D, C};
  real x[ROWS * D], w[C * D], b[C], dw[C * D], db[C], *scratch = test_reals(softmax_scratch(&g, omp_get_max_threads()));
  double row_loss[ROWS];
  int32_t label[ROWS] = {0, 1, 2, 2, 0, 1}; /* no image of class 3 */
  test_fill_normal(x, ROWS * D, 1);
  test_fill_normal(w, C * D, 2);
  test_fill_normal(b, C, 3);
  softmax_loss(&g, x, label, w, b, dw, db, scratch, row_loss);
  free(scratch);
  /* Central differences: step^2 / 6 of the third derivative (below 3^3 here, as |x| < 3) and rounding of the loss over the step; the
   * logits are rounded to real, a few roundoff of at most 8. */
  double step = cbrt(REAL_ROUNDOFF), allowed = 27 * step * step / 6 + 32 * REAL_ROUNDOFF / step;
  for (int i = 0; i < C * D + C; i++) {
    real *p = i < C * D ? w + i : b + (i - C * D), kept = *p;
    *p = (real)((double)kept + step);
    double above = loss_at(x, label, w, b), up = (double)*p;
    *p = (real)((double)kept - step);
    double below = loss_at(x, label, w, b), down = (double)*p;
    *p = kept;
    double slope = (above - below) / (up - down), gradient = (double)(i < C * D ? dw[i] : db[i - C * D]);
    assert_true(fabs(slope - gradient) < allowed);
  }
}

static void huge_logits_stay_finite(void **state) {
  (void)state;
  real logits[3] = {(real)1e30, 0, (real)-1e30}, d[3];
  assert_true(softmax_cross_entropy(3, logits, 0, 1, d) == 0);
  assert_true(d[0] == 0 && d[1] == 0 && d[2] == 0);
  assert_true(softmax_cross_entropy(3, logits, 1, 1, d) == (double)logits[0]);
  assert_true(d[0] == 1 && d[1] == -1 && d[2] == 0);
  real low[2] = {-2000, -2000};
  assert_true(softmax_cross_entropy(2, low, 0, 1, low) == log(2)); /* the gradient in place */
  assert_true(low[0] == (real)-0.5 && low[1] == (real)0.5);
}

static void nesterov_by_hand(void **state) {
  (void)state;
  /* mu = 1/2, lr = 1/4: m = 4, w = 1 - (4 + 2) / 4; m = 2 - 2 = 0 from g = -2, w = -1/2 + 2 / 4 */
  real g = 4, m = 0, w = 1;
  nesterov_step(1, 0.25, 0.5, &g, &m, &w);
  assert_true(m == 4 && w == (real)-0.5);
  g = -2;
  nesterov_step(1, 0.25, 0.5, &g, &m, &w);
  assert_true(m == 0 && w == 0);
}

/* ---- the protocol ---- */

/* Features of a toy set: a class is a direction, with noise; `epoch` adds noise of its own. */
struct toy {
  ptrdiff_t count, d;
  real *x, *view;
  int32_t *label;
  double augmentation;
  int asked[64], plain, fail_at;
};

static void toy_make(struct toy *t, ptrdiff_t count, ptrdiff_t d, int classes, double noise, uint32_t stream) {
  *t = (struct toy){.count = count, .d = d, .x = test_reals(count * d), .view = test_reals(count * d), .fail_at = -2};
  t->label = calloc((size_t)count, sizeof *t->label);
  test_fill_normal(t->x, count * d, stream);
  for (ptrdiff_t i = 0; i < count; i++) {
    t->label[i] = (int32_t)(i % classes);
    for (ptrdiff_t j = 0; j < d; j++) t->x[i * d + j] = (real)(noise * (double)t->x[i * d + j] + (j == t->label[i] ? 4 : 0));
  }
}
static void toy_free(struct toy *t) { free(t->x), free(t->view), free(t->label); }

static bool toy_epoch(void *context, int epoch, const real **x, struct error *err) {
  struct toy *t = context;
  if (epoch == t->fail_at) return (fail)(err, "image 7 is gone"); /* cmocka has a macro of this name */
  *x = t->x;
  if (epoch == LINEAR_EVAL_PLAIN) return t->plain++, true;
  t->asked[epoch]++;
  if (t->augmentation > 0) {
    test_fill_normal(t->view, t->count * t->d, 1000 + (uint32_t)epoch);
    for (ptrdiff_t i = 0; i < t->count * t->d; i++) t->view[i] = (real)(t->augmentation * (double)t->view[i] + (double)t->x[i]);
    *x = t->view;
  }
  return true;
}
static struct linear_features toy_features(struct toy *t) { return (struct linear_features){t->count, t->d, t->label, t, toy_epoch}; }

static void separable_features_are_classified_without_error(void **state) {
  (void)state;
  struct toy train, test;
  toy_make(&train, 300, 8, 5, 0.3, 1);
  toy_make(&test, 100, 8, 5, 0.3, 2);
  train.augmentation = 0.1;
  struct linear_features f = toy_features(&train);
  struct linear_eval_options o = linear_eval_defaults();
  o.epochs = 20, o.batch = 64;
  struct linear_eval_result r;
  struct error err;
  real weight[5 * 8], bias[5];
  assert_true(linear_eval(&f, test.count, test.x, test.label, 5, &o, NULL, NULL, &r, weight, bias, &err));
  assert_true(r.test.hits == 100 && r.test.count == 100 && r.test5.hits == 100 && r.train.hits == 300);
  for (int k = 0; k < o.rates; k++) assert_true(r.held_out[k].count == 30 && r.held_out[k].hits == 30);
  assert_true(r.base_lr == 0.4); /* the first of the best */
  assert_true(r.loss > 0 && r.loss < 0.1);
  for (int e = 0; e < 20; e++) assert_int_equal(train.asked[e], 2); /* the sweep once, the final regression once */
  assert_int_equal(train.asked[20], 0);
  assert_int_equal(train.plain, 2);
  /* the weights handed out are those scored */
  struct softmax_shape g = {test.count, 8, 5};
  real *logits = test_reals(test.count * 5);
  softmax_logits(&g, test.x, weight, bias, logits);
  for (ptrdiff_t i = 0; i < test.count; i++)
    for (int c = 0; c < 5; c++) assert_true(logits[i * 5 + c] <= logits[i * 5 + test.label[i]]);
  free(logits), toy_free(&train), toy_free(&test);
}

static void noise_is_not_learnt_beyond_chance(void **state) {
  (void)state;
  struct toy train, test;
  toy_make(&train, 200, 3, 4, 1, 3);
  toy_make(&test, 400, 3, 4, 1, 4);
  test_fill_normal(train.x, 600, 5);
  test_fill_normal(test.x, 1200, 6);
  struct linear_features f = toy_features(&train);
  struct linear_eval_options o = linear_eval_defaults();
  o.epochs = 5;
  struct linear_eval_result r;
  struct error err;
  assert_true(linear_eval(&f, test.count, test.x, test.label, 4, &o, NULL, NULL, &r, NULL, NULL, &err));
  assert_true(fabs(r.test.value - .25) < 6 * sqrt(.25 * .75 / 400)); /* six deviations of a guess */
  toy_free(&train), toy_free(&test);
}

static void held_out_images_choose_the_rate(void **state) {
  (void)state;
  /* One rate far too small for one epoch to learn anything, one that learns: the second wins although it stands last. Features with an
   * offset make the small rate's predictions all the same. */
  struct toy train;
  toy_make(&train, 200, 4, 4, 0.1, 7);
  for (ptrdiff_t i = 0; i < 200 * 4; i++) train.x[i] += (real)(i % 4 == 0 ? 40 : 0);
  struct linear_features f = toy_features(&train);
  struct linear_eval_options o = {.epochs = 30, .batch = 50, .momentum = .9, .base_lr = {1e-6, 0.05}, .rates = 2, .held_out = .25};
  struct linear_eval_result r;
  struct error err;
  assert_true(linear_eval(&f, train.count, train.x, train.label, 4, &o, NULL, NULL, &r, NULL, NULL, &err));
  assert_true(r.held_out[1].hits > r.held_out[0].hits && r.base_lr == 0.05);
  assert_true(r.held_out[0].count == 50);
  toy_free(&train);
}

static void held_out_images_are_not_trained_on(void **state) {
  (void)state;
  /* Every image has a feature of its own. What was trained on is known by heart; an image kept aside has only the biases to go by, and all
   * such images get the same class. */
  enum { N = 40 };
  struct toy t = {.count = N, .d = N, .x = test_reals(N * N), .label = calloc(N, sizeof(int32_t)), .fail_at = -2};
  struct philox g = philox_stream(1, PHILOX_TEST, 3, 0, 0);
  for (int i = 0; i < N; i++) t.x[i * N + i] = 10, t.label[i] = (int32_t)philox_below(&g, 4);
  int32_t split[N], of_class[4] = {0};
  struct linear_eval_options o = {.epochs = 30, .batch = 16, .momentum = .9, .base_lr = {1, .5}, .rates = 2, .held_out = .4};
  ptrdiff_t held_out = linear_eval_split(o.seed, o.held_out, N, split);
  for (ptrdiff_t i = 0; i < held_out; i++) of_class[t.label[split[i]]]++;
  struct linear_features f = toy_features(&t);
  struct linear_eval_result r;
  struct error err;
  assert_true(linear_eval(&f, N, t.x, t.label, 4, &o, NULL, NULL, &r, NULL, NULL, &err));
  for (int k = 0; k < 2; k++) {
    bool one_class = false;
    for (int c = 0; c < 4; c++) one_class = one_class || r.held_out[k].hits == of_class[c];
    assert_true(one_class && r.held_out[k].count == 16 && r.held_out[k].hits < 16);
  }
  assert_true(r.train.hits == N && r.test.hits == N);
  toy_free(&t);
}

static void split_and_shuffle_are_permutations(void **state) {
  (void)state;
  enum { N = 57 };
  int32_t a[N], b[N];
  assert_int_equal(linear_eval_split(3, 0.1, N, a), 6);
  assert_int_equal(linear_eval_split(3, 0.001, N, b), 1);
  assert_memory_equal(a, b, sizeof a);
  assert_int_equal(linear_eval_split(3, 0.999, N, b), N - 1);
  linear_eval_shuffle(3, 0, N, b);
  assert_memory_not_equal(a, b, sizeof a);
  linear_eval_shuffle(3, 1, N, a);
  assert_memory_not_equal(a, b, sizeof a);
  int seen[N] = {0};
  for (int i = 0; i < N; i++) seen[a[i]]++, seen[b[i]]++;
  for (int i = 0; i < N; i++) assert_int_equal(seen[i], 2);
}

static void a_full_batch_step_is_the_case_by_hand(void **state) {
  (void)state;
  /* One epoch of one batch: w = - lr (1 + mu) g, with lr = base n / 256 (fewer images than a batch: the batch is all of them). Two images,
   * one feature: g = mean of (softmax - onehot) x = +-(1/2)(1 + 1)/2. */
  real x[2] = {1, -1}, weight[2], bias[2];
  int32_t label[2] = {0, 1};
  struct toy t = {.count = 2, .d = 1, .x = x, .label = label, .fail_at = -2};
  struct linear_features f = toy_features(&t);
  struct linear_eval_options o = {.epochs = 1, .batch = 1024, .momentum = .5, .base_lr = {64}, .rates = 1, .held_out = .5};
  struct linear_eval_result r;
  struct error err;
  assert_true(linear_eval(&f, 2, x, label, 2, &o, NULL, NULL, &r, weight, bias, &err));
  assert_true(weight[0] == (real)0.375 && weight[1] == (real)-0.375 && bias[0] == 0 && bias[1] == 0); /* 64 2 / 256 x 1.5 x 0.5 */
  assert_true(fabs(r.loss - log(2)) < 1e-15 && r.held_out[0].count == 0 && r.test.hits == 2 && t.asked[0] == 1);
}

/* Two epochs of five images in batches of two: six steps in the order of the shuffles, the rate on its cosine from 16 2 / 256 = 1/8 on, the
 * momentum handed on; in plain double. The loss has second derivatives of at most (|x|^2 + 1) / 2 <= 0.9 = H. An error e of the weights and
 * one of 4 e of the momenta become (1 + 1.9 H / 8 + 4 0.81 / 8) e <= 1.62 e and (0.9 4 + H) e <= 4.5 e, six steps 1.62^6 < 18.1 times as
 * large. A step rounds each of nine weights some 20 times at numbers below 2: 3 20 2 u in length. A logit is off by (2 5/8 + 1) times as
 * much as a weight, and the loss by twice that. */
static void steps_follow_the_shuffles_and_the_cosine(void **state) {
  (void)state;
  enum { N = 5, WIDE = 2, CLASSES = 3, EPOCHS = 2, BATCH = 2, STEPS = 6 };
  const double bound = 18.1 * STEPS * 3 * 20 * 2 * REAL_ROUNDOFF, momentum = 0.9;
  real x[N * WIDE], weight[CLASSES * WIDE], bias[CLASSES];
  int32_t label[N] = {0, 2, 1, 1, 0};
  double w[CLASSES][WIDE + 1] = {{0}}, m[CLASSES][WIDE + 1] = {{0}}, loss = 0; /* the bias last, as the weight of 1 */
  for (int i = 0; i < N * WIDE; i++) x[i] = (real)((7 * i) % 11 - 5) / 8;
  for (int epoch = 0, step = 0; epoch < EPOCHS; epoch++) {
    int32_t order[N];
    linear_eval_shuffle(4, epoch, N, order);
    loss = 0;
    for (int first = 0; first < N; first += BATCH, step++) {
      const int rows = first + BATCH <= N ? BATCH : N - first;
      const double rate = 16 * 2 / 256. * (1 + cos(acos(-1) * step / STEPS)) / 2;
      double g[CLASSES][WIDE + 1] = {{0}};
      for (int row = 0; row < rows; row++) {
        const int i = order[first + row];
        const double in[WIDE + 1] = {(double)x[i * WIDE], (double)x[i * WIDE + 1], 1};
        double e[CLASSES], sum = 0;
        for (int c = 0; c < CLASSES; c++) sum += e[c] = exp(w[c][0] * in[0] + w[c][1] * in[1] + w[c][2]);
        loss -= log(e[label[i]] / sum) / N;
        for (int c = 0; c < CLASSES; c++)
          for (int k = 0; k <= WIDE; k++) g[c][k] += (e[c] / sum - (c == label[i])) * in[k] / rows;
      }
      for (int c = 0; c < CLASSES; c++)
        for (int k = 0; k <= WIDE; k++) {
          m[c][k] = momentum * m[c][k] + g[c][k];
          w[c][k] -= rate * (g[c][k] + momentum * m[c][k]);
        }
    }
  }
  struct toy t = {.count = N, .d = WIDE, .x = x, .label = label, .fail_at = -2};
  struct linear_features f = toy_features(&t);
  struct linear_eval_options o = {
      .epochs = EPOCHS, .batch = BATCH, .momentum = momentum, .base_lr = {16}, .rates = 1, .held_out = .5, .seed = 4};
  struct linear_eval_result r;
  struct error err;
  assert_true(linear_eval(&f, N, x, label, CLASSES, &o, NULL, NULL, &r, weight, bias, &err));
  for (int c = 0; c < CLASSES; c++) {
    for (int k = 0; k < WIDE; k++) assert_true(fabs((double)weight[c * WIDE + k] - w[c][k]) <= bound);
    assert_true(fabs((double)bias[c] - w[c][WIDE]) <= bound);
  }
  assert_true(fabs(r.loss - loss) <= 2 * 2.25 * bound);
}

static void classes_and_images_too_few(void **state) {
  (void)state;
  struct toy train;
  toy_make(&train, 20, 3, 1, 1, 8);
  struct linear_features f = toy_features(&train);
  struct linear_eval_options o = linear_eval_defaults();
  o.epochs = 2;
  struct linear_eval_result r;
  struct error err;
  /* one class: always right; classes without an image are no obstacle; no test images: count 0 */
  assert_true(linear_eval(&f, 20, train.x, train.label, 1, &o, NULL, NULL, &r, NULL, NULL, &err));
  assert_true(r.test.hits == 20 && r.loss == 0);
  assert_true(linear_eval(&f, 20, train.x, train.label, 7, &o, NULL, NULL, &r, NULL, NULL, &err));
  assert_true(linear_eval(&f, 0, NULL, NULL, 7, &o, NULL, NULL, &r, NULL, NULL, &err));
  assert_true(r.test.count == 0);
  f.count = 1;
  assert_false(linear_eval(&f, 20, train.x, train.label, 1, &o, NULL, NULL, &r, NULL, NULL, &err));
  assert_non_null(strstr(err.text, "1 training images"));
  toy_free(&train);
}

/* Counts the epochs that are told, which come one by one. */
static void count_epochs(void *context, int epoch, int epochs) {
  int *told = context;
  told[0]++;
  assert_int_equal(epoch, told[0]);
  assert_int_equal(epochs, told[1]);
}

/* The first of two rates that are equally good; every epoch is told, those of the sweep before those of the last regression. */
static void the_first_of_the_best_rates_is_chosen(void **state) {
  (void)state;
  struct toy train;
  toy_make(&train, 60, 4, 4, 0.1, 7);
  struct linear_features f = toy_features(&train);
  struct linear_eval_options o = {.epochs = 5, .batch = 20, .momentum = .9, .base_lr = {1, 0.5, 2}, .rates = 3, .held_out = .25};
  struct linear_eval_result r;
  struct error err;
  int told[2] = {0, 10};
  assert_true(linear_eval(&f, 60, train.x, train.label, 4, &o, count_epochs, told, &r, NULL, NULL, &err));
  assert_true(r.held_out[0].hits == 15 && r.held_out[1].hits == 15 && r.held_out[2].hits == 15 && r.base_lr == 1);
  assert_int_equal(told[0], 10);
  o.rates = 1, told[0] = 0, told[1] = 5;
  assert_true(linear_eval(&f, 60, train.x, train.label, 4, &o, count_epochs, told, &r, NULL, NULL, &err));
  assert_int_equal(told[0], 5);
  toy_free(&train);
}

/* Every option at the ends of its range, and beyond. */
static void options_have_ranges(void **state) {
  (void)state;
  static const struct {
    int epochs;
    ptrdiff_t batch;
    double momentum, held_out;
    int rates;
    double lr;
    bool good;
  } tried[] = {{1, 1, 0, .01, 1, .1, true},       {1, 1, .99, .99, LINEAR_EVAL_RATES, .1, true},
               {0, 1, 0, .01, 1, .1, false},      {1, 0, 0, .01, 1, .1, false},
               {1, 1, -.01, .01, 1, .1, false},   {1, 1, 1, .01, 1, .1, false},
               {1, 1, 0, 0, 1, .1, false},        {1, 1, 0, 1, 1, .1, false},
               {1, 1, 0, .01, 0, .1, false},      {1, 1, 0, .01, LINEAR_EVAL_RATES + 1, .1, false},
               {1, 1, 0, .01, 1, INFINITY, false}};
  struct toy train;
  toy_make(&train, 20, 3, 3, 1, 9);
  struct linear_features f = toy_features(&train);
  for (size_t i = 0; i < sizeof tried / sizeof tried[0]; i++) {
    struct linear_eval_options o = {.epochs = tried[i].epochs,
                                    .batch = tried[i].batch,
                                    .momentum = tried[i].momentum,
                                    .held_out = tried[i].held_out,
                                    .rates = tried[i].rates};
    struct linear_eval_result r;
    struct error err;
    for (int k = 0; k < LINEAR_EVAL_RATES; k++) o.base_lr[k] = tried[i].lr;
    if (linear_eval(&f, 20, train.x, train.label, 3, &o, NULL, NULL, &r, NULL, NULL, &err) != tried[i].good) fail_msg("options %zu", i);
  }
  toy_free(&train);
}

static void bad_input_is_named(void **state) {
  (void)state;
  struct toy train;
  toy_make(&train, 20, 3, 3, 1, 9);
  struct linear_features f = toy_features(&train);
  struct linear_eval_options o = linear_eval_defaults();
  struct linear_eval_result r;
  struct error err;
#define FAILS_WITH(what)                                                                                                                   \
  assert_false(linear_eval(&f, 20, train.x, train.label, 3, &o, NULL, NULL, &r, NULL, NULL, &err));                                        \
  assert_non_null(strstr(err.text, what))
  train.label[4] = 3;
  FAILS_WITH("label 3 of training image 4 is not in 0..2");
  train.label[4] = -1;
  FAILS_WITH("label -1 of training image 4");
  train.label[4] = 0;
  o.epochs = 0;
  FAILS_WITH("0 epochs");
  o.epochs = 3, o.held_out = 1;
  FAILS_WITH("held-out share 1");
  o.held_out = .1, o.base_lr[2] = -1;
  FAILS_WITH("rate -1");
  o.base_lr[2] = .1, train.fail_at = 1;
  FAILS_WITH("image 7 is gone");
  train.fail_at = LINEAR_EVAL_PLAIN;
  FAILS_WITH("image 7 is gone");
  train.fail_at = -2, train.x[0] = NAN;
  FAILS_WITH("diverged at every learning rate");
  o.rates = 1;
  FAILS_WITH("diverged at base learning rate 0.4");
  toy_free(&train);
}

static void threads_do_not_matter(void **state) {
  (void)state;
  struct toy train;
  toy_make(&train, 700, 600, 300, 1, 10); /* more classes and features than a tile of the matrix product */
  struct linear_features f = toy_features(&train);
  struct linear_eval_options o = {.epochs = 2, .batch = 300, .momentum = .9, .base_lr = {.1}, .rates = 1, .held_out = .1};
  struct linear_eval_result r[2];
  real *weight[2] = {test_reals(300 * 600), test_reals(300 * 600)};
  struct error err;
  int threads = omp_get_max_threads();
  for (int i = 0; i < 2; i++) {
    omp_set_num_threads(1 + 2 * i);
    assert_true(linear_eval(&f, 700, train.x, train.label, 300, &o, NULL, NULL, &r[i], weight[i], NULL, &err));
  }
  omp_set_num_threads(threads);
  assert_memory_equal(weight[0], weight[1], 300 * 600 * sizeof(real));
  assert_true(r[0].loss == r[1].loss && r[0].test.hits == r[1].test.hits);
  free(weight[0]), free(weight[1]), toy_free(&train);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(loss_of_zero_weights_is_ln_c),
                                     cmocka_unit_test(gradient_is_the_difference_quotient),
                                     cmocka_unit_test(huge_logits_stay_finite),
                                     cmocka_unit_test(nesterov_by_hand),
                                     cmocka_unit_test(separable_features_are_classified_without_error),
                                     cmocka_unit_test(noise_is_not_learnt_beyond_chance),
                                     cmocka_unit_test(held_out_images_choose_the_rate),
                                     cmocka_unit_test(held_out_images_are_not_trained_on),
                                     cmocka_unit_test(split_and_shuffle_are_permutations),
                                     cmocka_unit_test(a_full_batch_step_is_the_case_by_hand),
                                     cmocka_unit_test(steps_follow_the_shuffles_and_the_cosine),
                                     cmocka_unit_test(classes_and_images_too_few),
                                     cmocka_unit_test(the_first_of_the_best_rates_is_chosen),
                                     cmocka_unit_test(options_have_ranges),
                                     cmocka_unit_test(bad_input_is_named),
                                     cmocka_unit_test(threads_do_not_matter)};
  return cmocka_run_group_tests_name("linear evaluation " REAL_SUFFIX, tests, NULL, NULL);
}
