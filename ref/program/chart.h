/* Small multiples: a grid of line charts that share their x axis. */
#ifndef EDIY_PROGRAM_CHART_H
#define EDIY_PROGRAM_CHART_H

#include <stdbool.h>

#include "base/error.h"

enum { CHART_SERIES = 4 };

struct series {
  const char *name;
  const double *x, *y; /* count points; a y that is not finite breaks the line */
  int count;
  bool beside; /* dashed, dark and without an entry in the legend: what the others are to be compared with */
};

struct chart {
  const char *title, *unit; /* unit: what the y axis counts, "" for a pure number */
  struct series series[CHART_SERIES];
  int series_count;
  double low, high; /* the y range holds at least these (low > high: only the data decides) */
};

/* Draws the charts, three in a row, to a PNG file. caption stands below, and may be null. */
MUST_CHECK bool chart_write(const char *path, const char *title, const char *caption, const char *x_label, const struct chart *charts,
                            int count, struct error *err);

/* A step of 1, 2 or 5 times a power of ten that cuts the range into at most `most` parts. */
double chart_step(double range, int most);

#endif
