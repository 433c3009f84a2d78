/* PNG, by libpng.
 *
 * The bytes are Pillow's convert("RGB"), with one exception: of 16-bit samples the high byte is kept, grey or not. Pillow does so for
 * colour, but clips 16-bit grey at 255, which turns all but the darkest pixels white. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "base/file.h"
#include "image/codec.h"

/* Deflate makes at most 1032 bytes of one. A shorter file is refused before memory is taken for it. */
enum { MAX_BYTES_PER_BYTE = 1032 };

/* libpng reports errors by a call that must not return. All that is acquired before such a jump is in here, so that it can be released. */
struct reader {
  png_structp png;
  png_infop info;
  struct image image;
  png_bytep *rows;
  const uint8_t *data;
  size_t size, at;
  bool levels;    /* grey samples are numbers, not shades */
  bool no_memory; /* libpng has asked for some and got none */
  const char *name;
  struct error *err;
};

static _Noreturn void on_read_error(png_structp png, const char *text) {
  struct reader *r = png_get_error_ptr(png);
  if (r->no_memory)
    fail_short(r->err, "%s: no memory to decode it", r->name);
  else
    fail(r->err, "%s: broken PNG (%s); copy the file again or remove it", r->name, text);
  png_longjmp(png, 1);
}

/* libpng warns of oddities beside the pixels (colour profiles, text, times). */
static void on_warning(png_structp png, const char *text) { (void)png, (void)text; }

/* For libpng and for zlib below it: their errors have no code by which a want of memory could be told. */
static png_voidp take_memory(png_structp png, png_alloc_size_t size) {
  struct reader *r = png_get_mem_ptr(png);
  void *memory = malloc(size);
  if (!memory) r->no_memory = true;
  return memory;
}

static void give_memory(png_structp png, png_voidp memory) {
  (void)png;
  free(memory);
}

static void read_bytes(png_structp png, png_bytep to, size_t count) {
  struct reader *r = png_get_io_ptr(png);
  if (count > r->size - r->at) png_error(png, "it ends too early");
  memcpy(to, r->data + r->at, count);
  r->at += count;
}

static int level_at(const png_byte *row, int x, int bits) {
  return bits == 16 ? row[2 * (ptrdiff_t)x] << 8 | row[2 * (ptrdiff_t)x + 1] : row[x];
}

/* Samples of 8 or 16 bits at the beginning of each row become its pixels: from the last one on, since a pixel is longer than a sample. */
static bool spread_levels(struct reader *r, int bits) {
  for (int y = 0; y < r->image.height; y++) {
    png_bytep row = r->rows[y];
    for (int x = 0; x < r->image.width; x++)
      if (level_at(row, x, bits) > UINT8_MAX)
        return fail(r->err, "%s: level %d at row %d, column %d; levels of a map are 0 to 255: save it as 8-bit grey", r->name,
                    level_at(row, x, bits), y, x);
    for (int x = r->image.width - 1; x >= 0; x--) memset(row + (ptrdiff_t)x * 3, level_at(row, x, bits), 3);
  }
  return true;
}

/* All that can jump. */
static bool read_pixels(struct reader *r) {
  png_structp png = r->png;
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_read_fn(png, r, read_bytes);
  png_set_user_limits(png, IMAGE_MAX_PIXELS, IMAGE_MAX_PIXELS); /* a side; image_allocate looks at the product */
  png_read_info(png, r->info);

  uint32_t height = png_get_image_height(png, r->info), width = png_get_image_width(png, r->info);
  if ((uint64_t)height * png_get_rowbytes(png, r->info) / MAX_BYTES_PER_BYTE > r->size)
    return fail(r->err, "%s: broken PNG (%zu bytes for %u x %u pixels); copy the file again or remove it", r->name, r->size, width, height);

  int type = png_get_color_type(png, r->info);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  int bits = png_get_bit_depth(png, r->info);
  bool grey = !(type & PNG_COLOR_MASK_COLOR), levels = grey && r->levels;
  if (r->levels && !grey && bits == 16)
    return fail(r->err, "%s: colours of 16 bits, whose levels would be cut; save the map as 8-bit grey", r->name);
  png_set_strip_alpha(png); /* also the alpha that transparency in a palette gives */
  if (!levels) png_set_strip_16(png);
  if (levels) png_set_packing(png);              /* 1, 2 and 4 bits as they are, each in a byte */
  if (grey && !levels) png_set_gray_to_rgb(png); /* spreads 1, 2 and 4 bits over 0..255 too */
  png_set_interlace_handling(png);
  png_read_update_info(png, r->info);
  if (png_get_rowbytes(png, r->info) != (size_t)width * (levels ? (bits == 16 ? 2 : 1) : 3))
    return fail(r->err, "%s: a PNG of an unknown kind of pixels; write it again as 8-bit RGB", r->name);

  if (!image_allocate(&r->image, height, width, r->name, r->err)) return false;
  r->rows = malloc(height * sizeof *r->rows);
  if (!r->rows) return fail_short(r->err, "%s: no memory", r->name);
  for (uint32_t y = 0; y < height; y++) r->rows[y] = r->image.rgb + (size_t)y * width * 3;
  png_read_image(png, r->rows);
  png_read_end(png, NULL); /* a file cut behind its last pixel is noticed too */
  return !levels || spread_levels(r, bits == 16 ? 16 : 8);
}

bool image_decode_png(const uint8_t *data, size_t size, bool levels, const char *name, struct image *image, struct error *err) {
  struct reader r = {.data = data, .size = size, .levels = levels, .name = name, .err = err};
  r.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &r, on_read_error, on_warning, &r, take_memory, give_memory);
  r.info = r.png ? png_create_info_struct(r.png) : NULL;
  bool ok = r.info ? read_pixels(&r) : fail_short(err, "%s: no memory", name);
  png_destroy_read_struct(&r.png, &r.info, NULL);
  free(r.rows);
  if (ok)
    *image = r.image;
  else
    image_free(&r.image);
  return ok;
}

/* ---- writing --------------------------------------------------------------------------------------------------------------------------*/

struct writer {
  png_structp png;
  png_infop info;
  struct file_writer file;
  const char *path;
  struct error *err;
  bool explained; /* err says already why a write failed */
};

static _Noreturn void on_write_error(png_structp png, const char *text) {
  struct writer *w = png_get_error_ptr(png);
  if (!w->explained) fail(w->err, "%s: cannot write PNG (%s)", w->path, text);
  png_longjmp(png, 1);
}

static void write_bytes(png_structp png, png_bytep from, size_t count) {
  struct writer *w = png_get_io_ptr(png);
  if (file_write(&w->file, from, count, w->err)) return;
  w->explained = true;
  png_error(png, "write");
}

static void flush_bytes(png_structp png) { (void)png; }

/* All that can jump. */
static bool write_pixels(struct writer *w, const struct image *image) {
  png_structp png = w->png;
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_write_fn(png, w, write_bytes, flush_bytes);
  png_set_user_limits(png, IMAGE_MAX_PIXELS, IMAGE_MAX_PIXELS);
  png_set_IHDR(png, w->info, (uint32_t)image->width, (uint32_t)image->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, w->info);
  for (int y = 0; y < image->height; y++) png_write_row(png, image->rgb + (size_t)y * (size_t)image->width * 3);
  png_write_end(png, w->info);
  return true;
}

bool image_write_png(const char *path, const struct image *image, struct error *err) {
  struct writer w = {.path = path, .err = err};
  if (!file_create(&w.file, path, err)) return false;
  w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, on_write_error, on_warning);
  w.info = w.png ? png_create_info_struct(w.png) : NULL;
  bool ok = w.info ? write_pixels(&w, image) : fail(err, "%s: no memory", path);
  png_destroy_write_struct(&w.png, &w.info);
  if (ok) return file_commit(&w.file, err);
  if (!w.explained) file_abandon(&w.file); /* file_write has removed it itself */
  return false;
}
