#include "program/profile.h"

#include <omp.h>

#include "op/match.h"

const char *const part_name[PARTS] = {"conv forward", "conv backward data", "conv backward weights", "norm forward", "norm backward",
                                      "pooling",      "heads forward",      "heads backward",        "match",        "losses",
                                      "optimiser",    "moving average",     "copies and zeros"};
const char *const stage_name[STAGES] = {"teacher",  "match", "target",         "online forward", "losses",
                                        "backward", "LARS",  "moving average", "other"};

static const struct backend *inner;
static struct profile_peaks peaks;

/* ---- the operations of a step, in order ---------------------------------------------------------------------------------------------- */

struct operation {
  enum part part;
  enum stage stage;
  double start, seconds, flops, bytes; /* seconds: of a backend that is done when a call returns */
};
static struct {
  struct operation operation[BACKEND_MARKS - 1];
  int count, unknown; /* those from unknown on have no stage yet */
  struct profile sum; /* of operations that have been collected */
} step;

void profile_end_stage(enum stage stage) {
  for (; step.unknown < step.count; step.unknown++) step.operation[step.unknown].stage = stage;
}

/* Takes the times and forgets the operations. Those of a device end where the next one begins. */
static void collect(void) {
  profile_end_stage(STAGE_OTHER);
  if (inner->mark && step.count > 0) inner->mark(step.count);
  for (int i = 0; i < step.count; i++) {
    const struct operation *o = &step.operation[i];
    double seconds = inner->mark ? inner->seconds_between(i, i + 1) : o->seconds;
    double arithmetic = peaks.flops > 0 ? o->flops / peaks.flops : 0, memory = peaks.bytes > 0 ? o->bytes / peaks.bytes : 0;
    struct profile_sum *const to[] = {&step.sum.part[o->part], &step.sum.stage[o->stage]};
    for (int k = 0; k < 2; k++) {
      to[k]->seconds += seconds, to[k]->flops += o->flops, to[k]->bytes += o->bytes, to[k]->calls++;
      to[k]->floor += arithmetic > memory ? arithmetic : memory;
    }
  }
  step.count = step.unknown = 0;
}

void profile_begin_step(const struct profile_peaks *of_machine) {
  collect();
  step.sum = (struct profile){0};
  peaks = *of_machine;
}

struct profile profile_end_step(void) {
  collect();
  return step.sum;
}

static void begin(void) {
  if (step.count == BACKEND_MARKS - 1) collect();
  if (inner->mark)
    inner->mark(step.count);
  else
    step.operation[step.count].start = omp_get_wtime();
}

static void end(enum part part, double flops, double bytes) {
  struct operation *o = &step.operation[step.count++];
  o->part = part, o->flops = flops, o->bytes = bytes;
  if (!inner->mark) o->seconds = omp_get_wtime() - o->start;
}

/* What is seen was made by the operations since the last that was. Copies of an output come after it: they fall to the next stage. */
static void see(void *context, const struct trace_event *e) {
  (void)context;
  switch (e->phase) {
  case PHASE_FORWARD: profile_end_stage(e->network[0] == 'o' ? STAGE_ONLINE : e->network[1] == 'e' ? STAGE_TEACHER : STAGE_TARGET); break;
  case PHASE_MATCH: profile_end_stage(STAGE_MATCH); break;
  case PHASE_LOSS: profile_end_stage(STAGE_LOSSES); break;
  case PHASE_BACKWARD: profile_end_stage(STAGE_BACKWARD); break;
  case PHASE_OPTIMISER: profile_end_stage(STAGE_LARS); break;
  case PHASE_EMA: profile_end_stage(STAGE_AVERAGE); break;
  }
}

const struct trace profile_trace = {.see = see, .joins = true};

/* ---- arithmetic and bytes of each shape ---------------------------------------------------------------------------------------------- */

static double reals(double n) { return n * sizeof(real); }
static double activations(double n) { return n * (double)inner->activation_size; }

static double conv_flops(const struct conv *g) { return 2.0 * g->n * g->p * g->q * g->k * g->r * g->s * g->c; }
static double conv_weights(const struct conv *g) { return (double)g->k * g->r * g->s * g->c; }
static double conv_maps(const struct conv *g) { return activations((double)g->n * g->h * g->w * g->c + (double)g->n * g->p * g->q * g->k); }
static double conv_bytes(const struct conv *g) { return conv_maps(g) + activations(conv_weights(g)); }
static double linear_flops(const struct linear *g) { return 2.0 * g->m * g->i * g->o; }
static double linear_maps(const struct linear *g) { return activations((double)g->m * g->i + (double)g->m * g->o); }
static double linear_bytes(const struct linear *g) { return linear_maps(g) + activations((double)g->i * g->o); }
static double norm_bytes(const struct norm *g) { return activations((double)g->m * g->c); }
/* What tells a norm's backward where its ReLU is open: signs, or y. */
static double signs_bytes(const struct norm *g) { return !g->relu ? 0 : g->signs ? (double)inner->norm_signs(g) : norm_bytes(g); }
static double pool_bytes(const struct pool *g) { return activations((double)g->n * g->h * g->w * g->c); }
static double maxpool_bytes(const struct pool *g, bool index) { /* x, y and what won, or their gradients */
  double y = (double)g->n * maxpool_out(g->h) * maxpool_out(g->w) * g->c;
  return pool_bytes(g) + activations(y) + (index ? y * sizeof(int32_t) : 0);
}
static double loss_bytes(const struct loss *g) { return activations((double)g->b * g->n * g->c); }
static double match_flops(const struct match *g) { return 2.0 * g->b * g->n * g->n * g->c; }
static double match_bytes(const struct match *g) { return activations((double)g->b * g->n * g->c); }

/* ---- the operations ------------------------------------------------------------------------------------------------------------------ */

static void timed_copy(void *to, const void *from, size_t bytes) {
  begin();
  inner->copy(to, from, bytes);
  end(PART_MEMORY, 0, 2.0 * (double)bytes);
}
static void timed_zero(void *to, size_t bytes) {
  begin();
  inner->zero(to, bytes);
  end(PART_MEMORY, 0, (double)bytes);
}

static void timed_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch) {
  begin();
  inner->conv_forward(g, x, w, y, scratch);
  end(PART_CONV_FORWARD, conv_flops(g), conv_bytes(g));
}
static void timed_conv_forward_moments(const struct conv *g, const real *x, const real *w, real *y, double *moments, void *scratch) {
  begin();
  inner->conv_forward_moments(g, x, w, y, moments, scratch);
  end(PART_CONV_FORWARD, conv_flops(g), conv_bytes(g));
}
static void timed_conv_norm_forward_eval(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                         const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                         void *scratch) {
  begin();
  inner->conv_norm_forward_eval(g, n, x, w, residual, gamma, beta, running_mean, running_var, y, scratch);
  end(PART_CONV_FORWARD, conv_flops(g), conv_bytes(g) + (residual ? norm_bytes(n) : 0));
}
static void timed_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch) {
  begin();
  inner->conv_backward_data(g, dy, w, dx, accumulate, scratch);
  end(PART_CONV_BACKWARD_DATA, conv_flops(g), conv_bytes(g));
}
static void timed_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch) {
  begin();
  inner->conv_backward_weights(g, x, dy, dw, scratch);
  end(PART_CONV_BACKWARD_WEIGHTS, conv_flops(g), conv_maps(g) + reals(conv_weights(g)));
}

static void timed_norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                     real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  begin();
  inner->norm_forward_train(g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
  end(PART_NORM_FORWARD, 0, norm_bytes(g) * (residual ? 3 : 2) + (g->signs ? signs_bytes(g) : 0));
}
static void timed_norm_forward_eval(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                    const real *running_mean, const real *running_var, real *y) {
  begin();
  inner->norm_forward_eval(g, x, residual, gamma, beta, running_mean, running_var, y);
  end(PART_NORM_FORWARD, 0, norm_bytes(g) * (residual ? 3 : 2));
}
static void timed_norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                      const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                      void *scratch) {
  begin();
  inner->norm_backward_train(g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
  end(PART_NORM_BACKWARD, 0, norm_bytes(g) * (3 + (dresidual != NULL)) + signs_bytes(g));
}

static void timed_maxpool_forward(const struct pool *g, const real *x, real *y, int32_t *index) {
  begin();
  inner->maxpool_forward(g, x, y, index);
  end(PART_POOL, 0, maxpool_bytes(g, index));
}
static void timed_maxpool_backward(const struct pool *g, const real *dy, const int32_t *index, real *dx) {
  begin();
  inner->maxpool_backward(g, dy, index, dx);
  end(PART_POOL, 0, maxpool_bytes(g, true));
}
static void timed_avgpool_forward(const struct pool *g, const real *x, real *y) {
  begin();
  inner->avgpool_forward(g, x, y);
  end(PART_POOL, 0, pool_bytes(g));
}
static void timed_avgpool_backward(const struct pool *g, const real *dy, real *dx, bool accumulate) {
  begin();
  inner->avgpool_backward(g, dy, dx, accumulate);
  end(PART_POOL, 0, pool_bytes(g) * (accumulate ? 2 : 1));
}

static void timed_linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y) {
  begin();
  inner->linear_forward(g, x, w, b, y);
  end(PART_HEADS_FORWARD, linear_flops(g), linear_bytes(g));
}
static void timed_linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate) {
  begin();
  inner->linear_backward_data(g, dy, w, dx, accumulate);
  end(PART_HEADS_BACKWARD, linear_flops(g), linear_bytes(g));
}
static void timed_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch) {
  begin();
  inner->linear_backward_weights(g, x, dy, dw, db, scratch);
  end(PART_HEADS_BACKWARD, linear_flops(g), linear_maps(g) + reals((double)g->i * g->o));
}

static void timed_match_diversity(const struct match *g, const real *view, int32_t *d, void *scratch) {
  begin();
  inner->match_diversity(g, view, d, scratch);
  end(PART_MATCH, match_flops(g), match_bytes(g));
}
static void timed_match_invariance(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch) {
  begin();
  inner->match_invariance(g, from, to, s, scratch);
  end(PART_MATCH, match_flops(g), 2 * match_bytes(g));
}

static void timed_loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *scratch) {
  begin();
  inner->loss_byol(g, q, z, scale, value, dq, scratch);
  end(PART_LOSSES, 0, 3 * loss_bytes(g));
}
static void timed_loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                            real *dr, void *scratch) {
  begin();
  inner->loss_rdem(g, r, d, stopgrad, scale, value, dr, scratch);
  end(PART_LOSSES, 0, 3 * loss_bytes(g));
}
static void timed_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale,
                                     double *value, real *dr, void *scratch) {
  begin();
  inner->loss_rdem_instance(g, r, g_target, neg, scale, value, dr, scratch);
  end(PART_LOSSES, 0, 4 * loss_bytes(g));
}
static void timed_loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value,
                            real *dp, void *scratch) {
  begin();
  inner->loss_riem(g, p, g_target, s, scale, value, dp, scratch);
  end(PART_LOSSES, 0, 4 * loss_bytes(g));
}

static void timed_store_activations(ptrdiff_t n, const real *x, real *y) {
  begin();
  inner->store_activations(n, x, y);
  end(PART_MEMORY, 0, reals((double)n) + activations((double)n));
}

static void timed_loss_collect(ptrdiff_t b, const struct loss_values *v, double share, struct loss_sums *sums) {
  begin();
  inner->loss_collect(b, v, share, sums);
  end(PART_LOSSES, 0, 0);
}

static void timed_lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m) {
  begin();
  inner->lars_update(o, size, adapt, lr, g, w, m);
  end(PART_OPTIMISER, 0, reals((double)size * (adapt ? 7 : 5))); /* the norms read w and g once more */
  profile_end_stage(STAGE_LARS);
}
static void timed_ema_update(ptrdiff_t size, double tau, const real *theta, real *xi) {
  begin();
  inner->ema_update(size, tau, theta, xi);
  end(PART_AVERAGE, 0, reals(3.0 * (double)size));
  profile_end_stage(STAGE_AVERAGE);
}

static void timed_lars_update_all(const struct lars *o, int count, const struct lars_part *part, double lr, const int64_t *halt,
                                  const real *g, real *w, real *m) {
  double elements = 0;
  begin();
  inner->lars_update_all(o, count, part, lr, halt, g, w, m);
  for (int i = 0; i < count; i++) elements += (double)part[i].size * (part[i].adapt ? 7 : 5);
  end(PART_OPTIMISER, 0, reals(elements));
  profile_end_stage(STAGE_LARS);
}
static void timed_ema_update_all(int count, const struct ema_part *part, double tau, const int64_t *halt, const real *theta, real *xi) {
  double elements = 0;
  begin();
  inner->ema_update_all(count, part, tau, halt, theta, xi);
  for (int i = 0; i < count; i++) elements += 3.0 * (double)part[i].size;
  end(PART_AVERAGE, 0, reals(elements));
  profile_end_stage(STAGE_AVERAGE);
}

static void timed_halt_unless_finite(ptrdiff_t n, const real *gradient, struct loss_sums *sums) {
  begin();
  inner->halt_unless_finite(n, gradient, sums);
  end(PART_OPTIMISER, 0, reals((double)n));
}

const struct backend *profile_backend(const struct backend *other) {
  static struct backend timed;
  inner = other;
  timed = *other;
  timed.copy = timed_copy, timed.zero = timed_zero;
  timed.conv_forward = timed_conv_forward, timed.conv_backward_data = timed_conv_backward_data;
  timed.conv_backward_weights = timed_conv_backward_weights;
  timed.norm_forward_train = timed_norm_forward_train, timed.norm_forward_eval = timed_norm_forward_eval;
  timed.norm_backward_train = timed_norm_backward_train;
  timed.maxpool_forward = timed_maxpool_forward, timed.maxpool_backward = timed_maxpool_backward;
  timed.avgpool_forward = timed_avgpool_forward, timed.avgpool_backward = timed_avgpool_backward;
  timed.linear_forward = timed_linear_forward, timed.linear_backward_data = timed_linear_backward_data;
  timed.linear_backward_weights = timed_linear_backward_weights;
  timed.match_diversity = timed_match_diversity, timed.match_invariance = timed_match_invariance;
  timed.loss_byol = timed_loss_byol, timed.loss_rdem = timed_loss_rdem;
  timed.loss_rdem_instance = timed_loss_rdem_instance, timed.loss_riem = timed_loss_riem;
  timed.loss_collect = timed_loss_collect, timed.halt_unless_finite = timed_halt_unless_finite;
  timed.store_activations = other->store_activations ? timed_store_activations : NULL;
  timed.lars_update = timed_lars_update, timed.ema_update = timed_ema_update;
  timed.conv_forward_moments = other->conv_forward_moments ? timed_conv_forward_moments : NULL;
  timed.conv_norm_forward_eval = other->conv_norm_forward_eval ? timed_conv_norm_forward_eval : NULL;
  timed.lars_update_all = other->lars_update_all ? timed_lars_update_all : NULL;
  timed.ema_update_all = other->ema_update_all ? timed_ema_update_all : NULL;
  return &timed;
}
