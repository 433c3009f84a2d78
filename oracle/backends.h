/* The backends that the oracle can run a case on, by name. */
#ifndef EDIY_ORACLE_BACKENDS_H
#define EDIY_ORACLE_BACKENDS_H

#include "op/backend.h"
#include "oracle/precision.h"
#include "train/backends.h"

struct backend_entry {
  const char *name;
  struct backend_options options;       /* what backend_open is asked for */
  const struct backend *(*table)(void); /* in its place; or null */
  enum precision precision;             /* what it declares */
  bool mixed;                           /* of its products; other results have classes of their own (mixed.h) */
};

/* Adding a backend: an entry here. "ref32" and "ref64" are no entries: they run a case through the functions of ref/, not a table. */
extern const struct backend_entry backend_entries[];
extern const int backend_entry_count;

/* A table, started, and what it declares where nothing else is asked of it. */
struct named_backend {
  const struct backend *table;
  enum precision precision;
  bool mixed;
};

/* The backend of this name; "plain:WORDS" is the plain backend in one of its variants (mutants/plain.h), which declares fp32 whatever the
 * words. Fails for an unknown name, with those that there are. */
MUST_CHECK bool backend_named(const char *name, struct named_backend *b, struct error *err);

#endif
