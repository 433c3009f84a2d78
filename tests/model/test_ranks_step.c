/* Steps of the model over several ranks are those of one process with the same images: every rank ends with the same bits; matched indices
 * and negatives are the same; losses, gradient and states are within what rounding makes of such steps.
 *
 * How far that may be is measured, not guessed: the reference with products that are off at random by what sums are off
 * (support/moved.h) takes the same steps, and says how far the ranks may be from the reference, tensor by tensor, in the largest element.
 * Ranks differ from one process by the last bit of statistics and by the order in which a gradient is
 * added up, which is far less. In double roundings are 2^29 times smaller, and so is what they are allowed.
 *
 * Everything that computes is forked: this process runs no parallel loop. */
#include <string.h>

#include "model/init.h"
#include "model/step.h"
#include "op/backend_ranks.h"

#include "support/cmocka.h"
#include "support/forked.h"
#include "support/moved.h"
#include "support/small_model.h"

enum { IMAGES = 12 /* of a micro-batch: cut into 1, 2, 3, 4 */, MICRO_BATCHES = 2, STEPS = 2, MOST = 4 };
enum { ONLINE, TARGET, MOMENTUM, GRADIENT /* of the first step */, BLOCKS };

/* What every rank leaves; of the last micro-batch. Indices are of its own images. */
struct result {
  real *block[BLOCKS];
  int32_t *index[4];
  struct losses losses[STEPS];
};

struct job {
  struct model_config config; /* batch: of all ranks */
  ptrdiff_t size[BLOCKS], cells;
  struct net online, target; /* names and places of parameters */
  int moved;                 /* draw of a run with products that are off; -1: none */
  struct result result[MOST];
};

/* ---- steps of one rank --------------------------------------------------------------------------------------------------------------- */

/* Another target than online, as after some steps. */
static void redraw_target(struct model *m) {
  for (int i = 0; i < m->target.net.parameters; i++) {
    const struct parameter *p = &m->target.net.parameter[i];
    if (p->role == ROLE_WEIGHT) init_parameter(p, i, 12, 5, m->target.state + p->offset);
  }
}

static void steps_here(const struct ranks *r, void *context) {
  struct job *job = context;
  struct result *result = &job->result[r->rank];
  const struct backend *b = job->moved < 0 ? backend_reference() : backend_moved((uint32_t)job->moved);
  struct model_config c = job->config;
  struct error err;
  struct model m;
  b = backend_ranks(b, r);
  c.batch /= r->count;
  if (!model_create(&m, &c, b, &err) || !model_initialise(&m, 11, &err)) abort();
  redraw_target(&m);
  void *buffer;
  if (!b->reserve(backend_ranks_bytes(b, r, m.online.net.state_size, c.batch, c.batch * m.cells * c.arch.out) + 1, &buffer, &err)) abort();
  backend_ranks_buffer(buffer);

  ptrdiff_t pixels = c.height * c.width * 3, all = job->config.batch, own = r->rank * c.batch, regions = all * m.cells;
  int32_t *drawn = calloc((size_t)(4 * regions + all), sizeof *drawn), *at = drawn + own * m.cells;
  if (!drawn) abort();
  real *view[2] = {test_reals(all * pixels), test_reals(all * pixels)};
  for (uint32_t step = 0; step < STEPS; step++) {
    model_zero_gradient(&m);
    for (uint32_t micro = step * MICRO_BATCHES; micro < (step + 1) * MICRO_BATCHES; micro++) {
      for (uint32_t v = 0; v < 2; v++) test_fill_normal(view[v], all * pixels, 20 + 2 * micro + v);
      step_draw(all, m.cells, 1, micro, (int32_t *[2]){drawn, drawn + regions}, (int32_t *[2]){drawn + 2 * regions, drawn + 3 * regions},
                drawn + 4 * regions);
      model_set_draws(&m, &(struct step_draws){{at, at + regions}, {at + 2 * regions, at + 3 * regions}, drawn + 4 * regions + own}, false);
      const real *const views[2] = {view[0] + own * pixels, view[1] + own * pixels};
      model_accumulate(&m, views, 1.0 / MICRO_BATCHES, NULL);
    }
    backend_ranks_mean(b, m.online.net.state_size, m.gradient);
    if (step == 0) memcpy(result->block[GRADIENT], m.gradient, (size_t)job->size[GRADIENT] * sizeof(real));
    model_halt_unless_finite(&m);
    model_update(&m, 0.5, 0.9, NULL);
    result->losses[step] = model_sums(&m).sum;
  }
  const real *const from[] = {m.online.state, m.target.state, m.momentum};
  for (int k = 0; k < GRADIENT; k++) memcpy(result->block[k], from[k], (size_t)job->size[k] * sizeof(real));
  for (int v = 0; v < 2; v++) {
    memcpy(result->index[v], m.diversity[v], (size_t)(c.batch * m.cells) * sizeof(int32_t));
    memcpy(result->index[2 + v], m.invariance[v], (size_t)(c.batch * m.cells) * sizeof(int32_t));
  }
}

/* ---- jobs ---------------------------------------------------------------------------------------------------------------------------- */

/* Sizes, and a place for the results of each rank. */
static struct job *job_make(const struct model_config *config, int draw) {
  struct job *job = forked_shared(sizeof *job);
  struct model m;
  struct error err;
  if (!model_create(&m, config, backend_reference(), &err)) fail_msg("%s", err.text);
  *job = (struct job){.config = *config, .cells = m.cells, .online = m.online.net, .target = m.target.net, .moved = draw};
  job->size[ONLINE] = job->size[MOMENTUM] = job->size[GRADIENT] = m.online.net.state_size;
  job->size[TARGET] = m.target.net.state_size;
  m.online.net = m.target.net = (struct net){0}; /* kept by the job */
  model_free(&m);
  for (int k = 0; k < MOST; k++) {
    for (int i = 0; i < BLOCKS; i++) job->result[k].block[i] = forked_shared((size_t)job->size[i] * sizeof(real));
    for (int i = 0; i < 4; i++) job->result[k].index[i] = forked_shared((size_t)(config->batch * job->cells) * sizeof(int32_t));
  }
  return job;
}

static struct job *run(const struct model_config *config, int ranks, int draw) {
  struct job *job = job_make(config, draw);
  forked_run(ranks, steps_here, job);
  return job;
}

/* What is not shared; results stay. */
static void job_free(struct job *job) { net_free(&job->online), net_free(&job->target); }

/* ---- comparing ----------------------------------------------------------------------------------------------------------------------- */

static bool ranks_are_equal(const struct job *job, int ranks) {
  bool equal = true;
  for (int k = 1; k < ranks; k++) {
    for (int i = 0; i < BLOCKS; i++)
      equal = equal && memcmp(job->result[k].block[i], job->result[0].block[i], (size_t)job->size[i] * sizeof(real)) == 0;
    equal = equal && memcmp(job->result[k].losses, job->result[0].losses, sizeof job->result[0].losses) == 0;
  }
  return equal;
}

/* How far the moved runs are in n elements of a block, and a spacing of numbers at the largest. */
static double allowed_of(const struct job *one, struct job *const gauge[MOVED_DRAWS], int block, ptrdiff_t offset, ptrdiff_t n) {
  const real *from = one->result[0].block[block] + offset;
  double moved_by[MOVED_DRAWS];
  for (int d = 0; d < MOVED_DRAWS; d++) moved_by[d] = moved_apart(gauge[d]->result[0].block[block] + offset, from, n);
  return moved_limit(moved_by) + 2 * REAL_ROUNDOFF * test_max_abs(from, n);
}

/* Says what is too far, and whether all is near enough. The bias in front of a batch norm (0.bias of every head) has a gradient of exactly
 * zero: what is there is rounding, and is judged beside the weights of the same layer. */
static bool blocks_are_near(const struct job *job, const struct job *one, struct job *const gauge[MOVED_DRAWS], bool quiet) {
  bool near = true;
  for (int k = 0; k < BLOCKS; k++) {
    const struct net *net = k == TARGET ? &one->target : &one->online;
    for (int i = 0; i < net->parameters; i++) {
      const struct parameter *p = &net->parameter[i];
      double allowed = allowed_of(one, gauge, k, p->offset, p->size);
      const char *end = strstr(p->name, ".0.bias");
      if (end) {
        char weight[NET_NAME];
        snprintf(weight, sizeof weight, "%.*s.0.weight", (int)(end - p->name), p->name);
        const struct parameter *w = &net->parameter[net_find_parameter(net, weight)];
        allowed = fmax(allowed, allowed_of(one, gauge, k, w->offset, w->size));
      }
      double off = moved_apart(job->result[0].block[k] + p->offset, one->result[0].block[k] + p->offset, p->size);
      if (off <= allowed) continue;
      if (!quiet) print_error("block %d of %s is off by %.3g, allowed %.3g\n", k, p->name, off, allowed);
      near = false;
    }
  }
  return near;
}

static double losses_distance(const struct losses *a, const struct losses *b) {
  return fmax(fmax(fabs(a->rdem - b->rdem), fabs(a->riem - b->riem)), fmax(fabs(a->byol - b->byol), fabs(a->total - b->total)));
}

static void check(const struct job *job, int ranks, const struct job *one, struct job *const gauge[MOVED_DRAWS]) {
  ptrdiff_t own = one->config.batch / ranks * one->cells;
  if (!ranks_are_equal(job, ranks)) fail_msg("%d ranks do not have the same bits", ranks);
  for (int k = 0; k < ranks; k++)
    for (int i = 0; i < 4; i++)
      assert_memory_equal(job->result[k].index[i], one->result[0].index[i] + k * own, (size_t)own * sizeof(int32_t));
  if (!blocks_are_near(job, one, gauge, false)) fail_msg("%d ranks are too far from one process", ranks);
  for (int s = 0; s < STEPS; s++) {
    double moved_by[MOVED_DRAWS], off = losses_distance(&job->result[0].losses[s], &one->result[0].losses[s]);
    for (int d = 0; d < MOVED_DRAWS; d++) moved_by[d] = losses_distance(&gauge[d]->result[0].losses[s], &one->result[0].losses[s]);
    double allowed = moved_limit(moved_by);
    if (!(off <= allowed)) fail_msg("losses of step %d are off by %.3g, allowed %.3g", s, off, allowed);
  }
}

static void compare(const struct model_config *config) {
  struct job *one = run(config, 1, -1), *gauge[MOVED_DRAWS];
  for (int d = 0; d < MOVED_DRAWS; d++) gauge[d] = run(config, 1, d);
  for (int ranks = 2; ranks <= MOST; ranks++) {
    struct job *job = run(config, ranks, -1);
    check(job, ranks, one, gauge);
    job_free(job);
  }
  for (int d = 0; d < MOVED_DRAWS; d++) job_free(gauge[d]);
  job_free(one);
}

static struct model_config other_config(void) {
  struct model_config c = small_model(IMAGES, 16);
  c.height = 37, c.width = 45;
  c.arch.stem = STEM_IMAGENET, c.arch.block = BLOCK_BOTTLENECK;
  c.teacher_batch = true, c.similarity = SIMILARITY_DOT, c.negative = NEGATIVE_INSTANCE, c.region_predictor = true;
  c.lars.variant = LARS_OPENSELFSUP;
  return c;
}

/* ---- the tests ----------------------------------------------------------------------------------------------------------------------- */

static void steps_over_ranks_are_one_process_s(void **state) {
  (void)state;
  struct model_config c = small_model(IMAGES, 16);
  compare(&c);
}

/* A batch-normalised teacher, negatives among the images of all ranks, bottlenecks, a region predictor; odd sides. */
static void steps_with_other_options_are_one_process_s(void **state) {
  (void)state;
  struct model_config c = other_config();
  compare(&c);
}

static void the_same_ranks_give_the_same_bits(void **state) {
  (void)state;
  struct model_config c = other_config();
  struct job *first = run(&c, 3, -1), *second = run(&c, 3, -1);
  for (int k = 0; k < BLOCKS; k++)
    assert_memory_equal(second->result[0].block[k], first->result[0].block[k], (size_t)first->size[k] * sizeof(real));
  job_free(first), job_free(second);
}

/* A rank that is left out, pieces of a gradient that are those of the step before, and parts that are taken before they are written must be
 * seen. */
static void steps_over_spoiled_collectives_are_found(void **state) {
  (void)state;
  struct model_config c = small_model(IMAGES, 16);
  struct job *one = run(&c, 1, -1), *gauge[MOVED_DRAWS];
  for (int d = 0; d < MOVED_DRAWS; d++) gauge[d] = run(&c, 1, d);
  for (enum forked_fault fault = FORKED_MISSING; fault <= FORKED_UNWAITED; fault++) {
    forked_spoil(fault);
    struct job *spoiled = run(&c, 2, -1);
    forked_spoil(FORKED_NONE);
    if (ranks_are_equal(spoiled, 2) && blocks_are_near(spoiled, one, gauge, true)) fail_msg("fault %d was taken for right", fault);
    job_free(spoiled);
  }
  for (int d = 0; d < MOVED_DRAWS; d++) job_free(gauge[d]);
  job_free(one);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_over_ranks_are_one_process_s), cmocka_unit_test(steps_with_other_options_are_one_process_s),
      cmocka_unit_test(the_same_ranks_give_the_same_bits), cmocka_unit_test(steps_over_spoiled_collectives_are_found)};
  return cmocka_run_group_tests_name("steps over ranks", tests, NULL, NULL);
}
