/* The reference in float whose sums are moved at random, by what a right implementation of the class may be off: how far two such runs of a
 * whole step are apart is how far two right implementations may be apart, accumulated through every layer, with every ReLU that falls the
 * other way.
 *
 * Model. A sum of L products in float, with roundings as independent errors of u / sqrt(3) of what is rounded (Higham and Mary 2019), is
 * off by a standard deviation of
 *     u sqrt(C) (0.41 G2 + 0.33 |y|) + 0.58 u G2,    C = min(L, 1024),    G2 = sqrt(sum a^2 b^2):
 * the partial sums of a plain chain of C terms grow as sqrt(k / C) G2 where the terms' signs are random, and as k / C y where they are
 * alike, and each is rounded: sqrt(sum k / C / 3) = 0.41 sqrt(C), sqrt(sum (k / C)^2 / 3) = 0.33 sqrt(C); products that are rounded add the
 * last term. (Longer chains have to be declared, as everywhere in the oracle.) That is the worst usual implementation; blocked sums are
 * better. Convolutions, linear layers and the statistics of batch norm, forward and backward, are moved by uniform numbers of this standard
 * deviation; results of batch norm by one unit of their terms. Losses, LARS and the moving average are elementwise or of few terms, and are
 * left to the rounding that the reference has itself.
 *
 * One backend at a time: its stream of random numbers is the file's own.
 */
#ifndef EDIY_ORACLE_MOVED_H
#define EDIY_ORACLE_MOVED_H

#include <stdint.h>

#include "base/real.h"
#include "op/backend.h"

/* The backend of this draw; the same numbers each time. Valid until the next call. */
const struct backend_f32 *backend_moved(uint32_t draw);

#endif
