/* oracle replay and oracle bisect: a dumped step, judged layer by layer from its own tensors; and the first of them that is wrong. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plural.h"
#include "oracle/backends.h"
#include "oracle/findings.h"
#include "oracle/replay.h"
#include "oracle/shell.h"
#include "oracle/verb.h"

struct replay_keys {
  int precision;
  int64_t chain;
  char only[OPTION_TEXT_SIZE], json[OPTION_TEXT_SIZE], backend[OPTION_TEXT_SIZE];
};

#define AT(field) offsetof(struct replay_keys, field)
static const struct option keys[] = {
    {"precision", OPTION_CHOICE, AT(precision), "declared", 0, 0, "declared | " PRECISION_NAMES,
     "what the dump was computed in; declared: as it says of each tensor"},
    {"chain", OPTION_INT, AT(chain), "0", 0, 1e9, NULL, "additions made one after the other, at most; 0: as the dump says"},
    {"json", OPTION_TEXT, AT(json), "", 0, 0, NULL, "write every finding to this file, for oracle report"},
    {"backend", OPTION_TEXT, AT(backend), "", 0, 0, NULL, "judge what this backend makes of the dump's tensors, not what the dump holds"},
    {"only", OPTION_TEXT, AT(only), "", 0, 0, NULL, "names to judge, with * for anything: '*/layer1.0.conv1/*'"},
};
enum { KEYS = sizeof keys / sizeof keys[0], BISECT_KEYS = 2 /* the first of them */ };

/* ---- what both verbs share ----------------------------------------------------------------------------------------------------------- */

struct session {
  const char *verb, *folder;
  struct replay_keys options;
  struct dump dump;
  struct units units;
  struct replay replay;
  json_t *rows; /* null: not wanted */
  int judged, given, vacuous, wrong, incomplete;
  enum judgement worst;
  double closest;
  char closest_name[TENSOR_MAX_NAME + 64];
};

static bool read_arguments(struct session *s, int count, char *const *arguments, int key_count, const char *usage, struct error *err) {
  options_default(keys, KEYS, &s->options);
  for (int i = 0; i < count; i++) {
    const char *equals = strchr(arguments[i], '='), *slash = strchr(arguments[i], '/');
    if (equals && (!slash || equals < slash)) { /* ./a=b is a folder */
      if (!options_argument(keys, key_count, &s->options, arguments[i], err)) return fail_within(err, "%s", s->verb);
    } else if (s->folder) {
      return fail(err, "%s: '%s': one dump at a time", s->verb, arguments[i]);
    } else {
      s->folder = arguments[i];
    }
  }
  return s->folder != NULL || fail(err, "%s: no dump; usage: oracle %s %s", s->verb, s->verb, usage);
}

/* The keys as they were given, for a command that judges the same way. */
static void print_again(const struct session *s, const char *verb, const char *name) {
  printf("oracle %s ", verb);
  shell_print(s->folder);
  if (s->options.precision > 0) printf(" precision=%s", precision_classes[s->options.precision - 1].name);
  if (s->options.backend[0]) printf(" backend="), shell_print(s->options.backend);
  if (s->options.chain > 0) printf(" chain=%lld", (long long)s->options.chain);
  if (name) printf(" only="), shell_print(name);
  printf("\n");
}

/* Units need arrays of the same few sizes over and over: the C library keeps them, where it can be told to, instead of asking the kernel
 * for fresh pages each time (a quarter of the time of a ResNet-50 step). */
static void keep_memory(void) {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 28);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

/* A dump whose bytes are not those of its manifest is none; a part that is looked at once more was hashed the first time. */
static bool session_open(struct session *s, replay_see *see, struct error *err) {
  keep_memory();
  if (!dump_open(&s->dump, s->folder, err) || !units_open(&s->units, &s->dump, err)) return false;
  if (!s->options.only[0] && !dump_verify(&s->dump, err)) return false;
  s->replay = (struct replay){.u = &s->units, .see = see, .context = s};
  s->replay.options = (struct replay_options){
      .precision = s->options.precision - 1, .chain = (double)s->options.chain, .only = s->options.only[0] ? s->options.only : NULL};
  struct named_backend by = {.table = NULL};
  if (s->options.backend[0] && !backend_named(s->options.backend, &by, err)) return false;
  s->replay.options.table = by.table;
  return replay_open(&s->replay, err);
}

static void session_close(struct session *s) {
  replay_close(&s->replay);
  units_close(&s->units);
  dump_close(&s->dump);
  json_decref(s->rows);
}

static void count_row(struct session *s, const struct replay_row *row) {
  const struct judged *j = &row->judged;
  *(row->given && j->judgement == JUDGED_PASS ? &s->given : &s->judged) += 1;
  if (j->judgement > s->worst) s->worst = j->judgement;
  s->vacuous += j->judgement == JUDGED_VACUOUS;
  s->wrong += j->judgement == JUDGED_MISMATCH;
  s->incomplete += j->judgement == JUDGED_INCOMPLETE;
  if (j->judgement == JUDGED_PASS && j->profiled && j->profile.ratio >= s->closest) {
    s->closest = j->profile.ratio;
    snprintf(s->closest_name, sizeof s->closest_name, "%s (%s)", j->finding.tensor, j->finding.rule);
  }
}

static void print_row(const struct judged *j) {
  char text[700];
  if (j->judgement == JUDGED_VACUOUS) {
    printf("%s: VACUOUS: right, but the rule (%s) would accept %s as well", j->finding.tensor, j->finding.rule, j->accepted);
  } else {
    judged_text(&j->finding, text, sizeof text);
    printf("%s", text);
  }
}

/* ---- replay -------------------------------------------------------------------------------------------------------------------------- */

static bool see_row(void *context, const struct replay_row *row) {
  struct session *s = context;
  const struct judged *j = &row->judged;
  count_row(s, row);
  if (s->rows && !row->given) json_array_append_new(s->rows, findings_row(row->op, j));
  if (s->rows && row->given && j->judgement != JUDGED_PASS) json_array_append_new(s->rows, findings_row(row->op, j));
  if (j->judgement == JUDGED_PASS) return true;
  print_row(j);
  printf("; again: ");
  print_again(s, "replay", j->finding.tensor);
  return true;
}

static const char *precision_name(const struct session *s) {
  return precision_classes[s->options.precision > 0 ? s->options.precision - 1 : (int)s->dump.precision].name;
}

static void print_summary(const struct session *s) {
  printf("%s: %d tensor%s judged as %s, %d given: ", s->folder, s->judged, plural(s->judged), precision_name(s), s->given);
  if (s->worst == JUDGED_PASS) {
    printf("pass");
  } else {
    printf("%d wrong, %d missing or too many, %d vacuous", s->wrong, s->incomplete, s->vacuous);
  }
  if (s->closest_name[0]) printf("; closest to its limit: %s, at %.2g of it", s->closest_name, s->closest);
  printf("\n");
}

static bool replay_all(struct session *s, struct error *err) {
  for (int i = 0; i < s->units.count; i++) {
    if (!replay_unit(&s->replay, &s->units.unit[i], err)) return false;
  }
  replay_extra(&s->replay);
  if (s->judged + s->given == 0) return fail(err, "replay: no tensor of %s is called '%s'", s->folder, s->options.only);
  return true;
}

static enum oracle_exit run_replay(int count, char *const *arguments, struct error *err) {
  struct session *s = calloc(1, sizeof *s);
  enum oracle_exit code = ORACLE_BAD_INPUT;
  if (!s) return fail(err, "replay: out of memory"), code;
  s->verb = "replay";
  if (read_arguments(s, count, arguments, KEYS, oracle_verb_replay.usage, err) && findings_wanted(s->options.json, err) &&
      session_open(s, see_row, err)) {
    if (s->options.json[0]) s->rows = json_array();
    if (replay_all(s, err)) {
      print_summary(s);
      code = oracle_exit_of(s->worst);
      if (s->rows && !findings_write(s->options.json, "oracle replay", s->folder, NULL, precision_name(s), (int)code, s->rows, err)) {
        code = ORACLE_BAD_INPUT;
      }
    }
  }
  session_close(s);
  free(s);
  return code;
}

const struct oracle_verb oracle_verb_replay = {
    .name = "replay",
    .summary = "judge a dumped training step layer by layer, each from the dump's own inputs",
    .usage = "DUMP [only=PATTERN] [backend=NAME] [precision=...] [chain=N] [json=FILE]",
    .about = "DUMP is the folder of a full dump, of this project or of any framework. Every tensor of every layer is judged\n"
             "by the rule of oracle case, from the tensors of the dump that it was computed from: layers forward, matches,\n"
             "losses, gradients, LARS, moving average. What went wrong earlier is an input like any other, so that only the\n"
             "tensors that are wrong themselves are named. Each tensor that passes is checked once more: would zeros,\n"
             "channel means, a permuted batch, the next lower precision or what was there before pass as well, it is VACUOUS.\n"
             "With backend= the operations of a backend run on the dump's tensors, and their results are judged instead.\n"
             "A line for each tensor that fails, with the command that judges it alone, and a line at the end.\n"
             "Exit status: 0 pass, 1 mismatch, 2 usage or input, 3 vacuous, 5 a tensor is missing or too many.",
    .example = "oracle dump out=golden preset=sanity batch=4 first=100\n"
               "oracle replay golden\n"
               "oracle replay golden only='*/layer1.0.conv1/*'",
    .keys = keys,
    .key_count = KEYS,
    .run = run_replay,
};

/* ---- bisect -------------------------------------------------------------------------------------------------------------------------- */

static bool see_until_wrong(void *context, const struct replay_row *row) {
  struct session *s = context;
  count_row(s, row);
  if (row->judged.judgement < JUDGED_INCOMPLETE) return true;
  const struct finding *f = &row->judged.finding;
  const struct dump_entry *e = dump_find(&s->dump, "%s", f->tensor);
  printf("first wrong: %s\n", f->tensor);
  if (e) {
    printf("  step %d, micro-batch %d, phase %s, network %s, view %d, layer %s, tensor %s (%s)\n", e->step, e->micro, e->phase, e->network,
           e->view, e->layer, e->tensor, row->op);
  }
  printf("  ");
  print_row(&row->judged);
  printf("\n");
  return false;
}

/* What the unit read: everything before it in the order of execution has been judged, and is right. */
static bool print_inputs(const struct session *s, const struct unit *at, struct error *err) {
  struct unit_work w;
  bool ok = at->kind < UNIT_FORWARD || unit_work_make(&w, &s->units, at, true, err);
  if (at->kind < UNIT_FORWARD) return true;
  printf("  its inputs are right:\n");
  for (int i = 0; i < w.inputs; i++) {
    const char *phase = w.input[i]->phase;
    bool given = strcmp(phase, "state") == 0 || strcmp(phase, "input") == 0, own = false;
    for (int k = 0; k < w.outputs; k++) own = own || w.output[k].entry == w.input[i];
    printf("    %s (%s)\n", w.input[i]->name, given ? "given" : own ? "of the same unit" : "judged");
  }
  unit_work_free(&w);
  return ok;
}

static bool bisect(struct session *s, struct error *err) {
  for (int i = 0; i < s->units.count; i++) {
    const struct unit *at = &s->units.unit[i];
    int before = s->judged;
    if (!replay_unit(&s->replay, at, err)) return false;
    if (!s->replay.ended) continue;
    if (!print_inputs(s, at, err)) return false;
    if (i == 0) printf("  it is of the first of %d units in the dump\n", s->units.count);
    if (i > 0)
      printf("  all %d units before it (of %d in the dump) are right: %d tensor%s judged\n", i, s->units.count, before, plural(before));
    return true;
  }
  replay_extra(&s->replay);
  return true;
}

static enum oracle_exit run_bisect(int count, char *const *arguments, struct error *err) {
  struct session *s = calloc(1, sizeof *s);
  enum oracle_exit code = ORACLE_BAD_INPUT;
  if (!s) return fail(err, "bisect: out of memory"), code;
  s->verb = "bisect";
  if (read_arguments(s, count, arguments, BISECT_KEYS, oracle_verb_bisect.usage, err) && session_open(s, see_until_wrong, err) &&
      bisect(s, err)) {
    code = oracle_exit_of(s->worst);
    if (!s->replay.ended) print_summary(s);
    if (s->replay.ended) {
      printf("  again: ");
      print_again(s, "bisect", NULL);
    }
  }
  session_close(s);
  free(s);
  return code;
}

const struct oracle_verb oracle_verb_bisect = {
    .name = "bisect",
    .summary = "the first tensor of a dumped training step that is wrong while its inputs are right",
    .usage = "DUMP [precision=...] [chain=N]",
    .about = "As oracle replay, in the order of execution, up to the first tensor that fails: says which layer and pass it is,\n"
             "where in the tensor the worst element stands, and what it was computed from, all of which is right.\n"
             "Exit status: 0 nothing is wrong, 1 mismatch, 2 usage or input, 3 nothing wrong but something vacuous, 5 a tensor\n"
             "is missing.",
    .example = "oracle dump out=golden preset=sanity batch=4 first=100\n"
               "oracle bisect golden",
    .keys = keys,
    .key_count = BISECT_KEYS,
    .run = run_bisect,
};
