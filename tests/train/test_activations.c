/* A model whose activations are bf16: what crosses over to the host, and what watches it. real is float. */
#include <math.h>
#include <string.h>

#include "eval/collapse.h"
#include "model/init.h"
#include "model/step.h"
#include "op/activation.h"
#include "support/cmocka.h"
#include "support/small_model.h"
#include "support/support.h"
#include "train/watch.h"

#include "support/bf16_table.h"

enum { BATCH = 4, SIDE = 16, PIXELS = BATCH * SIDE * SIDE * 3 };

static struct backend bf16;

struct fixture {
  struct model m;
  real *view[2];
};

static void fixture_make(struct fixture *f, const struct backend *b) {
  struct model_config c = small_model(BATCH, SIDE);
  struct error err = {0};
  if (!model_create(&f->m, &c, b, &err) || !model_initialise(&f->m, 11, &err)) fail_msg("%s", err.text);
  for (int v = 0; v < 2; v++) test_fill_normal(f->view[v] = test_reals(PIXELS), PIXELS, 20 + (uint32_t)v);
}

static void fixture_free(struct fixture *f) {
  model_free(&f->m);
  free(f->view[0]), free(f->view[1]);
}

static void step(struct fixture *f, const struct trace *trace) {
  const real *const views[2] = {f->view[0], f->view[1]};
  model_zero_gradient(&f->m);
  model_accumulate(&f->m, views, 1, trace);
}

static void they_are_widened_in_place(void **state) {
  (void)state;
  enum { N = 70000 };
  uint16_t *half = malloc(N * sizeof *half);
  real *x = test_reals(N);
  for (int i = 0; i < N; i++) half[i] = bf16_round((real)i - 1000);
  activation_download(&bf16, N, x, (const real *)(const void *)half);
  for (int i = 0; i < N; i++) assert_true(x[i] == bf16_widen(half[i]));
  assert_int_equal(activation_dtype(&bf16), DTYPE_BF16);
  assert_int_equal(activation_dtype(backend_reference()), DTYPE_F32);
  free(half), free(x);
}

static void the_networks_read_views_as_activations(void **state) {
  (void)state;
  struct fixture f;
  fixture_make(&f, &bf16);
  step(&f, NULL);
  for (int v = 0; v < 2; v++) {
    real *input = bf16_read(f.m.input[v], PIXELS);
    for (int i = 0; i < PIXELS; i++) assert_true(input[i] == bf16_widen(bf16_round(f.view[v][i])));
    free(input);
  }
  fixture_free(&f);
  fixture_make(&f, backend_reference());
  assert_null(f.m.input[0]);
  fixture_free(&f);
}

struct seen {
  int activations, reals;
};

static void see(void *context, const struct trace_event *e) {
  struct seen *s = context;
  bool activation = strcmp(e->tensor, "y") == 0 || strcmp(e->tensor, "dy") == 0;
  enum dtype expected = e->phase == PHASE_MATCH ? DTYPE_I32 : e->phase == PHASE_LOSS ? DTYPE_F64 : activation ? DTYPE_BF16 : DTYPE_F32;
  if (e->data.dtype != expected) fail_msg("%s is %s", e->data.name, dtype_name(e->data.dtype));
  *(activation ? &s->activations : &s->reals) += 1;
  for (ptrdiff_t i = 0; i < tensor_count(&e->data); i++)
    if (!isfinite(tensor_at(&e->data, i))) fail_msg("%s[%td] is not finite", e->data.name, i);
}

static void who_watches_sees_activations_as_bf16(void **state) {
  (void)state;
  struct fixture f;
  struct seen seen = {0};
  fixture_make(&f, &bf16);
  step(&f, &(struct trace){.see = see, .context = &seen});
  assert_true(seen.activations > 50 && seen.reals > 50);
  fixture_free(&f);
}

static void diagnostics_are_of_the_widened(void **state) {
  (void)state;
  struct fixture f;
  struct watch w;
  struct record r;
  struct error err;
  fixture_make(&f, &bf16);
  assert_true(watch_create(&w, &f.m, ranks_alone(), &err));
  step(&f, NULL);
  watch_diagnose(&w, &r);
  ptrdiff_t c = f.m.config.arch.out, rows = BATCH * f.m.cells;
  real *q = bf16_read(f.m.q[0], BATCH * c), *region = bf16_read(f.m.r[0], rows * c);
  double *scratch = malloc((size_t)collapse_scratch(rows, c) * sizeof *scratch);
  assert_true(r.std_global == collapse_std(BATCH, c, q, NULL, scratch));
  assert_true(r.std_local == collapse_std(rows, c, region, NULL, scratch));
  free(q), free(region), free(scratch);
  watch_free(&w);
  fixture_free(&f);
}

/* A weight that is infinite: the first activation that is not finite is named. */
static void what_is_not_finite_is_found_in_bf16(void **state) {
  (void)state;
  struct fixture f;
  struct watch w;
  struct error err;
  char text[256];
  fixture_make(&f, &bf16);
  assert_true(watch_create(&w, &f.m, ranks_alone(), &err));
  const struct net *net = &f.m.target.net;
  f.m.target.state[net->parameter[net_find_parameter(net, "layer1.0.conv1.weight")].offset] = (real)INFINITY;
  const real *const views[2] = {f.view[0], f.view[1]};
  assert_true(watch_locate(&w, views, 1, text, sizeof text));
  assert_string_equal(text, "target layer1.0.conv1 y, view 1, forward");
  watch_free(&w);
  fixture_free(&f);
}

int main(void) {
  bf16 = backend_bf16_over(backend_reference());
  const struct CMUnitTest tests[] = {cmocka_unit_test(they_are_widened_in_place), cmocka_unit_test(the_networks_read_views_as_activations),
                                     cmocka_unit_test(who_watches_sees_activations_as_bf16),
                                     cmocka_unit_test(diagnostics_are_of_the_widened),
                                     cmocka_unit_test(what_is_not_finite_is_found_in_bf16)};
  return cmocka_run_group_tests_name("activations", tests, NULL, NULL);
}
