/* The three networks of E-DIY and everything a training step keeps in memory (paper Fig. 2; docs/method.md, "One step").
 *
 *     online  f   backbone, projector, predictor, local projector        gradient, batch statistics
 *     target  g   backbone, projector, local projector                   moving average of online, batch statistics
 *     teacher T   backbone, frozen                                       running statistics (or batch, an option)
 *
 * One block of backend memory holds it all, reserved once. step.h has the step itself.
 */
#ifndef EDIY_MODEL_MODEL_H
#define EDIY_MODEL_MODEL_H

#include <stdint.h>

#include "base/error.h"
#include "model/net.h"
#include "model/net_run.h"
#include "model/plan.h"

#ifndef EDIY_MODEL_MODEL_TYPES
#define EDIY_MODEL_MODEL_TYPES
enum sampler { SAMPLER_TEACHER, SAMPLER_RANDOM /* "R" of Table 1: the matched region is drawn */ };
enum negative { NEGATIVE_REGION, NEGATIVE_INSTANCE /* "R-INS" of Table 1: another image's mean target region */ };

struct model_config {
  struct architecture arch;                     /* backbone, head sizes, batch norm; which heads each network has follows from the rest */
  ptrdiff_t batch, height, width;               /* of one micro-batch of views */
  bool regions;                                 /* local projectors, R-DEM and R-IEM; without: plain BYOL */
  bool region_predictor;                        /* region.predictor = mlp */
  bool teacher;                                 /* a teacher network is there and is run */
  bool teacher_batch;                           /* teacher.bn = batch */
  double lambda_rdem, lambda_riem, lambda_byol; /* lambda1..3 of Eq. 3 */
  enum rdem_stopgrad stopgrad;
  enum negative negative;
  enum sampler sampler;
  enum similarity similarity;
  struct lars lars;
  bool keep_all; /* no tensor of a pass shares memory with another: for looking at everything afterwards */
};

#endif

#define model REAL_NAME(model)
#define branch REAL_NAME(branch)
#define model_plan REAL_NAME(model_plan)
#define model_create REAL_NAME(model_create)
#define model_memory REAL_NAME(model_memory)
#define model_free REAL_NAME(model_free)
#define model_initialise REAL_NAME(model_initialise)
#define model_copy_state REAL_NAME(model_copy_state)

/* One of the three networks: the online branch, the target branch, the teacher. */
struct branch {
  const char *name; /* "online", "target", "teacher" */
  struct net net;
  struct plan plan;
  real *state;   /* parameters and running statistics, net.state_size, in backend memory */
  real *weights; /* a copy as convolutions and linear layers read it, where that is not as reals (backend.h); else null */
};

struct model {
  struct model_config config;
  const struct backend *backend;
  struct branch online, target, teacher; /* teacher.state is null without a teacher */
  real *gradient, *momentum;             /* as online.state; zero where that holds statistics */
  ptrdiff_t cells, channels;             /* of the last map: regions of a view (n), numbers of one */

  real *input[2]; /* the views as activations, where those are not reals; else null */

  /* What a step leaves, view 1 at [0], view 2 at [1]; backend memory, valid until the next step. Null where the configuration has none. */
  real *t[2];                          /* teacher's last map: batch x n x channels */
  real *q[2], *z[2];                   /* online prediction, target projection: batch x out */
  real *r[2], *g[2];                   /* online and target regions: batch x n x out */
  int32_t *diversity[2];               /* D1, D2: batch x n (Eq. 4) */
  int32_t *invariance[2];              /* S12, S21: batch x n (Eq. 6) */
  int32_t *other;                      /* batch: the other image of rdem.negative = instance */
  double *rdem[2], *riem[2], *byol[2]; /* batch: losses of every image, one direction each */
  struct loss_sums *sums;              /* of the step */

  void *workspace, *scratch; /* of whichever network runs */
  void *memory;              /* the block */
  size_t bytes;
};

/* Networks, plans, sizes and layouts: everything but the memory, for whoever only asks how much of it there would be. model_free
 * afterwards, also where it fails. */
MUST_CHECK bool model_plan(struct model *m, const struct model_config *config, const struct backend *backend, struct error *err);

/* Plans and reserves. Fails with how much memory is asked for. All states are zero. */
MUST_CHECK bool model_create(struct model *m, const struct model_config *config, const struct backend *backend, struct error *err);
void model_free(struct model *m);

/* Bytes that model_create would reserve. */
MUST_CHECK bool model_memory(const struct model_config *config, const struct backend *backend, size_t *bytes, struct error *err);

/* Fresh states (docs/method.md, "Networks"): weights truncated normal at 2 sigma, sigma = 1 / sqrt(fan_in), biases 0, gamma 1, beta 0,
 * running mean 0 and variance 1; each parameter from a Philox stream of its own (init.h: network 0 is online, 1 the teacher). The target
 * starts as a copy of online; a teacher's weights are there to be overwritten by loaded ones. Momentum is zero. */
MUST_CHECK bool model_initialise(struct model *m, uint64_t seed, struct error *err);

/* Copies every parameter and statistic that both have, by name, within the backend's memory. */
void model_copy_state(const struct backend *backend, const struct net *from_net, const real *from, const struct net *to_net, real *to);

#endif
