/* oracle case: golden cases through the reference, or a candidate's results against a case. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/plural.h"
#include "oracle/backend_case.h"
#include "oracle/backends.h"
#include "oracle/candidate.h"
#include "oracle/case_paths.h"
#include "oracle/check.h"
#include "oracle/findings.h"
#include "oracle/shell.h"
#include "oracle/verb.h"

struct case_options {
  int precision;
  char backend[OPTION_TEXT_SIZE], candidate[OPTION_TEXT_SIZE], only[OPTION_TEXT_SIZE], json[OPTION_TEXT_SIZE];
  int64_t chain;
  bool winograd;
};

static const struct option keys[] = {
    {"backend", OPTION_TEXT, offsetof(struct case_options, backend), "ref32", 0, 0, NULL,
     "what computes the case: ref32, ref64, or a table of operations (reference, plain, ...)"},
    {"candidate", OPTION_TEXT, offsetof(struct case_options, candidate), "", 0, 0, NULL, "judge these results in its place, safetensors"},
    {"only", OPTION_TEXT, offsetof(struct case_options, only), "", 0, 0, NULL,
     "with candidate=: names to ask for and judge, with * for anything: 'out.*'"},
    {"precision", OPTION_CHOICE, offsetof(struct case_options, precision), "declared", 0, 0, "declared | " PRECISION_NAMES,
     "what the candidate or the backend computes in; declared: fp32, or what the name of the backend says"},
    {"chain", OPTION_INT, offsetof(struct case_options, chain), "0", 0, 1e9, NULL,
     "additions that the candidate makes one after the other, at most; 0: 1024, or as many as a backend says"},
    {"winograd", OPTION_BOOL, offsetof(struct case_options, winograd), "no", 0, 0, NULL,
     "declared: 3x3 convolutions with stride 1 are computed as F(2x2, 3x3)"},
    {"json", OPTION_TEXT, offsetof(struct case_options, json), "", 0, 0, NULL, "write every finding to this file"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

/* ---- reports ------------------------------------------------------------------------------------------------------------------------- */

struct session {
  struct case_options options;
  struct named_backend by;  /* table null: the functions of ref/, or a candidate's file */
  enum precision precision; /* as declared, or as asked */
  json_t *findings;
  enum judgement worst;
  bool unsteady; /* a backend gave other bits for the same inputs */
  bool alone;    /* one case, not a set that a key may be of some of */
  int files, failed, tensors;
};

static void record(struct session *s, const char *path, const struct finding *f, enum judgement j, const char *judged_by,
                   const char *accepted) {
  if (s->findings == NULL) return;
  const char *file = safetensors_is_text(path) ? path : "a file whose name is not UTF-8"; /* as JSON is */
  json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "file", file, "tensor", f->tensor, "verdict", judgement_names[j], "rule", f->rule,
                        "at", f->where, "judged_by", judged_by);
  json_object_set_new(o, "value", findings_number(f->candidate));
  json_object_set_new(o, "expected", findings_number(f->expected));
  json_object_set_new(o, "error", findings_number(f->error));
  json_object_set_new(o, "allowed", findings_number(f->allowed));
  if (accepted) json_object_set_new(o, "would_accept", json_string(accepted));
  json_array_append_new(s->findings, o);
}

static void again(const struct session *s, const char *path) {
  const struct case_options *o = &s->options;
  printf("; again: oracle case ");
  shell_print(path);
  printf(o->candidate[0] ? " candidate=" : " backend=");
  shell_print(o->candidate[0] ? o->candidate : o->backend);
  if (!o->candidate[0] && !s->by.table) {
    printf("\n");
    return;
  }
  printf(" precision=%s", precision_classes[s->precision].name);
  if (o->chain > 0) printf(" chain=%lld", (long long)o->chain);
  if (o->winograd) printf(" winograd=yes");
  if (o->only[0]) printf(" only="), shell_print(o->only);
  printf("\n");
}

static void worsen(struct session *s, enum judgement j) {
  if (j > s->worst) s->worst = j;
  if (j != JUDGED_PASS) s->failed++;
}

static bool run_reference(struct session *s, const struct case_file *c, const char *path, struct error *err) {
  struct verdict v;
  char text[600];
  const char *by = s->options.backend;
  if (!case_check(c, strcmp(by, "ref64") == 0 ? 64 : 32, false, &v, err)) return false;
  for (int i = 0; i < v.count; i++) {
    const struct finding *f = &v.finding[i];
    record(s, path, f, f->pass ? JUDGED_PASS : JUDGED_MISMATCH, "case", NULL);
    if (f->pass) continue;
    finding_text(f, text, sizeof text);
    printf("%s: %s", c->name, text);
    again(s, path);
  }
  if (v.failures == 0) printf("%s: pass, %d tensor%s (%s)\n", c->name, v.count, plural(v.count), by);
  s->tensors += v.count;
  worsen(s, v.failures ? JUDGED_MISMATCH : JUDGED_PASS);
  verdict_free(&v);
  return true;
}

static int expected_count(const struct case_file *c) {
  int count = 0;
  for (int i = 0; i < c->file.count; i++) count += case_expected(&c->file.tensor[i]);
  return count;
}

static void report_judged(struct session *s, const struct case_file *c, const char *path, const struct judged_file *j) {
  const struct finding *closest = NULL;
  char text[600];
  for (int i = 0; i < j->count; i++) {
    const struct judged *t = &j->tensor[i];
    const struct finding *f = &t->finding;
    record(s, path, f, t->judgement, t->gauge ? "gauge" : "relative", t->accepted);
    if (t->judgement == JUDGED_PASS) {
      if (f->allowed > 0 && (!closest || f->error / f->allowed > closest->error / closest->allowed)) closest = f;
      continue;
    }
    if (t->judgement == JUDGED_VACUOUS) {
      printf("%s: %s: VACUOUS: right, but the rule (%s) would accept %s as well", c->name, f->tensor, f->rule, t->accepted);
    } else {
      judged_text(f, text, sizeof text);
      printf("%s: %s", c->name, text);
    }
    again(s, path);
  }
  if (j->worst == JUDGED_PASS) {
    printf("%s: pass, %d", c->name, j->count);
    if (s->options.only[0]) printf(" of %d", expected_count(c));
    printf(" tensor%s as %s", plural(s->options.only[0] ? expected_count(c) : j->count), precision_classes[s->precision].name);
    if (closest)
      printf("; closest to its limit: %s (%s), at %.2g of it", closest->tensor, closest->rule, closest->error / closest->allowed);
    printf("\n");
  }
  s->tensors += j->count;
  worsen(s, j->worst);
}

static struct precision_class declared_class(const struct session *s) {
  struct precision_class p = precision_classes[s->precision];
  p.winograd = s->options.winograd;
  return p;
}

/* What is asked for goes before what a backend says; a candidate's file says nothing. */
static double chain_of(const struct session *s, const struct case_file *c) {
  return s->options.chain > 0 ? (double)s->options.chain : backend_case_chain(c, s->by.table, NULL);
}

static bool run_candidate(struct session *s, const struct case_file *c, const char *path, struct error *err) {
  struct judged_file j;
  const struct precision_class declared = declared_class(s), *p = &declared;
  const char *only = s->options.only[0] ? s->options.only : NULL;
  if (!candidate_judge(c, s->options.candidate, p, chain_of(s, c), only, &j, err)) return false;
  report_judged(s, c, path, &j);
  judged_free(&j);
  return true;
}

/* What the backend did beside its results. */
static void report_conduct(struct session *s, const struct case_file *c, const char *path, const struct conduct *conduct) {
  struct finding f = {.rule = conduct->text, .error = INFINITY};
  record(s, path, &f, JUDGED_MISMATCH, "conduct", NULL);
  printf("%s: %s", c->name, conduct->text);
  again(s, path);
  if (conduct->kind == CONDUCT_OUTSIDE) {
    worsen(s, JUDGED_MISMATCH);
  } else {
    s->unsteady = true;
    s->failed++;
  }
}

/* Where activations were rounded for the table, the case has other expected values: the reference is held to them before. */
static bool judge_backend(const struct session *s, const struct case_file *c, const struct backend_part *part,
                          const struct case_run *results, struct judged_file *j, struct error *err) {
  const struct precision_class declared = declared_class(s);
  const double chain = chain_of(s, &part->file);
  const bool trusted = part->stored.values != NULL;
  if (trusted && !bench_reference_agrees(c, err)) return false;
  if (s->by.mixed) return candidate_judge_mixed(&part->file, results->result, results->count, s->precision, chain, trusted, j, err);
  return candidate_judge_tensors(&part->file, results->result, results->count, &declared, chain, trusted, j, err);
}

static bool run_backend(struct session *s, const struct case_file *c, const char *path, struct error *err) {
  struct backend_part part;
  struct case_run results = {0};
  struct conduct conduct;
  struct judged_file j;
  bool ok = backend_part_make(&part, c, s->by.table, err) && backend_case_run(&part.file, s->by.table, &results, &conduct, err) &&
            judge_backend(s, c, &part, &results, &j, err);
  if (ok) {
    report_judged(s, c, path, &j);
    if (conduct.kind != CONDUCT_GOOD) report_conduct(s, c, path, &conduct);
    judged_free(&j);
  }
  run_end(&results);
  backend_part_free(&part);
  return ok;
}

static bool write_json(const struct session *s, struct error *err) {
  return findings_save(s->options.json,
                       json_pack("{s:s,s:s,s:i,s:i,s:i,s:O}", "format", "ediy-oracle-1", "verdict", judgement_names[s->worst], "files",
                                 s->files, "failed", s->failed, "tensors", s->tensors, "findings", s->findings),
                       err);
}

enum oracle_exit oracle_exit_of(enum judgement worst) {
  switch (worst) {
  case JUDGED_PASS: return ORACLE_PASS;
  case JUDGED_VACUOUS: return ORACLE_VACUOUS;
  case JUDGED_INCOMPLETE: return ORACLE_INCOMPLETE;
  case JUDGED_MISMATCH: return ORACLE_MISMATCH;
  case JUDGED_UNREADABLE: break;
  }
  return ORACLE_BAD_INPUT;
}

static enum oracle_exit exit_of(enum judgement worst, bool unsteady) {
  return unsteady && worst < JUDGED_MISMATCH ? ORACLE_NONDETERMINISTIC : oracle_exit_of(worst);
}

/* Whether there is a convolution in it that winograd=yes can be said of. */
static bool may_be_winograd(const struct case_file *c) {
  struct error none;
  ptrdiff_t stride;
  const struct tensor *w = safetensors_find(&c->file, "param.weight");
  return strcmp(c->op, "conv") == 0 && w && w->ndim == 4 && w->shape[1] == 3 && w->shape[2] == 3 &&
         case_integer(c, "stride", 1, PTRDIFF_MAX, &stride, &none) && stride == 1;
}

/* One file; what cannot be judged is said on standard error, and the next file is taken. */
static void run_file(struct session *s, const char *path) {
  struct case_file c;
  struct error err = {.text = ""};
  bool ok = case_open(&c, path, &err);
  if (ok) {
    ok = s->options.winograd && s->alone && !may_be_winograd(&c)
             ? fail(&err, "case: winograd=yes is of 3x3 convolutions with stride 1, and %s is none; leave it out", path)
         : s->options.candidate[0] ? run_candidate(s, &c, path, &err)
         : s->by.table             ? run_backend(s, &c, path, &err)
                                   : run_reference(s, &c, path, &err);
    case_close(&c);
  }
  s->files++;
  if (ok) return;
  struct finding f = {.rule = err.text, .error = INFINITY};
  record(s, path, &f, JUDGED_UNREADABLE, "none", NULL);
  worsen(s, JUDGED_UNREADABLE);
  fflush(stdout); /* lines in the order of the files where both go to one place */
  fprintf(stderr, "oracle: %s\n", err.text);
}

/* ---- the verb ------------------------------------------------------------------------------------------------------------------------ */

/* A key that says how a kernel computes, by which its results are judged. */
static bool is_declaration(const char *argument) {
  static const char *const declarations[] = {"precision=", "chain=", "winograd="};
  for (size_t i = 0; i < sizeof declarations / sizeof *declarations; i++)
    if (strncmp(argument, declarations[i], strlen(declarations[i])) == 0) return true;
  return false;
}

/* Files and folders into p, key=value into the options. */
static bool read_arguments(int count, char *const *arguments, struct session *s, struct case_paths *p, struct error *err) {
  const char *declaration = NULL;
  options_default(keys, KEYS, &s->options);
  for (int i = 0; i < count; i++) {
    const char *equals = strchr(arguments[i], '='), *slash = strchr(arguments[i], '/');
    if (equals && (!slash || equals < slash)) { /* ./a=b is a file */
      if (!options_argument(keys, KEYS, &s->options, arguments[i], err)) return fail_within(err, "case");
      if (!equals[1 + strspn(equals + 1, " \t")]) return fail(err, "case: %s names nothing; is a variable empty?", arguments[i]);
      if (is_declaration(arguments[i])) declaration = arguments[i];
    } else if (!case_paths_add(p, arguments[i], err)) {
      return false;
    }
  }
  if (p->count == 0) return fail(err, "case: no case file; usage: oracle case %s", oracle_verb_case.usage);
  if (s->options.candidate[0] && p->count != 1) { return fail(err, "case: candidate= is judged against one case, not %d", p->count); }
  for (int i = 0; i <= p->count; i++) {
    if (file_same(s->options.json, i < p->count ? p->path[i] : s->options.candidate))
      return fail(err, "case: json=%s is read here, and would be written over; choose another name", s->options.json);
  }
  const char *by = s->options.backend;
  if (s->options.candidate[0] && strcmp(by, "ref32") != 0)
    return fail(err, "case: candidate= are results of a kernel, and backend=%s computes results itself; give one of the two", by);
  if (s->options.only[0] && !s->options.candidate[0])
    return fail(err, "case: only=%s is of results of a kernel; give candidate=FILE, or leave it out", s->options.only);
  bool is_table = !s->options.candidate[0] && strcmp(by, "ref32") != 0 && strcmp(by, "ref64") != 0;
  if (declaration && !is_table && !s->options.candidate[0])
    return fail(err, "case: %s is what a kernel declares, and %s is held to the case as it is; give candidate=FILE, or backend=%s",
                declaration, by, strncmp(declaration, "winograd", 8) == 0 ? "plain:winograd" : "reference");
  if (is_table && !backend_named(by, &s->by, err)) return fail_within(err, "case");
  if (s->options.winograd && is_table && !(strncmp(by, "plain:", 6) == 0 && strstr(by, "winograd")))
    return fail(err, "case: winograd=yes is not for backend=%s, which computes every convolution directly; leave it out", by);
  s->precision = s->options.precision > 0 ? (enum precision)(s->options.precision - 1) : is_table ? s->by.precision : PRECISION_FP32;
  return true;
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct session *s = calloc(1, sizeof *s);
  struct case_paths paths = {0};
  enum oracle_exit code = ORACLE_BAD_INPUT;
  if (!s) return fail(err, "case: out of memory"), code;
  if (read_arguments(count, arguments, s, &paths, err) && findings_wanted(s->options.json, err)) {
    if (s->options.json[0]) s->findings = json_array();
    s->alone = paths.count == 1;
    case_paths_sort(&paths);
    for (int i = 0; i < paths.count; i++) run_file(s, paths.path[i]);
    if (s->files > 1) printf("%d cases, %d tensors: %d failed\n", s->files, s->tensors, s->failed);
    code = exit_of(s->worst, s->unsteady);
    if (s->options.json[0] && !write_json(s, err)) code = ORACLE_BAD_INPUT;
  }
  json_decref(s->findings);
  case_paths_free(&paths);
  free(s);
  return code;
}

const struct oracle_verb oracle_verb_case = {
    .name = "case",
    .summary = "run golden cases through the reference, or judge a kernel's results of one",
    .usage = "FILE|FOLDER... [backend=NAME] [precision=...] [json=FILE]   or   FILE candidate=FILE [only=...] [precision=...] [chain=N]",
    .about = "A case is one operation with its inputs and expected results. Without candidate= the reference computes\n"
             "every case and each expected tensor is compared. With candidate=, a safetensors file with the tensors\n"
             "out.*, grad_in.* and grad_param.* of the case as some kernel produced them is judged in place of it: F32,\n"
             "F64 or BF16, indices I64 or I32, names and shapes of the case. With only= the tensors of such names are asked\n"
             "for, and no others. precision is what the kernel declares: its accumulators are float for tf32, bf16 and\n"
             "fp16. Each tensor that passes is checked once more: would zeros, channel means, a permuted batch or the next\n"
             "lower precision pass as well, it is VACUOUS.\n"
             "A backend other than ref32 and ref64 is a table of operations (docs/oracle.md): it is called three times in\n"
             "the same storage and once in fresh memory, its outputs poisoned and guarded, and its results are judged as a\n"
             "candidate's.\n"
             "A line for each case that passes, or for each tensor that fails.\n"
             "Exit status: 0 pass, 1 mismatch, 2 usage or input, 3 vacuous, 4 other bits for the same inputs, 5 a tensor is\n"
             "missing or too many.",
    .example = "oracle case make op=conv out=conv.safetensors\n"
               "oracle case conv.safetensors backend=ref64\n"
               "oracle case conv.safetensors backend=plain\n"
               "oracle case conv.safetensors json=findings.json\n"
               "oracle case conv.safetensors candidate=conv.safetensors precision=fp64 || echo 'its inputs are no results: exit 5'",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
