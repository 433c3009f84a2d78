/* The acceptance rule on kernels that it has not seen: convolutions, forward and backward, written here as plain sums.
 *
 * Right ones, whatever the order of their sums, must pass; wrong ones must not. EDIY_TEST_SEEDS=N: that many seeds in place of a few. The
 * numbers
 * of docs/oracle.md are those printed here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "op/conv.h"
#include "oracle/candidate.h"
#include "oracle/make_case.h"
#include "support/cmocka.h"
#include "support/folder.h"

static char folder[FOLDER_PATH], case_path[IN_FOLDER_PATH], candidate_path[IN_FOLDER_PATH];

static int make_folder(void **state) {
  (void)state;
  folder_make(folder);
  snprintf(case_path, sizeof case_path, "%s/case.safetensors", folder);
  snprintf(candidate_path, sizeof candidate_path, "%s/candidate.safetensors", folder);
  return 0;
}

static int remove_folder(void **state) {
  (void)state;
  unlink(case_path);
  unlink(candidate_path);
  return rmdir(folder);
}

/* ---- orders of summation ------------------------------------------------------------------------------------------------------------- */

typedef float sum_of_products(const float *a, const float *b, int n);

static float in_order(const float *a, const float *b, int n) {
  float s = 0;
  for (int i = 0; i < n; i++) s += a[i] * b[i];
  return s;
}

static float backwards(const float *a, const float *b, int n) {
  float s = 0;
  for (int i = n - 1; i >= 0; i--) s += a[i] * b[i];
  return s;
}

static float fused(const float *a, const float *b, int n) {
  float s = 0;
  for (int i = 0; i < n; i++) s = fmaf(a[i], b[i], s);
  return s;
}

static float pairwise(const float *a, const float *b, int n) {
  return n == 1 ? a[0] * b[0] : n == 0 ? 0 : pairwise(a, b, n / 2) + pairwise(a + n / 2, b + n / 2, n - n / 2);
}

static float in_lanes(const float *a, const float *b, int n) { /* as a vector unit sums */
  float lane[8] = {0}, s = 0;
  for (int i = 0; i < n; i++) lane[i % 8] = fmaf(a[i], b[i], lane[i % 8]);
  for (int i = 0; i < 8; i++) s += lane[i];
  return s;
}

static float in_blocks(const float *a, const float *b, int n) { /* as a matrix product cuts its inner dimension */
  float s = 0;
  for (int i = 0; i < n; i += 32) s += in_order(a + i, b + i, n - i < 32 ? n - i : 32);
  return s;
}

static float split(const float *a, const float *b, int n) { /* split-K: four parts, joined at the end */
  int q = n / 4;
  return (in_order(a, b, q) + in_order(a + q, b + q, q)) + (in_order(a + 2 * q, b + 2 * q, q) + in_order(a + 3 * q, b + 3 * q, n - 3 * q));
}

static float in_double(const float *a, const float *b, int n) {
  double s = 0;
  for (int i = 0; i < n; i++) s += (double)a[i] * (double)b[i];
  return (float)s;
}

static sum_of_products *const orders[] = {in_order, backwards, fused, pairwise, in_lanes, in_blocks, split, in_double};
enum { ORDERS = sizeof orders / sizeof *orders };

/* ---- kernels, right and wrong -------------------------------------------------------------------------------------------------------- */

enum fault {
  RIGHT,
  INPUTS_TF32,
  INPUTS_BF16,
  INPUTS_FP16,
  OUTPUT_TF32,
  ACCUMULATOR_BF16,
  TIMES_1_00001,
  TIMES_1_001,
  LAST_TERM_LOST,
  FIRST_TERM_TWICE,
  STALE_ACCUMULATOR,
  TAPS_TRANSPOSED,
  TAPS_FLIPPED,
  PADDING_REPLICATED,
  PADDING_SHIFTED,
  BATCH_INDEX,
  BATCH_PERMUTED,
  CHANNELS_SWAPPED,
  LAST_ELEMENT_UNWRITTEN,
  LAST_ROW_STALE,
  ONE_ELEMENT,
  ONE_NAN,
  ZEROS,
  HALF,
  FAULTS
};

static const char *const fault_names[FAULTS] = {"right",
                                                "inputs in tf32",
                                                "inputs in bf16",
                                                "inputs in fp16",
                                                "output in tf32",
                                                "accumulator in bf16",
                                                "times 1.00001",
                                                "times 1.001",
                                                "last term lost",
                                                "first term twice",
                                                "stale accumulator",
                                                "taps transposed",
                                                "taps flipped",
                                                "padding replicated",
                                                "padding shifted",
                                                "batch index",
                                                "batch permuted",
                                                "channels swapped",
                                                "last element 0",
                                                "last row stale",
                                                "one element 1e-3 of max",
                                                "one NaN",
                                                "zeros",
                                                "half"};

struct kernel {
  sum_of_products *sum;
  enum fault fault;
  struct conv g;
  const float *x, *w, *dy;
  float *a, *b; /* terms of one sum */
  int n;
};

static float rounded(const struct kernel *k, float v) {
  const enum precision to[] = {[INPUTS_TF32] = PRECISION_TF32, [INPUTS_BF16] = PRECISION_BF16, [INPUTS_FP16] = PRECISION_FP16};
  if (k->fault < INPUTS_TF32 || k->fault > INPUTS_FP16) return v;
  return (float)number_round(&precision_classes[to[k->fault]].in, (double)v);
}

static void term(struct kernel *k, float a, float b) {
  k->a[k->n] = rounded(k, a);
  k->b[k->n++] = rounded(k, b);
}

static float total(struct kernel *k, float before) {
  if (k->fault == LAST_TERM_LOST) k->n--;
  if (k->fault == FIRST_TERM_TWICE) k->a[0] *= 2;
  float s = 0;
  if (k->fault == ACCUMULATOR_BF16) {
    for (int i = 0; i < k->n; i++) s = (float)number_round(&precision_classes[PRECISION_BF16].out, (double)(s + k->a[i] * k->b[i]));
  } else {
    s = k->sum(k->a, k->b, k->n);
  }
  k->n = 0;
  return k->fault == STALE_ACCUMULATOR ? s + before : s;
}

/* x at a place that may lie outside; the weight at a tap. */
static float image(const struct kernel *k, ptrdiff_t n, ptrdiff_t h, ptrdiff_t w, ptrdiff_t c) {
  const struct conv *g = &k->g;
  if (k->fault == BATCH_INDEX) n = 0;
  if (k->fault == PADDING_REPLICATED) {
    h = h < 0 ? 0 : h >= g->h ? g->h - 1 : h;
    w = w < 0 ? 0 : w >= g->w ? g->w - 1 : w;
  }
  return h < 0 || w < 0 || h >= g->h || w >= g->w ? 0 : k->x[((n * g->h + h) * g->w + w) * g->c + c];
}

static ptrdiff_t tap(const struct kernel *k, ptrdiff_t o, ptrdiff_t r, ptrdiff_t s, ptrdiff_t c) {
  const struct conv *g = &k->g;
  if (k->fault == TAPS_TRANSPOSED) {
    ptrdiff_t swap = r;
    r = s, s = swap;
  }
  if (k->fault == TAPS_FLIPPED) r = g->r - 1 - r, s = g->s - 1 - s;
  return ((o * g->r + r) * g->s + s) * g->c + c;
}

static ptrdiff_t pad_of(const struct kernel *k) { return k->fault == PADDING_SHIFTED ? k->g.pad - 1 : k->g.pad; }

static void forward(struct kernel *k, float *y) {
  const struct conv *g = &k->g;
  float before = 0;
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t p = 0; p < g->p; p++)
      for (ptrdiff_t q = 0; q < g->q; q++)
        for (ptrdiff_t o = 0; o < g->k; o++) {
          for (ptrdiff_t r = 0; r < g->r; r++)
            for (ptrdiff_t s = 0; s < g->s; s++)
              for (ptrdiff_t c = 0; c < g->c; c++)
                term(k, image(k, n, p * g->stride + r - pad_of(k), q * g->stride + s - pad_of(k), c), k->w[tap(k, o, r, s, c)]);
          before = *y++ = total(k, before);
        }
}

static void backward_data(struct kernel *k, float *dx) {
  const struct conv *g = &k->g;
  float before = 0;
  for (ptrdiff_t n = 0; n < g->n; n++)
    for (ptrdiff_t h = 0; h < g->h; h++)
      for (ptrdiff_t w = 0; w < g->w; w++)
        for (ptrdiff_t c = 0; c < g->c; c++) {
          for (ptrdiff_t r = 0; r < g->r; r++)
            for (ptrdiff_t s = 0; s < g->s; s++) {
              ptrdiff_t p = h + pad_of(k) - r, q = w + pad_of(k) - s;
              bool inside = p >= 0 && q >= 0 && p % g->stride == 0 && q % g->stride == 0 && p / g->stride < g->p && q / g->stride < g->q;
              ptrdiff_t m = k->fault == BATCH_INDEX ? 0 : n;
              const float *dy = inside ? k->dy + ((m * g->p + p / g->stride) * g->q + q / g->stride) * g->k : NULL;
              for (ptrdiff_t o = 0; o < g->k; o++) term(k, dy ? dy[o] : 0, k->w[tap(k, o, r, s, c)]);
            }
          before = *dx++ = total(k, before);
        }
}

static void backward_weights(struct kernel *k, float *dw) {
  const struct conv *g = &k->g;
  float before = 0;
  for (ptrdiff_t o = 0; o < g->k; o++)
    for (ptrdiff_t r = 0; r < g->r; r++)
      for (ptrdiff_t s = 0; s < g->s; s++)
        for (ptrdiff_t c = 0; c < g->c; c++) {
          for (ptrdiff_t n = 0; n < g->n; n++)
            for (ptrdiff_t p = 0; p < g->p; p++)
              for (ptrdiff_t q = 0; q < g->q; q++)
                term(k, k->dy[((n * g->p + p) * g->q + q) * g->k + o],
                     image(k, n, p * g->stride + r - pad_of(k), q * g->stride + s - pad_of(k), c));
          dw[tap(k, o, r, s, c)] = before = total(k, before);
        }
}

/* Faults of what is written, in place of what is computed. */
static void spoil(enum fault fault, float *y, ptrdiff_t n, ptrdiff_t first, ptrdiff_t channels) {
  ptrdiff_t block = n / first;
  float most = 0;
  for (ptrdiff_t i = 0; i < n; i++) most = fmaxf(most, fabsf(y[i]));
  if (fault == LAST_ELEMENT_UNWRITTEN) y[n - 1] = 0;
  if (fault == LAST_ROW_STALE) memmove(y + n - channels, y + n - 2 * channels, (size_t)channels * sizeof *y);
  if (fault == ONE_ELEMENT) y[n / 2] += 1e-3f * most;
  if (fault == ONE_NAN) y[n / 3] = NAN;
  for (ptrdiff_t i = 0; i < n; i++) {
    float other = y[(i + block) % n];
    if (fault == TIMES_1_00001) y[i] *= 1.00001f;
    if (fault == TIMES_1_001) y[i] *= 1.001f;
    if (fault == ZEROS) y[i] = 0;
    if (fault == HALF) y[i] /= 2;
    if (fault == OUTPUT_TF32) y[i] = (float)number_round(&precision_classes[PRECISION_TF32].in, (double)y[i]);
    if (fault == BATCH_PERMUTED && i < block) y[(i + block) % n] = y[i], y[i] = other;
    if (fault == CHANNELS_SWAPPED && i % channels == 0) {
      float swap = y[i];
      y[i] = y[i + 1], y[i + 1] = swap;
    }
  }
}

/* ---- a run --------------------------------------------------------------------------------------------------------------------------- */

static float *floats(const struct case_file *c, const char *name) {
  const struct tensor *t = safetensors_find(&c->file, name);
  assert_non_null(t);
  float *x = calloc((size_t)tensor_count(t), sizeof *x);
  assert_non_null(x);
  for (ptrdiff_t i = 0; i < tensor_count(t); i++) x[i] = (float)tensor_at(t, i);
  return x;
}

static void write_case(int fill, int seed) {
  struct error err;
  struct make_options *o = calloc(1, sizeof *o);
  assert_non_null(o);
  *o = (struct make_options){.op = MAKE_CONV, .fill = fill, .n = 2, .h = 7, .w = 6, .c = 8, .k = 12, .r = 3, .pad = 1, .seed = seed};
  o->stride = 1 + seed % 2;
  snprintf(o->out, sizeof o->out, "%s", case_path);
  if (!make_case(o, &err)) fail_msg("%s", err.text);
  free(o);
}

struct results {
  struct tensor t[3];
};

/* What the kernel makes of the case. */
static struct results run_kernel(const struct case_file *c, sum_of_products *sum, enum fault fault) {
  static const char *const names[] = {"out.y", "grad_in.x", "grad_param.weight"};
  const struct tensor *x = safetensors_find(&c->file, "in.x"), *w = safetensors_find(&c->file, "param.weight");
  struct kernel k = {.sum = sum, .fault = fault};
  struct results r;
  ptrdiff_t stride = 1, pad = 0, most = 0;
  float *inputs[] = {floats(c, "in.x"), floats(c, "param.weight"), floats(c, "grad_out.y")};
  assert_true(case_integer(c, "stride", 1, 9, &stride, NULL) && case_integer(c, "pad", 0, 9, &pad, NULL));
  assert_true(
      conv_make(&k.g, x->shape[0], x->shape[1], x->shape[2], x->shape[3], w->shape[0], w->shape[1], w->shape[2], stride, pad, NULL));
  k.x = inputs[0], k.w = inputs[1], k.dy = inputs[2];
  for (int i = 0; i < 3; i++) {
    const struct tensor *expected = safetensors_find(&c->file, names[i]);
    ptrdiff_t n = tensor_count(expected);
    most = n > most ? n : most;
    r.t[i] = tensor_make(DTYPE_F32, calloc((size_t)n, sizeof(float)), expected->ndim, expected->shape, "%s", names[i]);
    assert_non_null(r.t[i].data);
  }
  k.a = calloc((size_t)most, sizeof *k.a); /* no sum has more terms than the largest tensor has elements */
  k.b = calloc((size_t)most, sizeof *k.b);
  assert_true(k.a && k.b);
  forward(&k, r.t[0].data);
  backward_data(&k, r.t[1].data);
  backward_weights(&k, r.t[2].data);
  for (int i = 0; i < 3; i++) spoil(fault, r.t[i].data, tensor_count(&r.t[i]), r.t[i].shape[0], r.t[i].shape[3]);
  for (int i = 0; i < 3; i++) free(inputs[i]);
  free(k.a);
  free(k.b);
  return r;
}

static void results_free(struct results *r) {
  for (int i = 0; i < 3; i++) free(r->t[i].data);
}

/* Judged tensor by tensor; the first finding that is no pass goes to text. */
static void judge(const struct case_file *c, const struct results *r, struct judged_file *j) {
  struct error err;
  if (!safetensors_write(candidate_path, r->t, 3, NULL, &err) ||
      !candidate_judge(c, candidate_path, &precision_classes[PRECISION_FP32], CHAIN_USUAL, NULL, j, &err)) {
    fail_msg("%s", err.text);
  }
  assert_int_equal(j->count, 3);
}

static const struct judged *judged_of(const struct judged_file *j, const char *name) {
  for (int i = 0; i < j->count; i++) {
    if (strcmp(j->tensor[i].finding.tensor, name) == 0) return &j->tensor[i];
  }
  fail_msg("%s was not judged", name);
  return NULL;
}

static int seeds(void) {
  const char *wanted = getenv("EDIY_TEST_SEEDS");
  return wanted && atoi(wanted) > 0 ? atoi(wanted) : 2;
}

static void right_kernels_pass_in_every_order_of_summation(void **state) {
  (void)state;
  int runs = 0, alarms = 0, vacuous = 0;
  char text[400];
  for (int seed = 0; seed < seeds(); seed++) {
    for (int fill = 0; fill <= FILL_OFFSET; fill++) {
      struct case_file c;
      struct error err;
      write_case(fill, seed);
      if (!case_open(&c, case_path, &err)) fail_msg("%s", err.text);
      for (int order = 0; order < ORDERS; order++) {
        struct results r = run_kernel(&c, orders[order], RIGHT);
        struct judged_file j;
        judge(&c, &r, &j);
        for (int i = 0; i < j.count; i++) {
          const struct judged *t = &j.tensor[i];
          runs++;
          vacuous += t->judgement == JUDGED_VACUOUS;
          if (t->judgement <= JUDGED_VACUOUS) continue;
          alarms++;
          finding_text(&t->finding, text, sizeof text);
          print_error("fill %d, seed %d, order %d: %s\n", fill, seed, order, text);
        }
        judged_free(&j);
        results_free(&r);
      }
      case_close(&c);
    }
  }
  print_message("right kernels: %d tensors, %d false alarms, %d vacuous\n", runs, alarms, vacuous);
  assert_int_equal(alarms, 0);
  assert_int_equal(vacuous, 0);
}

static void wrong_kernels_are_rejected(void **state) {
  (void)state;
  int wrong = 0, killed = 0;
  for (int seed = 0; seed < seeds(); seed++) {
    for (int fill = 0; fill <= FILL_OFFSET; fill++) {
      struct case_file c;
      struct error err;
      write_case(fill, seed);
      if (!case_open(&c, case_path, &err)) fail_msg("%s", err.text);
      struct results right = run_kernel(&c, in_lanes, RIGHT);
      for (enum fault fault = RIGHT + 1; fault < FAULTS; fault++) {
        struct results r = run_kernel(&c, in_lanes, fault);
        struct judged_file j;
        judge(&c, &r, &j);
        for (int i = 0; i < 3; i++) {
          size_t bytes = (size_t)tensor_count(&r.t[i]) * sizeof(float);
          if (memcmp(r.t[i].data, right.t[i].data, bytes) == 0) continue; /* the fault does nothing to these numbers */
          const struct judged *t = judged_of(&j, r.t[i].name);
          bool rejected = t->judgement == JUDGED_MISMATCH;
          wrong++;
          killed += rejected;
          if (!rejected)
            print_error("survived: %s, fill %d, seed %d: %s (%s %.2g of %.2g)\n", fault_names[fault], fill, seed, r.t[i].name,
                        t->finding.rule, t->finding.error, t->finding.allowed);
        }
        judged_free(&j);
        results_free(&r);
      }
      results_free(&right);
      case_close(&c);
    }
  }
  print_message("wrong kernels: %d tensors of %d faults, %d rejected\n", wrong, FAULTS - 1, killed);
  assert_int_equal(killed, wrong);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(right_kernels_pass_in_every_order_of_summation),
      cmocka_unit_test(wrong_kernels_are_rejected),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
