/* The runners of evaluation, on cases worked out by hand or from the plain definition: neighbours and votes, softmax regression, the
 * diagnostics of collapse, the schedules. */
#include "oracle/runner_case.h"

/* ---- nearest neighbours ------------------------------------------------------------------------------------------------------------- */

/* Every cosine is a multiple of 1/2, exact in both precisions. T = 1/2: a vote is exp(2 cos). Labels of the bank: 0 2 1 2 1 1. */
static void begin_knn(void) {
  begin("knn");
  set_integer("k", 4), set_integer("classes", 5), set_number("temperature", 0.5);
  give("in.bank", listed(SHAPE(6, 4), LIST(2, 0, 0, 0, 1, 1, 1, 1, 0, 3, 0, 0, 1, 1, -1, 1, -1, 0, 0, 0, 4, 4, 4, 4)));
  give_index("in.bank_label", listed(SHAPE(6), LIST(0, 2, 1, 2, 1, 1)));
  give("in.query", listed(SHAPE(3, 4), LIST(8, 0, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0)));
}

static void neighbours_vote_as_by_hand(void **state) {
  (void)state;
  double e = exp(1), e2 = exp(2);
  begin_knn();
  /* Of (8 0 0 0) the cosines are 1 1/2 0 1/2 -1 1/2, of (2 2 2 2) 1/2 1 1/2 1/2 -1/2 1, of the zero row all 0. Ties: the lowest row. */
  give_index("out.neighbour", listed(SHAPE(3, 4), LIST(0, 1, 3, 5, 1, 5, 0, 2, 0, 1, 2, 3)));
  give("out.similarity", listed(SHAPE(3, 4), LIST(1, 0.5, 0.5, 0.5, 1, 1, 0.5, 0.5, 0, 0, 0, 0)));
  give("out.votes", listed(SHAPE(3, 5), LIST(e2, e, 2 * e, 0, 0, e, e2 + e, e2, 0, 0, 1, 1, 2, 0, 0)));
  give_index("out.prediction", listed(SHAPE(3), LIST(0, 1, 2)));
  holds(64), holds(32);
}

static void knn_refuses_what_does_not_fit(void **state) {
  (void)state;
  struct numbers any = scalar(0);
  begin_knn(), give("out.votes", any), set_integer("k", 7);
  refused("attribute \"k\" is 7, expected 1 to 6");
  set_integer("k", 4), set_integer("classes", 2);
  refused("tensor in.bank_label: element 1 is 2, expected 0 to 1");
  set_integer("classes", 5), w.tensor[2] = tensor_make(DTYPE_F64, w.tensor[2].data, 2, (ptrdiff_t[]){4, 3}, "in.query");
  refused("tensor in.query has shape [4, 3], expected [?, 4]");
}

/* ---- softmax regression ------------------------------------------------------------------------------------------------------------- */

enum { STEPS = 3, ROWS = 2, FEATURES = 3, CLASSES = 4 };

/* loss, and db, dw of the mean cross-entropy of one batch, as the definition says. */
static double cross_entropy(const double *x, const double *label, const double *weight, const double *bias, double *dw, double *db) {
  double loss = 0;
  memset(dw, 0, CLASSES * FEATURES * sizeof *dw), memset(db, 0, CLASSES * sizeof *db);
  for (int i = 0; i < ROWS; i++) {
    double p[CLASSES], sum = 0;
    for (int k = 0; k < CLASSES; k++) {
      double l = bias[k];
      for (int j = 0; j < FEATURES; j++) l += x[i * FEATURES + j] * weight[k * FEATURES + j];
      sum += p[k] = exp(l);
    }
    loss -= log(p[(int)label[i]] / sum) / ROWS;
    for (int k = 0; k < CLASSES; k++) {
      double d = (p[k] / sum - (k == (int)label[i])) / ROWS;
      db[k] += d;
      for (int j = 0; j < FEATURES; j++) dw[k * FEATURES + j] += d * x[i * FEATURES + j];
    }
  }
  return loss;
}

/* m = mu m + g; w -= lr (g + mu m) */
static void nesterov(int n, double lr, double mu, const double *g, double *m, double *x) {
  for (int i = 0; i < n; i++) m[i] = mu * m[i] + g[i], x[i] -= lr * (g[i] + mu * m[i]);
}

static void begin_regression(struct numbers *x, struct numbers *label, struct numbers *lr, struct numbers *weight, struct numbers *bias) {
  begin("linear_eval");
  set_integer("steps", STEPS), set_integer("classes", CLASSES), set_number("momentum", 0.75), set_number("weight_decay", 0);
  set_flag("nesterov", true);
  give("in.x", *x = drawn(SHAPE(STEPS, ROWS, FEATURES), 0, 1, 1));
  give_index("in.label", *label = listed(SHAPE(STEPS, ROWS), LIST(3, 0, 1, 3, 2, 2)));
  give("in.lr", *lr = listed(SHAPE(STEPS), LIST(0.5, 0.25, 2)));
  give("param.weight", *weight = drawn(SHAPE(CLASSES, FEATURES), 0, 1, 2));
  give("param.bias", *bias = drawn(SHAPE(CLASSES), 0, 1, 3));
}

static void regression_is_that_of_its_definition(void **state) {
  (void)state;
  struct numbers x, label, lr, weight, bias, loss = zeros(SHAPE(STEPS)), weights = zeros(SHAPE(STEPS, CLASSES, FEATURES));
  struct numbers biases = zeros(SHAPE(STEPS, CLASSES)), v, c;
  double dw[CLASSES * FEATURES], db[CLASSES], mw[CLASSES * FEATURES] = {0}, mb[CLASSES] = {0};
  begin_regression(&x, &label, &lr, &weight, &bias);
  v = listed(weight.ndim, weight.shape, weight.at), c = listed(bias.ndim, bias.shape, bias.at);
  for (int k = 0; k < STEPS; k++) {
    loss.at[k] = cross_entropy(x.at + k * ROWS * FEATURES, label.at + k * ROWS, v.at, c.at, dw, db);
    nesterov(CLASSES * FEATURES, lr.at[k], 0.75, dw, mw, v.at), nesterov(CLASSES, lr.at[k], 0.75, db, mb, c.at);
    memcpy(weights.at + k * v.count, v.at, (size_t)v.count * sizeof(double));
    memcpy(biases.at + k * c.count, c.at, (size_t)c.count * sizeof(double));
  }
  give("out.loss", loss), give("out.weight", weights), give("out.bias", biases);
  holds(64), holds(32);
}

static void regression_is_with_nesterov_and_without_decay(void **state) {
  (void)state;
  struct numbers x, label, lr, weight, bias;
  begin_regression(&x, &label, &lr, &weight, &bias);
  give("out.loss", zeros(SHAPE(STEPS)));
  set_flag("nesterov", false);
  refused("with Nesterov momentum and without decay");
  set_flag("nesterov", true), set_number("weight_decay", 0.5);
  refused("with Nesterov momentum and without decay");
  set_number("weight_decay", 0), set_integer("classes", CLASSES - 1);
  refused("tensor in.label: element 0 is 3, expected 0 to 2");
}

/* ---- collapse ----------------------------------------------------------------------------------------------------------------------- */

static void collapse_is_as_by_hand(void **state) {
  (void)state;
  double half = sqrt(0.5);
  begin("collapse");
  /* Normalised: (1 0) (1 0) (0 1) (0 -1), of mean (1/2 0). */
  give("in.features", listed(SHAPE(4, 2), LIST(1, 0, 2, 0, 0, 3, 0, -1)));
  give("out.std", listed(SHAPE(2), LIST(0.5, half))), give("out.std_mean", scalar((0.5 + half) / 2));
  /* Three regions of one direction; three of which one is the opposite of another, and the third at a right angle to both. */
  give("in.regions", listed(SHAPE(2, 3, 4), LIST(1, 1, 1, 1, 2, 2, 2, 2, 8, 8, 8, 8, 1, 0, 0, 0, 0, 1, 0, 0, -4, 0, 0, 0)));
  give("out.region_cosine_image", listed(SHAPE(2), LIST(1, -1. / 3))), give("out.region_cosine", scalar(1. / 3));
  /* Shares 1; 1/3 and 2/3; 1/3 1/3 1/3; 1. */
  double two = log(3) - 2 * log(2) / 3;
  give_index("in.index", listed(SHAPE(4, 3), LIST(0, 0, 0, 0, 1, 1, 2, 0, 1, 2, 2, 2)));
  give("out.entropy_image", listed(SHAPE(4), LIST(0, two, log(3), 0))), give("out.entropy", scalar((two + log(3)) / 4));
  holds(64), holds(32);
}

/* m features of one direction; n regions of two directions in turn. */
static void collapse_of(ptrdiff_t m, ptrdiff_t d, ptrdiff_t n, ptrdiff_t c) {
  struct numbers features = zeros(SHAPE(m, d)), regions = zeros(SHAPE(1, n, c));
  double half = (double)n / 2, cosine = (half - 1) / (double)(n - 1);
  for (ptrdiff_t i = 0; i < m; i++) features.at[i * d] = (double)(1 << i % 4);
  for (ptrdiff_t i = 0; i < n; i++) regions.at[i * c + i % 2] = (double)(1 << i % 4);
  begin("collapse");
  give("in.features", features), give("in.regions", regions), give_index("in.index", zeros(SHAPE(1, n)));
  give("out.std", zeros(SHAPE(d))), give("out.std_mean", scalar(0));
  give("out.region_cosine_image", listed(SHAPE(1), &cosine)), give("out.region_cosine", scalar(cosine));
  give("out.entropy_image", zeros(SHAPE(1))), give("out.entropy", scalar(0));
  holds(64), holds(32), forget(NULL);
}

/* Each size once the one that decides how much scratch is needed. */
static void collapse_has_room_for_all_sizes(void **state) {
  (void)state;
  collapse_of(64, 2, 4, 2), collapse_of(4, 64, 4, 2), collapse_of(4, 2, 64, 2), collapse_of(4, 2, 4, 64);
}

static void collapse_refuses_a_region_that_is_not_there(void **state) {
  (void)state;
  begin("collapse");
  give("in.features", zeros(SHAPE(1, 1))), give("in.regions", zeros(SHAPE(1, 2, 3)));
  give_index("in.index", listed(SHAPE(1, 2), LIST(0, 2))), give("out.std", zeros(SHAPE(1)));
  refused("tensor in.index: element 1 is 2, expected 0 to 1");
}

/* ---- schedules ---------------------------------------------------------------------------------------------------------------------- */

/* base 0.25 at batch 1024: a peak of 1; 4 steps of warm-up in 12. */
static void schedules_are_as_by_hand(void **state) {
  (void)state;
  double eighth = (1 + sqrt(0.5)) / 2; /* (1 + cos(pi / 4)) / 2 */
  begin("schedule");
  set_number("base_lr", 0.25), set_integer("batch", 1024), set_integer("warmup_epochs", 1), set_integer("epochs", 3);
  set_integer("steps_per_epoch", 4), set_number("tau0", 0.5);
  give_index("in.step", listed(SHAPE(8), LIST(0, 1, 4, 6, 8, 12, 3, 9)));
  give("out.lr", listed(SHAPE(8), LIST(0, 0.25, 1, eighth, 0.5, 0, 0.75, (1 - sin(acos(-1) / 8)) / 2)));
  /* tau = 1 - (1 + cos(pi k / 12)) / 4 */
  give("out.tau", listed(SHAPE(8), LIST(0.5, 1 - (1 + cos(acos(-1) / 12)) / 4, 0.625, 0.75, 0.875, 1, 1 - eighth / 2, 0.5 + eighth / 2)));
  holds(64), holds(32);
  w.tensor[0] = tensor_make(DTYPE_I64, ((int64_t[]){0, 1, 2, 3, 4, 5, 6, 13}), 1, (ptrdiff_t[]){8}, "in.step");
  refused("tensor in.step: element 7 is 13, expected 0 to 12");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(neighbours_vote_as_by_hand, forget),
      cmocka_unit_test_teardown(knn_refuses_what_does_not_fit, forget),
      cmocka_unit_test_teardown(regression_is_that_of_its_definition, forget),
      cmocka_unit_test_teardown(regression_is_with_nesterov_and_without_decay, forget),
      cmocka_unit_test_teardown(collapse_is_as_by_hand, forget),
      cmocka_unit_test_teardown(collapse_has_room_for_all_sizes, forget),
      cmocka_unit_test_teardown(collapse_refuses_a_region_that_is_not_there, forget),
      cmocka_unit_test_teardown(schedules_are_as_by_hand, forget),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
