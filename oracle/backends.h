/* The backends that the oracle can run a case on, by name. */
#ifndef EDIY_ORACLE_BACKENDS_H
#define EDIY_ORACLE_BACKENDS_H

#include "op/backend.h"

struct backend_entry {
  const char *name;
  const struct backend *(*table)(void);
  /* Makes it ready, once before its table is used; null: nothing to do. Fails with what is missing: no such device, ... */
  bool (*start)(struct error *err);
};

/* Adding a backend: an entry here. "ref32" and "ref64" are no entries: they run a case through the functions of ref/, not a table. */
extern const struct backend_entry backend_entries[];
extern const int backend_entry_count;

/* The table of this name, started; "plain:WORDS" is the plain backend in one of its variants (mutants/plain.h). Null for an unknown name,
 * whose message lists those that there are. */
const struct backend *backend_named(const char *name, struct error *err);

#endif
