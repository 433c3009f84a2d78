/* JPEG files made here against what the standards say their pixels are; and files that must be refused. */
#include <stdio.h> /* jpeglib.h needs FILE */
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "image/image.h"
#include "image/short_memory.h"
#include "support/cmocka.h"
#include "support/support.h"

struct bytes {
  unsigned char *data;
  unsigned long size;
};

enum { PROGRESSIVE = 1, NO_ADOBE = 2, ONE_BY_ONE = 4 /* one scan for each component */ };

struct kind {
  int height, width, components;
  J_COLOR_SPACE space; /* of the samples, stored as they are */
  int h, v;            /* sampling of the first component; the others have 1 x 1 */
  int quality;         /* 100: every quantiser is 1, and a flat block is exact */
  unsigned how;
};

static struct bytes encode(const struct kind *k, const uint8_t *sample) {
  struct bytes b = {0};
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr errors;
  static const jpeg_scan_info scans[] = {{1, {0}, 0, 63, 0, 0}, {1, {1}, 0, 63, 0, 0}, {1, {2}, 0, 63, 0, 0}, {1, {3}, 0, 63, 0, 0}};
  c.err = jpeg_std_error(&errors);
  jpeg_create_compress(&c);
  jpeg_mem_dest(&c, &b.data, &b.size);
  c.image_height = (JDIMENSION)k->height, c.image_width = (JDIMENSION)k->width, c.input_components = k->components;
  c.in_color_space = k->space;
  jpeg_set_defaults(&c);
  jpeg_set_colorspace(&c, k->space);
  jpeg_set_quality(&c, k->quality, TRUE);
  if (k->how & PROGRESSIVE) jpeg_simple_progression(&c);
  if (k->how & ONE_BY_ONE) c.scan_info = scans, c.num_scans = k->components;
  if (k->how & NO_ADOBE) c.write_Adobe_marker = FALSE;
  for (int i = 0; i < k->components; i++) c.comp_info[i].h_samp_factor = c.comp_info[i].v_samp_factor = 1;
  c.comp_info[0].h_samp_factor = k->h, c.comp_info[0].v_samp_factor = k->v;
  jpeg_start_compress(&c, TRUE);
  uint8_t *row = malloc((size_t)k->width * (size_t)k->components);
  if (!row) abort();
  while (c.next_scanline < c.image_height) {
    memcpy(row, sample + (size_t)c.next_scanline * (size_t)k->width * (size_t)k->components, (size_t)k->width * (size_t)k->components);
    jpeg_write_scanlines(&c, &(JSAMPROW){row}, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
  free(row);
  return b;
}

/* In a block of exactly its size, so that a sanitizer sees a byte read too many. */
static bool decode(const uint8_t *data, size_t size, struct image *image, struct error *err) {
  uint8_t *copy = malloc(size ? size : 1);
  if (!copy) abort();
  memcpy(copy, data, size);
  bool ok = image_decode(copy, size, "sample.jpg", image, err);
  free(copy);
  return ok;
}

static struct image decoded(struct bytes file, const struct kind *k) {
  struct image image;
  struct error err;
  if (!decode(file.data, file.size, &image, &err)) fail_msg("%s", err.text);
  assert_true(image.height == k->height && image.width == k->width);
  free(file.data);
  return image;
}

static struct image flat(struct kind k, const uint8_t value[4]) {
  uint8_t *sample = malloc((size_t)k.height * (size_t)k.width * (size_t)k.components);
  if (!sample) abort();
  for (int i = 0; i < k.height * k.width * k.components; i++) sample[i] = value[i % k.components];
  struct image image = decoded(encode(&k, sample), &k);
  free(sample);
  return image;
}

static uint8_t *noise(const struct kind *k, uint32_t stream) {
  int n = k->height * k->width * k->components;
  uint8_t *sample = malloc((size_t)n);
  if (!sample) abort();
  struct philox g = philox_stream(1, PHILOX_TEST, 7, stream, 0);
  for (int i = 0; i < n; i++) sample[i] = (uint8_t)philox_below(&g, 256);
  return sample;
}

static double clip255(double x) { return fmin(255, fmax(0, x)); }

/* JFIF 1.02, section "color space". */
static void jfif_rgb(const double ycc[3], double rgb[3]) {
  rgb[0] = clip255(ycc[0] + 1.402 * (ycc[2] - 128));
  rgb[1] = clip255(ycc[0] - 0.344136 * (ycc[1] - 128) - 0.714136 * (ycc[2] - 128));
  rgb[2] = clip255(ycc[0] + 1.772 * (ycc[1] - 128));
}

static const struct { int h, w; } size[] = {{1, 1}, {8, 16}, {17, 9}, {33, 50}};
enum { SIZES = sizeof size / sizeof size[0] };

static void grey_is_repeated(void **state) {
  (void)state;
  for (int k = 0; k < SIZES * 2; k++)
    for (int v = 0; v < 256; v += 51) {
      struct image image =
          flat((struct kind){size[k / 2].h, size[k / 2].w, 1, JCS_GRAYSCALE, 1, 1, 100, (unsigned)k % 2}, (uint8_t[4]){(uint8_t)v});
      for (int i = 0; i < image.height * image.width * 3; i++) assert_int_equal(image.rgb[i], v);
      image_free(&image);
    }
}

/* Any sampling, any size: a flat colour is JFIF's, rounded once (libjpeg's tables of 16 fractional bits miss the exact number by less than
 * 0.01). */
static void flat_colours_are_those_of_jfif(void **state) {
  (void)state;
  static const uint8_t colour[][4] = {{128, 128, 128}, {76, 85, 255}, {150, 44, 21}, {29, 255, 107}, {200, 100, 90}, {255, 0, 255}};
  static const struct { int h, v; } sampling[] = {{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}, {4, 2}};
  for (size_t s = 0; s < sizeof sampling / sizeof sampling[0]; s++)
    for (int k = 0; k < SIZES * 2; k++)
      for (size_t c = 0; c < sizeof colour / sizeof colour[0]; c++) {
        struct image image =
            flat((struct kind){size[k / 2].h, size[k / 2].w, 3, JCS_YCbCr, sampling[s].h, sampling[s].v, 100, (unsigned)k % 2}, colour[c]);
        double want[3];
        jfif_rgb((double[3]){colour[c][0], colour[c][1], colour[c][2]}, want);
        for (int i = 0; i < image.height * image.width * 3; i++) assert_true(fabs(image.rgb[i] - want[i % 3]) <= 0.51);
        image_free(&image);
      }
}

static void rgb_without_conversion_is_exact(void **state) {
  (void)state;
  static const uint8_t colour[4] = {10, 200, 255};
  struct image image = flat((struct kind){9, 9, 3, JCS_RGB, 1, 1, 100, 0}, colour);
  for (int i = 0; i < 9 * 9 * 3; i++) assert_int_equal(image.rgb[i], colour[i % 3]);
  image_free(&image);
}

/* Stored s = 255 - ink, with Adobe's marker or without; each channel is (255 - K) less C (255 - K) / 255 rounded, as Pillow has it. */
static void cmyk_is_adobes(void **state) {
  (void)state;
  struct philox g = philox_stream(1, PHILOX_TEST, 8, 0, 0);
  for (int k = 0; k < 200; k++) {
    uint8_t s[4];
    for (int c = 0; c < 4; c++) s[c] = k < 2 ? (uint8_t)(255 * k) : (uint8_t)philox_below(&g, 256);
    struct image image = flat((struct kind){9, 17, 4, JCS_CMYK, 1, 1, 100, (unsigned)k % 4}, s);
    for (int i = 0; i < 9 * 17 * 3; i++) assert_int_equal(image.rgb[i], s[3] - lround((255 - s[i % 3]) * s[3] / 255.0));
    image_free(&image);
    if (k < 20) { /* YCCK: 255 - C, 255 - M, 255 - Y as the luma and chroma; without colour, so that no rounding hides in it */
      image = flat((struct kind){9, 17, 4, JCS_YCCK, 2, 2, 100, (unsigned)k % 2}, (uint8_t[4]){s[0], 128, 128, s[3]});
      for (int i = 0; i < 9 * 17 * 3; i++) assert_int_equal(image.rgb[i], s[3] - lround(s[0] * s[3] / 255.0));
      image_free(&image);
    }
  }
}

/* Chroma of half the size is interpolated (3 near + far) / 4, not repeated. Cr steps at blocks of 8 of its samples, the rest is flat; the
 * interpolated Cr rounds by less than 0.75, and R = Y + 1.402 (Cr - 128) once more. */
static void upsampling_interpolates(void **state) {
  (void)state;
  enum { W = 64, H = 32 };
  static const uint8_t level[4] = {110, 150, 130, 90};
  for (int v = 1; v <= 2; v++) {
    struct kind k = {H, W, 3, JCS_YCbCr, 2, v, 100, 0};
    uint8_t sample[H * W * 3];
    for (int i = 0; i < H * W; i++) sample[3 * i] = sample[3 * i + 1] = 128, sample[3 * i + 2] = level[i % W / 16];
    struct image image = decoded(encode(&k, sample), &k);
    for (int i = 0; i < H * W; i++) {
      int x = i % W, near = x / 2, far = x % 2 ? near + 1 : near - 1;
      far = far < 0 ? 0 : far > W / 2 - 1 ? W / 2 - 1 : far;
      double cr = 0.75 * level[near / 8] + 0.25 * level[far / 8];
      assert_true(fabs(image.rgb[3 * i] - (128 + 1.402 * (cr - 128))) <= 1.402 * 0.75 + 0.51);
    }
    image_free(&image);
  }
}

/* The inverse DCT in double from the file's own coefficients, grey. */
static void plain_pixels(struct bytes file, int height, int width, double *pixel) {
  struct jpeg_decompress_struct d;
  struct jpeg_error_mgr errors;
  double wave[8][8];
  for (int x = 0; x < 8; x++)
    for (int f = 0; f < 8; f++) wave[x][f] = (f ? 0.5 : sqrt(0.125)) * cos((2 * x + 1) * f * 3.14159265358979323846 / 16);
  d.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&d);
  jpeg_mem_src(&d, file.data, file.size);
  jpeg_read_header(&d, TRUE);
  jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&d);
  const UINT16 *quantiser = d.comp_info[0].quant_table->quantval;
  for (int row = 0; row < height / 8; row++) {
    JBLOCKARRAY block = d.mem->access_virt_barray((j_common_ptr)&d, coefficients[0], (JDIMENSION)row, 1, FALSE);
    for (int col = 0; col < width / 8; col++)
      for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) {
          double sum = 128;
          for (int f = 0; f < 64; f++) sum += wave[y][f / 8] * wave[x][f % 8] * block[0][col][f] * quantiser[f];
          pixel[(row * 8 + y) * width + col * 8 + x] = clip255(sum);
        }
  }
  jpeg_finish_decompress(&d);
  jpeg_destroy_decompress(&d);
}

/* libjpeg's accurate IDCT keeps two fractional bits between its two passes. They err uniformly, by (1/4) / sqrt(12) = 0.072; the second
 * pass averages eight of them to 0.072 / sqrt(8) = 0.0255, and an error of deviation d changes the rounding of a share of 0.8 d = 0.0204 of
 * the pixels, by 1. Six standard deviations of that share of 128^2 pixels are 0.0066. IEEE 1180-1990 too asks for no error above 1; the
 * fast IDCT breaks that. */
static void the_idct_is_the_accurate_one(void **state) {
  (void)state;
  enum { SIDE = 128 };
  static double want[SIDE * SIDE];
  struct kind k = {SIDE, SIDE, 1, JCS_GRAYSCALE, 1, 1, 75, 0};
  uint8_t *sample = noise(&k, 1);
  struct bytes file = encode(&k, sample);
  plain_pixels(file, SIDE, SIDE, want);
  struct image image = decoded(file, &k);
  double square = 0;
  for (int i = 0; i < SIDE * SIDE; i++) {
    double e = image.rgb[3 * i] - rint(want[i]);
    assert_true(fabs(e) <= 1);
    square += e * e;
  }
  assert_true(square / (SIDE * SIDE) <= 0.0204 + 0.0066);
  free(sample), image_free(&image);
}

/* The same coefficients in another order of coding. */
static void progressive_equals_sequential(void **state) {
  (void)state;
  for (int s = 0; s < 4; s++) {
    struct kind k = {37, 45, 3, JCS_YCbCr, 1 + s % 2, 1 + s / 2, 60, 0}, p = k, o = k;
    p.how = PROGRESSIVE, o.how = ONE_BY_ONE;
    uint8_t *sample = noise(&k, 2);
    struct image a = decoded(encode(&k, sample), &k), b = decoded(encode(&p, sample), &k), c = decoded(encode(&o, sample), &k);
    assert_memory_equal(a.rgb, b.rgb, 37 * 45 * 3);
    assert_memory_equal(a.rgb, c.rgb, 37 * 45 * 3);
    image_free(&a), image_free(&b), image_free(&c);
    free(sample);
  }
}

static const struct kind small[] = {{24, 24, 1, JCS_GRAYSCALE, 1, 1, 50, 0},
                                    {24, 24, 3, JCS_YCbCr, 2, 2, 50, 0},
                                    {24, 24, 3, JCS_YCbCr, 2, 2, 50, PROGRESSIVE},
                                    {17, 9, 4, JCS_CMYK, 1, 1, 50, 0},
                                    {17, 9, 4, JCS_YCCK, 2, 1, 50, PROGRESSIVE}};
enum { SMALL = sizeof small / sizeof small[0] };

/* libjpeg would only warn, and fill the rest with grey. */
static void a_file_cut_anywhere_is_refused(void **state) {
  (void)state;
  for (int k = 0; k < SMALL; k++) {
    uint8_t *sample = noise(&small[k], 3);
    struct bytes file = encode(&small[k], sample);
    for (size_t n = 0; n < file.size; n++) {
      struct image image;
      struct error err = {0};
      if (decode(file.data, n, &image, &err)) fail_msg("kind %d: %zu of %lu bytes were enough", k, n, file.size);
      assert_true(image.rgb == NULL && strstr(err.text, "sample.jpg") && !strchr(err.text, '\n'));
    }
    struct image image = decoded(file, &small[k]);
    image_free(&image), free(sample);
  }
}

/* JPEG has no checksum: a changed byte may change pixels, but never more than that. */
static void a_changed_byte_does_no_harm(void **state) {
  (void)state;
  for (int k = 0; k < SMALL; k++) {
    uint8_t *sample = noise(&small[k], 4);
    struct bytes file = encode(&small[k], sample);
    struct philox g = philox_stream(1, PHILOX_TEST, 9, (uint32_t)k, 0);
    for (size_t at = 0; at < file.size; at++) {
      uint8_t was = file.data[at];
      file.data[at] ^= (uint8_t)(1 + philox_below(&g, 255));
      struct image image;
      struct error err = {0};
      if (decode(file.data, file.size, &image, &err))
        assert_true(image.rgb && image.height > 0 && image.width > 0);
      else
        assert_true(image.rgb == NULL && err.text[0]);
      image_free(&image);
      file.data[at] = was;
    }
    free(file.data), free(sample);
  }
}

/* The first place of this marker, or the last. */
static size_t find_marker(struct bytes file, uint8_t marker, bool last) {
  size_t found = 0;
  for (size_t i = 2; i + 1 < file.size && (last || !found); i++)
    if (file.data[i] == 0xff && file.data[i + 1] == marker) found = i;
  assert_true(found > 0);
  return found;
}

static void a_header_of_too_many_or_no_pixels_is_refused(void **state) {
  (void)state;
  static const struct { int h, w; } side[] = {{65500, 65500}, {13000, 13000}, {0, 24}, {24, 0}};
  for (size_t k = 0; k < sizeof side / sizeof side[0]; k++) {
    uint8_t *sample = noise(&small[1], 5);
    struct bytes file = encode(&small[1], sample);
    uint8_t *frame = file.data + find_marker(file, 0xc0, false) + 5; /* marker, length, precision; then height and width */
    frame[0] = (uint8_t)(side[k].h >> 8), frame[1] = (uint8_t)side[k].h, frame[2] = (uint8_t)(side[k].w >> 8),
    frame[3] = (uint8_t)side[k].w;
    struct image image;
    struct error err = {0};
    assert_false(decode(file.data, file.size, &image, &err));
    assert_non_null(strstr(err.text, "sample.jpg: "));
    free(file.data), free(sample);
  }
}

static void two_components_are_refused(void **state) {
  (void)state;
  struct kind k = {8, 8, 2, JCS_UNKNOWN, 1, 1, 90, 0};
  uint8_t *sample = noise(&k, 6);
  struct bytes file = encode(&k, sample);
  struct image image;
  struct error err = {0};
  assert_false(decode(file.data, file.size, &image, &err));
  assert_non_null(strstr(err.text, "2 components"));
  free(file.data), free(sample);
}

/* The last scan again and again: libjpeg takes it, at the price of a whole pass each. */
static void thousands_of_scans_are_refused(void **state) {
  (void)state;
  struct kind k = {24, 24, 3, JCS_YCbCr, 1, 1, 90, ONE_BY_ONE};
  uint8_t *sample = noise(&k, 7);
  struct bytes file = encode(&k, sample);
  size_t scan = find_marker(file, 0xda, true), length = file.size - 2 - scan;
  for (int more = 10; more <= 1000; more *= 100) {
    uint8_t *long_file = malloc(file.size + (size_t)more * length);
    if (!long_file) abort();
    memcpy(long_file, file.data, file.size - 2);
    for (int i = 0; i < more; i++) memcpy(long_file + file.size - 2 + (size_t)i * length, file.data + scan, length);
    memcpy(long_file + file.size - 2 + (size_t)more * length, file.data + file.size - 2, 2);
    struct image image;
    struct error err = {0};
    bool ok = decode(long_file, file.size + (size_t)more * length, &image, &err);
    if (ok != (more == 10)) fail_msg("%d scans: %s", more + 3, ok ? "read" : err.text);
    if (!ok) assert_non_null(strstr(err.text, "scans"));
    image_free(&image), free(long_file);
  }
  free(file.data), free(sample);
}

/* A progressive file is decoded into coefficients first, six bytes a pixel. */
static void too_little_memory_is_no_broken_file(void **state) {
  (void)state;
  struct kind k = {400, 600, 3, JCS_YCbCr, 1, 1, 90, PROGRESSIVE};
  keep_no_memory();
  uint8_t *sample = noise(&k, 8);
  struct bytes file = encode(&k, sample);
  a_good_file_is_never_broken(file.data, file.size, 400 * 600);
  free(file.data), free(sample);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(grey_is_repeated),
      cmocka_unit_test(flat_colours_are_those_of_jfif),
      cmocka_unit_test(rgb_without_conversion_is_exact),
      cmocka_unit_test(cmyk_is_adobes),
      cmocka_unit_test(upsampling_interpolates),
      cmocka_unit_test(the_idct_is_the_accurate_one),
      cmocka_unit_test(progressive_equals_sequential),
      cmocka_unit_test(a_file_cut_anywhere_is_refused),
      cmocka_unit_test(a_changed_byte_does_no_harm),
      cmocka_unit_test(a_header_of_too_many_or_no_pixels_is_refused),
      cmocka_unit_test(two_components_are_refused),
      cmocka_unit_test(too_little_memory_is_no_broken_file),
      cmocka_unit_test(thousands_of_scans_are_refused),
  };
  return cmocka_run_group_tests_name("jpeg", tests, NULL, NULL);
}
