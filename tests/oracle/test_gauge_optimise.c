/* LARS and the moving average as other people write them, in float: right forms pass, faults of the size of one schedule step do not. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "oracle/candidate.h"
#include "oracle/memory_case.h"
#include "support/cmocka.h"
#include "train/schedule.h"

enum { SIZE = 4000 };
static float w[SIZE], g[SIZE], m[SIZE], theta[SIZE], w_after[SIZE], m_after[SIZE];
static const ptrdiff_t shape[] = {40, 100};

/* A weight of 0.05, a gradient of 1e-3 and a buffer of what a few steps leave. */
static void fill(uint32_t seed) {
  struct philox r = philox_stream(seed, PHILOX_TEST, 5, 0, 0);
  for (int i = 0; i < SIZE; i++) {
    w[i] = (float)(0.05 * philox_normal(&r));
    g[i] = (float)(1e-3 * philox_normal(&r));
    m[i] = (float)(1e-4 * philox_normal(&r));
    theta[i] = w[i] * (1 + (float)(1e-3 * philox_normal(&r)));
  }
}

static struct judged judge(const struct memory_case *c, const struct tensor *t, int count, int which) {
  struct judged_file j;
  struct error err;
  if (!candidate_judge_tensors(&c->file, t, count, &precision_classes[PRECISION_FP32], CHAIN_USUAL, true, &j, &err))
    fail_msg("%s", err.text);
  assert_int_equal(j.count, count);
  struct judged result = j.tensor[which];
  judged_free(&j);
  return result;
}

/* ---- LARS ---------------------------------------------------------------------------------------------------------------------------- */

enum lars_form {
  LANES, /* norms in eight lanes of float */
  CHAIN, /* norms as plain chains of 1000 floats */
  DOUBLE_NORMS,
  FUSED_UPDATE,
  RIGHT_FORMS,
  DECAY_OUTSIDE_THE_NORM = RIGHT_FORMS,
  NO_DECAY,
  NO_TRUST_RATIO,
  SUM_OF_NORMS,
  MOMENTUM_0_9001,
  LATER_RATE,
  RATE_INSIDE_THE_BUFFER,
  LAST_ELEMENT_NOT_WRITTEN,
  NOT_UPDATED,
  LARS_FORMS
};
static const char *const lars_names[] = {"lanes",
                                         "chain",
                                         "double norms",
                                         "fused",
                                         "decay outside the norm",
                                         "no decay",
                                         "no trust ratio",
                                         "sum of norms",
                                         "momentum 0.9001",
                                         "the rate of the next step",
                                         "rate inside the buffer",
                                         "last element not written",
                                         "not updated"};

static float norm_of(const float *x, int chains) {
  float sum = 0, lane[8] = {0};
  for (int base = 0; base < SIZE; base += SIZE / chains) {
    float own = 0;
    for (int i = base; i < base + SIZE / chains; i++) own += x[i] * x[i], lane[i % 8] = fmaf(x[i], x[i], lane[i % 8]);
    sum += own;
  }
  if (chains > 1) return sqrtf(sum);
  return sqrtf(((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7])));
}

static void lars_by(enum lars_form form, double rate, double next_rate) {
  const float decay = form == NO_DECAY ? 0 : 1.5e-6f, momentum = form == MOMENTUM_0_9001 ? 0.9001f : 0.9f;
  static float d[SIZE];
  for (int i = 0; i < SIZE; i++) d[i] = g[i] + (form == DECAY_OUTSIDE_THE_NORM || form == SUM_OF_NORMS ? 0 : decay * w[i]);
  float wn = norm_of(w, form == CHAIN ? 4 : 1), dn = norm_of(d, form == CHAIN ? 4 : 1);
  if (form == DOUBLE_NORMS) {
    double ww = 0, dd = 0;
    for (int i = 0; i < SIZE; i++) ww += (double)w[i] * (double)w[i], dd += (double)d[i] * (double)d[i];
    wn = (float)sqrt(ww), dn = (float)sqrt(dd);
  }
  if (form == SUM_OF_NORMS) dn += decay * wn; /* |g| + wd |w|: the other variant */
  float ratio = form == NO_TRUST_RATIO ? 1 : 1e-3f * wn / dn, lr = (float)(form == LATER_RATE ? next_rate : rate);
  for (int i = 0; i < SIZE; i++) {
    float step = d[i] * ratio;
    if (form == DECAY_OUTSIDE_THE_NORM) step += decay * w[i];
    if (form == SUM_OF_NORMS) step = (d[i] + decay * w[i]) * ratio;
    if (form == RATE_INSIDE_THE_BUFFER) step *= lr;
    m_after[i] = form == FUSED_UPDATE ? fmaf(momentum, m[i], step) : momentum * m[i] + step;
    if (form == RATE_INSIDE_THE_BUFFER) {
      w_after[i] = w[i] - m_after[i];
    } else {
      w_after[i] = form == FUSED_UPDATE ? fmaf(-lr, m_after[i], w[i]) : w[i] - lr * m_after[i];
    }
  }
  if (form == LAST_ELEMENT_NOT_WRITTEN) w_after[SIZE - 1] = w[SIZE - 1], m_after[SIZE - 1] = m[SIZE - 1];
  if (form == NOT_UPDATED) memcpy(w_after, w, sizeof w), memcpy(m_after, m, sizeof m);
}

/* One step of LARS on w, g and m under this name; rate must outlive the case, too. */
static void lars_case(struct memory_case *c, const char *name, double *rate) {
  const ptrdiff_t one = 1;
  struct error err;
  char key[64];
  struct tensor lr = tensor_make(DTYPE_F64, rate, 1, &one, "lr");
  const struct {
    const char *prefix;
    float *values;
  } given[] = {{"param", w}, {"in.momentum", m}, {"in.grad.0", g}};
  memory_case_begin(c, "lars", "layer");
  memory_case_text(c, "variant", "byol");
  memory_case_number(c, "trust", (double)1e-3f);
  memory_case_number(c, "momentum", (double)0.9f);
  memory_case_number(c, "weight_decay", (double)1.5e-6f);
  memory_case_integer(c, "steps", 1);
  memory_case_give(c, "in.lr", &lr);
  for (int i = 0; i < 3; i++) {
    struct tensor t = tensor_make(DTYPE_F32, given[i].values, 2, shape, "values");
    snprintf(key, sizeof key, "%s.%s", given[i].prefix, name);
    memory_case_give(c, key, &t);
  }
  snprintf(key, sizeof key, "out.param.0.%s", name);
  memory_case_expect(c, key, DTYPE_F32, 2, shape);
  snprintf(key, sizeof key, "out.momentum.0.%s", name);
  memory_case_expect(c, key, DTYPE_F32, 2, shape);
  assert_true(memory_case_end(c, &err));
}

static void lars_is_held_to_a_schedule_step(void **state) {
  (void)state;
  struct schedule s = schedule_make(3.2, 4096, 10, 300, 312, 0.996);
  for (uint32_t seed = 0; seed < 5; seed++) {
    double rate = schedule_lr(&s, 300 + 900 * seed), next = schedule_lr(&s, 301 + 900 * seed);
    struct memory_case c;
    fill(seed);
    lars_case(&c, "weight.0", &rate);
    for (enum lars_form form = 0; form < LARS_FORMS; form++) {
      char text[400];
      lars_by(form, rate, next);
      struct tensor t[] = {tensor_make(DTYPE_F32, w_after, 2, shape, "out.param.0.weight.0"),
                           tensor_make(DTYPE_F32, m_after, 2, shape, "out.momentum.0.weight.0")};
      struct judged parameter = judge(&c, t, 2, 0), momentum = judge(&c, t, 2, 1);
      bool wrong = parameter.judgement == JUDGED_MISMATCH || momentum.judgement == JUDGED_MISMATCH;
      const struct judged *told = momentum.judgement == JUDGED_PASS ? &parameter : &momentum;
      judged_text(&told->finding, text, sizeof text);
      if (wrong != (form >= RIGHT_FORMS)) fail_msg("%s, seed %u: %s: %s", lars_names[form], seed, judgement_names[told->judgement], text);
      if (!wrong && told->judgement != JUDGED_PASS) fail_msg("%s, seed %u: %s: %s", lars_names[form], seed, told->accepted, text);
    }
    memory_case_free(&c);
  }
}

/* ---- the moving average -------------------------------------------------------------------------------------------------------------- */

enum ema_form {
  INCREMENT,
  TWO_PRODUCTS,
  TWO_PRODUCTS_FUSED,
  FLOAT_TAU, /* 1 - tau from tau as a float */
  EMA_RIGHT,
  TAU_OF_THE_NEXT_STEP = EMA_RIGHT,
  TAU_SWAPPED,
  WEIGHTS_BEFORE_THE_STEP,
  NOT_AVERAGED,
  TAIL_NOT_AVERAGED,
  EMA_FORMS
};
static const char *const ema_names[] = {"increment",
                                        "two products",
                                        "two products, fused",
                                        "float tau",
                                        "tau of the next step",
                                        "tau swapped",
                                        "weights before the step",
                                        "not averaged",
                                        "tail not averaged"};

static void ema_by(enum ema_form form, double tau, double next) {
  if (form == TAU_OF_THE_NEXT_STEP) tau = next;
  if (form == TAU_SWAPPED) tau = 1 - tau;
  float t = (float)tau, left = form == FLOAT_TAU ? 1 - t : (float)(1 - tau);
  for (int i = 0; i < SIZE; i++) {
    float online = form == WEIGHTS_BEFORE_THE_STEP ? w[i] + (theta[i] - w[i]) * 0.999f : theta[i], old = w[i];
    w_after[i] = form == TWO_PRODUCTS         ? t * old + left * online
                 : form == TWO_PRODUCTS_FUSED ? fmaf(t, old, left * online)
                                              : old + left * (online - old);
    if (form == NOT_AVERAGED || (form == TAIL_NOT_AVERAGED && i >= SIZE - 7)) w_after[i] = old;
  }
}

static void the_moving_average_is_held_to_a_schedule_step(void **state) {
  (void)state;
  /* Over 5000 steps tau moves by a few 1e-4 of 1 - tau a step, and float tells 1 - tau to 1e-5. */
  struct schedule s = schedule_make(0.5, 256, 0, 100, 50, 0.99);
  for (uint32_t seed = 0; seed < 5; seed++) {
    double tau = schedule_tau(&s, 1000 + 800 * seed), next = schedule_tau(&s, 1001 + 800 * seed);
    const ptrdiff_t one = 1;
    struct memory_case c;
    struct error err;
    fill(seed);
    for (int i = 0; i < SIZE; i++) theta[i] = w[i] + 20 * (theta[i] - w[i]); /* a target a few steps behind */
    struct tensor tt = tensor_make(DTYPE_F64, &tau, 1, &one, "tau"), xi = tensor_make(DTYPE_F32, w, 2, shape, "xi");
    struct tensor online = tensor_make(DTYPE_F32, theta, 2, shape, "theta"),
                  t = tensor_make(DTYPE_F32, w_after, 2, shape, "out.target.0.0");
    memory_case_begin(&c, "ema", "layer");
    memory_case_give(&c, "in.tau", &tt);
    memory_case_give(&c, "in.target.0", &xi);
    memory_case_give(&c, "in.online.0.0", &online);
    memory_case_expect(&c, "out.target.0.0", DTYPE_F32, 2, shape);
    assert_true(memory_case_end(&c, &err));
    for (enum ema_form form = 0; form < EMA_FORMS; form++) {
      char text[400];
      ema_by(form, tau, next);
      struct judged j = judge(&c, &t, 1, 0);
      judged_text(&j.finding, text, sizeof text);
      if (j.judgement != (form < EMA_RIGHT ? JUDGED_PASS : JUDGED_MISMATCH)) {
        fail_msg("%s, seed %u: %s: %s %s", ema_names[form], seed, judgement_names[j.judgement], text, j.accepted ? j.accepted : "");
      }
    }
    memory_case_free(&c);
  }
}

/* ---- near zero ----------------------------------------------------------------------------------------------------------------------- */

/* A right kernel, every operation of which rounds: of a weight that is small beside its update all roundings are in the update, and with
 * numbers just above powers of two each is up to a whole roundoff. Of 4000 elements ten have four such roundings of one sign. */
static void a_weight_near_zero_has_all_roundings_of_its_update(void **state) {
  (void)state;
  double rate = (double)0.251f;
  struct memory_case c;
  struct philox r = philox_stream(11, PHILOX_TEST, 5, 0, 0);
  for (int i = 0; i < SIZE; i++) {
    w[i] = (float)(1e-3 * philox_normal(&r)), g[i] = (float)(1e-3 * philox_normal(&r)), m[i] = (float)(1.125 + 1e-3 * philox_normal(&r));
    float decayed = 0.9f * m[i];
    m_after[i] = decayed + g[i];
    float step = (float)rate * m_after[i];
    w_after[i] = w[i] - step;
  }
  lars_case(&c, "vector.0", &rate);
  struct tensor t[] = {tensor_make(DTYPE_F32, w_after, 2, shape, "out.param.0.vector.0"),
                       tensor_make(DTYPE_F32, m_after, 2, shape, "out.momentum.0.vector.0")};
  for (int i = 0; i < 2; i++) {
    struct judged j = judge(&c, t, 2, i);
    char text[400];
    judged_text(&j.finding, text, sizeof text);
    if (j.judgement != JUDGED_PASS) fail_msg("%s", text);
  }
  memory_case_free(&c);
}

/* The same of the average: 1 - tau is rounded once, by nearly a roundoff. */
static void an_average_near_zero_has_all_roundings_of_its_step(void **state) {
  (void)state;
  const double share = 0x1p-7 * (1 + 12345 * 0x1p-23 + 0.98 * 0x1p-24), tau = 1 - share;
  const ptrdiff_t one = 1;
  struct memory_case c;
  struct error err;
  struct philox r = philox_stream(12, PHILOX_TEST, 5, 0, 0);
  for (int i = 0; i < SIZE; i++) {
    w[i] = (float)(1e-5 * philox_normal(&r)), theta[i] = (float)(1.01 + 1e-3 * philox_normal(&r));
    float difference = theta[i] - w[i], step = (float)share * difference;
    w_after[i] = w[i] + step;
  }
  struct tensor taus = tensor_make(DTYPE_F64, (double[]){tau}, 1, &one, "tau"), xi = tensor_make(DTYPE_F32, w, 2, shape, "xi");
  struct tensor online = tensor_make(DTYPE_F32, theta, 2, shape, "theta");
  memory_case_begin(&c, "ema", "layer");
  memory_case_give(&c, "in.tau", &taus);
  memory_case_give(&c, "in.target.0", &xi);
  memory_case_give(&c, "in.online.0.0", &online);
  memory_case_expect(&c, "out.target.0.0", DTYPE_F32, 2, shape);
  assert_true(memory_case_end(&c, &err));
  struct tensor t = tensor_make(DTYPE_F32, w_after, 2, shape, "out.target.0.0");
  struct judged j = judge(&c, &t, 1, 0);
  char text[400];
  judged_text(&j.finding, text, sizeof text);
  if (j.judgement != JUDGED_PASS) fail_msg("%s", text);
  memory_case_free(&c);
}

/* One step in float, with lengths in double: no momentum, a trust of 1, a decay of 1e-3. */
static void step_in_float(float rate, const float *gradient, const float *from, float *to, float *buffer) {
  const float decay = 1e-3f;
  double ww = 0, dd = 0;
  for (int i = 0; i < SIZE; i++) {
    const float d = gradient[i] + decay * from[i];
    ww += (double)from[i] * (double)from[i], dd += (double)d * (double)d;
  }
  const float ratio = (float)sqrt(ww / dd);
  for (int i = 0; i < SIZE; i++) {
    buffer[i] = ratio * (gradient[i] + decay * from[i]);
    to[i] = from[i] - rate * buffer[i];
  }
}

/* The first step takes a weight to about a thousandth of itself, with the roundoff of the whole; the second has nothing but its decay. */
static void what_is_left_of_a_weight_decays_with_its_error(void **state) {
  (void)state;
  static float zeros[SIZE], after[2][SIZE], buffer[2][SIZE];
  const ptrdiff_t two = 2;
  double rates[] = {1, 0.5};
  struct memory_case c;
  struct error err;
  fill(7);
  for (int i = 0; i < SIZE; i++) g[i] = theta[i], m[i] = 0;
  step_in_float(1, g, w, after[0], buffer[0]);
  step_in_float(0.5f, zeros, after[0], after[1], buffer[1]);
  const struct {
    const char *name;
    float *values;
  } given[] = {{"param.weight.0", w}, {"in.momentum.weight.0", m}, {"in.grad.0.weight.0", g}, {"in.grad.1.weight.0", zeros}};
  struct tensor lr = tensor_make(DTYPE_F64, rates, 1, &two, "lr"), result[4];
  memory_case_begin(&c, "lars", "layer");
  memory_case_text(&c, "variant", "byol");
  memory_case_number(&c, "trust", 1);
  memory_case_number(&c, "momentum", 0);
  memory_case_number(&c, "weight_decay", (double)1e-3f);
  memory_case_integer(&c, "steps", 2);
  memory_case_give(&c, "in.lr", &lr);
  for (int i = 0; i < 4; i++) {
    struct tensor t = tensor_make(DTYPE_F32, given[i].values, 2, shape, "values");
    memory_case_give(&c, given[i].name, &t);
    result[i] =
        tensor_make(DTYPE_F32, i % 2 ? buffer[i / 2] : after[i / 2], 2, shape, "out.%s.%d.weight.0", i % 2 ? "momentum" : "param", i / 2);
    memory_case_expect(&c, result[i].name, DTYPE_F32, 2, shape);
  }
  assert_true(memory_case_end(&c, &err));
  for (int i = 0; i < 4; i++) {
    struct judged j = judge(&c, result, 4, i);
    char text[400];
    judged_text(&j.finding, text, sizeof text);
    if (j.judgement != JUDGED_PASS) fail_msg("%s %s", text, j.accepted ? j.accepted : "");
  }
  memory_case_free(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lars_is_held_to_a_schedule_step),
      cmocka_unit_test(the_moving_average_is_held_to_a_schedule_step),
      cmocka_unit_test(a_weight_near_zero_has_all_roundings_of_its_update),
      cmocka_unit_test(an_average_near_zero_has_all_roundings_of_its_step),
      cmocka_unit_test(what_is_left_of_a_weight_decays_with_its_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
