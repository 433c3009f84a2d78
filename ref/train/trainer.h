/* A training run, from a configuration to the last checkpoint.
 *
 * RUN (the key `out`) gets:
 *     config.txt                  the resolved configuration
 *     log.jsonl                   log.h
 *     checkpoint-STEP.safetensors checkpoint.h; the last two whole ones are kept
 *     backbone.safetensors        at the end: the online backbone as torchvision has it
 *
 * The bits of every checkpoint depend on the configuration and the data only: not on the number of threads or workers, nor on where the run
 * was interrupted. (backend=cuda rounds otherwise than the reference; a run begun on one goes on on the other.)
 */
#ifndef EDIY_TRAIN_TRAINER_H
#define EDIY_TRAIN_TRAINER_H

#include <signal.h>

#include "base/error.h"
#include "base/ranks.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "train/progress.h"

struct train_callbacks {
  void (*message)(void *context, const char *line);          /* a line for the user: data found, a bad file, where it goes on from */
  void (*progress)(void *context, const struct progress *p); /* after every step */
  void *context;
  const volatile sig_atomic_t *stop; /* set by the program's signal handler: end after the step at hand, with a checkpoint; may be null */
  const struct ranks *ranks;         /* the processes that train this together, each of which calls train; null: this one alone */
};

struct train_result {
  bool finished;                          /* false: stopped before the last step */
  int64_t step, steps;                    /* done, and of the whole run */
  struct record last;                     /* the last record */
  char checkpoint[OPTION_TEXT_SIZE + 64]; /* the newest one */
};

/* Over several ranks (docs/ranks.md) every rank takes its share of each batch, and rank 0 alone speaks, logs and writes; the configuration
 * must be the same on all. They fail together, with the same line.
 *
 * Any callback may be null. Fails before anything is written where the configuration, the data, the memory or the disk do not allow the run
 * (the message says how much is needed, and of memory which micro-batch would fit). A loss that is not finite stops the run: the message
 * names the step and the first layer and tensor that was not, and the checkpoint of the step before is kept. */
MUST_CHECK bool train(const struct config *config, const struct train_callbacks *callbacks, struct train_result *result, struct error *err);

/* Bytes of memory the run needs besides the program, on the reference backend: networks, loader, diagnostics, a checkpoint that is made. */
MUST_CHECK bool train_memory(const struct config *config, size_t *bytes, struct error *err);

#endif
