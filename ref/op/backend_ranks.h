/* A backend whose operations are those of one process that had the images of all ranks, wherever images meet: in batch norm, in the choice
 * of another image (rdem.negative = instance), in the losses of a step, and in the gradient. The model and its step run on it and learn
 * nothing of ranks; every rank has as many images.
 */
#ifndef EDIY_OP_BACKEND_RANKS_H
#define EDIY_OP_BACKEND_RANKS_H

#include "base/ranks.h"
#include "op/backend.h"

#define backend_ranks REAL_NAME(backend_ranks)
#define backend_ranks_buffer REAL_NAME(backend_ranks_buffer)
#define backend_ranks_bytes REAL_NAME(backend_ranks_bytes)
#define backend_ranks_mean REAL_NAME(backend_ranks_mean)

/* inner, with other entries in these places:
 *     norm_forward_train, norm_backward_train    over ranks * m rows: this rank's sums, gathered (op/norm.h). What is added to dgamma and
 *                                                dbeta is of this rank's rows, as every other gradient is
 *     norm_scratch                               with room for the sums of all ranks
 *     loss_rdem_instance                         neg counts the images of all ranks, rank after rank; g_target is gathered
 *     loss_collect                               of the images of all ranks: their values are gathered, and are the same on every rank
 * ranks: collectives on the memory of inner. Both must live as long as the table; there is one of it in a process, and a second call
 * changes it. One rank: inner itself, and nothing is changed. */
const struct backend *backend_ranks(const struct backend *inner, const struct ranks *ranks);

/* What the collectives go through, in memory of the inner backend: before the first operation above but batch norm. How many bytes it
 * needs: parameters in all; images of this rank; elements of its g_target where loss_rdem_instance is called, else 0. */
void backend_ranks_buffer(void *buffer);
size_t backend_ranks_bytes(const struct backend *inner, const struct ranks *ranks, ptrdiff_t parameters, ptrdiff_t images,
                           ptrdiff_t regions);

/* Collective, of a table that backend_ranks gave. x[i] becomes its mean over the ranks, summed in their order in double and rounded once:
 * the same bits on every rank. A gradient of the mean over each rank's images becomes that of the mean over all. n reals, at most
 * `parameters`. x goes through the buffer in pieces: each rank gets one slice of a piece from all others, adds it up, and hands the means
 * to all. */
void backend_ranks_mean(const struct backend *b, ptrdiff_t n, real *x);

#endif
