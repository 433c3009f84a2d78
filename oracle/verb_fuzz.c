/* oracle fuzz: random cases on a backend, adversarial fills among them; a failure is shrunk to its smallest shape. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/plural.h"
#include "oracle/findings.h"
#include "oracle/fuzz.h"
#include "oracle/verb.h"

struct fuzz_keys {
  int64_t seed, runs, chain;
  int precision;
  bool variants, repeat, list;
  char op[OPTION_TEXT_SIZE], backend[OPTION_TEXT_SIZE], json[OPTION_TEXT_SIZE];
};

#define AT(field) offsetof(struct fuzz_keys, field)
static const struct option keys[] = {
    {"op", OPTION_TEXT, AT(op), "", 0, 0, NULL, "only this operation"},
    {"backend", OPTION_TEXT, AT(backend), "reference", 0, 0, NULL, "what computes the cases: a table of operations"},
    {"precision", OPTION_CHOICE, AT(precision), "declared", 0, 0, "declared | " PRECISION_NAMES,
     "what the backend computes in; declared: fp32, or what its name says"},
    {"chain", OPTION_INT, AT(chain), "0", 0, 1e9, NULL,
     "additions that it makes one after the other, at most; 0: 1024, or as many as the backend says"},
    {"runs", OPTION_INT, AT(runs), "200", 1, 1e9, NULL, "cases"},
    {"seed", OPTION_INT, AT(seed), "1", 0, 1e15, NULL, "of the first case"},
    {"variants", OPTION_BOOL, AT(variants), "no", 0, 0, NULL, "every right variant of the plain backend in turn, at its own precision"},
    {"repeat", OPTION_BOOL, AT(repeat), "yes", 0, 0, NULL, "call again with other and with the same inputs in the same storage"},
    {"list", OPTION_BOOL, AT(list), "no", 0, 0, NULL, "print every rejected case"},
    {"json", OPTION_TEXT, AT(json), "", 0, 0, NULL, "write the counts and the smallest rejected case to this file"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static void show_progress(int64_t done, int64_t of) {
  if (!isatty(2) || (done % 16 != 0 && done != of)) return;
  fprintf(stderr, "\r%lld of %lld  ", (long long)done, (long long)of);
  if (done == of) fprintf(stderr, "\r%40s\r", "");
}

static void print_rejected(const struct fuzz_failure *f) { printf("rejected: %s\n  %s\n", f->text, f->command); }

static enum oracle_exit report(const struct fuzz_tally *tally, const struct fuzz_failure *failure) {
  int64_t runs = 0, rejected = 0, vacuous = 0, tensors = 0;
  for (int i = 0; i < tally->count; i++) {
    const struct fuzz_row *r = &tally->row[i];
    printf("%-34s %6lld runs %8lld tensors %5lld vacuous %4lld rejected\n", r->name, (long long)r->runs, (long long)r->tensors,
           (long long)r->vacuous, (long long)r->rejected);
    runs += r->runs, rejected += r->rejected, vacuous += r->vacuous, tensors += r->tensors;
  }
  printf("%lld run%s, %lld tensor%s: %lld rejected, %lld tensor%s vacuous\n", (long long)runs, plural(runs), (long long)tensors,
         plural(tensors), (long long)rejected, (long long)vacuous, plural(vacuous));
  if (failure->found) printf("smallest: %s\n  %s\n", failure->text, failure->command);
  return failure->found ? (failure->unsteady ? ORACLE_NONDETERMINISTIC : ORACLE_MISMATCH) : ORACLE_PASS;
}

/* "ediy-fuzz-1": one row an operation, or a variant. */
static bool write_json(const struct fuzz_keys *k, const struct fuzz_options *o, const struct fuzz_tally *tally,
                       const struct fuzz_failure *failure, int exit, struct error *err) {
  json_t *rows = json_array();
  for (int i = 0; i < tally->count; i++) {
    const struct fuzz_row *r = &tally->row[i];
    json_array_append_new(rows, json_pack("{s:s,s:I,s:I,s:I,s:I}", "name", r->name, "runs", (json_int_t)r->runs, "tensors",
                                          (json_int_t)r->tensors, "vacuous", (json_int_t)r->vacuous, "rejected", (json_int_t)r->rejected));
  }
  json_t *smallest = failure->found ? json_pack("{s:s,s:s}", "finding", failure->text, "command", failure->command) : json_null();
  return findings_save(k->json,
                       json_pack("{s:s,s:s,s:s?,s:I,s:I,s:i,s:o,s:o}", "format", "ediy-fuzz-1", "backend", o->on, "precision",
                                 o->variants        ? NULL
                                 : o->precision < 0 ? "declared"
                                                    : precision_classes[o->precision].name,
                                 "runs", (json_int_t)o->runs, "seed", (json_int_t)o->seed, "exit", exit, "rows", rows, "smallest",
                                 smallest),
                       err);
}

/* Of variants=yes, where each variant of the plain backend is judged at its own precision. */
static bool is_of_one_backend(const char *argument) {
  return strncmp(argument, "precision=", 10) == 0 || strncmp(argument, "backend=", 8) == 0;
}

static bool read_arguments(struct fuzz_keys *k, int count, char *const *arguments, struct error *err) {
  const char *of_one = NULL;
  options_default(keys, KEYS, k);
  for (int i = 0; i < count; i++) {
    if (!strchr(arguments[i], '='))
      return fail(err, "'%s' is not of the form key=value; usage: oracle fuzz %s", arguments[i], oracle_verb_fuzz.usage);
    if (!options_argument(keys, KEYS, k, arguments[i], err)) return false;
    if (is_of_one_backend(arguments[i])) of_one = arguments[i];
  }
  return !k->variants || !of_one ||
         fail(err, "variants=yes runs the plain backend, every variant at its own precision; leave it or %s out", of_one);
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct fuzz_keys *k = calloc(1, sizeof *k);
  struct fuzz_tally tally = {0};
  struct fuzz_failure *failure = calloc(1, sizeof *failure);
  enum oracle_exit code = ORACLE_BAD_INPUT;
  bool ok = (k && failure) || fail(err, "fuzz: out of memory");
  ok = ok && (read_arguments(k, count, arguments, err) || fail_within(err, "fuzz"));
  ok = ok && findings_wanted(k->json, err);
  if (ok) {
    struct fuzz_options o = {.op = k->op[0] ? k->op : NULL,
                             .on = k->variants ? "plain" : k->backend,
                             .precision = k->precision - 1,
                             .chain = (double)k->chain,
                             .runs = k->runs,
                             .seed = k->seed,
                             .variants = k->variants,
                             .repeat = k->repeat,
                             .rejected = k->list ? print_rejected : NULL};
    if (fuzz(&o, &tally, failure, show_progress, err)) code = report(&tally, failure);
    if (code != ORACLE_BAD_INPUT && k->json[0] && !write_json(k, &o, &tally, failure, (int)code, err)) code = ORACLE_BAD_INPUT;
  }
  fuzz_tally_free(&tally);
  free(failure);
  free(k);
  return code;
}

const struct oracle_verb oracle_verb_fuzz = {
    .name = "fuzz",
    .summary = "run random cases, adversarial ones among them, through a backend",
    .usage = "[op=NAME] [backend=NAME] [precision=...] [runs=N] [seed=N] [variants=yes] [json=FILE]",
    .about = "Shapes, fills and switches are drawn; each case runs as with `oracle case backend=`. The first that is rejected\n"
             "is shrunk: sizes are halved and switches taken back as long as it is rejected, and the command that makes the\n"
             "smallest case is printed. variants=yes runs the plain backend in every right way that it knows (orders of\n"
             "summation, fused, im2col, Winograd, tf32, bf16, fp16) and counts false alarms.\n"
             "Exit status: 0 none rejected, 1 mismatch, 2 usage, 4 other bits for the same inputs.",
    .example = "oracle fuzz op=maxpool runs=20\n"
               "oracle fuzz backend=plain op=norm runs=20\n"
               "oracle fuzz variants=yes runs=40",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
