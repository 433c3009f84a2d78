#include "program/draw.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { PIXELS_A_POINT = 2 };

const struct ink ink_text = {0.13, 0.13, 0.15, 1}, ink_faint = {0.42, 0.43, 0.46, 1}, ink_grid = {0.87, 0.88, 0.90, 1},
                 ink_white = {1, 1, 1, 1};

struct ink ink_of(int i) {
  static const struct ink inks[8] = {{0.00, 0.45, 0.70, 1}, {0.84, 0.37, 0.00, 1}, {0.00, 0.62, 0.45, 1}, {0.80, 0.47, 0.65, 1},
                                     {0.90, 0.62, 0.00, 1}, {0.34, 0.71, 0.91, 1}, {0.94, 0.89, 0.26, 1}, {0.25, 0.25, 0.25, 1}};
  return inks[(unsigned)i % 8];
}

static void use(struct sheet *s, struct ink ink) { cairo_set_source_rgba(s->cairo, ink.r, ink.g, ink.b, ink.a); }

static void use_font(struct sheet *s, double size, bool bold) {
  cairo_select_font_face(s->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL, bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(s->cairo, size);
}

bool sheet_create(struct sheet *s, double width, double height, struct error *err) {
  *s = (struct sheet){.width = width, .height = height};
  s->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(width * PIXELS_A_POINT), (int)ceil(height * PIXELS_A_POINT));
  s->cairo = cairo_create(s->surface);
  cairo_scale(s->cairo, PIXELS_A_POINT, PIXELS_A_POINT);
  use(s, ink_white);
  cairo_paint(s->cairo);
  cairo_set_line_join(s->cairo, CAIRO_LINE_JOIN_ROUND);
  cairo_text_extents_t extents = {0};
  use_font(s, 10, false);
  cairo_text_extents(s->cairo, "x", &extents);
  cairo_status_t status = cairo_status(s->cairo);
  if (status == CAIRO_STATUS_SUCCESS && extents.width > 0) return true;
  sheet_destroy(s);
  if (status != CAIRO_STATUS_SUCCESS)
    return fail(err, "a picture of %.0f x %.0f points: %s", width, height, cairo_status_to_string(status));
  return fail(err, "no font is installed for the text in the picture; install one (Debian: apt-get install fonts-dejavu-core)");
}

struct bytes {
  char *data;
  size_t size, capacity;
};

static cairo_status_t append(void *closure, const unsigned char *data, unsigned int length) {
  struct bytes *b = closure;
  if (b->size + length > b->capacity) {
    size_t capacity = 2 * (b->size + length);
    char *grown = realloc(b->data, capacity);
    if (!grown) return CAIRO_STATUS_NO_MEMORY;
    b->data = grown;
    b->capacity = capacity;
  }
  memcpy(b->data + b->size, data, length);
  b->size += length;
  return CAIRO_STATUS_SUCCESS;
}

bool sheet_write(struct sheet *s, const char *path, struct error *err) {
  struct bytes png = {0};
  cairo_status_t status = cairo_status(s->cairo);
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_write_to_png_stream(s->surface, append, &png);
  bool good = status == CAIRO_STATUS_SUCCESS || fail(err, "%s: drawing failed: %s", path, cairo_status_to_string(status));
  good = good && file_replace(path, png.data, png.size, err);
  free(png.data);
  return good;
}

void sheet_destroy(struct sheet *s) {
  cairo_destroy(s->cairo);
  cairo_surface_destroy(s->surface);
  *s = (struct sheet){0};
}

/* The letter that begins a text, in bytes; 0: none does. Cairo draws nothing more once it was given others. */
static size_t letter(const unsigned char *t) {
  size_t bytes = *t < 0x80 ? 1 : *t >= 0xc2 && *t < 0xe0 ? 2 : *t >= 0xe0 && *t < 0xf0 ? 3 : *t >= 0xf0 && *t < 0xf5 ? 4 : 0;
  uint32_t code = bytes > 1 ? *t & (0x7fu >> bytes) : *t;
  for (size_t i = 1; i < bytes; i++) {
    if ((t[i] & 0xc0) != 0x80) return 0;
    code = code << 6 | (t[i] & 0x3f);
  }
  bool shorter = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000); /* could be written */
  bool none = (code & 0xfffff800) == 0xd800 || (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) == 0xfffe || code > 0x10ffff;
  return shorter || none ? 0 : bytes;
}

/* What a file's name has that is no UTF-8 becomes the replacement character. Cut to `size` bytes. */
static void make_drawable(const char *text, char *drawable, size_t size) {
  size_t at = 0;
  while (*text) {
    size_t bytes = letter((const unsigned char *)text), room = bytes ? bytes : 3;
    if (at + room >= size) break;
    memcpy(drawable + at, bytes ? text : "\xef\xbf\xbd", room);
    at += room, text += bytes ? bytes : 1;
  }
  drawable[at] = 0;
}

double draw_text(struct sheet *s, double x, double y, double size, bool bold, enum anchor anchor, struct ink ink, const char *format, ...) {
  char given[512], text[3 * sizeof given];
  va_list list;
  va_start(list, format);
  vsnprintf(given, sizeof given, format, list);
  va_end(list);
  make_drawable(given, text, sizeof text);
  cairo_text_extents_t extents;
  use_font(s, size, bold);
  use(s, ink);
  cairo_text_extents(s->cairo, text, &extents);
  double left = anchor == ANCHOR_LEFT ? 0 : anchor == ANCHOR_MIDDLE ? extents.x_advance / 2 : extents.x_advance;
  cairo_move_to(s->cairo, x - left, y);
  cairo_show_text(s->cairo, text);
  return extents.x_advance;
}

void draw_text_within(struct sheet *s, double x, double y, double size, double width, struct ink ink, const char *given) {
  cairo_text_extents_t extents;
  char cut[512], text[3 * FILE_PATH_SIZE];
  make_drawable(given, text, sizeof text);
  use_font(s, size, false);
  cairo_text_extents(s->cairo, text, &extents);
  bool whole = extents.x_advance <= width;
  for (const char *rest = text; !whole && *rest && extents.x_advance > width; rest++) {
    if (((unsigned char)rest[1] & 0xc0) == 0x80) continue; /* not in the middle of a UTF-8 character */
    snprintf(cut, sizeof cut, "...%s", rest + 1);
    cairo_text_extents(s->cairo, cut, &extents);
  }
  draw_text(s, x, y, size, false, ANCHOR_LEFT, ink, "%s", whole ? text : cut);
}

void draw_line(struct sheet *s, double x0, double y0, double x1, double y1, double width, struct ink ink) {
  use(s, ink);
  cairo_set_line_width(s->cairo, width);
  cairo_move_to(s->cairo, x0, y0);
  cairo_line_to(s->cairo, x1, y1);
  cairo_stroke(s->cairo);
}

void draw_frame(struct sheet *s, double x, double y, double width, double height, double line, struct ink ink) {
  use(s, ink);
  cairo_set_line_width(s->cairo, line);
  cairo_rectangle(s->cairo, x, y, width, height);
  cairo_stroke(s->cairo);
}

void draw_fill(struct sheet *s, double x, double y, double width, double height, struct ink ink) {
  use(s, ink);
  cairo_rectangle(s->cairo, x, y, width, height);
  cairo_fill(s->cairo);
}

void draw_disc(struct sheet *s, double x, double y, double radius, struct ink ink) {
  use(s, ink);
  cairo_new_sub_path(s->cairo);
  cairo_arc(s->cairo, x, y, radius, 0, 2 * acos(-1.0));
  cairo_fill(s->cairo);
}

static void arrow_shaft(struct sheet *s, double x0, double y0, double cx, double cy, double x1, double y1) {
  cairo_move_to(s->cairo, x0, y0); /* the quadratic curve through control point c, as a cubic one */
  cairo_curve_to(s->cairo, x0 + (cx - x0) * 2 / 3, y0 + (cy - y0) * 2 / 3, x1 + (cx - x1) * 2 / 3, y1 + (cy - y1) * 2 / 3, x1, y1);
}

static void arrow_head(struct sheet *s, double x, double y, double ux, double uy, double length) {
  cairo_move_to(s->cairo, x, y);
  cairo_line_to(s->cairo, x - length * ux + 0.45 * length * uy, y - length * uy - 0.45 * length * ux);
  cairo_line_to(s->cairo, x - length * ux - 0.45 * length * uy, y - length * uy + 0.45 * length * ux);
  cairo_close_path(s->cairo);
}

void draw_arrow(struct sheet *s, double x0, double y0, double x1, double y1, double bend, double width, struct ink ink) {
  double dx = x1 - x0, dy = y1 - y0, length = hypot(dx, dy);
  if (length < 1e-6) return;
  double cx = (x0 + x1) / 2 + bend * dy, cy = (y0 + y1) / 2 - bend * dx;
  double ex = x1 - cx, ey = y1 - cy, e = hypot(ex, ey), ux = ex / e, uy = ey / e; /* direction at the end */
  double head = fmin(5 * width, 0.5 * length);
  double sx = x1 - 0.8 * head * ux, sy = y1 - 0.8 * head * uy; /* where the shaft ends, inside the head */
  for (int halo = 1; halo >= 0; halo--) {
    double wide = halo ? width + 1.8 : width;
    use(s, halo ? (struct ink){1, 1, 1, 0.9} : ink);
    cairo_set_line_width(s->cairo, wide);
    arrow_shaft(s, x0, y0, cx, cy, sx, sy);
    cairo_stroke(s->cairo);
    arrow_head(s, x1, y1, ux, uy, head);
    if (halo) {
      cairo_set_line_width(s->cairo, 1.8);
      cairo_stroke(s->cairo);
    } else {
      cairo_fill(s->cairo);
    }
  }
}

/* Longest side of a picture that cairo takes over. Of a longer one every second, third, ... pixel is taken: on the sheet it is a line. */
enum { LONGEST = 32767 };

void draw_photograph(struct sheet *s, double x, double y, double box_width, double box_height, const uint8_t *rgb, int full_height,
                     int full_width) {
  int step_down = 1 + (full_height - 1) / LONGEST, step_across = 1 + (full_width - 1) / LONGEST;
  int height = (full_height - 1) / step_down + 1, width = (full_width - 1) / step_across + 1;
  cairo_surface_t *photograph = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
  unsigned char *data = cairo_image_surface_get_data(photograph);
  if (data) {
    int stride = cairo_image_surface_get_stride(photograph);
    cairo_surface_flush(photograph);
    for (int row = 0; row < height; row++) {
      for (int column = 0; column < width; column++) { /* cairo's pixel is a native 32-bit word, red in bits 16 to 23 */
        const uint8_t *p = rgb + 3 * ((ptrdiff_t)row * step_down * full_width + (ptrdiff_t)column * step_across);
        uint32_t word = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        memcpy(data + (ptrdiff_t)row * stride + 4 * (ptrdiff_t)column, &word, sizeof word);
      }
    }
    cairo_surface_mark_dirty(photograph);
  }
  cairo_save(s->cairo);
  cairo_rectangle(s->cairo, x, y, box_width, box_height);
  cairo_clip(s->cairo);
  cairo_translate(s->cairo, x, y);
  cairo_scale(s->cairo, box_width / width, box_height / height);
  cairo_set_source_surface(s->cairo, photograph, 0, 0);
  bool enlarged = box_width * PIXELS_A_POINT >= 2 * width;
  cairo_pattern_set_filter(cairo_get_source(s->cairo), enlarged ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD);
  cairo_pattern_set_extend(cairo_get_source(s->cairo), CAIRO_EXTEND_PAD);
  cairo_paint(s->cairo);
  cairo_restore(s->cairo);
  cairo_surface_destroy(photograph);
}
