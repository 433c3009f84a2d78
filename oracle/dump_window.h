/* Tensors of a dump in windows of a fixed size: read, not mapped, so that the memory in use does not depend on the dump. */
#ifndef EDIY_ORACLE_DUMP_WINDOW_H
#define EDIY_ORACLE_DUMP_WINDOW_H

#include "oracle/dump.h"

enum { WINDOW_ELEMENTS = 1 << 17 /* whole blocks of a digest */, WINDOW_ELEMENT = 8 /* bytes of one, at most */ };

struct dump_side {
  const struct dump *d;
  int *fd; /* of each part */
};

/* Several threads may read one side. Both functions may be followed by dump_side_close. */
MUST_CHECK bool dump_side_open(struct dump_side *s, const struct dump *d, struct error *err);
void dump_side_close(struct dump_side *s);

/* n elements of a tensor from flat index `first` on. */
MUST_CHECK bool dump_side_read(const struct dump_side *s, const struct dump_entry *e, ptrdiff_t first, ptrdiff_t n, void *to,
                               struct error *err);

/* Elements of the tensor itself, also in a digest dump. */
ptrdiff_t dump_elements(const struct dump_entry *e);

#endif
