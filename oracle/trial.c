#include "oracle/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/mutants/plain_image.h"
#include "oracle/operations.h"

/* ---- making -------------------------------------------------------------------------------------------------------------------------- */

struct named {
  const char *name;
  int index;
};

static int name_order(const void *a, const void *b) { return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name); }

/* The made case with the truth's results as expected tensors. */
static bool join(struct trial *t, struct error *err) {
  int given = t->made.file.file.count, count = given + t->truth.count;
  struct named *sorted = calloc((size_t)count + 1, sizeof *sorted);
  t->whole = t->made.file;
  t->tensor = calloc((size_t)count + 1, sizeof *t->tensor);
  t->by_name = calloc((size_t)count + 1, sizeof *t->by_name);
  bool ok = sorted && t->tensor && t->by_name;
  for (int i = 0; ok && i < count; i++) {
    t->tensor[i] = i < given ? t->made.input[i] : t->truth.result[i - given];
    sorted[i] = (struct named){t->tensor[i].name, i};
  }
  if (ok) qsort(sorted, (size_t)count, sizeof *sorted, name_order);
  for (int i = 0; ok && i < count; i++) t->by_name[i] = sorted[i].index;
  free(sorted);
  t->whole.file.tensor = t->tensor;
  t->whole.file.by_name = t->by_name;
  t->whole.file.count = count;
  return ok || fail(err, "trial: out of memory");
}

/* What the reference in float is off by, where that is what a judgement rests on. */
static bool measure_float(struct trial *t, struct error *err) {
  struct case_run single;
  if (t->options.op != MAKE_AUGMENT) return true;
  bool ok = run_begin(&single, &t->made.file, err) && case_compute(&single, 32);
  if (ok) t->made.file.float32 = case_float_errors(&t->truth, &single);
  run_end(&single);
  return ok && (t->made.file.float32 || fail(err, "trial: out of memory"));
}

bool trial_make(struct trial *t, const struct make_options *o, const struct backend *table, struct error *err) {
  *t = (struct trial){.options = *o};
  if (!make_inputs(&t->made, &t->options, err)) return false;
  return run_begin(&t->truth, &t->made.file, err) && case_compute(&t->truth, 64) && measure_float(t, err) && join(t, err) &&
         backend_part_make(&t->part, &t->whole, table, err);
}

void trial_free(struct trial *t) {
  backend_part_free(&t->part);
  run_end(&t->truth);
  made_case_free(&t->made);
  free(t->tensor);
  free(t->by_name);
  t->tensor = NULL;
  t->by_name = NULL;
}

/* ---- running and judging ------------------------------------------------------------------------------------------------------------- */

bool trial_run(const struct trial *t, const struct backend *table, bool thorough, struct case_run *results, struct conduct *conduct,
               struct error *err) {
  if (!backend_case_known(t->whole.op)) { /* what is no operation of a table */
    *conduct = (struct conduct){.kind = CONDUCT_GOOD};
    if (!run_begin(results, &t->part.file, err)) return false;
    return t->options.op == MAKE_AUGMENT ? plain_case_augment(results) : plain_case_schedule(results);
  }
  if (thorough) return backend_case_run(&t->part.file, table, results, conduct, err);
  return backend_case_once(&t->part.file, table, results, conduct, err);
}

bool trial_judge(const struct trial *t, const struct case_run *results, const struct precision_class *p, double chain,
                 struct judged_file *j, struct error *err) {
  /* The schedules are in double by their contract, whatever a network computes in. */
  if (t->options.op == MAKE_SCHEDULE) p = &precision_classes[PRECISION_FP64];
  return candidate_judge_tensors(&t->part.file, results->result, results->count, p, chain, true, j, err);
}

bool trial_judge_mixed(const struct trial *t, const struct case_run *results, enum precision declared, double chain, struct judged_file *j,
                       struct error *err) {
  if (t->options.op == MAKE_SCHEDULE) declared = PRECISION_FP64;
  return candidate_judge_mixed(&t->part.file, results->result, results->count, declared, chain, true, j, err);
}

const struct judged *trial_failure(const struct judged_file *j) {
  for (int i = 0; i < j->count; i++) {
    if (j->tensor[i].judgement > JUDGED_VACUOUS) return &j->tensor[i];
  }
  return NULL;
}
