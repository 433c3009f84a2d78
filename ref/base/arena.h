/* One block of memory for a whole run, cut up from front to back.
 *
 * Allocated once, from huge pages where the system has them: touching fresh 4 KiB pages costs ten times as much per byte as
 * touching 2 MiB ones, and training touches gigabytes. Nothing is freed but the whole.
 */
#ifndef EDIY_BASE_ARENA_H
#define EDIY_BASE_ARENA_H

#include <stddef.h>

#include "base/error.h"

enum { ARENA_ALIGN = 64 }; /* bytes: a cache line, and an AVX-512 vector */

struct arena {
  char *base;
  size_t size, used; /* bytes */
};

/* Bytes that n elements of this size take in an arena (rounded up to ARENA_ALIGN); SIZE_MAX if that overflows. */
size_t arena_bytes(ptrdiff_t n, size_t element);

/* What arena_create reserves for this many bytes: whole huge pages. */
size_t arena_size(size_t bytes);

/* Reserves size bytes, zeroed. Fails with a line that says how much was asked for and how much there is. */
MUST_CHECK bool arena_create(struct arena *arena, size_t size, struct error *err);
void arena_destroy(struct arena *arena);

/* n elements, zeroed, aligned to ARENA_ALIGN. Running out is a programming error: the caller has sized the arena. */
void *arena_take(struct arena *arena, ptrdiff_t n, size_t element);

/* Memory that is available now, in bytes: of this machine (MemAvailable), of the cgroup or of the address space of ulimit -v, whichever has
 * the least; 0 if unknown. */
size_t memory_available(void);

/* Whether it is that of ulimit -v. */
bool memory_limited(void);

#endif
