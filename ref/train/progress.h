/* What a person who watches a run sees: formatted here, printed by the program. */
#ifndef EDIY_TRAIN_PROGRESS_H
#define EDIY_TRAIN_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "train/log.h"

struct progress {
  struct record now;            /* of the last step; diagnostics from the last time they were computed */
  int64_t steps, epochs;        /* of the whole run */
  double seconds, seconds_left; /* since this start; at the present speed, negative if unknown */
};

/* One line without newline, at most `columns` characters (0: no limit): step, losses, time left, images/s, collapse diagnostics, epoch,
 * learning rate; what no longer fits is left out, from the end. docs/method.md, "What to expect", explains it. */
void progress_line(const struct progress *p, int columns, char *text, size_t size);

/* "3 s", "12 min 05 s", "5 h 07 min", "3 d 04 h"; "?" for what is negative or not a number. */
void duration_format(double seconds, char *text, size_t size);

/* Whether to print now: a live line ten times a second at most; elsewhere a plain line every five seconds. Always for the first and the
 * last step. Zero-initialise, keep between calls. */
struct progress_pace {
  double printed; /* p->seconds of the last print */
  bool any;
};
bool progress_due(struct progress_pace *pace, const struct progress *p, bool terminal);

#endif
