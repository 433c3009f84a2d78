/* Dense evaluation: bilinear interpolation, its adjoint, the loss and its gradient, the score, the protocol. */
#include "eval/dense_eval.h"

#include <omp.h>
#include <string.h>

#include "support/cmocka.h"

#include "support/support.h"

enum { VOID = 3 };
static const struct dense_shape odd = {3, 4, 7, 13, 3, VOID}; /* neither size a multiple */

static void upsampling_keeps_constants_and_ramps(void **state) {
  (void)state;
  /* A ramp over the cells' centres, 1 step a cell, is 1/4 a step a pixel between the outer centres, and flat outside. */
  struct dense_shape g = {2, 5, 8, 20, 2, DENSE_NO_VOID};
  real x[2 * 5 * 2], y[8 * 20 * 2];
  for (int i = 0; i < 10; i++) x[2 * i] = 7, x[2 * i + 1] = (real)(i % 5);
  dense_upsample(&g, x, y);
  for (int i = 0; i < 8 * 20; i++) {
    double position = (i % 20 + 0.5) / 4 - 0.5;
    assert_true(y[2 * i] == 7);
    assert_true(y[2 * i + 1] == (real)fmin(fmax(position, 0), 4)); /* multiples of 1/8: exact */
  }
}

static void known_values_two_to_four(void **state) {
  (void)state;
  /* one line of two cells to four pixels: centres at -1/4, 1/4, 3/4, 5/4; downwards from four to two: the means of the pairs */
  struct dense_shape up = {1, 2, 1, 4, 1, DENSE_NO_VOID}, down = {1, 4, 1, 2, 1, DENSE_NO_VOID};
  real x[4] = {8, 16}, y[4];
  dense_upsample(&up, x, y);
  assert_true(y[0] == 8 && y[1] == 10 && y[2] == 14 && y[3] == 16);
  real z[4] = {1, 3, 5, 9};
  dense_upsample(&down, z, y);
  assert_true(y[0] == 2 && y[1] == 7);
}

static void same_size_is_a_copy(void **state) {
  (void)state;
  struct dense_shape g = {4, 5, 4, 5, 2, DENSE_NO_VOID};
  real x[40], y[40];
  test_fill_normal(x, 40, 1);
  dense_upsample(&g, x, y);
  assert_all_equal(y, x, 40);
}

static void the_backward_is_the_adjoint(void **state) {
  (void)state;
  /* <upsample(x), dy> = <x, backward(dy)>; integers of at most 8 keep the bound simple: 273 products of 64, weights rounded */
  const struct dense_shape *g = &odd;
  ptrdiff_t in = g->h * g->w * g->classes, out = g->height * g->width * g->classes;
  real *x = test_reals(in), *dx = test_reals(in), *y = test_reals(out), *dy = test_reals(out);
  double *scratch = malloc((size_t)dense_scratch(g) * sizeof *scratch), left = 0, right = 0;
  memset(scratch, 0x7f, (size_t)dense_scratch(g) * sizeof *scratch), memset(dx, 0x7f, (size_t)in * sizeof *dx); /* neither is read */
  test_fill_int(x, in, 8, 1);
  test_fill_int(dy, out, 8, 2);
  dense_upsample(g, x, y);
  dense_upsample_backward(g, dy, dx, scratch);
  for (ptrdiff_t i = 0; i < out; i++) left += (double)y[i] * (double)dy[i];
  for (ptrdiff_t i = 0; i < in; i++) right += (double)x[i] * (double)dx[i];
  assert_true(fabs(left - right) < (double)out * 64 * 8 * REAL_ROUNDOFF);
  free(x), free(dx), free(y), free(dy), free(scratch);
}

static void fill_labels(uint8_t *label, ptrdiff_t n, int values, uint32_t stream) {
  struct philox g = philox_stream(1, PHILOX_TEST, 2, stream, 0);
  for (ptrdiff_t i = 0; i < n; i++) label[i] = (uint8_t)philox_below(&g, (uint32_t)values);
}

static void loss_is_the_sum_over_labelled_pixels(void **state) {
  (void)state;
  const struct dense_shape *g = &odd;
  ptrdiff_t in = g->h * g->w * g->classes, pixels = g->height * g->width;
  real *x = test_reals(in), *y = test_reals(pixels * g->classes);
  uint8_t label[7 * 13];
  double *scratch = calloc((size_t)dense_scratch(g), sizeof *scratch), plain = 0;
  test_fill_normal(x, in, 3);
  fill_labels(label, pixels, 4, 1);
  dense_upsample(g, x, y);
  int64_t count = 0;
  for (ptrdiff_t i = 0; i < pixels; i++) {
    if (label[i] == VOID) continue;
    const real *l = y + i * 3;
    plain += log(exp((double)l[0]) + exp((double)l[1]) + exp((double)l[2])) - (double)l[label[i]];
    count++;
  }
  assert_true(count > 0 && count < pixels && dense_count(g, label) == count);
  /* the pixels of both are rounded to real from doubles a few ulp apart: one roundoff of at most 8, twice, a pixel */
  assert_true(fabs(dense_loss(g, x, label, 1, NULL, scratch) - plain) < (double)count * 16 * REAL_ROUNDOFF);
  memset(label, VOID, sizeof label);
  assert_true(dense_loss(g, x, label, 1, x, scratch) == 0 && dense_count(g, label) == 0);
  for (ptrdiff_t i = 0; i < in; i++) assert_true(x[i] == 0); /* the gradient, in place */
  free(x), free(y), free(scratch);
}

static void gradient_is_the_difference_quotient(void **state) {
  (void)state;
  const struct dense_shape *g = &odd;
  ptrdiff_t in = g->h * g->w * g->classes, pixels = g->height * g->width;
  real *x = test_reals(in), *dx = test_reals(in);
  uint8_t label[7 * 13];
  double *scratch = calloc((size_t)dense_scratch(g), sizeof *scratch);
  test_fill_normal(x, in, 4);
  fill_labels(label, pixels, 4, 2);
  dense_loss(g, x, label, 0.5, dx, scratch);
  /* At most 91 pixels see a cell: a third derivative of the loss below 91, and the rounding of 91 pixels of size below 4 over the step. */
  double step = cbrt(REAL_ROUNDOFF), allowed = 91 * step * step / 6 + 91 * 4 * REAL_ROUNDOFF / step;
  for (ptrdiff_t i = 0; i < in; i++) {
    real kept = x[i];
    x[i] = (real)((double)kept + step);
    double up = (double)x[i], above = dense_loss(g, x, label, 1, NULL, scratch);
    x[i] = (real)((double)kept - step);
    double down = (double)x[i], below = dense_loss(g, x, label, 1, NULL, scratch);
    x[i] = kept;
    assert_true(fabs((above - below) / (up - down) - 2 * (double)dx[i]) < allowed);
  }
  free(x), free(dx), free(scratch);
}

static void score_by_hand(void **state) {
  (void)state;
  /* class 0: 2 right of 3, 1 taken from 1: 2/4; class 1: 1 right, 1 lost, 1 gained: 1/3; class 2 never occurs; class 3 only predicted: 0 */
  struct dense_shape g = {1, 6, 1, 6, 4, 9};
  uint8_t label[6] = {0, 0, 0, 1, 1, 9};
  static const int predicted[6] = {0, 0, 1, 1, 0, 2};
  real logits[24] = {0};
  double scratch[256], iou[4];
  int64_t count[16] = {0};
  struct dense_confusion confusion = {4, count};
  for (int i = 0; i < 6; i++) logits[i * 4 + predicted[i]] = 1;
  dense_confusion_add(&g, logits, label, &confusion, scratch);
  struct dense_score s = dense_confusion_score(&confusion, iou);
  assert_true(iou[0] == 0.5 && fabs(iou[1] - 1. / 3) < 1e-15 && iou[2] == -1 && iou[3] == -1);
  assert_true(s.classes_seen == 2 && s.pixels == 5 && s.pixel_accuracy == 0.6 && fabs(s.mean_iou - 5. / 12) < 1e-15);
  logits[1] = 0, logits[0] = 0, logits[3] = 1; /* one pixel of class 0 is now taken for class 3 */
  dense_confusion_add(&g, logits, label, &confusion, scratch);
  s = dense_confusion_score(&confusion, iou);
  assert_true(iou[3] == 0 && s.classes_seen == 3 && s.pixels == 10);
  struct dense_confusion none = {4, (int64_t[16]){0}};
  s = dense_confusion_score(&none, NULL);
  assert_true(s.mean_iou == 0 && s.pixels == 0 && s.pixel_accuracy == 0);
}

static void equal_logits_take_the_lowest_class(void **state) {
  (void)state;
  struct dense_shape g = {1, 1, 2, 2, 3, DENSE_NO_VOID};
  real logits[3] = {1, 2, 2};
  uint8_t label[4] = {0, 1, 2, 1};
  int64_t count[9] = {0};
  double scratch[64];
  struct dense_confusion confusion = {3, count};
  dense_confusion_add(&g, logits, label, &confusion, scratch);
  assert_true(count[1] == 1 && count[4] == 2 && count[7] == 1);
}

/* ---- the protocol: cells that show their class, label maps of the same blocks ---- */

enum { H = 3, W = 3, SIDE = 4, FEATURES = 6, CLASSES = 3 };
static const struct dense_shape blocks = {H, W, H *SIDE, W *SIDE, CLASSES, 7};

struct toy {
  struct dense_images images;
  real *cells;
  uint8_t *label;
};
static struct toy toy_make(ptrdiff_t count, uint32_t stream) {
  struct toy t = {.cells = test_reals(count * H * W * FEATURES), .label = calloc((size_t)(count * H * W * SIDE * SIDE), 1)};
  uint8_t *class = calloc((size_t)count, 1);
  test_fill_normal(t.cells, count * H * W * FEATURES, stream);
  fill_labels(class, count, CLASSES, stream);
  for (ptrdiff_t i = 0; i < count * H * W; i++) /* an image of one class, with a void corner */
    for (int j = 0; j < FEATURES; j++)
      t.cells[i * FEATURES + j] = (real)(0.1 * (double)t.cells[i * FEATURES + j] + (j == class[i / (H * W)] ? 1 : 0));
  for (ptrdiff_t i = 0; i < count * H * W * SIDE * SIDE; i++)
    t.label[i] = i % (H * W * SIDE * SIDE) < 5 ? 7 : class[i / (H * W * SIDE * SIDE)];
  t.images = (struct dense_images){count, t.cells, t.label};
  free(class);
  return t;
}
static void toy_free(struct toy t) { free(t.cells), free(t.label); }

static void separable_cells_are_segmented_without_error(void **state) {
  (void)state;
  struct toy train = toy_make(20, 1), validation = toy_make(6, 2), test = toy_make(9, 3);
  struct dense_eval_options o = dense_eval_defaults();
  struct dense_eval_result r;
  struct error err;
  double iou[CLASSES];
  o.epochs = 20;
  assert_true(dense_eval(&blocks, FEATURES, &train.images, &validation.images, &test.images, &o, NULL, NULL, &r, iou, NULL, NULL, &err));
  assert_true(r.test.mean_iou == 1 && r.test.pixel_accuracy == 1 && r.test.pixels == 9 * (144 - 5));
  assert_true(r.lr == 0.3 && r.validation[0].mean_iou == 1 && r.loss > 0 && r.loss < log(3));
  for (int k = 0; k < CLASSES; k++) assert_true(iou[k] == 1);
  toy_free(train), toy_free(validation), toy_free(test);
}

static void validation_chooses_the_rate_and_its_weights_are_handed_out(void **state) {
  (void)state;
  struct toy train = toy_make(20, 1), validation = toy_make(6, 2);
  struct dense_eval_options o = {.epochs = 20, .batch = 7, .momentum = .9, .lr = {1e-9, .3, 1e-9}, .rates = 3};
  struct dense_eval_options alone = {.epochs = 20, .batch = 7, .momentum = .9, .lr = {.3}, .rates = 1};
  struct dense_eval_result r, s;
  struct error err;
  real w[2][CLASSES * FEATURES], b[2][CLASSES];
  for (ptrdiff_t i = 0; i < 20 * H * W; i++)
    train.cells[i * FEATURES + 5] = 3; /* an offset: a tiny rate gives every pixel the same class */
  for (ptrdiff_t i = 0; i < 6 * H * W; i++) validation.cells[i * FEATURES + 5] = 3;
  assert_true(
      dense_eval(&blocks, FEATURES, &train.images, &validation.images, &validation.images, &o, NULL, NULL, &r, NULL, w[0], b[0], &err));
  assert_true(
      dense_eval(&blocks, FEATURES, &train.images, &validation.images, &validation.images, &alone, NULL, NULL, &s, NULL, w[1], b[1], &err));
  assert_true(r.lr == .3 && r.validation[1].mean_iou > r.validation[0].mean_iou);
  assert_true(r.test.mean_iou == r.validation[1].mean_iou && r.loss == s.loss);
  assert_memory_equal(w[0], w[1], sizeof w[0]);
  assert_memory_equal(b[0], b[1], sizeof b[0]);
  toy_free(train), toy_free(validation);
}

static void one_step_by_hand(void **state) {
  (void)state;
  /* One cell of feature 1 for four pixels, one of them void: the gradient is the mean over the other three, softmax - onehot = -+1/2, and
   * from rest w = -lr (1 + mu) g. */
  struct dense_shape g = {1, 1, 2, 2, 2, 9};
  real one = 1, w[2], b[2];
  uint8_t label[4] = {0, 0, 9, 0};
  struct dense_images image = {1, &one, label};
  struct dense_eval_options o = {.epochs = 1, .batch = 8, .momentum = .5, .lr = {.5}, .rates = 1};
  struct dense_eval_result r;
  struct error err;
  assert_true(dense_eval(&g, 1, &image, &image, &image, &o, NULL, NULL, &r, NULL, w, b, &err));
  /* a third is rounded, thrice */
  real expected[2] = {(real)0.375, (real)-0.375};
  assert_all_close(w, expected, 2, 4 * REAL_ROUNDOFF);
  assert_all_close(b, expected, 2, 4 * REAL_ROUNDOFF);
  assert_true(fabs(r.loss - log(2)) < 1e-15 && r.test.mean_iou == 1 && r.test.pixels == 3);
}

static void bad_input_is_named(void **state) {
  (void)state;
  struct toy t = toy_make(2, 1), s = toy_make(2, 2);
  struct dense_images none = {0, NULL, NULL};
  struct dense_eval_options o = dense_eval_defaults();
  struct dense_eval_result r;
  struct error err;
  o.epochs = 1;
#define FAILS_WITH(train, validation, what) FAILS_WITH_TEST(train, validation, &none, what)
#define FAILS_WITH_TEST(train, validation, test, what)                                                                                     \
  assert_false(dense_eval(&blocks, FEATURES, train, validation, test, &o, NULL, NULL, &r, NULL, NULL, NULL, &err));                        \
  assert_non_null(strstr(err.text, what))
  FAILS_WITH(&none, &t.images, "0 training and 2 validation images");
  FAILS_WITH(&t.images, &none, "2 training and 0 validation images");
  t.label[144 + 13] = 3;
  FAILS_WITH(&t.images, &t.images, "label 3 at row 1, column 1 of training label map 1");
  t.label[144 + 13] = 0;
  o.lr[1] = NAN;
  FAILS_WITH(&t.images, &t.images, "learning rate nan");
  o.lr[1] = .1, o.rates = 0;
  FAILS_WITH(&t.images, &t.images, "0 learning rates");
  o.rates = 2;
  t.cells[0] = NAN;
  FAILS_WITH(&t.images, &t.images, "diverged at every learning rate");
  memset(t.label, 7, 288);
  FAILS_WITH(&t.images, &t.images, "every pixel of the training label maps is void");
  FAILS_WITH(&s.images, &t.images, "every pixel of the validation label maps is void");
  FAILS_WITH_TEST(&s.images, &s.images, &t.images, "every pixel of the test label maps is void");
  t.cells[0] = 0, t.label[287] = 0; /* one pixel, the last of all, is enough */
  if (!dense_eval(&blocks, FEATURES, &t.images, &t.images, &t.images, &o, NULL, NULL, &r, NULL, NULL, NULL, &err)) fail_msg("%s", err.text);
  toy_free(t), toy_free(s);
}

static void threads_do_not_matter(void **state) {
  (void)state;
  /* 64 images of 9 cells in one batch: more rows than one tile of the matrix product */
  struct toy t = toy_make(64, 4);
  struct dense_eval_options o = {.epochs = 3, .batch = 64, .momentum = .9, .lr = {.3}, .rates = 1};
  struct dense_eval_result r[2];
  real w[2][CLASSES * FEATURES];
  struct error err;
  int threads = omp_get_max_threads();
  for (int i = 0; i < 2; i++) {
    omp_set_num_threads(1 + 2 * i);
    assert_true(dense_eval(&blocks, FEATURES, &t.images, &t.images, &t.images, &o, NULL, NULL, &r[i], NULL, w[i], NULL, &err));
  }
  omp_set_num_threads(threads);
  assert_memory_equal(w[0], w[1], sizeof w[0]);
  assert_true(r[0].loss == r[1].loss && r[0].test.mean_iou == r[1].test.mean_iou);
  toy_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(upsampling_keeps_constants_and_ramps),
                                     cmocka_unit_test(known_values_two_to_four),
                                     cmocka_unit_test(same_size_is_a_copy),
                                     cmocka_unit_test(the_backward_is_the_adjoint),
                                     cmocka_unit_test(loss_is_the_sum_over_labelled_pixels),
                                     cmocka_unit_test(gradient_is_the_difference_quotient),
                                     cmocka_unit_test(score_by_hand),
                                     cmocka_unit_test(equal_logits_take_the_lowest_class),
                                     cmocka_unit_test(separable_cells_are_segmented_without_error),
                                     cmocka_unit_test(validation_chooses_the_rate_and_its_weights_are_handed_out),
                                     cmocka_unit_test(one_step_by_hand),
                                     cmocka_unit_test(bad_input_is_named),
                                     cmocka_unit_test(threads_do_not_matter)};
  return cmocka_run_group_tests_name("dense evaluation " REAL_SUFFIX, tests, NULL, NULL);
}
