/* The collectives of several processes (base/ranks.h) on the memory of their GPUs, by NCCL: one process a GPU. Internal to cuda/. */
#ifndef EDIY_CUDA_RANKS_H
#define EDIY_CUDA_RANKS_H

extern "C" {
#include "base/ranks.h"
}

/* Collective: opens NCCL on the GPU that is open, between the ranks of host, and returns collectives that are enqueued on its stream, in
 * order with the operations; a failure is kept as theirs are. One rank: host itself. Null, with one line in err on every rank, where NCCL
 * is not there on one of them (EDIY_NCCL in the environment says where it is; built without its header, never). Where it cannot join a
 * rank, that rank abandons all, since the others wait for it inside NCCL. Once a process. */
MUST_CHECK const struct ranks *cuda_ranks(const struct ranks *host, struct error *err);

#endif
