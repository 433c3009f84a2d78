/* LARS (You, Gitman, Ginsburg 2017) as the official BYOL code has it, and as most PyTorch re-implementations do; the moving average.
 *
 *     byol:         d = g + wd w;  if |w| > 0 and |d| > 0:          d *= trust |w| / |d|;               m = mu m + d;     w -= lr m
 *     openselfsup:  d = g + wd w;  if |w| > 0 and |g| + wd |w| > 0: d *= trust |w| / (|g| + wd |w|);    m = mu m + lr d;  w -= m
 *     not adapted (biases, batch norm): d = g, then the same last two
 *
 * |.| is the L2 norm over the whole tensor, summed in double in an order that a GPU can keep, whose threads are then the lanes:
 *     1. The tensor is cut into pieces, at most LARS_LANES of them.
 *     2. Lane l of a piece sums the squares of its elements l, l + LARS_LANES, l + 2 LARS_LANES, ...
 *     3. The sums of a piece's lanes are joined: each LARS_GROUP of them by a tree, and the groups in order.
 *     4. The sums of the pieces are joined in the same way.
 */
#ifndef EDIY_OP_LARS_H
#define EDIY_OP_LARS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/real.h"

#ifndef EDIY_OP_LARS_OPTIONS
#define EDIY_OP_LARS_OPTIONS
enum lars_variant { LARS_BYOL, LARS_OPENSELFSUP };
struct lars {
  enum lars_variant variant;
  double trust, momentum, weight_decay;
};

/* One tensor of several that lie in common blocks; places and sizes in reals. At most UPDATE_PARTS in one pass: they are arguments of a
 * launch. */
struct lars_part {
  ptrdiff_t at, size; /* in the blocks of g, w and m */
  bool adapt;
};
struct ema_part {
  ptrdiff_t from, to, size; /* in the blocks of theta and xi */
};
enum { UPDATE_PARTS = 64 };

enum {
  LARS_LANES = 256,          /* of a piece; and pieces of a tensor, at most */
  LARS_GROUP = 32,           /* sums that a tree joins */
  LARS_PIECE_LEAST = 1 << 13 /* elements of a piece; in a large tensor more */
};
#endif

#define lars_update REAL_NAME(lars_update)
#define ema_update REAL_NAME(ema_update)

/* One parameter tensor of this size. w (parameter) and m (momentum buffer): updated. adapt: decay and trust ratio apply. An element is
 * computed in double; m is rounded to real once, and w moves by the m that is stored. g, w and m may not overlap. */
void lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m);

/* xi += (1 - tau) (theta - xi) (the target network, BYOL), in double, rounded once. xi: updated; may not overlap theta. Exact at both ends:
 * tau = 1 leaves xi, tau = 0 copies theta. */
void ema_update(ptrdiff_t size, double tau, const real *theta, real *xi);

#endif
