/* Keys of the verbs that run training steps: their own, and all of `ediy train`. */
#ifndef EDIY_ORACLE_STEP_KEYS_H
#define EDIY_ORACLE_STEP_KEYS_H

#include "base/options.h"
#include "oracle/step_source.h"

struct step_keys {
  int64_t steps, first;
  int weights; /* enum step_weights */
};

/* Three lines of a table of options, for a struct step_keys at this offset. */
#define STEP_KEYS(at)                                                                                                                       \
  {"steps", OPTION_INT, (at) + offsetof(struct step_keys, steps), "1", 1, 1e5, NULL, "optimiser steps to run"},                             \
      {"first", OPTION_INT, (at) + offsetof(struct step_keys, first), "0", 0, 1e9, NULL, "number of the first, for learning rate and tau"}, \
  {                                                                                                                                         \
    "weights", OPTION_CHOICE, (at) + offsetof(struct step_keys, weights), "fresh", 0, 0, "fresh | formula",                                 \
        "as a run begins, or all of them by formula"                                                                                        \
  }

/* Sets the keys of the table in config from those arguments that the table has, has `check` look at them, and opens a source with the other
 * arguments: what is wrong with a verb's own keys is said before a source is looked for, which may take long. step: inside config. */
MUST_CHECK bool step_keys_read(const struct option *table, int keys, void *config, const struct step_keys *step, int count,
                               char *const *arguments, bool (*check)(void *config, struct error *err), struct step_source *source,
                               struct error *err);

#endif
