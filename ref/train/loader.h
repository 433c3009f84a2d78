/* Worker threads that read, decode and augment batches ahead of the trainer.
 *
 * What a batch holds depends only on the data set, the seed and its number, not on threads or timing: epoch e visits the images in the
 * order of a Philox shuffle, drops the last incomplete batch, and image i of epoch e gets the views of streams (seed, e, i, view).
 * A file that cannot be decoded is reported once, counted, and replaced by the next image in data set order that can (so that batches keep
 * their size and resuming gives the same ones); more than max_bad of them stop the run.
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
  ptrdiff_t batch;
  int workers, ahead; /* threads, and batches kept ready */
  uint64_t seed;
  ptrdiff_t max_bad;
  struct augmentation view[2];
  size_t cache_bytes; /* decoded images are kept in memory up to this many bytes (0: none) */
};

struct batch {
  float *view[2];      /* batch x size x size x 3 */
  const int32_t *sample; /* batch: index into the data set */
  const int32_t *label;  /* batch */
  uint64_t number;     /* counted from 0 over the whole run */
  int32_t epoch;
};

struct loader;

/* Starts the workers at batch number `first`. d stays the caller's and must outlive the loader. report (may be null) is called once for each bad
 * file, from the thread that calls loader_next. */
MUST_CHECK bool loader_open(struct loader **loader, const struct dataset *d, const struct loader_options *o, uint64_t first,
                            void (*report)(void *context, const char *line), void *context, struct error *err);

/* The next batch, in order; valid until the following call. Blocks until it is ready; *waited (may be null) gets the seconds blocked. */
MUST_CHECK bool loader_next(struct loader *loader, struct batch *batch, double *waited, struct error *err);

/* Batches in one epoch: count / batch. */
uint64_t loader_epoch_batches(const struct dataset *d, ptrdiff_t batch);

/* Bad files met so far. */
ptrdiff_t loader_bad(const struct loader *loader);

/* Stops and joins the workers. */
void loader_close(struct loader *loader);

#endif
