/* A folder of images: class sub-folders (each a label, in byte order of their names) or flat (no labels). */
#ifndef EDIY_TRAIN_DATASET_H
#define EDIY_TRAIN_DATASET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct dataset {
  char *root;
  char **path;       /* count, full paths, in byte order of the path relative to root: the index names the image in Philox streams */
  int *label;        /* count; -1 in a flat folder */
  ptrdiff_t count;
  char **class_name; /* classes */
  int classes;       /* 0 in a flat folder */
};

/* Lists *.jpg *.jpeg *.png (any case), sub-folders of class folders too. An empty or missing folder, or one with images both at the top
 * and in sub-folders, is an error that says what was found and what is expected. */
MUST_CHECK bool dataset_open(struct dataset *d, const char *root, struct error *err);
void dataset_close(struct dataset *d);

#endif
