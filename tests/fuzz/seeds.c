/* Writes small valid files for the fuzzers to start from, one folder a parser:
 *
 *     seeds FOLDER        writes FOLDER/png/..., FOLDER/jpeg/..., FOLDER/safetensors/..., FOLDER/options/..., FOLDER/manifest/...
 *
 * Each covers another way through its parser: every PNG colour type and depth, plain and interlaced; every JPEG colour space,
 * subsampling and process; every dtype of safetensors. Whatever fails here is a broken tool chain: it stops. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jpeglib.h>
#include <png.h>

#include "base/safetensors.h"

static const char *folder;

static FILE *create(const char *parser, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, parser);
  mkdir(path, 0777);
  snprintf(path, sizeof path, "%s/%s/seed-%s", folder, parser, name);
  FILE *f = fopen(path, "wb");
  if (!f) perror(path), exit(1);
  return f;
}

static void finish(FILE *f) {
  if (ferror(f) | fclose(f)) perror("seeds"), exit(1);
}

/* Bytes that are neither constant nor noise. */
static void paint(uint8_t *row, size_t size, int y) {
  for (size_t i = 0; i < size; i++) row[i] = (uint8_t)(23 * y + 5 * (int)i);
}

/* ---- PNG ---------------------------------------------------------------------------------------------------------------------------- */

static void write_png(int type, int depth, int interlace) {
  enum { WIDTH = 9, HEIGHT = 11 };
  char name[64];
  snprintf(name, sizeof name, "type%d-depth%d%s", type, depth, interlace ? "-interlaced" : "");
  FILE *f = create("png", name);
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
  png_infop info = png_create_info_struct(png);
  if (!png || !info || setjmp(png_jmpbuf(png))) exit(1);
  png_init_io(png, f);
  png_set_IHDR(png, info, WIDTH, HEIGHT, depth, type, interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (type == PNG_COLOR_TYPE_PALETTE) {
    png_color palette[256];
    png_byte alpha[2] = {0, 128};
    for (int i = 0; i < 256; i++) palette[i] = (png_color){(png_byte)i, (png_byte)(3 * i), (png_byte)(255 - i)};
    png_set_PLTE(png, info, palette, 1 << depth);
    png_set_tRNS(png, info, alpha, 2, NULL);
  }
  png_write_info(png, info);
  int passes = png_set_interlace_handling(png);
  for (int pass = 0; pass < passes; pass++)
    for (int y = 0; y < HEIGHT; y++) {
      png_byte row[WIDTH * 8];
      paint(row, sizeof row, y);
      png_write_row(png, row);
    }
  png_write_end(png, NULL);
  png_destroy_write_struct(&png, &info);
  finish(f);
}

static void write_pngs(void) {
  static const struct {
    int type, depth;
  } forms[] = {{PNG_COLOR_TYPE_GRAY, 1},        {PNG_COLOR_TYPE_GRAY, 2},       {PNG_COLOR_TYPE_GRAY, 4},
               {PNG_COLOR_TYPE_GRAY, 8},        {PNG_COLOR_TYPE_GRAY, 16},      {PNG_COLOR_TYPE_PALETTE, 1},
               {PNG_COLOR_TYPE_PALETTE, 4},     {PNG_COLOR_TYPE_PALETTE, 8},    {PNG_COLOR_TYPE_RGB, 8},
               {PNG_COLOR_TYPE_RGB, 16},        {PNG_COLOR_TYPE_GRAY_ALPHA, 8}, {PNG_COLOR_TYPE_RGB_ALPHA, 8},
               {PNG_COLOR_TYPE_GRAY_ALPHA, 16}, {PNG_COLOR_TYPE_RGB_ALPHA, 16}};
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
    for (int interlace = 0; interlace < 2; interlace++) write_png(forms[i].type, forms[i].depth, interlace);
}

/* ---- JPEG --------------------------------------------------------------------------------------------------------------------------- */

enum jpeg_process { BASELINE, PROGRESSIVE, RESTARTS, ARITHMETIC };

static void write_jpeg(const char *name, J_COLOR_SPACE in, int components, J_COLOR_SPACE stored, int h, int v, enum jpeg_process process) {
  enum { WIDTH = 35, HEIGHT = 18 };
  FILE *f = create("jpeg", name);
  struct jpeg_compress_struct jpeg;
  struct jpeg_error_mgr errors; /* its exit ends the program, as wanted */
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  jpeg_stdio_dest(&jpeg, f);
  jpeg.image_width = WIDTH, jpeg.image_height = HEIGHT;
  jpeg.input_components = components, jpeg.in_color_space = in;
  jpeg_set_defaults(&jpeg);
  jpeg_set_colorspace(&jpeg, stored);
  jpeg_set_quality(&jpeg, 60, TRUE);
  jpeg.comp_info[0].h_samp_factor = h, jpeg.comp_info[0].v_samp_factor = v;
  if (process == PROGRESSIVE) jpeg_simple_progression(&jpeg);
  if (process == RESTARTS) jpeg.restart_interval = 2;
  jpeg.arith_code = process == ARITHMETIC;
  jpeg_start_compress(&jpeg, TRUE);
  for (int y = 0; y < HEIGHT; y++) {
    JSAMPLE row[WIDTH * 4];
    JSAMPROW rows[] = {row};
    paint(row, sizeof row, y);
    jpeg_write_scanlines(&jpeg, rows, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  finish(f);
}

static void write_jpegs(void) {
  write_jpeg("grey", JCS_GRAYSCALE, 1, JCS_GRAYSCALE, 1, 1, BASELINE);
  write_jpeg("444", JCS_RGB, 3, JCS_YCbCr, 1, 1, BASELINE);
  write_jpeg("422", JCS_RGB, 3, JCS_YCbCr, 2, 1, RESTARTS);
  write_jpeg("420", JCS_RGB, 3, JCS_YCbCr, 2, 2, BASELINE);
  write_jpeg("420-progressive", JCS_RGB, 3, JCS_YCbCr, 2, 2, PROGRESSIVE);
  write_jpeg("420-arithmetic", JCS_RGB, 3, JCS_YCbCr, 2, 2, ARITHMETIC);
  write_jpeg("rgb", JCS_RGB, 3, JCS_RGB, 1, 1, BASELINE);
  write_jpeg("cmyk", JCS_CMYK, 4, JCS_CMYK, 1, 1, BASELINE);
  write_jpeg("ycck", JCS_CMYK, 4, JCS_YCCK, 2, 2, BASELINE);
  write_jpeg("ycck-progressive", JCS_CMYK, 4, JCS_YCCK, 1, 1, PROGRESSIVE);
}

/* ---- safetensors and options -------------------------------------------------------------------------------------------------------- */

static void write_safetensors(void) {
  static double data[8] = {1, -2, 0.5, 3e300};
  static const char *const metadata[] = {"format", "pt", "config", "epochs = 3\nlr = 0.5\n", "\"quoted\\\n", "", NULL};
  struct tensor tensors[16];
  int count = 0;
  for (int d = DTYPE_F32; d <= DTYPE_U8; d++)
    tensors[count++] = tensor_make((enum dtype)d, data, 2, (ptrdiff_t[]){2, 2}, "layer%d.0.weight", d);
  tensors[count++] = tensor_make(DTYPE_I64, data, 0, NULL, "bn1.num_batches_tracked");
  tensors[count++] = tensor_make(DTYPE_F32, data, 3, (ptrdiff_t[]){2, 0, 5}, "empty");
  for (int part = 0; part <= 2; part++) { /* none, half of them, all */
    const int n = count * part / 2;
    char name[64], path[4096];
    struct error err;
    snprintf(name, sizeof name, "tensors%d", n);
    finish(create("safetensors", name)); /* makes the folder, too */
    snprintf(path, sizeof path, "%s/safetensors/seed-%s", folder, name);
    if (!safetensors_write(path, tensors, n, n ? metadata : NULL, &err)) fprintf(stderr, "%s\n", err.text), exit(1);
  }
}

static void write_options(void) {
  static const char *const texts[] = {
      "# a comment\n\ntrain.epochs = 3\nlars.lr=0.25\r\n  momentum =\t1e-3  \n",
      "data = a path # not a comment\nsimilarity = dot\nflip = no\n",
      "momentum=2\n",
      "lars.lr=-0x1.8p3",
      "epoch = 1\n",
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "%zu", i);
    FILE *f = create("options", name);
    fputs(texts[i], f);
    finish(f);
  }
}

/* A whole manifest of three tensors, in full and as digests. */
static void write_manifests(void) {
  for (int digest = 0; digest < 2; digest++) {
    FILE *f = create("manifest", digest ? "digest" : "full");
    fprintf(
        f,
        "{\"format\":\"ediy-dump-1\",\"kind\":\"%s\",\"layout\":\"NHWC,KRSC\",\"producer\":\"p\",\"precision\":\"fp32\",\"chain\":64,"
        "\"attrs\":{\"block\":\"basic\",\"blocks\":\"1,1,1,1\",\"base_width\":4,\"stem\":\"cifar\",\"bn_eps\":1e-5,\"bn_momentum\":0.1,"
        "\"batch\":2,\"height\":8,\"width\":8,\"hidden\":8,\"out\":4,\"accumulation\":1,\"regions\":true,\"teacher\":true,"
        "\"region_predictor\":\"none\",\"lambda1\":1,\"lambda2\":1,\"lambda3\":1,\"rdem_stopgrad\":\"none\",\"rdem_negative\":\"region\","
        "\"sampler\":\"teacher\",\"similarity\":\"cosine\",\"teacher_bn\":\"running\",\"lars_variant\":\"byol\",\"trust\":0.001,"
        "\"momentum\":0.9,\"weight_decay\":1e-6},\"steps\":[{\"step\":7,\"lr\":0.1,\"tau\":0.9}],\"tensors\":[",
        digest ? "digest" : "full");
    static const char *const names[] = {"0.0/match/-/1/rdem/index", "0.0/forward/online/1/conv1/y", "0.0/ema/target/0/fc.weight/parameter"};
    for (int i = 0; i < 3; i++)
      fprintf(f,
              "%s{\"name\":\"%s\",\"part\":0,\"dtype\":\"%s\",\"shape\":[2,4],\"sha256\":"
              "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"drift\":{\"l2\":1e-%d},\"precision\":\"tf32\"}",
              i ? "," : "", names[i], i ? "F32" : "I32", i);
    fputs("]}", f);
    finish(f);
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "usage: seeds FOLDER\n"), 2;
  folder = argv[1];
  mkdir(folder, 0777);
  write_pngs();
  write_jpegs();
  write_safetensors();
  write_options();
  write_manifests();
  return 0;
}
