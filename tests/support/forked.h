/* Ranks without MPI: processes forked by a test, which exchange through shared memory. Every collective is two barriers and plain copies in
 * between, so that what a run over ranks computes can be looked at, and collectives be spoiled, where nothing else is installed.
 *
 * A forked process has none of its parent's threads: a test that forks runs no parallel loop itself, before or between. */
#ifndef EDIY_TESTS_FORKED_H
#define EDIY_TESTS_FORKED_H

#include <stddef.h>

#include "base/ranks.h"

/* Runs work as `count` ranks and waits for all. Fails the test when one ends in another way than by returning. */
void forked_run(int count, void (*work)(const struct ranks *r, void *context), void *context);

/* Zeroed memory that the ranks and the test share, for results; stays until the test's process ends. */
void *forked_shared(size_t bytes);

/* Faults of collectives, of the ranks that are forked next; none: everything right.
 *     missing    the last rank's part of what is gathered or exchanged is zeros
 *     stale      exchange gives what the exchange before it gave
 *     unwaited   gather takes the parts before the others have written them */
enum forked_fault { FORKED_NONE, FORKED_MISSING, FORKED_STALE, FORKED_UNWAITED };
void forked_spoil(enum forked_fault fault);

#endif
