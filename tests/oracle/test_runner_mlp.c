/* The runner of a head, held to the bit, in both precisions, to its layers as cases of their own: linear with bias, batch norm with ReLU,
 * linear. */
#include "oracle/composed.h"

enum { IN = 3, MIDDLE = 5, OUT = 2 };

struct head {
  struct numbers w0, b0, gamma, beta, mean, var, w3;
};

static struct head head_drawn(void) {
  struct head h = {.w0 = drawn(SHAPE(MIDDLE, IN), 0, 1, 1), .b0 = drawn(SHAPE(MIDDLE), 0, 1, 2)};
  h.gamma = drawn(SHAPE(MIDDLE), 1, 0.25, 3), h.beta = drawn(SHAPE(MIDDLE), 0, 0.25, 4), h.mean = drawn(SHAPE(MIDDLE), 0, 0.25, 5);
  h.var = listed(SHAPE(MIDDLE), LIST(0.5, 1, 2, 0.75, 3)), h.w3 = drawn(SHAPE(OUT, MIDDLE), 0, 1, 6);
  return h;
}

/* x times weight, plus bias; with a gradient of that, left to be read. */
static struct numbers linear(struct numbers x, struct numbers weight, struct numbers bias, struct numbers dy) {
  inner_begin("linear");
  set_flag("bias", bias.at != NULL), give("in.x", x), give("param.weight", weight);
  if (bias.at) give("param.bias", bias);
  if (dy.at) give("grad_out.y", dy);
  inner_compute(composed.bits);
  return inner_result("out.y");
}

static struct numbers norm(struct numbers x, const struct head *h, struct numbers dy) {
  inner_begin("norm");
  set_text("mode", composed.train ? "train" : "eval"), set_number("eps", composed.eps), set_number("momentum", composed.momentum);
  set_flag("relu", true), set_flag("residual", false), give("in.x", x), give("param.gamma", h->gamma), give("param.beta", h->beta);
  give("in.running_mean", h->mean), give("in.running_var", h->var);
  if (dy.at) give("grad_out.y", dy);
  inner_compute(composed.bits);
  return inner_result("out.y");
}

static void expect_forward(struct numbers y, struct numbers mean, struct numbers var) {
  give("out.y", y);
  if (composed.train) give("out.1.running_mean", mean), give("out.1.running_var", var);
}

/* x: rows x IN, whose rows may have two dimensions. */
static void begin_mlp(int bits, bool train, bool gradient, int ndim, const ptrdiff_t *shape) {
  const struct numbers none = {.at = NULL};
  struct head h = head_drawn();
  struct numbers x = drawn(ndim, shape, 0, 1, 7), rows = x, dy = {.at = NULL}, mean = none, var = none;
  ptrdiff_t ys[TENSOR_MAX_DIMS];
  composed.bits = bits, composed.train = train, composed.eps = 0x1p-6, composed.momentum = 0.125;
  rows.ndim = 2, rows.shape[0] = x.count / IN, rows.shape[1] = IN;
  memcpy(ys, shape, (size_t)ndim * sizeof *ys), ys[ndim - 1] = OUT;

  struct numbers a = linear(rows, h.w0, h.b0, none);
  inner_end();
  struct numbers n = norm(a, &h, none);
  if (train) mean = inner_result("out.running_mean"), var = inner_result("out.running_var");
  inner_end();
  struct numbers flat = linear(n, h.w3, none, none), y = listed(ndim, ys, flat.at);
  inner_end();

  begin("mlp");
  w.name = "int_mlp";
  set_text("mode", train ? "train" : "eval"), set_number("bn_eps", composed.eps), set_number("bn_momentum", composed.momentum);
  give("in.x", x), give("param.0.weight", h.w0), give("param.0.bias", h.b0), give("param.1.weight", h.gamma), give("param.1.bias", h.beta);
  give("param.1.running_mean", h.mean), give("param.1.running_var", h.var), give("param.3.weight", h.w3);
  expect_forward(y, mean, var);
  if (!gradient) return;
  give("grad_out.y", dy = drawn(ndim, ys, 0, 1, 8));
  linear(n, h.w3, none, listed(2, flat.shape, dy.at));
  struct numbers d = inner_result("grad_in.x"), dw3 = inner_result("grad_param.weight");
  inner_end();
  norm(a, &h, d), d = inner_result("grad_in.x");
  struct numbers dgamma = inner_result("grad_param.gamma"), dbeta = inner_result("grad_param.beta");
  inner_end();
  linear(rows, h.w0, h.b0, d), d = inner_result("grad_in.x");
  struct numbers dw0 = inner_result("grad_param.weight"), db0 = inner_result("grad_param.bias");
  inner_end();
  give("grad_param.3.weight", dw3), give("grad_param.1.weight", dgamma), give("grad_param.1.bias", dbeta);
  give("grad_param.0.weight", dw0), give("grad_param.0.bias", db0), give("grad_in.x", listed(ndim, shape, d.at));
}

static void heads_are_their_layers_one_after_the_other(void **state) {
  (void)state;
  for (int bits = 32; bits <= 64; bits += 32)
    for (int train = 0; train < 2; train++)
      for (int gradient = 0; gradient < 2; gradient++) {
        begin_mlp(bits, train, gradient, SHAPE(7, IN)), holds(bits), forget(NULL);
        begin_mlp(bits, train, gradient, SHAPE(4, 6, IN)), holds(bits), forget(NULL);
      }
}

static void head_refuses_weights_that_do_not_fit(void **state) {
  (void)state;
  begin_mlp(64, true, false, SHAPE(7, IN));
  for (int i = 0; i < w.count; i++)
    if (strcmp(w.tensor[i].name, "param.3.weight") == 0) w.tensor[i].shape[0] = MIDDLE, w.tensor[i].shape[1] = OUT;
  refused("tensor param.3.weight has shape [5, 2], expected [?, 5]");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(heads_are_their_layers_one_after_the_other, forget),
      cmocka_unit_test_teardown(head_refuses_weights_that_do_not_fit, forget),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
