#include "program/png_grey.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

bool png_grey_write(const char *path, int height, int width, const uint8_t *map, struct error *err) {
  png_image image = {.version = PNG_IMAGE_VERSION, .width = (png_uint_32)width, .height = (png_uint_32)height, .format = PNG_FORMAT_GRAY};
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  void *data = malloc(size);
  if (!data) return fail(err, "%s: no memory for %zu bytes of PNG", path, (size_t)size);
  bool good = png_image_write_to_memory(&image, data, &size, 0, map, 0, NULL) || fail(err, "%s: PNG: %s", path, image.message);
  good = good && file_replace(path, data, size, err);
  free(data);
  return good;
}
