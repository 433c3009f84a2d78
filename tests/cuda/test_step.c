/* Whole steps of the model: two micro-batches, LARS and the moving average, on the CUDA table and on the reference. All that they leave
 * is the same bits. */
#include "model/init.h"
#include "model/step.h"

#include "cuda/device.h"
#include "support/small_model.h"

enum { BATCH = 8, MICRO_BATCHES = 2 };

/* ---- a step, and what it leaves, on the host ----------------------------------------------------------------------------------------- */

enum { ONLINE, TARGET, GRADIENT, MOMENTUM, STATES, OUTPUTS = 8 /* q z r g of both views */ };

struct result {
  struct model m; /* shapes and names only; its memory is gone */
  real *state[STATES], *output[OUTPUTS];
  ptrdiff_t state_size[STATES], output_size[OUTPUTS];
  int32_t *index[4]; /* diversity and invariance of both views */
  ptrdiff_t indices; /* of each */
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
    r->indices = rows;
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

static void assert_same_step(const struct result *got, const struct result *expected) {
  static const char *const states[STATES] = {"online value", "target value", "gradient", "momentum"};
  static const char *const outputs[] = {"q", "z", "r", "g"};
  for (int i = 0; i < 4; i++) assert_memory_equal(got->index[i], expected->index[i], (size_t)expected->indices * sizeof(int32_t));
  for (int i = 0; i < OUTPUTS; i++)
    for (ptrdiff_t j = 0; j < expected->output_size[i]; j++)
      if (memcmp(got->output[i] + j, expected->output[i] + j, sizeof(real)) != 0)
        fail_msg("%s[%td] of view %d is %.9g, expected %.9g", outputs[i % 4], j, i / 4 + 1, (double)got->output[i][j],
                 (double)expected->output[i][j]);
  for (int kind = 0; kind < STATES; kind++) {
    const struct net *net = kind == TARGET ? &expected->m.target.net : &expected->m.online.net;
    for (int i = 0; i < net->parameters; i++) {
      const struct parameter *p = &net->parameter[i];
      if (memcmp(got->state[kind] + p->offset, expected->state[kind] + p->offset, (size_t)p->size * sizeof(real)) != 0)
        fail_msg("%s of %s is another", states[kind], p->name);
    }
  }
  assert_memory_equal(&got->losses, &expected->losses, sizeof got->losses);
}

static void compare(const struct backend *b, const struct backend *like, const struct model_config *config) {
  struct result got = {0}, expected = {0};
  step(b, config, &got), step(like, config, &expected);
  assert_same_step(&got, &expected);
  result_free(&got), result_free(&expected);
  device_end();
}

static void a_step_is_the_reference_s(void **state) {
  (void)state;
  device_needs_fused_reference();
  struct model_config c = small_model(BATCH, 16);
  compare(device_backend(), backend_reference(), &c);
}

/* The 7x7 stem with its pool, bottlenecks, a batch-normalised teacher, dot products, instance negatives, a region predictor; odd sides. */
static void a_step_with_other_options_is_the_reference_s(void **state) {
  (void)state;
  device_needs_fused_reference();
  struct model_config c = small_model(BATCH, 16);
  c.batch = 6, c.height = 37, c.width = 45;
  c.arch.stem = STEM_IMAGENET, c.arch.block = BLOCK_BOTTLENECK;
  c.teacher_batch = true, c.similarity = SIMILARITY_DOT, c.negative = NEGATIVE_INSTANCE, c.region_predictor = true;
  c.lars.variant = LARS_OPENSELFSUP;
  compare(device_backend(), backend_reference(), &c);
}

/* Twice the same step, the same bits: nothing depends on the order that threads and blocks happen to run in. */
static void a_step_repeats(void **state) {
  (void)state;
  struct model_config c = small_model(BATCH, 16);
  compare(device_backend(), device_backend(), &c);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_step_is_the_reference_s),
                                     cmocka_unit_test(a_step_with_other_options_is_the_reference_s), cmocka_unit_test(a_step_repeats)};
  return cmocka_run_group_tests_name("cuda step", tests, NULL, NULL);
}
