/* The inside of a training run, shared by trainer.c, start.c and memory.c. real is float here. */
#ifndef EDIY_TRAIN_RUN_H
#define EDIY_TRAIN_RUN_H

#include "model/step.h"
#include "train/feed.h"
#include "train/loader.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "train/watch.h"

enum { CHECKPOINTS_KEPT = 2 }; /* the newest, and one in case it is damaged */

struct run {
  const struct config *config;
  const struct train_callbacks *callbacks;
  const struct ranks
      *ranks;        /* every function below that can fail, and takes a run, is collective: it fails on all of them, with the same line */
  char *config_text; /* as in the checkpoints */
  char fingerprint[65]; /* of the data set */

  struct dataset data;
  struct loader *loader;
  size_t cache_bytes; /* of decoded images */
  struct model_f32 m;
  struct watch watch;
  struct log log;

  struct schedule schedule;
  int64_t steps_per_epoch;
  int64_t step;  /* optimiser steps done */
  int64_t saved; /* step of the newest checkpoint; -1: none */
  int64_t whole; /* rank 0: step of the newest one in the folder that was found whole, or written; -1: none */

  struct found *found;   /* files that this rank found bad and the others do not know of */
  unsigned char *is_bad; /* images: known to every rank to be bad */
  int64_t bad;           /* how many are */

  bool apart;      /* ranks meet in their backends, too, which wait for each other where no word reaches them */
  void *exchanged; /* backend memory for what ranks exchange, and its size */
  size_t exchanged_bytes;
  struct feed feed;           /* of micro-batches */
  int64_t passes;             /* micro-batches that have gone through the networks */
  struct recording *recorded; /* such a pass, of a backend that can repeat it; null as long as there is none */
};

/* Opens everything up to the first step: data, networks (fresh, or from a checkpoint), teacher, log, loader. On failure, run_close
 * frees. */
MUST_CHECK bool run_start(struct run *r, struct error *err);
void run_close(struct run *r);

/* The step after which this start ends, if nobody stops it before; and the steps from one checkpoint to the next. */
int64_t run_last_step(const struct run *r);
int64_t run_checkpoint_every(const struct run *r);

/* One line for the user, formatted. */
void run_say(const struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Opens the loader at the first micro-batch of the next step, once more if it was open. */
MUST_CHECK bool run_open_loader(struct run *r, struct error *err);
struct loader_options run_loader_options(const struct config *c, const struct backend *b, const struct ranks *ranks, size_t cache_bytes);

/* Bytes of memory besides the program. device: of a backend whose memory is its own; the reference's is the host's and counted there. */
struct need {
  size_t host, device;
};

/* Does the run fit? *needed, and what is *left of the host's available memory besides. A machine's memory is shared by the ranks that are
 * on it. Not collective. b: as backend_ranks gave it. */
MUST_CHECK bool run_check_memory(const struct config *config, const struct backend *b, const struct ranks *ranks, struct need *needed,
                                 size_t *left, struct error *err);

/* ---- what ranks tell each other (together.c) ----------------------------------------------------------------------------------------- */

/* A rank's own part went well, or not: all of it did. */
MUST_CHECK bool run_agree(const struct run *r, bool ok, struct error *err);

/* The backend's status, of every rank. Where ranks are apart, one whose backend has failed abandons the others. */
MUST_CHECK bool run_status(const struct run *r, struct error *err);

/* What rank 0 has set up becomes everybody's: the step, and every state of the model. */
MUST_CHECK bool run_share_state(struct run *r, struct error *err);

/* The loader's report, context the run. run_share_bad then tells every rank; rank 0 says each file once, and more than data.max_bad end the
 * run. */
void run_found_bad(void *context, ptrdiff_t image, const char *line);
MUST_CHECK bool run_share_bad(struct run *r, struct error *err);
void run_forget_found(struct run *r); /* at the end, not collective: rank 0 says those it found itself */

#endif
