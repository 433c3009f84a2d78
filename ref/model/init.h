/* Fresh weights. */
#ifndef EDIY_MODEL_INIT_H
#define EDIY_MODEL_INIT_H

#include <stdint.h>

#include "base/error.h"
#include "model/net.h"

#define init_state REAL_NAME(init_state)
#define init_parameter REAL_NAME(init_parameter)

/* One parameter (the i-th of its network) into host memory of p->size reals: convolution and linear weights from a normal cut off at 2
 * sigma, sigma = 1 / sqrt(fan_in) (fan_in = R S C or inputs; docs/method.md, "Networks", the initialiser of the official code), drawn again
 * when outside; gamma and running_var 1; all others 0. Stream: (seed, PHILOX_INIT, network, i, 0). The values are rounded to float first,
 * so that both precisions start alike. */
void init_parameter(const struct parameter *p, int i, uint64_t seed, uint32_t network, real *host);

/* The whole state block, in backend memory. */
MUST_CHECK bool init_state(const struct backend *backend, const struct net *net, uint64_t seed, uint32_t network, real *state,
                           struct error *err);

#endif
