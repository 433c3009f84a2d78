/* Counts in a sentence: "1 step", "2 steps". */
#ifndef EDIY_BASE_PLURAL_H
#define EDIY_BASE_PLURAL_H

#include <stdint.h>

/* What follows a regular noun after this count. */
static inline const char *plural(int64_t count) { return count == 1 ? "" : "s"; }

#endif
