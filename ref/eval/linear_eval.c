#include "eval/linear_eval.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "base/size.h"
#include "eval/softmax.h"

#define PI 3.14159265358979323846

enum { STREAM_SPLIT, STREAM_ORDER }; /* "view" of a PHILOX_EVAL stream */

/* A regression being trained. */
struct regression {
  real *w, *b, *w_momentum, *b_momentum;
  double lr; /* of the first step */
};

/* What all regressions of a fit share. */
struct workspace {
  real *x, *logits, *dw, *db; /* batch x d, softmax_scratch (logits of a batch come first), classes x d, classes */
  int32_t *label, *order;     /* batch, images */
  double *row_loss;           /* batch */
};

struct linear_eval_options linear_eval_defaults(void) {
  return (struct linear_eval_options){
      .epochs = 80, .batch = 1024, .momentum = 0.9, .base_lr = {0.4, 0.3, 0.2, 0.1, 0.05}, .rates = 5, .held_out = 0.1};
}

void linear_eval_shuffle(uint64_t seed, int epoch, ptrdiff_t n, int32_t *order) {
  struct philox g = philox_stream(seed, PHILOX_EVAL, STREAM_ORDER, 0, (uint32_t)epoch);
  philox_permutation(&g, n, order);
}

ptrdiff_t linear_eval_split(uint64_t seed, double share, ptrdiff_t n, int32_t *order) {
  assert(n >= 2);
  struct philox g = philox_stream(seed, PHILOX_EVAL, STREAM_SPLIT, 0, 0);
  philox_permutation(&g, n, order);
  return size_max(1, size_min(n - 1, (ptrdiff_t)floor(share * (double)n + 0.5)));
}

static void *take(size_t size, ptrdiff_t a, ptrdiff_t b) {
  ptrdiff_t n;
  return size_product(a, b, (ptrdiff_t)size, 1, &n) ? calloc((size_t)size_max(n, 1), 1) : NULL;
}

static void regression_free(struct regression *r) {
  free(r->w), free(r->b), free(r->w_momentum), free(r->b_momentum);
  *r = (struct regression){0};
}

/* From zero: the loss is convex, and only what lies in the span of the features ever moves. */
static bool regression_create(struct regression *r, ptrdiff_t classes, ptrdiff_t d) {
  *r = (struct regression){take(sizeof(real), classes, d), take(sizeof(real), classes, 1), take(sizeof(real), classes, d),
                           take(sizeof(real), classes, 1), 0};
  return r->w && r->b && r->w_momentum && r->b_momentum;
}

static void workspace_free(struct workspace *s) {
  free(s->x), free(s->logits), free(s->dw), free(s->db), free(s->label), free(s->order), free(s->row_loss);
}

static bool workspace_create(struct workspace *s, ptrdiff_t batch, ptrdiff_t classes, ptrdiff_t d, ptrdiff_t images) {
  const struct softmax_shape g = {batch, d, classes};
  *s = (struct workspace){take(sizeof(real), batch, d),    take(sizeof(real), softmax_scratch(&g, omp_get_max_threads()), 1),
                          take(sizeof(real), classes, d),  take(sizeof(real), classes, 1),
                          take(sizeof(int32_t), batch, 1), take(sizeof(int32_t), images, 1),
                          take(sizeof(double), batch, 1)};
  return s->x && s->logits && s->dw && s->db && s->label && s->order && s->row_loss;
}

/* Features and labels of images list[first..first + rows - 1] into the workspace; null: of images first, first + 1, ... */
static void gather(const struct linear_features *f, const real *x, const int32_t *list, ptrdiff_t first, ptrdiff_t rows,
                   struct workspace *s) {
  for (ptrdiff_t i = 0; i < rows; i++) {
    ptrdiff_t image = list ? list[first + i] : first + i;
    memcpy(s->x + i * f->d, x + image * f->d, (size_t)f->d * sizeof *x);
    s->label[i] = f->label[image];
  }
}

/* Trains `count` regressions side by side, on the same batches of the `images` images in subset (null: all of them). loss: one each, the
 * mean over the last epoch. */
static bool fit(const struct linear_features *f, const int32_t *subset, ptrdiff_t images, int classes, const struct linear_eval_options *o,
                ptrdiff_t batch, struct regression *r, int count, double *loss, struct workspace *s,
                void (*progress)(void *context, int epoch, int epochs), void *context, int first_epoch, int all_epochs, struct error *err) {
  ptrdiff_t batches = size_ceil_div(images, batch), steps = o->epochs * batches, step = 0;
  for (int epoch = 0; epoch < o->epochs; epoch++) {
    const real *x;
    if (!f->epoch(f->context, epoch, &x, err)) return false;
    linear_eval_shuffle(o->seed, epoch, images, s->order);
    for (ptrdiff_t i = 0; subset && i < images; i++) s->order[i] = subset[s->order[i]];
    for (int k = 0; k < count; k++) loss[k] = 0;
    for (ptrdiff_t first = 0; first < images; first += batch, step++) {
      struct softmax_shape g = {size_min(batch, images - first), f->d, classes};
      gather(f, x, s->order, first, g.rows, s);
      double decay = (1 + cos(PI * (double)step / (double)steps)) / 2;
      for (int k = 0; k < count; k++) {
        double batch_loss = softmax_loss(&g, s->x, s->label, r[k].w, r[k].b, s->dw, s->db, s->logits, s->row_loss);
        loss[k] += batch_loss * (double)g.rows / (double)images;
        nesterov_step(g.c * g.d, r[k].lr * decay, o->momentum, s->dw, r[k].w_momentum, r[k].w);
        nesterov_step(g.c, r[k].lr * decay, o->momentum, s->db, r[k].b_momentum, r[k].b);
      }
    }
    if (progress) progress(context, first_epoch + epoch + 1, all_epochs);
  }
  return true;
}

/* How many of the rows have their label among the `top` largest logits; of equal logits the lower class comes first, and NaN last. */
static ptrdiff_t hits_of(const struct softmax_shape *g, const real *logits, const int32_t *label, int top) {
  ptrdiff_t hits = 0;
  for (ptrdiff_t i = 0; i < g->rows; i++) {
    const real *l = logits + i * g->c;
    real own = l[label[i]];
    int before = 0;
    for (ptrdiff_t j = 0; j < g->c; j++) before += l[j] > own || (l[j] == own && j < label[i]);
    hits += own == own && before < top;
  }
  return hits;
}

/* Scores a regression on the images in subset (null: all count of them), batch by batch. */
static void score(const struct linear_features *f, const real *x, const int32_t *subset, ptrdiff_t count, int classes, ptrdiff_t batch,
                  const struct regression *r, struct workspace *s, struct share *top1, struct share *top5) {
  ptrdiff_t hits1 = 0, hits5 = 0;
  for (ptrdiff_t first = 0; first < count; first += batch) {
    struct softmax_shape g = {size_min(batch, count - first), f->d, classes};
    gather(f, x, subset, first, g.rows, s);
    softmax_logits(&g, s->x, r->w, r->b, s->logits);
    hits1 += hits_of(&g, s->logits, s->label, 1);
    hits5 += hits_of(&g, s->logits, s->label, 5);
  }
  *top1 = share_of(hits1, count);
  if (top5) *top5 = share_of(hits5, count);
}

static bool labels_fit(ptrdiff_t count, const int32_t *label, int classes, const char *what, struct error *err) {
  for (ptrdiff_t i = 0; i < count; i++)
    if (label[i] < 0 || label[i] >= classes)
      return fail(err, "linear evaluation: label %d of %s image %td is not in 0..%d; evaluation needs labelled images", (int)label[i], what,
                  i, classes - 1);
  return true;
}

static bool options_fit(const struct linear_eval_options *o, struct error *err) {
  if (o->epochs < 1 || o->batch < 1 || o->rates < 1 || o->rates > LINEAR_EVAL_RATES)
    return fail(err, "linear evaluation: %d epochs, batch %td, %d learning rates; all must be at least 1, the rates at most %d", o->epochs,
                o->batch, o->rates, LINEAR_EVAL_RATES);
  if (!(o->momentum >= 0 && o->momentum < 1) || !(o->held_out > 0 && o->held_out < 1))
    return fail(err, "linear evaluation: momentum %g must be in [0, 1), the held-out share %g in (0, 1)", o->momentum, o->held_out);
  for (int k = 0; k < o->rates; k++)
    if (!(o->base_lr[k] > 0 && isfinite(o->base_lr[k])))
      return fail(err, "linear evaluation: base learning rate %g must be positive", o->base_lr[k]);
  return true;
}

/* The best of the rates on the held-out images: index into o->base_lr, -1 on failure. */
static int choose_rate(const struct linear_features *train, int classes, const struct linear_eval_options *o, ptrdiff_t batch,
                       struct workspace *s, void (*progress)(void *context, int epoch, int epochs), void *context,
                       struct linear_eval_result *result, struct error *err) {
  struct regression r[LINEAR_EVAL_RATES] = {{0}};
  int32_t *split = take(sizeof *split, train->count, 1);
  bool ok = split != NULL;
  for (int k = 0; ok && k < o->rates; k++) ok = regression_create(&r[k], classes, train->d);
  if (!ok) fail(err, "linear evaluation: out of memory for %d regressions of %d classes x %td features", o->rates, classes, train->d);
  int best = -1;
  if (ok) {
    ptrdiff_t held_out = linear_eval_split(o->seed, o->held_out, train->count, split), rest = train->count - held_out;
    double loss[LINEAR_EVAL_RATES];
    const real *x;
    ptrdiff_t rows = size_min(batch, rest);
    for (int k = 0; k < o->rates; k++) r[k].lr = o->base_lr[k] * (double)rows / 256;
    if (fit(train, split + held_out, rest, classes, o, rows, r, o->rates, loss, s, progress, context, 0, 2 * o->epochs, err) &&
        train->epoch(train->context, LINEAR_EVAL_PLAIN, &x, err)) {
      for (int k = 0; k < o->rates; k++) {
        score(train, x, split, held_out, classes, batch, &r[k], s, &result->held_out[k], NULL);
        if (isfinite(loss[k]) && (best < 0 || result->held_out[k].hits > result->held_out[best].hits)) best = k;
      }
      if (best < 0) fail(err, "linear evaluation: the regression diverged at every learning rate; try smaller rates");
    }
  }
  for (int k = 0; k < o->rates; k++) regression_free(&r[k]);
  free(split);
  return best;
}

bool linear_eval(const struct linear_features *train, ptrdiff_t test_count, const real *test, const int32_t *test_label, int classes,
                 const struct linear_eval_options *o, void (*progress)(void *context, int epoch, int epochs), void *context,
                 struct linear_eval_result *result, real *weight, real *bias, struct error *err) {
  assert(classes >= 1 && train->d >= 1 && test_count >= 0);
  *result = (struct linear_eval_result){0};
  if (train->count < 2) return fail(err, "linear evaluation: %td training images; at least 2 are needed", train->count);
  if (train->count > INT32_MAX) return fail(err, "linear evaluation: %td training images; at most 2^31 - 1 are supported", train->count);
  if (!options_fit(o, err) || !labels_fit(train->count, train->label, classes, "training", err) ||
      !labels_fit(test_count, test_label, classes, "test", err))
    return false;

  ptrdiff_t batch = size_min(o->batch, train->count);
  struct workspace s;
  struct regression r = {0};
  bool ok = workspace_create(&s, batch, classes, train->d, train->count) && regression_create(&r, classes, train->d);
  if (!ok) fail(err, "linear evaluation: out of memory for batches of %td x %td features; choose a smaller batch", batch, train->d);
  int chosen = 0;
  if (ok && o->rates > 1) {
    chosen = choose_rate(train, classes, o, batch, &s, progress, context, result, err);
    ok = chosen >= 0;
  }
  if (ok) {
    const real *x;
    result->base_lr = o->base_lr[chosen];
    r.lr = result->base_lr * (double)batch / 256;
    int before = o->rates > 1 ? o->epochs : 0;
    ok = fit(train, NULL, train->count, classes, o, batch, &r, 1, &result->loss, &s, progress, context, before, before + o->epochs, err) &&
         train->epoch(train->context, LINEAR_EVAL_PLAIN, &x, err);
    if (ok && !isfinite(result->loss))
      ok = fail(err, "linear evaluation: the regression diverged at base learning rate %g; try smaller rates", result->base_lr);
    if (ok) {
      score(train, x, NULL, train->count, classes, batch, &r, &s, &result->train, NULL);
      struct linear_features images = {test_count, train->d, test_label, NULL, NULL};
      score(&images, test, NULL, test_count, classes, batch, &r, &s, &result->test, &result->test5);
      if (weight) memcpy(weight, r.w, (size_t)classes * (size_t)train->d * sizeof *weight);
      if (bias) memcpy(bias, r.b, (size_t)classes * sizeof *bias);
    }
  }
  regression_free(&r);
  workspace_free(&s);
  return ok;
}
