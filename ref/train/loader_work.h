/* The two sides of a loader: the trainer's (loader.c), which gives batches their numbers and takes them in order, and the workers'
 * (loader_work.c), who make their images. What both know stands here, and nobody else reads it. */
#ifndef EDIY_TRAIN_LOADER_WORK_H
#define EDIY_TRAIN_LOADER_WORK_H

#include <pthread.h>

#include "base/arena.h"
#include "image/image.h"
#include "train/loader.h"

/* One batch in the making. Workers claim its images one by one; whoever finishes the last makes it ready. */
struct slot {
  float *view[2];
  char *packed; /* in the place of view[0] and view[1]: windows */
  size_t packed_bytes;
  struct batch_view *part; /* batch x 2 */
  int32_t *wanted;         /* batch: the image the shuffle asks for */
  int32_t *sample;         /* batch: the image that was read */
  int32_t *label;
  uint64_t number;
  int32_t epoch;
  ptrdiff_t claimed, done;
};

struct line { /* a report waiting for the trainer's thread */
  struct line *next;
  ptrdiff_t image;
  struct error text;
};

struct loader {
  const struct dataset *d;
  struct loader_options o;
  void (*report)(void *context, ptrdiff_t image, const char *line);
  void *context;

  struct slot *slot; /* slots: batch k lives in slot k % slots; `held` are the trainer's, the others are ahead */
  int slots;
  struct arena arena;
  void *memory; /* of the arena, where o.reserve gave it */
  size_t view_reals;

  pthread_t *thread;
  int threads;

  pthread_mutex_t lock; /* guards all that follows, and claimed and done of the slots */
  pthread_cond_t work, ready;
  bool stop, failed;
  uint64_t next, opened; /* batch the trainer gets next; first batch that no slot works on yet */
  uint64_t claiming;     /* first batch with unclaimed images */
  int32_t *order;        /* count: the shuffle of order_epoch */
  int64_t order_epoch;   /* -1: none yet */
  struct image *cached;  /* count; rgb is null where nothing is cached; what is there never changes */
  size_t cached_bytes;
  unsigned char *is_bad; /* count */
  ptrdiff_t bad;
  struct line *first_line, **last_line;
  struct error error;
};

/* Threads that work until l->stop or l->failed; l->threads are to be joined, on failure too. */
MUST_CHECK bool loader_start_workers(struct loader *l, struct error *err);

#endif
