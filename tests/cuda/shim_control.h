/* What a test tells the shim, and asks it. For C. */
#ifndef EDIY_TESTS_CUDA_SHIM_CONTROL_H
#define EDIY_TESTS_CUDA_SHIM_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The machine that the shim pretends to be. Starts as one GPU of compute capability 9.0 with 4 GiB; in the environment, for a program under
 * test, EDIY_SHIM_DEVICES, EDIY_SHIM_MAJOR, EDIY_SHIM_MEMORY, EDIY_SHIM_PINNED, EDIY_SHIM_REFUSE and EDIY_SHIM_AFTER say otherwise. */
struct shim_machine {
  int devices, driver, runtime; /* versions as CUDA writes them: 13000 is 13.0; driver 0: none installed */
  int major, minor;             /* compute capability */
  size_t memory;                /* bytes in all */
  size_t pinned;                /* of the host, the most that can be page-locked at once */
  const char *refuse; /* the kernel whose launch fails, without template arguments; "*": any; "graph": no graph can be made; null: none */
  int after;          /* so many launches of it go well first */
};
extern struct shim_machine shim_machine;

/* When work in a stream runs: when it is put there, or only when another stream or the host waits for it. The first stream is that of the
 * operations; the others are those of copies. In the environment EDIY_SHIM_ORDER=copies-late|copies-early|late. */
enum shim_order { SHIM_AT_ONCE, SHIM_COPIES_LATE, SHIM_COPIES_EARLY /* and operations late */, SHIM_ALL_LATE, SHIM_ORDERS };
extern enum shim_order shim_order;

/* Calls so far: for which the host waits for a stream, for an event, for a copy of pageable memory, or may have to for everything
 * (reserving and releasing memory); graphs that were launched; kernels that have run, those of graphs too. */
struct shim_counts {
  int64_t stream_waits, event_waits, pageable, allocations, graphs, kernels;
};
extern struct shim_counts shim_counts;

/* Another order of threads and blocks. */
void shim_seed(uint64_t seed);

/* The line about the last launch that failed, "" if none has since the last call. */
const char *shim_failure(void);

/* Forgets a failure that no call of the runtime has asked for. */
void shim_clear(void);

/* Turns that ldmatrix has lost since the last call, because rows of a matrix lay in the same banks of shared memory. */
long shim_bank_conflicts(void);

#ifdef __cplusplus
}
#endif

#endif
