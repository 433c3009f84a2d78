/* Which table of operations a program runs on. The one place in ref/ that knows of backends other than the reference. real is float. */
#ifndef EDIY_TRAIN_BACKENDS_H
#define EDIY_TRAIN_BACKENDS_H

#include "op/backend.h"

enum backend_choice { BACKEND_REFERENCE, BACKEND_CUDA };
#define BACKEND_CHOICES "reference | cuda" /* as option_choices have it, in the order of the enum */

/* All zero: the reference. */
struct backend_options {
  enum backend_choice backend;
};

/* The table, which lives as long as the process. Null, with one line in err, where it cannot be used: there is no GPU, or the program was
 * built without CUDA (make CUDA=1 builds with it). */
MUST_CHECK const struct backend_f32 *backend_open(const struct backend_options *options, struct error *err);

#endif
