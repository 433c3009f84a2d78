/* The log of a run, as tests read it. */
#ifndef EDIY_TESTS_TRAIN_LOGGED_H
#define EDIY_TESTS_TRAIN_LOGGED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/folder.h"

#include "support/cmocka.h"

/* A number of each line of folder/out/log.jsonl, which has `most` lines at most. Returns how many. */
static inline int logged(const char *folder, const char *out, const char *key, double *value, int most) {
  char path[IN_FOLDER_PATH], line[2048], quoted[64];
  int lines = 0;
  snprintf(path, sizeof path, "%s/%s/log.jsonl", folder, out);
  snprintf(quoted, sizeof quoted, "\"%s\": ", key);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    const char *at = strstr(line, quoted);
    assert_true(at && lines < most);
    value[lines++] = strtod(at + strlen(quoted), NULL);
  }
  fclose(f);
  return lines;
}

#endif
