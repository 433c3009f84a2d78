/* A program of somebody else: knows the installed header and library, nothing of this source tree. It is compiled as C and as C++
 * (test_install.c) and checks what it gets against values that follow from the equations by hand.
 *
 *     outside FOLDER      writes its files there; status 0 and no output, or what was wrong
 */
#include <ediy.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                                                                                 \
  do {                                                                                                                                     \
    if (!(condition)) {                                                                                                                    \
      fprintf(stderr, "outside.c:%d: not so: %s (%s)\n", __LINE__, #condition, err.text);                                                  \
      exit(1);                                                                                                                             \
    }                                                                                                                                      \
  } while (0)

static ediy_error err;

/* cos of the angles between these: 1, 0, -1, 1/sqrt(2), ... */
static const float view1[] = {1, 0, 0, 2, -3, 0, 1, 1};
static const double view2[] = {0, 1, 1, 0, 2, 2, -1, 0};
static const int32_t least_like[] = {2, 0 /* 0 and 2 tie */, 0, 2}, most_like[] = {1, 0, 3, 2};
#define SQRT_HALF 0.70710678118654752440

static void matching(void) {
  double wide[8];
  int32_t index[4];
  for (int i = 0; i < 8; i++) wide[i] = (double)view1[i];
  REQUIRE(ediy_match_diversity_f32(1, 4, 2, EDIY_COSINE, view1, index, &err) && memcmp(index, least_like, sizeof index) == 0);
  REQUIRE(ediy_match_diversity_f64(1, 4, 2, EDIY_COSINE, wide, index, &err) && memcmp(index, least_like, sizeof index) == 0);
  REQUIRE(ediy_match_invariance_f64(1, 4, 2, EDIY_COSINE, wide, view2, index, &err) && memcmp(index, most_like, sizeof index) == 0);
  /* By dot product the longer (2, 2) ties with (0, 1) x 2 for (0, 2): 4 against 2. */
  REQUIRE(ediy_match_invariance_f64(1, 4, 2, EDIY_DOT, wide, view2, index, &err) && index[1] == 2);
  REQUIRE(!ediy_match_diversity_f32(1, 0, 2, EDIY_COSINE, view1, index, &err) && strstr(err.text, "at least 1"));
  REQUIRE(!ediy_match_diversity_f32(1, PTRDIFF_MAX / 2, 2, EDIY_COSINE, view1, index, NULL));
}

static void losses(void) {
  double wide[8], value[2];
  for (int i = 0; i < 8; i++) wide[i] = (double)view1[i];

  /* cos = 0 and -1; d(2 - 2 cos)/dq = -2 (z/|z| - cos q/|q|) / |q|, which is (0, -1) for image 0 and 0 for image 1. */
  const float q[] = {2, 0, 1, 1}, z[] = {0, 1, -4, -4};
  float dq[] = {10, 10, 10, 10};
  REQUIRE(ediy_loss_byol_f32(2, 2, q, z, 3.0, value, dq, &err));
  REQUIRE(fabs(value[0] - 2) < 1e-15 && fabs(value[1] - 4) < 1e-14);
  REQUIRE(fabsf(dq[0] - 10) < 4e-6f && fabsf(dq[1] - 8.5f) < 4e-6f && fabsf(dq[2] - 10) < 4e-6f && fabsf(dq[3] - 10) < 4e-6f);

  REQUIRE(ediy_loss_rdem_f64(1, 4, 2, wide, least_like, false, 1.0, value, NULL, &err));
  REQUIRE(fabs(value[0] - (-1 + 0 - 1 - SQRT_HALF) / 4) < 1e-15);
  REQUIRE(ediy_loss_riem_f64(1, 4, 2, wide, view2, most_like, 1.0, value, NULL, &err));
  REQUIRE(fabs(value[0]) < 1e-15);

  const int32_t beyond[] = {0, 1, 4, 0};
  REQUIRE(!ediy_loss_rdem_f64(1, 4, 2, wide, beyond, false, 1.0, value, NULL, &err) && strstr(err.text, "region 4"));
}

static void layers(void) {
  /* Ones under a 3 x 3 kernel of ones, padded: the number of cells it covers; the same counts come back for dx and dw. */
  static const double covered[] = {4, 6, 4, 6, 9, 6, 4, 6, 4};
  const ediy_conv conv = {1, 3, 3, 1, 1, 3, 3, 1, 1};
  double ones[9], y[9], dx[9], dw[9];
  float ones32[9], y32[9];
  for (int i = 0; i < 9; i++) ones[i] = ones32[i] = 1, dw[i] = 100;
  REQUIRE(ediy_conv_out(3, 3, 1, 1) == 3 && ediy_conv_out(224, 7, 2, 3) == 112 && ediy_conv_out(1, 3, 1, 0) == 0);
  REQUIRE(ediy_conv_out(0, 1, 1, 1) == 0 && ediy_conv_out(5, 3, 1, -1) == 0 && ediy_conv_out(3, 3, 0, 1) == 0);
  REQUIRE(ediy_conv_out(5, 1, 1, PTRDIFF_MAX) == 0);
  REQUIRE(ediy_conv_forward_f64(&conv, ones, ones, y, &err) && ediy_conv_backward_data_f64(&conv, ones, ones, dx, &err));
  REQUIRE(ediy_conv_backward_weights_f64(&conv, ones, ones, dw, &err) && ediy_conv_forward_f32(&conv, ones32, ones32, y32, &err));
  for (int i = 0; i < 9; i++)
    REQUIRE(y[i] == covered[i] && y32[i] == (float)covered[i] && dx[i] == covered[i] && dw[i] == 100 + covered[i]);

  /* Every size another: 1 x 4 x 1 x 2 through 3 kernels of 2 x 1, stride 2, no pad. */
  const ediy_conv tall = {1, 4, 1, 2, 3, 2, 1, 2, 0};
  const double column[] = {1, 2, 3, 4, 5, 6, 7, 8}, kernels[] = {1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1}, wanted[] = {1, 4, 10, 5, 8, 26};
  REQUIRE(ediy_conv_forward_f64(&tall, column, kernels, y, &err) && memcmp(y, wanted, sizeof wanted) == 0);

  /* Two rows 1 and 5: mean 3, variance 4, unbiased 8; normalised to -1 and 1. Two rows have no freedom left: dx is 0. */
  const ediy_norm norm = {2, 1, 0.0, 0.5, false}, rectified = {2, 1, 0.0, 0.5, true};
  const double x[] = {1, 5}, gamma[] = {2}, beta[] = {1}, dy[] = {5, 7};
  double running_mean[] = {0}, running_var[] = {1}, mean[1], invstd[1], dgamma[] = {10}, dbeta[] = {20}, d[2];
  REQUIRE(ediy_norm_forward_f64(&norm, x, NULL, gamma, beta, running_mean, running_var, y, mean, invstd, &err));
  REQUIRE(y[0] == -1 && y[1] == 3 && mean[0] == 3 && invstd[0] == 0.5 && running_mean[0] == 1.5 && running_var[0] == 4.5);
  REQUIRE(ediy_norm_backward_f64(&norm, x, NULL, gamma, mean, invstd, dy, dx, d, dgamma, dbeta, &err));
  REQUIRE(dx[0] == 0 && dx[1] == 0 && d[0] == 5 && d[1] == 7 && dgamma[0] == 12 && dbeta[0] == 32);
  REQUIRE(!ediy_norm_backward_f64(&rectified, x, NULL, gamma, mean, invstd, dy, dx, d, dgamma, dbeta, &err) && strstr(err.text, "null"));
}

static void updates(void) {
  const ediy_lars lars = {EDIY_LARS_BYOL, 1.0, 0.9, 0.0};
  double w[] = {3, 4}, m[] = {0, 0}, xi[] = {1, 3};
  const double g[] = {6, 8};
  REQUIRE(ediy_lars_f64(&lars, 2, true, 0.5, g, w, m, &err)); /* |w| / |g| = 1/2 */
  REQUIRE(m[0] == 3 && m[1] == 4 && w[0] == 1.5 && w[1] == 2);
  REQUIRE(ediy_ema_f64(2, 0.75, w, xi, &err));
  REQUIRE(xi[0] == 1.125 && xi[1] == 2.75);
}

/* ---- a PNG of our own: stored, not compressed --------------------------------------------------------------------------------------- */

static void big_endian(uint8_t *to, uint32_t x) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(x >> (24 - 8 * i));
}

static void write_chunk(FILE *f, const char *type, const uint8_t *data, uint32_t size) {
  uint8_t word[4];
  uint32_t crc = 0xffffffff;
  for (uint32_t i = 0; i < 4 + size; i++) {
    crc ^= i < 4 ? (uint8_t)type[i] : data[i - 4];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  big_endian(word, size);
  fwrite(word, 1, 4, f);
  fwrite(type, 1, 4, f);
  fwrite(data, 1, size, f);
  big_endian(word, ~crc);
  fwrite(word, 1, 4, f);
}

static void write_png(const char *path, const ediy_image *image) {
  uint32_t row = 1 + 3 * (uint32_t)image->width, raw = row * (uint32_t)image->height, a = 1, b = 0;
  uint8_t head[13] = {0}, *data = (uint8_t *)calloc(raw + 11, 1);
  big_endian(head, (uint32_t)image->width);
  big_endian(head + 4, (uint32_t)image->height);
  head[8] = 8, head[9] = 2; /* 8 bits, RGB */
  REQUIRE(data && raw < 65536);
  const uint8_t start[] = {0x78, 1, 1, (uint8_t)raw, (uint8_t)(raw >> 8), (uint8_t)~raw, (uint8_t)(~raw >> 8)};
  memcpy(data, start, sizeof start);
  for (int y = 0; y < image->height; y++)
    memcpy(data + 7 + row * (uint32_t)y + 1, image->rgb + 3 * image->width * y, 3 * (size_t)image->width); /* after filter byte 0 */
  for (uint32_t i = 0; i < raw; i++) a = (a + data[7 + i]) % 65521, b = (b + a) % 65521;
  big_endian(data + 7 + raw, b << 16 | a);
  FILE *f = fopen(path, "wb");
  REQUIRE(f != NULL);
  fwrite("\x89PNG\r\n\x1a\n", 1, 8, f);
  write_chunk(f, "IHDR", head, 13);
  write_chunk(f, "IDAT", data, raw + 11);
  write_chunk(f, "IEND", data, 0);
  REQUIRE(fclose(f) == 0);
  free(data);
}

/* A disc on a gradient, another for each number. */
static ediy_image draw(int number) {
  ediy_image image = {40, 56, (uint8_t *)malloc(40 * 56 * 3)};
  REQUIRE(image.rgb != NULL);
  for (int y = 0; y < 40; y++)
    for (int x = 0; x < 56; x++) {
      int dx = x - 12 - 5 * number, dy = y - 20, inside = dx * dx + dy * dy < 100;
      uint8_t *p = image.rgb + 3 * (56 * y + x);
      p[0] = (uint8_t)(inside ? 220 : 4 * x), p[1] = (uint8_t)(inside ? 40 * number : 5 * y), p[2] = (uint8_t)(inside ? 60 : 128);
    }
  return image;
}

enum { IMAGES = 5, SIZE = 32 };

static void path_of(char *path, size_t size, const char *folder, const char *name, int number) {
  snprintf(path, size, "%s/%s%d.png", folder, name, number);
}

static void features(const char *folder) {
  char path[IMAGES][512], weights[512];
  const char *paths[IMAGES];
  ediy_image image[IMAGES];
  for (int i = 0; i < IMAGES; i++) {
    image[i] = draw(i);
    path_of(path[i], sizeof path[i], folder, "image", i);
    paths[i] = path[i];
    write_png(path[i], &image[i]);
    ediy_image back;
    REQUIRE(ediy_image_read(path[i], &back, &err) && back.height == 40 && back.width == 56);
    REQUIRE(memcmp(back.rgb, image[i].rgb, 40 * 56 * 3) == 0);
    ediy_image_free(&back);
    REQUIRE(back.rgb == NULL);
  }

  ediy_backbone_options options;
  memset(&options, 0, sizeof options);
  options.architecture = "small", options.stem = "cifar", options.size = SIZE, options.batch = 2;
  ediy_backbone *fresh, *b;
  snprintf(weights, sizeof weights, "%s/fresh.safetensors", folder);
  REQUIRE(ediy_backbone_fresh(&fresh, 7, &options, &err) && ediy_backbone_save(fresh, weights, &err));
  REQUIRE(ediy_backbone_open(&b, weights, NULL, &err)); /* the file says what it is */
  const int channels = ediy_backbone_channels(b), cells = ediy_backbone_cells(b);
  REQUIRE(ediy_backbone_size(b) == SIZE && channels == 128 && cells == 4);

  /* The same images from files, from memory, through weights made and weights read, in batches of 2 and of 16. */
  const size_t map_size = (size_t)(cells * cells * channels);
  float *f = (float *)malloc(sizeof *f * IMAGES * (size_t)channels), *map = (float *)malloc(sizeof *f * IMAGES * map_size);
  float *again = (float *)malloc(sizeof *f * IMAGES * (size_t)channels);
  REQUIRE(f && map && again);
  REQUIRE(ediy_backbone_files(b, IMAGES, paths, f, map, &err) && ediy_backbone_images(b, IMAGES, image, again, NULL, &err));
  REQUIRE(memcmp(f, again, sizeof *f * IMAGES * (size_t)channels) == 0);
  REQUIRE(ediy_backbone_images(fresh, IMAGES, image, again, NULL, &err));
  for (int i = 0; i < IMAGES * channels; i++) REQUIRE(fabsf(f[i] - again[i]) <= 1e-4f * (1 + fabsf(f[i])));
  REQUIRE(memcmp(f, f + channels, sizeof *f * (size_t)channels) != 0);
  /* The vector is the mean of the map: one rounding of a sum in double. */
  for (int i = 0; i < IMAGES; i++)
    for (int c = 0; c < channels; c++) {
      double sum = 0;
      for (int cell = 0; cell < cells * cells; cell++) sum += (double)map[(size_t)i * map_size + (size_t)(cell * channels + c)];
      REQUIRE(fabs(sum / (cells * cells) - (double)f[i * channels + c]) <= 1e-7 * fabs((double)f[i * channels + c]));
    }

  /* A view as the network's input. */
  ediy_view view;
  float y[SIZE * SIZE * 3];
  REQUIRE(ediy_augment_draw(0, SIZE, 40, 56, 1, 2, 3, &view, &err) && view.size == SIZE && view.width <= 56 && view.sigma > 0);
  REQUIRE(ediy_augment_apply_f32(&view, &image[0], y, &err) && ediy_backbone_inputs(b, 1, y, f, NULL, &err));
  for (int c = 0; c < channels; c++) REQUIRE(isfinite(f[c]) && f[c] >= 0); /* after the last ReLU */
  view.left = 56 - view.width + 1;
  REQUIRE(!ediy_augment_apply_f32(&view, &image[0], y, &err) && strstr(err.text, "does not lie in"));

  paths[3] = weights; /* no image */
  REQUIRE(!ediy_backbone_files(b, IMAGES, paths, f, NULL, &err) && strstr(err.text, "fresh.safetensors") && !strchr(err.text, '\n'));
  ediy_backbone_close(b);
  REQUIRE(!ediy_backbone_open(&b, paths[0], NULL, &err) && !b && strstr(err.text, "image0.png")); /* no weights */
  REQUIRE(!ediy_backbone_open(&b, "/nowhere/weights", NULL, NULL) && !b);
  ediy_backbone_close(fresh);
  ediy_backbone_close(NULL);
  for (int i = 0; i < IMAGES; i++) ediy_image_free(&image[i]);
  free(f);
  free(map);
  free(again);
}

/* ---- training, on the images that features() wrote ---------------------------------------------------------------------------------- */

typedef struct heard {
  int steps, lines;
  char last[256];
} heard;

static void keep_message(void *context, const char *line) {
  heard *h = (heard *)context;
  h->lines++;
  snprintf(h->last, sizeof h->last, "%s", line);
}

static bool end_after_first(void *context, const ediy_progress *p) {
  heard *h = (heard *)context;
  h->steps++;
  REQUIRE(p->step >= 1 && p->step <= p->steps && p->steps == 2 && p->epochs == 1 && p->lr > 0);
  REQUIRE(fabs(p->total - p->byol) < 1e-12 && p->byol >= 0 && p->byol <= 8); /* Eq. 2: two terms 2 - 2 cos */
  return h->steps != 1;
}

static void training(const char *folder) {
  char data[512], out[512], weights[512];
  const char *options[] = {data,       out,       "preset=sanity", "lambda1=0", "lambda2=0",
                           "epochs=1", "batch=2", "warmup=0",      "workers=1", "threads=1"};
  const int count = (int)(sizeof options / sizeof options[0]);
  heard h = {0, 0, ""};
  bool finished = true;
  const ediy_train_callbacks quiet = {end_after_first, NULL, &h}, callbacks = {end_after_first, keep_message, &h};
  snprintf(data, sizeof data, "data=%s", folder);
  snprintf(out, sizeof out, "out=%s/run", folder);
  REQUIRE(ediy_train(count, options, &quiet, &finished, &err) && !finished && h.steps == 1);
  REQUIRE(ediy_train(count, options, &callbacks, &finished, &err) && finished && h.steps == 2); /* goes on where it ended, and says so */
  REQUIRE(h.lines > 0 && strstr(h.last, "resumed from ") && strstr(h.last, "checkpoint-00000001") && !strchr(h.last, '\n'));

  ediy_backbone *b;
  float f[128];
  ediy_image image = draw(0);
  snprintf(weights, sizeof weights, "%s/run/backbone.safetensors", folder);
  REQUIRE(ediy_backbone_open(&b, weights, NULL, &err) && ediy_backbone_size(b) == SIZE && ediy_backbone_channels(b) == 128);
  REQUIRE(ediy_backbone_images(b, 1, &image, f, NULL, &err));
  ediy_backbone_close(b);
  ediy_image_free(&image);

  options[2] = "lambda_1=0";
  REQUIRE(!ediy_train(count, options, NULL, NULL, &err) && strstr(err.text, "lambda1"));
}

int main(int argc, char **argv) {
  REQUIRE(argc == 2 && strcmp(ediy_version(), EDIY_VERSION) == 0);
  matching();
  losses();
  layers();
  updates();
  features(argv[1]);
  training(argv[1]);
  return 0;
}
