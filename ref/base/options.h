/* Configuration: one table of keys with type, range, default and a line of help. Values come from the defaults, then a preset, then
 * key=value arguments, and are stored as text in every checkpoint and dump. */
#ifndef EDIY_BASE_OPTIONS_H
#define EDIY_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum option_type { OPTION_BOOL /* yes | no */, OPTION_INT, OPTION_REAL, OPTION_TEXT, OPTION_CHOICE /* one of choices */ };

struct option {
  const char *key;
  enum option_type type;
  size_t offset;       /* of the field in the configuration struct: bool, int64_t, double, char[OPTION_TEXT_SIZE], int */
  const char *initial; /* default, as the user would write it */
  double min, max;     /* inclusive range of INT and REAL */
  const char *choices; /* "cosine | dot": the field gets 0, 1, ... in this order */
  const char *help;    /* one line, with unit and source */
};

enum { OPTION_TEXT_SIZE = 4096 };

/* Sets every field to its default. */
void options_default(const struct option *table, int count, void *config);

/* Sets one key. An unknown key names the nearest one; a value that does not parse or is out of range names the key, the value and what
 * is allowed. */
MUST_CHECK bool options_set(const struct option *table, int count, void *config, const char *key, const char *value, struct error *err);

/* Sets from "key=value". */
MUST_CHECK bool options_argument(const struct option *table, int count, void *config, const char *argument, struct error *err);

/* Lines of "key = value", blank lines and "# comments"; messages carry path and line number. size bytes, need not end in zero. */
MUST_CHECK bool options_parse(const struct option *table, int count, void *config, const char *text, size_t size, const char *path,
                              struct error *err);

/* The resolved configuration as such lines, in table order; free() by the caller. Doubles are printed so that they read back exactly. */
char *options_format(const struct option *table, int count, const void *config);

/* The value of one field as text (as options_format prints it). */
void options_value(const struct option *option, const void *config, char *text, size_t size);

/* The nearest key by edit distance (for messages), or null if nothing is near. words: count strings. */
const char *nearest_word(const char *word, const char *const *words, int count);

#endif
