/* Version, and images for outsiders. */
#include "image/image.h"

#include "api/outside.h"

EDIY_API const char *ediy_version(void) { return EDIY_VERSION; }

EDIY_API bool ediy_image_read(const char *path, ediy_image *image, ediy_error *err) {
  struct error inner = {.text = ""};
  struct image read = {0};
  bool ok = (path && image) || fail(&inner, "ediy_image_read: an argument is null");
  ok = ok && image_read(path, &read, &inner);
  if (image) *image = (ediy_image){read.height, read.width, read.rgb};
  return outside(ok, &inner, err);
}

EDIY_API void ediy_image_free(ediy_image *image) {
  if (!image) return;
  struct image read = {image->height, image->width, image->rgb};
  image_free(&read);
  *image = (ediy_image){0, 0, NULL};
}
