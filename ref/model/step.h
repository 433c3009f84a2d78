/* One optimisation step of E-DIY (paper section 3; method.md section 1), in its order:
 *
 *     model_zero_gradient                      once a step
 *     model_accumulate                         once a micro-batch: teacher, match, target, online, losses, backward
 *     model_update                             once a step: LARS on the online network, then the moving average into the target
 */
#ifndef EDIY_MODEL_STEP_H
#define EDIY_MODEL_STEP_H

#include "model/model.h"

#ifndef EDIY_MODEL_STEP_TYPES
#define EDIY_MODEL_STEP_TYPES
/* Regions and images that are drawn, not matched (sampler = random, rdem.negative = instance); host memory, batch x n and batch. */
struct step_draws {
  const int32_t *diversity[2], *invariance[2], *other;
};
#endif

#define model_zero_gradient REAL_NAME(model_zero_gradient)
#define model_accumulate REAL_NAME(model_accumulate)
#define model_update REAL_NAME(model_update)
#define step_draw REAL_NAME(step_draw)

void model_zero_gradient(struct model *m);

/* Adds share * gradient of L (Eq. 3, mean over the batch) to m->gradient. views: two arrays batch x height x width x 3 in backend memory.
 * share: 1 / micro-batches of the step. draws: needed where the configuration says random or instance, else null. Running statistics of online
 * and target move twice, view 1 first. Returns the losses of this micro-batch. */
struct losses model_accumulate(struct model *m, const real *const views[2], double share, const struct step_draws *draws,
                               const struct trace *trace);

/* LARS with this learning rate on every online parameter, then xi += (1 - tau)(theta - xi) on every parameter of the target. Running
 * statistics are not averaged. */
void model_update(struct model *m, double lr, double tau, const struct trace *trace);

/* Fills host arrays with what a random sampler draws for one micro-batch: D never j itself (unless n = 1), S uniform, and another image of the
 * batch (itself when alone). Streams: (seed, PHILOX_SAMPLER | PHILOX_NEGATIVE, view, image, micro_batch), micro_batch counted over the run. Any
 * array may be null. */
void step_draw(ptrdiff_t batch, ptrdiff_t cells, uint64_t seed, uint32_t micro_batch, int32_t *diversity[2], int32_t *invariance[2],
               int32_t *other);

#endif
