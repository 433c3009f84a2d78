/* Pictures for people: a sheet of paper with lines, text and photographs on it, written as PNG. Over cairo.
 *
 * Lengths are in points of the sheet, y downwards; the PNG has two pixels a point, so that it is sharp on today's screens.
 * Cairo keeps an error until it is asked: sheet_write is where every failure of drawing comes out.
 */
#ifndef EDIY_PROGRAM_DRAW_H
#define EDIY_PROGRAM_DRAW_H

#include <cairo.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct sheet {
  cairo_surface_t *surface;
  cairo_t *cairo;
  double width, height;
};

struct ink {
  double r, g, b, a;
};

extern const struct ink ink_text, ink_faint, ink_grid, ink_white;

/* Eight colours that people with any kind of colour vision can tell apart (Okabe and Ito, "Color Universal Design", 2008); i counts
 * round. */
struct ink ink_of(int i);

enum anchor { ANCHOR_LEFT, ANCHOR_MIDDLE, ANCHOR_RIGHT };

/* A white sheet. Fails where no font is installed: text would silently be missing. */
MUST_CHECK bool sheet_create(struct sheet *s, double width, double height, struct error *err);
MUST_CHECK bool sheet_write(struct sheet *s, const char *path, struct error *err);
void sheet_destroy(struct sheet *s);

/* Text with its baseline at y, of this size; returns its width. */
double draw_text(struct sheet *s, double x, double y, double size, bool bold, enum anchor anchor, struct ink ink, const char *format, ...)
    __attribute__((format(printf, 8, 9)));
/* Text from the left in at most `width`; what does not fit is cut off at the beginning, where a path says least. */
void draw_text_within(struct sheet *s, double x, double y, double size, double width, struct ink ink, const char *text);

void draw_line(struct sheet *s, double x0, double y0, double x1, double y1, double width, struct ink ink);
void draw_frame(struct sheet *s, double x, double y, double width, double height, double line, struct ink ink);
void draw_fill(struct sheet *s, double x, double y, double width, double height, struct ink ink);
void draw_disc(struct sheet *s, double x, double y, double radius, struct ink ink);

/* A line bent to the left by `bend` of its length, with a white halo that keeps it visible on any photograph, and a head at its end. */
void draw_arrow(struct sheet *s, double x0, double y0, double x1, double y1, double bend, double width, struct ink ink);

/* Photographs: rgb is height x width x 3; drawn into the box. Small images show their pixels, large ones are averaged. */
void draw_photograph(struct sheet *s, double x, double y, double box_width, double box_height, const uint8_t *rgb, int height, int width);

#endif
