/* Gradients against central differences, in double: the reference that everything is judged by, held to what a gradient is.
 *
 * Of a case with results y and upstream gradients dy, L = sum y dy (of losses: out.total). Along a random direction d of one input,
 *     D(h) = (L(x + h d) - L(x - h d)) / 2h = sum g d + c h^2 + rounding,
 * so that D(h/2) is off by a third of D(h) - D(h/2), and by 2^-53 S / h for the S that the terms of L add up to. */
#ifndef EDIY_ORACLE_GRADCHECK_H
#define EDIY_ORACLE_GRADCHECK_H

#include <stdint.h>

#include "oracle/case.h"

struct gradcheck {
  char gradient[TENSOR_MAX_NAME]; /* grad_in.x */
  double by_difference, by_gradient, error, allowed;
  bool decided; /* the difference is known well enough to tell: allowed is below a thousandth of sum |g d| */
  bool pass;
};

enum { GRADCHECK_MOST = 16 };

/* One direction for each gradient that the case expects or, without expected values, the reference computes. to: GRADCHECK_MOST of them,
 * *count filled. Fails where the case has no gradients. */
MUST_CHECK bool gradcheck_case(const struct case_file *c, uint64_t seed, struct gradcheck *to, int *count, struct error *err);

#endif
