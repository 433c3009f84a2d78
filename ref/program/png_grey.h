/* Class maps on disk: 8-bit grey PNG, the class as the grey value, as data sets for segmentation have them. */
#ifndef EDIY_PROGRAM_PNG_GREY_H
#define EDIY_PROGRAM_PNG_GREY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* map: height x width. Whole or not at all. */
MUST_CHECK bool png_grey_write(const char *path, int height, int width, const uint8_t *map, struct error *err);

#endif
