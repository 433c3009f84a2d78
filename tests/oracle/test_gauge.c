/* Gauges against their definitions, written plainly: what the terms of each element add up to, and what else the rule is told of it. */
#include <float.h>
#include <stdio.h>
#include <string.h>

#include "oracle/gauge_case.h"

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

/* Columns of gradients: of no number, of 0.5 with zeros between, of 0.5 and -2 by halves. */
static void sums_of_one_gradient_are_rounded_alike(void **state) {
  (void)state;
  for (int chain = 100; chain <= 1024; chain += 924) {
    begin("linear");
    memory_case_flag(&m, "bias", true);
    give("in.x", 2, (ptrdiff_t[]){400, 1}), give("param.weight", 2, (ptrdiff_t[]){3, 1}), give("param.bias", 1, (ptrdiff_t[]){3});
    double *d = give("grad_out.y", 2, (ptrdiff_t[]){400, 3}), sum = 0, L = chain == 100 ? 100 : 400;
    for (int i = 0; i < 400; i++) sum += fabs(d[i * 3]), d[i * 3 + 1] = i % 4 ? 0.5 : 0, d[i * 3 + 2] = i % 2 ? 0.5 : -2;
    expect("grad_param.bias", 1, (ptrdiff_t[]){3});
    compute(chain);
    double N = fmin(300, L);
    assert_gauge("grad_param.bias", 0, sum), assert_gauge("carried.grad_param.bias", 0, 0);
    assert_gauge("grad_param.bias", 1, 150 * N / (4 * sqrt(L) + 2)), assert_gauge("carried.grad_param.bias", 1, 150 * N / (3 * sqrt(L)));
    assert_gauge("grad_param.bias", 2, 500), assert_gauge("carried.grad_param.bias", 2, 0);
    assert_near("common", 0, gauge_common(&m.file, "grad_param.bias", chain), 0);
    for (int i = 0; i < 400; i++) d[i * 3] = d[i * 3 + 1];
    assert_near("common", 0, gauge_common(&m.file, "grad_param.bias", chain), N / 2 * 2 / 3); /* two of three columns */
    end();
  }
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
        Gm[i] = mu * (Gm[i] + fabs(mom[i])) + into_m * rho * ((fabs(grad[i]) + decay * fabs(w[i])) * (3 + K) + decay * left[i]);
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
  const struct precision_class p = {.in = {in_bits, -149, FLT_MAX}, .acc = {24, -149, FLT_MAX}, .out = {out_bits, -149, FLT_MAX}};
  bool exact = gauge_exact(&m.file, &truth, run_result(&g, "out.y"), &p);
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

/* x w, in this class. */
static bool exact_product(double x, double w, enum precision class) {
  const ptrdiff_t s[] = {1, 1};
  begin("linear");
  memory_case_flag(&m, "bias", false);
  *give("in.x", 2, s) = x, *give("param.weight", 2, s) = w;
  expect("out.y", 2, s);
  compute(1024);
  double y = x * w;
  struct tensor truth = tensor_make(DTYPE_F64, &y, 2, s, "out.y");
  bool exact = gauge_exact(&m.file, &truth, run_result(&g, "out.y"), &precision_classes[class]);
  end();
  return exact;
}

/* The smallest number of a format and half of it, the largest and twice that: of the product, and of the inputs. */
static void sums_are_exact_within_the_range_of_the_formats(void **state) {
  (void)state;
  assert_true(exact_product(0x1p-100, 0x1p-49, PRECISION_FP32));
  assert_false(exact_product(0x1p-100, 0x1p-50, PRECISION_FP32));
  assert_false(exact_product(0x1p-100, 0x1p-100, PRECISION_FP32));
  assert_true(exact_product(0x1p-149, 1, PRECISION_FP32));
  assert_false(exact_product(0x1p-149, 0.5, PRECISION_FP32));
  assert_false(exact_product(0x1p-150, 2, PRECISION_FP32));
  assert_true(exact_product(0x1p100, 0x1p27, PRECISION_FP32));
  assert_false(exact_product(0x1p100, 0x1p28, PRECISION_FP32));
  assert_false(exact_product(0x1p128, 0.5, PRECISION_FP32));
  assert_true(exact_with(2, 0x1p-149, 0, 24, 53));
  assert_false(exact_with(0.5, 0x1p-149, 0, 24, 53)); /* a number of the outputs, and none of the accumulator */
  assert_true(exact_with(1, 0x1p126, 0x1p126, 24, 24));
  assert_false(exact_with(1, 0x1p127, 0x1p127, 24, 24)); /* 2^127 - 2^127 + 2^127: in another order infinite on the way */
  assert_true(exact_product(0x1p-133, 1, PRECISION_BF16));
  assert_false(exact_product(0x1p-134, 2, PRECISION_BF16));
  assert_false(exact_product(0x1p-133, 0.5, PRECISION_BF16)); /* a number of the accumulator */
  assert_true(exact_product(0x1p15, 1, PRECISION_FP16));
  assert_false(exact_product(0x1p15, 2, PRECISION_FP16));
  assert_true(exact_product(0x1p-600, 0x1p-474, PRECISION_FP64));
  assert_false(exact_product(0x1p-600, 0x1p-475, PRECISION_FP64));
  assert_true(exact_product(-0x1p100, 0x1p100, PRECISION_FP64));
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

/* An input of x at the corner of the first tile, a weight of w at the centre of the kernel: whole numbers whose gauge is x w. */
static bool exact_convolution(double x, double w, enum precision class, bool winograd) {
  enum { SIZE = 4 };
  const ptrdiff_t xs[] = {1, SIZE, SIZE, 1}, ws[] = {1, 3, 3, 1};
  begin("conv");
  memory_case_integer(&m, "stride", 1), memory_case_integer(&m, "pad", 1);
  double *in = give("in.x", 4, xs), *weight = give("param.weight", 4, ws);
  double y[SIZE * SIZE] = {0};
  for (int i = 0; i < SIZE * SIZE; i++) in[i] = 0;
  for (int i = 0; i < 9; i++) weight[i] = 0;
  in[0] = x, weight[4] = w, y[0] = x * w;
  expect("out.y", 4, xs);
  compute(1024);
  struct precision_class p = precision_classes[class];
  struct case_run inputs = {0};
  p.winograd = winograd;
  if (winograd) {
    assert_true(run_begin(&inputs, &m.file, &err) && gauge_winograd(&inputs, &g));
    assert_gauge("out.y", 0, fabs(x * w));
    assert_gauge("out.y", SIZE + 1, fabs(x * w)); /* to which it adds and takes off what a direct sum leaves alone */
  }
  struct tensor truth = tensor_make(DTYPE_F64, y, 4, xs, "out.y");
  bool exact = gauge_exact(&m.file, &truth, run_result(&g, "out.y"), &p);
  run_end(&inputs);
  end();
  return exact;
}

static void winograd_is_exact_in_quarters(void **state) {
  (void)state;
  static const struct {
    double x, w;
    enum precision class;
    bool exact;
  } kinds[] = {{0x1p20 + 1, 3, PRECISION_FP32, true}, {0x1p21 - 1, 3, PRECISION_FP32, false}, /* 2^22 in all */
               {63, 1, PRECISION_FP16, true},         {513, 1, PRECISION_FP16, false},        /* four times that in 11 bits */
               {63, 1, PRECISION_TF32, true},         {513, 1, PRECISION_TF32, false},
               {1, 227, PRECISION_TF32, true},        {1, 229, PRECISION_TF32, false}, /* nine times */
               {63, 1, PRECISION_BF16, true},         {65, 1, PRECISION_BF16, false}};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    if (exact_convolution(kinds[k].x, kinds[k].w, kinds[k].class, true) != kinds[k].exact) fail_msg("%g, %g", kinds[k].x, kinds[k].w);
    assert_true(exact_convolution(kinds[k].x, kinds[k].w, kinds[k].class, false)); /* directly all are */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(terms_of_the_longest_sum_are_counted),
      cmocka_unit_test(products_add_up_in_absolute_value),
      cmocka_unit_test(a_similarity_counts_twice),
      cmocka_unit_test(copies_have_the_gauge_of_what_is_copied),
      cmocka_unit_test(means_of_one_value_are_rounded_alike),
      cmocka_unit_test(sums_of_one_gradient_are_rounded_alike),
      cmocka_unit_test(updates_are_as_derived),
      cmocka_unit_test(averages_are_as_derived),
      cmocka_unit_test(sums_are_exact_up_to_the_bits_of_the_accumulator),
      cmocka_unit_test(sums_are_exact_within_the_range_of_the_formats),
      cmocka_unit_test(winograd_is_held_to_its_own_terms),
      cmocka_unit_test(winograd_is_exact_in_quarters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
