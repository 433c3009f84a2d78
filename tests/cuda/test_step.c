/* Whole steps of the model: two micro-batches, LARS and the moving average, on the CUDA table and on the reference.
 *
 * Every twin but the matrix products computes the reference's bits (the other tests), so the two differ by rounding inside products, and by
 * what later layers make of it. How much that may be is measured, not guessed: a third table is the reference with every element of every
 * product moved at random by up to what a float sum is off but for rare cases, (2 sqrt(length) + 2) u sum |a| |b| (roundings as independent
 * errors: Higham and Mary 2019). The CUDA step must be no further from the reference than the furthest of DRAWS such steps, tensor by
 * tensor, in the largest element. Roundings are relative to partial sums, mostly far below sum |a| |b|, so there is room. Matched indices
 * must be the same ones. */
#include <float.h>

#include "model/init.h"
#include "model/step.h"

#include "cuda/device.h"
#include "support/moved.h"
#include "support/small_model.h"

enum { BATCH = 8, DRAWS = 4, MICRO_BATCHES = 2 };

/* ---- a step, and what it leaves, on the host ----------------------------------------------------------------------------------------- */

enum { ONLINE, TARGET, GRADIENT, MOMENTUM, STATES, OUTPUTS = 8 /* q z r g of both views */ };

struct result {
  struct model m; /* shapes and names only; its memory is gone */
  real *state[STATES], *output[OUTPUTS];
  ptrdiff_t state_size[STATES], output_size[OUTPUTS];
  int32_t *index[4]; /* diversity and invariance of both views */
  struct losses losses;
};

static void *fetch(const struct backend *b, const void *from, ptrdiff_t n, size_t element) {
  void *host = calloc((size_t)n, element);
  if (!host) abort();
  b->download(host, from, (size_t)n * element);
  return host;
}

/* Another target than online, as after some steps. */
static void redraw_target(const struct backend *b, struct model *m) {
  for (int i = 0; i < m->target.net.parameters; i++) {
    const struct parameter *p = &m->target.net.parameter[i];
    if (p->role != ROLE_WEIGHT) continue;
    real *w = test_reals(p->size);
    init_parameter(p, i, 12, 5, w);
    b->upload(m->target.state + p->offset, w, (size_t)p->size * sizeof(real));
    free(w);
  }
}

static void step(const struct backend *b, const struct model_config *config, struct result *r) {
  struct error err = {0};
  struct model *m = &r->m;
  if (!model_create(m, config, b, &err) || !model_initialise(m, 11, &err)) fail_msg("%s", err.text);
  redraw_target(b, m);

  ptrdiff_t pixels = config->batch * config->height * config->width * 3, rows = config->batch * m->cells;
  int32_t *drawn[5];
  for (int i = 0; i < 5; i++)
    if (!(drawn[i] = calloc((size_t)rows, sizeof(int32_t)))) abort();
  step_draw(config->batch, m->cells, 1, 0, drawn, drawn + 2, drawn[4]);
  const struct step_draws draws = {{drawn[0], drawn[1]}, {drawn[2], drawn[3]}, drawn[4]};

  void *memory[2];
  model_zero_gradient(m);
  for (uint32_t micro = 0; micro < MICRO_BATCHES; micro++) {
    for (int v = 0; v < 2; v++) {
      real *pixel = test_normal(pixels, 20 + 2 * micro + (uint32_t)v);
      if (!b->reserve((size_t)pixels * sizeof(real), &memory[v], &err)) fail_msg("%s", err.text);
      b->upload(memory[v], pixel, (size_t)pixels * sizeof(real));
      free(pixel);
    }
    const real *const views[2] = {memory[0], memory[1]};
    model_set_draws(m, &draws, false);
    model_accumulate(m, views, 1.0 / MICRO_BATCHES, NULL);
    r->losses = model_sums(m).last;
    for (int v = 0; v < 2; v++) b->release(memory[v], (size_t)pixels * sizeof(real));
  }
  r->state_size[GRADIENT] = r->state_size[MOMENTUM] = r->state_size[ONLINE] = m->online.net.state_size;
  r->state_size[TARGET] = m->target.net.state_size;
  r->state[GRADIENT] = fetch(b, m->gradient, m->online.net.state_size, sizeof(real));
  model_update(m, 0.5, 0.9, NULL);
  r->state[ONLINE] = fetch(b, m->online.state, m->online.net.state_size, sizeof(real));
  r->state[TARGET] = fetch(b, m->target.state, m->target.net.state_size, sizeof(real));
  r->state[MOMENTUM] = fetch(b, m->momentum, m->online.net.state_size, sizeof(real));

  ptrdiff_t out = config->arch.out;
  for (int v = 0; v < 2; v++) {
    real *const from[] = {m->q[v], m->z[v], m->r[v], m->g[v]};
    for (int k = 0; k < 4; k++) {
      r->output_size[4 * v + k] = (k < 2 ? config->batch : rows) * out;
      r->output[4 * v + k] = fetch(b, from[k], r->output_size[4 * v + k], sizeof(real));
    }
    r->index[v] = fetch(b, m->diversity[v], rows, sizeof(int32_t));
    r->index[2 + v] = fetch(b, m->invariance[v], rows, sizeof(int32_t));
  }
  for (int i = 0; i < 5; i++) free(drawn[i]);
}

static void result_free(struct result *r) {
  model_free(&r->m);
  for (int i = 0; i < STATES; i++) free(r->state[i]);
  for (int i = 0; i < OUTPUTS; i++) free(r->output[i]);
  for (int i = 0; i < 4; i++) free(r->index[i]);
}

/* ---- comparing ----------------------------------------------------------------------------------------------------------------------- */

static const struct result *expected, *got, *gauge; /* DRAWS of the last */

/* Elements [offset, offset + n) of one of the arrays of a result. */
struct part {
  real *(*array)(const struct result *, int);
  int k;
  ptrdiff_t offset, n;
};

/* How far the moved steps are, and a spacing of floats at the largest element, because rounding to the neighbour is always allowed. */
static double allowed_of(const struct part *p) {
  const real *from = p->array(expected, p->k) + p->offset;
  double most = 0;
  for (int d = 0; d < DRAWS; d++) most = fmax(most, moved_apart(p->array(&gauge[d], p->k) + p->offset, from, p->n));
  return most + FLT_EPSILON * test_max_abs(from, p->n);
}

static void check(const char *what, const char *which, const struct part *p, double allowed) {
  double off = moved_apart(p->array(got, p->k) + p->offset, p->array(expected, p->k) + p->offset, p->n);
  if (!(off <= allowed)) fail_msg("%s of %s is off by %.3g, allowed %.3g", which, what, off, allowed);
}

static real *state_of(const struct result *r, int k) { return r->state[k]; }
static real *output_of(const struct result *r, int k) { return r->output[k]; }

static struct part parameter_of(const struct net *net, int i, int kind) {
  return (struct part){state_of, kind, net->parameter[i].offset, net->parameter[i].size};
}

/* The bias in front of a batch norm (0.bias of every head) has a gradient of exactly zero: what is there is rounding, and is judged beside
 * the weights of the same layer. */
static void check_state(const struct net *net, int kind, const char *which) {
  for (int i = 0; i < net->parameters; i++) {
    const char *name = net->parameter[i].name, *end = strstr(name, ".0.bias");
    struct part p = parameter_of(net, i, kind);
    double allowed = allowed_of(&p);
    if (end) {
      char weight[NET_NAME];
      snprintf(weight, sizeof weight, "%.*s.0.weight", (int)(end - name), name);
      struct part beside = parameter_of(net, net_find_parameter(net, weight), kind);
      allowed = fmax(allowed, allowed_of(&beside));
    }
    check(name, which, &p, allowed);
  }
}

static double losses_distance(const struct losses *a, const struct losses *b) {
  return fmax(fmax(fabs(a->rdem - b->rdem), fabs(a->riem - b->riem)), fmax(fabs(a->byol - b->byol), fabs(a->total - b->total)));
}

static void compare(const struct model_config *config) {
  struct result results[2 + DRAWS] = {0};
  step(device_backend(), config, &results[0]);
  step(backend_reference(), config, &results[1]);
  for (int d = 0; d < DRAWS; d++) step(backend_moved((uint32_t)d), config, &results[2 + d]);
  got = &results[0], expected = &results[1], gauge = &results[2];

  for (int i = 0; i < 4; i++)
    assert_memory_equal(got->index[i], expected->index[i], (size_t)(config->batch * expected->m.cells) * sizeof(int32_t));
  for (int i = 0; i < OUTPUTS; i++) {
    struct part p = {output_of, i, 0, expected->output_size[i]};
    check(i < 4 ? "view 1" : "view 2", (const char *[]){"q", "z", "r", "g"}[i % 4], &p, allowed_of(&p));
  }
  check_state(&expected->m.online.net, ONLINE, "online value");
  check_state(&expected->m.online.net, GRADIENT, "gradient");
  check_state(&expected->m.online.net, MOMENTUM, "momentum");
  check_state(&expected->m.target.net, TARGET, "target value");
  double allowed = 0;
  for (int d = 0; d < DRAWS; d++) allowed = fmax(allowed, losses_distance(&gauge[d].losses, &expected->losses));
  double off = losses_distance(&got->losses, &expected->losses);
  if (!(off <= allowed)) fail_msg("losses are off by %.3g, allowed %.3g", off, allowed);

  for (int i = 0; i < 2 + DRAWS; i++) result_free(&results[i]);
  device_end();
}

static void a_step_is_the_reference_s(void **state) {
  (void)state;
  struct model_config c = small_model(BATCH, 16);
  compare(&c);
}

/* The 7x7 stem with its pool, bottlenecks, a batch-normalised teacher, dot products, instance negatives, a region predictor; odd sides. */
static void a_step_with_other_options_is_the_reference_s(void **state) {
  (void)state;
  struct model_config c = small_model(BATCH, 16);
  c.batch = 6, c.height = 37, c.width = 45;
  c.arch.stem = STEM_IMAGENET, c.arch.block = BLOCK_BOTTLENECK;
  c.teacher_batch = true, c.similarity = SIMILARITY_DOT, c.negative = NEGATIVE_INSTANCE, c.region_predictor = true;
  c.lars.variant = LARS_OPENSELFSUP;
  compare(&c);
}

/* Twice the same step, the same bits: nothing depends on the order that threads and blocks happen to run in. */
static void a_step_repeats(void **state) {
  (void)state;
  struct model_config c = small_model(BATCH, 16);
  struct result first = {0}, second = {0};
  step(device_backend(), &c, &first);
  step(device_backend(), &c, &second);
  for (int i = 0; i < STATES; i++) assert_memory_equal(first.state[i], second.state[i], (size_t)first.state_size[i] * sizeof(real));
  for (int i = 0; i < OUTPUTS; i++) assert_memory_equal(first.output[i], second.output[i], (size_t)first.output_size[i] * sizeof(real));
  assert_memory_equal(&first.losses, &second.losses, sizeof first.losses);
  result_free(&first), result_free(&second);
  device_end();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_step_is_the_reference_s),
                                     cmocka_unit_test(a_step_with_other_options_is_the_reference_s), cmocka_unit_test(a_step_repeats)};
  return cmocka_run_group_tests_name("cuda step", tests, NULL, NULL);
}
