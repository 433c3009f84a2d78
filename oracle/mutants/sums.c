/* What all operations of the plain backend share: the choice, the switches of the faults, sums of products in a chosen order. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "oracle/mutants/plain.h"

static struct {
  struct plain_choice choice;
  enum fault fault, site;
  int only, calls[PLAIN_CALLS];
  bool reached;
  enum plain_call watched;
  void (*see)(void *context);
  void *context;
  float before; /* value of the sum before, for the stale accumulator */
  float *a, *b; /* terms of the sum */
  int count, capacity;
} plain = {.choice = {.precision = PRECISION_FP32}, .only = -1};

void plain_choose(const struct plain_choice *choice) { plain.choice = *choice; }
void plain_chosen(struct plain_choice *choice) { *choice = plain.choice; }

/* ---- faults -------------------------------------------------------------------------------------------------------------------------- */

#ifdef EDIY_MUTATION
#define FAULT_ENTRY(NAME, op, name, tensors, description) [FAULT_##NAME] = {op, name, tensors, description},
const struct fault_description fault_catalogue[FAULTS] = {
#include "oracle/mutants/faults.def"
};
#undef FAULT_ENTRY
#endif

void plain_fault(enum fault fault, int only) {
  plain.fault = fault;
  plain.only = only;
  plain.reached = false;
  plain.before = 0;
  for (int i = 0; i < PLAIN_CALLS; i++) plain.calls[i] = 0;
}

bool plain_fault_reached(void) { return plain.reached; }
int plain_calls(enum plain_call call) { return plain.calls[call]; }

void plain_watch(enum plain_call call, void (*see)(void *context), void *context) {
  plain.watched = call;
  plain.see = see;
  plain.context = context;
}

void plain_begin(enum plain_call call) {
  int index = plain.calls[call]++;
  bool active = plain.only < 0 || (index == plain.only && (!plain.see || call == plain.watched));
#ifdef EDIY_MUTATION
  plain_now = active ? plain.fault : FAULT_NONE;
#endif
  if (active && plain.see && call == plain.watched) plain.see(plain.context);
  plain.before = 0;
}

#ifdef EDIY_MUTATION
enum fault plain_now;
bool plain_reach(void) { return plain.reached = true; }
/* The fault KIND of the site of the sum in hand. */
#define AT_SITE(KIND) (plain.site != FAULT_NONE && plain_faulty(plain.site + (FAULT_CONV_Y_##KIND - FAULT_CONV_Y_TF32)))
#else
#define AT_SITE(KIND) false
#endif

/* ---- precision ----------------------------------------------------------------------------------------------------------------------- */

static float rounded(const struct number_format *f, float x) { return f->bits >= 24 ? x : (float)number_round(f, (double)x); }

float plain_in(float x) { return rounded(&precision_classes[plain.choice.precision].in, x); }
float plain_out(float y) { return rounded(&precision_classes[plain.choice.precision].out, y); }

/* ---- sums ---------------------------------------------------------------------------------------------------------------------------- */

void sum_begin(enum fault site) {
  plain.site = site;
  plain.count = 0;
}

void sum_wide(float a, float b) {
  if (plain.count == plain.capacity) {
    plain.capacity = plain.capacity ? 2 * plain.capacity : 4096;
    plain.a = realloc(plain.a, (size_t)plain.capacity * sizeof *plain.a);
    plain.b = realloc(plain.b, (size_t)plain.capacity * sizeof *plain.b);
    if (!plain.a || !plain.b) abort(); /* the table has no way to fail */
  }
  plain.a[plain.count] = a;
  plain.b[plain.count++] = b;
}

void sum_term(float a, float b) {
  a = plain_in(a), b = plain_in(b);
  if (AT_SITE(TF32)) a = rounded(&precision_classes[PRECISION_TF32].in, a), b = rounded(&precision_classes[PRECISION_TF32].in, b);
  if (AT_SITE(BF16)) a = rounded(&precision_classes[PRECISION_BF16].in, a), b = rounded(&precision_classes[PRECISION_BF16].in, b);
  if (AT_SITE(FP16)) a = rounded(&precision_classes[PRECISION_FP16].in, a), b = rounded(&precision_classes[PRECISION_FP16].in, b);
  sum_wide(a, b);
}

int sum_terms(void) { return plain.count; }

void sum_drop(int from, int to) {
  for (int i = to; i < plain.count; i++) plain.a[from + i - to] = plain.a[i], plain.b[from + i - to] = plain.b[i];
  plain.count -= to - from;
}

void sum_again(int from, int to) {
  for (int i = from; i < to; i++) plain.a[i] *= 2;
}

static float step(float sum, float a, float b) { return plain.choice.fused ? fmaf(a, b, sum) : sum + a * b; }

static float in_order(const float *a, const float *b, int n) {
  float s = 0;
  for (int i = 0; i < n; i++) s = step(s, a[i], b[i]);
  return s;
}

static float pairwise(const float *a, const float *b, int n) {
  if (n <= 2) return in_order(a, b, n);
  return pairwise(a, b, n / 2) + pairwise(a + n / 2, b + n / 2, n - n / 2);
}

static float in_format(const struct number_format *f, const float *a, const float *b, int n) {
  float s = 0;
  for (int i = 0; i < n; i++) s = rounded(f, s + a[i] * b[i]);
  return s;
}

static float piece_in_order(const float *a, const float *b, int n) {
  float s = 0, lane[8] = {0};
  double wide = 0;
  int q = n / 4;
  switch (plain.choice.sum) {
  case SUM_IN_ORDER: return in_order(a, b, n);
  case SUM_BACKWARDS:
    for (int i = n - 1; i >= 0; i--) s = step(s, a[i], b[i]);
    return s;
  case SUM_PAIRWISE: return pairwise(a, b, n);
  case SUM_LANES:
    for (int i = 0; i < n; i++) lane[i % 8] = step(lane[i % 8], a[i], b[i]);
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  case SUM_BLOCKS:
    for (int i = 0; i < n; i += 32) s += in_order(a + i, b + i, n - i < 32 ? n - i : 32);
    return s;
  case SUM_SPLIT:
    return (in_order(a, b, q) + in_order(a + q, b + q, q)) +
           (in_order(a + 2 * q, b + 2 * q, q) + in_order(a + 3 * q, b + 3 * q, n - 3 * q));
  case SUM_DOUBLE:
    for (int i = 0; i < n; i++) wide += (double)a[i] * (double)b[i];
    return (float)wide;
  case PLAIN_SUMS: break;
  }
  assert(false);
  return 0;
}

static float in_chosen_order(const float *a, const float *b, int n) {
  if (n <= CHAIN_PIECE || plain.choice.sum == SUM_PAIRWISE || plain.choice.sum == SUM_DOUBLE) return piece_in_order(a, b, n);
  struct chain all = {0};
  for (int i = 0; i < n; i += CHAIN_PIECE) chain_add(&all, piece_in_order(a + i, b + i, n - i < CHAIN_PIECE ? n - i : CHAIN_PIECE));
  return chain_sum(&all);
}

float sum_total(void) {
  if (plain.count > 0 && AT_SITE(LOST)) plain.count--;
  if (plain.count > 0 && AT_SITE(TWICE)) plain.a[0] *= 2;
  float s = AT_SITE(ACC_BF16)   ? in_format(&precision_classes[PRECISION_BF16].out, plain.a, plain.b, plain.count)
            : AT_SITE(ACC_FP16) ? in_format(&precision_classes[PRECISION_FP16].out, plain.a, plain.b, plain.count)
                                : in_chosen_order(plain.a, plain.b, plain.count);
  if (AT_SITE(STALE)) s += plain.before;
  plain.before = s;
  return s;
}

void sum_store(float *y, ptrdiff_t i, ptrdiff_t n, float value, bool add) {
  if (AT_SITE(FACTOR_3)) value *= 1.001f;
  if (AT_SITE(FACTOR_5)) value *= 1.00001f;
  if (AT_SITE(OUT_TF32)) value = rounded(&precision_classes[PRECISION_TF32].in, value);
  if (i == n - 1 && AT_SITE(UNWRITTEN)) return;
  y[i] = plain_out(add ? y[i] + value : value);
}
