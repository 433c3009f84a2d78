/* The words of NCCL that cuda/ uses, where the tests compile it: a stand-in for NVIDIA's header. Names and values are NCCL 2's; what the
 * functions do is in nccl.cpp. It shows that our calls agree with our reading of NVIDIA's documentation, and nothing about NCCL. */
#ifndef EDIY_TESTS_NCCL_H
#define EDIY_TESTS_NCCL_H

#include "cuda/shim.h"
#include "nccl_values.h"

#define VALUE(name, value) name = value,
enum { NCCL_VALUES(VALUE) };
#undef VALUE
typedef int ncclResult_t, ncclDataType_t;
typedef struct standin_ring *ncclComm_t;
enum { NCCL_UNIQUE_ID_BYTES = 128 };
typedef struct {
  char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;

extern "C" {
ncclResult_t ncclGetUniqueId(ncclUniqueId *id);
ncclResult_t ncclCommInitRank(ncclComm_t *ring, int ranks, ncclUniqueId id, int rank);
const char *ncclGetErrorString(ncclResult_t status);
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);
ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t ring, cudaStream_t stream);
ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t ring, cudaStream_t stream);
ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t ring, cudaStream_t stream);
ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t ring, cudaStream_t stream);
}

#endif
