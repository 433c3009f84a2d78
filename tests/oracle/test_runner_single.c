/* What runners of single operations do that no backend is held to (backend_case.h), or that drawn cases do not have: the similarities of
 * regions, batch norm's gradients with given statistics, the losses of predicted regions. */
#include "oracle/runner_case.h"

static void match_is_as_by_hand(void **state) {
  (void)state;
  begin("match");
  w.name = "int_match";
  set_text("similarity", "dot");
  give("in.t1", listed(SHAPE(2, 2, 2), LIST(1, 2, 3, -1, 2, 0, 0, 2)));
  give("in.t2", listed(SHAPE(2, 2, 2), LIST(0, 1, 2, 2, 1, 1, 0, 3)));
  give("out.sim11", listed(SHAPE(2, 2, 2), LIST(5, 1, 1, 10, 4, 0, 0, 4)));
  give("out.sim22", listed(SHAPE(2, 2, 2), LIST(1, 2, 2, 8, 2, 3, 3, 9)));
  give("out.sim12", listed(SHAPE(2, 2, 2), LIST(2, 6, -1, 4, 2, 0, 2, 6)));
  give_index("out.d1", listed(SHAPE(2, 2), LIST(1, 0, 1, 0))), give_index("out.d2", listed(SHAPE(2, 2), LIST(0, 0, 0, 0)));
  give_index("out.s12", listed(SHAPE(2, 2), LIST(1, 1, 0, 1))), give_index("out.s21", listed(SHAPE(2, 2), LIST(0, 0, 0, 1)));
  holds(64), holds(32);
}

/* sqrt(v + eps) is 2 and 4, so that xhat is (0 1) (1 0) (2 2), and y before the ReLU (-1 1) (5 3) (10 -4). */
static void norm_with_given_statistics_is_as_by_hand(void **state) {
  (void)state;
  begin("norm");
  w.name = "int_norm";
  set_text("mode", "eval"), set_number("eps", 0.25), set_number("momentum", 0.5), set_flag("relu", true), set_flag("residual", true);
  give("in.x", listed(SHAPE(3, 2), LIST(1, 2, 3, -2, 5, 6))), give("in.residual", listed(SHAPE(3, 2), LIST(-2, 2, 0, 0, 1, 1)));
  give("param.gamma", listed(SHAPE(2), LIST(4, -4))), give("param.beta", listed(SHAPE(2), LIST(1, 3)));
  give("in.running_mean", listed(SHAPE(2), LIST(1, -2))), give("in.running_var", listed(SHAPE(2), LIST(3.75, 15.75)));
  give("out.y", listed(SHAPE(3, 2), LIST(0, 1, 5, 3, 10, 0)));
  give("grad_out.y", listed(SHAPE(3, 2), LIST(7, 1, 2, 3, -3, 5)));
  give("grad_in.residual", listed(SHAPE(3, 2), LIST(0, 1, 2, 3, -3, 0)));
  give("grad_in.x", listed(SHAPE(3, 2), LIST(0, -1, 4, -3, -6, 0)));
  give("grad_param.gamma", listed(SHAPE(2), LIST(-4, 1))), give("grad_param.beta", listed(SHAPE(2), LIST(-1, 4)));
  holds(64), holds(32);
}

/* ---- losses ------------------------------------------------------------------------------------------------------------------------- */

enum { IMAGES = 2, REGIONS = 3, CHANNELS = 4, WHOLE = 5 };

/* cos(a, b) of n numbers; to da is added scale times its gradient by a. */
static double cosine(int n, const double *a, const double *b, double scale, double *da) {
  double aa = 0, bb = 0, ab = 0;
  for (int i = 0; i < n; i++) aa += a[i] * a[i], bb += b[i] * b[i], ab += a[i] * b[i];
  double c = ab / sqrt(aa * bb);
  for (int i = 0; i < n; i++) da[i] += scale * (b[i] / sqrt(aa * bb) - c * a[i] / aa);
  return c;
}

/* One view of the losses with predictions of its regions: R-DEM reads the regions, R-IEM the predictions. Gradients are added to what is
 * there. */
static void predictions_of_regions_have_the_losses_of_their_definition(void **state) {
  (void)state;
  const double lambda[] = {0.75, 0.5, 1.25};
  struct numbers q = drawn(SHAPE(IMAGES, WHOLE), 0, 1, 1), z = drawn(SHAPE(IMAGES, WHOLE), 0, 1, 2);
  struct numbers r = drawn(SHAPE(IMAGES, REGIONS, CHANNELS), 0, 1, 3), p = drawn(SHAPE(IMAGES, REGIONS, CHANNELS), 0, 1, 4);
  struct numbers g = drawn(SHAPE(IMAGES, REGIONS, CHANNELS), 0, 1, 5), d = listed(SHAPE(IMAGES, REGIONS), LIST(1, 2, 0, 2, 0, 0));
  struct numbers s = listed(SHAPE(IMAGES, REGIONS), LIST(0, 2, 2, 1, 1, 0));
  struct numbers dq = drawn(SHAPE(IMAGES, WHOLE), 0, 1, 6), dr = drawn(SHAPE(IMAGES, REGIONS, CHANNELS), 0, 1, 7);
  struct numbers dp = drawn(SHAPE(IMAGES, REGIONS, CHANNELS), 0, 1, 8);
  struct numbers byol = zeros(SHAPE(IMAGES)), rdem = zeros(SHAPE(IMAGES)), riem = zeros(SHAPE(IMAGES));
  begin("loss");
  set_number("lambda1", lambda[0]), set_number("lambda2", lambda[1]), set_number("lambda3", lambda[2]);
  set_text("rdem_stopgrad", "none"), set_text("rdem_negative", "region");
  give("in.q1", q), give("in.z2", z), give("in.r1", r), give("in.p1", p), give("in.g2", g), give_index("in.d1", d), give_index("in.s12", s);
  give("in.before.q1", listed(dq.ndim, dq.shape, dq.at)), give("in.before.r1", listed(dr.ndim, dr.shape, dr.at));
  give("in.before.p1", listed(dp.ndim, dp.shape, dp.at));
  for (int b = 0; b < IMAGES; b++) {
    double *at = r.at + b * REGIONS * CHANNELS, *dat = dr.at + b * REGIONS * CHANNELS, share = 1. / (IMAGES * REGIONS);
    byol.at[b] = 2 - 2 * cosine(WHOLE, q.at + b * WHOLE, z.at + b * WHOLE, -2 * lambda[2] / IMAGES, dq.at + b * WHOLE);
    riem.at[b] = 1;
    for (int j = 0; j < REGIONS; j++) {
      int i = b * REGIONS + j, other = (int)d.at[i] * CHANNELS, match = b * REGIONS + (int)s.at[i];
      rdem.at[b] += cosine(CHANNELS, at + j * CHANNELS, at + other, share * lambda[0], dat + j * CHANNELS) / REGIONS;
      cosine(CHANNELS, at + other, at + j * CHANNELS, share * lambda[0], dat + other);
      riem.at[b] -= cosine(CHANNELS, p.at + i * CHANNELS, g.at + match * CHANNELS, -share * lambda[1], dp.at + i * CHANNELS) / REGIONS;
    }
  }
  give("out.byol1", byol), give("out.rdem1", rdem), give("out.riem1", riem);
  give("grad_in.q1", dq), give("grad_in.r1", dr), give("grad_in.p1", dp);
  holds(64), holds(32);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(match_is_as_by_hand, forget),
      cmocka_unit_test_teardown(norm_with_given_statistics_is_as_by_hand, forget),
      cmocka_unit_test_teardown(predictions_of_regions_have_the_losses_of_their_definition, forget),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
