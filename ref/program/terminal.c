#include "program/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

int terminal_columns(void) {
  struct winsize w;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col - 1 : 79;
}

void terminal_live(struct terminal *t, bool last, const char *format, ...) {
  struct timespec clock;
  clock_gettime(CLOCK_MONOTONIC, &clock);
  double now = (double)clock.tv_sec + 1e-9 * (double)clock.tv_nsec;
  if (!t->known) {
    t->known = true;
    t->live = isatty(STDERR_FILENO);
    t->shown = t->live ? 0 : now; /* elsewhere the first line comes after five seconds: short work says nothing */
  }
  if (now - t->shown < (t->live ? 0.1 : 5) && !(t->live && last)) return;
  t->shown = now;
  char line[512];
  va_list list;
  va_start(list, format);
  vsnprintf(line, sizeof line, format, list);
  va_end(list);
  if (t->live) {
    fprintf(stderr, "\r%.*s\033[K", terminal_columns(), line); /* back to the first column, and blank what the last line left */
    t->open = true;
  } else {
    fprintf(stderr, "%s\n", line);
  }
}

void terminal_end(struct terminal *t) {
  if (t->open) fputs("\r\033[K", stderr);
  t->open = false;
}
