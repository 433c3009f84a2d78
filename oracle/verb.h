/* The verbs of `oracle` (main.c). A verb prints its verdicts on standard output and returns an exit code; where it could not judge it
 * fills err, and main prints that line. */
#ifndef EDIY_ORACLE_VERB_H
#define EDIY_ORACLE_VERB_H

#include "base/error.h"
#include "base/options.h"
#include "oracle/candidate.h"

enum oracle_exit {
  ORACLE_PASS = 0,
  ORACLE_MISMATCH = 1,
  ORACLE_BAD_INPUT = 2,
  ORACLE_VACUOUS = 3,
  ORACLE_NONDETERMINISTIC = 4,
  ORACLE_INCOMPLETE = 5
};

/* Of the worst that was found (verb_case.c). */
enum oracle_exit oracle_exit_of(enum judgement worst);

struct oracle_verb {
  const char *name; /* "case", or two words: "case make" */
  const char *summary;
  const char *usage;   /* what follows the name */
  const char *about;   /* lines of at most 100 columns */
  const char *example; /* commands that work as printed, in this order, in an empty folder */
  const struct option *keys;
  int key_count;
  enum oracle_exit (*run)(int count, char *const *arguments, struct error *err);
};

extern const struct oracle_verb oracle_verb_case, oracle_verb_make, oracle_verb_report, oracle_verb_dump, oracle_verb_check,
    oracle_verb_lockstep;
extern const struct oracle_verb oracle_verb_replay, oracle_verb_bisect;
extern const struct oracle_verb oracle_verb_fuzz, oracle_verb_gradcheck;
extern const struct oracle_verb oracle_verb_mutate; /* in the mutation build */

#endif
