/* The whole step: gradients by central differences under every option, threads, order, the update. */
#include <omp.h>
#include <string.h>

#include "model/init.h"
#include "model/step.h"

#include "support/cmocka.h"
#include "support/small_model.h"
#include "support/support.h"

enum { BATCH = 3, SIDE = 24 };

struct fixture {
  struct model m;
  real *view[2];
  int32_t *draw[5];
  struct step_draws draws;
};

static void fixture_make(struct fixture *f, struct model_config config) {
  struct error err = {0};
  if (!model_create(&f->m, &config, backend_reference(), &err) || !model_initialise(&f->m, 11, &err)) fail_msg("%s", err.text);
  for (int v = 0; v < 2; v++) {
    f->view[v] = test_reals(BATCH * SIDE * SIDE * 3);
    test_fill_normal(f->view[v], BATCH * SIDE * SIDE * 3, 20 + (uint32_t)v);
  }
  /* Another target than online, as after some steps: else the losses sit where BYOL's gradient is special. */
  for (int i = 0; i < f->m.target.net.parameters; i++) {
    const struct parameter *p = &f->m.target.net.parameter[i];
    if (p->role == ROLE_WEIGHT) init_parameter(p, i, 12, 5, f->m.target.state + p->offset);
  }
  for (int i = 0; i < 5; i++) {
    f->draw[i] = calloc((size_t)(BATCH * f->m.cells), sizeof(int32_t));
    assert_non_null(f->draw[i]);
  }
  step_draw(BATCH, f->m.cells, 1, 0, f->draw, f->draw + 2, f->draw[4]);
  f->draws = (struct step_draws){{f->draw[0], f->draw[1]}, {f->draw[2], f->draw[3]}, f->draw[4]};
}

static void fixture_free(struct fixture *f) {
  model_free(&f->m);
  for (int v = 0; v < 2; v++) free(f->view[v]);
  for (int i = 0; i < 5; i++) free(f->draw[i]);
}

static struct losses accumulate(struct fixture *f, double share) {
  const real *const views[2] = {f->view[0], f->view[1]};
  model_set_draws(&f->m, &f->draws, false);
  model_accumulate(&f->m, views, share, NULL);
  return model_sums(&f->m).last;
}

#if EDIY_REAL_BITS == 64
/* (L(w + h d) - L(w - h d)) / 2h against gradient . d, along a random direction of each parameter tensor. A central difference is off by
 * h^2 L''' / 6, and by rounding of about 1e-15 L / h; where a ReLU changes sides between the two, by up to h |L''| more. With h = 1e-6 all
 * three are below 1e-6 of the size of the gradient unless that is itself rounding: the bound is 2e-5 of the largest derivative seen, 2e-7
 * beside. */
static void check_gradient(struct model_config config, const char *what) {
  struct fixture f;
  fixture_make(&f, config);
  model_zero_gradient(&f.m);
  accumulate(&f, 1);
  const struct net *net = &f.m.online.net;
  real *gradient = test_reals(net->state_size);
  memcpy(gradient, f.m.gradient, (size_t)net->state_size * sizeof(real));
  double scale = 0, worst = 0;
  const char *where = "";
  for (int i = 0; i < net->parameters; i++) {
    const struct parameter *p = &net->parameter[i];
    if (p->role == ROLE_STATISTIC) continue;
    real *w = f.m.online.state + p->offset, *d = test_reals(p->size), *saved = test_reals(p->size);
    test_fill_normal(d, p->size, 100 + (uint32_t)i);
    memcpy(saved, w, (size_t)p->size * sizeof(real));
    double exact = 0, length = 0, at[2];
    for (ptrdiff_t j = 0; j < p->size; j++) length += (double)(d[j] * d[j]);
    for (ptrdiff_t j = 0; j < p->size; j++) d[j] /= sqrt(length), exact += (double)(d[j] * gradient[p->offset + j]);
    const double h = 1e-6;
    for (int side = 0; side < 2; side++) {
      for (ptrdiff_t j = 0; j < p->size; j++) w[j] = saved[j] + (side ? -h : h) * d[j];
      at[side] = accumulate(&f, 1).total;
    }
    memcpy(w, saved, (size_t)p->size * sizeof(real));
    double numeric = (at[0] - at[1]) / (2 * h);
    scale = fmax(scale, fabs(exact));
    if (!(fabs(numeric - exact) <= worst)) worst = fabs(numeric - exact), where = p->name;
    free(d), free(saved);
  }
  if (!(worst <= 2e-5 * scale + 2e-7) || !(scale > 1e-3))
    fail_msg("%s: gradient of %s is off by %.3g, largest derivative %.3g", what, where, worst, scale);
  free(gradient);
  fixture_free(&f);
}

static void gradients_are_differences(void **state) {
  (void)state;
  struct model_config c = small_model(BATCH, SIDE);
  check_gradient(c, "default");
  c.arch.block = BLOCK_BOTTLENECK;
  check_gradient(c, "bottleneck");
  c = small_model(BATCH, SIDE), c.lambda_rdem = 0.1, c.lambda_byol = 0.25;
  check_gradient(c, "lambdas");
  c = small_model(BATCH, SIDE), c.lambda_riem = c.lambda_byol = 0;
  check_gradient(c, "rdem only");
  c = small_model(BATCH, SIDE), c.lambda_rdem = c.lambda_byol = 0;
  check_gradient(c, "riem only");
  c = small_model(BATCH, SIDE), c.region_predictor = true;
  check_gradient(c, "region.predictor = mlp");
  c = small_model(BATCH, SIDE), c.sampler = SAMPLER_RANDOM;
  check_gradient(c, "sampler = random");
  c = small_model(BATCH, SIDE), c.negative = NEGATIVE_INSTANCE;
  check_gradient(c, "rdem.negative = instance");
  c = small_model(BATCH, SIDE), c.similarity = SIMILARITY_DOT, c.teacher_batch = true;
  check_gradient(c, "dot, teacher.bn = batch");
  c = small_model(BATCH, SIDE), c.regions = c.teacher = false;
  check_gradient(c, "plain BYOL");
}
#endif

/* Everything a step changes, to the bit, whatever the number of threads. */
static void threads_change_no_bit(void **state) {
  (void)state;
  static const int threads[] = {1, 2, 3, 5};
  real *expected[3] = {0};
  int most = omp_get_max_threads();
  for (size_t i = 0; i < 4; i++) {
    omp_set_num_threads(threads[i]);
    struct fixture f;
    fixture_make(&f, small_model(BATCH, SIDE));
    for (int k = 0; k < 2; k++) {
      model_zero_gradient(&f.m);
      accumulate(&f, 0.5);
      accumulate(&f, 0.5);
      model_update(&f.m, 0.5, 0.9, NULL);
    }
    real *const blocks[] = {f.m.online.state, f.m.target.state, f.m.momentum};
    const ptrdiff_t sizes[] = {f.m.online.net.state_size, f.m.target.net.state_size, f.m.online.net.state_size};
    for (int b = 0; b < 3; b++) {
      size_t bytes = (size_t)sizes[b] * sizeof(real);
      if (i == 0)
        memcpy(expected[b] = test_reals(sizes[b]), blocks[b], bytes);
      else
        assert_memory_equal(blocks[b], expected[b], bytes);
    }
    fixture_free(&f);
  }
  omp_set_num_threads(most);
  for (int b = 0; b < 3; b++) free(expected[b]);
}

/* A loss of weight 0 reaches nothing: the gradient of its head is exactly 0, and the other gradients are those without it. */
static void zero_lambda_leaves_exact_zeros(void **state) {
  (void)state;
  struct model_config c = small_model(BATCH, SIDE);
  c.lambda_rdem = c.lambda_riem = 0;
  struct fixture f;
  fixture_make(&f, c);
  model_zero_gradient(&f.m);
  struct losses l = accumulate(&f, 1);
  assert_true(l.riem > 0 && l.total == l.byol);
  for (int i = 0; i < f.m.online.net.parameters; i++) {
    const struct parameter *p = &f.m.online.net.parameter[i];
    bool local = strncmp(p->name, "local_projector", 15) == 0, statistic = p->role == ROLE_STATISTIC;
    double most = test_max_abs(f.m.gradient + p->offset, p->size);
    if (local || statistic)
      assert_true(most == 0);
    else if (p->role == ROLE_WEIGHT)
      assert_true(most > 0);
  }
  fixture_free(&f);
}

static void target_follows_and_statistics_do_not(void **state) {
  (void)state;
  struct fixture f;
  fixture_make(&f, small_model(BATCH, SIDE));
  model_zero_gradient(&f.m);
  accumulate(&f, 1);
  const struct net *f_net = &f.m.online.net, *g_net = &f.m.target.net;
  real *before = test_reals(g_net->state_size);
  memcpy(before, f.m.target.state, (size_t)g_net->state_size * sizeof(real));
  model_update(&f.m, 0.1, 0, NULL); /* tau 0: the target becomes online */
  for (int i = 0; i < g_net->parameters; i++) {
    const struct parameter *p = &g_net->parameter[i], *q = &f_net->parameter[net_find_parameter(f_net, p->name)];
    if (p->role == ROLE_STATISTIC)
      assert_all_equal(f.m.target.state + p->offset, before + p->offset, p->size);
    else
      assert_all_close(f.m.target.state + p->offset, f.m.online.state + q->offset, p->size, 4 * REAL_ROUNDOFF * 2);
  }
  free(before);
  fixture_free(&f);
}

struct seen {
  int events, forward, backward, matches, values, updates, averages;
  enum phase last;
};

static void see(void *context, const struct trace_event *e) {
  struct seen *s = context;
  s->events++;
  assert_true(tensor_count(&e->data) > 0 && e->data.data);
  s->forward += e->phase == PHASE_FORWARD && strcmp(e->tensor, "y") == 0;
  s->backward += e->phase == PHASE_BACKWARD && strcmp(e->tensor, "dy") == 0;
  s->matches += e->phase == PHASE_MATCH, s->values += e->phase == PHASE_LOSS;
  s->updates += e->phase == PHASE_OPTIMISER && strcmp(e->tensor, "parameter") == 0, s->averages += e->phase == PHASE_EMA;
  s->last = e->phase;
}

static void the_trace_sees_every_layer(void **state) {
  (void)state;
  struct fixture f;
  fixture_make(&f, small_model(BATCH, SIDE));
  struct seen s = {0};
  const struct trace trace = {.see = see, .context = &s};
  const real *const views[2] = {f.view[0], f.view[1]};
  model_zero_gradient(&f.m);
  model_set_draws(&f.m, &f.draws, false);
  model_accumulate(&f.m, views, 1, &trace);
  model_update(&f.m, 0.1, 0.9, &trace);
  int online = f.m.online.net.layers, parameters = 0, averaged = 0;
  for (int i = 0; i < f.m.online.net.parameters; i++) parameters += f.m.online.net.parameter[i].role != ROLE_STATISTIC;
  for (int i = 0; i < f.m.target.net.parameters; i++) averaged += f.m.target.net.parameter[i].role != ROLE_STATISTIC;
  assert_int_equal(s.forward, 2 * (online + f.m.target.net.layers + f.m.teacher.net.layers));
  assert_int_equal(s.backward, 2 * online);
  assert_int_equal(s.matches, 4);
  assert_int_equal(s.values, 6);
  assert_int_equal(s.updates, parameters);
  assert_int_equal(s.averages, averaged);
  assert_int_equal(s.last, PHASE_EMA);
  fixture_free(&f);
}

static void drawn_regions_are_never_the_region_itself(void **state) {
  (void)state;
  enum { N = 7, IMAGES = 300 };
  static int32_t a[IMAGES * N], b[IMAGES * N], c[IMAGES * N], d[IMAGES * N], other[IMAGES];
  int32_t *far[2] = {a, b}, *near[2] = {c, d};
  step_draw(IMAGES, N, 3, 4, far, near, other);
  int count[N] = {0};
  for (int i = 0; i < IMAGES * N; i++) {
    assert_true(a[i] >= 0 && a[i] < N && a[i] != i % N && c[i] >= 0 && c[i] < N);
    count[(a[i] - i % N + N) % N]++;
  }
  assert_memory_not_equal(a, b, sizeof a);
  /* each of the six distances: n p with sd sqrt(n p q) = 17; six of them */
  for (int k = 1; k < N; k++) assert_true(abs(count[k] - IMAGES * N / 6) < 6 * 18);
  for (int i = 0; i < IMAGES; i++) assert_true(other[i] != i && other[i] >= 0 && other[i] < IMAGES);
  step_draw(1, 1, 3, 4, far, near, other);
  assert_true(a[0] == 0 && c[0] == 0 && other[0] == 0);
}

/* What a backend may have that updates many tensors in one pass, as a loop. */
static int passes, tensors;
static void lars_together(const struct lars *o, int count, const struct lars_part *part, double lr, const int64_t *halt, const real *g,
                          real *w, real *m) {
  assert_true(count >= 1 && count <= UPDATE_PARTS && *halt == 0);
  passes++, tensors += count;
  for (int i = 0; i < count; i++) {
    ptrdiff_t at = part[i].at;
    lars_update(o, part[i].size, part[i].adapt, lr, g + at, w + at, m + at);
  }
}
static void ema_together(int count, const struct ema_part *part, double tau, const int64_t *halt, const real *theta, real *xi) {
  assert_true(count >= 1 && count <= UPDATE_PARTS && *halt == 0);
  passes++, tensors += count;
  for (int i = 0; i < count; i++) ema_update(part[i].size, tau, theta + part[i].from, xi + part[i].to);
}

static void see_nothing(void *context, const struct trace_event *e) { (void)context, (void)e; }

/* Every tensor once, more of them than one pass takes; and whoever watches the update gets the tensors one by one. */
static void an_update_in_passes_is_the_same_update(void **state) {
  (void)state;
  struct backend together = *backend_reference();
  together.lars_update_all = lars_together, together.ema_update_all = ema_together;
  struct model_config c = small_model(BATCH, SIDE);
  c.arch.block = BLOCK_BOTTLENECK;
  struct fixture one, all;
  fixture_make(&one, c), fixture_make(&all, c);
  all.m.backend = &together;
  int expected = 0;
  for (int i = 0; i < one.m.online.net.parameters; i++) expected += one.m.online.net.parameter[i].role != ROLE_STATISTIC;
  assert_true(expected > UPDATE_PARTS);
  for (int i = 0; i < one.m.target.net.parameters; i++) expected += one.m.target.net.parameter[i].role != ROLE_STATISTIC;
  struct trace trace = {.see = see_nothing};
  for (int watched = 0; watched < 2; watched++) {
    passes = tensors = 0;
    accumulate(&one, 1), accumulate(&all, 1);
    model_update(&one.m, 0.3, 0.9, NULL);
    model_update(&all.m, 0.3, 0.9, watched ? &trace : NULL);
    assert_int_equal(tensors, watched ? 0 : expected);
    assert_int_equal(passes, watched ? 0 : 3 /* 2 online, 1 target */);
    size_t online = (size_t)one.m.online.net.state_size * sizeof(real), target = (size_t)one.m.target.net.state_size * sizeof(real);
    assert_memory_equal(one.m.online.state, all.m.online.state, online);
    assert_memory_equal(one.m.momentum, all.m.momentum, online);
    assert_memory_equal(one.m.target.state, all.m.target.state, target);
  }
  fixture_free(&one), fixture_free(&all);
}

/* Powers of two as shares: every product is exact. What was accumulated before model_zero_gradient does not count. */
static void losses_of_a_step_are_sums_of_shares(void **state) {
  (void)state;
  struct fixture f;
  fixture_make(&f, small_model(BATCH, SIDE));
  accumulate(&f, 1);
  model_zero_gradient(&f.m);
  struct losses a = accumulate(&f, 0.5), b = accumulate(&f, 0.25);
  struct loss_sums s = model_sums(&f.m);
  assert_true(s.last.total == b.total && s.sum.total == 0.5 * a.total + 0.25 * b.total);
  assert_true(s.sum.rdem == 0.5 * a.rdem + 0.25 * b.rdem && s.sum.riem == 0.5 * a.riem + 0.25 * b.riem);
  assert_true(s.sum.byol == 0.5 * a.byol + 0.25 * b.byol && s.halt == 0);
  assert_true(a.total == f.m.config.lambda_rdem * a.rdem + f.m.config.lambda_riem * a.riem + f.m.config.lambda_byol * a.byol);
  fixture_free(&f);
}

/* A single number of the gradient, at either end and in between, or the loss alone; one by one, where tensors are updated together the
 * backend looks. A finite gradient goes through. */
static void what_is_not_finite_updates_nothing(void **state) {
  (void)state;
  static const real bad[] = {(real)NAN, (real)INFINITY, (real)-INFINITY, 1};
  struct fixture f;
  fixture_make(&f, small_model(BATCH, SIDE));
  ptrdiff_t size = f.m.online.net.state_size;
  const ptrdiff_t at[] = {0, size / 2, size - 1};
  real *online = test_reals(size), *target = test_reals(f.m.target.net.state_size);
  for (int i = 0; i < 12; i++) {
    model_zero_gradient(&f.m);
    accumulate(&f, 1);
    memcpy(online, f.m.online.state, (size_t)size * sizeof(real));
    memcpy(target, f.m.target.state, (size_t)f.m.target.net.state_size * sizeof(real));
    f.m.gradient[at[i % 3]] = bad[i / 3];
    if (i == 11) f.m.sums->sum.total = NAN;
    model_halt_unless_finite(&f.m);
    model_update(&f.m, 0.5, 0.9, NULL);
    bool halted = i != 9 && i != 10;
    assert_true((model_sums(&f.m).halt != 0) == halted);
    assert_true((memcmp(online, f.m.online.state, (size_t)size * sizeof(real)) == 0) == halted);
    assert_true((memcmp(target, f.m.target.state, (size_t)f.m.target.net.state_size * sizeof(real)) == 0) == halted);
  }
  free(online), free(target);
  fixture_free(&f);
}

static int downloads;
static void counted_download(void *to_host, const void *from, size_t bytes) {
  downloads++;
  memcpy(to_host, from, bytes);
}

/* Over the images in their order, view 1 first; of a large batch, too, nothing is fetched but the sums, when they are asked for. */
static void losses_are_means_fetched_once(void **state) {
  (void)state;
  enum { MANY = 1030, SMALL = 8 };
  struct backend counted = *backend_reference();
  counted.download = counted_download;
  struct model_config c = small_model(BATCH, SIDE);
  c.regions = c.teacher = false;
  c.batch = MANY, c.height = c.width = SMALL, c.arch.base_width = 1;
  struct model m;
  struct error err = {0};
  if (!model_create(&m, &c, &counted, &err) || !model_initialise(&m, 11, &err)) fail_msg("%s", err.text);
  real *view[2];
  for (int v = 0; v < 2; v++) {
    view[v] = test_reals(MANY * SMALL * SMALL * 3);
    test_fill_normal(view[v], MANY * SMALL * SMALL * 3, 20 + (uint32_t)v);
  }
  const real *const views[2] = {view[0], view[1]};
  downloads = 0;
  model_accumulate(&m, views, 1, NULL);
  assert_int_equal(downloads, 0);
  struct losses l = model_sums(&m).last;
  double sum = 0;
  for (int v = 0; v < 2; v++)
    for (int i = 0; i < MANY; i++) sum += m.byol[v][i];
  assert_true(l.byol == sum / MANY && l.total == l.byol && l.byol > 0);
  assert_int_equal(downloads, 1);
  model_free(&m);
  free(view[0]), free(view[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#if EDIY_REAL_BITS == 64
    cmocka_unit_test(gradients_are_differences),
#endif
    cmocka_unit_test(threads_change_no_bit),
    cmocka_unit_test(zero_lambda_leaves_exact_zeros),
    cmocka_unit_test(target_follows_and_statistics_do_not),
    cmocka_unit_test(the_trace_sees_every_layer),
    cmocka_unit_test(drawn_regions_are_never_the_region_itself),
    cmocka_unit_test(an_update_in_passes_is_the_same_update),
    cmocka_unit_test(losses_of_a_step_are_sums_of_shares),
    cmocka_unit_test(what_is_not_finite_updates_nothing),
    cmocka_unit_test(losses_are_means_fetched_once)
  };
  return cmocka_run_group_tests_name("step " REAL_SUFFIX, tests, NULL, NULL);
}
