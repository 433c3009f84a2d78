/* LARS (You, Gitman, Ginsburg 2017) as the official BYOL code has it, and as most PyTorch re-implementations do; the moving average.
 *
 *     byol:         d = g + wd w;  if |w| > 0 and |d| > 0:          d *= trust |w| / |d|;               m = mu m + d;     w -= lr m
 *     openselfsup:  d = g + wd w;  if |w| > 0 and |g| + wd |w| > 0: d *= trust |w| / (|g| + wd |w|);    m = mu m + lr d;  w -= m
 *     not adapted (biases, batch norm): d = g, then the same last two
 *
 * |.| is the L2 norm over the whole tensor, summed in double in an order that suits a GPU as well, whose threads are the lanes: a tensor is
 * cut into pieces, LARS_LANES at most; lane l of LARS_LANES sums elements l, l + LARS_LANES, ... of a piece; and the lanes' sums, and then
 * the pieces', are joined within groups of LARS_GROUP by a tree, and these in order.
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
  LARS_LANES = 256,          /* sums of a piece; and pieces of a tensor, at most */
  LARS_GROUP = 32,           /* lanes that are joined by a tree */
  LARS_PIECE_LEAST = 1 << 13 /* elements of a piece; large tensors have more */
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
