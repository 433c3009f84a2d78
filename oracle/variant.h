/* A case with other numbers in it: the same operation on absolute values, on rounded inputs, on another upstream gradient. It is how a
 * gauge is measured: by running the reference itself. */
#ifndef EDIY_ORACLE_VARIANT_H
#define EDIY_ORACLE_VARIANT_H

#include <stdbool.h>

#include "base/error.h"
#include "oracle/case.h"
#include "oracle/precision.h"

struct variant {
  struct case_file file; /* may be run like any case, while the original is open */
  void **values;         /* owned; one for each tensor, null where it is the original's */
};

/* The new value of element i of the given tensor t, whose value is x. */
typedef double variant_rule(const struct tensor *t, ptrdiff_t i, double x, const void *context);

/* Every given floating-point tensor goes through the rule; expected ones and integers stay. variant_close it in any case. */
MUST_CHECK bool variant_make(struct variant *v, const struct case_file *original, variant_rule *rule, const void *context,
                             struct error *err);
void variant_close(struct variant *v);

/* Sets a flag among the attributes of the variant alone. */
MUST_CHECK bool variant_set_flag(struct variant *v, const char *key, bool value, struct error *err);

/* Sets a number among the attributes of the variant alone. */
MUST_CHECK bool variant_set_number(struct variant *v, const char *key, double value, struct error *err);

variant_rule variant_same, variant_absolute, variant_absolute_gradient /* grad_out.* alone */, variant_square;
variant_rule variant_rounded; /* context: struct number_format */

#endif
