/* The steps themselves, in float or double: model/step.h with every input and every tensor shown to a sink. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "model/step.h"
#include "oracle/step_run.h"

#define step_walk REAL_NAME(step_walk)
#define step_walk_open REAL_NAME(step_walk_open)
#define step_walk_states REAL_NAME(step_walk_states)
#define step_walk_step REAL_NAME(step_walk_step)
#define step_walk_close REAL_NAME(step_walk_close)

struct step_walk {
  struct step_source *source;
  struct model m;
  bool device;
  int steps; /* done */

  float *view[2]; /* host: the views of a micro-batch */
  real *input[2]; /* the same in the backend's memory */
  void *inputs;
  size_t view_bytes;
  int32_t *drawn; /* of random samplers; null where nothing is drawn */
  struct step_draws draws;
  struct image *image;
  struct view *draw[2];

  /* while a step is watched */
  const struct step_sink *sink;
  int micro;
  bool broken; /* the sink has had enough, or memory is short; *err says why */
  struct error *err;
  void *host; /* a copy of a device's tensor */
  size_t host_size;
};

/* ---- showing ------------------------------------------------------------------------------------------------------------------------ */

static void show(struct step_walk *w, struct step_event *e) {
  if (w->broken || !w->sink) return;
  e->step = w->steps;
  snprintf(e->data.name, sizeof e->data.name, "%d.%d/%s/%s/%d/%s/%s", e->step, e->micro, e->phase, e->network, e->view, e->layer,
           e->tensor);
  w->broken = !w->sink->see(w->sink->context, e, w->err);
}

/* A tensor in the backend's memory. */
static void show_from_backend(struct step_walk *w, struct step_event *e) {
  size_t bytes = (size_t)tensor_count(&e->data) * dtype_size(e->data.dtype);
  if (w->device && w->sink && !w->broken) {
    if (bytes > w->host_size) {
      free(w->host);
      w->host = malloc(bytes);
      w->host_size = w->host ? bytes : 0;
      if (!w->host) {
        w->broken = !fail(w->err, "out of memory: %zu bytes for a tensor of the device", bytes);
        return;
      }
    }
    w->m.backend->download(w->host, e->data.data, bytes);
    e->data.data = w->host;
  }
  show(w, e);
}

static void see(void *context, const struct trace_event *t) {
  static const char *const phases[] = {[PHASE_FORWARD] = "forward",   [PHASE_MATCH] = "match",         [PHASE_LOSS] = "loss",
                                       [PHASE_BACKWARD] = "backward", [PHASE_OPTIMISER] = "optimiser", [PHASE_EMA] = "ema"};
  struct step_walk *w = context;
  struct step_event e = {.micro = t->phase == PHASE_OPTIMISER || t->phase == PHASE_EMA ? 0 : w->micro,
                         .phase = phases[t->phase],
                         .network = *t->network ? t->network : "-",
                         .view = t->view,
                         .layer = t->layer,
                         .tensor = t->tensor,
                         .data = t->data};
  show_from_backend(w, &e);
}

static void show_host(struct step_walk *w, const char *phase, int view, const char *layer, const char *tensor, struct tensor data) {
  struct step_event e = {.micro = w->micro, .phase = phase, .network = "-", .view = view, .layer = layer, .tensor = tensor, .data = data};
  show(w, &e);
}

static void show_state(struct step_walk *w, const struct branch *n, real *block, const char *tensor, bool statistics) {
  for (int i = 0; i < n->net.parameters; i++) {
    const struct parameter *p = &n->net.parameter[i];
    if (p->role == ROLE_STATISTIC && !statistics) continue;
    struct step_event e = {.phase = "state", .network = n->name, .layer = p->name, .tensor = tensor};
    e.data = tensor_make(REAL_DTYPE, block + p->offset, p->ndim, p->shape, "%s", p->name);
    show_from_backend(w, &e);
  }
}

bool step_walk_states(struct step_walk *w, const struct step_sink *sink, struct error *err) {
  w->sink = sink, w->err = err, w->broken = false, w->micro = 0;
  show_state(w, &w->m.online, w->m.online.state, "parameter", true);
  show_state(w, &w->m.online, w->m.momentum, "momentum", false);
  show_state(w, &w->m.target, w->m.target.state, "parameter", true);
  if (w->m.teacher.state) show_state(w, &w->m.teacher, w->m.teacher.state, "parameter", true);
  return !w->broken;
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------------ */

/* A state of the start, which is in float, into the same network here. */
static bool upload_state(struct step_walk *w, enum step_state from, const struct net *net, real *state, struct error *err) {
  for (int i = 0; i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    const float *x = step_source_state(w->source, from, i);
    real *host = malloc((size_t)p->size * sizeof(real));
    if (!host) return fail(err, "out of memory for %s", p->name);
    for (ptrdiff_t k = 0; k < p->size; k++) host[k] = (real)x[k];
    w->m.backend->upload(state + p->offset, host, (size_t)p->size * sizeof(real));
    free(host);
  }
  return true;
}

static bool take_memory(struct step_walk *w, struct error *err) {
  const struct model_config *c = &w->m.config;
  ptrdiff_t pixels = c->batch * c->height * c->width * 3, n = c->batch * w->m.cells;
  w->view_bytes = (size_t)pixels * sizeof(real);
  if (!w->m.backend->reserve(2 * w->view_bytes, &w->inputs, err)) return false;
  bool ok = (w->image = calloc((size_t)c->batch, sizeof *w->image)) != NULL;
  for (int v = 0; v < 2; v++) {
    w->input[v] = (real *)w->inputs + v * pixels;
    w->view[v] = malloc((size_t)pixels * sizeof(float));
    w->draw[v] = calloc((size_t)c->batch, sizeof *w->draw[v]);
    ok = ok && w->view[v] && w->draw[v];
  }
  if (ok && c->regions && (c->sampler == SAMPLER_RANDOM || c->negative == NEGATIVE_INSTANCE)) {
    int32_t *p = w->drawn = calloc((size_t)(4 * n + c->batch), sizeof *p);
    ok = p != NULL;
    if (ok) w->draws = (struct step_draws){{p, p + n}, {p + 2 * n, p + 3 * n}, p + 4 * n};
  }
  return ok || fail(err, "out of memory for the views");
}

struct step_walk *step_walk_open(struct step_source *source, const struct backend *b, bool device, struct error *err) {
  struct step_walk *w = calloc(1, sizeof *w);
  if (!w) {
    fail(err, "out of memory");
    return NULL;
  }
  w->source = source, w->device = device;
  struct model *m = &w->m;
  bool ok = model_create(m, &source->model, b, err) && take_memory(w, err) &&
            upload_state(w, STEP_ONLINE, &m->online.net, m->online.state, err) &&
            upload_state(w, STEP_MOMENTUM, &m->online.net, m->momentum, err) &&
            upload_state(w, STEP_TARGET, &m->target.net, m->target.state, err) &&
            (!m->teacher.state || upload_state(w, STEP_TEACHER, &m->teacher.net, m->teacher.state, err));
  if (ok) return w;
  step_walk_close(w);
  return NULL;
}

void step_walk_close(struct step_walk *w) {
  if (!w) return;
  if (w->inputs) w->m.backend->release(w->inputs, 2 * w->view_bytes);
  if (w->m.backend) model_free(&w->m);
  for (int v = 0; v < 2; v++) free(w->view[v]), free(w->draw[v]);
  free(w->image);
  free(w->drawn);
  free(w->host);
  free(w);
}

/* ---- inputs ------------------------------------------------------------------------------------------------------------------------- */

/* Views are computed in real, and are then floats, whatever real is: so both precisions have, up to rounding, the same inputs. */
static bool make_views(struct step_walk *w, struct error *err) {
  const ptrdiff_t size = w->m.config.height, pixels = size * size * 3, b = w->m.config.batch;
  bool ok = true;
#pragma omp parallel for schedule(dynamic)
  for (ptrdiff_t k = 0; k < 2 * b; k++) {
    const struct image *image = &w->image[k / 2];
    real *y = malloc((size_t)pixels * sizeof *y);
    real *scratch = malloc((size_t)augment_scratch(image->height, image->width, (int)size) * sizeof *scratch);
    if (y && scratch) {
      augment_apply(&w->draw[k % 2][k / 2], image->rgb, image->height, image->width, y, scratch);
      float *to = w->view[k % 2] + k / 2 * pixels;
      for (ptrdiff_t i = 0; i < pixels; i++) to[i] = (float)y[i];
    } else {
#pragma omp atomic write
      ok = false;
    }
    free(y), free(scratch);
  }
  return ok || fail(err, "out of memory for the views");
}

static void upload_views(struct step_walk *w) {
  ptrdiff_t n = (ptrdiff_t)(w->view_bytes / sizeof(real));
  real *host = (real *)(void *)malloc(w->view_bytes);
  for (int v = 0; v < 2 && host; v++) {
    for (ptrdiff_t i = 0; i < n; i++) host[i] = (real)w->view[v][i];
    w->m.backend->upload(w->input[v], host, w->view_bytes);
  }
  if (!host) w->broken = !fail(w->err, "out of memory for the views");
  free(host);
}

static void show_inputs(struct step_walk *w) {
  const struct model_config *c = &w->m.config;
  char layer[24];
  for (ptrdiff_t i = 0; i < c->batch; i++) {
    struct image *image = &w->image[i];
    snprintf(layer, sizeof layer, "%td", i);
    show_host(w, "augment", 0, layer, "source",
              tensor_make(DTYPE_U8, image->rgb, 3, (ptrdiff_t[]){image->height, image->width, 3}, "source"));
    for (int v = 0; v < 2; v++) {
      double number[STEP_DRAW_NUMBERS];
      step_draw_numbers(&w->draw[v][i], number);
      show_host(w, "augment", v + 1, layer, "draw", tensor_make(DTYPE_F64, number, 1, (ptrdiff_t[]){STEP_DRAW_NUMBERS}, "draw"));
    }
  }
  for (int v = 0; v < 2; v++)
    show_host(w, "input", v + 1, "image", "view",
              tensor_make(DTYPE_F32, w->view[v], 4, (ptrdiff_t[]){c->batch, c->height, c->width, 3}, "view"));
  if (w->drawn && c->negative == NEGATIVE_INSTANCE) {
    int32_t *other = w->drawn + 4 * c->batch * w->m.cells;
    show_host(w, "input", 0, "rdem", "other", tensor_make(DTYPE_I32, other, 1, &c->batch, "other"));
  }
}

/* Everything a micro-batch begins with. number: counted over the run. */
static bool prepare(struct step_walk *w, int64_t number, struct error *err) {
  const struct model_config *c = &w->m.config;
  if (!step_source_batch(w->source, number, w->image, w->draw, err)) return false;
  if (w->drawn) {
    int32_t *d = w->drawn;
    ptrdiff_t n = c->batch * w->m.cells;
    step_draw(c->batch, w->m.cells, (uint64_t)w->source->config.seed, (uint32_t)number, (int32_t *[2]){d, d + n},
              (int32_t *[2]){d + 2 * n, d + 3 * n}, d + 4 * n);
  }
  bool ok = make_views(w, err);
  if (ok) upload_views(w);
  if (ok && w->sink) show_inputs(w);
  for (ptrdiff_t i = 0; i < c->batch; i++) image_free(&w->image[i]);
  return ok && !w->broken;
}

/* ---- a step ------------------------------------------------------------------------------------------------------------------------- */

bool step_walk_step(struct step_walk *w, const struct step_sink *sink, struct step_losses *losses, struct error *err) {
  const struct step_source *s = w->source;
  const int64_t k = s->first + w->steps, micro_batches = s->config.accumulate;
  const double share = 1 / (double)micro_batches;
  const struct trace trace = {.see = see, .context = w};
  struct step_losses sum = {0};
  if (k >= s->schedule.steps) return fail(err, "the run has %" PRId64 " steps; there is none after", s->schedule.steps);
  sum.lr = schedule_lr(&s->schedule, k), sum.tau = schedule_tau(&s->schedule, k);
  w->sink = sink, w->err = err, w->broken = false;
  model_zero_gradient(&w->m);
  for (int64_t a = 0; a < micro_batches; a++) {
    w->micro = (int)a;
    if (!prepare(w, k * micro_batches + a, err)) return false;
    const real *const views[2] = {w->input[0], w->input[1]};
    if (w->drawn) model_set_draws(&w->m, &w->draws, false);
    model_accumulate(&w->m, views, share, sink ? &trace : NULL);
    const struct losses l = model_sums(&w->m).last;
    sum.total += share * l.total, sum.rdem += share * l.rdem, sum.riem += share * l.riem, sum.byol += share * l.byol;
    if (w->broken) return false;
  }
  model_update(&w->m, sum.lr, sum.tau, sink ? &trace : NULL);
  w->steps++;
  if (losses) *losses = sum;
  return !w->broken && w->m.backend->status(err);
}
