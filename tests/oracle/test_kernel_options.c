/* ediy_oracle.h: what is declared of a kernel and asked for by options: its precision and algorithm, the inputs, the shape. */
#include <fenv.h>

#include "oracle/backends.h"
#include "oracle/judged_kernels.h"
#include "oracle/precision.h"

/* Products of bf16 operands, summed and left in float: rounding what is a number of bf16 already changes nothing. */
static int conv_of_bf16(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  const struct number_format *f = &precision_classes[PRECISION_BF16].in;
  ptrdiff_t nx = g->n * g->h * g->w * g->c, nw = g->k * g->r * g->s * g->c;
  float *rounded = scratch_of(nx + nw, sizeof *rounded);
  (void)context;
  for (ptrdiff_t i = 0; i < nx + nw; i++) rounded[i] = (float)number_round(f, (double)(i < nx ? x[i] : w[i - nx]));
  struct conv c = conv_of(g);
  conv_forward_plain(&c, rounded, rounded + nx, y);
  free(rounded);
  return 0;
}

/* The same, its results rounded to bf16, too. */
static int conv_in_bf16(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  conv_of_bf16(context, g, x, w, y);
  for (ptrdiff_t i = 0; i < g->n * g->p * g->q * g->k; i++)
    y[i] = (float)number_round(&precision_classes[PRECISION_BF16].out, (double)y[i]);
  return 0;
}

static void a_precision_has_to_be_declared(void **state) {
  (void)state;
  const ediy_oracle_kernel k = {.conv_forward = conv_in_bf16};
  ediy_oracle_options o = few;
  expect(EDIY_ORACLE_MISMATCH, "conv: out.y", judge(&k, RIGHT, "", &o, NULL));
  o.precision = EDIY_ORACLE_BF16;
  expect(EDIY_ORACLE_PASS, "as bf16", judge(&k, RIGHT, "", &o, NULL));
}

/* conv_of_bf16, each addition cut. */
static int conv_of_tensor_cores(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  const int before = fegetround();
  fesetround(FE_TOWARDZERO);
  int status = conv_of_bf16(context, g, x, w, y);
  fesetround(before);
  return status;
}

/* The commonest kernel of tensor cores, and one that stores in bf16: no class that rounds inputs itself fits either. */
static void inputs_may_be_numbers_of_bf16(void **state) {
  (void)state;
  ediy_oracle_options o = few;
  const ediy_oracle_kernel k = {.conv_forward = conv_of_bf16}, half = {.conv_forward = conv_in_bf16};
  expect(EDIY_ORACLE_MISMATCH, "conv: out.y", judge(&k, RIGHT, "", &o, NULL));
  o.round = EDIY_ORACLE_BF16;
  expect(EDIY_ORACLE_PASS, "as fp32", judge(&k, RIGHT, "", &o, NULL));
  expect(EDIY_ORACLE_MISMATCH, "round=bf16 out=case.safetensors", judge(&half, RIGHT, "", &o, NULL));
  o.precision = EDIY_ORACLE_BF16_OUT;
  expect(EDIY_ORACLE_PASS, "as bf16-out", judge(&half, RIGHT, "", &o, NULL));
  o.precision = EDIY_ORACLE_FP32_RZ;
  expect(EDIY_ORACLE_PASS, "as fp32-rz", judge(&(ediy_oracle_kernel){.conv_forward = conv_of_tensor_cores}, RIGHT, "", &o, NULL));
  o = (ediy_oracle_options){.shape = "n=1 c=3 round=bf16 fill=normal"};
  expect(EDIY_ORACLE_PASS, "as fp32; conv of n=1 h=8 w=8 c=3 k=16 r=3 stride=1 pad=1 round=bf16; ", judge(&k, RIGHT, "", &o, NULL));
  o = (ediy_oracle_options){.shape = "n=1 c=3 fill=normal", .round = EDIY_ORACLE_TF32};
  expect(EDIY_ORACLE_MISMATCH, "round=tf32", judge(&k, RIGHT, "", &o, NULL));
}

static int conv_by_winograd(void *context, const ediy_oracle_conv *g, const float *x, const float *w, float *y) {
  struct conv c = conv_of(g);
  struct named_backend plain;
  struct error err;
  (void)context;
  if (!backend_named("plain:winograd", &plain, &err)) fail_msg("%s", err.text);
  plain.table->conv_forward(&c, x, w, y, NULL);
  return 0;
}

/* A tile mixes what an element alone would not see. */
static void winograd_has_to_be_declared(void **state) {
  (void)state;
  const ediy_oracle_kernel k = {.conv_forward = conv_by_winograd};
  ediy_oracle_options o = {.shape = "n=4 h=16 w=16 c=32 k=8"};
  expect(EDIY_ORACLE_MISMATCH, "conv: out.y", judge(&k, RIGHT, "", &o, NULL));
  o.winograd = true;
  expect(EDIY_ORACLE_PASS, " as fp32 by Winograd's algorithm", judge(&k, RIGHT, "", &o, NULL));
}

/* What the inputs of a case look like, by one number each. */
static int seen_zeros, seen_wide;
static int relu_that_looks(void *context, ptrdiff_t size, const float *x, float *y) {
  (void)context;
  float most = 0, least = INFINITY;
  int zeros = 0;
  for (ptrdiff_t i = 0; i < size; i++) {
    assert_true(isfinite(x[i]) && (x[i] == 0 || isnormal(x[i])));
    zeros += x[i] == 0;
    most = fmaxf(most, fabsf(x[i])), least = x[i] != 0 ? fminf(least, fabsf(x[i])) : least;
  }
  seen_zeros += zeros > 0 && zeros < size && least < 1e-7f;
  seen_wide += zeros == 0 && most > 300 && least < 1e-3f;
  relu_forward(size, x, y);
  return 0;
}

static int relu_in_fp16(void *context, ptrdiff_t size, const float *x, float *y) {
  (void)context;
  for (ptrdiff_t i = 0; i < size; i++) y[i] = fmaxf(0, (float)number_round(&precision_classes[PRECISION_FP16].in, (double)x[i]));
  return 0;
}

static void kinds_of_inputs_come_in_turn(void **state) {
  (void)state;
  const ediy_oracle_kernel k = {.relu_forward = relu_that_looks};
  const ediy_oracle_options o = {.shape = "n=3 h=6 w=6 c=8"};
  expect(EDIY_ORACLE_PASS, "relu: pass, 20 tensors of 10 cases", judge(&k, RIGHT, "", &o, NULL));
  assert_true(seen_zeros >= 2 && seen_wide >= 2);
  const ediy_oracle_kernel all_of_it = {.match_diversity = diversity, .loss_rdem = rdem};
  const ediy_oracle_options regions = {.shape = "n=2 h=3 w=3 c=9"};
  expect(EDIY_ORACLE_PASS, "tensors of 18 cases as fp32", judge(&all_of_it, RIGHT, "", &regions, NULL)); /* 8 of match */
  const ediy_oracle_options half = {.precision = EDIY_ORACLE_FP16, .shape = "n=3 h=6 w=6 c=8"};
  const ediy_oracle_kernel relu = {.relu_forward = relu_in_fp16};
  expect(EDIY_ORACLE_PASS, " of 7 cases as fp16", judge(&relu, RIGHT, "", &half, NULL)); /* not tiny, zeros, wide */
}

static void a_shape_can_be_given(void **state) {
  (void)state;
  ediy_oracle_options o = {.shape = "n=1 h=9 w=5 c=3 k=4 r=3 stride=2 pad=0"};
  const ediy_oracle_verdict *v = judge(&all[0].kernel, RIGHT, "", &o, NULL);
  expect(EDIY_ORACLE_PASS, "conv: pass, 60 tensors of 10 cases", v); /* three results, ten fills, two sets of numbers */
  expect(EDIY_ORACLE_PASS, " as fp32; conv of n=1 h=9 w=5 c=3 k=4 r=3 stride=2 pad=0 round=no; closest", v);
  o.shape = "n=1 h=9 w=5 c=3 k=4 r=3 fill=int";
  expect(EDIY_ORACLE_PASS, "conv: pass, 6 tensors of 1 case as fp32; conv of n=1 ", judge(&all[0].kernel, RIGHT, "", &o, NULL));
  /* Each operation takes the keys that it has. */
  o.shape = "m=5 i=7 o=3 k=4 c=2 fill=normal";
  const ediy_oracle_kernel two = {.linear_forward = linear_y, .ema = ema};
  expect(EDIY_ORACLE_PASS, "; linear of m=5 i=7 o=3 bias=yes round=no; ema of c=2 k=4 r=3 tau=0.99 round=no; closest",
         judge(&two, RIGHT, "", &o, NULL));
}

/* What would be judged is not what was asked for: of another operation, or of no function of the interface. */
static void a_key_that_no_function_is_told_of_is_refused(void **state) {
  (void)state;
  static const struct {
    int operation; /* of `all` */
    const char *shape, *words;
  } wrong[] = {{1, "m=128 n=512 k=256", "shape: 'n=512' says nothing of what is judged; fill, and of linear: m i o bias round"},
               {0, "relu=yes", "'relu=yes' says nothing"},
               {0, "before=yes", "'before=yes' says nothing"},
               {1, "before=yes", "'before=yes' says nothing"},
               {2, "before=yes", "'before=yes' says nothing"},
               {2, "k=3", "'k=3' says nothing"},
               {6, "h=8", "'h=8' says nothing of what is judged; fill, and of byol: n c round"},
               {7, "stopgrad=yes", "'stopgrad=yes' says nothing"},
               {7, "instance=yes", "'instance=yes' says nothing"},
               {7, "lambda1=2", "'lambda1=2' says nothing"},
               {9, "steps=2", "'steps=2' says nothing"},
               {10, "lr=2", "'lr=2' says nothing"},
               {9, "fill=ties", "lars is not judged by inputs of fill=ties"},
               {2, "fill=inf", "norm is not judged by inputs of fill=inf"},
               {10, "fill=inf", "ema is not judged by inputs of fill=inf"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    const ediy_oracle_options o = {.shape = wrong[i].shape};
    expect(EDIY_ORACLE_BAD_INPUT, wrong[i].words, judge(&all[wrong[i].operation].kernel, RIGHT, "", &o, NULL));
  }
  static const char *const undecided[] = {"fill=sparse", "c=4 fill=offset"};
  const ediy_oracle_kernel match = {.match_diversity = diversity};
  for (int i = 0; i < 2; i++) {
    const ediy_oracle_options o = {.shape = undecided[i]};
    expect(EDIY_ORACLE_BAD_INPUT, "match is not judged by inputs of fill=", judge(&match, RIGHT, "", &o, NULL));
  }
}

/* All that the case is made of, and the seed of the call at hand. */
static void the_command_makes_the_case(void **state) {
  (void)state;
  static const struct {
    int operation;
    const char *at, *shape, *words;
  } spoiled[] = {
      {0, "dw", "n=1 h=9 w=5 c=3 k=4 r=3 stride=2 pad=0", "op=conv seed=4000000 n=1 h=9 w=5 c=3 k=4 stride=2 pad=0 out=case.safetensors"},
      {2, "y", "n=1 c=3 eps=0.01 momentum=0.25 relu=yes fill=tiny",
       "op=norm fill=tiny seed=4000000 n=1 c=3 relu=yes eps=0.01 momentum=0.25 out=case.safetensors"},
      {9, "w", "c=3 lr=0.1 trust=0.5 mu=0.8 decay=0.25",
       "op=lars seed=4000000 c=3 lr=0.1 trust=0.5 mu=0.8 decay=0.25 out=case.safetensors"},
      {10, "xi", "tau=0.7", "op=ema seed=4000000 tau=0.7 out=case.safetensors"}};
  for (size_t i = 0; i < sizeof spoiled / sizeof *spoiled; i++) {
    const ediy_oracle_options o = {.shape = spoiled[i].shape, .seed = 4};
    expect(EDIY_ORACLE_MISMATCH, spoiled[i].words, judge(&all[spoiled[i].operation].kernel, NANS, spoiled[i].at, &o, NULL));
  }
}

static void bad_input_is_refused(void **state) {
  (void)state;
  const ediy_oracle_kernel none = {.context = NULL};
  static const struct {
    ediy_oracle_options options;
    const char *words;
  } wrong[] = {{{.shape = "n=0"}, "n"},
               {{.shape = "heigth=3"}, "heigth"},
               {{.shape = "op=norm"}, "op=norm"},
               {{.shape = "h=2 w=2 r=5 pad=0"}, "kernel"},
               {{.chain = -1}, "chain"},
               {{.cases = -1}, "cases"},
               {{.round = EDIY_ORACLE_FP16}, "round: inputs are rounded to tf32 or bf16, or not"},
               {{.precision = (ediy_oracle_precision)9}, "precision"}};
  expect(EDIY_ORACLE_BAD_INPUT, "all functions are null", judge(&none, RIGHT, "", NULL, NULL));
  expect(EDIY_ORACLE_BAD_INPUT, "winograd: is of conv_forward, which is null",
         judge(&all[1].kernel, RIGHT, "", &(ediy_oracle_options){.winograd = true}, NULL));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    expect(EDIY_ORACLE_BAD_INPUT, wrong[i].words, judge(&all[0].kernel, RIGHT, "", &wrong[i].options, NULL));
  assert_int_equal(ediy_oracle_judge(NULL, NULL, NULL), EDIY_ORACLE_BAD_INPUT);
  assert_string_equal(ediy_oracle_version(), "0.1.0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_precision_has_to_be_declared), cmocka_unit_test(inputs_may_be_numbers_of_bf16),
      cmocka_unit_test(winograd_has_to_be_declared),    cmocka_unit_test(kinds_of_inputs_come_in_turn),
      cmocka_unit_test(a_shape_can_be_given),           cmocka_unit_test(a_key_that_no_function_is_told_of_is_refused),
      cmocka_unit_test(the_command_makes_the_case),     cmocka_unit_test(bad_input_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
