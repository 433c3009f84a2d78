/* What carries micro-batches from the loader into the backend's memory. real is float here.
 *
 * A backend that works while the host goes on (op/pipeline.h) gets the next micro-batch while it computes: the loader's memory is
 * page-locked, two lanes in the backend's memory take turns, and what has arrived is copied to where the networks read it, so that their
 * buffers are the same every time; or, with augment.on, what arrives is windows of decoded images, of which the backend computes the views
 * there. On another backend, a micro-batch is copied when it is needed.
 */
#ifndef EDIY_TRAIN_FEED_H
#define EDIY_TRAIN_FEED_H

#include "base/ranks.h"
#include "model/step.h"
#include "train/config.h"
#include "train/loader.h"

struct feed {
  struct model_f32 *m;       /* not owned */
  const struct ranks *ranks; /* a micro-batch here is this rank's share of it */
  uint64_t seed;
  ptrdiff_t one;        /* reals of one image's view */
  float *view[2];       /* backend memory: the views of the micro-batch at hand */
  int32_t *draw;        /* host memory: what it has drawn, for the images of all ranks; null where nothing is; with a pipeline, one after
                         * another for each lane */
  ptrdiff_t draw_count; /* of one micro-batch */

  void *memory; /* of the backend: views, lanes */
  size_t bytes;

  /* With a pipeline; micro-batches are counted from the first. */
  const struct pipeline *pipeline;
  char *lane[PIPELINE_LANES];                    /* in memory */
  size_t drawn_at;                               /* in a lane: bytes to what is drawn */
  const struct batch_view *part[PIPELINE_LANES]; /* the loader's: what is in the lane; null where it is views */
  struct augment_item *item;                     /* host memory: batch x 2, of a micro-batch of windows; null without */
  void *scratch;                                 /* backend memory: for computing views */
  void *pinned;                                  /* draw, sums */
  struct loss_sums *sums;                        /* in it: room for those of a step */
  uint64_t sent, taken;                          /* given to the copies, and to the operations */
  uint64_t settled;                              /* known to have arrived */
  bool failed;                                   /* the micro-batch after those sent cannot be had */
  struct error error;
};

MUST_CHECK bool feed_create(struct feed *f, const struct config *c, struct model_f32 *m, const struct ranks *ranks, struct error *err);
void feed_free(struct feed *f);

/* What it takes of the backend's memory, and of page-locked memory, for a run on this backend. */
size_t feed_bytes(const struct config *c, const struct backend_f32 *b, const struct ranks *ranks);
size_t feed_pinned_bytes(const struct config *c, const struct backend_f32 *b);

/* Has the loader's memory page-locked, and kept until it is copied, where there is a pipeline; and windows in it, if augment.on says so. */
void feed_loader_options(const struct config *c, const struct backend_f32 *b, struct loader_options *o);

/* The next micro-batch: f->view and what the model has drawn are, for what is enqueued from here on, those of it. Waits for the loader; the
 * seconds are added to *waited. */
MUST_CHECK bool feed_next(struct feed *f, struct loader *loader, double *waited, struct error *err);

/* Sends the micro-batch after it on its way, if the loader has it ready. A failure is kept for feed_next. */
void feed_ahead(struct feed *f, struct loader *loader);

/* To be called when the host has waited for the backend: what was taken has arrived. */
void feed_settle(struct feed *f);

/* Before the loader is closed: nothing is copied from its memory any more, and what was sent ahead is forgotten. */
void feed_drop(struct feed *f);

#endif
