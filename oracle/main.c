/* oracle VERB [FILE...] [key=value...] */
#include <stdio.h>
#include <string.h>

#include "ediy.h"
#include "oracle/verb.h"
#include "program/start.h"

/* Names of two words before those that they begin with; listed from the last on. */
static const struct oracle_verb *const verbs[] = {
#ifdef EDIY_MUTATION
    &oracle_verb_mutate,
#endif
    &oracle_verb_report, &oracle_verb_bisect,    &oracle_verb_replay, &oracle_verb_lockstep, &oracle_verb_check,
    &oracle_verb_dump,   &oracle_verb_gradcheck, &oracle_verb_fuzz,   &oracle_verb_make,     &oracle_verb_case};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

/* Words of the verb's name, if the arguments begin with all of them; else 0. */
static int words_matched(const struct oracle_verb *v, int count, char *const *arguments) {
  const char *name = v->name;
  int words = 0;
  while (words < count) {
    size_t n = strcspn(name, " ");
    if (strlen(arguments[words]) != n || strncmp(arguments[words], name, n) != 0) return 0;
    words++;
    if (name[n] == 0) return words;
    name += n + 1;
  }
  return 0;
}

static void print_verbs(void) {
  printf("oracle: is this kernel right, and which tensor went wrong?\n\n"
         "usage: oracle VERB [FILE...] [key=value...]     oracle VERB --help     oracle --version\n\n");
  for (int i = VERBS - 1; i >= 0; i--) printf("  %-12s %s\n", verbs[i]->name, verbs[i]->summary);
  printf("\nexit status: 0 pass, 1 mismatch, 2 usage or input, 3 vacuous, 4 nondeterministic, 5 incomplete\n\nbegin with:\n"
         "  oracle case make op=conv out=conv.safetensors\n  oracle case conv.safetensors\n"
         "  oracle dump out=step preset=sanity batch=4\n  oracle replay step\n  oracle report step out=step.html\n");
}

static void print_help(const struct oracle_verb *v) {
  printf("oracle %s: %s\n\nusage: oracle %s %s\n\n%s\n\nkeys:\n", v->name, v->summary, v->name, v->usage, v->about);
  for (int i = 0; i < v->key_count; i++) {
    const struct option *o = &v->keys[i];
    printf("  %-10s %s (", o->key, o->help);
    if (o->type == OPTION_BOOL) printf("yes | no");
    if (o->type == OPTION_TEXT) printf("text");
    if (o->type == OPTION_CHOICE) printf("%s", o->choices);
    if (o->type == OPTION_INT || o->type == OPTION_REAL) printf("%.15g to %.15g", o->min, o->max);
    printf(o->initial[0] ? ", default %s)\n" : ")\n", o->initial);
  }
  printf("\nexample:\n");
  for (const char *line = v->example; *line;) {
    int length = (int)strcspn(line, "\n");
    printf("  %.*s\n", length, line);
    line += length + (line[length] == '\n');
  }
}

static bool unknown_verb(const char *word, struct error *err) {
  const char *names[VERBS];
  for (int i = 0; i < VERBS; i++) names[i] = verbs[i]->name;
  const char *near = nearest_word(word, names, VERBS);
  if (near) return fail(err, "unknown verb '%s'; did you mean '%s'?", word, near);
  return fail(err, "unknown verb '%s'; oracle help lists them", word);
}

static enum oracle_exit dispatch(int count, char *const *arguments, struct error *err) {
  if (count == 0 || (count == 1 && start_is_help(arguments[0]))) return print_verbs(), ORACLE_PASS;
  bool help = start_is_help(arguments[0]); /* `oracle help VERB` is `oracle VERB --help` */
  if (help) arguments++, count--;
  for (int i = 0; i < VERBS; i++) {
    int words = words_matched(verbs[i], count, arguments);
    if (!words) continue;
    if (help || start_wants_help(count - words, arguments + words)) return print_help(verbs[i]), ORACLE_PASS;
    for (int k = words; k < count; k++)
      if (!arguments[k][0]) { /* a shell's empty variable, say */
        fail(err, "%s: an argument is empty; usage: oracle %s %s", verbs[i]->name, verbs[i]->name, verbs[i]->usage);
        return ORACLE_BAD_INPUT;
      }
    return verbs[i]->run(count - words, arguments + words, err);
  }
  if (!strcmp(arguments[0], "mutate")) {
    fail(err, "mutate is a verb of the mutation build, which holds the faults: make mutants && build/oracle-mutants mutate");
    return ORACLE_BAD_INPUT;
  }
  return unknown_verb(arguments[0], err), ORACLE_BAD_INPUT;
}

int main(int argc, char **argv) {
  struct error err = {.text = ""};
  start_up(argv);
  if (argc > 1 && !strcmp(argv[1], "--version")) {
    puts("oracle " EDIY_VERSION);
    return ORACLE_PASS;
  }
  enum oracle_exit code = dispatch(argc - 1, argv + 1, &err);
  /* What a full disk or a closed pipe made of the verdict is no verdict. */
  if (code != ORACLE_BAD_INPUT && (fflush(stdout) || ferror(stdout))) {
    fail(&err, "standard output: cannot be written");
    code = ORACLE_BAD_INPUT;
  }
  if (err.text[0]) fprintf(stderr, "oracle: %s\n", err.text);
  return code;
}
