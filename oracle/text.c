#include "oracle/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool text_append(struct text *t, const char *format, ...) {
  va_list args;
  for (;;) {
    va_start(args, format);
    int n = vsnprintf(t->data ? t->data + t->size : NULL, t->data ? t->capacity - t->size : 0, format, args);
    va_end(args);
    if (n < 0) return false;
    if (t->size + (size_t)n < t->capacity) {
      t->size += (size_t)n;
      return true;
    }
    size_t capacity = 2 * (t->size + (size_t)n + 1024);
    char *grown = realloc(t->data, capacity);
    if (!grown) return false;
    t->data = grown, t->capacity = capacity;
  }
}
