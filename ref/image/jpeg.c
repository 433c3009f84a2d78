/* JPEG, by libjpeg-turbo, with its defaults: the accurate integer IDCT and fancy upsampling, which is what Pillow has. */
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs FILE and size_t */
#include <stdlib.h>

#include <jerror.h>
#include <jpeglib.h>

#include "image/codec.h"

/* A progressive file needs about ten scans, and at most a few hundred; one with thousands of them is an attack on our time. */
enum { MAX_SCANS = 500 };

/* Fewest pixels per byte that cannot be: every 8x8 block of every component takes at least one bit of a Huffman code, and of the components
 * together there is at least one block in 4 x 64 pixels (sampling 4x1 and 1x4). A shorter file is refused before memory is taken for it. */
enum { MAX_PIXELS_PER_BYTE = 8 * 4 * 64 };

/* libjpeg reports errors by a call that must not return. All that is acquired before such a jump is in here, so that it can be released. */
struct reader {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf give_up;
  struct image image;
  uint8_t *row; /* CMYK only */
  const char *name;
  struct error *err;
};

static _Noreturn void on_error(j_common_ptr jpeg) {
  struct reader *r = jpeg->client_data;
  char text[JMSG_LENGTH_MAX];
  jpeg->err->format_message(jpeg, text);
  if (jpeg->err->msg_code == JERR_OUT_OF_MEMORY)
    fail_short(r->err, "%s: no memory to decode it", r->name);
  else
    fail(r->err, "%s: broken JPEG (%s); copy the file again or remove it", r->name, text);
  longjmp(r->give_up, 1);
}

/* A warning means that libjpeg invents pixels from here on (the end is missing, a code is undefined, bytes had to be skipped): we refuse.
 * Two warnings say nothing about the pixels. */
static void on_message(j_common_ptr jpeg, int level) {
  int code = jpeg->err->msg_code;
  if (level < 0 && code != JWRN_JFIF_MAJOR && code != JWRN_ADOBE_XFORM) on_error(jpeg);
}

static void on_progress(j_common_ptr jpeg) {
  struct reader *r = jpeg->client_data;
  if (r->jpeg.input_scan_number <= MAX_SCANS) return;
  fail(r->err, "%s: a JPEG of more than %d scans; write it again as an ordinary JPEG or remove it", r->name, MAX_SCANS);
  longjmp(r->give_up, 1);
}

/* a b / 255, rounded, for bytes (Pillow's MULDIV255). */
static unsigned scale(unsigned a, unsigned b) {
  unsigned t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

/* As Pillow does: CMYK is always taken as Adobe writes it, inverted (s = 255 - ink), and each channel is 255 - K less its ink's share. */
static void cmyk_to_rgb(const uint8_t *s, int width, uint8_t *rgb) {
  for (int x = 0; x < width; x++, s += 4, rgb += 3)
    for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(s[3] - scale(255u - s[c], s[3]));
}

/* All that can jump. */
static bool read_pixels(struct reader *r, const uint8_t *data, size_t size) {
  struct jpeg_decompress_struct *jpeg = &r->jpeg;
  if (setjmp(r->give_up)) return false;
  jpeg_create_decompress(jpeg);
  jpeg->progress = &r->progress;
  jpeg_mem_src(jpeg, data, size);
  jpeg_read_header(jpeg, TRUE);

  int components = jpeg->num_components;
  if (components != 1 && components != 3 && components != 4)
    return fail(r->err, "%s: a JPEG of %d components; only grey, RGB and CMYK are read", r->name, components);
  uint64_t pixels = (uint64_t)jpeg->image_height * jpeg->image_width;
  if (!jpeg->arith_code && pixels / MAX_PIXELS_PER_BYTE > size)
    return fail(r->err, "%s: broken JPEG (%zu bytes for %u x %u pixels); copy the file again or remove it", r->name, size,
                jpeg->image_width, jpeg->image_height);
  if (!image_allocate(&r->image, jpeg->image_height, jpeg->image_width, r->name, r->err)) return false;
  jpeg->out_color_space = components == 4 ? JCS_CMYK : JCS_RGB; /* libjpeg repeats grey, and turns YCCK to CMYK */
  if (components == 4 && !(r->row = malloc((size_t)jpeg->image_width * 4))) return fail_short(r->err, "%s: no memory", r->name);

  jpeg_start_decompress(jpeg);
  while (jpeg->output_scanline < jpeg->output_height) {
    uint8_t *rgb = r->image.rgb + (size_t)jpeg->output_scanline * jpeg->output_width * 3;
    jpeg_read_scanlines(jpeg, &(JSAMPROW){r->row ? r->row : rgb}, 1);
    if (r->row) cmyk_to_rgb(r->row, r->image.width, rgb);
  }
  jpeg_finish_decompress(jpeg); /* reads on to the end marker: a file cut behind its last pixel is noticed too */
  return true;
}

bool image_decode_jpeg(const uint8_t *data, size_t size, const char *name, struct image *image, struct error *err) {
  struct reader r = {.name = name, .err = err};
  r.jpeg.err = jpeg_std_error(&r.errors);
  r.jpeg.client_data = &r;
  r.errors.error_exit = on_error;
  r.errors.emit_message = on_message;
  r.progress.progress_monitor = on_progress;
  bool ok = read_pixels(&r, data, size);
  jpeg_destroy_decompress(&r.jpeg);
  free(r.row);
  if (ok)
    *image = r.image;
  else
    image_free(&r.image);
  return ok;
}
