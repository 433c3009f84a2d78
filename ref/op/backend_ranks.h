/* A backend whose operations are those of one process that had the images of all ranks, where the images meet: in batch norm, in the choice of
 * another image (rdem.negative = instance), and in the gradient. The model and its step run on it and learn nothing of ranks.
 */
#ifndef EDIY_OP_BACKEND_RANKS_H
#define EDIY_OP_BACKEND_RANKS_H

#include "base/ranks.h"
#include "op/backend.h"

#define backend_ranks REAL_NAME(backend_ranks)
#define backend_ranks_sum REAL_NAME(backend_ranks_sum)
#define backend_ranks_sum_bytes REAL_NAME(backend_ranks_sum_bytes)

/* inner, with other entries in these places:
 *     norm_forward_train, norm_backward_train    over ranks * m rows: this rank's sums, gathered (op/norm.h). What is added to dgamma and dbeta
 *                                                is of this rank's rows, as every other gradient is
 *     loss_rdem_instance                         neg counts the images of all ranks, rank after rank; g_target is gathered first
 *     norm_scratch, loss_scratch                 with room for what is gathered
 * ranks: collectives on the memory of inner. instance: whether loss_rdem_instance will be called; without, no memory is planned for it.
 * Both must live as long as the table; there is one of it in a process, and a second call changes it. One rank: inner itself. */
const struct backend *backend_ranks(const struct backend *inner, const struct ranks *ranks, bool instance);

/* Collective. x[i] becomes its sum over the ranks, in their order, in double and rounded once: the same bits on every rank. n reals in memory of
 * the inner backend, and a buffer there of backend_ranks_sum_bytes. x goes through the buffer in pieces: each rank gets one slice of a
 * piece from all others, adds it up, and hands the sums to all. */
void backend_ranks_sum(const struct backend *inner, const struct ranks *ranks, ptrdiff_t n, real *x, void *buffer);
size_t backend_ranks_sum_bytes(const struct ranks *ranks, ptrdiff_t n);

#endif
