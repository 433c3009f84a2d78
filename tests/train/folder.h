/* Small images in a temporary folder. */
#ifndef EDIY_TESTS_TRAIN_FOLDER_H
#define EDIY_TESTS_TRAIN_FOLDER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/philox.h"
#include "image/image.h"
#include "support/folder.h"

/* folder/name with these bytes; parents are made. */
static inline void folder_file(const char *folder, const char *name, const void *data, size_t size) {
  char path[IN_FOLDER_PATH];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
    *slash = 0;
    mkdir(path, 0777);
  }
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0) abort();
}

/* folder/name: a PNG of random bytes, those of image number i. */
static inline void folder_noise(const char *folder, const char *name, int height, int width, uint32_t i) {
  struct image image = {.height = height, .width = width};
  size_t bytes = (size_t)height * (size_t)width * 3;
  if (!(image.rgb = malloc(bytes))) abort();
  struct philox g = philox_stream(1, PHILOX_TEST, 0, i, 0);
  for (size_t j = 0; j < bytes; j++) image.rgb[j] = (uint8_t)philox_below(&g, 256);
  char path[IN_FOLDER_PATH];
  struct error err;
  folder_file(folder, name, "", 0); /* makes the folders */
  snprintf(path, sizeof path, "%s/%s", folder, name);
  if (!image_write_png(path, &image, &err)) abort();
  image_free(&image);
}

#endif
