#include "oracle/backend_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/backend_operations.h"
#include "oracle/compare.h"
#include "oracle/mixed.h"
#include "oracle/variant.h"

static const struct {
  const char *op;
  backend_operation *run;
} operations[] = {
    {"conv", backend_conv},       {"linear", backend_linear}, {"norm", backend_norm}, {"relu", backend_relu}, {"maxpool", backend_maxpool},
    {"avgpool", backend_avgpool}, {"match", backend_match},   {"loss", backend_loss}, {"lars", backend_lars}, {"ema", backend_ema},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static backend_operation *operation_named(const char *op) {
  for (int i = 0; i < OPERATIONS; i++) {
    if (strcmp(operations[i].op, op) == 0) return operations[i].run;
  }
  return NULL;
}

bool backend_case_known(const char *op) { return operation_named(op) != NULL; }

/* ---- what is expected ---------------------------------------------------------------------------------------------------------------- */

static bool table_has(const struct case_file *c, const struct tensor *t) {
  const char *mode;
  struct error ignored;
  if (strcmp(c->op, "match") == 0) return strncmp(t->name, "out.sim", strlen("out.sim")) != 0;
  bool eval = strcmp(c->op, "norm") == 0 && case_text(c, "mode", &mode, &ignored) && strcmp(mode, "eval") == 0;
  return !eval || !case_expected(t) || strncmp(t->name, "grad_", strlen("grad_")) != 0;
}

/* What a table that stores activations as bf16 can be given of c: the case with them rounded. */
static bool store(struct backend_part *part, const struct case_file **c, const struct backend *table, struct error *err) {
  if (!table || table->activation_size == sizeof(float)) return true;
  if (!variant_make(&part->stored, *c, mixed_stored, (*c)->op, err)) return false;
  *c = &part->stored.file;
  return true;
}

bool backend_part_make(struct backend_part *part, const struct case_file *c, const struct backend *table, struct error *err) {
  *part = (struct backend_part){.tensor = NULL};
  if (!store(part, &c, table, err)) return false;
  int total = c->file.count, kept = 0;
  size_t room = (size_t)total + 1;
  part->file = *c, part->tensor = calloc(room, sizeof *part->tensor), part->by_name = calloc(room, sizeof *part->by_name);
  int *place = calloc(room, sizeof *place); /* of a tensor among those kept, or -1 */
  bool ok = part->tensor && part->by_name && place;
  for (int i = 0; ok && i < total; i++) {
    place[i] = table_has(c, &c->file.tensor[i]) ? kept : -1;
    if (place[i] >= 0) part->tensor[kept++] = c->file.tensor[i];
  }
  part->file.file.tensor = part->tensor;
  part->file.file.by_name = part->by_name;
  part->file.file.count = 0;
  for (int i = 0; ok && i < total; i++) {
    int at = place[c->file.by_name[i]];
    if (at >= 0) part->by_name[part->file.file.count++] = at;
  }
  free(place);
  return ok || fail(err, "%s: out of memory", c->name);
}

void backend_part_free(struct backend_part *part) {
  free(part->tensor);
  free(part->by_name);
  variant_close(&part->stored);
  *part = (struct backend_part){0};
}

/* ---- one pass ------------------------------------------------------------------------------------------------------------------------ */

/* Computes c in this memory. results: begun here. */
static bool run_pass(const struct case_file *c, struct backend_memory *memory, struct case_run *results, struct conduct *conduct,
                     struct error *err) {
  backend_operation *operation = operation_named(c->op);
  *conduct = (struct conduct){.kind = CONDUCT_GOOD};
  if (!run_begin(results, c, err)) return false;
  if (!operation) return fail(err, "%s: backends have no operation %s", c->file.path, c->op);
  struct pass p = {.memory = memory, .run = results};
  memory->passes++;
  bool ran = operation(&p);
  if (!pass_finish(&p, conduct->text, sizeof conduct->text) && ran) conduct->kind = CONDUCT_OUTSIDE;
  return ran && memory->table->status(err); /* a device that failed has left NaN: not what the operation computes */
}

bool backend_case_once(const struct case_file *c, const struct backend *table, struct case_run *results, struct conduct *conduct,
                       struct error *err) {
  struct backend_memory memory = {.table = table};
  bool ok = run_pass(c, &memory, results, conduct, err);
  backend_memory_free(&memory);
  return ok;
}

/* ---- several passes ------------------------------------------------------------------------------------------------------------------ */

/* Other inputs of the same kind: the numbers in reverse order, halved. A variance stays positive, an index as it was. */
static double reversed(const struct tensor *t, ptrdiff_t i, double x, const void *context) {
  (void)x;
  (void)context;
  return tensor_at(t, tensor_count(t) - 1 - i) / 2;
}

/* Fills conduct with the first element in which two passes over the same inputs differ. */
static void compare_passes(const struct case_run *a, const struct case_run *b, enum conduct_kind kind, struct conduct *conduct) {
  static const char *const when[] = {
      [CONDUCT_NONDETERMINISTIC] = "called again with the same inputs", [CONDUCT_STALE] = "called with the same inputs in fresh memory"};
  for (int i = 0; i < a->count && conduct->kind == CONDUCT_GOOD; i++) {
    const struct tensor *x = &a->result[i], *y = &b->result[i];
    size_t element = dtype_size(x->dtype);
    for (ptrdiff_t j = 0, n = tensor_count(x); j < n && conduct->kind == CONDUCT_GOOD; j++) {
      if (memcmp((const char *)x->data + (size_t)j * element, (const char *)y->data + (size_t)j * element, element) == 0) continue;
      char where[96];
      compare_index_text(x, j, where, sizeof where);
      conduct->kind = kind;
      snprintf(conduct->text, sizeof conduct->text, "%.100s%s is %.9g, and %.9g when %s", x->name, where, tensor_at(x, j), tensor_at(y, j),
               when[kind]);
    }
  }
}

bool backend_case_run(const struct case_file *c, const struct backend *table, struct case_run *results, struct conduct *conduct,
                      struct error *err) {
  struct backend_memory used = {.table = table}, fresh = {.table = table, .passes = 3}; /* a pass of its own in what stands where */
  struct case_run other = {0}, again = {0}, anew = {0};
  struct conduct ignored;
  struct variant v;
  *results = (struct case_run){0};
  bool ok = variant_make(&v, c, reversed, NULL, err) && run_pass(&v.file, &used, &other, &ignored, err) &&
            run_pass(c, &used, results, conduct, err);
  if (ok && conduct->kind == CONDUCT_GOOD) {
    ok = run_pass(c, &used, &again, &ignored, err) && run_pass(c, &fresh, &anew, &ignored, err);
    if (ok) compare_passes(results, &again, CONDUCT_NONDETERMINISTIC, conduct);
    if (ok) compare_passes(results, &anew, CONDUCT_STALE, conduct);
  }
  run_end(&other);
  run_end(&again);
  run_end(&anew);
  variant_close(&v);
  backend_memory_free(&used);
  backend_memory_free(&fresh);
  return ok;
}
