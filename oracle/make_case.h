/* Makes golden cases: inputs drawn from a seed, results computed by the reference in double. */
#ifndef EDIY_ORACLE_MAKE_CASE_H
#define EDIY_ORACLE_MAKE_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum make_op { MAKE_CONV, MAKE_LINEAR, MAKE_NORM, MAKE_RELU, MAKE_MAXPOOL, MAKE_AVGPOOL, MAKE_MATCH, MAKE_LOSS, MAKE_RANDOM };

/* What the inputs look like. INT: whole numbers from -3 to 3; TINY: normal, times 1e-4; SPARSE: nine zeros in ten; ONEHOT: a single 1 in
 * in.x;
 * OFFSET: mean 100, deviation 0.01. Parameters are INT with INT, else normal; upstream gradients are normal with ONEHOT and OFFSET. */
enum make_fill { FILL_NORMAL, FILL_INT, FILL_TINY, FILL_SPARSE, FILL_ONEHOT, FILL_OFFSET };

struct make_options {
  int op;                    /* enum make_op */
  int fill;                  /* enum make_fill */
  int64_t n, h, w, c;        /* images, rows, columns, channels; loss and match: h w regions of c channels */
  int64_t k, r, stride, pad; /* conv: output channels, kernel, stride, zeros on every side */
  int64_t m, i, o;           /* linear: rows, inputs, outputs */
  bool bias, train, relu, residual, dot;
  double eps, momentum, lambda1, lambda2, lambda3;
  int64_t seed;
  char out[4096];
};

/* RANDOM: op, sizes, fill and switches are drawn from the seed and left in o. */
void make_draw(struct make_options *o);

/* Writes the case o->out, whole or not at all. Every number that goes in is exact in float. */
MUST_CHECK bool make_case(const struct make_options *o, struct error *err);

#endif
