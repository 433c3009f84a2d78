/* Several processes that train as one: how many there are, which one this is, and what they exchange.
 *
 * A rank is one process. All ranks run the same program and call every collective in the same order, with the same sizes; each waits for
 * the others. What comes back is the same bits on every rank and in every run: parts are kept apart in the order of the ranks, and whoever
 * adds them up does it in that order. A rank that dies ends the others, by whatever started them (docs/ranks.md).
 *
 * Implementations fill the table: ranks_alone here, MPI in train/launch.c, NCCL (the memory of GPUs) in cuda/ranks.cu.
 */
#ifndef EDIY_BASE_RANKS_H
#define EDIY_BASE_RANKS_H

#include <stddef.h>

#include "base/error.h"

enum { RANKS_MAX = 1024 };

struct ranks {
  int count, rank;   /* how many, at most RANKS_MAX, and which: 0 .. count - 1 */
  int locals, local; /* the same among those on this machine */
  int sharers;       /* of those, how many may run on just the processors that this one may run on; itself, too */

  /* all: count parts of `bytes`. Part `rank` is this rank's; afterwards every part is there. */
  void (*gather)(void *all, size_t bytes);
  /* from, to: count parts of `bytes`, apart. Part k of from becomes part `rank` of rank k's to. */
  void (*exchange)(const void *from, void *to, size_t bytes);
  /* data of rank `from` becomes everybody's. */
  void (*broadcast)(int from, void *data, size_t bytes);
  /* Not collective: says the line and ends every rank, at once. For a failure that leaves the others waiting where no word reaches them. */
  void (*abandon)(const char *line);
};

/* One process, which has nobody to wait for. */
const struct ranks *ranks_alone(void);

/* Collective. Whether all is well on every rank. If not, err becomes the line of the first rank that is not, the same on every rank; where
 * some ranks are well, it begins by naming that rank. */
MUST_CHECK bool ranks_agree(const struct ranks *r, bool ok, struct error *err);

/* Collective. Whether any rank says so. */
bool ranks_any(const struct ranks *r, bool here);

/* Collective. Fails on every rank if one has another text than rank 0; the line says which rank "has other `what`". */
MUST_CHECK bool ranks_same(const struct ranks *r, const char *what, const char *text, size_t bytes, struct error *err);

#endif
