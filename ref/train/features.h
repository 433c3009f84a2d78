/* Features of images under a frozen backbone: what every evaluation starts from, and what `ediy embed` writes.
 *
 * The backbone runs with its running statistics, so that the features of an image do not depend on the images beside it in a batch, nor on
 * the batch size beyond rounding. Files are read, decoded and preprocessed in parallel; results do not depend on the number of threads.
 * A file that cannot be read stops the extraction: an accuracy over other images would be another number.
 */
#ifndef EDIY_TRAIN_FEATURES_H
#define EDIY_TRAIN_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/tensor.h"
#include "model/net.h"
#include "model/net_run.h"
#include "model/plan.h"

enum preprocessing {
  PREPROCESS_EVAL, /* short side to `resize`, centre crop (augment_eval) */
  PREPROCESS_CROP, /* random resized crop and flip with p = 1/2, BYOL's crop (augment_draw), by seed and epoch */
  PREPROCESS_AS_IS /* the whole image, which must have the size of the network's input; only normalised */
};

struct feature_view {
  enum preprocessing form;
  int resize; /* EVAL: short side before the crop, at least the input's; equal to it: no margin, and images of that size are not resized */
  uint64_t seed; /* CROP: the view is that of the stream (seed, PHILOX_AUGMENT, view 2, image, epoch) */
  uint32_t epoch;
};

/* Called after every batch: images done, images in all. */
typedef void features_progress(void *context, ptrdiff_t done, ptrdiff_t all);

/* A frozen backbone with room for one batch. */
struct extractor {
  const struct backend *backend;
  struct net net;
  struct plan plan;
  ptrdiff_t batch;
  int height, width;      /* of the input; EVAL and CROP need a square */
  ptrdiff_t channels;     /* features of an image, or of a cell of its last map */
  ptrdiff_t map_h, map_w; /* cells */
  float *state;           /* backend memory, as are the next three; zero until extractor_load, or what the caller puts there */
  void *workspace, *scratch, *input;
  float *host;  /* batch x height x width x 3 */
  void *memory; /* the block */
  size_t bytes;
  const char *weights; /* the caller's: what extractor_load was given; null before it */
};

/* The short side that goes with a crop of `size`: round(256 size / 224), as in the protocol for 224. */
int features_resize(int size);

/* The backbone of this architecture (its heads are left out) for batches of this many height x width images; all parameters zero. The
 * number of OpenMP threads must not grow while the extractor lives: its scratch is made for that of now. */
MUST_CHECK bool extractor_create(struct extractor *e, const struct backend *backend, const struct architecture *arch, ptrdiff_t batch,
                                 int height, int width, struct error *err);
void extractor_free(struct extractor *e);

/* Reads the backbone from a checkpoint (the online one) or a file of torchvision's names; prefix as weights_load (checkpoint.h). */
MUST_CHECK bool extractor_load(struct extractor *e, const char *path, char prefix[TENSOR_MAX_NAME], struct error *err);

/* What net_forward takes to run the backbone on e->input, and net_value to find what has come of it. */
struct net_run extractor_pass(const struct extractor *e);

/* Features of count image files. pooled: count x channels; map: count x map_h x map_w x channels; both overwritten, either may be null.
 * Image i is sample i in Philox streams. Fails for a file that cannot be read or whose size does not fit the view, naming it. */
MUST_CHECK bool extractor_run(struct extractor *e, ptrdiff_t count, char *const *path, const struct feature_view *view, float *pooled,
                              float *map, features_progress *progress, void *context, struct error *err);

#endif
