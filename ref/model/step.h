/* One optimisation step of E-DIY (paper section 3; docs/method.md, "One step"), in its order:
 *
 *     model_zero_gradient                      once a step
 *     model_accumulate                         once a micro-batch: teacher, match, target, online, losses, backward
 *     model_update                             once a step: LARS on the online network, then the moving average into the target
 *
 * None of them waits for a backend that works on its own; model_sums does, and says what the losses were.
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
#define model_set_draws REAL_NAME(model_set_draws)
#define model_accumulate REAL_NAME(model_accumulate)
#define model_halt_unless_finite REAL_NAME(model_halt_unless_finite)
#define model_update REAL_NAME(model_update)
#define model_sums REAL_NAME(model_sums)
#define step_draw REAL_NAME(step_draw)

/* The gradient and the losses of the step are zero. */
void model_zero_gradient(struct model *m);

/* What the next micro-batch has drawn: needed where the configuration says random or instance; what it does not say is not read. there: the
 * arrays are in the backend's memory already. */
void model_set_draws(struct model *m, const struct step_draws *draws, bool there);

/* Adds share * gradient of L (Eq. 3, mean over the batch) to m->gradient, and the losses to m->sums. views: two arrays
 * batch x height x width x 3 in backend memory. share: 1 / micro-batches of the step. Running statistics of online and target move twice,
 * view 1 first. */
void model_accumulate(struct model *m, const real *const views[2], double share, const struct trace *trace);

/* Call it before model_update: if the loss or a gradient is not finite, model_update then changes nothing, and model_sums reports it in
 * halt. */
void model_halt_unless_finite(struct model *m);

/* LARS with this learning rate on every online parameter, then xi += (1 - tau)(theta - xi) on every parameter of the target. Running
 * statistics are not averaged. */
void model_update(struct model *m, double lr, double tau, const struct trace *trace);

/* The losses since model_zero_gradient, fetched. */
struct loss_sums model_sums(const struct model *m);

/* Fills host arrays with what a random sampler draws for one micro-batch: D never j itself (unless n = 1), S uniform, and another image of
 * the batch (itself when alone). Streams: (seed, PHILOX_SAMPLER | PHILOX_NEGATIVE, view, image, micro_batch), micro_batch counted over the
 * run. Any array may be null. */
void step_draw(ptrdiff_t batch, ptrdiff_t cells, uint64_t seed, uint32_t micro_batch, int32_t *diversity[2], int32_t *invariance[2],
               int32_t *other);

#endif
