/* Makes golden cases: inputs drawn from a seed, results computed by the reference in double. */
#ifndef EDIY_ORACLE_MAKE_CASE_H
#define EDIY_ORACLE_MAKE_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/options.h"
#include "oracle/precision.h"
#include "oracle/run.h"

enum make_op {
  MAKE_CONV,
  MAKE_LINEAR,
  MAKE_NORM,
  MAKE_RELU,
  MAKE_MAXPOOL,
  MAKE_AVGPOOL,
  MAKE_MATCH,
  MAKE_LOSS,
  MAKE_LARS,
  MAKE_EMA,
  MAKE_RANDOM,   /* one of those above */
  MAKE_SCHEDULE, /* these are drawn from the seed alone */
  MAKE_AUGMENT,
  MAKE_OPS
};

/* What the inputs look like. INT: whole numbers from -3 to 3; TINY: normal, times 1e-4; SPARSE: nine zeros in ten; ONEHOT: a single 1 in
 * in.x;
 * OFFSET: mean 100, deviation 0.01. Parameters are INT with INT, else normal; upstream gradients are normal with ONEHOT and OFFSET. */
enum make_fill {
  FILL_NORMAL,
  FILL_INT,
  FILL_TINY,
  FILL_SPARSE,
  FILL_ONEHOT,
  FILL_OFFSET,
  FILL_TIES,     /* in.x and regions: -1, -1/2, 0, 1/2 or 1 */
  FILL_CONSTANT, /* a channel has one value: no variance. LARS: a gradient of zeros */
  FILL_ZEROS,    /* a row in three is 0, or 2^-27 times as large: below the guard of a cosine. LARS: a weight of zeros */
  FILL_DENORMAL, /* normal, times 1e-39 */
  FILL_INF,      /* in.x: one in fifty is infinite or NaN */
  FILL_WIDE,     /* normal, times 10^-3 to 10^6 */
  MAKE_FILLS
};

/* What drawn numbers are rounded to, so that a kernel which reads that format is given no others. */
enum make_round { ROUND_NO, ROUND_BF16, ROUND_TF32 };

struct make_options {
  int op;                    /* enum make_op */
  int fill;                  /* enum make_fill */
  int64_t n, h, w, c;        /* images, rows, columns, channels; loss and match: h w regions of c channels */
  int64_t k, r, stride, pad; /* conv: output channels, kernel, stride, zeros on every side */
  int64_t m, i, o;           /* linear: rows, inputs, outputs */
  bool bias, train, relu, residual, dot;
  double eps, momentum, lambda1, lambda2, lambda3;
  bool openselfsup;                 /* lars: its variant */
  double lr, trust, mu, decay, tau; /* lars, ema: a weight k x r x r x c and a vector of k */
  bool before, stopgrad, instance;  /* gradients are added to; loss: forms of R-DEM */
  int64_t steps;                    /* lars, ema */
  int round;                        /* enum make_round */
  int64_t seed;
  char out[4096];
};

const char *make_op_name(int op);
int make_op_named(const char *name); /* -1 if there is none */
const char *make_fill_name(int fill);

/* Whether infinite activations mean something: where nothing is divided or averaged over rows. Elsewhere INF is NORMAL. */
bool make_may_be_infinite(int op);

/* Whether the fill makes other inputs of the operation than NORMAL does, or is NORMAL. */
bool make_fill_tells(int op, int fill);

enum { MAKE_KEYS = 36 };
extern const struct option make_keys[MAKE_KEYS];
void make_defaults(struct make_options *o);

/* The keys that something of this operation is made by, besides op, out and seed, with a blank before each. */
const char *make_keys_of(int op);

/* Whether a kernel in this class can be judged by inputs of this kind. The rule (docs/oracle.md) does not know numbers that a half format
 * has fewer bits for, or none, nor what batch norm and losses leave of numbers that differ by less than its roundoff. */
bool make_fill_fits(int op, int fill, enum precision p);

/* Fails for an argument key=value whose key is none of these, and for a fill that tells nothing: what it asks for would not be done. */
MUST_CHECK bool make_check(const struct make_options *o, int count, char *const *arguments, struct error *err);

/* The command that writes this case to the file; without a fill that tells nothing, which would be refused. */
void make_command(const struct make_options *o, const char *file, char *text, size_t size);

/* Halves sizes until the operation multiplies at most so often, where that is possible. */
void make_limit(struct make_options *o, double products);

/* Sizes, fill and switches are drawn from the seed, and with RANDOM the operation, and left in o. */
void make_draw(struct make_options *o);

/* Draws the rest as well: what was there before, forms and weights of the losses, steps, decay, tau. */
void make_draw_more(struct make_options *o);

/* After sizes and fill: draws what a kernel is told besides them: stride to 3, any padding, epsilon, momentum, decay, rates. Where they are
 * always the same, a kernel that has them built in looks right. Gradients of zeros for LARS (CONSTANT) come without decay. */
void make_draw_settings(struct make_options *o);

/* After make_draw: one size, in turn, is longer than usual tiles of 64 and 128, or there is a single row. The others become so small that
 * no sum has more terms than the longest of make_draw. */
void make_draw_extreme(struct make_options *o, int turn);

/* The inputs of a case, without results: every number that goes in is exact in float. */
enum { MAKE_MAX_INPUTS = 48 };

struct made_case {
  struct case_file file; /* may be run like any case; points into this struct, which must not be copied */
  struct tensor input[MAKE_MAX_INPUTS];
  int by_name[MAKE_MAX_INPUTS];
  char path[sizeof((struct make_options *)0)->out];
};

MUST_CHECK bool make_inputs(struct made_case *m, const struct make_options *o, struct error *err);
void made_case_free(struct made_case *m);

/* What a float run of a case is off by, of the largest element of each result in double: the metadata "float32". */
json_t *case_float_errors(const struct case_run *truth, const struct case_run *single);

/* Writes the case o->out with its results, whole or not at all. */
MUST_CHECK bool make_case(const struct make_options *o, struct error *err);

#endif
