#include "eval/dense_eval.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "eval/linear_eval.h"
#include "eval/softmax.h"

#define PI 3.14159265358979323846

/* Everything one fit needs, for batches of up to `batch` images. */
struct fit {
  const struct dense_shape *g;
  ptrdiff_t d, cells, batch;
  real *w, *b, *w_momentum, *b_momentum, *dw, *db;
  real *x, *logits; /* batch x cells x d, and x classes (then their gradient) */
  real *product;    /* scratch of softmax_weights_gradient */
  int32_t *order;
  double *loss, *scratch; /* batch, batch x dense_scratch */
  int64_t *confusion;     /* batch x classes^2 */
};

static void *take(size_t size, ptrdiff_t a, ptrdiff_t b, ptrdiff_t c) {
  ptrdiff_t n;
  return size_product(a, b, c, (ptrdiff_t)size, &n) ? calloc((size_t)size_max(n, 1), 1) : NULL;
}

static void fit_free(struct fit *f) {
  free(f->w), free(f->b), free(f->w_momentum), free(f->b_momentum), free(f->dw), free(f->db);
  free(f->x), free(f->logits), free(f->product), free(f->order), free(f->loss), free(f->scratch), free(f->confusion);
}

static bool fit_create(struct fit *f, const struct dense_shape *g, ptrdiff_t d, ptrdiff_t batch, ptrdiff_t images) {
  ptrdiff_t c = g->classes, cells = g->h * g->w;
  *f = (struct fit){.g = g, .d = d, .cells = cells, .batch = batch};
  f->w = take(sizeof(real), c, d, 1), f->b = take(sizeof(real), c, 1, 1);
  f->w_momentum = take(sizeof(real), c, d, 1), f->b_momentum = take(sizeof(real), c, 1, 1);
  f->dw = take(sizeof(real), c, d, 1), f->db = take(sizeof(real), c, 1, 1);
  f->x = take(sizeof(real), batch, cells, d), f->logits = take(sizeof(real), batch, cells, c);
  const struct softmax_shape s = {batch * cells, d, c};
  f->product = take(sizeof(real), softmax_gradient_scratch(&s, omp_get_max_threads()), 1, 1);
  f->order = take(sizeof(int32_t), images, 1, 1), f->loss = take(sizeof(double), batch, 1, 1);
  f->scratch = take(sizeof(double), batch, dense_scratch(g), 1), f->confusion = take(sizeof(int64_t), batch, c, c);
  return f->w && f->b && f->w_momentum && f->b_momentum && f->dw && f->db && f->x && f->logits && f->product && f->order && f->loss &&
         f->scratch && f->confusion;
}

/* The logits of images list[0..rows - 1] (null: first, first + 1, ...). */
static void batch_logits(struct fit *f, const struct dense_images *images, const int32_t *list, ptrdiff_t first, ptrdiff_t rows) {
  ptrdiff_t size = f->cells * f->d;
  for (ptrdiff_t i = 0; i < rows; i++)
    memcpy(f->x + i * size, images->cells + (list ? list[first + i] : first + i) * size, (size_t)size * sizeof(real));
  struct softmax_shape s = {rows * f->cells, f->d, f->g->classes};
  softmax_logits(&s, f->x, f->w, f->b, f->logits);
}

/* One step on images list[first..first + rows - 1]; returns the loss. A batch without a labelled pixel moves nothing. */
static double step(struct fit *f, const struct dense_images *images, const int32_t *list, ptrdiff_t first, ptrdiff_t rows, double lr,
                   double mu) {
  const struct dense_shape *g = f->g;
  ptrdiff_t pixels = g->height * g->width, size = f->cells * g->classes, c = g->classes;
  int64_t labelled = 0;
  for (ptrdiff_t i = 0; i < rows; i++) labelled += dense_count(g, images->label + list[first + i] * pixels);
  if (labelled == 0) return 0;
  batch_logits(f, images, list, first, rows);
#pragma omp parallel for schedule(dynamic)
  for (ptrdiff_t i = 0; i < rows; i++)
    f->loss[i] = dense_loss(g, f->logits + i * size, images->label + list[first + i] * pixels, 1 / (double)labelled, f->logits + i * size,
                            f->scratch + i * dense_scratch(g));
  const struct softmax_shape s = {rows * f->cells, f->d, c};
  softmax_weights_gradient(&s, f->x, f->logits, f->dw, f->product);
  for (ptrdiff_t k = 0; k < c; k++) {
    double sum = 0;
    for (ptrdiff_t i = 0; i < rows * f->cells; i++) sum += (double)f->logits[i * c + k];
    f->db[k] = (real)sum;
  }
  nesterov_step(c * f->d, lr, mu, f->dw, f->w_momentum, f->w);
  nesterov_step(c, lr, mu, f->db, f->b_momentum, f->b);
  double loss = 0;
  for (ptrdiff_t i = 0; i < rows; i++) loss += f->loss[i];
  return loss / (double)labelled;
}

static struct dense_score score(struct fit *f, const struct dense_images *images, double *iou) {
  const struct dense_shape *g = f->g;
  ptrdiff_t pixels = g->height * g->width, size = f->cells * g->classes, squares = (ptrdiff_t)g->classes * g->classes;
  memset(f->confusion, 0, (size_t)(f->batch * squares) * sizeof *f->confusion);
  for (ptrdiff_t first = 0; first < images->count; first += f->batch) {
    ptrdiff_t rows = size_min(f->batch, images->count - first);
    batch_logits(f, images, NULL, first, rows);
#pragma omp parallel for schedule(dynamic)
    for (ptrdiff_t i = 0; i < rows; i++) {
      struct dense_confusion own = {g->classes, f->confusion + i * squares};
      dense_confusion_add(g, f->logits + i * size, images->label + (first + i) * pixels, &own, f->scratch + i * dense_scratch(g));
    }
  }
  struct dense_confusion all = {g->classes, f->confusion};
  for (ptrdiff_t i = 1; i < f->batch; i++)
    for (ptrdiff_t k = 0; k < squares; k++) all.count[k] += f->confusion[i * squares + k];
  return dense_confusion_score(&all, iou);
}

struct dense_eval_options dense_eval_defaults(void) {
  return (struct dense_eval_options){.epochs = 30, .batch = 8, .momentum = 0.9, .lr = {0.3, 0.1, 0.03, 0.01}, .rates = 4};
}

static bool any_labelled(const struct dense_shape *g, const struct dense_images *images, const char *what, struct error *err) {
  int64_t labelled = 0;
  for (ptrdiff_t i = 0; i < images->count && labelled == 0; i++) labelled = dense_count(g, images->label + i * g->height * g->width);
  return labelled > 0 || fail(err, "dense evaluation: every pixel of the %s label maps is void (class %d)", what, g->void_class);
}

static bool input_fits(const struct dense_shape *g, const struct dense_images *train, const struct dense_images *validation,
                       const struct dense_images *test, const struct dense_eval_options *o, struct error *err) {
  if (o->epochs < 1 || o->batch < 1 || o->rates < 1 || o->rates > DENSE_EVAL_RATES || !(o->momentum >= 0 && o->momentum < 1))
    return fail(
        err,
        "dense evaluation: %d epochs, batch %td, %d learning rates, momentum %g; the first three must be at least 1, the rates at most %d, "
        "momentum in [0, 1)",
        o->epochs, o->batch, o->rates, o->momentum, DENSE_EVAL_RATES);
  for (int k = 0; k < o->rates; k++)
    if (!(o->lr[k] > 0 && isfinite(o->lr[k]))) return fail(err, "dense evaluation: learning rate %g must be positive", o->lr[k]);
  if (train->count < 1 || validation->count < 1 || train->count > INT32_MAX)
    return fail(err, "dense evaluation: %td training and %td validation images; at least one of each is needed", train->count,
                validation->count);
  if (!dense_labels_fit(g, train->count, train->label, "training", err) ||
      !dense_labels_fit(g, validation->count, validation->label, "validation", err) ||
      !dense_labels_fit(g, test->count, test->label, "test", err))
    return false;
  return any_labelled(g, train, "training", err) && any_labelled(g, validation, "validation", err) &&
         (test->count < 1 || any_labelled(g, test, "test", err));
}

/* Trains from zero at this rate; returns the mean loss over the batches of the last epoch. done: epochs of other rates before. */
static double train_classifier(struct fit *f, const struct dense_images *train, const struct dense_eval_options *o, double lr, int done,
                               void (*progress)(void *context, int epoch, int epochs), void *context) {
  size_t weights = (size_t)f->g->classes * (size_t)f->d * sizeof(real), biases = (size_t)f->g->classes * sizeof(real);
  memset(f->w, 0, weights), memset(f->w_momentum, 0, weights), memset(f->b, 0, biases), memset(f->b_momentum, 0, biases);
  ptrdiff_t batches = size_ceil_div(train->count, f->batch), steps = o->epochs * batches, k = 0;
  double loss = 0;
  for (int epoch = 0; epoch < o->epochs; epoch++) {
    linear_eval_shuffle(o->seed, epoch, train->count, f->order);
    loss = 0;
    for (ptrdiff_t first = 0; first < train->count; first += f->batch, k++) {
      double decay = (1 + cos(PI * (double)k / (double)steps)) / 2;
      loss += step(f, train, f->order, first, size_min(f->batch, train->count - first), lr * decay, o->momentum) / (double)batches;
    }
    if (progress) progress(context, done + epoch + 1, o->rates * o->epochs);
  }
  return loss;
}

bool dense_eval(const struct dense_shape *g, ptrdiff_t d, const struct dense_images *train, const struct dense_images *validation,
                const struct dense_images *test, const struct dense_eval_options *o, void (*progress)(void *context, int epoch, int epochs),
                void *context, struct dense_eval_result *result, double *iou, real *weight, real *bias, struct error *err) {
  assert(g->classes >= 1 && g->classes <= 255 && g->h >= 1 && g->w >= 1 && g->height >= 1 && g->width >= 1 && d >= 1);
  *result = (struct dense_eval_result){0};
  if (!input_fits(g, train, validation, test, o, err)) return false;
  struct fit f;
  ptrdiff_t batch = size_min(o->batch, train->count);
  size_t weights = (size_t)g->classes * (size_t)d * sizeof(real), biases = (size_t)g->classes * sizeof(real);
  real *best_w = take(sizeof(real), g->classes, d, 1), *best_b = take(sizeof(real), g->classes, 1, 1);
  bool ok = fit_create(&f, g, d, batch, train->count) && best_w && best_b;
  if (!ok) fail(err, "dense evaluation: out of memory for %td images of %td x %td cells; choose a smaller batch", batch, g->h, g->w);
  int best = -1;
  for (int k = 0; ok && k < o->rates; k++) {
    double loss = train_classifier(&f, train, o, o->lr[k], k * o->epochs, progress, context);
    result->validation[k] = score(&f, validation, NULL);
    if (!isfinite(loss) || (best >= 0 && result->validation[k].mean_iou <= result->validation[best].mean_iou)) continue;
    best = k;
    result->lr = o->lr[k], result->loss = loss;
    memcpy(best_w, f.w, weights), memcpy(best_b, f.b, biases);
  }
  if (ok && best < 0) ok = fail(err, "dense evaluation: the loss diverged at every learning rate; try smaller rates");
  if (ok) {
    memcpy(f.w, best_w, weights), memcpy(f.b, best_b, biases);
    result->test = score(&f, test, iou);
    if (weight) memcpy(weight, best_w, weights);
    if (bias) memcpy(bias, best_b, biases);
  }
  fit_free(&f);
  free(best_w), free(best_b);
  return ok;
}
