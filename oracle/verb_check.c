/* oracle check: two dumps of the same steps against each other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/plural.h"
#include "oracle/compare.h"
#include "oracle/dump_check.h"
#include "oracle/findings.h"
#include "oracle/shell.h"
#include "oracle/verb.h"

struct check_options {
  char tensor[OPTION_TEXT_SIZE], json[OPTION_TEXT_SIZE];
  bool verify, all;
  int64_t lines;
};

#define AT(field) offsetof(struct check_options, field)
static const struct option keys[] = {
    {"tensor", OPTION_TEXT, AT(tensor), "", 0, 0, NULL, "only tensors whose name begins so"},
    {"verify", OPTION_BOOL, AT(verify), "no", 0, 0, NULL, "hash every tensor of full dumps first"},
    {"lines", OPTION_INT, AT(lines), "20", 0, 1e6, NULL, "failures that are printed, in the order of execution"},
    {"all", OPTION_BOOL, AT(all), "no", 0, 0, NULL, "print a line for every tensor"},
    {"json", OPTION_TEXT, AT(json), "", 0, 0, NULL, "write every finding to this file"},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static const char *const verdicts[] = {"pass", "vacuous", "incomplete", "mismatch"};

static enum oracle_exit exit_of(enum check_verdict worst) {
  static const enum oracle_exit code[] = {ORACLE_PASS, ORACLE_VACUOUS, ORACLE_INCOMPLETE, ORACLE_MISMATCH};
  return code[worst];
}

/* ---- printing ----------------------------------------------------------------------------------------------------------------------- */

static void print_again(const char *a, const char *b, const struct check_row *r) {
  printf("; again: oracle check ");
  shell_print(a);
  printf(" ");
  shell_print(b);
  if (r->a || r->b) printf(" tensor="), shell_print(check_row_name(r));
}

static void print(const struct check_options *o, const struct dump_check *c, const char *a, const char *b, double seconds) {
  char text[700];
  int64_t printed = 0, failed = c->rows_with[CHECK_INCOMPLETE] + c->rows_with[CHECK_MISMATCH] + c->rows_with[CHECK_VACUOUS];
  for (int i = 0; i < c->count; i++) {
    const struct check_row *r = &c->row[i];
    bool wrong = r->verdict != CHECK_PASS;
    if (!o->all && (!wrong || printed == o->lines)) continue;
    check_row_text(r, text, sizeof text);
    printf("%s%s", r->verdict == CHECK_VACUOUS ? "VACUOUS, would accept zeros: " : o->all && !wrong ? "pass: " : "", text);
    if (wrong) {
      printed++;
      print_again(a, b, r);
    }
    printf("\n");
  }
  if (failed > printed) printf("and %lld more\n", (long long)(failed - printed));
  if (c->reordered) printf("%s has its tensors in another order; they were compared by name\n", b);
  if (c->flips > 0) printf("%td ReLUs fell the other way, within rounding\n", c->flips);
  if (c->first) printf("first in the order of execution: %s\n", check_row_name(c->first));
  printf("%s against %s: %s; %d row%s: %d identical, %d within what is allowed, %d vacuous, %d incomplete, %d wrong; %.1f MB in %.2f s\n",
         b, a, verdicts[c->worst], c->count, plural(c->count), c->identical, c->rows_with[CHECK_PASS] - c->identical,
         c->rows_with[CHECK_VACUOUS], c->rows_with[CHECK_INCOMPLETE], c->rows_with[CHECK_MISMATCH], c->bytes / 1e6, seconds);
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------------------- */

static json_t *row_json(const struct check_row *r) {
  const struct dump_entry *e = r->a ? r->a : r->b;
  struct tensor t = {.ndim = e ? e->ndim : 0};
  char where[96] = "";
  if (e) memcpy(t.shape, e->shape, sizeof t.shape);
  if (r->where >= 0) compare_index_text(&t, r->where, where, sizeof where);
  json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s}", "name", check_row_name(r), "op", e ? e->phase : "manifest", "verdict",
                        verdicts[r->verdict], "rule", r->rule, "where", where);
  if (r->where >= 0) {
    json_object_set_new(o, "candidate", findings_number(r->candidate));
    json_object_set_new(o, "expected", findings_number(r->expected));
  }
  json_object_set_new(o, "error", findings_number(r->l2));
  json_object_set_new(o, "allowed", findings_number(r->allowed));
  if (r->allowed > 0) json_object_set_new(o, "ratio", findings_number(r->l2 / r->allowed));
  json_object_set_new(o, "l2", findings_number(r->l2));
  json_object_set_new(o, "accepted", r->verdict == CHECK_VACUOUS ? json_string("zeros") : json_null());
  return o;
}

static bool write_json(const char *path, const struct dump_check *c, const struct dump *a, const struct dump *b, struct error *err) {
  json_t *rows = json_array();
  for (int i = 0; i < c->count; i++) json_array_append_new(rows, row_json(&c->row[i]));
  bool ok = findings_write(path, "check", b->path, a->path, precision_classes[b->precision].name, (int)exit_of(c->worst), rows, err);
  json_decref(rows);
  return ok;
}

/* ---- the verb ----------------------------------------------------------------------------------------------------------------------- */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool check(const struct check_options *o, const struct dump *a, const struct dump *b, enum check_verdict *worst, struct error *err) {
  struct dump_check c;
  double start = now();
  if (!findings_wanted(o->json, err)) return false;
  if (o->verify && (!dump_verify(a, err) || !dump_verify(b, err))) return false;
  if (!dump_check(&c, a, b, o->tensor, err)) return false;
  bool ok = c.count > 0 || fail(err, "no tensor's name begins with %s", o->tensor);
  if (ok) print(o, &c, a->path, b->path, now() - start);
  if (ok && o->json[0]) ok = write_json(o->json, &c, a, b, err);
  *worst = c.worst;
  dump_check_free(&c);
  return ok;
}

static bool read_arguments(int count, char *const *arguments, struct check_options *o, const char *folder[2], struct error *err) {
  int folders = 0;
  options_default(keys, KEYS, o);
  for (int i = 0; i < count; i++) {
    const char *equals = strchr(arguments[i], '='), *slash = strchr(arguments[i], '/');
    if (equals && (!slash || equals < slash)) { /* ./a=b is a folder */
      if (!options_argument(keys, KEYS, o, arguments[i], err)) return false;
    } else if (folders == 2) {
      return fail(err, "more than two dumps; usage: oracle check %s", oracle_verb_check.usage);
    } else {
      folder[folders++] = arguments[i];
    }
  }
  return folders == 2 || fail(err, "two dumps are needed; usage: oracle check %s", oracle_verb_check.usage);
}

static enum oracle_exit run(int count, char *const *arguments, struct error *err) {
  struct check_options *o = calloc(1, sizeof *o);
  const char *folder[2];
  struct dump a, b;
  enum check_verdict worst = CHECK_PASS;
  bool ok = (o || fail(err, "out of memory")) && read_arguments(count, arguments, o, folder, err);
  if (ok && (ok = dump_open(&a, folder[0], err))) {
    if ((ok = dump_open(&b, folder[1], err))) {
      ok = check(o, &a, &b, &worst, err);
      dump_close(&b);
    }
    dump_close(&a);
  }
  free(o);
  if (!ok) fail_within(err, "check");
  return ok ? exit_of(worst) : ORACLE_BAD_INPUT;
}

const struct oracle_verb oracle_verb_check = {
    .name = "check",
    .summary = "compare two dumps of the same steps, tensor by tensor",
    .usage = "TRUTH CANDIDATE [tensor=NAME] [json=FILE] [verify=yes]",
    .about = "Each of the two is a folder that oracle dump or anybody else wrote, full or digest. Where the manifest of\n"
             "TRUTH has the drift of right implementations, a tensor may be four times as far off; else every value is\n"
             "equal. Dumps are read in windows: their size does not matter.\n"
             "A line for each tensor that is wrong, missing or not expected, in the order of execution.\n"
             "Exit status: 0 pass, 1 mismatch, 2 usage or input, 3 vacuous, 5 a tensor is missing or too many.",
    .example = "oracle dump out=truth backend=ref64 drift=4 preset=sanity batch=4\n"
               "oracle dump out=mine preset=sanity batch=4\n"
               "oracle check truth mine json=findings.json",
    .keys = keys,
    .key_count = KEYS,
    .run = run,
};
