/* oracle mutate: how many faults of the catalogue the oracle finds. In the mutation build alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle/findings.h"
#include "oracle/mutants/mutate.h"
#include "oracle/mutants/plain.h"
#include "oracle/verb.h"

struct mutate_keys {
  int64_t seed, cases;
  char op[OPTION_TEXT_SIZE], fault[OPTION_TEXT_SIZE], json[OPTION_TEXT_SIZE];
  bool quiet;
};

#define AT(field) offsetof(struct mutate_keys, field)
static const struct option keys[] = {
    {"op", OPTION_TEXT, AT(op), "", 0, 0, NULL, "only faults of this operation"},
    {"fault", OPTION_TEXT, AT(fault), "", 0, 0, NULL, "only the fault of this name"},
    {"cases", OPTION_INT, AT(cases), "24", 1, 1e6, NULL, "random cases for each operation"},
    {"seed", OPTION_INT, AT(seed), "1", 0, 1e15, NULL, "of the first case"},
    {"quiet", OPTION_BOOL, AT(quiet), "no", 0, 0, NULL, "print the score and the survivors alone"},
    {"json", OPTION_TEXT, AT(json), "", 0, 0, NULL, "write the score of every fault to this file"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static void show_progress(const char *op, int done, int of) {
  if (!isatty(2)) return;
  fprintf(stderr, "\r%-10s %d of %d  ", op, done, of);
  if (done == of) fprintf(stderr, "\r%40s\r", "");
}

/* One line a fault, then the score. Returns whether none survived. */
static bool print_scores(const struct fault_score *scores, const struct mutate_keys *k) {
  int tried = 0, killed = 0, runs = 0, kills = 0, located = 0;
  for (int f = FAULT_NONE + 1; f < FAULTS; f++) {
    const struct fault_score *s = &scores[f];
    const struct fault_description *d = &fault_catalogue[f];
    if (s->tries == 0) continue;
    tried++;
    killed += s->kills > 0;
    runs += s->tries;
    kills += s->kills;
    located += s->located;
    if (!k->quiet && s->kills > 0) {
      printf("killed   %-30s %3d of %3d runs, first by %s of %s (try %d), located %d, passed %d%s%s\n", d->name, s->kills, s->tries,
             s->rule, s->tensor, s->first, s->located, s->passed, s->passed ? ": " : "", s->passed ? s->survived : "");
    }
    if (s->kills == 0) printf("SURVIVED %-30s %d runs: %s; %s\n", d->name, s->tries, d->description, s->survived);
  }
  for (int f = FAULT_NONE + 1; f < FAULTS && !k->quiet; f++) {
    const struct fault_description *d = &fault_catalogue[f];
    bool asked = (!k->op[0] || strstr(d->op, k->op)) && (!k->fault[0] || strcmp(d->name, k->fault) == 0);
    if (asked && scores[f].tries == 0) printf("no bit   %-30s changed by it: %s\n", d->name, d->description);
  }
  printf("%d faults, %d killed (%.1f %%); %d runs in which a fault changed a bit, %d rejected (%.1f %%), %d with the right tensors named "
         "(%.1f %%)\n",
         tried, killed, tried ? 100.0 * killed / tried : 0, runs, kills, runs ? 100.0 * kills / runs : 0, located,
         kills ? 100.0 * located / kills : 0);
  return killed == tried && tried > 0;
}

/* "ediy-mutate-1": one row a fault that was tried. */
static bool write_json(const struct fault_score *scores, const struct mutate_keys *k, int exit, struct error *err) {
  json_t *rows = json_array();
  for (int f = FAULT_NONE + 1; f < FAULTS; f++) {
    const struct fault_score *s = &scores[f];
    const struct fault_description *d = &fault_catalogue[f];
    if (s->tries == 0) continue;
    json_t *row = json_pack("{s:s,s:s,s:s,s:i,s:i,s:i,s:i}", "name", d->name, "op", d->op, "description", d->description, "runs", s->tries,
                            "rejected", s->kills, "located", s->located, "passed", s->passed);
    if (s->kills > 0) json_object_set_new(row, "rule", json_string(s->rule)), json_object_set_new(row, "tensor", json_string(s->tensor));
    if (s->kills < s->tries) json_object_set_new(row, "survived", json_string(s->survived));
    json_array_append_new(rows, row);
  }
  return findings_save(k->json,
                       json_pack("{s:s,s:I,s:I,s:i,s:o}", "format", "ediy-mutate-1", "cases", (json_int_t)k->cases, "seed",
                                 (json_int_t)k->seed, "exit", exit, "rows", rows),
                       err);
}

/* Both are names of the catalogue, or empty. */
static bool names_exist(const struct mutate_keys *k, struct error *err) {
  bool op = !k->op[0], fault = !k->fault[0];
  for (int f = FAULT_NONE + 1; f < FAULTS; f++) {
    op = op || strstr(fault_catalogue[f].op, k->op);
    fault = fault || strcmp(fault_catalogue[f].name, k->fault) == 0;
  }
  if (!op) return fail(err, "mutate: no fault is of an operation '%s'", k->op);
  return fault || fail(err, "mutate: there is no fault '%s'; oracle-mutants mutate lists them", k->fault);
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct mutate_keys *k = calloc(1, sizeof *k);
  struct fault_score *scores = calloc(FAULTS, sizeof *scores);
  enum oracle_exit code = ORACLE_BAD_INPUT;
  bool ok = (k && scores) || fail(err, "mutate: out of memory");
  if (ok) options_default(keys, KEYS, k);
  for (int i = 0; ok && i < count; i++) ok = options_argument(keys, KEYS, k, arguments[i], err) || fail_within(err, "mutate");
  ok = ok && names_exist(k, err) && findings_wanted(k->json, err);
  if (ok) {
    struct mutate_options o = {
        .op = k->op[0] ? k->op : NULL, .fault = k->fault[0] ? k->fault : NULL, .seed = k->seed, .cases = (int)k->cases};
    if (mutate_isolated(&o, scores, show_progress, err)) code = print_scores(scores, k) ? ORACLE_PASS : ORACLE_MISMATCH;
    if (code != ORACLE_BAD_INPUT && k->json[0] && !write_json(scores, k, (int)code, err)) code = ORACLE_BAD_INPUT;
  }
  free(scores);
  free(k);
  return code;
}

const struct oracle_verb oracle_verb_mutate = {
    .name = "mutate",
    .summary = "spoil the plain backend fault by fault, and count what the oracle finds",
    .usage = "[op=NAME] [fault=NAME] [cases=N] [seed=N] [json=FILE]",
    .about = "Each fault of the catalogue (oracle/mutants/faults.def) is switched on alone and run on random cases of its\n"
             "operation, all fills and shapes of `oracle case make`; the results are judged as a kernel's. A fault is killed\n"
             "when one of them is rejected. Cases on which it changes no bit do not count.\n"
             "Exit status: 0 all killed, 1 one survived, 2 usage.",
    .example = "oracle mutate op=maxpool cases=4",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
