#include "base/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the nearest word ---------------------------------------------------------------------------------------------------------- */

static bool same_letter(char a, char b) { return tolower((unsigned char)a) == tolower((unsigned char)b); }

/* Damerau-Levenshtein distance in its restricted form (optimal string alignment): letters inserted, deleted, replaced, or two
 * neighbours swapped. na, nb < OPTION_KEY_SIZE. */
static int edit_distance(const char *a, int na, const char *b, int nb) {
  int rows[3][OPTION_KEY_SIZE], *before = rows[0], *last = rows[1], *row = rows[2];
  for (int j = 0; j <= nb; j++) last[j] = before[j] = j;
  for (int i = 1; i <= na; i++) {
    row[0] = i;
    for (int j = 1; j <= nb; j++) {
      int best = last[j - 1] + !same_letter(a[i - 1], b[j - 1]);
      if (last[j] + 1 < best) best = last[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]) && before[j - 2] + 1 < best)
        best = before[j - 2] + 1;
      row[j] = best;
    }
    int *free_row = before;
    before = last, last = row, row = free_row;
  }
  return last[nb];
}

enum { NOT_NEAR = 1000 };

/* How far word (n letters) is from candidate; less is nearer. Twice the typing errors against the whole, one more against the part
 * behind the last dot: what was typed is more often misspelt than shortened. */
static int word_distance(const char *word, int n, const char *candidate) {
  size_t size = strlen(candidate);
  if (size >= OPTION_KEY_SIZE) return NOT_NEAR;
  int length = (int)size, nearest = NOT_NEAR;
  int allowed = n / 3 > 2 ? n / 3 : 2;
  if (allowed > n - 1) allowed = n - 1; /* with every letter replaced, anything would be near */
  int errors = edit_distance(word, n, candidate, length);
  if (errors <= allowed) nearest = 2 * errors;
  const char *dot = strrchr(candidate, '.');
  if (dot) {
    errors = edit_distance(word, n, dot + 1, length - (int)(dot + 1 - candidate));
    if (errors <= allowed && 2 * errors + 1 < nearest) nearest = 2 * errors + 1;
  }
  if (n >= 2 && n < length) {
    bool begins = true, ends = true;
    for (int i = 0; i < n; i++) {
      begins = begins && same_letter(word[i], candidate[i]);
      ends = ends && same_letter(word[i], candidate[length - n + i]);
    }
    int part = (begins && candidate[n] == '.') || (ends && candidate[length - n - 1] == '.') ? 1 : 3;
    if ((begins || ends) && part < nearest) nearest = part;
  }
  return nearest;
}

const char *nearest_word(const char *word, const char *const *words, int count) {
  size_t n = strlen(word);
  if (n == 0 || n >= OPTION_KEY_SIZE) return NULL;
  const char *nearest = NULL;
  int least = NOT_NEAR;
  for (int i = 0; i < count; i++) {
    int d = word_distance(word, (int)n, words[i]);
    if (d < least) least = d, nearest = words[i];
  }
  return nearest;
}

/* ---- one value ----------------------------------------------------------------------------------------------------------------- */

static void *field(const struct option *o, void *config) { return (char *)config + o->offset; }
static const void *field_const(const struct option *o, const void *config) { return (const char *)config + o->offset; }

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Without the blanks around it. */
static void trim(const char **text, size_t *size) {
  while (*size > 0 && is_blank((*text)[0])) (*text)++, (*size)--;
  while (*size > 0 && is_blank((*text)[*size - 1])) (*size)--;
}

static bool parse_bool(const char *text, bool *value) {
  static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};
  for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
    if (strcmp(text, yes[i]) == 0) return *value = true, true;
    if (strcmp(text, no[i]) == 0) return *value = false, true;
  }
  return false;
}

/* The number of the choice that text is, or -1; *name (if not null) gets the text of choice number wanted, *length its length. */
static int find_choice(const char *choices, const char *text, int wanted, const char **name, size_t *length) {
  int index = 0;
  for (const char *p = choices;; index++) {
    size_t n = strcspn(p, "|"), size = n;
    const char *start = p;
    trim(&start, &size);
    if (text && size > 0 && strlen(text) == size && memcmp(start, text, size) == 0) return index;
    if (!text && index == wanted) return *name = start, *length = size, index;
    if (p[n] == 0) return -1;
    p += n + 1;
  }
}

/* "from 1 to 100", "of at least 0", "of at most 1", "of any size": what follows "is not a number" */
static void range_text(const struct option *o, char *text, size_t size) {
  if (isinf(o->min) && isinf(o->max))
    snprintf(text, size, "of any size");
  else if (isinf(o->max))
    snprintf(text, size, "of at least %.15g", o->min);
  else if (isinf(o->min))
    snprintf(text, size, "of at most %.15g", o->max);
  else if (o->type == OPTION_INT)
    snprintf(text, size, "from %.0f to %.0f", o->min, o->max);
  else
    snprintf(text, size, "from %.15g to %.15g", o->min, o->max);
}

/* In whole numbers, where the range has bounds: as a double, 2^53 + 1 would be 2^53. */
static bool is_outside(const struct option *o, long long n) {
  return (o->min > -0x1p63 && n < (long long)ceil(o->min)) || (o->max < 0x1p63 && n > (long long)floor(o->max));
}

static bool fail_number(const struct option *o, const char *value, const char *kind, struct error *err) {
  char range[80];
  range_text(o, range, sizeof range);
  return fail(err, "%s: '%.100s' is not a %s %s", o->key, value, kind, range);
}

/* value: trimmed, ends in zero. */
static bool set_value(const struct option *o, void *config, const char *value, struct error *err) {
  char *end;
  switch (o->type) {
  case OPTION_BOOL: {
    bool yes;
    if (!parse_bool(value, &yes)) return fail(err, "%s: '%.100s' is neither yes nor no", o->key, value);
    *(bool *)field(o, config) = yes;
    return true;
  }
  case OPTION_INT: {
    errno = 0;
    long long n = strtoll(value, &end, 10);
    if (end == value || *end || errno == ERANGE || is_outside(o, n)) return fail_number(o, value, "whole number", err);
    *(int64_t *)field(o, config) = n;
    return true;
  }
  case OPTION_REAL: {
    double x = strtod(value, &end); /* what underflows becomes zero or subnormal, the nearest there is */
    if (end == value || *end || !isfinite(x) || x < o->min || x > o->max) return fail_number(o, value, "number", err);
    *(double *)field(o, config) = x;
    return true;
  }
  case OPTION_TEXT: {
    size_t size = strlen(value);
    if (size >= OPTION_TEXT_SIZE) return fail(err, "%s: the text has %zu bytes, more than %d", o->key, size, OPTION_TEXT_SIZE - 1);
    for (size_t i = 0; i < size; i++)
      if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
        return fail(err, "%s: '%.100s' has a control character (a line break?); remove it", o->key, value);
    memcpy(field(o, config), value, size + 1);
    return true;
  }
  case OPTION_CHOICE: {
    int index = find_choice(o->choices, value, 0, NULL, NULL);
    if (index < 0) return fail(err, "%s: '%.100s' is not one of: %s", o->key, value, o->choices);
    *(int *)field(o, config) = index;
    return true;
  }
  }
  assert(!"no such option type");
  return false;
}

static const struct option *find_option(const struct option *table, int count, const char *key) {
  for (int i = 0; i < count; i++)
    if (strcmp(table[i].key, key) == 0) return &table[i];
  return NULL;
}

static bool fail_unknown(const struct option *table, int count, const char *key, struct error *err) {
  const char *nearest = NULL, **keys = malloc(((size_t)count + 1) * sizeof *keys);
  if (keys) { /* without memory for the list there is no suggestion */
    for (int i = 0; i < count; i++) keys[i] = table[i].key;
    nearest = nearest_word(key, keys, count);
    free(keys);
  }
  if (nearest) return fail(err, "%.100s: there is no such option; did you mean %s?", key, nearest);
  return fail(err, "%.100s: there is no such option, nor one with a similar name; see --help", key);
}

bool options_set(const struct option *table, int count, void *config, const char *key, const char *value, struct error *err) {
  const struct option *o = find_option(table, count, key);
  if (!o) return fail_unknown(table, count, key, err);
  size_t size = strlen(value);
  trim(&value, &size);
  char trimmed[OPTION_TEXT_SIZE];
  if (size >= sizeof trimmed) return fail(err, "%s: the value has %zu bytes, more than %d", key, size, OPTION_TEXT_SIZE - 1);
  memcpy(trimmed, value, size);
  trimmed[size] = 0;
  return set_value(o, config, trimmed, err);
}

void options_default(const struct option *table, int count, void *config) {
  for (int i = 0; i < count; i++) {
    struct error err;
    assert(strlen(table[i].key) < OPTION_KEY_SIZE);
    bool ok = set_value(&table[i], config, table[i].initial, &err);
    assert(ok && "a default must be a value that a user could give");
    (void)ok;
  }
}

/* ---- key = value ----------------------------------------------------------------------------------------------------------------- */

/* Sets from size bytes of "key = value" without a zero in them. */
static bool set_pair(const struct option *table, int count, void *config, const char *text, size_t size, struct error *err) {
  const char *equals = memchr(text, '=', size);
  if (!equals) return fail(err, "'%.*s' is not of the form key=value", size < 100 ? (int)size : 100, text);
  const char *key = text, *value = equals + 1;
  size_t key_size = (size_t)(equals - text), value_size = size - key_size - 1;
  trim(&key, &key_size);
  trim(&value, &value_size);
  if (key_size == 0) return fail(err, "'%.*s' has no key before the '='", size < 100 ? (int)size : 100, text);
  if (key_size >= OPTION_KEY_SIZE) return fail(err, "%.40s...: there is no such option, nor one with a similar name; see --help", key);
  char key_text[OPTION_KEY_SIZE], value_text[OPTION_TEXT_SIZE];
  memcpy(key_text, key, key_size);
  key_text[key_size] = 0;
  if (value_size >= sizeof value_text)
    return fail(err, "%s: the value has %zu bytes, more than %d", key_text, value_size, OPTION_TEXT_SIZE - 1);
  memcpy(value_text, value, value_size);
  value_text[value_size] = 0;
  return options_set(table, count, config, key_text, value_text, err);
}

bool options_argument(const struct option *table, int count, void *config, const char *argument, struct error *err) {
  return set_pair(table, count, config, argument, strlen(argument), err);
}

bool options_parse(const struct option *table, int count, void *config, const char *text, size_t size, const char *path,
                   struct error *err) {
  static const char mark[] = "\xEF\xBB\xBF"; /* UTF-8's byte order mark, which some editors put first */
  size_t at = size >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
  for (int number = 1; at < size; number++) {
    const char *line = text + at, *newline = memchr(line, '\n', size - at);
    size_t length = newline ? (size_t)(newline - line) : size - at;
    at += length + 1;
    if (memchr(line, 0, length)) return fail(err, "%s:%d: a zero byte; this is not a text file", path, number);
    trim(&line, &length);
    if (length == 0 || line[0] == '#') continue;
    if (!set_pair(table, count, config, line, length, err)) return fail_within(err, "%s:%d", path, number);
  }
  return true;
}

/* ---- printing -------------------------------------------------------------------------------------------------------------------- */

/* 15 digits always survive being read as a double, 17 always tell doubles apart; most values people write need no more than 15, and %g
 * drops trailing zeros. */
static void format_real(double x, char *text, size_t size) {
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, size, "%.*g", digits, x);
    if (strtod(text, NULL) == x) return;
  }
}

void options_value(const struct option *o, const void *config, char *text, size_t size) {
  const void *p = field_const(o, config);
  switch (o->type) {
  case OPTION_BOOL: snprintf(text, size, "%s", *(const bool *)p ? "yes" : "no"); break;
  case OPTION_INT: snprintf(text, size, "%" PRId64, *(const int64_t *)p); break;
  case OPTION_REAL: format_real(*(const double *)p, text, size); break;
  case OPTION_TEXT: snprintf(text, size, "%s", (const char *)p); break;
  case OPTION_CHOICE: {
    const char *name = "";
    size_t length = 0;
    find_choice(o->choices, NULL, *(const int *)p, &name, &length);
    snprintf(text, size, "%.*s", (int)length, name);
    break;
  }
  }
}

char *options_format(const struct option *table, int count, const void *config) {
  char value[OPTION_TEXT_SIZE];
  size_t size = 1;
  for (int i = 0; i < count; i++) {
    options_value(&table[i], config, value, sizeof value);
    size += strlen(table[i].key) + strlen(" = ") + strlen(value) + strlen("\n");
  }
  char *text = malloc(size), *p = text;
  if (!text) return NULL;
  *p = 0;
  for (int i = 0; i < count; i++) {
    options_value(&table[i], config, value, sizeof value);
    p += snprintf(p, size - (size_t)(p - text), "%s = %s\n", table[i].key, value);
  }
  return text;
}
