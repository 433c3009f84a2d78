/* A temporary folder of a test, in $TMPDIR or the system's place. */
#ifndef EDIY_TESTS_SUPPORT_FOLDER_H
#define EDIY_TESTS_SUPPORT_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FOLDER_PATH = 512, IN_FOLDER_PATH = 2 * FOLDER_PATH }; /* bytes for it, and for what is in it */

static inline void folder_make(char folder[FOLDER_PATH]) {
  const char *base = getenv("TMPDIR");
  snprintf(folder, FOLDER_PATH, "%s/ediy-test-XXXXXX", base && *base ? base : "/tmp");
  if (mkdtemp(folder)) return;
  perror(folder);
  abort();
}

/* With all that is in it. */
static inline void folder_remove(const char *folder) {
  char command[IN_FOLDER_PATH + 32];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (system(command) != 0) abort();
}

#endif
