/* What the files that make cases share: make_case.c, make_image.c. */
#ifndef EDIY_ORACLE_MAKE_PARTS_H
#define EDIY_ORACLE_MAKE_PARTS_H

#include "oracle/make_case.h"

struct making {
  const struct make_options *o;
  struct made_case *made;
  struct error *err;
};

/* A new input of this name, all zeros. Null on failure. */
double *make_input(struct making *m, enum dtype dtype, int ndim, const ptrdiff_t *shape, const char *name);

/* The inputs and attributes of a schedule, and of a transform of an image. */
MUST_CHECK bool make_schedule(struct making *m);
MUST_CHECK bool make_image(struct making *m);

#endif
