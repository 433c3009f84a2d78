/* Worker threads that read, decode and augment batches ahead of the trainer.
 *
 * What a batch holds depends only on the data set, the seed and its number, not on threads or timing: epoch e visits the images in the
 * order of a Philox shuffle, drops what does not fill the last group of batches, and image i of epoch e gets the views of streams (seed, e,
 * i, view). A batch may be shared out among several loaders (base/ranks.h), each of which gives the images that the one would at these
 * places. A file that cannot be decoded is reported once, counted, and replaced by the next image in data set order that can (so that
 * batches keep their size and resuming gives the same ones), seen through the streams of the image it stands in for (so that it does not
 * repeat its own views of the same epoch); more than max_bad bad files stop the run. A file that cannot be read for lack of memory or of
 * open files is no bad one: that stops the run at once.
 */
#ifndef EDIY_TRAIN_LOADER_H
#define EDIY_TRAIN_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/augment.h"
#include "train/dataset.h"

struct loader_options {
  ptrdiff_t batch;         /* images */
  ptrdiff_t before, after; /* images of every batch that other loaders of the same run give, in front of these and behind */
  ptrdiff_t group;         /* an epoch has a multiple of this many batches: the micro-batches of one optimiser step; at least 1 */
  int workers, ahead;      /* threads, and batches kept ready: at least 1 */
  uint64_t seed;
  ptrdiff_t max_bad;
  struct augmentation view[2]; /* of the same size */
  size_t cache_bytes;          /* decoded images are kept in memory up to this many bytes (0: none) */
  bool windows;                /* batches hold what of the images the views read, for a machine that computes views */
  int held;                    /* batches that stay valid: the last of loader_next and those before it (0: as 1) */
  /* Where the batches' memory comes from; null: the loader's own. */
  bool (*reserve)(size_t bytes, void **memory, struct error *err);
  void (*release)(void *memory);
};

/* One view of a batch of windows. */
struct batch_view {
  size_t at;        /* bytes into packed */
  bool finished;    /* too large a window: there stands the view itself, size x size x 3 floats */
  struct view view; /* else: of the image of view.height x view.width x 3 bytes that stands there */
};

struct batch {
  float *view[2];                /* batch x size x size x 3, in the loader's memory; null with windows */
  const char *packed;            /* with windows: packed_bytes, no more than loader_packed_bytes, */
  size_t packed_bytes;           /*     in which */
  const struct batch_view *part; /* the views are: batch x 2 */
  const int32_t *sample;         /* batch: index into the data set of the image that was read */
  const int32_t *label;          /* batch: its label */
  uint64_t number;               /* counted from 0 over the whole run */
  int32_t epoch;
};

struct loader;

/* Starts the workers at batch number `first`. d stays the caller's and must outlive the loader. report (may be null) is called once for
 * each bad file, from the thread that calls loader_next or loader_close. The workers block all signals: the program's handlers run in its
 * own threads. */
MUST_CHECK bool loader_open(struct loader **loader, const struct dataset *d, const struct loader_options *o, uint64_t first,
                            void (*report)(void *context, ptrdiff_t image, const char *line), void *context, struct error *err);

/* The next batch, in order; valid until the following call, or as many calls as `held` says. Blocks until it is ready; *waited (may be
 * null) gets the seconds blocked. After a failure (too many bad files, out of memory) every further call fails with the same line. */
MUST_CHECK bool loader_next(struct loader *loader, struct batch *batch, double *waited, struct error *err);

/* Whether loader_next would return at once. */
bool loader_ready(struct loader *loader);

/* The order in which an epoch visits the images: d->count indices. Batch k of the epoch is the k-th `batch` of them. */
void loader_order(const struct dataset *d, uint64_t seed, uint32_t epoch, int32_t *order);

/* Batches in one epoch: the images that fill whole groups. batch: of all loaders of the run. */
uint64_t loader_epoch_batches(const struct dataset *d, ptrdiff_t batch, ptrdiff_t group);

/* Bytes of one batch's windows at most: those of its views. */
size_t loader_packed_bytes(const struct loader_options *o);

/* Bytes of the batches kept in memory, without the cache; SIZE_MAX if that overflows. */
size_t loader_bytes(const struct loader_options *o);

/* Image i cannot be read: another loader of the run has said so. Counted unless it is known, and not reported. */
void loader_pass_over(struct loader *loader, ptrdiff_t i);

/* Bad files met so far. */
ptrdiff_t loader_bad(struct loader *loader);

/* Stops and joins the workers; null is allowed. */
void loader_close(struct loader *loader);

#endif
