/* ediy eval knn | linear | dense, and ediy embed: what frozen features are worth (docs/method.md, "Evaluation"). */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/plural.h"
#include "program/backbone.h"
#include "program/terminal.h"
#include "program/verb.h"
#include "program/verb_eval.h"
#include "train/evaluate.h"

#define WEIGHTS_EXAMPLE                                                                                                                    \
  "ediy scenes out=scenes images=64 val=16\n"                                                                                              \
  "ediy train preset=demo lambda1=0 lambda2=0 data=scenes/train out=teacher epochs=1 warmup=0 batch=16\n"

/* A progress line, "training features 320 of 1000". */
static void show_progress(void *context, const char *what, ptrdiff_t done, ptrdiff_t all) {
  terminal_live(context, done == all, "%s %td of %td", what, done, all);
}

static void print_share(const char *name, struct share s) {
  printf("  %-12s %6.2f %%   95 %% interval %.2f to %.2f   (%td of %td)\n", name, 100 * s.value, 100 * s.low, 100 * s.high, s.hits,
         s.count);
}

static void print_backbone(const struct backbone_choice *choice, const struct backbone *b) {
  printf("%s: %s, %s stem, input %d x %d\n", choice->weights, b->name, b->stem_name, b->size, b->size);
  fflush(stdout); /* before the progress lines, which go elsewhere */
}

/* ---- knn and linear ---------------------------------------------------------------------------------------------------------------- */

struct eval {
  struct backbone_choice choice;
  char train[OPTION_TEXT_SIZE], test[OPTION_TEXT_SIZE], rates[OPTION_TEXT_SIZE];
  int64_t resize, k, epochs, classifier_batch, views, seed;
  bool scaled;
};

#define EVAL_OPTIONS                                                                                                                       \
  BACKBONE_OPTIONS(struct eval, choice), BATCH_OPTIONS(struct eval, choice),                                                               \
      {"train", OPTION_TEXT, offsetof(struct eval, train), "", 0, 0, NULL, "folder of training images, a sub-folder a class"},             \
      {"test", OPTION_TEXT, offsetof(struct eval, test), "", 0, 0, NULL, "folder of test images of these classes"}, {                      \
    "resize", OPTION_INT, offsetof(struct eval, resize), "0", 0, 8192, NULL,                                                               \
        "short side before the central crop, pixels; 0: size * 256 / 224"                                                                  \
  }

static const struct option knn_keys[] = {
    EVAL_OPTIONS,
    {"k", OPTION_INT, offsetof(struct eval, k), "0", 0, 1e6, NULL, "neighbours; 0: 20, 10, 100 and 200 where there are so many images"},
};

static const struct option linear_keys[] = {
    EVAL_OPTIONS,
    {"epochs", OPTION_INT, offsetof(struct eval, epochs), "80", 1, 1e6, NULL, "of the classifier"},
    {"classifier.batch", OPTION_INT, offsetof(struct eval, classifier_batch), "1024", 1, 1e6, NULL,
     "images of one step of the classifier; with few images, fewer give it enough steps"},
    {"classifier.lr", OPTION_TEXT, offsetof(struct eval, rates), "0.4,0.3,0.2,0.1,0.05", 0, 0, NULL,
     "base learning rates with commas between; the best on held-out training images is taken"},
    {"classifier.scale", OPTION_BOOL, offsetof(struct eval, scaled), "no", 0, 0, NULL,
     "features are divided by their root mean square: to compare networks whose features differ in size, as random weights' do"},
    {"views", OPTION_INT, offsetof(struct eval, views), "8", 0, 1e4, NULL,
     "sets of random crops to train on; 0: fresh ones each epoch (slow, the protocol to the letter)"},
    {"seed", OPTION_INT, offsetof(struct eval, seed), "0", 0, 9007199254740992.0, NULL, "of crops, order and held-out images"},
};

struct eval_data {
  struct dataset train, test;
  struct backbone backbone;
  struct extractor extractor;
};

static bool eval_open(const struct verb *verb, const struct eval *v, struct eval_data *d, struct error *err) {
  if (!verb_require(verb, "weights", v->choice.weights, err) || !verb_require(verb, "train", v->train, err) ||
      !verb_require(verb, "test", v->test, err))
    return false;
  if (!dataset_open(&d->train, v->train, err)) return false;
  if (dataset_open(&d->test, v->test, err)) {
    if (backbone_open(&v->choice, 0, 0, &d->backbone, &d->extractor, err)) {
      verb_say_left_out(&d->train), verb_say_left_out(&d->test);
      return true;
    }
    dataset_close(&d->test);
  }
  dataset_close(&d->train);
  return false;
}

static void eval_close(struct eval_data *d) {
  extractor_free(&d->extractor);
  dataset_close(&d->test);
  dataset_close(&d->train);
}

static void print_knn(const struct evaluate_knn_result *r, const struct evaluate_knn_options *o) {
  printf("k-NN, T = %g, on %td training images of %d classes:\n", o->temperature, r->train, r->classes);
  for (int i = 0; i < o->ks; i++) {
    char name[32];
    snprintf(name, sizeof name, "k = %td", o->k[i]);
    print_share(name, r->accuracy[i]);
  }
}

/* The k asked for; else those of the defaults that the training images are enough for, or 1. */
static void choose_k(struct evaluate_knn_options *o, int64_t asked, ptrdiff_t images) {
  int ks = 0;
  for (int i = 0; i < o->ks; i++)
    if (o->k[i] <= images) o->k[ks++] = o->k[i];
  o->ks = ks;
  if (asked || !ks) {
    o->k[0] = asked ? asked : 1;
    o->ks = 1;
  }
}

bool eval_knn(int count, char *const *arguments, struct share *accuracy, struct error *err) {
  struct eval *v = malloc(sizeof *v);
  struct eval_data d;
  struct terminal terminal = {0};
  bool good = v ? verb_options(&verb_knn, count, arguments, v, err) && eval_open(&verb_knn, v, &d, err) : fail(err, "eval knn: no memory");
  if (good) {
    struct evaluate_knn_options o = evaluate_knn_defaults(d.backbone.size);
    struct evaluate_knn_result r;
    if (v->resize) o.resize = (int)v->resize;
    choose_k(&o, v->k, d.train.count);
    print_backbone(&v->choice, &d.backbone);
    good = evaluate_knn(&d.extractor, &d.train, &d.test, &o, &r, show_progress, &terminal, err);
    terminal_end(&terminal);
    eval_close(&d);
    if (good) print_knn(&r, &o);
    if (good && accuracy) *accuracy = r.accuracy[0];
  }
  free(v);
  return good;
}

static bool run_knn(int count, char *const *arguments, struct error *err) { return eval_knn(count, arguments, NULL, err); }

static bool read_rates(const char *text, struct linear_eval_options *o, struct error *err) {
  const char *at = text;
  for (o->rates = 0; o->rates < LINEAR_EVAL_RATES; at++) {
    char *end;
    double rate = strtod(at, &end);
    if (end == at || (*end && *end != ',') || !(rate > 0 && isfinite(rate)))
      return fail(err, "eval linear: classifier.lr: '%s' is not positive numbers with commas between, such as 0.4,0.1", text);
    o->base_lr[o->rates++] = rate;
    at = end;
    if (!*at) return true;
  }
  return fail(err, "eval linear: classifier.lr: %d rates at most", LINEAR_EVAL_RATES);
}

static void print_linear(const struct linear_eval_result *r, const struct evaluate_linear_options *o, int classes) {
  printf("linear classifier%s, %d epoch%s, base learning rate %g (best of %d on held-out training images):\n",
         o->scaled ? " on scaled features" : "", o->fit.epochs, plural(o->fit.epochs), r->base_lr, o->fit.rates);
  print_share("test top-1", r->test);
  if (classes > 5) print_share("test top-5", r->test5); /* of fewer it holds whatever the features are */
  print_share("train top-1", r->train);
}

bool eval_linear(int count, char *const *arguments, struct share *accuracy, struct error *err) {
  struct eval *v = malloc(sizeof *v);
  struct eval_data d;
  struct terminal terminal = {0};
  bool good =
      v ? verb_options(&verb_linear, count, arguments, v, err) && eval_open(&verb_linear, v, &d, err) : fail(err, "eval linear: no memory");
  if (good) {
    struct evaluate_linear_options o = evaluate_linear_defaults(d.backbone.size);
    struct linear_eval_result r;
    if (v->resize) o.resize = (int)v->resize;
    o.views = (int)v->views;
    o.scaled = v->scaled;
    o.fit.epochs = (int)v->epochs;
    o.fit.batch = (ptrdiff_t)v->classifier_batch;
    o.fit.seed = (uint64_t)v->seed;
    good = read_rates(v->rates, &o.fit, err);
    if (good) print_backbone(&v->choice, &d.backbone);
    good = good && evaluate_linear(&d.extractor, &d.train, &d.test, &o, &r, show_progress, &terminal, err);
    terminal_end(&terminal);
    if (good) print_linear(&r, &o, d.train.classes);
    eval_close(&d);
    if (good && accuracy) *accuracy = r.test;
  }
  free(v);
  return good;
}

static bool run_linear(int count, char *const *arguments, struct error *err) { return eval_linear(count, arguments, NULL, err); }

/* ---- dense -------------------------------------------------------------------------------------------------------------------------- */

struct dense {
  struct backbone_choice choice;
  char train[OPTION_TEXT_SIZE], val[OPTION_TEXT_SIZE], test[OPTION_TEXT_SIZE];
  int64_t height, width, classes, void_class, epochs;
};

static const struct option dense_keys[] = {
    BACKBONE_OPTIONS(struct dense, choice),
    BATCH_OPTIONS(struct dense, choice),
    {"train", OPTION_TEXT, offsetof(struct dense, train), "", 0, 0, NULL, "folder with images/NAME.jpg or .png and labels/NAME.png"},
    {"val", OPTION_TEXT, offsetof(struct dense, val), "", 0, 0, NULL, "the same, to choose the learning rate on"},
    {"test", OPTION_TEXT, offsetof(struct dense, test), "", 0, 0, NULL, "the same, to be scored"},
    {"height", OPTION_INT, offsetof(struct dense, height), "0", 0, 8192, NULL, "of the images, pixels; 0: as size"},
    {"width", OPTION_INT, offsetof(struct dense, width), "0", 0, 8192, NULL, "of the images, pixels; 0: as size"},
    {"classes", OPTION_INT, offsetof(struct dense, classes), "11", 1, 255, NULL,
     "grey levels 0 to classes - 1 of the label maps, as stored"},
    {"void", OPTION_INT, offsetof(struct dense, void_class), "-1", -1, 255, NULL, "grey level that does not count (CamVid: 11); -1: none"},
    {"epochs", OPTION_INT, offsetof(struct dense, epochs), "30", 1, 1e6, NULL, "of the classifier"},
};

static void print_dense(const struct evaluate_dense_result *r, const double *iou, int classes) {
  printf("linear classifier on %td cells an image, learning rate %g (best on the validation images):\n", r->cells, r->fit.lr);
  printf("  mean IoU       %6.2f %%   over %d class%s\n  pixel accuracy %6.2f %%   of %" PRId64 " pixels of %td test image%s\n",
         100 * r->fit.test.mean_iou, r->fit.test.classes_seen, r->fit.test.classes_seen == 1 ? "" : "es", 100 * r->fit.test.pixel_accuracy,
         r->fit.test.pixels, r->test, plural(r->test));
  for (int c = 0; c < classes; c++)
    if (iou[c] >= 0) printf("  class %-3d IoU  %6.2f %%\n", c, 100 * iou[c]);
}

struct dense_data {
  struct dense_part part[3]; /* train, validation, test */
  int open;
};

static void dense_close(struct dense_data *d) {
  while (d->open > 0) dataset_close(&d->part[--d->open].images);
}

static bool dense_open(const struct dense *v, struct dense_data *d, struct error *err) {
  const char *const root[3] = {v->train, v->val, v->test};
  while (d->open < 3 && evaluate_dense_open(&d->part[d->open], root[d->open], err)) d->open++;
  for (int i = 0; i < d->open; i++) verb_say_left_out(&d->part[i].images);
  return d->open == 3;
}

static bool run_dense(int count, char *const *arguments, struct error *err) {
  struct dense *v = malloc(sizeof *v);
  struct backbone backbone;
  struct extractor extractor;
  struct dense_data data = {.open = 0};
  struct evaluate_dense_result result;
  struct terminal terminal = {0};
  double iou[256];
  bool good = v ? verb_options(&verb_dense, count, arguments, v, err) : fail(err, "eval dense: no memory");
  good = good && verb_require(&verb_dense, "weights", v->choice.weights, err) && verb_require(&verb_dense, "train", v->train, err) &&
         verb_require(&verb_dense, "val", v->val, err) && verb_require(&verb_dense, "test", v->test, err);
  if (good && !v->height != !v->width) good = fail(err, "eval dense: give both height= and width=, or neither");
  if (good && backbone_open(&v->choice, (int)v->height, (int)v->width, &backbone, &extractor, err)) {
    struct dense_eval_options o = dense_eval_defaults();
    o.epochs = (int)v->epochs;
    print_backbone(&v->choice, &backbone);
    good = dense_open(v, &data, err) &&
           evaluate_dense(&extractor, data.part, (int)v->classes, (int)v->void_class, &o, &result, iou, show_progress, &terminal, err);
    terminal_end(&terminal);
    if (good) print_dense(&result, iou, (int)v->classes);
    dense_close(&data);
    extractor_free(&extractor);
  } else {
    good = false;
  }
  free(v);
  return good;
}

/* ---- embed -------------------------------------------------------------------------------------------------------------------------- */

struct embed {
  struct backbone_choice choice;
  char data[OPTION_TEXT_SIZE], out[OPTION_TEXT_SIZE];
  int64_t resize;
};

static const struct option embed_keys[] = {
    BACKBONE_OPTIONS(struct embed, choice),
    BATCH_OPTIONS(struct embed, choice),
    {"data", OPTION_TEXT, offsetof(struct embed, data), "", 0, 0, NULL, "folder of images"},
    {"out", OPTION_TEXT, offsetof(struct embed, out), "features.safetensors", 0, 0, NULL, "file to write"},
    {"resize", OPTION_INT, offsetof(struct embed, resize), "0", 0, 8192, NULL,
     "short side before the central crop, pixels; 0: size * 256 / 224"},
};

static bool run_embed(int count, char *const *arguments, struct error *err) {
  struct embed *v = malloc(sizeof *v);
  struct backbone backbone;
  struct extractor extractor;
  struct dataset data;
  struct terminal terminal = {0};
  bool good = v ? verb_options(&verb_embed, count, arguments, v, err) : fail(err, "embed: no memory");
  good = good && verb_require(&verb_embed, "weights", v->choice.weights, err) && verb_require(&verb_embed, "data", v->data, err) &&
         verb_spares(&verb_embed, v->out, v->data, err) && verb_replaces(&verb_embed, v->out, VERB_FEATURES, err) &&
         file_writable(v->out, err) && dataset_open(&data, v->data, err);
  if (good) {
    good = backbone_open(&v->choice, 0, 0, &backbone, &extractor, err);
    if (good) {
      verb_say_left_out(&data);
      int resize = v->resize ? (int)v->resize : features_resize(backbone.size);
      good = evaluate_embed(&extractor, &data, resize, v->out, show_progress, &terminal, err);
      terminal_end(&terminal);
      if (good) printf("%s: features of %td image%s, %td each\n", v->out, data.count, plural(data.count), extractor.channels);
      extractor_free(&extractor);
    }
    dataset_close(&data);
  }
  free(v);
  return good;
}

/* ---- the verbs ---------------------------------------------------------------------------------------------------------------------- */

#define COUNT(keys) (sizeof keys / sizeof keys[0])

const struct verb verb_knn = {
    .name = "eval knn",
    .summary = "classify by nearest neighbours of frozen features",
    .usage = "weights=FILE train=DIR test=DIR [key=value...]",
    .about = "Every test image takes the class that its k nearest training images vote for, by the cosine of\n"
             "pooled features, with weights exp(cos / 0.07). Accuracy with Wilson's 95 % interval, which says how\n"
             "much the choice of test images matters. weights=random is what training starts from.",
    .example = WEIGHTS_EXAMPLE "ediy eval knn weights=teacher/backbone.safetensors train=scenes/train test=scenes/val\n"
                               "ediy eval knn weights=random backbone=small size=96 train=scenes/train test=scenes/val",
    .keys = knn_keys,
    .key_count = COUNT(knn_keys),
    .run = run_knn,
};

const struct verb verb_linear = {
    .name = "eval linear",
    .summary = "train a linear classifier on frozen features",
    .usage = "weights=FILE train=DIR test=DIR [key=value...]",
    .about = "Softmax regression on pooled features, as in BYOL: SGD with Nesterov momentum, random crops and\n"
             "flips in training, the learning rate chosen on held-out training images. Features are used as they\n"
             "are; classifier.scale=yes makes them all of one size, without which random weights look worse than\n"
             "they are.",
    .example = WEIGHTS_EXAMPLE "ediy eval linear weights=teacher/backbone.safetensors train=scenes/train test=scenes/val epochs=10 views=1",
    .keys = linear_keys,
    .key_count = COUNT(linear_keys),
    .run = run_linear,
};

const struct verb verb_dense = {
    .name = "eval dense",
    .summary = "train a linear classifier on every region of frozen features",
    .usage = "weights=FILE train=DIR val=DIR test=DIR [key=value...]",
    .about = "A linear classifier on each cell of the last feature map, brought up to the label map bilinearly:\n"
             "mean intersection over union and pixel accuracy. All images have one size and are not resized.\n"
             "A label map is a grey PNG of 1 to 16 bits; a pixel's level, as it is stored, is the number of its class.",
    .example = WEIGHTS_EXAMPLE "ediy scenes out=more images=16 val=16 seed=2\n"
                               "ediy eval dense weights=teacher/backbone.safetensors train=scenes/dense/train val=scenes/dense/val "
                               "test=more/dense/val classes=11 epochs=2",
    .keys = dense_keys,
    .key_count = COUNT(dense_keys),
    .run = run_dense,
};

const struct verb verb_embed = {
    .name = "embed",
    .summary = "write the features of a folder of images to a file",
    .usage = "weights=FILE data=DIR [out=FILE] [key=value...]",
    .about = "Writes a safetensors file: features (images x channels), label, and the images' names.",
    .example = WEIGHTS_EXAMPLE "ediy embed weights=teacher/backbone.safetensors data=scenes/val out=features.safetensors",
    .keys = embed_keys,
    .key_count = COUNT(embed_keys),
    .run = run_embed,
};
