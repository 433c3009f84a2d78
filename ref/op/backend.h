/* A backend: where memory is, and the operations on it. The network, the step and the trainer are written once over this table; the
 * reference fills it with the functions of op/, the CUDA backend with their twins. An operation's contract is that of its header in op/.
 *
 * Pointers to tensors belong to the backend (host memory here, device memory on a GPU); only upload and download cross over. `real` is the
 * type of the reference. A backend may store activations and their gradients, and the weights w that convolutions and linear layers read,
 * as bf16: it says so in activation_size, and reads those pointers accordingly (op/activation.h). Shapes are structs in host memory.
 * scratch is one region, as large as the largest planned call asked for.
 */
#ifndef EDIY_OP_BACKEND_H
#define EDIY_OP_BACKEND_H

#include "base/error.h"
#include "base/ranks.h"
#include "base/real.h"
#include "op/conv.h"
#include "op/finite.h"
#include "op/lars.h"
#include "op/linear.h"
#include "op/loss.h"
#include "op/match.h"
#include "op/norm.h"
#include "op/pipeline.h"
#include "op/pool.h"

#ifndef EDIY_OP_BACKEND_MARKS
#define EDIY_OP_BACKEND_MARKS
enum { BACKEND_MARKS = 1 << 14 };
#endif

#define backend REAL_NAME(backend)
#define backend_reference REAL_NAME(backend_reference)

struct backend {
  const char *name;       /* "reference" */
  size_t activation_size; /* bytes of one activation, and of one weight that is read; sizeof(real) here, or of a bf16 */

  /* Memory: one block, which is zero when reserve returns, before any copy of the pipeline; freed by release. */
  bool (*reserve)(size_t bytes, void **memory, struct error *err);
  void (*release)(void *memory, size_t bytes);
  void (*upload)(void *to, const void *from_host, size_t bytes);
  void (*download)(void *to_host, const void *from, size_t bytes);
  void (*copy)(void *to, const void *from, size_t bytes);
  void (*zero)(void *to, size_t bytes);
  size_t (*available)(void); /* bytes that a run may reserve; 0: this system does not tell */

  /* Waits for the operations so far and says whether all went well, which they themselves cannot: ask before a result is saved. After a
   * failure download gives NaN (-1 for an index), and status always the first failure. The reference does not fail. */
  bool (*status)(struct error *err);

  /* The clock of a backend that works while the host goes on, for benchmarks; null in one whose operations are done when they return. mark
   * notes the moment when all operations before it are done, under a number below BACKEND_MARKS; seconds_between waits for the second of
   * two marks. */
  void (*mark)(int mark);
  double (*seconds_between)(int first, int second);

  /* Bytes of scratch that an operation of this shape needs. conv_scratch_least: a lower bound of conv_scratch that is cheap to compute;
   * null in a backend whose conv_scratch is cheap itself. */
  size_t (*conv_scratch)(const struct conv *g);
  size_t (*conv_scratch_least)(const struct conv *g);
  /* The longest chain of additions in a product of this shape: forward (0), backward data (1), backward weights (2); a linear layer counts
   * as the convolution of m images of one pixel. An oracle allows for it. Null: no more than 1024, or not known. */
  ptrdiff_t (*conv_chain)(const struct conv *g, int direction);
  size_t (*norm_scratch)(const struct norm *g);
  size_t (*linear_scratch)(const struct linear *g);
  size_t (*match_scratch)(const struct match *g);
  size_t (*loss_scratch)(const struct loss *g);

  void (*conv_forward)(const struct conv *g, const real *x, const real *w, real *y, void *scratch);
  /* conv_forward, which also leaves sums of y's channels, conv_moments bytes of them: norm_forward_train of y takes them from g->moments in
   * place of a pass over y, with the same bits. conv_moments is 0 for a shape without moments. Both are null in a backend without any, such
   * as the reference. */
  size_t (*conv_moments)(const struct conv *g);
  void (*conv_forward_moments)(const struct conv *g, const real *x, const real *w, real *y, double *moments, void *scratch);
  void (*conv_backward_data)(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch);
  void (*conv_backward_weights)(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch);

  /* Bytes that norm_forward_train of a norm with a ReLU leaves in g->signs: which numbers of y are positive. norm_backward_train reads them
   * in place of y. With g->signs null, forward leaves none and backward reads y. Null in the reference, which always reads y. */
  size_t (*norm_signs)(const struct norm *g);
  void (*norm_forward_train)(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                             real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch);
  void (*norm_forward_eval)(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                            const real *running_mean, const real *running_var, real *y);
  void (*norm_backward_train)(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                              const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, void *scratch);

  /* Training over several ranks (base/ranks.h): collectives on this backend's memory, in order with its operations, for the ranks of host.
   * Every rank has to call it; it returns null, with one line in err, where there are none. The entry is null where
   * the host's own serve. */
  const struct ranks *(*collectives)(const struct ranks *host, struct error *err);

  /* Batch norm in the parts between which the ranks exchange sums; and to[i] = mean over the ranks k of parts[k n + i], summed in their
   * order in double, rounded once. to may be one of the parts. Null in a backend that knows one rank only. */
  void (*norm_rank_moments)(const struct norm *g, const real *x, double *sums, void *scratch);
  void (*norm_rank_forward)(const struct norm *g, int ranks, const double *sums, const real *x, const real *residual, const real *gamma,
                            const real *beta, real *running_mean, real *running_var, real *y, double *mean, double *invstd);
  void (*norm_rank_gradient)(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd, const real *dy,
                             real *dgamma, real *dbeta, double *sums, void *scratch);
  void (*norm_rank_backward)(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                             const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, void *scratch);
  void (*rank_mean)(int ranks, ptrdiff_t n, const real *parts, real *to);

  void (*maxpool_forward)(const struct pool *g, const real *x, real *y, int32_t *index);
  void (*maxpool_backward)(const struct pool *g, const real *dy, const int32_t *index, real *dx);
  void (*avgpool_forward)(const struct pool *g, const real *x, real *y);
  void (*avgpool_backward)(const struct pool *g, const real *dy, real *dx, bool accumulate);

  void (*linear_forward)(const struct linear *g, const real *x, const real *w, const real *b, real *y);
  void (*linear_backward_data)(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate);
  void (*linear_backward_weights)(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch);

  void (*match_diversity)(const struct match *g, const real *t, int32_t *d, void *scratch);
  void (*match_invariance)(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch);

  void (*loss_byol)(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *scratch);
  void (*loss_rdem)(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                    real *dr, void *scratch);
  void (*loss_rdem_instance)(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale, double *value,
                             real *dr, void *scratch);
  void (*loss_riem)(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value, real *dp,
                    void *scratch);
  void (*loss_collect)(ptrdiff_t b, const struct loss_values *v, double share, struct loss_sums *sums);
  void (*halt_unless_finite)(ptrdiff_t n, const real *gradient, struct loss_sums *sums);

  /* y = n reals x, as activations and the weights of conv_* and linear_* are stored; null where those are reals. */
  void (*store_activations)(ptrdiff_t n, const real *x, real *y);

  void (*lars_update)(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m);
  void (*ema_update)(ptrdiff_t size, double tau, const real *theta, real *xi);

  /* Forms for a backend to which one operation costs less than several; each may be null. A table that replaces an operation of another
   * has to set to null the forms that would bypass it: conv_norm_forward_eval, if conv_forward or norm_forward_eval is replaced.
   *
   * Several tensors in one pass, with the bits of one after the other; null in the reference. halt (backend memory, may be null): where it
   * is not 0, nothing is done. */
  void (*lars_update_all)(const struct lars *o, int count, const struct lars_part *part, double lr, const int64_t *halt, const real *g,
                          real *w, real *m);
  void (*ema_update_all)(int count, const struct ema_part *part, double tau, const int64_t *halt, const real *theta, real *xi);

  /* y = norm_forward_eval of conv_forward, whose output is not stored: a pass over memory less for a network that is not trained. scratch:
   * that of conv_forward. y overlaps nothing. */
  void (*conv_norm_forward_eval)(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                 const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                 void *scratch);

  const struct pipeline *pipeline; /* of a backend that works while the host goes on; null in the reference */
};

/* The reference: host memory in huge pages, the fast forms of op/. Its scratch sizes are for the number of OpenMP threads at the time of
 * the call. */
const struct backend *backend_reference(void);

#endif
