/* Where every tensor of a pass lies: one workspace, planned from the layer records.
 *
 * A pass is a line of moments: layer i runs forward at moment i, the loss at moment L = layers, layer i backward at moment 2L - i. Every
 * value, gradient and saved statistic lives from its first writing to its last reading on that line; two that never live at once may share
 * bytes. Activations are therefore given back as the backward pass eats them, and a pass without backward needs little.
 */
#ifndef EDIY_MODEL_PLAN_H
#define EDIY_MODEL_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/net.h"

#ifndef EDIY_MODEL_PLAN_TYPES
#define EDIY_MODEL_PLAN_TYPES
enum { PLAN_MAX_SEEDS = 4 };
#define PLAN_NONE ((size_t)-1)

struct plan {
  bool backward, keep_all;
  int seeds, seed[PLAN_MAX_SEEDS]; /* values whose gradient the caller writes before net_backward */
  bool input_gradient;
  size_t *value;    /* [values]: offset in bytes of the activation; the input has none (the caller keeps it) */
  size_t *gradient; /* [values]: of its gradient; PLAN_NONE where none is computed */
  size_t *saved;    /* [layers]: of what forward leaves for backward: mean and invstd (2 c doubles) of a norm, index of a max pool; and
                     * what a convolution leaves for the norm that reads it, moments (backend.h); PLAN_NONE for nothing, and where a
                     * max pool never goes backward */
  size_t *signs;    /* [layers]: of the signs of a norm with a ReLU (backend.h); PLAN_NONE where nothing reads them */
  bool *accumulate; /* [layers]: the gradient of x already holds another consumer's part and is added to */
  bool *joined;     /* [layers]: a convolution that the backend can compute together with the norm behind it, its only reader */
  size_t workspace; /* bytes in all */
  size_t scratch;   /* bytes of the largest scratch of any operation */
};
#endif

#define plan_make REAL_NAME(plan_make)
#define plan_free REAL_NAME(plan_free)

/* Plans a pass of this net. seeds: the values that a loss gives gradients to (none: forward only). Gradients flow back to every value and
 * parameter that a seed depends on. keep_all: nothing shares bytes, so that every tensor of the pass can be looked at after it. */
MUST_CHECK bool plan_make(struct plan *plan, const struct net *net, const struct backend *backend, int seeds, const int *seed,
                          bool input_gradient, bool keep_all, struct error *err);
void plan_free(struct plan *plan);

#endif
