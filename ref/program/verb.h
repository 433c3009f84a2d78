/* The verbs of `ediy`, one table (main.c). A verb returns false with one line in err; main prints it and exits with EXIT_BAD_INPUT. */
#ifndef EDIY_PROGRAM_VERB_H
#define EDIY_PROGRAM_VERB_H

#include <stdbool.h>
#include <stdio.h>

#include "base/error.h"
#include "base/options.h"
#include "train/dataset.h"

struct verb {
  const char *name;    /* "scenes", or two words: "show views" */
  const char *summary; /* one line, for the list of verbs */
  const char *usage;   /* what follows the name: "out=DIR [key=value...]" */
  const char *about;   /* a paragraph or two, in lines of at most 100 columns */
  const char *example; /* commands that work as printed, in this order, in an empty folder */
  const struct option *keys;
  int key_count;
  void (*help)(FILE *out); /* prints more keys than the table has; may be null */
  /* arguments: what followed the verb's name. */
  bool (*run)(int count, char *const *arguments, struct error *err);
};

/* How the user called the program ("build/ediy"), for commands that are printed to be typed. */
extern const char *verb_program;

extern const struct verb verb_demo, verb_scenes, verb_train, verb_knn, verb_linear, verb_dense, verb_embed, verb_views, verb_matches,
    verb_saliency, verb_curves, verb_info, verb_export, verb_import, verb_bench;

/* Defaults, then every argument as key=value; an argument without = is refused with the usage, and an out= or json= that is
 * a file which another key names. */
MUST_CHECK bool verb_options(const struct verb *v, int count, char *const *arguments, void *config, struct error *err);

/* Fails for an empty text: "scenes: out= is missing; usage: ediy scenes out=DIR [key=value...]". */
MUST_CHECK bool verb_require(const struct verb *v, const char *key, const char *value, struct error *err);

/* Fails where writing out= would lose what is read, though no key may name it: the file read, or an image in the folder read. So does a new
 * image there: the data set would be another one, with which no run on it goes on. */
MUST_CHECK bool verb_spares(const struct verb *v, const char *out, const char *read, struct error *err);

/* Fails where out= (json= of figures) is there, not empty, and not of the kind that is written: a run's config.txt say, or a checkpoint, by
 * a slip. VERB_BACKBONE: as export and import write it; that of a run is another. */
enum verb_file { VERB_PNG, VERB_BACKBONE, VERB_FEATURES, VERB_FIGURES };
MUST_CHECK bool verb_replaces(const struct verb *v, const char *out, enum verb_file kind, struct error *err);

/* The line about images of another format in the folder, where there are any, to standard error: so that results are as they were. */
void verb_say_left_out(const struct dataset *d);

/* "KEY  help (range, default)" a line. */
void verb_print_keys(const struct option *keys, int count, FILE *out);

/* The page that `ediy VERB --help` shows. */
void verb_help(const struct verb *v, FILE *out);

#endif
