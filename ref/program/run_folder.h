/* What a run (the folder that `ediy train` writes) or a weights file says about itself. */
#ifndef EDIY_PROGRAM_RUN_FOLDER_H
#define EDIY_PROGRAM_RUN_FOLDER_H

#include <stdbool.h>

#include "base/error.h"
#include "train/config.h"

/* The resolved configuration in RUN/config.txt. */
MUST_CHECK bool run_config(const char *run, struct config *c, struct error *err);

/* The configuration stored in a checkpoint or backbone file; *found false where a file of other origin has none; c then holds
 * the defaults. */
MUST_CHECK bool weights_config(const char *path, struct config *c, bool *found, struct error *err);

#endif
