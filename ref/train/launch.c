/* Compiled twice. In the library without EDIY_MPI; programs that are linked with MPI put the other object in front of the library
 * (Makefile), whose own is then left out. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "train/launch.h"

#include <stdlib.h>

/* What launchers tell those they start: Open MPI's mpirun; the others of MPI, by PMI; srun. SLURM_NTASKS is not among them: a batch script
 * has it, too, for the one process it starts itself. */
static const struct {
  const char *count, *number;
} launchers[] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, {"PMI_SIZE", "PMI_RANK"}, {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};

static int started_together(int *number) {
  for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
    const char *count = getenv(launchers[i].count), *own = getenv(launchers[i].number);
    if (!count || atoi(count) < 2) continue;
    *number = own ? atoi(own) : 0;
    return atoi(count);
  }
  return *number = 0, 1;
}

int launch_number(void) {
  int number;
  started_together(&number);
  return number;
}

#ifdef EDIY_MPI
#include <assert.h>
#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

static struct ranks ranks;

/* Errors of MPI itself end all processes, which is its default. */

static void mpi_broadcast(int from, void *data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += INT_MAX)
    MPI_Bcast((char *)data + at, (int)(bytes - at < INT_MAX ? bytes - at : INT_MAX), MPI_BYTE, from, MPI_COMM_WORLD);
}

static void mpi_gather(void *all, size_t bytes) {
  if (bytes <= INT_MAX)
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
  else
    for (int k = 0; k < ranks.count; k++) mpi_broadcast(k, (char *)all + (size_t)k * bytes, bytes);
}

static void mpi_exchange(const void *from, void *to, size_t bytes) {
  assert(bytes <= INT_MAX);
  MPI_Alltoall(from, (int)bytes, MPI_BYTE, to, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

/* The others may wait for a GPU that never answers: MPI_Abort ends them. */
static void mpi_abandon(const char *line) {
  fprintf(stderr, "ediy: rank %d of %d: %s\n", ranks.rank, ranks.count, line);
  MPI_Abort(MPI_COMM_WORLD, EXIT_BAD_INPUT);
}

/* Who else is on this machine, and how many of those may run on the same processors: where ranks were given processors of their own,
 * none. */
static void find_neighbours(void) {
  MPI_Comm machine;
  cpu_set_t own, other;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, ranks.rank, MPI_INFO_NULL, &machine);
  MPI_Comm_size(machine, &ranks.locals);
  MPI_Comm_rank(machine, &ranks.local);
  CPU_ZERO(&own);
  sched_getaffinity(0, sizeof own, &own);
  ranks.sharers = 0;
  for (int k = 0; k < ranks.locals; k++) {
    other = own;
    MPI_Bcast(&other, sizeof other, MPI_BYTE, k, machine);
    ranks.sharers += CPU_EQUAL(&own, &other) != 0;
  }
  MPI_Comm_free(&machine);
}

const struct ranks *launch_open(struct error *err) {
  int started, number, provided;
  started = started_together(&number);
  MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
  ranks = (struct ranks){.gather = mpi_gather, .exchange = mpi_exchange, .broadcast = mpi_broadcast, .abandon = mpi_abandon};
  MPI_Comm_size(MPI_COMM_WORLD, &ranks.count);
  MPI_Comm_rank(MPI_COMM_WORLD, &ranks.rank);
  if (ranks.count == 1 && started > 1) {
    fail(err,
         "%d processes were started together, but MPI does not join them, and each would train a copy; start them with the mpirun of the "
         "MPI that this program was built with, or try srun --mpi=pmix",
         started);
    return NULL;
  }
  if (ranks.count > RANKS_MAX) {
    fail(err, "%d processes were started, and %d is the most that train together", ranks.count, RANKS_MAX);
    return NULL;
  }
  find_neighbours();
  return &ranks;
}

void launch_close(void) {
  int open, closed;
  MPI_Initialized(&open);
  MPI_Finalized(&closed);
  if (!open || closed) return;
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Finalize();
}
#else
const struct ranks *launch_open(struct error *err) {
  int number, started = started_together(&number);
  if (started == 1) return ranks_alone();
  fail(err,
       "%d processes were started together, but this program was built without MPI, and each would train a copy; build it with make MPI=1, "
       "or start one process",
       started);
  return NULL;
}

void launch_close(void) {}
#endif
