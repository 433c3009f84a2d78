/* The plain backend: every operation of the table (op/backend.h) in float, in loops that follow the equations, apart from ref/'s own code.
 *
 * It is there to test the oracle. Right, in any order of summation and at any declared precision, it must never be rejected; in the
 * mutation build (-DEDIY_MUTATION, `make mutants`) each FAULT(NAME) in its loops can be switched on, and must be found. Built without
 * it a FAULT is a constant false, and no fault is compiled.
 *
 * A backend's table hands no context to its functions, so what is chosen here is global; one thread at a time.
 */
#ifndef EDIY_ORACLE_MUTANTS_PLAIN_H
#define EDIY_ORACLE_MUTANTS_PLAIN_H

#include <stdbool.h>

#include "op/backend.h"
#include "oracle/mutants/faults.h"
#include "oracle/precision.h"

enum plain_sum {
  SUM_IN_ORDER,
  SUM_BACKWARDS,
  SUM_PAIRWISE,
  SUM_LANES,  /* 8, as a vector unit */
  SUM_BLOCKS, /* of 32, as a matrix product cuts its inner dimension */
  SUM_SPLIT,  /* split-K: four parts, joined at the end */
  SUM_DOUBLE, /* one rounding */
  PLAIN_SUMS
};

struct plain_choice {
  enum plain_sum sum;
  bool fused;    /* a * b + c rounds once */
  bool columns;  /* convolution: channels outside, taps inside, as im2col in C R S order */
  bool winograd; /* convolution forward, 3x3 with stride 1: F(2x2, 3x3) */
  enum precision precision;
};

/* From now on; zeros at the start: in order, not fused, float. */
void plain_choose(const struct plain_choice *choice);
void plain_chosen(struct plain_choice *choice);

/* A choice as the words of a backend's name, ":pairwise,fused,bf16", and back. */
void plain_words(const struct plain_choice *choice, char *text, size_t size);
MUST_CHECK bool plain_parse(const char *words, struct plain_choice *choice, struct error *err);

/* Right variant number k, around and around; as many as there are (PLAIN_VARIANTS). conv: those of convolution among them. single: in float
 * alone. */
enum { PLAIN_VARIANTS = 24 };
void plain_variant(int64_t k, bool conv, bool single, struct plain_choice *choice);

/* Host memory. Scratch: none. */
const struct backend *backend_plain(void);

/* ---- faults -------------------------------------------------------------------------------------------------------------------------- */

struct fault_description {
  const char *op, *name, *tensors, *description;
};
extern const struct fault_description fault_catalogue[FAULTS]; /* [FAULT_NONE] is empty */

/* Functions of the table, each counted apart. */
enum plain_call {
  CALL_CONV_FORWARD,
  CALL_CONV_DATA,
  CALL_CONV_WEIGHTS,
  CALL_NORM_TRAIN,
  CALL_NORM_EVAL,
  CALL_NORM_BACKWARD,
  CALL_MAXPOOL,
  CALL_MAXPOOL_BACKWARD,
  CALL_AVGPOOL,
  CALL_AVGPOOL_BACKWARD,
  CALL_LINEAR_FORWARD,
  CALL_LINEAR_DATA,
  CALL_LINEAR_WEIGHTS,
  CALL_DIVERSITY,
  CALL_INVARIANCE,
  CALL_BYOL,
  CALL_RDEM,
  CALL_INSTANCE,
  CALL_RIEM,
  CALL_LARS,
  CALL_EMA,
  CALL_OTHER, /* what is no function of the table */
  PLAIN_CALLS
};

/* Switches this fault on and counts calls from 0 again. only: the one call of each function in which it happens, or -1: in all. */
void plain_fault(enum fault fault, int only);

/* Whether the code of the fault was reached since plain_fault, and whether it may have happened in the call that ran last. */
bool plain_fault_reached(void);
/* see is called at the beginning of each call of this function in which the fault may happen, and a fault of one call happens in this
 * function alone; null: nobody, and in the call of that number of any function. */
void plain_watch(enum plain_call call, void (*see)(void *context), void *context);
int plain_calls(enum plain_call call);

/* ---- for the files of the backend ---------------------------------------------------------------------------------------------------- */

#ifdef EDIY_MUTATION
extern enum fault plain_now; /* the fault that happens in this call, or none */
bool plain_reach(void);
static inline bool plain_faulty(enum fault fault) { return plain_now == fault && plain_reach(); }
#define FAULT(NAME) plain_faulty(FAULT_##NAME)
#else
#define FAULT(NAME) false
#endif

/* At the beginning of every function of the table. */
void plain_begin(enum plain_call call);

/* x as the declared precision reads it, and y as it stores it. */
float plain_in(float x);
float plain_out(float y);

/* A plain sum, cut after so many additions: longer chains would have to be declared (CHAIN_USUAL). */
enum { CHAIN_PIECE = 512 };
struct chain {
  float sum, piece;
  int count;
};
static inline void chain_add(struct chain *c, float x) {
  c->piece += x;
  if (++c->count % CHAIN_PIECE == 0) c->sum += c->piece, c->piece = 0;
}
static inline float chain_sum(const struct chain *c) { return c->sum + c->piece; }

/* One sum: its terms a * b, then its value in the chosen order, in pieces of CHAIN_PIECE terms. `site` is the first of SUM_FAULTS, or
 * FAULT_NONE. */
void sum_begin(enum fault site);
void sum_term(float a, float b);
void sum_wide(float a, float b); /* numbers that are no inputs: not rounded */
int sum_terms(void);
void sum_drop(int from, int to);  /* terms from..to-1 are left out */
void sum_again(int from, int to); /* and these count twice */
float sum_total(void);

/* y[i] of n = value, rounded as the class stores it, or added to what is there. */
void sum_store(float *y, ptrdiff_t i, ptrdiff_t n, float value, bool add);

/* The functions behind the table, and the operations beside it. */
void plain_conv_forward(const struct conv *g, const float *x, const float *w, float *y, void *scratch);
void plain_conv_winograd(const struct conv *g, const float *x, const float *w, float *y);
void plain_conv_backward_data(const struct conv *g, const float *dy, const float *w, float *dx, bool accumulate, void *scratch);
void plain_conv_backward_weights(const struct conv *g, const float *x, const float *dy, float *dw, void *scratch);
void plain_linear_forward(const struct linear *g, const float *x, const float *w, const float *b, float *y);
void plain_linear_backward_data(const struct linear *g, const float *dy, const float *w, float *dx, bool accumulate);
void plain_linear_backward_weights(const struct linear *g, const float *x, const float *dy, float *dw, float *db, void *scratch);
void plain_norm_forward_train(const struct norm *g, const float *x, const float *residual, const float *gamma, const float *beta,
                              float *running_mean, float *running_var, float *y, double *mean, double *invstd, void *scratch);
void plain_norm_forward_eval(const struct norm *g, const float *x, const float *residual, const float *gamma, const float *beta,
                             const float *running_mean, const float *running_var, float *y);
void plain_norm_backward_train(const struct norm *g, const float *x, const float *y, const float *gamma, const double *mean,
                               const double *invstd, const float *dy, float *dx, float *dresidual, float *dgamma, float *dbeta,
                               void *scratch);
void plain_maxpool_forward(const struct pool *g, const float *x, float *y, int32_t *index);
void plain_maxpool_backward(const struct pool *g, const float *dy, const int32_t *index, float *dx);
void plain_avgpool_forward(const struct pool *g, const float *x, float *y);
void plain_avgpool_backward(const struct pool *g, const float *dy, float *dx, bool accumulate);
void plain_match_diversity(const struct match *g, const float *t, int32_t *d, void *scratch);
void plain_match_invariance(const struct match *g, const float *from, const float *to, int32_t *s, void *scratch);
void plain_loss_byol(const struct loss *g, const float *q, const float *z, double scale, double *value, float *dq, void *scratch);
void plain_loss_rdem(const struct loss *g, const float *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                     float *dr, void *scratch);
void plain_loss_rdem_instance(const struct loss *g, const float *r, const float *g_target, const int32_t *neg, double scale, double *value,
                              float *dr, void *scratch);
void plain_loss_riem(const struct loss *g, const float *p, const float *g_target, const int32_t *s, double scale, double *value, float *dp,
                     void *scratch);
void plain_lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const float *g, float *w, float *m);
void plain_ema_update(ptrdiff_t size, double tau, const float *theta, float *xi);

#endif
