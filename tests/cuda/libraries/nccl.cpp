/* NCCL's collectives, by NVIDIA's documentation of them, between processes with the shim's GPU: through memory that they share, in the
 * order of the stream. A send waits for the receive and the other way round, so that those outside of a group stop the test. */
#include "nccl.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "standin.h"

enum { MOST = 4, BOX = 1 << 18, MOST_CALLS = 2 * MOST, PATIENCE = 60 /* seconds */ };

struct shared {
  int ready, arrived, turn;
  char box[MOST][MOST][BOX]; /* [from][to] */
};
struct standin_ring {
  int ranks, rank;
  struct shared *shared;
};

/* A call of the library, as it is put into the stream. */
struct call {
  char *from, *to; /* null: nothing is sent, or received */
  size_t bytes;
  int peer;
};
struct calls {
  struct standin_ring *ring;
  int count;
  struct call call[MOST_CALLS];
};
static struct calls group;
static cudaStream_t group_stream;
static bool in_group;

static void nap(void) {
  const struct timespec t = {0, 20000};
  nanosleep(&t, nullptr);
}

/* All ranks are here. One that is not there in a minute never comes. */
static void meet(const struct standin_ring *r) {
  int turn = __atomic_load_n(&r->shared->turn, __ATOMIC_SEQ_CST);
  if (__atomic_add_fetch(&r->shared->arrived, 1, __ATOMIC_SEQ_CST) == r->ranks) {
    __atomic_store_n(&r->shared->arrived, 0, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&r->shared->turn, 1, __ATOMIC_SEQ_CST);
    return;
  }
  time_t start = time(nullptr);
  while (__atomic_load_n(&r->shared->turn, __ATOMIC_SEQ_CST) == turn) {
    if (time(nullptr) - start > PATIENCE) {
      shim_note("NCCL: rank %d waits for others that do not come", r->rank);
      _exit(3);
    }
    nap();
  }
}

/* Pieces of all sends, a meeting, pieces of all receives, another; every rank goes round as often. */
static void run(const void *context, bool) {
  struct calls c;
  memcpy(&c, context, sizeof c);
  const struct standin_ring *r = c.ring;
  size_t most = 0;
  for (int i = 0; i < c.count; i++)
    if (c.call[i].bytes > most) most = c.call[i].bytes;
  shim_open_memory();
  for (size_t at = 0; at < most; at += BOX) {
    for (int turn = 0; turn < 2; turn++) {
      for (int i = 0; i < c.count; i++) {
        const struct call *one = &c.call[i];
        size_t left = one->bytes > at ? one->bytes - at : 0, n = left < (size_t)BOX ? left : (size_t)BOX;
        if (turn == 0 && one->from) memcpy(r->shared->box[r->rank][one->peer], one->from + at, n);
        if (turn == 1 && one->to) memcpy(one->to + at, r->shared->box[one->peer][r->rank], n);
      }
      meet(r);
    }
  }
  shim_close_memory();
}

static ncclResult_t put(struct standin_ring *ring, struct call call, cudaStream_t stream) {
  if (call.peer < 0 || call.peer >= ring->ranks) return ncclInvalidArgument;
  if ((call.from && !shim_is_device(call.from, call.bytes)) || (call.to && !shim_is_device(call.to, call.bytes)))
    return ncclInvalidArgument;
  if (!in_group) group.count = 0;
  if (group.count == MOST_CALLS || (group.count > 0 && (group.ring != ring || group_stream != stream))) return ncclInvalidUsage;
  group.ring = ring, group_stream = stream;
  group.call[group.count++] = call;
  if (!in_group) shim_enqueue(stream, run, &group, sizeof group);
  return ncclSuccess;
}

static char *bytes_of(const void *p) { return static_cast<char *>(const_cast<void *>(p)); }

/* ---- NCCL's names -------------------------------------------------------------------------------------------------------------------- */

extern "C" ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  if (standin_fails("ncclGetUniqueId")) return ncclUnhandledCudaError;
  snprintf(id->internal, sizeof id->internal, "/ediy-nccl-%d", (int)getpid());
  shm_unlink(id->internal);
  int file = shm_open(id->internal, O_CREAT | O_EXCL | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, sizeof(struct shared)) != 0) return ncclUnhandledCudaError;
  close(file);
  return ncclSuccess;
}

extern "C" ncclResult_t ncclCommInitRank(ncclComm_t *ring, int ranks, ncclUniqueId id, int rank) {
  const char *failing = getenv("EDIY_STANDIN_RANK"); /* fails on this one only */
  if (standin_fails("ncclCommInitRank") && (!failing || atoi(failing) == rank)) return ncclInvalidUsage;
  if (ranks > MOST || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  int file = shm_open(id.internal, O_RDWR, 0600);
  if (file < 0) return ncclInvalidUsage;
  void *memory = mmap(nullptr, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclUnhandledCudaError;
  *ring = static_cast<ncclComm_t>(calloc(1, sizeof **ring));
  **ring = {ranks, rank, static_cast<struct shared *>(memory)};
  meet(*ring);
  if (rank == 0) shm_unlink(id.internal);
  return ncclSuccess;
}

extern "C" const char *ncclGetErrorString(ncclResult_t status) {
  switch (status) {
  case ncclSuccess: return "no error";
  case ncclUnhandledCudaError: return "unhandled cuda error";
  case ncclInvalidArgument: return "invalid argument";
  case ncclInvalidUsage: return "invalid usage";
  }
  return "unknown result code";
}

extern "C" ncclResult_t ncclGroupStart(void) {
  if (in_group) return ncclInvalidUsage;
  in_group = true, group.count = 0;
  return ncclSuccess;
}

extern "C" ncclResult_t ncclGroupEnd(void) {
  if (!in_group) return ncclInvalidUsage;
  in_group = false;
  if (standin_fails("ncclGroupEnd")) return ncclUnhandledCudaError;
  if (group.count > 0) shim_enqueue(group_stream, run, &group, sizeof group);
  return ncclSuccess;
}

extern "C" ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t ring, cudaStream_t stream) {
  return type == ncclInt8 ? put(ring, {bytes_of(from), nullptr, count, peer}, stream) : ncclInvalidArgument;
}

extern "C" ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t ring, cudaStream_t stream) {
  return type == ncclInt8 ? put(ring, {nullptr, bytes_of(to), count, peer}, stream) : ncclInvalidArgument;
}

/* In place if from is this rank's part of to. */
extern "C" ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t ring, cudaStream_t stream) {
  ncclResult_t status = type == ncclInt8 ? ncclGroupStart() : ncclInvalidArgument;
  for (int k = 0; status == ncclSuccess && k < ring->ranks; k++) {
    status = ncclSend(from, count, type, k, ring, stream);
    if (status == ncclSuccess) status = ncclRecv(bytes_of(to) + (size_t)k * count, count, type, k, ring, stream);
  }
  ncclResult_t end = ncclGroupEnd();
  return status == ncclSuccess ? end : status;
}

extern "C" ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t ring,
                                      cudaStream_t stream) {
  ncclResult_t status = type == ncclInt8 ? ncclGroupStart() : ncclInvalidArgument;
  for (int k = 0; status == ncclSuccess && ring->rank == root && k < ring->ranks; k++)
    status = ncclSend(from, count, type, k, ring, stream);
  if (status == ncclSuccess) status = ncclRecv(to, count, type, root, ring, stream);
  ncclResult_t end = ncclGroupEnd();
  return status == ncclSuccess ? end : status;
}
