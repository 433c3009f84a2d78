/* A live line on standard error where that is a terminal, plain lines now and then elsewhere. */
#ifndef EDIY_PROGRAM_TERMINAL_H
#define EDIY_PROGRAM_TERMINAL_H

#include <stdbool.h>

/* Zero-initialise. */
struct terminal {
  bool known, live; /* has been looked at; standard error is a terminal */
  bool open;        /* a live line stands there unfinished */
  double shown;     /* when a line was last printed, seconds of the monotonic clock */
};

/* Shows the line, if it is time: ten a second on a terminal, one in five seconds elsewhere. Lines that are `last` of their kind are always
 * shown on a terminal. */
void terminal_live(struct terminal *t, bool last, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Ends the live line, if one is open, so that other text can follow. */
void terminal_end(struct terminal *t);

/* Characters a live line may have. */
int terminal_columns(void);

#endif
