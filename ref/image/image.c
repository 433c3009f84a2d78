/* Which decoder reads a file is decided by its first bytes. */
#include "image/image.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "image/codec.h"

/* Of the compressed file: three bytes for each pixel of the largest image, which no sensible JPEG or PNG reaches. */
static const size_t max_file_bytes = (size_t)IMAGE_MAX_PIXELS * 3;

void image_free(struct image *image) {
  free(image->rgb);
  *image = (struct image){0};
}

bool image_allocate(struct image *image, uint32_t height, uint32_t width, const char *name, struct error *err) {
  uint64_t pixels = (uint64_t)height * width;
  if (pixels == 0) return fail(err, "%s: an image of %u x %u has no pixels; remove it", name, width, height);
  if (height > INT32_MAX || width > INT32_MAX || pixels > IMAGE_MAX_PIXELS)
    return fail(err, "%s: %u x %u pixels are more than the %d allowed; make it smaller or remove it", name, width, height,
                IMAGE_MAX_PIXELS);
  uint8_t *rgb = malloc((size_t)pixels * 3);
  if (!rgb) return fail_short(err, "%s: no memory for %u x %u pixels (%llu bytes)", name, width, height, (unsigned long long)pixels * 3);
  *image = (struct image){.height = (int)height, .width = (int)width, .rgb = rgb};
  return true;
}

const char *image_foreign(const uint8_t *start, size_t size) {
  static const struct {
    size_t at, length;
    const char *bytes, *name;
  } known[] = {{8, 4, "WEBP", "a WebP image"},     {0, 4, "GIF8", "a GIF image"},       {0, 4, "II*\0", "a TIFF image"},
               {0, 4, "MM\0*", "a TIFF image"},    {4, 8, "ftypavif", "an AVIF image"}, {4, 8, "ftypheic", "a HEIC image"},
               {4, 8, "ftypheix", "a HEIC image"}, {4, 8, "ftypmif1", "a HEIF image"}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (size >= known[i].at + known[i].length && !memcmp(start + known[i].at, known[i].bytes, known[i].length)) return known[i].name;
  /* two letters alone may begin a text; behind the length of the file there are four zeros */
  return size >= 10 && !memcmp(start, "BM", 2) && !memcmp(start + 6, "\0\0\0\0", 4) ? "a BMP image" : NULL;
}

static bool decode(const uint8_t *data, size_t size, bool levels, const char *name, struct image *image, struct error *err) {
  static const uint8_t jpeg[] = {0xff, 0xd8, 0xff}, png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  *image = (struct image){0};
  if (size >= sizeof jpeg && !memcmp(data, jpeg, sizeof jpeg)) return image_decode_jpeg(data, size, name, image, err);
  if (size >= sizeof png && !memcmp(data, png, sizeof png)) return image_decode_png(data, size, levels, name, image, err);
  if (size == 0) return fail(err, "%s: the file is empty; remove it or copy it again", name);
  char start[3 * 8 + 1] = "";
  for (size_t i = 0; i < size && i < 8; i++) {
    static const char digit[] = "0123456789abcdef";
    memcpy(start + 3 * i, (char[]){' ', digit[data[i] >> 4], digit[data[i] & 15], 0}, 4);
  }
  const char *foreign = image_foreign(data, size);
  return fail(err, "%s: %s%sneither JPEG nor PNG (starts with%s); convert it to one of them or remove it", name, foreign ? foreign : "",
              foreign ? ", " : "", start);
}

bool image_decode(const uint8_t *data, size_t size, const char *name, struct image *image, struct error *err) {
  return decode(data, size, false, name, image, err);
}

bool image_decode_levels(const uint8_t *data, size_t size, const char *name, struct image *image, struct error *err) {
  return decode(data, size, true, name, image, err);
}

static bool read_file(const char *path, bool levels, struct image *image, struct error *err) {
  char *data;
  size_t size;
  *image = (struct image){0};
  if (!file_read(path, max_file_bytes, &data, &size, err)) return false;
  bool ok = decode((const uint8_t *)data, size, levels, path, image, err);
  free(data);
  return ok;
}

bool image_read(const char *path, struct image *image, struct error *err) { return read_file(path, false, image, err); }

bool image_read_levels(const char *path, struct image *image, struct error *err) { return read_file(path, true, image, err); }
