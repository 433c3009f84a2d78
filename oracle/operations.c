#include "oracle/operations.h"

#include <string.h>

struct operation {
  const char *name;
  bool (*f32)(struct case_run *run), (*f64)(struct case_run *run);
};

#define ENTRY(op) {#op, case_##op##_f32, case_##op##_f64},
static const struct operation operations[] = {CASE_OPERATIONS(ENTRY)};
#undef ENTRY

bool case_compute(struct case_run *run, int bits) {
  const struct case_file *c = run->file;
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    if (strcmp(operations[i].name, c->op) == 0) { return (bits == 32 ? operations[i].f32 : operations[i].f64)(run) && run_finish(run); }
  }
  return fail(run->err, "%s: unknown operation \"%s\"", c->file.path, c->op);
}
