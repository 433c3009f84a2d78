#include "oracle/fuzz.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/backends.h"
#include "oracle/mixed.h"
#include "oracle/mutants/plain.h"
#include "oracle/trial.h"

enum { MOST_PRODUCTS = 1 << 17 }; /* of a case: a few milliseconds of plain loops */

/* ---- one case ------------------------------------------------------------------------------------------------------------------------ */

struct attempt {
  const struct fuzz_options *o;
  struct named_backend by;
  enum precision precision;   /* that results are held to; of variants, that of the choice */
  struct plain_choice choice; /* of the plain backend */
  struct trial *trial;
  struct error *err;
  struct conduct conduct;
  struct judged_file judged;
};

static bool judge(struct attempt *a, const struct case_run *results) {
  struct precision_class class = precision_classes[a->precision];
  class.winograd = a->choice.winograd;
  const double chain = a->o->chain > 0 ? a->o->chain : backend_case_chain(&a->trial->part.file, a->by.table, NULL);
  if (a->by.mixed) return trial_judge_mixed(a->trial, results, a->precision, chain, &a->judged, a->err);
  return trial_judge(a->trial, results, &class, chain, &a->judged, a->err);
}

/* True if the case could be run and judged; *rejected says how that went. What cannot be made a case is not rejected. */
static bool attempt_case(struct attempt *a, const struct make_options *m, bool *rejected) {
  struct case_run results = {0};
  *rejected = false;
  if (a->o->variants) plain_choose(&a->choice);
  bool ok = trial_make(a->trial, m, a->by.table, a->err) && trial_run(a->trial, a->by.table, a->o->repeat, &results, &a->conduct, a->err) &&
            judge(a, &results);
  if (ok) *rejected = trial_failure(&a->judged) || a->conduct.kind != CONDUCT_GOOD;
  run_end(&results);
  trial_free(a->trial);
  return ok;
}

/* ---- shrinking ----------------------------------------------------------------------------------------------------------------------- */

/* Tries a smaller case; keeps it, in *m, if it is rejected as well. */
static bool smaller_fails(struct attempt *a, struct make_options *m, const struct make_options *smaller) {
  struct error ignored, *err = a->err;
  bool rejected;
  a->err = &ignored; /* a shape that is no case is no smaller case */
  bool ran = attempt_case(a, smaller, &rejected);
  if (ran) judged_free(&a->judged);
  a->err = err;
  if (ran && rejected) *m = *smaller;
  return ran && rejected;
}

static bool shrink_once(struct attempt *a, struct make_options *m) {
  static const size_t sizes[] = {
      offsetof(struct make_options, n),      offsetof(struct make_options, h),    offsetof(struct make_options, w),
      offsetof(struct make_options, c),      offsetof(struct make_options, k),    offsetof(struct make_options, m),
      offsetof(struct make_options, i),      offsetof(struct make_options, o),    offsetof(struct make_options, r),
      offsetof(struct make_options, stride), offsetof(struct make_options, steps)};
  static const size_t flags[] = {offsetof(struct make_options, bias),     offsetof(struct make_options, relu),
                                 offsetof(struct make_options, residual), offsetof(struct make_options, before),
                                 offsetof(struct make_options, stopgrad), offsetof(struct make_options, instance)};
  struct make_options try;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    for (int less = 0; less < 2; less++) { /* half of it, or one less */
      try = *m;
      int64_t *size = (int64_t *)(void *)((char *)&try + sizes[i]);
      if (*size < 2) continue;
      *size = less == 0 ? *size / 2 : *size - 1;
      if (try.pad >= try.r) try.pad = try.r / 2;
      if (smaller_fails(a, m, &try)) return true;
    }
  }
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    try = *m;
    bool *flag = (bool *)((char *)&try + flags[i]);
    if (!*flag) continue;
    *flag = false;
    if (smaller_fails(a, m, &try)) return true;
  }
  return false;
}

/* The verdict in hand, and the commands that make the case and judge it again. */
static void describe(const struct attempt *a, const struct make_options *m, struct fuzz_failure *f) {
  char made[900], what[400];
  const struct judged *failed = trial_failure(&a->judged);
  f->found = true;
  f->unsteady = !failed && a->conduct.kind != CONDUCT_OUTSIDE;
  if (failed) judged_text(&failed->finding, what, sizeof what);
  snprintf(f->text, sizeof f->text, "%s", failed ? what : a->conduct.text);
  make_command(m, "case.safetensors", made, sizeof made);
  char words[64] = "";
  if (a->o->variants) plain_words(&a->choice, words, sizeof words);
  char chain[32] = "";
  if (a->o->chain > 0) snprintf(chain, sizeof chain, " chain=%.0f", a->o->chain);
  snprintf(f->command, sizeof f->command, "%s && oracle case case.safetensors backend=%s%s precision=%s%s", made, a->o->on, words,
           precision_classes[a->precision].name, chain);
}

static bool describe_smallest(struct attempt *a, struct make_options *m, struct fuzz_failure *f) {
  bool rejected;
  while (shrink_once(a, m)) continue;
  if (!attempt_case(a, m, &rejected)) return false;
  describe(a, m, f);
  judged_free(&a->judged);
  return true;
}

/* ---- many ---------------------------------------------------------------------------------------------------------------------------- */

static struct fuzz_row *row_named(struct fuzz_tally *t, const char *name, struct error *err) {
  for (int i = 0; i < t->count; i++) {
    if (strcmp(t->row[i].name, name) == 0) return &t->row[i];
  }
  struct fuzz_row *grown = realloc(t->row, (size_t)(t->count + 1) * sizeof *grown);
  if (!grown) return fail(err, "fuzz: out of memory"), NULL;
  t->row = grown;
  struct fuzz_row *r = &t->row[t->count++];
  *r = (struct fuzz_row){0};
  snprintf(r->name, sizeof r->name, "%s", name);
  return r;
}

void fuzz_tally_free(struct fuzz_tally *t) {
  free(t->row);
  *t = (struct fuzz_tally){0};
}

/* Run number k: shape, settings, fill. Denormals that are stored as bf16 are a few different numbers, whose roundings are not independent
 * of one another, as rule bias supposes. */
static void draw_case(const struct fuzz_options *o, int64_t k, int op, enum precision precision, bool stored_as_bf16,
                      struct make_options *m) {
  make_defaults(m);
  m->op = op;
  m->seed = o->seed + k;
  make_draw(m);
  make_draw_more(m);
  make_limit(m, MOST_PRODUCTS);
  if (k / MAKE_FILLS % 2 == 1) make_draw_settings(m); /* a padding for what was left of the image */
  m->fill = (int)(k % MAKE_FILLS);
  if (!make_fill_fits(op, m->fill, precision) || (stored_as_bf16 && m->fill == FILL_DENORMAL)) m->fill = FILL_NORMAL;
  if (m->fill == FILL_DENORMAL && m->decay == 0) m->decay = 1e-6; /* else a gradient has no length in float, and one in the truth */
}

static bool count_run(struct attempt *a, struct make_options *m, struct fuzz_tally *tally, struct fuzz_failure *failure) {
  char name[64], words[64] = "";
  bool rejected;
  plain_words(&a->choice, words, sizeof words);
  snprintf(name, sizeof name, "%s", a->o->variants ? words + 1 : make_op_name(m->op));
  struct fuzz_row *row = row_named(tally, name, a->err);
  if (!row || !attempt_case(a, m, &rejected)) return false;
  row->runs++;
  row->tensors += a->judged.count;
  for (int i = 0; i < a->judged.count; i++) row->vacuous += a->judged.tensor[i].judgement == JUDGED_VACUOUS;
  if (rejected && a->o->rejected) {
    struct fuzz_failure each;
    describe(a, m, &each);
    a->o->rejected(&each);
  }
  judged_free(&a->judged);
  if (!rejected) return true;
  row->rejected++;
  return failure->found || describe_smallest(a, m, failure);
}

bool fuzz(const struct fuzz_options *o, struct fuzz_tally *tally, struct fuzz_failure *failure, void (*progress)(int64_t done, int64_t of),
          struct error *err) {
  struct attempt a = {.o = o, .err = err, .choice = {.precision = PRECISION_FP32}};
  struct make_options *m = malloc(sizeof *m);
  int op = -1, only = o->op ? make_op_named(o->op) : -1;
  a.trial = malloc(sizeof *a.trial);
  bool ok = (m && a.trial) || fail(err, "fuzz: out of memory");
  if (ok && o->op && only < 0) ok = fail(err, "fuzz: no operation '%s' can be made; oracle case make --help lists them", o->op);
  if (ok && (strcmp(o->on, "ref32") == 0 || strcmp(o->on, "ref64") == 0))
    ok = fail(err, "fuzz: %s is what judges here; backend=reference is judged by it, the same operations as a table", o->on);
  if (ok) ok = backend_named(o->on, &a.by, err) || fail_within(err, "fuzz");
  a.precision = o->precision >= 0 ? (enum precision)o->precision : a.by.precision;
  int threads = omp_get_max_threads();
  if (o->variants) omp_set_num_threads(1); /* shapes too small to share out; a backend under test keeps its threads */
  for (int64_t k = 0; ok && k < o->runs; k++) {
    op = only >= 0 ? only : (int)(k % MAKE_RANDOM);
    /* fills, operations and variants go round at their own pace, and meet in all combinations */
    if (o->variants) plain_variant(k / MAKE_RANDOM + k % 7, op == MAKE_CONV, op == MAKE_LARS || op == MAKE_EMA, &a.choice);
    if (o->variants) a.precision = a.choice.precision;
    draw_case(o, k + k / MAKE_RANDOM, op, a.by.mixed ? mixed_class(a.precision, make_op_name(op), "out.y") : a.precision,
              a.by.mixed && a.precision == PRECISION_BF16, m);
    if (a.choice.winograd && m->fill == FILL_INF) m->fill = FILL_NORMAL; /* its transforms carry a NaN to outputs that do not see it */
    ok = count_run(&a, m, tally, failure);
    if (progress) progress(k + 1, o->runs);
  }
  const struct plain_choice usual = {.precision = PRECISION_FP32};
  if (o->variants) plain_choose(&usual);
  omp_set_num_threads(threads);
  free(a.trial);
  free(m);
  return ok;
}
