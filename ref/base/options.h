/* Configuration: one table of keys with type, range, default and a line of help. Values come from the defaults, then a preset, then
 * key=value arguments, and are stored as text in every checkpoint and dump. Numbers are read and printed in the form of the C locale,
 * which has to be in force (base/numerals.h). */
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
  double min, max;     /* inclusive range of INT and REAL; INFINITY is no bound. Both must be given: 0, 0 allows 0 alone */
  const char *choices; /* "cosine | dot": the field gets 0, 1, ... in this order */
  const char *help;    /* one line, with unit and source */
};

enum { OPTION_TEXT_SIZE = 4096, OPTION_KEY_SIZE = 64 }; /* bytes, the end of the string among them */

/* Sets every field to its default. A default that options_set would refuse is a programming error. */
void options_default(const struct option *table, int count, void *config);

/* Sets one key; blanks around the value do not count. An unknown key names the nearest one; a value that does not parse or is out of
 * range names the key, the value and what is allowed. Forms: yes/no, true/false, on/off, 1/0; whole numbers in decimal; finite numbers
 * as strtod reads them; text without control characters. On failure config is as it was. */
MUST_CHECK bool options_set(const struct option *table, int count, void *config, const char *key, const char *value, struct error *err);

/* Sets from "key=value". */
MUST_CHECK bool options_argument(const struct option *table, int count, void *config, const char *argument, struct error *err);

/* Lines of "key = value", blank lines and lines that begin with "#"; a "#" behind a value belongs to the value. The last of several
 * lines with one key counts. Messages carry path and line number. size bytes, need not end in zero. On failure the lines before the
 * bad one are set. */
MUST_CHECK bool options_parse(const struct option *table, int count, void *config, const char *text, size_t size, const char *path,
                              struct error *err);

/* The resolved configuration as such lines, in table order; free() by the caller; null if memory is short. options_parse of it gives the
 * same configuration, to the last bit. */
char *options_format(const struct option *table, int count, const void *config);

/* The value of one field as text (as options_format prints it), cut to size bytes. */
void options_value(const struct option *option, const void *config, char *text, size_t size);

/* The word nearest to what was typed (for messages), or null if none is near. words: count strings. Near is: the same up to
 * max(2, a third of its length) typing errors, or up to upper and lower case, or a whole part of a dotted word ("lr" of "lars.lr"), or
 * its beginning or end. */
const char *nearest_word(const char *word, const char *const *words, int count);

#endif
