/* What the makers of units share: unit_work.c (inputs and outputs, any unit), unit_layers.c (layers, forward and back), unit_method.c
 * (losses, matches, updates). */
#ifndef EDIY_ORACLE_UNIT_MAKER_H
#define EDIY_ORACLE_UNIT_MAKER_H

#include "oracle/unit_work.h"

/* Where a unit is being made. */
struct maker {
  struct unit_work *w;
  const struct units *u;
  const struct unit *at;
  const struct net *net;
  bool plan;
  bool ok; /* memory */
};

/* The tensor of this name, noted as an input; null, noted as lacking, where it is not there as numbers (or indices) of this many
 * elements. */
const struct tensor *unit_input(struct maker *m, const char *name, ptrdiff_t count, bool index);

/* Gives a tensor to a case in this shape, where the dump has it: by its name, a value of the unit's pass, a parameter before the step. */
void unit_give(struct maker *m, struct memory_case *c, const char *as, const char *name, int ndim, const ptrdiff_t *shape, bool index);
void unit_give_value(struct maker *m, struct memory_case *c, const char *as, int value, int ndim, const ptrdiff_t *shape);
void unit_give_parameter(struct maker *m, struct memory_case *c, const char *as, int parameter);

/* One more case; one more output of this name and shape; the result of the newest case, of this shape there, as a part of it. */
struct memory_case *unit_begin(struct maker *m, const char *op, const char *name);
struct work_output *unit_output(struct maker *m, int ndim, const ptrdiff_t *shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void unit_add_part(struct maker *m, struct work_output *o, const char *result, enum dtype dtype, int ndim, const ptrdiff_t *shape);

void unit_make_forward(struct maker *m);
void unit_make_gradient(struct maker *m);
void unit_make_weights(struct maker *m);
void unit_make_loss(struct maker *m);
void unit_add_losses(struct maker *m, struct work_output *o, int value); /* what the losses add to the gradient of a value that they read */
void unit_make_match(struct maker *m);
void unit_make_optimiser(struct maker *m);
void unit_make_ema(struct maker *m);

#endif
