/* The runner of whole steps, held to steps composed of cases of their parts: backbone, mlp, avgpool, match, loss, lars, ema. */
#include "oracle/composed.h"

#include "model/exchange.h"
#include "model/net.h"

/* ---- a network ---------------------------------------------------------------------------------------------------------------------- */

enum { MOST_TENSORS = 96 };

/* Named tensors of a network, in PyTorch's order: its state, or a gradient or momentum of it. */
struct network {
  int count;
  char name[MOST_TENSORS][NET_NAME];
  struct numbers at[MOST_TENSORS];
  enum role role[MOST_TENSORS];
};

static struct numbers value_drawn(const struct parameter *p, uint32_t stream) {
  ptrdiff_t shape[4];
  int ndim = exchange_shape(p, shape);
  bool mean_one = p->role != ROLE_WEIGHT && (strstr(p->name, ".weight") || strstr(p->name, "running_var"));
  if (p->role == ROLE_WEIGHT) return drawn(ndim, shape, 0, 1 / sqrt((double)(p->size / shape[0])), stream);
  struct numbers n = drawn(ndim, shape, mean_one ? 1 : 0, 0.2, stream);
  for (ptrdiff_t i = 0; mean_one && i < n.count; i++) n.at[i] = fmax(n.at[i], 0.25);
  return n;
}

static struct network network_drawn(const struct architecture *arch, uint32_t stream) {
  struct network n = {.count = 0};
  struct net net;
  if (!net_build(&net, arch, 1, 16, 16, &err)) fail_msg("%s", err.text);
  assert_true(net.parameters <= MOST_TENSORS);
  for (int i = 0; i < net.parameters; i++) {
    snprintf(n.name[i], sizeof n.name[i], "%s", net.parameter[i].name);
    n.role[i] = net.parameter[i].role;
    n.at[i] = value_drawn(&net.parameter[i], stream + (uint32_t)i);
  }
  n.count = net.parameters;
  net_free(&net);
  return n;
}

/* The same names with zeros. */
static struct network zeros_like(const struct network *n) {
  struct network z = *n;
  for (int i = 0; i < n->count; i++) z.at[i] = zeros(n->at[i].ndim, n->at[i].shape);
  return z;
}

static struct numbers *of_network(struct network *n, const char *name) {
  for (int i = 0; i < n->count; i++)
    if (strcmp(n->name[i], name) == 0) return &n->at[i];
  fail_msg("no %s", name);
  return NULL;
}

static bool is_statistic(const struct network *n, int i) { return n->role[i] == ROLE_STATISTIC; }

static void give_network(const struct network *n, const char *prefix, bool statistics) {
  char name[TENSOR_MAX_NAME];
  for (int i = 0; i < n->count; i++) {
    snprintf(name, sizeof name, "%s%s", prefix, n->name[i]);
    if (statistics || !is_statistic(n, i)) give(name, n->at[i]);
  }
}

/* ---- a part of it, as a case -------------------------------------------------------------------------------------------------------- */

/* Whether a tensor belongs to the backbone (part null), or to the head of this name, with its dot. */
static bool in_part(const char *name, const char *part) {
  if (part) return strncmp(name, part, strlen(part)) == 0;
  return !strstr(name, "projector.") && !strstr(name, "predictor.");
}

static size_t skipped(const char *part) { return part ? strlen(part) : 0; }

/* Gives the parameters and statistics of a part under their names in it. */
static void give_part(const struct network *n, const char *part) {
  char name[TENSOR_MAX_NAME];
  for (int i = 0; i < n->count; i++) {
    snprintf(name, sizeof name, "param.%s", n->name[i] + skipped(part));
    if (in_part(n->name[i], part)) give(name, n->at[i]);
  }
}

/* After a pass in train mode: statistics move; after one with a gradient, that is added to dn. */
static void take_part(struct network *n, const char *part, struct network *dn) {
  char name[TENSOR_MAX_NAME];
  for (int i = 0; i < n->count; i++) {
    if (!in_part(n->name[i], part) || is_statistic(n, i) == (dn != NULL)) continue;
    snprintf(name, sizeof name, "%s%s", dn ? "grad_param." : "out.", n->name[i] + skipped(part));
    struct numbers r = inner_result(name);
    if (!dn) n->at[i] = r;
    for (ptrdiff_t k = 0; dn && k < r.count; k++) dn->at[i].at[k] += r.at[k];
  }
}

/* ---- what a step is made of --------------------------------------------------------------------------------------------------------- */

enum { BATCH = 4, HEIGHT = 16, WIDTH = 24, CELLS = 6, WIDTH_OF_STEM = 2, CHANNELS = 16, HIDDEN = 5, OUT = 3 };

struct options {
  int steps, accumulation;
  const char *sampler, *similarity, *negative, *stopgrad, *teacher_bn, *variant;
  double lambda[3];
};
static struct options o;

static const double trust = 0.0625, lars_momentum = 0.75, decay = 0.03125;

/* One pass over the backbone. dmap: no tensor, or the gradient of the map, which is added to dn and returned by the input. */
static struct numbers backbone_pass(struct network *n, struct numbers x, const char *mode, struct numbers dmap, struct network *dn,
                                    struct numbers *pooled) {
  inner_begin("backbone");
  set_text("block", "basic"), set_text("blocks", "1,1,1,1"), set_text("stem", "cifar"), set_text("mode", mode);
  set_integer("base_width", WIDTH_OF_STEM), set_text("values", "stored");
  set_number("bn_eps", composed.eps), set_number("bn_momentum", composed.momentum);
  set_integer("batch", BATCH), set_integer("height", HEIGHT), set_integer("width", WIDTH);
  give("in.x", x), give_part(n, NULL);
  if (dmap.at) give("grad_out.map", dmap), inner_ask("grad_in.x");
  inner_compute(composed.bits);
  struct numbers map = inner_result("out.map");
  if (pooled) *pooled = inner_result("out.pooled");
  if (dmap.at) take_part(n, NULL, dn);
  if (!dmap.at && composed.train) take_part(n, NULL, NULL);
  inner_end();
  return map;
}

/* One pass over a head; with a gradient dy of what it gives, the gradient of x. */
static struct numbers head_pass(struct network *n, const char *head, struct numbers x, struct numbers dy, struct network *dn) {
  inner_begin("mlp");
  set_text("mode", "train"), set_number("bn_eps", composed.eps), set_number("bn_momentum", composed.momentum);
  give("in.x", x), give_part(n, head);
  if (dy.at) give("grad_out.y", dy);
  inner_compute(composed.bits);
  struct numbers result = inner_result(dy.at ? "grad_in.x" : "out.y");
  take_part(n, head, dy.at ? dn : NULL);
  inner_end();
  return result;
}

/* A map as regions, and back: the same numbers in another shape. */
static struct numbers reshaped(struct numbers n, int ndim, const ptrdiff_t *shape) {
  n.ndim = ndim;
  for (int d = 0; d < ndim; d++) n.shape[d] = shape[d];
  return n;
}
static struct numbers regions_of(struct numbers map) { return reshaped(map, SHAPE(BATCH, CELLS, CHANNELS)); }

/* Dimensions before the images are taken away: element `at` of K x A micro-batches, of this shape. */
static struct numbers part_of(struct numbers n, int at, int leading) {
  struct numbers p = {.ndim = n.ndim - leading, .count = 1};
  for (int d = 0; d < p.ndim; d++) p.count *= p.shape[d] = n.shape[d + leading];
  p.at = n.at + at * p.count;
  return p;
}

struct step_state {
  struct network online, target, teacher, gradient, momentum;
};

/* What is drawn, or recorded, over all micro-batches. */
struct course {
  struct numbers view[2], index[4], negative; /* index: d1 d2 s12 s21 */
  struct numbers loss[4];                     /* rdem riem byol total */
  struct numbers first[5][2];                 /* t q z r g of the first micro-batch */
};
static const char *const index_names[] = {"d1", "d2", "s12", "s21"}, *const loss_names[] = {"rdem", "riem", "byol", "total"};

struct micro_batch {
  struct numbers t[2], map[2], pooled[2], projection[2], q[2], z[2], r[2], g[2], dq[2], dr[2];
};

static void match_regions(const struct micro_batch *b, struct course *c, int at) {
  inner_begin("match");
  set_text("similarity", o.similarity), give("in.t1", b->t[0]), give("in.t2", b->t[1]), inner_compute(composed.bits);
  for (int i = 0; i < 4; i++) {
    char name[16];
    snprintf(name, sizeof name, "out.%s", index_names[i]);
    struct numbers to = part_of(c->index[i], at, 2), from = inner_result(name);
    memcpy(to.at, from.at, (size_t)to.count * sizeof(double));
  }
  inner_end();
}

/* Losses, and their gradients by q and r. */
static void take_losses(struct micro_batch *b, struct course *c, int at) {
  char name[16];
  inner_begin("loss");
  set_number("lambda1", o.lambda[0]), set_number("lambda2", o.lambda[1]), set_number("lambda3", o.lambda[2]);
  set_text("rdem_stopgrad", o.stopgrad), set_text("rdem_negative", o.negative);
  give("in.q1", b->q[0]), give("in.q2", b->q[1]), give("in.z1", b->z[0]), give("in.z2", b->z[1]);
  give("in.r1", b->r[0]), give("in.r2", b->r[1]), give("in.g1", b->g[0]), give("in.g2", b->g[1]);
  for (int i = 0; i < 4; i++) snprintf(name, sizeof name, "in.%s", index_names[i]), give_index(name, part_of(c->index[i], at, 2));
  if (c->negative.at) give_index("in.neg", part_of(c->negative, at, 2));
  inner_compute(composed.bits);
  for (int i = 0; i < 4; i++) snprintf(name, sizeof name, "out.%s", loss_names[i]), c->loss[i].at[at] = inner_result(name).at[0];
  for (int v = 0; v < 2; v++) {
    b->dq[v] = inner_result(v ? "grad_in.q2" : "grad_in.q1"), b->dr[v] = inner_result(v ? "grad_in.r2" : "grad_in.r1");
    for (ptrdiff_t i = 0; i < b->dq[v].count; i++) b->dq[v].at[i] /= o.accumulation; /* a power of two */
    for (ptrdiff_t i = 0; i < b->dr[v].count; i++) b->dr[v].at[i] /= o.accumulation;
  }
  inner_end();
}

/* From the gradients of q and r back through the heads and the backbone. s->online: statistics have moved already, and are not read. */
static void backward(struct step_state *s, const struct micro_batch *b, int v, struct numbers x) {
  struct network *n = &s->online, *dn = &s->gradient;
  struct numbers dp = head_pass(n, "predictor.", b->projection[v], b->dq[v], dn);
  struct numbers dpooled = head_pass(n, "projector.", b->pooled[v], dp, dn);
  struct numbers dregions = head_pass(n, "local_projector.", regions_of(b->map[v]), b->dr[v], dn);
  inner_begin("avgpool");
  give("in.x", b->map[v]), give("grad_out.y", dpooled), give("in.before.x", reshaped(dregions, b->map[v].ndim, b->map[v].shape));
  inner_compute(composed.bits);
  struct numbers dmap = inner_result("grad_in.x");
  inner_end();
  backbone_pass(n, x, "train", dmap, dn, NULL);
}

static void accumulate(struct step_state *s, struct course *c, int at) {
  const struct numbers none = {.at = NULL};
  struct micro_batch b;
  struct numbers x[2] = {part_of(c->view[0], at, 2), part_of(c->view[1], at, 2)};
  composed.train = false; /* the teacher's statistics stay, of which kind they are */
  for (int v = 0; v < 2; v++)
    b.t[v] = regions_of(backbone_pass(&s->teacher, x[v], strcmp(o.teacher_bn, "batch") == 0 ? "train" : "eval", none, NULL, NULL));
  composed.train = true;
  if (strcmp(o.sampler, "teacher") == 0) match_regions(&b, c, at);
  for (int v = 0; v < 2; v++) {
    b.map[v] = backbone_pass(&s->target, x[v], "train", none, NULL, &b.pooled[v]);
    b.z[v] = head_pass(&s->target, "projector.", b.pooled[v], none, NULL);
    b.g[v] = head_pass(&s->target, "local_projector.", regions_of(b.map[v]), none, NULL);
  }
  for (int v = 0; v < 2; v++) {
    b.map[v] = backbone_pass(&s->online, x[v], "train", none, NULL, &b.pooled[v]);
    b.projection[v] = head_pass(&s->online, "projector.", b.pooled[v], none, NULL);
    b.q[v] = head_pass(&s->online, "predictor.", b.projection[v], none, NULL);
    b.r[v] = head_pass(&s->online, "local_projector.", regions_of(b.map[v]), none, NULL);
  }
  take_losses(&b, c, at);
  for (int v = 0; v < 2; v++) backward(s, &b, v, x[v]);
  for (int v = 0; v < 2 && at == 0; v++)
    c->first[0][v] = b.t[v], c->first[1][v] = b.q[v], c->first[2][v] = b.z[v], c->first[3][v] = b.r[v], c->first[4][v] = b.g[v];
}

static void lars(struct step_state *s, double lr) {
  char name[3][TENSOR_MAX_NAME];
  inner_begin("lars");
  set_text("variant", o.variant), set_number("trust", trust), set_number("momentum", lars_momentum), set_number("weight_decay", decay);
  set_integer("steps", 1), give("in.lr", listed(SHAPE(1), LIST(lr)));
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < s->online.count; i++) {
      if (is_statistic(&s->online, i)) continue;
      const char *kind = s->online.at[i].ndim > 1 ? "weight" : "vector", *key = s->online.name[i];
      snprintf(name[0], sizeof name[0], pass ? "out.param.0.%s.%s" : "param.%s.%s", kind, key);
      snprintf(name[1], sizeof name[1], pass ? "out.momentum.0.%s.%s" : "in.momentum.%s.%s", kind, key);
      snprintf(name[2], sizeof name[2], "in.grad.0.%s.%s", kind, key);
      if (pass)
        s->online.at[i] = inner_result(name[0]), s->momentum.at[i] = inner_result(name[1]);
      else
        give(name[0], s->online.at[i]), give(name[1], s->momentum.at[i]), give(name[2], s->gradient.at[i]);
    }
    if (pass == 0) inner_compute(composed.bits);
  }
  inner_end();
}

static void average(struct step_state *s, double tau) {
  char name[32];
  struct numbers *to[MOST_TENSORS];
  int n = 0;
  inner_begin("ema");
  give("in.tau", listed(SHAPE(1), LIST(tau)));
  for (int i = 0; i < s->target.count; i++) {
    if (is_statistic(&s->target, i)) continue;
    snprintf(name, sizeof name, "in.target.%d", n), give(name, s->target.at[i]);
    snprintf(name, sizeof name, "in.online.0.%d", n), give(name, *of_network(&s->online, s->target.name[i]));
    to[n++] = &s->target.at[i];
  }
  inner_compute(composed.bits);
  for (int i = 0; i < n; i++) snprintf(name, sizeof name, "out.target.0.%d", i), *to[i] = inner_result(name);
  inner_end();
}

/* ---- cases -------------------------------------------------------------------------------------------------------------------------- */

static void set_options(const struct architecture *arch) {
  set_text("block", "basic"), set_text("blocks", "1,1,1,1"), set_text("stem", "cifar"), set_text("values", "stored");
  set_integer("base_width", WIDTH_OF_STEM), set_number("bn_eps", arch->bn_eps), set_number("bn_momentum", arch->bn_momentum);
  set_integer("batch", BATCH), set_integer("height", HEIGHT), set_integer("width", WIDTH), set_integer("regions", CELLS);
  set_integer("hidden", HIDDEN), set_integer("out", OUT), set_integer("steps", o.steps), set_integer("accumulation", o.accumulation);
  set_number("lambda1", o.lambda[0]), set_number("lambda2", o.lambda[1]), set_number("lambda3", o.lambda[2]);
  set_text("rdem_stopgrad", o.stopgrad), set_text("rdem_negative", o.negative), set_text("sampler", o.sampler);
  set_text("similarity", o.similarity), set_text("teacher_bn", o.teacher_bn), set_text("lars_variant", o.variant);
  set_number("trust", trust), set_number("momentum", lars_momentum), set_number("weight_decay", decay);
}

/* Views, and the indices that are drawn: of each region another, of each image another. */
static struct course course_drawn(void) {
  struct course c = {.negative = {.at = NULL}};
  struct philox g = philox_stream(5, PHILOX_TEST, 41, 0, 0);
  for (int v = 0; v < 2; v++) c.view[v] = drawn(SHAPE(o.steps, o.accumulation, BATCH, HEIGHT, WIDTH, 3), 0, 1, 900 + (uint32_t)v);
  for (int i = 0; i < 4; i++) {
    c.index[i] = zeros(SHAPE(o.steps, o.accumulation, BATCH, CELLS)), c.loss[i] = zeros(SHAPE(o.steps, o.accumulation));
    for (ptrdiff_t k = 0; k < c.index[i].count; k++) c.index[i].at[k] = philox_below(&g, CELLS);
  }
  if (strcmp(o.negative, "instance") != 0) return c;
  c.negative = zeros(SHAPE(o.steps, o.accumulation, BATCH));
  for (ptrdiff_t k = 0; k < c.negative.count; k++) c.negative.at[k] = (double)((k + 1 + philox_below(&g, BATCH - 1)) % BATCH);
  return c;
}

static void give_inputs(const struct step_state *s, const struct course *c, struct numbers lr, struct numbers tau) {
  char name[16];
  give("in.view1", c->view[0]), give("in.view2", c->view[1]), give("in.lr", lr), give("in.tau", tau);
  for (int i = 0; i < 4 && strcmp(o.sampler, "random") == 0; i++)
    snprintf(name, sizeof name, "in.%s", index_names[i]), give_index(name, listed(c->index[i].ndim, c->index[i].shape, c->index[i].at));
  if (c->negative.at) give_index("in.neg", c->negative);
  give_network(&s->online, "param.online.", true), give_network(&s->target, "param.target.", true);
  give_network(&s->teacher, "param.teacher.", true);
}

/* Results of the first micro-batch, and all indices. */
static void expect_first(const struct course *c) {
  static const char *const names[] = {"t", "q", "z", "r", "g"};
  char name[24];
  for (int i = 0; i < 4; i++) snprintf(name, sizeof name, "out.%s", index_names[i]), give_index(name, c->index[i]);
  for (int i = 0; i < 5; i++)
    for (int v = 0; v < 2; v++) snprintf(name, sizeof name, "out.first.%s%d", names[i], v + 1), give(name, c->first[i][v]);
}

/* Writes a case of these options, with everything that is expected if whole, else with what is the same to the bit. */
static void begin_step(int bits, bool whole) {
  struct architecture arch = {.block = BLOCK_BASIC,
                              .blocks = {1, 1, 1, 1},
                              .base_width = WIDTH_OF_STEM,
                              .stem = STEM_CIFAR,
                              .hidden = HIDDEN,
                              .out = OUT,
                              .bn_eps = 0x1p-6,
                              .bn_momentum = 0.125};
  char name[16];
  struct step_state s = {.teacher = network_drawn(&arch, 100)};
  arch.projector = arch.local_projector = true;
  s.target = network_drawn(&arch, 300);
  arch.predictor = true;
  s.online = network_drawn(&arch, 500), s.momentum = zeros_like(&s.online);
  composed.bits = bits, composed.eps = arch.bn_eps, composed.momentum = arch.bn_momentum;
  struct course c = course_drawn();
  struct numbers lr = listed(SHAPE(o.steps), LIST(0.5, 0.25)), tau = listed(SHAPE(o.steps), LIST(0.75, 0.5));
  begin("step");
  set_options(&arch), give_inputs(&s, &c, lr, tau);
  for (int k = 0; k < o.steps; k++) {
    s.gradient = zeros_like(&s.online);
    for (int a = 0; a < o.accumulation; a++) accumulate(&s, &c, k * o.accumulation + a);
    if (k == 0 && whole) give_network(&s.gradient, "grad_param.online.", false);
    lars(&s, lr.at[k]), average(&s, tau.at[k]);
  }
  expect_first(&c);
  if (!whole) return;
  for (int i = 0; i < 4; i++) snprintf(name, sizeof name, "out.%s", loss_names[i]), give(name, c.loss[i]);
  give_network(&s.online, "out.online.", true), give_network(&s.target, "out.target.", true);
  give_network(&s.momentum, "out.momentum.", false);
}

/* The paper's choices, and all others. */
static const struct options ours = {2, 2, "teacher", "cosine", "region", "none", "running", "byol", {0.75, 0.5, 1.25}};
static const struct options other_samples = {2, 2, "random", "cosine", "instance", "none", "batch", "openselfsup", {0.75, 0.5, 1.25}};
static const struct options other_matches = {1, 1, "teacher", "dot", "region", "match", "batch", "byol", {0.5, 0.25, 0}};

static void a_step_is_its_parts_one_after_the_other(void **state) {
  (void)state;
  o = ours;
  begin_step(64, true), holds(64);
}

static void every_option_reaches_its_part(void **state) {
  (void)state;
  o = other_samples, begin_step(64, true), holds(64), forget(NULL);
  o = other_matches, begin_step(64, true), holds(64);
}

/* In float, to the bit: what comes before the first update and the first sum over views. */
static void the_first_pass_in_float_has_the_same_bits(void **state) {
  (void)state;
  const struct options *all[] = {&ours, &other_samples, &other_matches};
  for (int i = 0; i < 3; i++) {
    o = *all[i], o.steps = o.accumulation = 1;
    begin_step(32, false), w.name = "int_step", holds_in_part(32), forget(NULL);
  }
}

static void formulas_stand_for_what_is_stored(void **state) {
  (void)state;
  o = other_samples, o.accumulation = 1;
  for (int bits = 32; bits <= 64; bits += 32) {
    begin_step(bits, false), w.name = "int_step";
    leave_to_formulas(bits, 77), holds(bits), forget(NULL);
  }
}

static void every_phase_is_watched(void **state) {
  (void)state;
  int seen[PHASE_EMA + 1];
  o = ours, begin_step(64, false), watch(64, seen);
  for (int phase = 0; phase <= PHASE_EMA; phase++) assert_true(seen[phase] > 0);
}

static void step_refuses_what_does_not_fit(void **state) {
  (void)state;
  o = other_samples, o.steps = o.accumulation = 1, begin_step(64, false);
  set_integer("regions", CELLS + 1);
  refused("attribute \"regions\" is 7, expected 6 to 6");
  set_integer("regions", CELLS);
  for (int i = 0; i < w.count; i++)
    if (strcmp(w.tensor[i].name, "in.neg") == 0) memcpy(w.tensor[i].data, &(int64_t){BATCH}, sizeof(int64_t));
  refused("tensor in.neg: element 0 is 4, expected 0 to 3");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(a_step_is_its_parts_one_after_the_other, forget),
      cmocka_unit_test_teardown(every_option_reaches_its_part, forget),
      cmocka_unit_test_teardown(the_first_pass_in_float_has_the_same_bits, forget),
      cmocka_unit_test_teardown(formulas_stand_for_what_is_stored, forget),
      cmocka_unit_test_teardown(every_phase_is_watched, forget),
      cmocka_unit_test_teardown(step_refuses_what_does_not_fit, forget),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
