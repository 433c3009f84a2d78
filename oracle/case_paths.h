/* The case files that a command names: files, and every *.safetensors below a folder. */
#ifndef EDIY_ORACLE_CASE_PATHS_H
#define EDIY_ORACLE_CASE_PATHS_H

#include "base/error.h"

struct case_paths { /* zero-initialised */
  char **path;
  int count, capacity;
};

/* A file, or what a folder holds. Fails where it is not there, cannot be read, or holds none. */
MUST_CHECK bool case_paths_add(struct case_paths *p, const char *path, struct error *err);

/* By name, so that a folder's order on the disk does not show. */
void case_paths_sort(struct case_paths *p);

void case_paths_free(struct case_paths *p);

#endif
