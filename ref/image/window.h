/* The part of an image that a view reads, as an image of its own: what is handed to a machine that computes views (augment_item). */
#ifndef EDIY_IMAGE_WINDOW_H
#define EDIY_IMAGE_WINDOW_H

#include "image/augment.h"

/* Bytes of the window. */
size_t window_bytes(const struct view *v);

/* Whether it is at most AUGMENT_WINDOW times the view's size each way, and has no more bytes than the finished view as floats. */
bool window_is_small(const struct view *v);

/* Copies the window out of an image of this width to `to`. Returns the view that has the same bits of what is there. */
struct view window_take(const struct view *v, const uint8_t *rgb, int width, uint8_t *to);

#endif
