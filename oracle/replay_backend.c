/* Replay on a backend: what its operations make of the dump's tensors is judged in place of what the dump holds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/backend_case.h"
#include "oracle/replay_rows.h"
#include "oracle/values.h"

/* What the backend's parts of an output add up to in float, from what was there before: in new memory. Null without memory, or where the
 * backend has no such result. */
static void *sum_of_parts(const struct work_output *o, const struct case_run *results) {
  struct tensor shape = tensor_make(DTYPE_F32, NULL, o->ndim, o->shape, "sum");
  ptrdiff_t n = tensor_count(&shape);
  double *sum = o->start ? tensor_values(o->start) : calloc((size_t)n + 1, sizeof *sum);
  void *to = malloc((size_t)n * sizeof(float) + 1); /* or indices */
  bool ok = sum && to;
  for (int k = 0; ok && k < o->parts; k++) {
    const struct tensor *part = run_result(&results[o->part[k].which], o->part[k].result);
    ok = part && tensor_count(part) == n;
    for (ptrdiff_t i = 0; ok && i < n; i++) sum[i] = (double)(float)(sum[i] + tensor_at(part, i));
  }
  for (ptrdiff_t i = 0; ok && i < n; i++) {
    if (o->is_index) {
      ((int32_t *)to)[i] = (int32_t)sum[i];
    } else {
      ((float *)to)[i] = (float)sum[i];
    }
  }
  free(sum);
  if (!ok) free(to);
  return ok ? to : NULL;
}

/* Chains behind an output, by what the dump declares and by what the backend says of its own. */
static double chain_of(const struct replay *r, const struct unit_work *w, const struct work_output *o, double declared) {
  for (int k = 0; k < o->parts; k++)
    declared = fmax(declared, backend_case_chain(&w->c[o->part[k].which].file, r->options.table, o->part[k].result));
  return declared;
}

bool replay_on_backend(const struct replay *r, struct unit_work *w, struct replay_backend *b, struct error *err) {
  struct case_run results[WORK_CASES] = {0};
  struct conduct conduct = {.kind = CONDUCT_GOOD};
  bool ok = true;
  *b = (struct replay_backend){.count = 0};
  for (int i = 0; ok && i < w->cases && conduct.kind == CONDUCT_GOOD; i++) {
    ok = backend_case_once(&w->c[i].file, r->options.table, &results[i], &conduct, err);
  }
  if (ok && conduct.kind != CONDUCT_GOOD) memcpy(b->misconduct, conduct.text, sizeof b->misconduct);
  for (int i = 0; ok && conduct.kind == CONDUCT_GOOD && i < w->outputs; i++) {
    struct work_output *o = &w->output[i];
    if (o->parts == 0) continue;
    void *data = sum_of_parts(o, results);
    if (!data) {
      ok = fail(err, "%s: the backend has no such result, or memory is short", o->name);
      break;
    }
    struct dump_entry *e = &b->entry[b->count++];
    if (o->entry) *e = *o->entry;
    if (!o->entry) *e = (struct dump_entry){.precision = r->u->d->precision, .chain = r->u->d->chain};
    e->chain = chain_of(r, w, o, e->chain);
    e->data = tensor_make(o->is_index ? DTYPE_I32 : DTYPE_F32, data, o->ndim, o->shape, "%s", o->name);
    o->entry = e;
  }
  for (int i = 0; i < WORK_CASES; i++) run_end(&results[i]);
  return ok;
}

void replay_backend_free(struct replay_backend *b) {
  for (int i = 0; i < b->count; i++) free(b->entry[i].data.data);
}
