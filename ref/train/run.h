/* The inside of a training run, shared by trainer.c, start.c and memory.c. real is float here. */
#ifndef EDIY_TRAIN_RUN_H
#define EDIY_TRAIN_RUN_H

#include "model/step.h"
#include "train/feed.h"
#include "train/loader.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "train/watch.h"

struct run {
  const struct config *config;
  const struct train_callbacks *callbacks;
  char *config_text;    /* as in the checkpoints */
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

  struct feed feed;           /* of micro-batches */
  int64_t passes;             /* micro-batches that have gone through the networks */
  struct recording *recorded; /* such a pass, of a backend that can repeat it; null as long as there is none */
};

/* Opens everything up to the first step: data, networks (fresh, or from a checkpoint), teacher, log, loader. On failure, run_close frees. */
MUST_CHECK bool run_start(struct run *r, struct error *err);
void run_close(struct run *r);

/* One line for the user, formatted. */
void run_say(const struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Opens the loader at the first micro-batch of the next step, once more if it was open. */
MUST_CHECK bool run_open_loader(struct run *r, struct error *err);
struct loader_options run_loader_options(const struct config *c, const struct backend *b, size_t cache_bytes);

/* Bytes of memory besides the program. device: of a backend whose memory is its own; the reference's is the host's and counted there. */
struct need {
  size_t host, device;
};

/* Does the run fit? *needed, and what is *left of the host's available memory besides. */
MUST_CHECK bool run_check_memory(const struct config *config, const struct backend *b, struct need *needed, size_t *left,
                                 struct error *err);

#endif
