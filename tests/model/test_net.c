/* The records of a network: published sizes, memory plan, fresh weights, exchange with other frameworks. */
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "model/exchange.h"
#include "model/init.h"
#include "model/net.h"
#include "model/net_run.h"
#include "model/plan.h"

#include "support/cmocka.h"
#include "support/folder.h"
#include "support/support.h"

static struct net build(const char *name, enum stem stem, ptrdiff_t batch, ptrdiff_t h, ptrdiff_t w) {
  struct architecture arch;
  assert_true(architecture_named(name, &arch));
  arch.stem = stem;
  struct net net;
  struct error err = {0};
  if (!net_build(&net, &arch, batch, h, w, &err)) fail_msg("%s", err.text);
  return net;
}

/* torchvision's documented parameter counts less the classifier (512 or 2048 x 1000 + 1000). */
static void sizes_are_torchvisions(void **state) {
  (void)state;
  static const struct {
    const char *name;
    ptrdiff_t parameters, channels;
  } known[] = {{"resnet18", 11689512 - 513000, 512}, {"resnet34", 21797672 - 513000, 512}, {"resnet50", 25557032 - 2049000, 2048}};
  for (size_t i = 0; i < 3; i++) {
    struct net net = build(known[i].name, STEM_IMAGENET, 2, 224, 224);
    ptrdiff_t count = 0;
    for (int p = 0; p < net.parameters; p++)
      if (net.parameter[p].role != ROLE_STATISTIC) count += net.parameter[p].size;
    assert_int_equal(count, known[i].parameters);
    const struct value *map = &net.value[net.map];
    assert_true(map->n == 2 && map->h == 7 && map->w == 7 && map->c == known[i].channels);
    net_free(&net);
  }
}

static void small_images_keep_their_cells(void **state) {
  (void)state;
  struct net net = build("resnet18", STEM_CIFAR, 1, 32, 24);
  assert_true(net.value[net.map].h == 4 && net.value[net.map].w == 3);
  assert_int_equal(net_find_layer(&net, "maxpool"), -1);
  assert_true(net_find_parameter(&net, "layer2.0.downsample.0.weight") >= 0);
  net_free(&net);
}

/* Runs forward and backward of a small network with poisoned memory and leaves output and gradients in the arrays given. */
static void pass(const struct net *net, bool keep_all, int poison, real *map, real *gradient, real *input_gradient) {
  const struct backend *b = backend_reference();
  struct plan plan;
  struct error err = {0};
  if (!plan_make(&plan, net, b, 1, &net->map, true, keep_all, &err)) fail_msg("%s", err.text);
  void *memory, *scratch = NULL;
  real *weights = test_reals(net->state_size);
  assert_true(b->reserve(plan.workspace, &memory, &err) && b->reserve(plan.scratch, &scratch, &err));
  assert_true(init_state(b, net, 3, 0, weights, &err));
  memset(memory, poison, plan.workspace);
  memset(scratch, poison, plan.scratch);
  memset(gradient, 0, (size_t)net->state_size * sizeof(real));
  real *x = test_reals(net->value[0].size);
  test_fill_normal(x, net->value[0].size, 7);
  struct net_run run = {.net = net,
                        .plan = &plan,
                        .backend = b,
                        .state = weights,
                        .gradient = gradient,
                        .workspace = memory,
                        .scratch = scratch,
                        .network = ""};
  net_forward(&run, NET_TRAIN, x);
  ptrdiff_t size = net->value[net->map].size;
  memcpy(map, net_value(&run, net->map), (size_t)size * sizeof(real));
  test_fill_normal(net_gradient(&run, net->map), size, 8);
  net_backward(&run, x);
  memcpy(input_gradient, net_gradient(&run, 0), (size_t)net->value[0].size * sizeof(real));
  b->release(memory, plan.workspace);
  b->release(scratch, plan.scratch);
  plan_free(&plan);
  free(weights);
  free(x);
}

/* Sharing memory must change nothing: a value overwritten too early, or read before it is written, would show against a plan in which
 * nothing shares bytes, and against another poison. */
static void sharing_memory_changes_no_bit(void **state) {
  (void)state;
  for (int bottleneck = 0; bottleneck < 2; bottleneck++) {
    struct architecture arch;
    assert_true(architecture_named("small", &arch));
    arch.block = bottleneck ? BLOCK_BOTTLENECK : BLOCK_BASIC;
    arch.base_width = 4;
    arch.blocks[1] = 2;
    struct net net;
    struct error err = {0};
    assert_true(net_build(&net, &arch, 2, 64, 40, &err));
    ptrdiff_t size = net.value[net.map].size, input = net.value[0].size;
    real *map[3], *gradient[3], *dx[3];
    for (int i = 0; i < 3; i++) {
      map[i] = test_reals(size), gradient[i] = test_reals(net.state_size), dx[i] = test_reals(input);
      pass(&net, i == 0, i == 1 ? 0xff : 0x7b, map[i], gradient[i], dx[i]);
    }
    assert_true(test_max_abs(gradient[0], net.state_size) > 0 && test_max_abs(dx[0], input) > 0);
    for (int i = 1; i < 3; i++) {
      assert_memory_equal(map[0], map[i], (size_t)size * sizeof(real));
      assert_memory_equal(gradient[0], gradient[i], (size_t)net.state_size * sizeof(real));
      assert_memory_equal(dx[0], dx[i], (size_t)input * sizeof(real));
    }
    for (int i = 0; i < 3; i++) free(map[i]), free(gradient[i]), free(dx[i]);
    net_free(&net);
  }
}

static void a_shared_plan_is_smaller(void **state) {
  (void)state;
  struct net net = build("resnet18", STEM_IMAGENET, 4, 64, 64);
  struct plan shared, all, forward;
  struct error err = {0};
  const struct backend *b = backend_reference();
  assert_true(plan_make(&shared, &net, b, 1, &net.map, false, false, &err));
  assert_true(plan_make(&all, &net, b, 1, &net.map, false, true, &err));
  assert_true(plan_make(&forward, &net, b, 0, NULL, false, false, &err));
  assert_true(shared.workspace < all.workspace * 6 / 10);
  assert_true(forward.workspace < shared.workspace / 3);
  plan_free(&shared), plan_free(&all), plan_free(&forward);
  net_free(&net);
}

/* Which cells won is asked by backward only: a plan without it has no place for them, and leaves the same output. Of what shares no bytes
 * every byte of a value, of a norm's statistics and of an index counts. */
static void a_max_pool_that_never_goes_backward_keeps_no_index(void **state) {
  (void)state;
  struct net net;
  struct error err = {0};
  struct architecture arch;
  const struct backend *b = backend_reference();
  bool ok = architecture_named("small", &arch) && net_begin(&net, &arch, 2, 18, 14, 3, &err);
  int norm = net_add_norm(&net, "a", net_add_conv(&net, "b", 0, 4, 3, 1, &ok, &err), -1, true, &ok, &err);
  net.map = net_add_maxpool(&net, "c", norm, &ok, &err);
  assert_true(ok);
  real *x = test_reals(net.value[0].size), *y[2] = {NULL, NULL}, *weights = test_reals(net.state_size);
  test_fill_normal(x, net.value[0].size, 7);
  assert_true(init_state(b, &net, 3, 0, weights, &err));
  size_t workspace[2];
  ptrdiff_t size = net.value[net.map].size;
  for (int backward = 0; backward < 2; backward++) {
    struct plan plan;
    assert_true(plan_make(&plan, &net, b, backward, &net.map, false, true, &err));
    assert_true((plan.saved[2] == PLAN_NONE) == !backward);
    void *memory = NULL, *scratch = NULL;
    assert_true(b->reserve(plan.workspace, &memory, &err) && b->reserve(plan.scratch, &scratch, &err));
    struct net_run run = {
        .net = &net, .plan = &plan, .backend = b, .state = weights, .workspace = memory, .scratch = scratch, .network = ""};
    net_forward(&run, NET_BATCH, x);
    y[backward] = test_reals(size);
    memcpy(y[backward], net_value(&run, net.map), (size_t)size * sizeof(real));
    workspace[backward] = plan.workspace;
    for (int v = 1; v < net.values && backward; v++) workspace[1] -= arena_bytes(net.value[v].size, sizeof(real)); /* the gradients */
    b->release(memory, plan.workspace), b->release(scratch, plan.scratch);
    plan_free(&plan);
  }
  assert_memory_equal(y[0], y[1], (size_t)size * sizeof(real));
  assert_int_equal(workspace[1] - workspace[0], arena_bytes(size, sizeof(int32_t)));
  free(x), free(y[0]), free(y[1]), free(weights);
  net_free(&net);
}

/* A backend with an operation for a convolution and its norm, as far as a plan sees it. */
static void conv_norm(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual, const real *gamma,
                      const real *beta, const real *running_mean, const real *running_var, real *y, void *scratch) {
  (void)g, (void)n, (void)x, (void)w, (void)residual, (void)gamma, (void)beta, (void)running_mean, (void)running_var, (void)y,
      (void)scratch;
}

static bool apart(const struct net *net, const struct plan *plan, int a, int b) {
  size_t from_a = plan->value[a], from_b = plan->value[b];
  size_t to_a = from_a + (size_t)net->value[a].size * sizeof(real), to_b = from_b + (size_t)net->value[b].size * sizeof(real);
  return to_a <= from_b || to_b <= from_a;
}

/* The norm writes while the convolution still reads. In a ResNet all convolutions but those before a shortcut's are followed by their
 * norm. */
static void what_is_computed_as_one_overlaps_nothing_it_reads(void **state) {
  (void)state;
  struct net net = build("resnet50", STEM_IMAGENET, 2, 64, 64);
  struct backend b = *backend_reference();
  struct error err = {0};
  struct plan plan, training;
  b.conv_norm_forward_eval = conv_norm;
  assert_true(plan_make(&plan, &net, &b, 0, NULL, false, false, &err));
  assert_true(plan_make(&training, &net, &b, 1, &net.map, false, false, &err));
  int joined = 0;
  for (int i = 0; i < net.layers; i++) {
    assert_false(training.joined[i]);
    if (!plan.joined[i]) continue;
    const struct layer *conv = &net.layer[i], *norm = &net.layer[i + 1];
    joined++;
    if (conv->x > 0) assert_true(apart(&net, &plan, conv->x, norm->y));
    if (norm->residual > 0) assert_true(apart(&net, &plan, norm->residual, norm->y));
  }
  assert_int_equal(joined, 53 - 4);
  plan_free(&plan), plan_free(&training);
  net_free(&net);
}

/* What a later layer reads, too, has to stand in memory. */
static void an_output_with_two_readers_is_computed_alone(void **state) {
  (void)state;
  struct net net;
  struct plan plan;
  struct error err = {0};
  struct architecture arch;
  struct backend b = *backend_reference();
  b.conv_norm_forward_eval = conv_norm;
  bool ok = architecture_named("small", &arch) && net_begin(&net, &arch, 1, 8, 8, 3, &err);
  int first = net_add_conv(&net, "a", 0, 4, 3, 1, &ok, &err), second = net_add_norm(&net, "b", first, -1, true, &ok, &err);
  int third = net_add_conv(&net, "c", second, 4, 3, 1, &ok, &err);
  net_add_norm(&net, "d", third, first, true, &ok, &err);
  assert_true(ok && plan_make(&plan, &net, &b, 0, NULL, false, false, &err));
  assert_false(plan.joined[0]);
  assert_true(plan.joined[2]);
  plan_free(&plan);
  net_free(&net);
}

/* ---- what operations leave for others ----------------------------------------------------------------------------------------------- */

/* A backend whose convolutions leave for a norm where its input is, but for those of NO_MOMENTS channels, and whose norms leave for their
 * backward where their output is. */
enum { NO_MOMENTS = 512 };
static struct {
  int left;                              /* moments */
  int with_moments, without, with_signs; /* norms forward; norms backward */
} seen;

static size_t room_for_moments(const struct conv *g) { return g->k == NO_MOMENTS ? 0 : sizeof(real *); }
static size_t room_for_signs(const struct norm *g) { return g->relu ? sizeof(real *) : 0; }

static void conv_leaving(const struct conv *g, const real *x, const real *w, real *y, double *moments, void *scratch) {
  backend_reference()->conv_forward(g, x, w, y, scratch);
  memcpy(moments, &y, sizeof y);
  seen.left++;
}

static void norm_finding(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta, real *running_mean,
                         real *running_var, real *y, double *mean, double *invstd, void *scratch) {
  if (g->moments && memcmp(g->moments, &x, sizeof x) != 0) fail_msg("another one's moments, or none any more");
  seen.with_moments += g->moments != NULL, seen.without += !g->moments;
  if (g->signs) memcpy(g->signs, &y, sizeof y);
  backend_reference()->norm_forward_train(g, x, residual, gamma, beta, running_mean, running_var, y, mean, invstd, scratch);
}

static void norm_back(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean, const double *invstd,
                      const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, void *scratch) {
  assert_true((g->signs != NULL) == g->relu);
  if (g->signs && memcmp(g->signs, &y, sizeof y) != 0) fail_msg("another one's signs, or none any more");
  seen.with_signs += g->signs != NULL;
  backend_reference()->norm_backward_train(g, x, y, gamma, mean, invstd, dy, dx, dresidual, dgamma, dbeta, scratch);
}

/* In a bottleneck with a shortcut, other layers stand between the last convolution and its norm. A norm behind a linear layer finds
 * nothing, and none does in evaluation. */
static void what_is_left_is_found_by_whom_it_is_for(void **state) {
  (void)state;
  struct net net;
  struct error err = {0};
  struct architecture arch;
  struct backend b = *backend_reference();
  b.conv_moments = room_for_moments, b.conv_forward_moments = conv_leaving;
  b.norm_signs = room_for_signs, b.norm_forward_train = norm_finding, b.norm_backward_train = norm_back;
  assert_true(architecture_named("resnet50", &arch));
  arch.projector = true, arch.hidden = 8, arch.out = 4;
  if (!net_build(&net, &arch, 2, 32, 32, &err)) fail_msg("%s", err.text);
  int behind_conv = 0, behind_others = 0, open = 0;
  for (int i = 0; i < net.layers; i++) {
    const struct layer *l = &net.layer[i];
    if (l->kind != LAYER_NORM) continue;
    const struct layer *writer = &net.layer[net.value[l->x].writer];
    bool left = writer->kind == LAYER_CONV && writer->shape.conv.k != NO_MOMENTS;
    behind_conv += left, behind_others += !left, open += l->shape.norm.relu;
  }
  assert_true(behind_conv > 0 && behind_others > 0 && open > 0);
  real *x = test_reals(net.value[0].size), *weights = test_reals(net.state_size), *gradient = test_reals(net.state_size);
  test_fill_normal(x, net.value[0].size, 1);
  memset(gradient, 0, (size_t)net.state_size * sizeof(real));
  assert_true(init_state(&b, &net, 3, 0, weights, &err));
  for (int backward = 0; backward < 2; backward++) {
    struct plan plan;
    if (!plan_make(&plan, &net, &b, backward, &net.projection, false, false, &err)) fail_msg("%s", err.text);
    void *memory = NULL, *scratch = NULL;
    assert_true(b.reserve(plan.workspace, &memory, &err) && b.reserve(plan.scratch, &scratch, &err));
    struct net_run run = {.net = &net,
                          .plan = &plan,
                          .backend = &b,
                          .state = weights,
                          .gradient = gradient,
                          .workspace = memory,
                          .scratch = scratch,
                          .network = ""};
    memset(&seen, 0, sizeof seen);
    net_forward(&run, NET_EVAL, x);
    assert_int_equal(seen.left + seen.with_moments + seen.without, 0);
    net_forward(&run, NET_TRAIN, x);
    assert_int_equal(seen.with_moments, behind_conv);
    assert_int_equal(seen.without, behind_others);
    if (backward) net_backward(&run, x);
    assert_int_equal(seen.with_signs, backward ? open : 0);
    b.release(memory, plan.workspace), b.release(scratch, plan.scratch);
    plan_free(&plan);
  }
  free(x), free(weights), free(gradient);
  net_free(&net);
}

static void fresh_weights_are_a_truncated_normal(void **state) {
  (void)state;
  struct net net = build("resnet18", STEM_IMAGENET, 1, 64, 64);
  const struct parameter *p = &net.parameter[net_find_parameter(&net, "layer4.1.conv2.weight")];
  real *w = test_reals(p->size);
  init_parameter(p, 40, 1, 0, w);
  double sigma = 1 / sqrt(9 * 512.0), sum = 0, squares = 0;
  for (ptrdiff_t i = 0; i < p->size; i++) {
    assert_true(fabs((double)w[i]) <= 2 * sigma * (1 + 1e-6));
    sum += (double)w[i], squares += (double)w[i] * (double)w[i];
  }
  double n = (double)p->size, variance = squares / n;
  /* A normal cut off at 2 sigma has variance 0.7737 sigma^2 (1 - 4 phi(2) / (2 Phi(2) - 1)) and fourth moment below 2 sigma^4: six standard
   * errors of the mean and of the variance. */
  assert_true(fabs(sum / n) < 6 * sigma * 0.88 / sqrt(n));
  assert_true(fabs(variance - 0.7737413 * sigma * sigma) < 6 * sigma * sigma * sqrt(2 / n));
  init_parameter(&net.parameter[net_find_parameter(&net, "bn1.weight")], 1, 1, 0, w);
  assert_true(w[0] == 1 && w[63] == 1);
  init_parameter(&net.parameter[net_find_parameter(&net, "bn1.running_mean")], 3, 1, 0, w);
  assert_true(w[0] == 0 && w[63] == 0);
  free(w);
  net_free(&net);
}

static void detectron2_names(void **state) {
  (void)state;
  static const char *const map[][2] = {{"conv1.weight", "stem.conv1.weight"},
                                       {"bn1.running_var", "stem.conv1.norm.running_var"},
                                       {"layer1.0.conv2.weight", "res2.0.conv2.weight"},
                                       {"layer4.2.bn3.bias", "res5.2.conv3.norm.bias"},
                                       {"layer3.0.downsample.0.weight", "res4.0.shortcut.weight"},
                                       {"layer3.0.downsample.1.running_mean", "res4.0.shortcut.norm.running_mean"}};
  for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
    char out[NET_NAME];
    exchange_detectron2_name(map[i][0], out);
    assert_string_equal(out, map[i][1]);
  }
}

static void an_exported_backbone_comes_back(void **state) {
  (void)state;
  struct net net = build("small", STEM_CIFAR, 1, 32, 32);
  real *a = test_reals(net.state_size), *b = test_reals(net.state_size);
  struct error err = {0};
  assert_true(init_state(backend_reference(), &net, 5, 0, a, &err));
  char folder[FOLDER_PATH], path[IN_FOLDER_PATH];
  folder_make(folder);
  snprintf(path, sizeof path, "%s/exported.safetensors", folder);
  if (!exchange_export(&net, a, EXCHANGE_TORCHVISION, NULL, path, &err)) fail_msg("%s", err.text);
  struct safetensors file;
  if (!safetensors_open(&file, path, &err)) fail_msg("%s", err.text);
  const struct tensor *t = safetensors_find(&file, "conv1.weight");
  assert_true(t && t->ndim == 4 && t->shape[0] == 16 && t->shape[1] == 3 && t->shape[2] == 3); /* O I H W */
  assert_non_null(safetensors_find(&file, "layer1.0.bn1.num_batches_tracked"));
  if (!exchange_import(&net, &file, "", false, b, &err)) fail_msg("%s", err.text);
  assert_memory_equal(a, b, (size_t)net.state_size * sizeof(real));
  assert_false(exchange_import(&net, &file, "online.", false, b, &err));
  assert_non_null(strstr(err.text, "online.conv1.weight"));
  safetensors_close(&file);
  unlink(path);
  /* What the import would refuse is not written. */
  a[net.parameter[net_find_parameter(&net, "layer1.0.bn1.running_var")].offset + 2] = (real)NAN;
  assert_false(exchange_export(&net, a, EXCHANGE_TORCHVISION, NULL, path, &err));
  if (!strstr(err.text, "not written: ") || !strstr(err.text, "tensor layer1.0.bn1.running_var holds ") ||
      !strstr(err.text, "at element 2"))
    fail_msg("%s", err.text);
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(rmdir(folder), 0);
  free(a), free(b);
  net_free(&net);
}

static void impossible_shapes_are_refused(void **state) {
  (void)state;
  struct architecture arch;
  struct net net;
  struct error err = {0};
  assert_false(architecture_named("resnet51", &arch));
  assert_true(architecture_named("resnet50", &arch));
  assert_false(net_build(&net, &arch, 0, 224, 224, &err));
  assert_false(net_build(&net, &arch, (ptrdiff_t)1 << 50, 224, 224, &err));
  assert_non_null(strstr(err.text, "choose a smaller batch"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(sizes_are_torchvisions),
                                     cmocka_unit_test(small_images_keep_their_cells),
                                     cmocka_unit_test(sharing_memory_changes_no_bit),
                                     cmocka_unit_test(a_shared_plan_is_smaller),
                                     cmocka_unit_test(a_max_pool_that_never_goes_backward_keeps_no_index),
                                     cmocka_unit_test(what_is_computed_as_one_overlaps_nothing_it_reads),
                                     cmocka_unit_test(an_output_with_two_readers_is_computed_alone),
                                     cmocka_unit_test(what_is_left_is_found_by_whom_it_is_for),
                                     cmocka_unit_test(fresh_weights_are_a_truncated_normal),
                                     cmocka_unit_test(detectron2_names),
                                     cmocka_unit_test(an_exported_backbone_comes_back),
                                     cmocka_unit_test(impossible_shapes_are_refused)};
  return cmocka_run_group_tests_name("net " REAL_SUFFIX, tests, NULL, NULL);
}
