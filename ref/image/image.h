/* Images on disk and in memory: 8-bit RGB, row-major, three bytes a pixel. */
#ifndef EDIY_IMAGE_IMAGE_H
#define EDIY_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct image {
  int height, width;
  uint8_t *rgb; /* height * width * 3, owned: image_free */
};

enum { IMAGE_MAX_PIXELS = 178956970 }; /* Pillow's limit against decompression bombs; more is refused */

void image_free(struct image *image);

/* Reads a JPEG or PNG file by its first bytes, whatever its name says. The bytes are those Pillow's Image.open(f).convert("RGB") gives:
 * JPEG with the accurate integer IDCT and fancy upsampling, grey repeated, CMYK and YCCK (Adobe's inverted) converted as Pillow does, no
 * EXIF rotation; PNG of 1/2/4/8/16 bit, grey, palette, alpha (dropped), interlaced. One exception: of 16-bit grey the high byte is kept, as
 * Pillow does for 16-bit colour, where Pillow clips at 255. Fails for anything else, for a truncated file (also
 * where libjpeg would only warn), for 0 or more than IMAGE_MAX_PIXELS pixels. */
MUST_CHECK bool image_read(const char *path, struct image *image, struct error *err);

/* The same from memory; name is for messages. */
MUST_CHECK bool image_decode(const uint8_t *data, size_t size, const char *name, struct image *image, struct error *err);

/* Reads a map of class numbers: as image_read, but the level of a grey PNG is the number that is stored, not spread over 0..255 where it
 * has 1, 2 or 4 bits, and not cut where it has 16. Fails besides for a grey level above 255, and for colours of 16 bits. */
MUST_CHECK bool image_read_levels(const char *path, struct image *image, struct error *err);
MUST_CHECK bool image_decode_levels(const uint8_t *data, size_t size, const char *name, struct image *image, struct error *err);

/* "a WebP image": what a file that begins with these bytes is, 12 of them or more, where it is an image and not read here; else null. */
const char *image_foreign(const uint8_t *start, size_t size);

/* Writes an RGB PNG, whole or not at all. */
MUST_CHECK bool image_write_png(const char *path, const struct image *image, struct error *err);

#endif
