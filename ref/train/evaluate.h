/* The evaluations of `ediy eval` and `ediy embed` on folders of images (docs/method.md, "Evaluation"): features of a frozen backbone
 * (features.h), then k-NN, a linear classifier, or a dense one (eval/). Nothing is printed; results are structs.
 */
#ifndef EDIY_TRAIN_EVALUATE_H
#define EDIY_TRAIN_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "eval/dense_eval.h"
#include "eval/knn.h"
#include "eval/linear_eval.h"
#include "train/dataset.h"
#include "train/features.h"

/* What the work has come to, for a progress line: "training features", "test features", "linear classifier". done of all. */
typedef void evaluate_progress(void *context, const char *what, ptrdiff_t done, ptrdiff_t all);

enum { EVALUATE_KNN = 8 };

struct evaluate_knn_options {
  int resize; /* short side of the evaluation crop: features_resize(size), or the size itself for images that have it */
  ptrdiff_t k[EVALUATE_KNN];
  int ks;
  double temperature;
};
struct evaluate_knn_result {
  ptrdiff_t train, test; /* images */
  int classes;
  struct share accuracy[EVALUATE_KNN]; /* of each k, on the test images */
};

struct evaluate_linear_options {
  int resize;
  /* Sets of crops and flips of the training images: epoch e trains on set e mod views. 0: a fresh one each epoch, the protocol to the
   * letter, at the price of running the backbone over the training images twice as often as there are epochs. */
  int views;
  /* All features are divided by the root mean square of the training images' under evaluation preprocessing: one number. The protocol takes
   * them as they are, and then the learning rates suit features of the size that training gives them alone. */
  bool scaled;
  struct linear_eval_options fit;
};

/* A part of a segmentation set, train, validation or test: the images of root/images, and the folder that root/labels is in. */
struct dense_part {
  const char *root; /* not owned */
  struct dataset images;
};

struct evaluate_dense_result {
  ptrdiff_t train, validation, test, cells;
  struct dense_eval_result fit;
};

/* k = 20, 10, 100, 200 and temperature 0.07 (docs/method.md). */
struct evaluate_knn_options evaluate_knn_defaults(int size);

/* linear_eval_defaults with 8 views, not scaled. */
struct evaluate_linear_options evaluate_linear_defaults(int size);

/* The classes of test must be among those of train, by name; a k beyond the number of training images fails, naming both. */
MUST_CHECK bool evaluate_knn(struct extractor *e, const struct dataset *train, const struct dataset *test,
                             const struct evaluate_knn_options *o, struct evaluate_knn_result *result, evaluate_progress *progress,
                             void *context, struct error *err);

/* Keeps views + 2 feature matrices in memory (3 if views is 0). */
MUST_CHECK bool evaluate_linear(struct extractor *e, const struct dataset *train, const struct dataset *test,
                                const struct evaluate_linear_options *o, struct linear_eval_result *result, evaluate_progress *progress,
                                void *context, struct error *err);

/* Lists root/images. part->images: dataset_close by the caller when true was returned. root must outlive it. */
MUST_CHECK bool evaluate_dense_open(struct dense_part *part, const char *root, struct error *err);

/* parts: train, validation, test. For images/NAME.jpg (or .png) of each the label map labels/NAME.png, whose grey level is the class. All
 * images have the size of the extractor's input, and are not resized; all label maps have one size, not necessarily the same. classes and
 * void_class as in dense_shape; iou: classes, may be null. */
MUST_CHECK bool evaluate_dense(struct extractor *e, const struct dense_part parts[3], int classes, int void_class,
                               const struct dense_eval_options *o, struct evaluate_dense_result *result, double *iou,
                               evaluate_progress *progress, void *context, struct error *err);

/* Writes the pooled features of every image under evaluation preprocessing to a safetensors file: "features" F32 count x channels, "label"
 * I32 count (-1 in a flat folder), "name" U8: the paths relative to the folder, each followed by a newline; metadata "class_names" (one a
 * line), "fingerprint" of the data set (dataset.h), "resize", "size". Fails before anything is computed for a name with a newline, and for
 * a class whose name is not UTF-8. */
MUST_CHECK bool evaluate_embed(struct extractor *e, const struct dataset *d, int resize, const char *path, evaluate_progress *progress,
                               void *context, struct error *err);

#endif
