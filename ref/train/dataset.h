/* A folder of images: class sub-folders (each a label, in byte order of their names) or flat (no labels). */
#ifndef EDIY_TRAIN_DATASET_H
#define EDIY_TRAIN_DATASET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct dataset {
  char *root;
  char **path;        /* count, full paths, in byte order of the path relative to root: the index names the image in Philox streams */
  int *label;         /* count; -1 in a flat folder */
  ptrdiff_t count;    /* below 2^31 */
  char **class_name;  /* classes */
  int classes;        /* 0 in a flat folder */
  ptrdiff_t left_out; /* files with the ending of an image that is not read here */
  char *first_out;    /* full path of the first of them in byte order; null: there is none */
};

/* Lists *.jpg *.jpeg *.png (any case), sub-folders of class folders too. Names that start with a dot are passed over (folders of version
 * control, the ._ files of macOS), and so is a sub-folder without images: it is no class. Links are followed. An empty or missing folder,
 * or one with images both at the top and in sub-folders, is an error that says what was found and what is expected. */
MUST_CHECK bool dataset_open(struct dataset *d, const char *root, struct error *err);
void dataset_close(struct dataset *d);

/* Whether a file of this name is taken for an image: .jpg, .jpeg or .png, in letters of either case. */
bool dataset_is_image(const char *name);

/* What a user should know: how many images were left out for their ending (.gif, .webp, .tiff, ...), the first of them, and the endings
 * that are read. Empty where there is none. */
struct error dataset_left_out(const struct dataset *d);

/* Image i as the user knows it: its path relative to root. */
const char *dataset_name(const struct dataset *d, ptrdiff_t i);

/* SHA-256, in hexadecimal, of the relative paths in order: two data sets with the same fingerprint give the same meaning to every index.
 * The folder may have moved, and the contents of the files are not read. */
void dataset_fingerprint(const struct dataset *d, char text[65]);

#endif
