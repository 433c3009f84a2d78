/* The gauges of batch norm and of the losses, as gauge_norm.c and gauge_loss.c derive them, written plainly. */
#include <string.h>

#include "oracle/gauge_case.h"

/* ---- batch norm ---------------------------------------------------------------------------------------------------------------------- */

static double alike(double L, double N) { return N > 3 * sqrt(L) ? N / (3 * sqrt(L)) : 1; }
static double alike_bound(double L, double N) { return N > 4 * sqrt(L) + 2 ? N / (4 * sqrt(L) + 2) : 1; }

/* Channels: 1 is mostly of one value, 2 mostly of zeros, 3 half; the others, more than are taken together, of none. Of 5 the gradients are
 * mostly one number. */
static void batch_norm_is_as_derived(void **state) {
  (void)state;
  enum { M = 120, C = 40 };
  const ptrdiff_t shape[] = {M, C}, c1 = C;
  const double eps = 1e-3, momentum = 0.2, tiny = 0x1p-126;
  for (int kind = 0; kind < 4; kind++) {
    const bool train = kind != 1, residual = kind != 2;
    const double chain = kind == 3 ? 64 : 1024, L = chain < M ? chain : M;
    begin("norm");
    memory_case_text(&m, "mode", train ? "train" : "eval");
    memory_case_number(&m, "eps", eps), memory_case_number(&m, "momentum", momentum);
    memory_case_flag(&m, "relu", false), memory_case_flag(&m, "residual", residual);
    double *x = give("in.x", 2, shape), *var0;
    const double *gamma = give("param.gamma", 1, &c1), *beta = give("param.beta", 1, &c1), *mean0 = give("in.running_mean", 1, &c1);
    var0 = give("in.running_var", 1, &c1);
    for (int k = 0; k < C; k++) var0[k] = 0.5 + fabs(var0[k]);
    const double *res = residual ? give("in.residual", 2, shape) : NULL;
    double *d = give("grad_out.y", 2, shape);
    for (int i = 0; i < M; i++) d[i * C + 5] = i % 6 == 0 ? 0 : i % 6 == 1 ? d[i * C + 5] : 0.25; /* 80 of the 100 that are not 0 */
    const double *before = give("in.before.gamma", 1, &c1);
    for (int i = 0; i < 100; i++) x[i * C + 1] = -2, x[i * C + 2] = 0;
    for (int i = 0; i < M; i += 2) x[i * C + 3] = 4;
    expect("out.y", 2, shape);
    compute(chain);
    for (int k = 0; k < C; k++) {
      double N = !train || k < 1 || k > 2 ? 0 : fmin(100, L), mean = 0, spread = 0, v = 0;
      for (int i = 0; i < M; i++) mean += x[i * C + k] / M, spread += fabs(x[i * C + k]) / M;
      for (int i = 0; i < M; i++) v += (x[i * C + k] - mean) * (x[i * C + k] - mean) / M;
      if (!train) mean = mean0[k], spread = fabs(mean), v = var0[k];
      double invstd = 1 / sqrt(v + eps), grown = train ? fabs(mean) : 0, A = alike(L, N), B = alike_bound(L, N);
      if (k == 1) spread *= B, grown *= A; /* what is mostly zeros has a mean of the others */
      double hat[M], X[M], sd = 0, sdhat = 0, sdX = 0, net_d = 0, net_dhat = 0;
      for (int i = 0; i < M; i++) {
        hat[i] = (x[i * C + k] - mean) * invstd;
        X[i] = (fabs(x[i * C + k]) + spread + tiny) * invstd + fabs(hat[i]) * B;
        sd += fabs(d[i * C + k]) / M, sdhat += fabs(d[i * C + k] * hat[i]) / M, sdX += fabs(d[i * C + k]) * X[i] / M;
        net_d += d[i * C + k] / M, net_dhat += d[i * C + k] * hat[i] / M;
      }
      assert_gauge("grad_param.gamma", k, M * sdX + fabs(before[k]));
      double A_d = k == 5 ? alike(L, fmin(80, L)) : 1, B_d = k == 5 ? alike_bound(L, fmin(80, L)) : 1;
      assert_gauge("grad_param.beta", k, M * sd * B_d);
      assert_near("carried", k, of("carried.grad_param.beta", k), k == 5 ? M * fabs(net_d) * A_d : 0);
      double shift = invstd * grown, scale = fabs(gamma[k]) * invstd, m_d = fabs(net_d), m_dhat = fabs(net_dhat);
      if (train) {
        assert_gauge("out.running_mean", k, fabs(mean0[k]) + momentum * spread);
        assert_gauge("out.running_var", k, var0[k] + momentum * v * M / (M - 1) * B);
        assert_gauge("carried.out.running_mean", k, momentum * grown);
        assert_gauge("carried.out.running_var", k, momentum * v * A);
        double *start;
        assert_true(gauge_start(&m.file, &g, run_result(&g, "out.running_var"), &start, &err) && start && start[k] == var0[k]);
        free(start);
      } else {
        assert_null(run_result(&g, "out.running_mean"));
      }
      double own = of("carried.grad_param.gamma", k), expected = M * (m_d * shift + m_dhat * A / 2);
      m_d *= A_d, sd *= B_d; /* in what dx takes of the mean of d */
      if (!(fabs(own - expected) <= 1e-9 * expected)) fail_msg("carried gamma[%d]: %.17g, not %.17g", k, own, expected);
      for (int i = 0; i < M; i++) {
        int at = i * C + k;
        double h = fabs(hat[i]), grows = m_d + h * m_dhat + shift * (m_dhat + h * m_d) + sqrt(L) * 0x1p-25 * shift * shift * fabs(d[at]);
        grows += A / 2 * (fabs(d[at]) + m_d + 3 * h * m_dhat);
        assert_near("y", at, of("out.y", at), fabs(gamma[k]) * X[i] + fabs(beta[k]) + (res ? fabs(res[at]) : 0));
        double dx = of("grad_in.x", at), terms = 2 * fabs(d[at]) * B + 4 * tiny + (train ? sd + X[i] * sdhat + h * sdX : 0);
        assert_near("dx", at, dx, scale * terms);
        if (res) assert_gauge("grad_in.residual", at, fabs(d[at]));
        double carried_y = of("carried.out.y", at), carried_dx = of("carried.grad_in.x", at);
        if (!(fabs(carried_y - (train ? fabs(gamma[k]) * (shift + h * A / 2) : 0)) <= 1e-9 * carried_y) ||
            !(fabs(carried_dx - (train ? scale * grows : 0)) <= 1e-9 * carried_dx))
          fail_msg("carried [%d, %d], kind %d: %.17g, %.17g", i, k, kind, carried_y, carried_dx);
      }
    }
    end();
  }
}

/* ---- losses -------------------------------------------------------------------------------------------------------------------------- */

enum { B = 2, N = 3, C = 4 };

static double length(const double *a) {
  double squares = 0;
  for (int c = 0; c < C; c++) squares += a[c] * a[c];
  return squares > 1e-12 ? sqrt(squares) : 1e-6;
}

/* G(cos), and what it adds to the gauges of both gradients. */
static double pair(const double *a, const double *b, double weight, double *da, double *db) {
  double S = 0, s = 0, na = length(a), nb = length(b);
  for (int c = 0; c < C; c++) S += fabs(a[c] * b[c]) / na / nb, s += a[c] * b[c] / na / nb;
  s = fabs(s);
  for (int c = 0; c < C; c++) {
    if (da) da[c] += weight / na * (2 * fabs(b[c]) / nb + (S + 2 * s) * fabs(a[c]) / na);
    if (db) db[c] += weight / nb * (2 * fabs(a[c]) / na + (S + 2 * s) * fabs(b[c]) / nb);
  }
  return S + s;
}

static void losses_are_as_derived(void **state) {
  (void)state;
  const ptrdiff_t whole[] = {B, C}, region[] = {B, N, C}, cells[] = {B, N};
  static int32_t index[4][B * N] = {{1, 2, 0, 2, 0, 1}, {2, 0, 1, 1, 2, 0}, {0, 0, 1, 2, 1, 2}, {1, 1, 0, 2, 2, 2}};
  static const char *const indices[] = {"in.d1", "in.d2", "in.s12", "in.s21"};
  const double lambda[] = {0.5, -3, 0.25};
  for (int kind = 0; kind < 2; kind++) { /* all as it is; a predictor of regions, gradients stopped, a gradient that is there before */
    double dq[B * C] = {0}, dr[B * N * C] = {0}, dp[B * N * C] = {0};
    begin("loss");
    memory_case_number(&m, "lambda1", lambda[0]), memory_case_number(&m, "lambda2", lambda[1]),
        memory_case_number(&m, "lambda3", lambda[2]);
    memory_case_text(&m, "rdem_stopgrad", kind ? "match" : "none"), memory_case_text(&m, "rdem_negative", "region");
    double *q[2] = {give("in.q1", 2, whole), give("in.q2", 2, whole)}, *z[2] = {give("in.z1", 2, whole), give("in.z2", 2, whole)};
    double *r[2] = {give("in.r1", 3, region), give("in.r2", 3, region)}, *t[2] = {give("in.g1", 3, region), give("in.g2", 3, region)};
    const double *p = kind ? give("in.p2", 3, region) : NULL, *before = kind ? give("in.before.r2", 3, region) : NULL;
    for (int c = 0; c < C; c++) r[1][c] *= 1e-8; /* below the guard */
    for (int k = 0; k < 4; k++) {
      struct tensor of_index = tensor_make(DTYPE_I32, index[k], 2, cells, "%s", indices[k]);
      memory_case_give(&m, indices[k], &of_index);
    }
    expect("out.total", 0, NULL);
    compute(1024);
    double sum[3] = {0}, mean = 0;
    for (int i = 0; i < B; i++) {
      double total = 0;
      for (int v = 0; v < 2; v++) {
        double byol = 2 + 2 * pair(&q[v][i * C], &z[1 - v][i * C], 2 * lambda[2] / B, v == 1 ? &dq[i * C] : NULL, NULL), rdem = 0, riem = 1;
        const double *near = v == 1 && p ? p : r[v];
        double *dnear = v == 0 ? NULL : p ? dp : dr;
        for (int j = 0; j < N; j++) {
          int own = (i * N + j) * C, far = (i * N + index[v][i * N + j]) * C, to = (i * N + index[2 + v][i * N + j]) * C;
          rdem += pair(&r[v][own], &r[v][far], lambda[0] / B / N, v ? &dr[own] : NULL, v && !kind ? &dr[far] : NULL) / N;
          riem += pair(&near[own], &t[1 - v][to], -lambda[1] / B / N, dnear ? &dnear[own] : NULL, NULL) / N;
        }
        assert_gauge(v ? "out.byol2" : "out.byol1", i, byol);
        assert_gauge(v ? "out.rdem2" : "out.rdem1", i, rdem);
        assert_gauge(v ? "out.riem2" : "out.riem1", i, riem);
        sum[0] += rdem / B, sum[1] += riem / B, sum[2] += byol / B;
        total += 0.5 * rdem + 3 * riem + 0.25 * byol;
      }
      assert_gauge("out.total_image", i, total);
      mean += total / B;
    }
    assert_gauge("out.rdem", 0, sum[0]), assert_gauge("out.riem", 0, sum[1]), assert_gauge("out.byol", 0, sum[2]);
    assert_gauge("out.total", 0, mean);
    for (int i = 0; i < B * C; i++) assert_gauge("grad_in.q2", i, dq[i]);
    for (int i = 0; i < B * N * C; i++) {
      assert_gauge("grad_in.r2", i, dr[i] + (before ? fabs(before[i]) : 0));
      if (p) assert_gauge("grad_in.p2", i, dp[i]);
    }
    end();
  }
}

/* Against the mean region of another image, B = mean |g| stands in place of |b|; and of equal cosines, or equal terms of the mean, n are
 * off by n / 6 gauges. Regions of the first image are equal, and so are those of the second in one channel. */
static void equal_terms_of_losses_are_rounded_alike(void **state) {
  (void)state;
  enum { MANY = 24 };
  const ptrdiff_t whole[] = {B, C}, region[] = {B, MANY, C}, cells[] = {B, MANY}, b = B;
  static int32_t zeros[B * MANY], negative[B] = {1, 0};
  double expected[B], dr[B * MANY * C] = {0};
  begin("loss");
  memory_case_number(&m, "lambda1", 2), memory_case_number(&m, "lambda2", 1), memory_case_number(&m, "lambda3", 1);
  memory_case_text(&m, "rdem_stopgrad", "none"), memory_case_text(&m, "rdem_negative", "instance");
  give("in.q1", 2, whole), give("in.z2", 2, whole);
  double *r = give("in.r1", 3, region), *t = give("in.g1", 3, region), *other = give("in.g2", 3, region);
  for (int i = 0; i < MANY * C; i++) r[i] = r[i % C], other[i] = other[i % C];
  for (int j = 0; j < MANY; j++) t[(MANY + j) * C + 2] = -0.5;
  struct tensor neg = tensor_make(DTYPE_I32, negative, 1, &b, "n"), s = tensor_make(DTYPE_I32, zeros, 2, cells, "s");
  memory_case_give(&m, "in.neg", &neg), memory_case_give(&m, "in.s12", &s);
  expect("out.rdem1", 1, &b);
  compute(1024);
  for (int i = 0; i < B; i++) {
    double mean[C] = {0}, spread[C], nb;
    for (int c = 0; c < C; c++) {
      spread[c] = 0x1p-126;
      for (int j = 0; j < MANY; j++) {
        double x = t[(negative[i] * MANY + j) * C + c];
        mean[c] += x / MANY, spread[c] += fabs(x) / MANY;
      }
      if (negative[i] == 1 && c == 2) spread[c] *= MANY / 6;
    }
    nb = length(mean), expected[i] = 0;
    for (int j = 0; j < MANY; j++) {
      const double *a = &r[(i * MANY + j) * C], na = length(a);
      double S = 0, cosine = 0, known = 0;
      for (int c = 0; c < C; c++) {
        S += fabs(a[c]) * spread[c] / na / nb, cosine += a[c] * mean[c] / na / nb, known += fabs(mean[c]) * spread[c] / nb / nb;
      }
      cosine = fabs(cosine) * fmax(1, known);
      expected[i] += (S + cosine) / MANY;
      for (int c = 0; c < C; c++)
        dr[(i * MANY + j) * C + c] += 2.0 / B / MANY / na * (2 * spread[c] / nb + (S + 2 * cosine) * fabs(a[c]) / na);
    }
  }
  assert_gauge("out.rdem1", 0, expected[0] * MANY / 6);
  assert_gauge("out.rdem1", 1, expected[1]);
  double near[C] = {0}, cosine = pair(r, other, 1.0 / B / MANY, near, NULL);
  assert_gauge("out.riem1", 0, 1 + cosine * MANY / 6);
  for (int i = 0; i < MANY * C; i++) assert_gauge("grad_in.r1", i, dr[i] + near[i % C]);
  assert_true(gauge_channels_share(&m.file));
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(batch_norm_is_as_derived),
      cmocka_unit_test(losses_are_as_derived),
      cmocka_unit_test(equal_terms_of_losses_are_rounded_alike),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
