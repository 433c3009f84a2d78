#include "model/step.h"

#include "base/philox.h"

/* ---- what the trace sees beside the layers ------------------------------------------------------------------------------------------- */

static void see(const struct trace *trace, enum phase phase, const char *net, int view, const char *layer, const char *tensor,
                enum dtype dtype, void *data, int ndim, const ptrdiff_t *shape) {
  if (!trace) return;
  struct trace_event e = {.phase = phase, .network = net, .view = view, .layer = layer, .tensor = tensor};
  e.data = tensor_make(dtype, data, ndim, shape, "%s.%s", layer, tensor);
  trace->see(trace->context, &e);
}

static void see_state(const struct trace *trace, enum phase phase, const struct branch *n, const char *tensor, real *block, int parameter) {
  const struct parameter *p = &n->net.parameter[parameter];
  see(trace, phase, n->name, 0, p->name, tensor, REAL_DTYPE, block + p->offset, p->ndim, p->shape);
}

/* ---- the networks -------------------------------------------------------------------------------------------------------------------- */

static struct net_run run_of(struct model *m, const struct branch *n, int view, const struct trace *trace) {
  return (struct net_run){.net = &n->net,
                          .plan = &n->plan,
                          .backend = m->backend,
                          .state = n->state,
                          .weights = n->weights,
                          .gradient = n == &m->online ? m->gradient : NULL,
                          .workspace = m->workspace,
                          .scratch = m->scratch,
                          .trace = trace,
                          .network = n->name,
                          .view = view + 1};
}

/* Every network's weights as its layers read them: nobody who changes a state has to think of the copy. */
static void store_weights(struct model *m) {
  const struct branch *branches[] = {&m->online, &m->target, &m->teacher};
  for (int i = 0; i < 3; i++)
    if (branches[i]->weights) m->backend->store_activations(branches[i]->net.state_size, branches[i]->state, branches[i]->weights);
}

/* A view as the networks read it. */
static const real *stored(const struct model *m, int view, const real *pixels) {
  if (!m->backend->store_activations) return pixels;
  m->backend->store_activations(m->online.net.value[0].size, pixels, m->input[view]);
  return m->input[view];
}

/* Keeps an output that the next network's pass would overwrite. */
static void keep(struct model *m, const struct net_run *run, int value, real *to) {
  if (value >= 0 && to) m->backend->copy(to, net_value(run, value), (size_t)run->net->value[value].size * m->backend->activation_size);
}

/* t_k = T(v_k): the frozen teacher's last feature map. */
static void teacher_forward(struct model *m, int view, const real *input, const struct trace *trace) {
  struct net_run run = run_of(m, &m->teacher, view, trace);
  net_forward(&run, m->config.teacher_batch ? NET_BATCH : NET_EVAL, input);
  keep(m, &run, run.net->map, m->t[view]);
}

/* Eq. 4 and 6, or regions that were drawn ("R" of Table 1; model_set_draws has put them there). */
static void match_regions(struct model *m, const struct trace *trace) {
  const struct model_config *c = &m->config;
  const struct backend *b = m->backend;
  struct match g = {.b = c->batch, .n = m->cells, .c = m->channels, .similarity = c->similarity};
  for (int v = 0; v < 2; v++) {
    if (c->sampler == SAMPLER_TEACHER) {
      b->match_diversity(&g, m->t[v], m->diversity[v], m->scratch);
      b->match_invariance(&g, m->t[v], m->t[1 - v], m->invariance[v], m->scratch);
    }
    ptrdiff_t shape[] = {g.b, g.n};
    see(trace, PHASE_MATCH, "", v + 1, "rdem", "index", DTYPE_I32, m->diversity[v], 2, shape);
    see(trace, PHASE_MATCH, "", v + 1, "riem", "index", DTYPE_I32, m->invariance[v], 2, shape);
  }
}

/* z_k and the regions g_k of the target: batch statistics, no gradient. */
static void target_forward(struct model *m, int view, const real *input, const struct trace *trace) {
  struct net_run run = run_of(m, &m->target, view, trace);
  net_forward(&run, NET_TRAIN, input);
  keep(m, &run, run.net->projection, m->z[view]);
  keep(m, &run, run.net->regions, m->g[view]);
}

/* ---- the losses of one online view --------------------------------------------------------------------------------------------------- */

/* Eq. 2, 5 and 7, the terms in which this view is the online one, and their gradients, weighted as in Eq. 3. */
static void losses_of_view(struct model *m, const struct net_run *run, int view, double share, const struct trace *trace) {
  const struct model_config *c = &m->config;
  const struct backend *b = m->backend;
  const struct net *net = run->net;
  int other = 1 - view;

  struct loss image = {.b = c->batch, .n = 1, .c = c->arch.out};
  real *dq = net_gradient(run, net->prediction);
  b->zero(dq, (size_t)net->value[net->prediction].size * b->activation_size);
  b->loss_byol(&image, net_value(run, net->prediction), m->z[other], share * c->lambda_byol, m->byol[view], dq, m->scratch);
  see(trace, PHASE_LOSS, "online", view + 1, "byol", "value", DTYPE_F64, m->byol[view], 1, &c->batch);
  if (!c->regions) return;

  struct loss region = {.b = c->batch, .n = m->cells, .c = c->arch.out};
  size_t bytes = (size_t)net->value[net->regions].size * b->activation_size;
  const real *r = net_value(run, net->regions);
  real *dr = net_gradient(run, net->regions);
  b->zero(dr, bytes);
  if (c->negative == NEGATIVE_REGION)
    b->loss_rdem(&region, r, m->diversity[view], c->stopgrad, share * c->lambda_rdem, m->rdem[view], dr, m->scratch);
  else
    b->loss_rdem_instance(&region, r, m->g[view], m->other, share * c->lambda_rdem, m->rdem[view], dr, m->scratch);
  see(trace, PHASE_LOSS, "online", view + 1, "rdem", "value", DTYPE_F64, m->rdem[view], 1, &c->batch);

  /* region.predictor = mlp: R-IEM reads the prediction, R-DEM the projection before it. */
  int predicted = net->region_prediction >= 0 ? net->region_prediction : net->regions;
  real *dp = net_gradient(run, predicted);
  if (predicted != net->regions) b->zero(dp, bytes);
  b->loss_riem(&region, net_value(run, predicted), m->g[other], m->invariance[view], share * c->lambda_riem, m->riem[view], dp, m->scratch);
  see(trace, PHASE_LOSS, "online", view + 1, "riem", "value", DTYPE_F64, m->riem[view], 1, &c->batch);
}

/* ---- the step ------------------------------------------------------------------------------------------------------------------------ */

void model_zero_gradient(struct model *m) {
  m->backend->zero(m->gradient, (size_t)m->online.net.state_size * sizeof(real));
  m->backend->zero(m->sums, sizeof *m->sums);
}

void model_set_draws(struct model *m, const struct step_draws *draws, bool there) {
  const struct model_config *c = &m->config;
  size_t bytes = (size_t)(c->batch * m->cells) * sizeof(int32_t);
  void (*put)(void *to, const void *from, size_t bytes) = there ? m->backend->copy : m->backend->upload;
  if (!c->regions) return;
  for (int v = 0; v < 2 && c->sampler == SAMPLER_RANDOM; v++) {
    put(m->diversity[v], draws->diversity[v], bytes);
    put(m->invariance[v], draws->invariance[v], bytes);
  }
  if (c->negative == NEGATIVE_INSTANCE) put(m->other, draws->other, (size_t)c->batch * sizeof(int32_t));
}

void model_accumulate(struct model *m, const real *const views[2], double share, const struct trace *trace) {
  const struct model_config *c = &m->config;
  const real *const input[2] = {stored(m, 0, views[0]), stored(m, 1, views[1])};
  store_weights(m);
  if (c->teacher)
    for (int v = 0; v < 2; v++) teacher_forward(m, v, input[v], trace);
  if (c->regions) match_regions(m, trace);
  for (int v = 0; v < 2; v++) target_forward(m, v, input[v], trace);

  /* The losses are sums of one term a view, and nothing flows into the target: each view can go forward and back before the other, and
   * memory holds the activations of one view. */
  for (int v = 0; v < 2; v++) {
    struct net_run online = run_of(m, &m->online, v, trace);
    net_forward(&online, NET_TRAIN, input[v]);
    keep(m, &online, online.net->prediction, m->q[v]);
    keep(m, &online, online.net->regions, m->r[v]);
    losses_of_view(m, &online, v, share, trace);
    net_backward(&online, input[v]);
  }

  struct loss_values values = {.lambda_rdem = c->lambda_rdem, .lambda_riem = c->lambda_riem, .lambda_byol = c->lambda_byol};
  for (int v = 0; v < 2; v++) values.rdem[v] = m->rdem[v], values.riem[v] = m->riem[v], values.byol[v] = m->byol[v];
  m->backend->loss_collect(c->batch, &values, share, m->sums); /* Eq. 3 */
}

void model_halt_unless_finite(struct model *m) {
  m->backend->halt_unless_finite(m->online.net.state_size, m->gradient, m->sums); /* where statistics lie the gradient is zero */
}

struct loss_sums model_sums(const struct model *m) {
  struct loss_sums sums;
  m->backend->download(&sums, m->sums, sizeof sums);
  return sums;
}

static const struct parameter *of_online(const struct model *m, const struct parameter *p) {
  return &m->online.net.parameter[net_find_parameter(&m->online.net, p->name)];
}

static void update_one_by_one(struct model *m, double lr, double tau, const struct trace *trace) {
  const struct net *f = &m->online.net, *g = &m->target.net;
  for (int i = 0; i < f->parameters; i++) {
    const struct parameter *p = &f->parameter[i];
    if (p->role == ROLE_STATISTIC) continue;
    see_state(trace, PHASE_OPTIMISER, &m->online, "gradient", m->gradient, i);
    m->backend->lars_update(&m->config.lars, p->size, p->role == ROLE_WEIGHT, lr, m->gradient + p->offset, m->online.state + p->offset,
                            m->momentum + p->offset);
    see_state(trace, PHASE_OPTIMISER, &m->online, "momentum", m->momentum, i);
    see_state(trace, PHASE_OPTIMISER, &m->online, "parameter", m->online.state, i);
  }
  for (int i = 0; i < g->parameters; i++) {
    const struct parameter *p = &g->parameter[i];
    if (p->role == ROLE_STATISTIC) continue;
    m->backend->ema_update(p->size, tau, m->online.state + of_online(m, p)->offset, m->target.state + p->offset);
    see_state(trace, PHASE_EMA, &m->target, "parameter", m->target.state, i);
  }
}

/* The tensors that have been gathered, in one pass, which looks at m->sums->halt itself. *n is 0 afterwards. */
static void update_parts(struct model *m, int *n, const struct lars_part *part, double lr) {
  if (*n > 0) m->backend->lars_update_all(&m->config.lars, *n, part, lr, &m->sums->halt, m->gradient, m->online.state, m->momentum);
  *n = 0;
}
static void average_parts(struct model *m, int *n, const struct ema_part *part, double tau) {
  if (*n > 0) m->backend->ema_update_all(*n, part, tau, &m->sums->halt, m->online.state, m->target.state);
  *n = 0;
}

/* What update_one_by_one does, many tensors a pass. */
static void update_together(struct model *m, double lr, double tau) {
  const struct net *f = &m->online.net, *g = &m->target.net;
  struct lars_part lars[UPDATE_PARTS];
  struct ema_part ema[UPDATE_PARTS];
  int n = 0;
  for (int i = 0; i < f->parameters; i++) {
    const struct parameter *p = &f->parameter[i];
    if (p->role == ROLE_STATISTIC) continue;
    lars[n++] = (struct lars_part){p->offset, p->size, p->role == ROLE_WEIGHT};
    if (n == UPDATE_PARTS) update_parts(m, &n, lars, lr);
  }
  update_parts(m, &n, lars, lr);
  for (int i = 0; i < g->parameters; i++) {
    const struct parameter *p = &g->parameter[i];
    if (p->role == ROLE_STATISTIC) continue;
    ema[n++] = (struct ema_part){of_online(m, p)->offset, p->offset, p->size};
    if (n == UPDATE_PARTS) average_parts(m, &n, ema, tau);
  }
  average_parts(m, &n, ema, tau);
}

/* One by one if somebody watches: every tensor is then seen before and after its update. */
void model_update(struct model *m, double lr, double tau, const struct trace *trace) {
  if (!trace && m->backend->lars_update_all && m->backend->ema_update_all)
    update_together(m, lr, tau);
  else if (!model_sums(m).halt)
    update_one_by_one(m, lr, tau, trace);
}

void step_draw(ptrdiff_t batch, ptrdiff_t cells, uint64_t seed, uint32_t micro_batch, int32_t *diversity[2], int32_t *invariance[2],
               int32_t *other) {
  for (ptrdiff_t i = 0; i < batch; i++) {
    for (uint32_t v = 0; v < 2; v++) {
      struct philox g = philox_stream(seed, PHILOX_SAMPLER, v, (uint32_t)i, micro_batch);
      for (ptrdiff_t j = 0; j < cells; j++) {
        /* 1 .. n-1 places further on, around: every region but j, equally often */
        int32_t far = cells > 1 ? (int32_t)((j + 1 + philox_below(&g, (uint32_t)(cells - 1))) % cells) : 0;
        int32_t near = (int32_t)philox_below(&g, (uint32_t)cells);
        if (diversity && diversity[v]) diversity[v][i * cells + j] = far;
        if (invariance && invariance[v]) invariance[v][i * cells + j] = near;
      }
    }
    struct philox g = philox_stream(seed, PHILOX_NEGATIVE, 0, (uint32_t)i, micro_batch);
    if (other) other[i] = batch > 1 ? (int32_t)((i + 1 + philox_below(&g, (uint32_t)(batch - 1))) % batch) : 0;
  }
}
