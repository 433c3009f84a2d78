/* PNG files made here, of every kind the format has, against the pixels that went in; and files that must be refused. */
#define _GNU_SOURCE /* P_tmpdir */
#include <png.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image/image.h"
#include "image/short_memory.h"
#include "support/cmocka.h"
#include "support/folder.h"
#include "support/support.h"

struct bytes {
  uint8_t *data;
  size_t size;
};

static void append(png_structp png, png_bytep from, size_t count) {
  struct bytes *b = png_get_io_ptr(png);
  b->data = realloc(b->data, b->size + count);
  if (!b->data) abort();
  memcpy(b->data + b->size, from, count);
  b->size += count;
}

static void flush(png_structp png) { (void)png; }

static int channels_of(int type) {
  return (type & PNG_COLOR_MASK_COLOR && type != PNG_COLOR_TYPE_PALETTE ? 3 : 1) + (type & PNG_COLOR_MASK_ALPHA ? 1 : 0);
}

/* sample: height x width x channels values of `bits` bits. palette: 2^bits entries, for PNG_COLOR_TYPE_PALETTE. */
static struct bytes encode(int height, int width, int bits, int type, bool interlaced, bool transparency, const uint16_t *sample,
                           const png_color *palette) {
  struct bytes b = {0};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
  png_infop info = png_create_info_struct(png);
  if (setjmp(png_jmpbuf(png))) abort();
  png_set_write_fn(png, &b, append, flush);
  png_set_IHDR(png, info, (uint32_t)width, (uint32_t)height, bits, type, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 1 << bits);
  if (transparency) png_set_tRNS(png, info, (png_byte[]){0, 128}, 2, &(png_color_16){.gray = 1, .red = 1, .green = 1, .blue = 1});
  png_write_info(png, info);
  int channels = channels_of(type);
  size_t row_bytes = ((size_t)width * (size_t)channels * (size_t)bits + 7) / 8;
  uint8_t *packed = calloc((size_t)height, row_bytes);
  png_bytep *rows = calloc((size_t)height, sizeof *rows);
  if (!packed || !rows) abort();
  for (int y = 0; y < height; y++) {
    rows[y] = packed + (size_t)y * row_bytes;
    for (int i = 0; i < width * channels; i++) {
      unsigned v = sample[y * width * channels + i];
      if (bits == 16)
        rows[y][2 * i] = (uint8_t)(v >> 8), rows[y][2 * i + 1] = (uint8_t)v;
      else
        rows[y][i * bits / 8] |= (uint8_t)(v << (8 - bits - i * bits % 8));
    }
  }
  png_write_image(png, rows);
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  free(packed), free(rows);
  return b;
}

/* In a block of exactly its size, so that a sanitizer sees a byte read too many. */
static bool decode(const uint8_t *data, size_t size, struct image *image, struct error *err) {
  uint8_t *copy = malloc(size ? size : 1);
  if (!copy) abort();
  memcpy(copy, data, size);
  bool ok = image_decode(copy, size, "sample.png", image, err);
  free(copy);
  return ok;
}

static const struct {
  int type, bits;
} kind[] = {{PNG_COLOR_TYPE_GRAY, 1},        {PNG_COLOR_TYPE_GRAY, 2},      {PNG_COLOR_TYPE_GRAY, 4},      {PNG_COLOR_TYPE_GRAY, 8},
            {PNG_COLOR_TYPE_GRAY, 16},       {PNG_COLOR_TYPE_RGB, 8},       {PNG_COLOR_TYPE_RGB, 16},      {PNG_COLOR_TYPE_PALETTE, 1},
            {PNG_COLOR_TYPE_PALETTE, 2},     {PNG_COLOR_TYPE_PALETTE, 4},   {PNG_COLOR_TYPE_PALETTE, 8},   {PNG_COLOR_TYPE_GRAY_ALPHA, 8},
            {PNG_COLOR_TYPE_GRAY_ALPHA, 16}, {PNG_COLOR_TYPE_RGB_ALPHA, 8}, {PNG_COLOR_TYPE_RGB_ALPHA, 16}};
enum { KINDS = sizeof kind / sizeof kind[0] };

static png_color palette[256];
static void make_palette(void) {
  struct philox g = philox_stream(1, PHILOX_TEST, 4, 0, 0);
  for (int i = 0; i < 256; i++)
    palette[i] = (png_color){(png_byte)philox_below(&g, 256), (png_byte)philox_below(&g, 256), (png_byte)philox_below(&g, 256)};
}

static uint16_t *random_samples(int n, int bits, uint32_t stream) {
  uint16_t *sample = calloc((size_t)n, sizeof *sample);
  if (!sample) abort();
  struct philox g = philox_stream(1, PHILOX_TEST, 5, stream, 0);
  for (int i = 0; i < n; i++) sample[i] = (uint16_t)philox_below(&g, 1u << bits);
  return sample;
}

/* Short samples are spread over 0..255, of 16 bits the high byte stays, alpha and transparency go. */
static void every_kind_is_exact(void **state) {
  (void)state;
  static const int size[][2] = {{1, 1}, {3, 5}, {9, 17}, {20, 8}};
  make_palette();
  for (int k = 0; k < KINDS * 16; k++) {
    int type = kind[k / 16].type, bits = kind[k / 16].bits, h = size[k % 4][0], w = size[k % 4][1], channels = channels_of(type);
    bool transparency = k / 8 % 2 && !(type & PNG_COLOR_MASK_ALPHA);
    uint16_t *sample = random_samples(h * w * channels, bits, (uint32_t)k);
    struct bytes file = encode(h, w, bits, type, k / 4 % 2, transparency, sample, palette);
    struct image image;
    struct error err;
    if (!decode(file.data, file.size, &image, &err)) fail_msg("%s", err.text);
    assert_true(image.height == h && image.width == w);
    for (int i = 0; i < h * w; i++)
      for (int c = 0; c < 3; c++) {
        int v = sample[i * channels + (channels >= 3 ? c : 0)], want = bits == 16 ? v >> 8 : v * 255 / ((1 << bits) - 1);
        if (type == PNG_COLOR_TYPE_PALETTE) want = c == 0 ? palette[v].red : c == 1 ? palette[v].green : palette[v].blue;
        if (image.rgb[3 * i + c] != want)
          fail_msg("type %d, %d bits: channel %d of pixel %d is %d, expected %d", type, bits, c, i, image.rgb[3 * i + c], want);
      }
    image_free(&image);
    assert_null(image.rgb);
    free(sample), free(file.data);
  }
}

/* Of 16 bits, too, where the level fits into 8; colours are as ever. */
static void levels_of_a_map_are_as_stored(void **state) {
  (void)state;
  make_palette();
  for (int k = 0; k < KINDS * 4; k++) {
    int type = kind[k / 4].type, bits = kind[k / 4].bits, channels = channels_of(type);
    bool grey = !(type & PNG_COLOR_MASK_COLOR);
    uint16_t *sample = random_samples(9 * 17 * channels, bits < 8 ? bits : 8, (uint32_t)k);
    struct bytes file = encode(9, 17, bits, type, k % 2, k / 2 % 2 && !(type & PNG_COLOR_MASK_ALPHA), sample, palette);
    struct image map, image;
    struct error err;
    if (!grey && bits == 16) {
      assert_false(image_decode_levels(file.data, file.size, "map.png", &map, &err));
      assert_non_null(strstr(err.text, "map.png: colours of 16 bits"));
    } else {
      assert_true(image_decode_levels(file.data, file.size, "map.png", &map, &err));
      assert_true(map.height == 9 && map.width == 17 && decode(file.data, file.size, &image, &err));
      for (int i = 0; i < 9 * 17 * 3; i++)
        if (map.rgb[i] != (grey ? sample[i / 3 * channels] : image.rgb[i]))
          fail_msg("type %d, %d bits: level %d is %d, stored is %d", type, bits, i, map.rgb[i], sample[i / 3 * channels]);
      image_free(&map), image_free(&image);
    }
    free(sample), free(file.data);
  }
  uint16_t sample[6] = {0, 255, 3, 1, 256, 2}; /* 2 rows of 3 */
  struct bytes file = encode(2, 3, 16, PNG_COLOR_TYPE_GRAY, false, false, sample, palette);
  struct image map;
  struct error err;
  assert_false(image_decode_levels(file.data, file.size, "map.png", &map, &err));
  assert_true(strstr(err.text, "map.png: level 256 at row 1, column 1") && strstr(err.text, "save it as 8-bit grey") && !map.rgb);
  free(file.data);
}

static void a_file_cut_anywhere_is_refused(void **state) {
  (void)state;
  make_palette();
  for (int k = 0; k < KINDS * 2; k++) {
    uint16_t *sample = random_samples(9 * 7 * 4, kind[k / 2].bits, (uint32_t)k);
    struct bytes file = encode(9, 7, kind[k / 2].bits, kind[k / 2].type, k % 2, false, sample, palette);
    for (size_t size = 0; size < file.size; size++) {
      struct image image;
      struct error err = {0};
      if (decode(file.data, size, &image, &err)) fail_msg("%zu of %zu bytes were enough", size, file.size);
      assert_true(image.rgb == NULL && strstr(err.text, "sample.png") && !strchr(err.text, '\n'));
    }
    free(sample), free(file.data);
  }
}

/* Every chunk has a checksum: a changed byte is either refused or outside the pixels. */
static void a_changed_byte_never_changes_a_pixel(void **state) {
  (void)state;
  make_palette();
  uint16_t *sample = random_samples(9 * 7 * 4, 8, 1);
  struct bytes file = encode(9, 7, 8, PNG_COLOR_TYPE_RGB, true, true, sample, palette);
  struct image good, image;
  struct error err;
  assert_true(decode(file.data, file.size, &good, &err));
  for (size_t at = 0; at < file.size; at++) {
    file.data[at] ^= 0x20;
    if (decode(file.data, file.size, &image, &err)) {
      assert_true(image.height == 9 && image.width == 7);
      assert_memory_equal(image.rgb, good.rgb, 9 * 7 * 3);
      image_free(&image);
    }
    file.data[at] ^= 0x20;
  }
  image_free(&good);
  free(sample), free(file.data);
}

/* A header that promises more than allowed, or more than its bytes can hold, costs no memory. */
static void a_promise_of_too_many_pixels_is_refused(void **state) {
  (void)state;
  static const uint32_t side[][2] = {{20000, 20000}, {0x7fffffff, 1}, {1, 0x7fffffff}, {13000, 13000}, {0, 5}, {5, 0}};
  uint16_t sample = 0;
  for (size_t k = 0; k < sizeof side / sizeof side[0]; k++) {
    struct bytes file = encode(1, 1, 8, PNG_COLOR_TYPE_GRAY, false, false, &sample, palette);
    for (int i = 0; i < 4; i++) /* IHDR: width at byte 16, height at 20, checksum of bytes 12..28 at 29 */
      file.data[16 + i] = (uint8_t)(side[k][1] >> (24 - 8 * i)), file.data[20 + i] = (uint8_t)(side[k][0] >> (24 - 8 * i));
    uint32_t crc = ~0u;
    for (int i = 12; i < 29; i++) {
      crc ^= file.data[i];
      for (int b = 0; b < 8; b++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    for (int i = 0; i < 4; i++) file.data[29 + i] = (uint8_t)(~crc >> (24 - 8 * i));
    struct image image;
    struct error err = {0};
    assert_false(decode(file.data, file.size, &image, &err));
    assert_non_null(strstr(err.text, "sample.png: "));
    if (side[k][0] == 13000) assert_non_null(strstr(err.text, " bytes for 13000 x 13000 pixels")); /* allowed, were there bytes for them */
    if (k == 0) { /* 400 million pixels are 400 MB of rows, for which 400 kB could be enough: the number itself is refused */
      file.data = realloc(file.data, 400000);
      if (!file.data) abort();
      memset(file.data + file.size, 0, 400000 - file.size);
      assert_false(decode(file.data, 400000, &image, &err));
      assert_non_null(strstr(err.text, "allowed"));
    }
    free(file.data);
  }
}

static void other_files_are_refused_by_their_first_bytes(void **state) {
  (void)state;
  static const struct {
    const char *data, *says;
  } other[] = {{"", "empty"},
               {"GIF89a", "sample.png: a GIF image, neither JPEG nor PNG (starts with 47 49 46 38 39 61)"},
               {"RIFF....WEBPVP8 ", "sample.png: a WebP image, neither"},
               {"....ftypavif....", "sample.png: an AVIF image, neither"},
               {"x", "sample.png: neither JPEG nor PNG (starts with 78)"},
               {"BMW is a name", "sample.png: neither JPEG nor PNG"},
               {"\x89PN", "neither JPEG nor PNG"},
               {"\xff\xd8", "neither"}};
  for (size_t k = 0; k < sizeof other / sizeof other[0]; k++) {
    struct image image;
    struct error err = {0};
    assert_false(decode((const uint8_t *)other[k].data, strlen(other[k].data), &image, &err));
    if (!strstr(err.text, other[k].says) || !strstr(err.text, "sample.png")) fail_msg("%s", err.text);
  }
}

static void what_is_written_is_read_back(void **state) {
  (void)state;
  char folder[FOLDER_PATH], path[IN_FOLDER_PATH], missing[IN_FOLDER_PATH];
  folder_make(folder);
  snprintf(path, sizeof path, "%s/view.png", folder);
  snprintf(missing, sizeof missing, "%s/none/view.png", folder);
  struct image image = {.height = 31, .width = 43, .rgb = calloc(31 * 43, 3)}, back;
  struct error err = {0};
  struct philox g = philox_stream(1, PHILOX_TEST, 6, 0, 0);
  for (int i = 0; i < 31 * 43 * 3; i++) image.rgb[i] = (uint8_t)philox_below(&g, 256);
  if (!image_write_png(path, &image, &err) || !image_read(path, &back, &err)) fail_msg("%s", err.text);
  assert_true(back.height == 31 && back.width == 43);
  assert_memory_equal(back.rgb, image.rgb, 31 * 43 * 3);
  image_free(&back);
  assert_false(image_write_png(path, &(struct image){.rgb = image.rgb}, &err)); /* no pixels: libpng refuses, the file stays as it was */
  if (!image_read(path, &back, &err)) fail_msg("%s", err.text);
  image_free(&back);
  assert_false(image_write_png(missing, &image, &err));
  assert_non_null(strstr(err.text, "none"));
  assert_false(image_read(missing, &back, &err));
  assert_null(back.rgb);
  image_free(&image);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rmdir(folder), 0); /* nothing else was left in it */
}

/* libpng takes memory for two rows beside the pixels. */
static void too_little_memory_is_no_broken_file(void **state) {
  (void)state;
  enum { HEIGHT = 4, WIDTH = 100000 };
  keep_no_memory();
  uint16_t *sample = calloc((size_t)HEIGHT * WIDTH * 3, sizeof *sample);
  assert_non_null(sample);
  struct bytes file = encode(HEIGHT, WIDTH, 8, PNG_COLOR_TYPE_RGB, false, false, sample, palette);
  a_good_file_is_never_broken(file.data, file.size, (size_t)HEIGHT * WIDTH);
  free(file.data), free(sample);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_kind_is_exact),
      cmocka_unit_test(levels_of_a_map_are_as_stored),
      cmocka_unit_test(a_file_cut_anywhere_is_refused),
      cmocka_unit_test(a_changed_byte_never_changes_a_pixel),
      cmocka_unit_test(a_promise_of_too_many_pixels_is_refused),
      cmocka_unit_test(too_little_memory_is_no_broken_file),
      cmocka_unit_test(other_files_are_refused_by_their_first_bytes),
      cmocka_unit_test(what_is_written_is_read_back),
  };
  return cmocka_run_group_tests_name("png", tests, NULL, NULL);
}
