/* Running a network: one loop forward, one backward. */
#ifndef EDIY_MODEL_NET_RUN_H
#define EDIY_MODEL_NET_RUN_H

#include "model/net.h"
#include "model/plan.h"
#include "model/trace.h"

#ifndef EDIY_MODEL_NET_MODE
#define EDIY_MODEL_NET_MODE
enum net_mode {
  NET_TRAIN, /* batch statistics, running statistics updated */
  NET_BATCH, /* batch statistics, running statistics left alone (teacher.bn = batch) */
  NET_EVAL   /* running statistics */
};
#endif

#define net_run REAL_NAME(net_run)
#define net_forward REAL_NAME(net_forward)
#define net_backward REAL_NAME(net_backward)
#define net_value REAL_NAME(net_value)
#define net_gradient REAL_NAME(net_gradient)

/* What a pass needs: the records, where tensors lie, the memory, and who watches. Nothing here is owned. */
struct net_run {
  const struct net *net;
  const struct plan *plan;
  const struct backend *backend;
  real *state;               /* net->state_size: parameters and running statistics */
  const real *weights;       /* the same layout, as convolutions and linear layers read their weights (backend.h); null: as in state */
  real *gradient;            /* the same layout: parameter gradients are added here; null without backward */
  void *workspace;           /* plan->workspace bytes */
  void *scratch;             /* plan->scratch bytes */
  const struct trace *trace; /* null: nobody */
  const char *network;       /* for the trace */
  int view;
};

/* Runs every layer on the input (batch x h x w x c, kept by the caller until backward is done). */
void net_forward(const struct net_run *run, enum net_mode mode, const real *input);

/* Runs the layers back, from the gradients that the caller has written to net_gradient(run, seed) of every seed of the plan, after
 * net_forward in NET_TRAIN or NET_BATCH mode. Parameter gradients are accumulated in run->gradient. */
void net_backward(const struct net_run *run, const real *input);

real *net_value(const struct net_run *run, int value);    /* an activation; value > 0 */
real *net_gradient(const struct net_run *run, int value); /* its gradient, or null where the plan has none */

#endif
