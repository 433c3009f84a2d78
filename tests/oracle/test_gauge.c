/* Gauges against their definitions, written plainly: what the terms of each element add up to, and what else the rule is told of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "oracle/gauge.h"
#include "oracle/memory_case.h"
#include "support/cmocka.h"

/* ---- cases --------------------------------------------------------------------------------------------------------------------------- */

enum { LARGEST = 6000, TENSORS = 16 };
static double store[TENSORS][LARGEST];
static int stored;
static struct memory_case m;
static struct case_run g, g2;
static struct error err;

static void begin(const char *op) {
  stored = 0;
  memory_case_begin(&m, op, "case");
}

/* A given tensor of normal numbers, and where they are. */
static double *give(const char *name, int ndim, const ptrdiff_t *shape) {
  assert_true(stored < TENSORS);
  struct philox draws = philox_stream(3, PHILOX_TEST, 12, (uint32_t)stored, 0);
  double *x = store[stored++];
  struct tensor t = tensor_make(DTYPE_F64, x, ndim, shape, "%s", name);
  assert_true(tensor_count(&t) <= LARGEST);
  for (ptrdiff_t i = 0; i < tensor_count(&t); i++) x[i] = philox_normal(&draws);
  memory_case_give(&m, name, &t);
  return x;
}

static void expect(const char *name, int ndim, const ptrdiff_t *shape) { memory_case_expect(&m, name, DTYPE_F64, ndim, shape); }

static void compute(double chain) {
  if (!memory_case_end(&m, &err) || !run_begin(&g, &m.file, &err) || !run_begin(&g2, &m.file, &err) ||
      !gauge_compute(&m.file, chain, &g, &g2, &err))
    fail_msg("%s", err.text);
}

static void end(void) {
  run_end(&g), run_end(&g2);
  memory_case_free(&m);
}

static double gauge_in(const struct case_run *run, const char *name, ptrdiff_t i) {
  const struct tensor *t = run_result(run, name);
  if (!t || i >= tensor_count(t)) fail_msg("no %s", name);
  return tensor_at(t, i);
}
static double of(const char *name, ptrdiff_t i) { return gauge_in(&g, name, i); }

static void assert_near(const char *name, ptrdiff_t i, double is, double expected) {
  if (!(fabs(is - expected) <= 1e-12 * fabs(expected))) fail_msg("%s[%td]: %.17g, not %.17g", name, i, is, expected);
}
static void assert_gauge(const char *name, ptrdiff_t i, double expected) { assert_near(name, i, of(name, i), expected); }

/* ---- terms --------------------------------------------------------------------------------------------------------------------------- */

static void assert_terms(const char *op, const char *name, double expected) {
  m.file.op = op;
  if (gauge_terms(&m.file, name) != expected) fail_msg("%s %s: %g terms, not %g", op, name, gauge_terms(&m.file, name), expected);
}

static void terms_of_the_longest_sum_are_counted(void **state) {
  (void)state;
  begin("conv");
  give("in.x", 4, (ptrdiff_t[]){2, 11, 13, 5});
  give("param.weight", 4, (ptrdiff_t[]){7, 2, 3, 5});
  give("grad_out.y", 4, (ptrdiff_t[]){2, 9, 10, 7});
  give("in.t1", 3, (ptrdiff_t[]){2, 3, 17});
  assert_true(memory_case_end(&m, &err));
  assert_terms("conv", "out.y", 2 * 3 * 5);
  assert_terms("conv", "grad_in.x", 2 * 3 * 7);
  assert_terms("conv", "grad_param.weight", 2 * 9 * 10);
  assert_terms("avgpool", "out.y", 11 * 13);
  assert_terms("avgpool", "grad_in.x", 1);
  assert_terms("maxpool", "grad_in.x", 4);
  assert_terms("relu", "out.y", 1);
  assert_terms("match", "out.sim12", 17);
  assert_terms("norm", "out.y", 2 * 11 * 13);
  assert_terms("lars", "out.param.0.weight.0", 0);
  assert_terms("ema", "out.target.0.0", 0);
  end();
  begin("linear");
  give("in.x", 2, (ptrdiff_t[]){4, 6});
  give("param.weight", 2, (ptrdiff_t[]){3, 6});
  assert_true(memory_case_end(&m, &err));
  assert_terms("linear", "out.y", 6);
  assert_terms("linear", "grad_in.x", 3);
  assert_terms("linear", "grad_param.weight", 4);
  end();
  for (int view = 1; view <= 2; view++) { /* width, and rows of regions */
    begin("loss");
    give(view == 1 ? "in.q1" : "in.q2", 2, (ptrdiff_t[]){2, 20});
    give(view == 1 ? "in.r1" : "in.r2", 3, (ptrdiff_t[]){2, 4, 30});
    assert_true(memory_case_end(&m, &err));
    assert_terms("loss", "out.rdem1", 30 + 2 * 4);
    end();
  }
}

/* ---- measured ------------------------------------------------------------------------------------------------------------------------ */

static void products_add_up_in_absolute_value(void **state) {
  (void)state;
  enum { M = 4, I = 3, O = 2 };
  const ptrdiff_t xs[] = {M, I}, ws[] = {O, I}, ys[] = {M, O}, o = O;
  begin("linear");
  memory_case_flag(&m, "bias", true);
  const double *x = give("in.x", 2, xs), *w = give("param.weight", 2, ws), *b = give("param.bias", 1, &o), *dy = give("grad_out.y", 2, ys);
  const double *before = give("in.before.x", 2, xs);
  expect("out.y", 2, ys), expect("grad_in.x", 2, xs), expect("grad_param.weight", 2, ws), expect("grad_param.bias", 1, &o);
  compute(1024);
  for (int i = 0; i < M; i++) {
    for (int k = 0; k < O; k++) {
      double sum = fabs(b[k]), squares = b[k] * b[k];
      for (int c = 0; c < I; c++) sum += fabs(x[i * I + c] * w[k * I + c]), squares += pow(x[i * I + c] * w[k * I + c], 2);
      assert_gauge("out.y", i * O + k, sum);
      assert_near("root of squares", i * O + k, gauge_in(&g2, "out.y", i * O + k), sqrt(squares));
    }
    for (int c = 0; c < I; c++) {
      double sum = fabs(before[i * I + c]);
      for (int k = 0; k < O; k++) sum += fabs(dy[i * O + k] * w[k * I + c]);
      assert_gauge("grad_in.x", i * I + c, sum);
    }
  }
  for (int k = 0; k < O; k++) {
    double bias = 0;
    for (int i = 0; i < M; i++) bias += fabs(dy[i * O + k]);
    assert_gauge("grad_param.bias", k, bias);
    for (int c = 0; c < I; c++) {
      double sum = 0;
      for (int i = 0; i < M; i++) sum += fabs(dy[i * O + k] * x[i * I + c]);
      assert_gauge("grad_param.weight", k * I + c, sum);
    }
  }
  double *start;
  const struct tensor *dx = run_result(&g, "grad_in.x"), *dw = run_result(&g, "grad_param.weight");
  assert_true(gauge_start(&m.file, &g, dx, &start, &err) && start && start[M * I - 1] == before[M * I - 1]);
  free(start);
  assert_true(gauge_start(&m.file, &g, dw, &start, &err) && !start);
  end();
}

/* Norms of two rows divide a cosine, each with roundings of its own. */
static void a_similarity_counts_twice(void **state) {
  (void)state;
  enum { N = 3, C = 5 };
  for (int dot = 0; dot < 2; dot++) {
    begin("match");
    memory_case_text(&m, "similarity", dot ? "dot" : "cosine");
    const double *a = give("in.t1", 3, (ptrdiff_t[]){1, N, C}), *b = give("in.t2", 3, (ptrdiff_t[]){1, N, C});
    expect("out.sim12", 3, (ptrdiff_t[]){1, N, N});
    compute(1024);
    for (int i = 0; i < N; i++) {
      for (int j = 0; j < N; j++) {
        double sum = 0, aa = 0, bb = 0;
        for (int c = 0; c < C; c++) {
          sum += fabs(a[i * C + c] * b[j * C + c]);
          aa += a[i * C + c] * a[i * C + c], bb += b[j * C + c] * b[j * C + c];
        }
        assert_gauge("out.sim12", i * N + j, 2 * sum / (dot ? 1 : sqrt(aa * bb)));
        assert_near("second", 0, gauge_in(&g2, "out.sim12", i * N + j), of("out.sim12", i * N + j));
      }
    }
    end();
  }
}

/* A gradient goes where the numbers say, not their absolute values. */
static void copies_have_the_gauge_of_what_is_copied(void **state) {
  (void)state;
  const ptrdiff_t n = 10;
  begin("relu");
  const double *x = give("in.x", 1, &n), *dy = give("grad_out.y", 1, &n);
  expect("out.y", 1, &n), expect("grad_in.x", 1, &n);
  compute(1024);
  for (int i = 0; i < n; i++) {
    assert_gauge("out.y", i, x[i] > 0 ? x[i] : 0);
    assert_gauge("grad_in.x", i, x[i] > 0 ? fabs(dy[i]) : 0);
    assert_near("second", i, gauge_in(&g2, "grad_in.x", i), of("grad_in.x", i));
  }
  end();
}

/* A plane of one value: L = N = 400 or 100, N / (4 sqrt(L) + 2) gauges and N / (3 sqrt(L)) of what is carried. */
static void means_of_one_value_are_rounded_alike(void **state) {
  (void)state;
  for (int chain = 100; chain <= 1024; chain += 924) {
    begin("avgpool");
    double *x = give("in.x", 4, (ptrdiff_t[]){2, 20, 20, 3});
    double L = chain == 100 ? 100 : 400, sum = 0;
    for (int i = 0; i < 400; i++) x[i * 3 + 1] = -5, sum += fabs(x[(400 + i) * 3 + 1]) / 400; /* of the first image */
    expect("out.y", 2, (ptrdiff_t[]){2, 3});
    compute(chain);
    assert_gauge("out.y", 1, 5 * L / (4 * sqrt(L) + 2));
    assert_gauge("carried.out.y", 1, 5 * L / (3 * sqrt(L)));
    assert_gauge("out.y", 4, sum);
    assert_gauge("carried.out.y", 4, 0);
    double *carried;
    assert_true(gauge_carried(&g, run_result(&g, "out.y"), &carried, &err) && carried && carried[1] == of("carried.out.y", 1));
    free(carried);
    end();
  }
}

/* ---- batch norm ---------------------------------------------------------------------------------------------------------------------- */

static double alike(double L, double N) { return N > 3 * sqrt(L) ? N / (3 * sqrt(L)) : 1; }
static double alike_bound(double L, double N) { return N > 4 * sqrt(L) + 2 ? N / (4 * sqrt(L) + 2) : 1; }

/* Channels: 1 is mostly of one value, 2 mostly of zeros, 3 half; the others, more than are taken together, of none. */
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
    const double *res = residual ? give("in.residual", 2, shape) : NULL, *d = give("grad_out.y", 2, shape);
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
      assert_gauge("grad_param.beta", k, M * sd);
      double shift = invstd * grown, scale = fabs(gamma[k]) * invstd, m_d = fabs(net_d), m_dhat = fabs(net_dhat);
      if (train) {
        assert_gauge("out.running_mean", k, fabs(mean0[k]) + momentum * spread);
        assert_gauge("out.running_var", k, var0[k] + momentum * v * M / (M - 1) * B);
        assert_gauge("carried.out.running_mean", k, momentum * grown);
        assert_gauge("carried.out.running_var", k, momentum * v * A);
      } else {
        assert_null(run_result(&g, "out.running_mean"));
      }
      double own = of("carried.grad_param.gamma", k), expected = M * (m_d * shift + m_dhat * A / 2);
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

/* ---- LARS and the moving average ----------------------------------------------------------------------------------------------------- */

static void updates_are_as_derived(void **state) {
  (void)state;
  enum { SIZE = 30, STEPS = 2 };
  const ptrdiff_t size = SIZE, steps = STEPS;
  const double trust = 0.01, mu = 0.9, wd = 0.1;
  for (int kind = 0; kind < 6; kind++) { /* either variant; a vector, which is not adapted; a chain shorter than the tensor */
    const bool inside = kind % 2, adapt = kind < 4;
    const double K = adapt ? sqrt(kind < 2 ? SIZE : 16) : 0, decay = adapt ? wd : 0;
    char names[6][40];
    static const char *const forms[] = {"param.%s",     "in.momentum.%s",  "in.grad.0.%s",
                                        "in.grad.1.%s", "out.param.%d.%s", "out.momentum.%d.%s"};
    const char *parameter = adapt ? "weight.0" : "vector.0";
    double *given[4], w[SIZE], mom[SIZE], Gm[SIZE] = {0}, left[SIZE] = {0};
    begin("lars");
    memory_case_text(&m, "variant", inside ? "openselfsup" : "byol");
    memory_case_number(&m, "trust", trust), memory_case_number(&m, "momentum", mu), memory_case_number(&m, "weight_decay", wd);
    memory_case_integer(&m, "steps", STEPS);
    double *lr = give("in.lr", 1, &steps);
    lr[0] = 0.3, lr[1] = 0.2;
    for (int k = 0; k < 4; k++) {
      snprintf(names[k], sizeof names[k], forms[k], parameter);
      given[k] = give(names[k], 1, &size);
    }
    expect("out.param.0.weight.0", 1, &size);
    compute(kind < 2 ? 1024 : 16);
    for (int i = 0; i < SIZE; i++) w[i] = given[0][i], mom[i] = given[1][i];
    for (int k = 0; k < STEPS; k++) {
      const double *grad = given[2 + k], into_m = inside ? lr[k] : 1, into_w = inside ? 1 : lr[k];
      double ww = 0, dd = 0, gg = 0;
      for (int i = 0; i < SIZE; i++) ww += w[i] * w[i], dd += pow(grad[i] + decay * w[i], 2), gg += grad[i] * grad[i];
      const double rho = !adapt ? 1 : trust * sqrt(ww) / (inside ? sqrt(gg) + wd * sqrt(ww) : sqrt(dd));
      snprintf(names[4], sizeof names[4], forms[4], k, parameter), snprintf(names[5], sizeof names[5], forms[5], k, parameter);
      double *start, *start_w;
      assert_true(gauge_start(&m.file, &g, run_result(&g, names[5]), &start, &err) && start);
      assert_true(gauge_start(&m.file, &g, run_result(&g, names[4]), &start_w, &err) && start_w);
      for (int i = 0; i < SIZE; i++) {
        double kept = mu * mom[i];
        assert_near("start", i, start[i], kept), assert_near("start of w", i, start_w[i], w[i]);
        Gm[i] = mu * (Gm[i] + fabs(mom[i])) + into_m * rho * (fabs(grad[i]) + decay * fabs(w[i])) * (3 + K);
        mom[i] = kept + into_m * rho * (grad[i] + decay * w[i]);
        assert_gauge(names[5], i, Gm[i]);
        double G = fabs(w[i]) + left[i] + into_w * (Gm[i] + fabs(kept) / 2);
        assert_gauge(names[4], i, G);
        w[i] -= into_w * mom[i], left[i] = G + fabs(w[i]) / 2;
      }
      free(start), free(start_w);
      assert_near("common", k, gauge_common(&m.file, names[4], kind < 2 ? 1024 : 16), adapt ? K + 4 : 0);
    }
    end();
  }
  assert_true(gauge_kept("out.momentum.0.weight.0") == 1 && gauge_kept("out.target.0.0") == 1 && gauge_kept("out.running_var") == 1);
  assert_true(gauge_kept("out.param.0.weight.0") == 0 && gauge_kept("out.y") == 0);
}

static void averages_are_as_derived(void **state) {
  (void)state;
  enum { SIZE = 5, STEPS = 2 };
  const ptrdiff_t size = SIZE, steps = STEPS;
  begin("ema");
  double *tau = give("in.tau", 1, &steps), *xi = give("in.target.0", 1, &size), left[SIZE] = {0};
  const double *theta[] = {give("in.online.0.0", 1, &size), give("in.online.1.0", 1, &size)};
  tau[0] = 0.9, tau[1] = 1;
  expect("out.target.0.0", 1, &size);
  compute(1024);
  for (int k = 0; k < STEPS; k++) {
    const char *name = k ? "out.target.1.0" : "out.target.0.0";
    double *start;
    assert_true(gauge_start(&m.file, &g, run_result(&g, name), &start, &err) && start);
    for (int i = 0; i < SIZE; i++) {
      assert_near("start", i, start[i], xi[i]);
      double G = tau[k] * fabs(xi[i]) + 1.5 * (1 - tau[k]) * (fabs(theta[k][i]) + fabs(xi[i])) + left[i];
      assert_gauge(name, i, G);
      xi[i] += (1 - tau[k]) * (theta[k][i] - xi[i]), left[i] = G + fabs(xi[i]) / 2;
    }
    free(start);
    assert_near("common", k, gauge_common(&m.file, name, 1024), k ? 0 : 0.5 / (1 - 0.9)); /* tau of 1 moves nothing */
  }
  end();
}

/* ---- exact sums, Winograd ------------------------------------------------------------------------------------------------------------ */

/* Whole numbers whose terms add up to 2^24 units, or to more. */
static bool exact_with(double x, double w, double b, int in_bits, int out_bits) {
  const ptrdiff_t xs[] = {1, 2}, ws[] = {1, 2}, one = 1, ys[] = {1, 1};
  begin("linear");
  memory_case_flag(&m, "bias", true);
  double *in = give("in.x", 2, xs), *weight = give("param.weight", 2, ws), *bias = give("param.bias", 1, &one);
  in[0] = x, in[1] = -1, weight[0] = weight[1] = w, *bias = b;
  expect("out.y", 2, ys);
  compute(1024);
  double y = x * w - w + b;
  struct tensor truth = tensor_make(DTYPE_F64, &y, 2, ys, "out.y");
  bool exact = gauge_exact(&m.file, &truth, run_result(&g, "out.y"), in_bits, 24, out_bits);
  end();
  return exact;
}

static void sums_are_exact_up_to_the_bits_of_the_accumulator(void **state) {
  (void)state;
  assert_true(exact_with(0x1p23, 1, 1, 24, 24));
  assert_true(exact_with(0x1p24 - 2, 1, 1, 24, 24));  /* 2^24 in all */
  assert_false(exact_with(0x1p24 - 1, 1, 1, 24, 24)); /* one more */
  assert_false(exact_with(0x1p23, 1, 0.5, 24, 24));   /* the bias is of halves: 2^24 + 3 of them */
  assert_true(exact_with(0x1p22, 1, 0.5, 24, 24));
  assert_false(exact_with(0x1p22 - 1, 0.25, 0x1p-4, 24, 24)); /* quarters times ones, and sixteenths */
  assert_true(exact_with(0x1p20 - 1, 0.25, 0x1p-4, 24, 24));
  assert_false(exact_with(0x1p24 - 1, 1, 0x1p10, 24, 24)); /* a bias of thousands makes no unit larger */
  assert_false(exact_with(0x1p21 + 0.25, 3, 1, 24, 53));   /* nor does the last number of an input: quarters */
  assert_true(exact_with(0x1p20 + 0.25, 3, 1, 24, 53));
  assert_true(exact_with(128, 1, 1, 8, 24));
  assert_false(exact_with(257, 1, 1, 8, 24)); /* no number of the inputs' format */
  assert_true(exact_with(257, 1, 1, 9, 24));
  assert_false(exact_with(257, 1, 1, 9, 8)); /* 257 - 1 + 1 is none of the outputs' */
  assert_false(exact_with(1.1, 1, 1, 24, 24));
}

static void winograd_is_held_to_its_own_terms(void **state) {
  (void)state;
  static const double BT[4][4] = {{1, 0, 1, 0}, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 1, 0, 1}}; /* absolute values of all three */
  static const double G[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, .5, .5}, {0, 0, 1}}, AT[2][4] = {{1, 1, 1, 0}, {0, 1, 1, 1}};
  enum { H = 5, W = 4, IN = 2, OUT = 2 };
  begin("conv");
  memory_case_integer(&m, "stride", 1), memory_case_integer(&m, "pad", 1);
  const double *x = give("in.x", 4, (ptrdiff_t[]){2, H, W, IN}), *w = give("param.weight", 4, (ptrdiff_t[]){OUT, 3, 3, IN});
  expect("out.y", 4, (ptrdiff_t[]){2, H, W, OUT});
  compute(1024);
  struct case_run inputs;
  assert_true(run_begin(&inputs, &m.file, &err) && gauge_winograd(&inputs, &g));
  for (int n = 0; n < 2; n++)
    for (int p = 0; p < H; p++)
      for (int q = 0; q < W; q++)
        for (int k = 0; k < OUT; k++) {
          double sum = 0;
          for (int c = 0; c < IN; c++)
            for (int a = 0; a < 4; a++)
              for (int b = 0; b < 4; b++) {
                double d = 0, u = 0;
                for (int e = 0; e < 4; e++)
                  for (int f = 0; f < 4; f++) {
                    int row = p / 2 * 2 - 1 + e, column = q / 2 * 2 - 1 + f;
                    bool there = row >= 0 && row < H && column >= 0 && column < W;
                    if (there) d += BT[a][e] * BT[b][f] * fabs(x[((n * H + row) * W + column) * IN + c]);
                    if (e < 3 && f < 3) u += G[a][e] * G[b][f] * fabs(w[((k * 3 + e) * 3 + f) * IN + c]);
                  }
                sum += AT[p % 2][a] * AT[q % 2][b] * d * u;
              }
          assert_gauge("out.y", ((n * H + p) * W + q) * OUT + k, sum);
        }
  run_end(&inputs);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(terms_of_the_longest_sum_are_counted),
      cmocka_unit_test(products_add_up_in_absolute_value),
      cmocka_unit_test(a_similarity_counts_twice),
      cmocka_unit_test(copies_have_the_gauge_of_what_is_copied),
      cmocka_unit_test(means_of_one_value_are_rounded_alike),
      cmocka_unit_test(batch_norm_is_as_derived),
      cmocka_unit_test(losses_are_as_derived),
      cmocka_unit_test(equal_terms_of_losses_are_rounded_alike),
      cmocka_unit_test(updates_are_as_derived),
      cmocka_unit_test(averages_are_as_derived),
      cmocka_unit_test(sums_are_exact_up_to_the_bits_of_the_accumulator),
      cmocka_unit_test(winograd_is_held_to_its_own_terms),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
