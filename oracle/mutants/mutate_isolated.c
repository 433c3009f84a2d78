/* Faults on single operations. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/mutants/mutate.h"
#include "oracle/mutants/plain.h"
#include "oracle/trial.h"

/* Whether the words of a fault's operations hold this one. */
static bool concerns(const char *words, const char *op) {
  size_t n = strlen(op);
  for (const char *at = words; (at = strstr(at, op)); at++) {
    if ((at == words || at[-1] == ' ') && (at[n] == 0 || at[n] == ' ')) return true;
  }
  return false;
}

/* Whether one of the beginnings "a,b,c" is one of the name. */
static bool begins_with_any(const char *name, const char *beginnings) {
  for (const char *at = beginnings; *at;) {
    size_t n = strcspn(at, ",");
    if (strncmp(name, at, n) == 0) return true;
    at += n + (at[n] == ',');
  }
  return false;
}

static bool same_bits(const struct case_run *a, const struct case_run *b) {
  bool same = a->count == b->count;
  for (int i = 0; same && i < a->count; i++) {
    size_t bytes = (size_t)tensor_count(&a->result[i]) * dtype_size(a->result[i].dtype);
    same = memcmp(a->result[i].data, b->result[i].data, bytes) == 0;
  }
  return same;
}

static void count_verdict(const struct trial *t, enum fault fault, const struct conduct *conduct, const struct judged_file *j,
                          struct fault_score *s) {
  const struct judged *failed = trial_failure(j);
  bool located = true;
  s->tries++;
  if (!failed && conduct->kind == CONDUCT_GOOD) {
    bool passed = j->worst != JUDGED_VACUOUS;
    if (!s->survived[0] || (passed && s->passed == 0)) make_command(&t->options, "case.safetensors", s->survived, sizeof s->survived);
    s->passed += passed;
    return;
  }
  for (int i = 0; i < j->count; i++) {
    bool wrong = j->tensor[i].judgement > JUDGED_VACUOUS;
    located = located && (!wrong || begins_with_any(j->tensor[i].finding.tensor, fault_catalogue[fault].tensors));
  }
  s->kills++;
  if (located) s->located++;
  if (s->first) return;
  s->first = s->tries;
  snprintf(s->rule, sizeof s->rule, "%s", failed ? failed->finding.rule : "conduct");
  snprintf(s->tensor, sizeof s->tensor, "%.60s", failed ? failed->finding.tensor : "");
}

/* Without a fault nothing may be rejected: a score would count for nothing. */
static bool is_right(const struct trial *t, const struct case_run *right, struct error *err) {
  struct judged_file j;
  char text[500], command[300];
  if (!trial_judge(t, right, &precision_classes[PRECISION_FP32], CHAIN_USUAL, &j, err)) return false;
  const struct judged *failed = trial_failure(&j);
  if (failed) {
    finding_text(&failed->finding, text, sizeof text);
    make_command(&t->options, "case.safetensors", command, sizeof command);
    fail(err, "mutate: the plain backend without a fault is rejected: %s; %s && oracle case case.safetensors backend=plain", text, command);
  }
  judged_free(&j);
  return !failed;
}

/* Every fault that concerns the operation, on this case. */
static bool try_faults(const struct trial *t, const char *op, const struct mutate_options *o, struct fault_score *scores,
                       struct error *err) {
  struct case_run right = {0}, wrong;
  struct conduct conduct;
  plain_fault(FAULT_NONE, -1);
  bool ok = trial_run(t, backend_plain(), false, &right, &conduct, err);
  ok = ok && is_right(t, &right, err);
  for (enum fault f = FAULT_NONE + 1; ok && f < FAULTS; f++) {
    struct judged_file j;
    const struct fault_description *d = &fault_catalogue[f];
    if (!concerns(d->op, op) || (o->fault && strcmp(o->fault, d->name) != 0)) continue;
    plain_fault(f, -1);
    ok = trial_run(t, backend_plain(), false, &wrong, &conduct, err);
    bool changed = ok && (conduct.kind != CONDUCT_GOOD || !same_bits(&right, &wrong));
    if (changed && (ok = trial_judge(t, &wrong, &precision_classes[PRECISION_FP32], CHAIN_USUAL, &j, err))) {
      count_verdict(t, f, &conduct, &j, &scores[f]);
      judged_free(&j);
    }
    run_end(&wrong);
  }
  plain_fault(FAULT_NONE, -1);
  run_end(&right);
  return ok;
}

bool mutate_isolated(const struct mutate_options *o, struct fault_score *scores, void (*progress)(const char *op, int done, int of),
                     struct error *err) {
  struct trial *t = malloc(sizeof *t);
  struct make_options *options = malloc(sizeof *options);
  const struct plain_choice in_order = {.precision = PRECISION_FP32};
  bool ok = (t && options) || fail(err, "mutate: out of memory");
  plain_choose(&in_order);
  int threads = omp_get_max_threads();
  omp_set_num_threads(1); /* shapes too small to share out */
  for (int op = 0; ok && op < MAKE_OPS; op++) {
    if (op == MAKE_RANDOM) continue;
    if (o->op && strcmp(o->op, make_op_name(op)) != 0) continue;
    int cases = o->cases * (op == MAKE_AUGMENT ? 4 : 1); /* a dozen transforms */
    for (int i = 0; ok && i < cases; i++) {
      make_defaults(options);
      options->op = op;
      options->seed = o->seed + i;
      make_draw(options);
      make_draw_more(options);
      make_limit(options, 1 << 17);
      options->fill = i % MAKE_FILLS;
      ok = trial_make(t, options, NULL, err) && try_faults(t, make_op_name(op), o, scores, err);
      trial_free(t);
      if (progress) progress(make_op_name(op), i + 1, cases);
    }
  }
  omp_set_num_threads(threads);
  free(options);
  free(t);
  return ok;
}
