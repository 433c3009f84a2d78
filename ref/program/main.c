/* ediy VERB [ARGUMENT...] [key=value...] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program/start.h"
#include "program/verb.h"
#include "train/launch.h"

static const struct verb *const verbs[] = {&verb_demo,   &verb_scenes, &verb_train,  &verb_knn,     &verb_linear,
                                           &verb_dense,  &verb_embed,  &verb_views,  &verb_matches, &verb_saliency,
                                           &verb_curves, &verb_export, &verb_import, &verb_info,    &verb_bench};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

/* Words of a verb's name that the arguments begin with, if they begin with all of them; else 0. */
static int words_matched(const struct verb *v, int count, char *const *arguments) {
  const char *space = strchr(v->name, ' ');
  size_t first = space ? (size_t)(space - v->name) : strlen(v->name);
  if (count < 1 || strlen(arguments[0]) != first || strncmp(v->name, arguments[0], first) != 0) return 0;
  if (!space) return 1;
  return count > 1 && !strcmp(space + 1, arguments[1]) ? 2 : 0;
}

/* Whether `word` is the first of a verb of two words. */
static bool is_group(const char *word) {
  size_t n = strlen(word);
  for (int i = 0; i < VERBS; i++)
    if (!strncmp(verbs[i]->name, word, n) && verbs[i]->name[n] == ' ') return true;
  return false;
}

/* The list of verbs; of one group if `group` is not null. */
static void print_verbs(const char *group) {
  size_t n = group ? strlen(group) : 0;
  printf("ediy: self-supervised image features by E-DIY (BYOL with region losses)\n\n"
         "usage: ediy VERB [key=value...]     ediy VERB --help     ediy --version\n\n");
  for (int i = 0; i < VERBS; i++)
    if (!group || (!strncmp(verbs[i]->name, group, n) && verbs[i]->name[n] == ' '))
      printf("  %-14s %s\n", verbs[i]->name, verbs[i]->summary);
  if (!group) printf("\nbegin with:\n  ediy demo out=demo\n");
}

static bool unknown_verb(int count, char *const *arguments, struct error *err) {
  char words[2 * 64];
  bool group = is_group(arguments[0]);
  if (group && count < 2) return fail(err, "%s: say which; ediy %s --help lists them", arguments[0], arguments[0]);
  snprintf(words, sizeof words, group ? "%.60s %.60s" : "%.60s", arguments[0], group ? arguments[1] : "");
  const char *names[VERBS];
  for (int i = 0; i < VERBS; i++) names[i] = verbs[i]->name;
  const char *near = nearest_word(words, names, VERBS);
  if (near) return fail(err, "unknown verb '%s'; did you mean '%s'?", words, near);
  return fail(err, "unknown verb '%s'; ediy help lists them", words);
}

static void print_version(void) {
  char text[512];
  start_version(text, sizeof text);
  puts(text);
}

static bool dispatch(int count, char *const *arguments, struct error *err) {
  if (count > 0 && !strcmp(arguments[0], "--version")) return print_version(), true;
  if (count == 0 || start_is_help(arguments[0])) {
    if (count < 2) return print_verbs(NULL), true;
    arguments++, count--; /* `ediy help VERB` is `ediy VERB --help` */
    for (int i = 0; i < VERBS; i++)
      if (words_matched(verbs[i], count, arguments)) return verb_help(verbs[i], stdout), true;
    if (is_group(arguments[0]) && count == 1) return print_verbs(arguments[0]), true;
    return unknown_verb(count, arguments, err);
  }
  for (int i = 0; i < VERBS; i++) {
    int words = words_matched(verbs[i], count, arguments);
    if (!words) continue;
    if (start_wants_help(count - words, arguments + words)) return verb_help(verbs[i], stdout), true;
    return verbs[i]->run(count - words, arguments + words, err);
  }
  if (is_group(arguments[0]) && start_wants_help(count - 1, arguments + 1)) return print_verbs(arguments[0]), true;
  return unknown_verb(count, arguments, err);
}

int main(int argc, char **argv) {
  start_up(argv);
  if (argc > 0 && *argv[0]) verb_program = argv[0];
  struct error err = {.text = ""};
  bool good = dispatch(argc - 1, argv + 1, &err);
  /* What a full disk or a closed pipe made of the output is a failure too. */
  if (good && (fflush(stdout) || ferror(stdout))) good = fail(&err, "standard output: cannot be written");
  if (!good && *err.text) fprintf(stderr, "ediy: %s\n", err.text); /* without a line, another rank says it */
  launch_close();
  return good ? EXIT_SUCCESS : EXIT_BAD_INPUT;
}
