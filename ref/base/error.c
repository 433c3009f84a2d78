#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void keep_to_one_line(char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

bool fail(struct error *err, const char *format, ...) {
  if (err) {
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    keep_to_one_line(err->text);
  }
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
