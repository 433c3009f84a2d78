/* The runners of a residual block and of a backbone, held to the bit, in both precisions, to the same network composed of single
 * operations; weights in the order of PyTorch, sizes that are all different. */
#include "oracle/composed.h"

static const int both[] = {32, 64};

static void set_norm(void) {
  composed.eps = 0x1p-8, composed.momentum = 0.125;
  set_number("bn_eps", composed.eps), set_number("bn_momentum", composed.momentum);
}

/* ---- block -------------------------------------------------------------------------------------------------------------------------- */

/* A block whose inputs are given, and what is expected of it. */
static void begin_block(int bits, bool bottleneck, ptrdiff_t c, ptrdiff_t planes, ptrdiff_t stride) {
  begin("block");
  w.name = "int_block";
  composed.bits = bits, composed.train = true;
  struct residual_block b = block_drawn("", bottleneck, c, planes, stride, 1);
  struct numbers x = drawn(SHAPE(2, 6, 8, c), 0, 1, 1);
  set_norm(), set_text("block", bottleneck ? "bottleneck" : "basic"), set_integer("stride", stride), set_integer("planes", planes);
  set_flag("downsample", b.projects), set_text("mode", "train");
  give("in.x", x), block_visit(&b, unit_give_parameters, "param."), block_visit(&b, unit_give_statistics, "param.");
  struct numbers y = block_forward(&b, x), dy = drawn(y.ndim, y.shape, 0, 1, 2);
  give("out.y", y), give("grad_out.y", dy), block_visit(&b, unit_give_statistics, "out.");
  give("grad_in.x", block_backward(&b, dy)), block_visit(&b, unit_give_gradients, "grad_param.");
}

static void blocks_are_their_layers_one_after_the_other(void **state) {
  (void)state;
  static const struct {
    bool bottleneck;
    ptrdiff_t c, planes, stride;
  } blocks[] = {{false, 3, 3, 1}, {false, 3, 5, 1}, {false, 3, 3, 2}, {true, 8, 2, 1}, {true, 3, 2, 1}, {true, 8, 2, 2}};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    for (int p = 0; p < 2; p++) {
      begin_block(both[p], blocks[i].bottleneck, blocks[i].c, blocks[i].planes, blocks[i].stride);
      holds(both[p]), forget(NULL);
    }
}

static void block_refuses_what_contradicts_itself(void **state) {
  (void)state;
  begin_block(64, false, 3, 5, 1);
  set_flag("downsample", false);
  refused("attribute \"downsample\" does not follow from stride and channels");
  set_flag("downsample", true), set_text("mode", "eval");
  refused("attribute \"mode\" is \"eval\", expected train");
}

/* ---- backbone ----------------------------------------------------------------------------------------------------------------------- */

enum { MOST_BLOCKS = 6 };

struct backbone {
  struct unit stem;
  bool pools;
  struct numbers before_pool;
  struct residual_block block[MOST_BLOCKS];
  int blocks;
};

/* blocks: of the four stages. */
static struct backbone backbone_drawn(bool imagenet, bool bottleneck, const int blocks[4], ptrdiff_t width) {
  struct backbone b = {.pools = imagenet};
  ptrdiff_t c = width;
  b.stem = unit_drawn("", "conv1", "bn1", width, imagenet ? 7 : 3, 3, imagenet ? 2 : 1, true, 1);
  for (int stage = 0; stage < 4; stage++)
    for (int i = 0; i < blocks[stage]; i++) {
      char prefix[40];
      ptrdiff_t planes = width << stage;
      snprintf(prefix, sizeof prefix, "layer%d.%d.", stage + 1, i);
      assert_true(b.blocks < MOST_BLOCKS);
      b.block[b.blocks] = block_drawn(prefix, bottleneck, c, planes, stage > 0 && i == 0 ? 2 : 1, 10 + 4 * (uint32_t)b.blocks);
      b.blocks++, c = bottleneck ? 4 * planes : planes;
    }
  return b;
}

static void pool_case(const char *op, struct numbers x) {
  inner_begin(op);
  if (strcmp(op, "maxpool") == 0) set_integer("kernel", 3), set_integer("stride", 2), set_integer("pad", 1);
  give("in.x", x);
}

static struct numbers pooled(const char *op, struct numbers x) {
  pool_case(op, x), inner_compute(composed.bits);
  struct numbers y = inner_result("out.y");
  inner_end();
  return y;
}

static struct numbers backbone_forward(struct backbone *b, struct numbers x) {
  struct numbers y = b->before_pool = unit_forward(&b->stem, x, (struct numbers){.at = NULL});
  if (b->pools) y = pooled("maxpool", y);
  for (int i = 0; i < b->blocks; i++) y = block_forward(&b->block[i], y);
  return y;
}

static struct numbers backbone_backward(struct backbone *b, struct numbers dy) {
  for (int i = b->blocks - 1; i >= 0; i--) dy = block_backward(&b->block[i], dy);
  if (b->pools) {
    pool_case("maxpool", b->before_pool), give("grad_out.y", dy), inner_compute(composed.bits);
    dy = inner_result("grad_in.x");
    inner_end();
  }
  return unit_backward(&b->stem, dy, (struct numbers){.at = NULL}, NULL);
}

static void backbone_visit(struct backbone *b, unit_visit *visit, const char *prefix) {
  visit(&b->stem, prefix);
  for (int i = 0; i < b->blocks; i++) block_visit(&b->block[i], visit, prefix);
}

static void set_backbone(bool imagenet, bool bottleneck, const char *blocks, ptrdiff_t width, const char *mode, const ptrdiff_t x[3]) {
  set_norm(), set_text("block", bottleneck ? "bottleneck" : "basic"), set_text("blocks", blocks), set_integer("base_width", width);
  set_text("stem", imagenet ? "imagenet" : "cifar"), set_text("mode", mode), set_text("values", "stored");
  set_integer("batch", x[0]), set_integer("height", x[1]), set_integer("width", x[2]);
}

static void begin_backbone(int bits, bool imagenet, bool bottleneck, const int blocks[4], bool train, const ptrdiff_t xs[3]) {
  const ptrdiff_t width = 2;
  char text[40];
  begin("backbone");
  w.name = "int_backbone";
  composed.bits = bits, composed.train = train;
  struct backbone b = backbone_drawn(imagenet, bottleneck, blocks, width);
  struct numbers x = drawn(SHAPE(xs[0], xs[1], xs[2], 3), 0, 1, 1);
  snprintf(text, sizeof text, "%d,%d,%d,%d", blocks[0], blocks[1], blocks[2], blocks[3]);
  set_backbone(imagenet, bottleneck, text, width, train ? "train" : "eval", xs);
  give("in.x", x), backbone_visit(&b, unit_give_parameters, "param."), backbone_visit(&b, unit_give_statistics, "param.");
  struct numbers map = backbone_forward(&b, x);
  give("out.map", map), give("out.pooled", pooled("avgpool", map));
  if (!train) return;
  struct numbers dmap = drawn(map.ndim, map.shape, 0, 1, 2);
  backbone_visit(&b, unit_give_statistics, "out."), give("grad_out.map", dmap);
  give("grad_in.x", backbone_backward(&b, dmap)), backbone_visit(&b, unit_give_gradients, "grad_param.");
}

static const int shallow[] = {1, 1, 1, 1}, uneven[] = {1, 2, 1, 1};
static const ptrdiff_t little[] = {2, 16, 24}, large[] = {2, 32, 48};

static void backbones_are_their_layers_one_after_the_other(void **state) {
  (void)state;
  for (int p = 0; p < 2; p++) {
    begin_backbone(both[p], false, false, uneven, true, little), holds(both[p]), forget(NULL);
    begin_backbone(both[p], true, true, shallow, true, large), holds(both[p]), forget(NULL);
  }
}

static void evaluation_has_the_running_statistics(void **state) {
  (void)state;
  for (int p = 0; p < 2; p++) {
    begin_backbone(both[p], false, true, shallow, false, little), holds(both[p]), forget(NULL);
    begin_backbone(both[p], true, false, uneven, false, large), holds(both[p]), forget(NULL);
  }
}

/* A case of formulas leaves the same bits as one in which what they give is stored. */
static void formulas_stand_for_what_is_stored(void **state) {
  (void)state;
  for (int p = 0; p < 2; p++) {
    begin_backbone(both[p], false, true, shallow, true, little);
    leave_to_formulas(both[p], 77), holds(both[p]), forget(NULL);
  }
}

static void networks_are_watched(void **state) {
  (void)state;
  int seen[PHASE_EMA + 1];
  for (int p = 0; p < 2; p++) {
    begin_block(both[p], false, 3, 5, 1), watch(both[p], seen), forget(NULL);
    assert_true(seen[PHASE_FORWARD] > 0 && seen[PHASE_BACKWARD] > 0);
    begin_backbone(both[p], false, false, shallow, true, little), watch(both[p], seen), forget(NULL);
    assert_true(seen[PHASE_FORWARD] > 0 && seen[PHASE_BACKWARD] > 0);
  }
}

static void backbone_refuses_what_it_does_not_define(void **state) {
  (void)state;
  begin_backbone(64, false, false, shallow, true, little);
  set_text("mode", "eval");
  refused("gradients are defined in train mode only");
  set_text("mode", "train"), set_text("blocks", "1,1,0,1");
  refused("expected four numbers as in 3,4,6,3");
  set_text("blocks", "1,1,1,1,1");
  refused("expected four numbers as in 3,4,6,3");
  set_text("blocks", "1,1,1,1"), set_integer("width", 25);
  refused("tensor in.x has shape [2, 16, 24, 3], expected [2, 16, 25, 3]");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(blocks_are_their_layers_one_after_the_other, forget),
      cmocka_unit_test_teardown(block_refuses_what_contradicts_itself, forget),
      cmocka_unit_test_teardown(backbones_are_their_layers_one_after_the_other, forget),
      cmocka_unit_test_teardown(evaluation_has_the_running_statistics, forget),
      cmocka_unit_test_teardown(formulas_stand_for_what_is_stored, forget),
      cmocka_unit_test_teardown(networks_are_watched, forget),
      cmocka_unit_test_teardown(backbone_refuses_what_it_does_not_define, forget),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
