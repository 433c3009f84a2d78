/* Collectives on the memory of GPUs, by NCCL, which only moves bytes here: what is added up is added by rank_mean.cu and norm.cu, in the
 * order of the ranks. NCCL is loaded when there are several ranks (library.h). */
#include "cuda/ranks.h"

#if __has_include(<nccl.h>)
#include <nccl.h>
#define HAS_NCCL
#endif

#include "cuda/library.h"
#include "cuda/runtime.h"

#ifndef HAS_NCCL

const struct ranks *cuda_ranks(const struct ranks *host, struct error *err) {
  if (host->count == 1) return host;
  fail(err, "backend=cuda over several ranks: this program was built without NCCL; build it where nccl.h is, or start one process");
  return nullptr;
}

#else

static const char OPTION[] = "backend=cuda over several ranks", LIBRARY[] = "libnccl.so.2";

#define FUNCTIONS(F)                                                                                                                       \
  F(ncclGetUniqueId)                                                                                                                       \
  F(ncclCommInitRank)                                                                                                                      \
  F(ncclGetErrorString)                                                                                                                    \
  F(ncclGroupStart)                                                                                                                        \
  F(ncclGroupEnd)                                                                                                                          \
  F(ncclSend)                                                                                                                              \
  F(ncclRecv)                                                                                                                              \
  F(ncclAllGather)                                                                                                                         \
  F(ncclBroadcast)

static struct {
#define MEMBER(name) decltype(&::name) name;
  FUNCTIONS(MEMBER)
#undef MEMBER
} nccl;

static struct {
  struct ranks table;
  ncclComm_t ring; /* null: not open */
} state;

static bool load(struct error *err) {
  void *library = library_open(OPTION, LIBRARY, "EDIY_NCCL", err);
  if (!library) return false;
#define FIND(name)                                                                                                                         \
  if (!(nccl.name = (decltype(&::name))library_function(library, LIBRARY, #name, err))) return false;
  FUNCTIONS(FIND)
#undef FIND
  return true;
}

/* ---- the collectives ----------------------------------------------------------------------------------------------------------------- */

static void keep(ncclResult_t status, const char *operation) {
  if (status != ncclSuccess) cuda_refused(operation, nccl.ncclGetErrorString(status));
}

static void gather(void *all, size_t bytes) {
  const char *own = (const char *)all + (size_t)state.table.rank * bytes; /* in place, as NCCL has it */
  keep(nccl.ncclAllGather(own, all, bytes, ncclInt8, state.ring, cuda_stream()), "gathering from all ranks");
}

/* All sends and receives at once, or each would wait for the other. */
static void exchange(const void *from, void *to, size_t bytes) {
  static const char operation[] = "exchanging between ranks";
  keep(nccl.ncclGroupStart(), operation);
  for (int k = 0; k < state.table.count; k++) {
    keep(nccl.ncclSend((const char *)from + (size_t)k * bytes, bytes, ncclInt8, k, state.ring, cuda_stream()), operation);
    keep(nccl.ncclRecv((char *)to + (size_t)k * bytes, bytes, ncclInt8, k, state.ring, cuda_stream()), operation);
  }
  keep(nccl.ncclGroupEnd(), operation);
}

static void broadcast(int from, void *data, size_t bytes) {
  keep(nccl.ncclBroadcast(data, data, bytes, ncclInt8, from, state.ring, cuda_stream()), "broadcasting to all ranks");
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------------- */

static bool failed(const char *call, ncclResult_t status, const char *hint, struct error *err) {
  return fail(err, "%s: %s: %s%s; NCCL_DEBUG=WARN says more", OPTION, call, nccl.ncclGetErrorString(status), hint);
}

const struct ranks *cuda_ranks(const struct ranks *host, struct error *err) {
  if (host->count == 1) return host;
  if (state.ring) return &state.table;
  ncclUniqueId id;
  ncclResult_t status = ncclSuccess;
  if (!ranks_agree(host, load(err), err)) return nullptr;
  if (host->rank == 0) status = nccl.ncclGetUniqueId(&id);
  if (!ranks_agree(host, status == ncclSuccess || failed("ncclGetUniqueId", status, "", err), err)) return nullptr;
  host->broadcast(0, &id, sizeof id);
  status = nccl.ncclCommInitRank(&state.ring, host->count, id, host->rank);
  if (status != ncclSuccess) {
    failed("ncclCommInitRank", status, " (is there a GPU for each rank?)", err);
    host->abandon(err->text);
    return nullptr;
  }
  state.table = *host;
  state.table.gather = gather, state.table.exchange = exchange, state.table.broadcast = broadcast;
  return &state.table;
}

#endif
