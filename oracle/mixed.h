/* Mixed precision: what a backend that computes its products in one class promises of every result, and what it stores as bf16.
 *
 *     declared   conv, linear: y, dx   conv, linear: dw   activations of other operations, and their gradients   all else
 *     tf32       tf32                  tf32               fp32                                                    fp32
 *     bf16       bf16                  fp32-rz            bf16-out                                                fp32
 *     others     as declared
 *
 * In bf16 activations and their gradients are stored in it, so that what an operation reads is exact and what it leaves is rounded once;
 * products read weights that are floats and were rounded to it. A gradient of weights is a sum of products of two numbers in bf16, each
 * exact in float, and is stored as float: it is held to what tensor cores make of such a sum. All else: gradients of biases, of gamma and
 * beta, running statistics, matches, losses, LARS, moving averages. */
#ifndef EDIY_ORACLE_MIXED_H
#define EDIY_ORACLE_MIXED_H

#include <stdbool.h>

#include "oracle/precision.h"
#include "oracle/variant.h"

/* Of a result of a case: out.*, grad_in.*, grad_param.*. */
enum precision mixed_class(enum precision declared, const char *op, const char *result);

/* Whether this tensor of a case, given or a result, is an activation or the gradient of one. */
bool mixed_is_activation(const char *op, const char *name);

/* Whether a table that stores activations as bf16 is given, or leaves, this tensor in bf16: those, and the weights that products read. */
bool mixed_is_stored(const char *op, const char *name);

/* Activations rounded to bf16, all else as it is. context: the operation, const char. */
variant_rule mixed_stored;

#endif
