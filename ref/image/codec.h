/* What image.c asks of the two formats. data starts with the format's first bytes; on failure nothing is left allocated and err is
 * filled. */
#ifndef EDIY_IMAGE_CODEC_H
#define EDIY_IMAGE_CODEC_H

#include "image/image.h"

MUST_CHECK bool image_decode_jpeg(const uint8_t *data, size_t size, const char *name, struct image *image, struct error *err);

/* levels: those of grey samples as they are stored (image_read_levels). */
MUST_CHECK bool image_decode_png(const uint8_t *data, size_t size, bool levels, const char *name, struct image *image, struct error *err);

/* Gives image height x width pixels, uninitialised; fails for no pixels, for more than IMAGE_MAX_PIXELS, and without memory. */
MUST_CHECK bool image_allocate(struct image *image, uint32_t height, uint32_t width, const char *name, struct error *err);

#endif
