/* Text that grows as it is appended to. */
#ifndef EDIY_ORACLE_TEXT_H
#define EDIY_ORACLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text { /* zeroed by the caller, who frees data */
  char *data;
  size_t size, capacity;
};

/* As printf; false without memory, and the text as it was. */
bool text_append(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
