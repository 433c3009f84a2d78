/* Folders that are whole or not there: filled as DIR.partial and renamed. */
#ifndef EDIY_PROGRAM_FOLDER_H
#define EDIY_PROGRAM_FOLDER_H

#include <stdbool.h>

#include "base/error.h"

struct folder {
  char path[3072], partial[3072 + 16];
};

/* Files and folders in it; -1, and errno, where it cannot be opened. */
int folder_entries(const char *path);

/* Whether there is nothing under this name, or an empty folder. */
bool folder_free(const char *path);

/* Creates path.partial. Refuses a path that exists and is not an empty folder, and a path.partial left by an interrupted run. */
MUST_CHECK bool folder_begin(struct folder *f, const char *path, struct error *err);
MUST_CHECK bool folder_commit(struct folder *f, struct error *err);
/* Removes path.partial with everything in it. */
void folder_abandon(struct folder *f);

/* Removes the path.partial of an interrupted run, if there is one: for a caller who knows that it is its own and that nobody fills it. */
MUST_CHECK bool folder_forget(const char *path, struct error *err);

#endif
