#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void keep_to_one_line(char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

static void write_line(struct error *err, bool is_shortage, const char *format, va_list args) {
  if (!err) return;
  vsnprintf(err->text, sizeof err->text, format, args);
  keep_to_one_line(err->text);
  err->is_shortage = is_shortage;
}

bool fail(struct error *err, const char *format, ...) {
  va_list args;
  va_start(args, format);
  write_line(err, false, format, args);
  va_end(args);
  return false;
}

bool fail_short(struct error *err, const char *format, ...) {
  va_list args;
  va_start(args, format);
  write_line(err, true, format, args);
  va_end(args);
  return false;
}

bool fail_within(struct error *err, const char *format, ...) {
  if (err) {
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text) snprintf(err->text + n, sizeof err->text - (size_t)n, ": %.*s", 900, inner);
    keep_to_one_line(err->text);
  }
  return false;
}
