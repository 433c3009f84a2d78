/* Evaluation on folders of images: features are those of the network whatever the batch, classes that look different are told apart even
 * by a network that was never trained, and what is wrong with a folder is named. */
#include "train/evaluate.h"

#include <omp.h>
#include <png.h>

#include "base/safetensors.h"
#include "image/augment.h"
#include "image/image.h"
#include "model/init.h"
#include "model/model.h"
#include "support/cmocka.h"

#include "support/support.h"
#include "train/folder.h"

enum { SIZE = 32, CLASSES = 3, EACH = 7 };

static char folder[FOLDER_PATH], train_root[FOLDER_PATH + 16], test_root[FOLDER_PATH + 16];
static struct dataset train, test;
static struct architecture arch;

/* An image of one of three colours, with noise. */
static void write_image(const char *name, int colour, int height, int width, uint32_t stream) {
  struct image image = {.height = height, .width = width, .rgb = malloc((size_t)height * (size_t)width * 3)};
  struct philox g = philox_stream(1, PHILOX_TEST, 0, stream, 0);
  for (ptrdiff_t i = 0; i < (ptrdiff_t)height * width * 3; i++)
    image.rgb[i] = (uint8_t)(philox_below(&g, 40) + (i % 3 == colour ? 200 : 10));
  char path[IN_FOLDER_PATH];
  struct error err;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  folder_file(folder, name, "", 0); /* makes the folders */
  if (!image_write_png(path, &image, &err)) abort();
  image_free(&image);
}

static void write_grey(const char *name, int height, int width, const uint8_t *level) {
  struct image image = {.height = height, .width = width, .rgb = malloc((size_t)height * (size_t)width * 3)};
  for (ptrdiff_t i = 0; i < (ptrdiff_t)height * width * 3; i++) image.rgb[i] = level[i / 3];
  char path[IN_FOLDER_PATH];
  struct error err;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  folder_file(folder, name, "", 0);
  if (!image_write_png(path, &image, &err)) abort();
  image_free(&image);
}

/* A map of 16 x 24 pixels of this level, as grey of so many bits. */
static void write_map(const char *name, int bits, int level) {
  char path[IN_FOLDER_PATH];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
  png_infop info = png_create_info_struct(png);
  if (!f || setjmp(png_jmpbuf(png))) abort();
  png_init_io(png, f);
  png_set_IHDR(png, info, 24, 16, bits, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  png_byte row[48];
  for (int i = 0; i < 48; i++) row[i] = (png_byte)(bits == 16 ? (i % 2 ? level : level >> 8) : level * (255 / ((1 << bits) - 1)));
  for (int y = 0; y < 16; y++) png_write_row(png, row);
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  fclose(f);
}

static int setup(void **state) {
  (void)state;
  folder_make(folder);
  for (int c = 0; c < CLASSES; c++)
    for (int i = 0; i < EACH; i++) {
      char name[64];
      snprintf(name, sizeof name, "train/class%d/%d.png", c, i);
      write_image(name, c, 40 + i, 45 - i, (uint32_t)(c * EACH + i));
      if (c == 0 || i > 3) continue; /* the test set lacks class0: labels go by name */
      snprintf(name, sizeof name, "test/class%d/%d.png", c, i);
      write_image(name, c, 40, 50, (uint32_t)(100 + c * EACH + i));
    }
  snprintf(train_root, sizeof train_root, "%s/train", folder);
  snprintf(test_root, sizeof test_root, "%s/test", folder);
  struct error err;
  if (!architecture_named("small", &arch)) return -1;
  arch.stem = STEM_CIFAR;
  return dataset_open(&train, train_root, &err) && dataset_open(&test, test_root, &err) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  dataset_close(&train), dataset_close(&test);
  folder_remove(folder);
  return 0;
}

/* An extractor with random weights, those of a network of other heads and another batch size. */
static void make_extractor(struct extractor *e, ptrdiff_t batch, int height, int width) {
  struct error err;
  struct net net;
  struct architecture a = arch;
  a.projector = true, a.hidden = 8, a.out = 4;
  if (!net_build(&net, &a, 3, SIZE, SIZE, &err)) fail_msg("%s", err.text);
  float *state = calloc((size_t)net.state_size, sizeof *state);
  if (!init_state(backend_reference(), &net, 1, 0, state, &err)) fail_msg("%s", err.text);
  if (!extractor_create(e, backend_reference(), &arch, batch, height, width, &err)) fail_msg("%s", err.text);
  model_copy_state(backend_reference(), &net, state, &e->net, e->state);
  free(state);
  net_free(&net);
}

static const struct feature_view eval_view = {.form = PREPROCESS_EVAL, .resize = 36};

static void features_are_those_of_the_network_alone(void **state) {
  (void)state;
  /* by hand: one image, a network of batch 1 */
  struct extractor e, one;
  struct error err;
  struct image image;
  make_extractor(&e, 4, SIZE, SIZE); /* 21 images: the last batch has one */
  make_extractor(&one, 1, SIZE, SIZE);
  float *pooled = malloc((size_t)(train.count * e.channels) * sizeof *pooled), *input = calloc(SIZE * SIZE * 3, sizeof *input);
  float *map = malloc((size_t)(train.count * e.map_h * e.map_w * e.channels) * sizeof *map);
  assert_true(extractor_run(&e, train.count, train.path, &eval_view, pooled, map, NULL, NULL, &err));
  for (ptrdiff_t i = 0; i < train.count; i += 4) {
    assert_true(image_read(train.path[i], &image, &err));
    float *scratch = malloc((size_t)augment_scratch(image.height, image.width, SIZE) * sizeof *scratch);
    augment_eval(36, SIZE, image.rgb, image.height, image.width, input, scratch);
    struct net_run run = {
        .net = &one.net, .plan = &one.plan, .backend = one.backend, .state = one.state, .workspace = one.workspace, .scratch = one.scratch};
    net_forward(&run, NET_EVAL, input);
    /* Another batch may cut the matrix products elsewhere: rounding of sums of at most 9 x 128 products through 12 layers, each of relative
     * size 2^-24 sqrt(1152); 1e-4 of the largest is four times their sum. */
    double bound = 1e-4 * test_max_abs(net_value(&run, one.net.pooled), e.channels);
    assert_all_close(pooled + i * e.channels, net_value(&run, one.net.pooled), e.channels, bound);
    bound = 1e-4 * test_max_abs(net_value(&run, one.net.map), e.map_h * e.map_w * e.channels);
    assert_all_close(map + i * e.map_h * e.map_w * e.channels, net_value(&run, one.net.map), e.map_h * e.map_w * e.channels, bound);
    image_free(&image);
    free(scratch);
  }
  free(pooled), free(map), free(input), extractor_free(&e), extractor_free(&one);
}

static void crops_depend_on_seed_epoch_and_image_only(void **state) {
  (void)state;
  struct extractor e;
  struct error err;
  omp_set_num_threads(3);
  make_extractor(&e, 4, SIZE, SIZE);
  ptrdiff_t n = train.count * e.channels;
  float *x[4];
  static const struct feature_view view[4] = {
      {PREPROCESS_CROP, 0, 5, 0}, {PREPROCESS_CROP, 0, 5, 0}, {PREPROCESS_CROP, 0, 5, 1}, {PREPROCESS_CROP, 0, 6, 0}};
  for (int i = 0; i < 4; i++) {
    x[i] = malloc((size_t)n * sizeof *x[i]);
    omp_set_num_threads(i == 0 ? 1 : 3);
    assert_true(extractor_run(&e, train.count, train.path, &view[i], x[i], NULL, NULL, NULL, &err));
  }
  assert_memory_equal(x[0], x[1], (size_t)n * sizeof *x[0]);
  assert_memory_not_equal(x[0], x[2], (size_t)n * sizeof *x[0]);
  assert_memory_not_equal(x[0], x[3], (size_t)n * sizeof *x[0]);
  for (int i = 0; i < 4; i++) free(x[i]);
  extractor_free(&e);
}

static int told;
static void tell(void *context, const char *what, ptrdiff_t done, ptrdiff_t all) {
  assert_ptr_equal(context, &told);
  assert_true(strlen(what) > 0 && 0 < done && done <= all);
  told++;
}

static void colours_are_told_apart_by_knn(void **state) {
  (void)state;
  struct extractor e;
  struct error err;
  struct evaluate_knn_result r;
  struct evaluate_knn_options o = evaluate_knn_defaults(SIZE);
  assert_int_equal(o.resize, 37);
  assert_int_equal(features_resize(224), 256);
  make_extractor(&e, 5, SIZE, SIZE);
  o.k[0] = 1, o.k[1] = 6, o.ks = 2;
  told = 0;
  assert_true(evaluate_knn(&e, &train, &test, &o, &r, tell, &told, &err));
  assert_true(told == 5 + 2 && r.train == 21 && r.test == 8 && r.classes == 3);
  for (int i = 0; i < 2; i++) assert_true(r.accuracy[i].hits == 8 && r.accuracy[i].count == 8);
  o.k[1] = 22;
  assert_false(evaluate_knn(&e, &train, &test, &o, &r, NULL, NULL, &err));
  assert_non_null(strstr(err.text, "k = 22"));
  assert_non_null(strstr(err.text, "21 images"));
  o.k[1] = 6;
  assert_false(evaluate_knn(&e, &test, &train, &o, &r, NULL, NULL, &err)); /* class0 is unknown to the bank */
  assert_non_null(strstr(err.text, "class class0 is not among the 2 classes"));
  extractor_free(&e);
}

static void colours_are_told_apart_by_a_linear_classifier(void **state) {
  (void)state;
  struct extractor e;
  struct error err;
  struct linear_eval_result r;
  struct evaluate_linear_options o = evaluate_linear_defaults(SIZE);
  make_extractor(&e, 21, SIZE, SIZE);
  o.fit.epochs = 20;
  for (int views = 0; views < 3; views += 2) {
    o.views = views;
    told = 0;
    assert_true(evaluate_linear(&e, &train, &test, &o, &r, tell, &told, &err));
    assert_true(r.test.hits == 8 && r.test.count == 8 && r.train.hits == 21);
    /* batches: 1 of the test images, 1 of the plain training images, and the crops: the views, or 20 epochs twice; 40 epochs */
    assert_int_equal(told, 2 + (views ? views : 40) + 40);
  }
  extractor_free(&e);
}

static struct linear_eval_result classified(struct extractor *e, bool scaled) {
  struct error err;
  struct linear_eval_result r;
  struct evaluate_linear_options o = evaluate_linear_defaults(SIZE);
  o.fit.epochs = 5, o.views = 1, o.scaled = scaled;
  if (!evaluate_linear(e, &train, &test, &o, &r, NULL, NULL, &err)) fail_msg("%s", err.text);
  return r;
}

/* Features of the training images, plain and cropped, and of the test images, that are scaled by hand. */
struct by_hand {
  float *plain, *crops, *test;
};

static bool by_hand_epoch(void *context, int epoch, const float **x, struct error *err) {
  (void)err;
  const struct by_hand *h = context;
  *x = epoch == LINEAR_EVAL_PLAIN ? h->plain : h->crops;
  return true;
}

static float *features_of(struct extractor *e, const struct dataset *d, enum preprocessing form) {
  const struct feature_view view = {.form = form, .resize = features_resize(SIZE)};
  struct error err;
  float *x = malloc((size_t)(d->count * e->channels) * sizeof *x);
  if (!x || !extractor_run(e, d->count, d->path, &view, x, NULL, NULL, NULL, &err)) fail();
  return x;
}

static struct linear_eval_result classified_by_hand(struct extractor *e) {
  struct by_hand h = {features_of(e, &train, PREPROCESS_EVAL), features_of(e, &train, PREPROCESS_CROP),
                      features_of(e, &test, PREPROCESS_EVAL)};
  double squares = 0;
  for (ptrdiff_t i = 0; i < train.count * e->channels; i++) squares += (double)h.plain[i] * (double)h.plain[i];
  const double scale = 1 / sqrt(squares / (double)(train.count * e->channels));
  for (ptrdiff_t i = 0; i < train.count * e->channels; i++)
    h.plain[i] = (float)(scale * (double)h.plain[i]), h.crops[i] = (float)(scale * (double)h.crops[i]);
  for (ptrdiff_t i = 0; i < test.count * e->channels; i++) h.test[i] = (float)(scale * (double)h.test[i]);
  int32_t labels[CLASSES * EACH], test_labels[8];
  for (int i = 0; i < CLASSES * EACH; i++) labels[i] = i / EACH;
  for (int i = 0; i < 8; i++) test_labels[i] = 1 + i / 4;
  const struct linear_features f = {train.count, e->channels, labels, &h, by_hand_epoch};
  struct linear_eval_options o = linear_eval_defaults();
  struct linear_eval_result r;
  struct error err;
  o.epochs = 5;
  if (!linear_eval(&f, test.count, h.test, test_labels, CLASSES, &o, NULL, NULL, &r, NULL, NULL, &err)) fail_msg("%s", err.text);
  free(h.plain), free(h.crops), free(h.test);
  return r;
}

static void multiply_features(struct extractor *e, float factor) {
  static const char *const last[] = {"layer4.0.bn2", "layer4.0.downsample.1"};
  for (int i = 0; i < 4; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", last[i / 2], i % 2 ? "bias" : "weight");
    const struct parameter *p = &e->net.parameter[net_find_parameter(&e->net, name)];
    for (ptrdiff_t k = 0; k < p->size; k++) e->state[p->offset + k] *= factor;
  }
}

/* By powers of two, so that not a bit is rounded otherwise. Where features are tiny, the bias alone would decide of test images that are
 * not scaled. */
static void scaled_features_have_no_size(void **state) {
  (void)state;
  struct extractor e;
  make_extractor(&e, 21, SIZE, SIZE);
  const struct linear_eval_result plain = classified(&e, false), scaled = classified(&e, true), by_hand = classified_by_hand(&e);
  multiply_features(&e, 8);
  const struct linear_eval_result large = classified(&e, true), as_they_are = classified(&e, false);
  assert_true(scaled.loss == by_hand.loss && scaled.base_lr == by_hand.base_lr && scaled.train.hits == by_hand.train.hits);
  assert_true(scaled.loss == large.loss && scaled.base_lr == large.base_lr && scaled.test.hits == large.test.hits);
  multiply_features(&e, 0x1p-23f);
  const struct linear_eval_result tiny = classified(&e, true);
  assert_true(scaled.loss == tiny.loss && scaled.test.hits == tiny.test.hits && tiny.test.hits == 8);
  assert_true(plain.loss != scaled.loss && plain.loss != as_they_are.loss);
  for (ptrdiff_t i = 0; i < e.net.state_size; i++) e.state[i] = 0; /* features of zeros */
  assert_int_equal(classified(&e, true).train.hits, EACH);
  extractor_free(&e);
}

static void embeddings_read_back(void **state) {
  (void)state;
  struct extractor e;
  struct error err;
  char path[FOLDER_PATH + 32];
  struct safetensors f;
  snprintf(path, sizeof path, "%s/embed.safetensors", folder);
  make_extractor(&e, 8, SIZE, SIZE);
  assert_true(evaluate_embed(&e, &test, 36, path, NULL, NULL, &err));
  assert_true(safetensors_open(&f, path, &err));
  const struct tensor *x = safetensors_find(&f, "features"), *label = safetensors_find(&f, "label"), *name = safetensors_find(&f, "name");
  assert_true(x && label && name && x->ndim == 2 && x->shape[0] == 8 && x->shape[1] == e.channels && label->shape[0] == 8);
  for (int i = 0; i < 8; i++) assert_int_equal(tensor_at(label, i), i / 4);
  assert_memory_equal(name->data, "class1/0.png\nclass1/1.png\n", 26);
  assert_string_equal(safetensors_metadata(&f, "class_names"), "class1\nclass2\n");
  char fingerprint[65], side[16];
  dataset_fingerprint(&test, fingerprint);
  snprintf(side, sizeof side, "%d", SIZE);
  assert_string_equal(safetensors_metadata(&f, "fingerprint"), fingerprint);
  assert_string_equal(safetensors_metadata(&f, "resize"), "36");
  assert_string_equal(safetensors_metadata(&f, "size"), side);
  float *direct = malloc((size_t)(8 * e.channels) * sizeof *direct);
  assert_true(extractor_run(&e, 8, test.path, &eval_view, direct, NULL, NULL, NULL, &err));
  assert_memory_equal(direct, x->data, (size_t)(8 * e.channels) * sizeof *direct);
  free(direct), safetensors_close(&f), extractor_free(&e);
}

/* Segmentation: images of one colour each, the label map of half the size is the colour, with a void corner. */
static void colours_are_segmented(void **state) {
  (void)state;
  static const char *const parts[3] = {"train", "val", "test"};
  char root[3][FOLDER_PATH + 32];
  for (int p = 0; p < 3; p++) {
    snprintf(root[p], sizeof root[p], "%s/dense/%s", folder, parts[p]);
    for (int i = 0; i < 6; i++) {
      char name[64];
      uint8_t level[16 * 24];
      memset(level, i % CLASSES, sizeof level);
      level[0] = 11;
      snprintf(name, sizeof name, "dense/%s/images/%d.png", parts[p], i);
      write_image(name, i % CLASSES, 32, 48, (uint32_t)(300 + 10 * p + i));
      snprintf(name, sizeof name, "dense/%s/labels/%d.png", parts[p], i);
      write_grey(name, 16, 24, level);
    }
  }
  struct extractor e;
  struct error err;
  struct evaluate_dense_result r;
  struct dense_eval_options o = dense_eval_defaults();
  struct dense_part set[3];
  double iou[CLASSES];
  make_extractor(&e, 4, 32, 48);
  for (int p = 0; p < 3; p++) assert_true(evaluate_dense_open(&set[p], root[p], &err));
  o.epochs = 20, o.batch = 3;
  assert_true(evaluate_dense(&e, set, CLASSES, 11, &o, &r, iou, NULL, NULL, &err));
  assert_true(r.train == 6 && r.validation == 6 && r.test == 6 && r.cells == e.map_h * e.map_w);
  assert_true(r.fit.test.pixels == 6 * (16 * 24 - 1) && r.fit.test.mean_iou == 1 && iou[0] == 1 && iou[2] == 1);

  /* the same of maps of other depths, and of 16 bits no byte is cut */
  write_map("dense/train/labels/1.png", 16, 1), write_map("dense/train/labels/2.png", 2, 2), write_map("dense/val/labels/1.png", 1, 1);
  write_map("dense/test/labels/2.png", 4, 2);
  assert_true(evaluate_dense(&e, set, CLASSES, 11, &o, &r, iou, NULL, NULL, &err));
  assert_true(r.fit.test.pixels == 6 * (16 * 24 - 1) + 1 && r.fit.test.mean_iou == 1 && iou[0] == 1 && iou[2] == 1);

#define FAILS_WITH(what)                                                                                                                   \
  assert_false(evaluate_dense(&e, set, CLASSES, 11, &o, &r, iou, NULL, NULL, &err));                                                       \
  if (!strstr(err.text, what)) fail_msg("%s", err.text)
  for (int p = 1; p < 3; p++) { /* which would be scored 0 */
    char name[64];
    for (int i = 0; i < 6; i++) {
      snprintf(name, sizeof name, "dense/%s/labels/%d.png", parts[p], i);
      write_map(name, 8, 11);
    }
    snprintf(name, sizeof name, "dense/%s: every pixel of its label maps is void (11)", parts[p]);
    FAILS_WITH(name);
    for (int i = 0; i < 6; i++) {
      snprintf(name, sizeof name, "dense/%s/labels/%d.png", parts[p], i);
      write_map(name, 8, i % CLASSES);
    }
  }
  uint8_t level[16 * 24] = {7};
  write_grey("dense/val/labels/3.png", 16, 24, level);
  FAILS_WITH("dense/val/labels/3.png: level 7 at row 0, column 0");
  write_grey("dense/val/labels/3.png", 12, 24, level);
  FAILS_WITH("24 x 12 pixels");
  write_map("dense/val/labels/3.png", 16, 256);
  FAILS_WITH("dense/val/labels/3.png: level 256 at row 0, column 0; levels of a map are 0 to 255");
  write_image("dense/val/labels/3.png", 0, 16, 24, 1);
  FAILS_WITH("a colour image");
  level[0] = 0;
  write_grey("dense/val/labels/3.png", 16, 24, level);
  write_image("dense/test/images/2.png", 0, 32, 32, 1);
  FAILS_WITH("32 x 32 pixels; all images must be 48 x 32 here (height=32 width=48): bring them to one size, or give another");
  folder_file(folder, "dense/test/images/9.png", "not a picture", 13);
  dataset_close(&set[2].images);
  assert_true(evaluate_dense_open(&set[2], root[2], &err));
  FAILS_WITH("labels/9.png");
  for (int p = 0; p < 3; p++) dataset_close(&set[p].images);
  assert_false(evaluate_dense_open(&set[0], folder, &err));
  assert_non_null(strstr(err.text, "/images"));
  extractor_free(&e);
}

static void bad_files_stop_the_extraction_and_the_first_is_named(void **state) {
  (void)state;
  struct extractor e;
  struct error err;
  char bad[2][FOLDER_PATH + 32];
  make_extractor(&e, 4, SIZE, SIZE);
  for (int i = 0; i < 2; i++) {
    char name[32];
    snprintf(name, sizeof name, "bad%d.png", i);
    folder_file(folder, name, "no", 2);
    snprintf(bad[i], sizeof bad[i], "%s/%s", folder, name);
  }
  char *path[4] = {train.path[0], bad[0], bad[1], train.path[1]};
  float *x = malloc((size_t)(4 * e.channels) * sizeof *x);
  for (int i = 0; i < 5; i++) {
    assert_false(extractor_run(&e, 4, path, &eval_view, x, NULL, NULL, NULL, &err));
    assert_non_null(strstr(err.text, "bad0.png"));
  }
  free(x), extractor_free(&e);
  assert_false(extractor_create(&e, backend_reference(), &arch, 0, SIZE, SIZE, &err));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(features_are_those_of_the_network_alone),
                                     cmocka_unit_test(crops_depend_on_seed_epoch_and_image_only),
                                     cmocka_unit_test(colours_are_told_apart_by_knn),
                                     cmocka_unit_test(colours_are_told_apart_by_a_linear_classifier),
                                     cmocka_unit_test(scaled_features_have_no_size),
                                     cmocka_unit_test(embeddings_read_back),
                                     cmocka_unit_test(colours_are_segmented),
                                     cmocka_unit_test(bad_files_stop_the_extraction_and_the_first_is_named)};
  return cmocka_run_group_tests_name("evaluation", tests, setup, teardown);
}
