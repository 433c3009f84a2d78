/* Accuracies side by side, as horizontal bars with their intervals. */
#ifndef EDIY_PROGRAM_BARS_H
#define EDIY_PROGRAM_BARS_H

#include <stdbool.h>

#include "base/error.h"
#include "eval/interval.h"

enum { BARS = 2 };

struct bar_group {
  const char *name;
  struct share bar[BARS];
};

/* One group below the other, the bars of a group named by the legend. */
MUST_CHECK bool bars_write(const char *path, const char *title, const char *axis, const char *const legend[BARS],
                           const struct bar_group *groups, int count, struct error *err);

#endif
