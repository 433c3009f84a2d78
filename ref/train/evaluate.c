#include "train/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/safetensors.h"
#include "base/size.h"

/* Turns the progress of an extraction or a fit into the caller's. */
struct teller {
  evaluate_progress *progress;
  void *context;
  const char *what;
};

static void tell_features(void *context, ptrdiff_t done, ptrdiff_t all) {
  const struct teller *t = context;
  if (t->progress) t->progress(t->context, t->what, done, all);
}
static void tell_epochs(void *context, int epoch, int epochs) { tell_features(context, epoch, epochs); }

static void *take(size_t size, ptrdiff_t a, ptrdiff_t b, struct error *err) {
  ptrdiff_t n;
  void *p = size_product(a, b, (ptrdiff_t)size, 1, &n) ? malloc((size_t)size_max(n, 1)) : NULL;
  if (!p) fail(err, "evaluation: out of memory for %td x %td numbers; use fewer images or views", a, b);
  return p;
}

/* Pooled features of a whole data set, count x channels, each finite; null with the message set. */
static float *pooled_of(struct extractor *e, const struct dataset *d, const struct feature_view *view, const char *what,
                        evaluate_progress *progress, void *context, struct error *err) {
  struct teller teller = {progress, context, what};
  float *x = take(sizeof *x, d->count, e->channels, err);
  if (x && !extractor_run(e, d->count, d->path, view, x, NULL, tell_features, &teller, err)) {
    free(x);
    return NULL;
  }
  for (ptrdiff_t i = 0; x && i < d->count; i++)
    for (ptrdiff_t k = 0; k < e->channels; k++)
      if (!isfinite(x[i * e->channels + k])) {
        fail(err, "%s: %s makes features of it that are not finite; the training that the weights come from has diverged", d->path[i],
             e->weights ? e->weights : "the network");
        free(x);
        return NULL;
      }
  return x;
}

/* Labels of d in the numbering of train's classes; null with the message set. */
static int32_t *labels_of(const struct dataset *d, const struct dataset *train, struct error *err) {
  if (d->classes == 0) {
    fail(err, "%s: images without class folders; evaluation needs one folder a class", d->root);
    return NULL;
  }
  if (d == train && d->classes == 1) {
    fail(err, "%s: one class only (%s), which every answer gets right; give one sub-folder for each of several classes", d->root,
         d->class_name[0]);
    return NULL;
  }
  int32_t *label = take(sizeof *label, d->count, 1, err), *class = take(sizeof *class, d->classes, 1, err);
  bool ok = label && class;
  for (int c = 0; ok && c < d->classes; c++) {
    class[c] = 0;
    while (class[c] < train -> classes && strcmp(d->class_name[c], train->class_name[class[c]]) != 0) class[c]++;
    if (class[c] == train->classes)
      ok = fail(err, "%s: class %s is not among the %d classes of %s", d->root, d->class_name[c], train->classes, train->root);
  }
  for (ptrdiff_t i = 0; ok && i < d->count; i++) label[i] = class[d->label[i]];
  free(class);
  if (!ok) {
    free(label);
    return NULL;
  }
  return label;
}

/* ---- k-NN -------------------------------------------------------------------------------------------------------------------------- */

struct evaluate_knn_options evaluate_knn_defaults(int size) {
  return (struct evaluate_knn_options){.resize = features_resize(size), .k = {20, 10, 100, 200}, .ks = 4, .temperature = 0.07};
}

bool evaluate_knn(struct extractor *e, const struct dataset *train, const struct dataset *test, const struct evaluate_knn_options *o,
                  struct evaluate_knn_result *result, evaluate_progress *progress, void *context, struct error *err) {
  *result = (struct evaluate_knn_result){.train = train->count, .test = test->count, .classes = train->classes};
  if (o->ks < 1 || o->ks > EVALUATE_KNN) return fail(err, "k-NN: %d values of k; give 1 to %d", o->ks, EVALUATE_KNN);
  struct knn g = {train->count, test->count, e->channels, 0};
  for (int i = 0; i < o->ks; i++) {
    if (o->k[i] < 1 || o->k[i] > train->count)
      return fail(err, "k-NN: k = %td, but %s has %td images; choose k in 1..%td", o->k[i], train->root, train->count, train->count);
    g.k = size_max(g.k, o->k[i]);
  }
  struct feature_view view = {.form = PREPROCESS_EVAL, .resize = o->resize};
  int32_t *label = labels_of(train, train, err), *test_label = label ? labels_of(test, train, err) : NULL;
  float *bank = test_label ? pooled_of(e, train, &view, "training features", progress, context, err) : NULL;
  float *query = bank ? pooled_of(e, test, &view, "test features", progress, context, err) : NULL;
  int32_t *neighbour = query ? take(sizeof *neighbour, g.q, g.k, err) : NULL,
          *prediction = neighbour ? take(sizeof *prediction, g.q, 1, err) : NULL;
  double *similarity = prediction ? take(sizeof *similarity, g.q, g.k, err) : NULL;
  bool ok = similarity && knn_search(&g, bank, query, neighbour, similarity, err);
  for (int i = 0; ok && i < o->ks; i++) {
    ok = knn_vote(&g, o->k[i], train->classes, o->temperature, label, neighbour, similarity, NULL, prediction, err);
    if (ok) result->accuracy[i] = knn_accuracy(g.q, prediction, test_label);
  }
  free(label), free(test_label), free(bank), free(query), free(neighbour), free(prediction), free(similarity);
  return ok;
}

/* ---- linear ------------------------------------------------------------------------------------------------------------------------ */

/* Training features by epoch: the views kept, made when they are first asked for. */
struct view_source {
  struct extractor *e;
  const struct dataset *train;
  const struct evaluate_linear_options *o;
  float **kept;  /* max(views, 1) crops, then the evaluation view; null until made */
  int slots, at; /* at: the epoch in the only slot when views is 0 */
  double scale;  /* of all features, where they are scaled: the evaluation view is asked for first then */
  evaluate_progress *progress;
  void *context;
};

/* One over the root mean square; features of zeros stay what they are. */
static double scale_of(const float *x, ptrdiff_t n) {
  double squares = 0;
  for (ptrdiff_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
  return squares > 0 ? 1 / sqrt(squares / (double)n) : 1;
}

static void multiply(float *x, ptrdiff_t n, double scale) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = (float)(scale * (double)x[i]);
}

static bool features_of_epoch(void *context, int epoch, const float **x, struct error *err) {
  struct view_source *s = context;
  bool plain = epoch == LINEAR_EVAL_PLAIN, fresh = s->o->views == 0;
  int slot = plain ? s->slots - 1 : fresh ? 0 : epoch % s->o->views;
  if (fresh && !plain && s->at != epoch) {
    free(s->kept[slot]);
    s->kept[slot] = NULL;
    s->at = epoch;
  }
  if (!s->kept[slot]) {
    struct feature_view view = {.form = plain ? PREPROCESS_EVAL : PREPROCESS_CROP,
                                .resize = s->o->resize,
                                .seed = s->o->fit.seed,
                                .epoch = (uint32_t)(fresh ? epoch : slot)};
    s->kept[slot] =
        pooled_of(s->e, s->train, &view, plain ? "training features" : "cropped training features", s->progress, s->context, err);
    const ptrdiff_t n = s->train->count * s->e->channels;
    if (s->kept[slot] && s->o->scaled) {
      if (plain) s->scale = scale_of(s->kept[slot], n);
      multiply(s->kept[slot], n, s->scale);
    }
  }
  *x = s->kept[slot];
  return *x != NULL;
}

struct evaluate_linear_options evaluate_linear_defaults(int size) {
  return (struct evaluate_linear_options){.resize = features_resize(size), .views = 8, .fit = linear_eval_defaults()};
}

bool evaluate_linear(struct extractor *e, const struct dataset *train, const struct dataset *test, const struct evaluate_linear_options *o,
                     struct linear_eval_result *result, evaluate_progress *progress, void *context, struct error *err) {
  if (o->views < 0) return fail(err, "linear evaluation: %d views; give 0 (fresh every epoch) or more", o->views);
  struct feature_view plain = {.form = PREPROCESS_EVAL, .resize = o->resize};
  struct view_source source = {
      .e = e, .train = train, .o = o, .slots = (o->views > 0 ? o->views : 1) + 1, .at = -1, .progress = progress, .context = context};
  struct teller teller = {progress, context, "linear classifier"};
  int32_t *label = labels_of(train, train, err), *test_label = label ? labels_of(test, train, err) : NULL;
  source.kept = test_label ? calloc((size_t)source.slots, sizeof *source.kept) : NULL;
  if (test_label && !source.kept) fail(err, "linear evaluation: out of memory for %d views", o->views);
  const float *first;
  bool ready = source.kept && (!o->scaled || features_of_epoch(&source, LINEAR_EVAL_PLAIN, &first, err));
  float *x = ready ? pooled_of(e, test, &plain, "test features", progress, context, err) : NULL;
  if (x && o->scaled) multiply(x, test->count * e->channels, source.scale);
  struct linear_features features = {train->count, e->channels, label, &source, features_of_epoch};
  bool ok = x && linear_eval(&features, test->count, x, test_label, train->classes, &o->fit, tell_epochs, &teller, result, NULL, NULL, err);
  for (int i = 0; source.kept && i < source.slots; i++) free(source.kept[i]);
  free(source.kept), free(label), free(test_label), free(x);
  return ok;
}

/* ---- embed ------------------------------------------------------------------------------------------------------------------------- */

/* Class names are metadata, which is text; images' names are bytes of a tensor. */
static bool classes_are_text(const struct dataset *d, struct error *err) {
  for (int i = 0; i < d->classes; i++)
    if (!safetensors_is_text(d->class_name[i]))
      return fail(err, "%s/%s: a folder whose name is not UTF-8, in which the file keeps the names of classes; rename it", d->root,
                  d->class_name[i]);
  return true;
}

/* Lines of text, each with a newline; the caller frees. Null, with the message set, also for a name that has a newline of its own. */
static char *lines_of(ptrdiff_t count, const char *(*line)(const struct dataset *d, ptrdiff_t i), const struct dataset *d, size_t *size,
                      struct error *err) {
  *size = 0;
  for (ptrdiff_t i = 0; i < count; i++) {
    if (strchr(line(d, i), '\n')) {
      fail(err, "%s/%s: a line break in its name, where the list of names has one name a line; rename it", d->root, line(d, i));
      return NULL;
    }
    *size += strlen(line(d, i)) + 1;
  }
  char *text = take(1, (ptrdiff_t)*size + 1, 1, err), *end = text;
  for (ptrdiff_t i = 0; text && i < count; i++) {
    size_t length = strlen(line(d, i));
    memcpy(end, line(d, i), length);
    end[length] = '\n';
    end += length + 1;
  }
  if (text) *end = 0;
  return text;
}

static const char *class_of(const struct dataset *d, ptrdiff_t i) { return d->class_name[i]; }

bool evaluate_embed(struct extractor *e, const struct dataset *d, int resize, const char *path, evaluate_progress *progress, void *context,
                    struct error *err) {
  struct feature_view view = {.form = PREPROCESS_EVAL, .resize = resize};
  size_t names_size, classes_size;
  char *names = !classes_are_text(d, err) ? NULL : lines_of(d->count, dataset_name, d, &names_size, err);
  char *classes = names ? lines_of(d->classes, class_of, d, &classes_size, err) : NULL;
  int32_t *label = classes ? take(sizeof *label, d->count, 1, err) : NULL;
  float *x = label ? pooled_of(e, d, &view, "features", progress, context, err) : NULL;
  bool ok = x != NULL;
  if (ok) {
    for (ptrdiff_t i = 0; i < d->count; i++) label[i] = d->label[i];
    char fingerprint[65], resize_text[16], size_text[16];
    dataset_fingerprint(d, fingerprint);
    snprintf(resize_text, sizeof resize_text, "%d", resize);
    snprintf(size_text, sizeof size_text, "%d", e->height);
    struct tensor tensors[] = {tensor_make(DTYPE_F32, x, 2, (ptrdiff_t[]){d->count, e->channels}, "features"),
                               tensor_make(DTYPE_I32, label, 1, &d->count, "label"),
                               tensor_make(DTYPE_U8, names, 1, (ptrdiff_t[]){(ptrdiff_t)names_size}, "name")};
    const char *metadata[] = {"class_names", classes, "fingerprint", fingerprint, "resize", resize_text, "size", size_text, NULL};
    ok = safetensors_write(path, tensors, 3, metadata, err);
  }
  free(names), free(classes), free(label), free(x);
  return ok;
}
