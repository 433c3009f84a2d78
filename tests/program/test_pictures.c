/* ediy show: pictures that can be opened, with what they promise on them; logs that are damaged are refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program/bars.h"
#include "program/drawn.h"
#include "program/picture.h"
#include "support/cmocka.h"
#include "support/program.h"

/* Pixels darker than this grey in a box: ink of text on white paper. */
static int dark_pixels(const struct image *i, int top, int left, int height, int width) {
  int dark = 0;
  for (int y = top; y < top + height; y++)
    for (int x = left; x < left + width; x++) {
      const uint8_t *p = i->rgb + 3 * (y * i->width + x);
      dark += p[0] < 80 && p[1] < 80 && p[2] < 80;
    }
  return dark;
}

static void views_have_a_row_an_image_and_text(void **state) {
  (void)state;
  assert_runs("ediy scenes out=s images=12 val=1 classes=4 size=40");
  assert_runs("ediy show views data=s/train size=32 rows=2 out=two.png && ediy show views data=s/train size=32 rows=5 out=five.png");
  struct image two = open_picture("two.png"), five = open_picture("five.png");
  assert_int_equal(two.width, five.width);
  /* rows are of one height, so that three more make the picture 3 / 2 of two rows taller than head and foot */
  assert_true((five.height - two.height) % 3 == 0 && five.height - two.height >= 3 * 400);
  assert_true(dark_pixels(&two, 0, 0, 100, two.width) > 500); /* the title: without a font it would be missing */
  image_free(&two);
  image_free(&five);
}

static void views_are_those_of_the_seed(void **state) {
  (void)state;
  assert_runs("ediy scenes out=t images=4 val=1 classes=2 size=40");
  assert_runs("ediy show views data=t/train size=32 out=a.png && OMP_NUM_THREADS=1 ediy show views data=t/train size=32 out=b.png && cmp "
              "a.png b.png");
  assert_runs("ediy show views data=t/train size=32 out=c.png seed=2");
  assert_int_equal(program_run("cmp a.png c.png")->status, 1);
  assert_runs("ediy show views data=t/train size=32 out=d.png epoch=1");
  assert_int_equal(program_run("cmp a.png d.png")->status, 1);
}

/* A PNG of one colour. */
static void plain_image(const char *path, struct ink ink) {
  struct sheet s;
  struct error err;
  if (!sheet_create(&s, 20, 20, &err)) fail_msg("%s", err.text);
  draw_fill(&s, 0, 0, 20, 20, ink);
  if (!sheet_write(&s, path, &err)) fail_msg("%s", err.text);
  sheet_destroy(&s);
}

/* Of six images the second and the fifth, and beside each views of its colour, as far as jitter leaves it: of the red one more red than
 * blue, of the blue one more blue, or grey. */
static void views_are_of_images_spread_over_the_data(void **state) {
  (void)state;
  assert_runs("mkdir -p plain");
  const struct ink green = {0.2, 1, 0.2, 1}, shown[2] = {{1, 0.2, 0.2, 1}, {0.2, 0.2, 1, 1}};
  for (int i = 0; i < 6; i++) {
    char path[32];
    snprintf(path, sizeof path, "plain/%d.png", i);
    plain_image(path, i == 1 ? shown[0] : i == 4 ? shown[1] : green);
  }
  for (int seed = 1; seed <= 3; seed++) {
    assert_runs("ediy show views data=plain size=32 rows=2 seed=%d out=plain.png", seed);
    struct image image = open_picture("plain.png");
    for (int row = 0; row < 2; row++) {
      const double top = 64 + row * 234, left = 24;
      int found = 0, warm = 0, cold = 0;
      for (int x = 10; x < 190; x++) {
        found += is_inked(&image, left + x, top + 100, shown[row]); /* but where the frame of a crop is */
        for (int k = 1; k < 3; k++) {
          const uint8_t *p = image.rgb + 3 * ((int)(2 * (top + 190)) * image.width + (int)(2 * (left + k * 216 + x)));
          warm += p[0] > p[2], cold += p[0] < p[2];
        }
      }
      assert_true(found > 140);
      assert_true(row ? cold >= 180 && warm == 0 : warm >= 180 && cold == 0);
    }
    image_free(&image);
  }
}

#define RECORD "{\"step\": %d, \"epoch\": 0, \"lr\": 0.1, \"loss\": %g, \"byol\": null}\n"

static void write_log(const char *end) {
  FILE *f = fopen("run/log.jsonl", "w");
  assert_non_null(f);
  for (int i = 1; i <= 20; i++) fprintf(f, RECORD, 10 * i, 4.0 / i);
  fputs(end, f);
  fclose(f);
}

static void curves_are_drawn_while_the_run_writes(void **state) {
  (void)state;
  assert_runs("mkdir -p run");
  write_log("");
  assert_runs("ediy show curves run=run out=whole.png");
  write_log("{\"step\": 210, \"tot");
  assert_runs("ediy show curves run=run out=torn.png && cmp whole.png torn.png");
  struct image image = open_picture("whole.png");
  /* loss and learning rate, the only two that were logged with numbers: two charts side by side, less wide than three */
  assert_true(image.width > 2 * 500 && image.width < 3 * 600 && image.width > 2 * image.height);
  image_free(&image);
}

/* Pixels where two pictures of one size differ, below the title. */
static ptrdiff_t differing(const char *a, const char *b) {
  struct image x = open_picture(a), y = open_picture(b);
  assert_true(x.width == y.width && x.height == y.height);
  ptrdiff_t count = 0;
  for (ptrdiff_t i = (ptrdiff_t)(x.height / 6) * x.width; i < (ptrdiff_t)x.height * x.width; i++)
    count += memcmp(x.rgb + 3 * i, y.rgb + 3 * i, 3) != 0;
  image_free(&x), image_free(&y);
  return count;
}

/* Dashes are drawn, where the other run's values are; a run that is not there is named and nothing written. */
static void another_run_lies_over_the_first(void **state) {
  (void)state;
  assert_runs("mkdir -p run far && sed 's/\"loss\": [0-9.]*/\"loss\": 2.5/' run/log.jsonl >far/log.jsonl");
  assert_runs("ediy show curves run=run out=alone.png && ediy show curves run=run beside=run out=same.png");
  const struct outcome *o = assert_runs("ediy show curves run=run beside=far out=two.png");
  assert_non_null(strstr(o->out, "20 records of far/log.jsonl, in dashes"));
  assert_runs("mkdir -p one && head -n 1 run/log.jsonl >one/log.jsonl");
  assert_non_null(strstr(assert_runs("ediy show curves run=run beside=one out=one.png")->out, "1 record of one/log.jsonl, in dashes"));
  assert_true(differing("alone.png", "same.png") > 0);
  assert_true(differing("same.png", "two.png") > 0);
  assert_refused("nothere: no log.jsonl in it", "ediy show curves run=run beside=nothere out=none.png && test ! -e none.png");
}

static void damaged_logs_are_named_with_the_line(void **state) {
  (void)state;
  assert_runs("mkdir -p run");
  write_log("nonsense\n");
  assert_refused("run/log.jsonl: line 21", "ediy show curves run=run");
  write_log("[1, 2]\n");
  assert_refused("run/log.jsonl: line 21", "ediy show curves run=run");
  assert_runs(": >run/log.jsonl");
  assert_refused("run/log.jsonl", "ediy show curves run=run");
  assert_int_not_equal(access("curves.png", F_OK), 0);
}

/* A bar ends at its value, on an axis of 380 points from 0 to 100 %, and its interval at low and high; whose bar it is says its ink. */
static void bars_are_as_long_as_their_values(void **state) {
  (void)state;
  static const struct bar_group groups[2] = {{"one", {{.value = 0.5, .low = 0.25, .high = 0.625}, {.value = 1, .low = 0.75, .high = 1}}},
                                             {"two", {{.value = 0, .low = 0, .high = 0.125}, {.value = 0.25, .low = 0.125, .high = 0.5}}}};
  struct error err;
  if (!bars_write("bars.png", "title", "axis", (const char *const[BARS]){"a", "b"}, groups, 2, &err)) fail_msg("%s", err.text);
  struct image image = open_picture("bars.png");
  for (int g = 0; g < 2; g++)
    for (int k = 0; k < BARS; k++) {
      const struct share a = groups[g].bar[k];
      double y = 76 + g * 56 + k * 19, end = 150 + 380 * a.value;
      for (double x = 152; x < 150 + 380; x += 4) /* above the interval's line; a line of the grid is not in an ink of bars */
        if (fabs(x - end) > 1) assert_int_equal(is_inked(&image, x, y + 2, ink_of(k)), x < end);
      for (double x = 152, low = 150 + 380 * a.low, high = 150 + 380 * a.high; x < high + 6; x += 4) /* along it, as far as the text */
        if (fabs(x - low) > 1 && fabs(x - high) > 1) assert_int_equal(is_inked(&image, x, y + 8, ink_text), low < x && x < high);
    }
  image_free(&image);
}

/* ---- saliency ---------------------------------------------------------------------------------------------------------------------- */

enum {
  HEAT = 400,
  HEAT_LEFT = 2 * (24 + 200 + 16),
  HEAT_STEP = 2 * (200 + 16),
  HEAT_TOP = 2 * (64 + 16),
  ROW_STEP = 2 * (200 + 34)
}; /* pixels, two a point */

/* One red image of 8 x 8 pixels; the shares of a network of 3 x 2 cells, and of a second one if there is one. */
static struct image draw_shares(const char *path, const double *first, const double *second) {
  static uint8_t red[8 * 8 * 3];
  struct error err;
  for (int i = 0; i < 8 * 8; i++) red[3 * i] = 255;
  const struct saliency_column columns[2] = {{.name = "one", .across = 3, .down = 2}, {.name = "two", .across = 3, .down = 2}};
  const struct saliency_row row = {.name = "red", .seen = red, .size = 8, .share = {first, second}};
  if (!picture_saliency(path, "title", columns, second ? 2 : 1, &row, 1, &err)) fail_msg("%s", err.text);
  return open_picture(path);
}

/* Red less blue, u and v cells from the top left corner of a network's map: above 0 orange, below 0 blue. */
static int warmth(const struct image *i, int network, double u, double v) {
  int x = HEAT_LEFT + network * HEAT_STEP + (int)(u * HEAT / 3), y = HEAT_TOP + (int)(v * HEAT / 2);
  const uint8_t *p = i->rgb + 3 * (y * i->width + x);
  return p[0] - p[2];
}

static void saliency_is_warm_where_a_share_is_large(void **state) {
  (void)state;
  const double equal[6] = {1 / 6., 1 / 6., 1 / 6., 1 / 6., 1 / 6., 1 / 6.}, corner[6] = {0, 0, 1, 0, 0, 0};
  struct image i = draw_shares("shares.png", equal, corner);
  for (int y = 0; y < 2; y++)
    for (int x = 0; x < 3; x++) {
      assert_int_equal(warmth(&i, 0, x + 0.5, y + 0.5), 0); /* in grey, though the image is red */
      int warm = warmth(&i, 1, x + 0.5, y + 0.5);
      assert_true(x == 2 && y == 0 ? warm > 150 : warm < -120);
    }
  /* Between two centres the share goes from 0 to 6 equal ones, and is an equal one after a sixth of the way; beyond the centres of a map's
   * edge it stays what it was. A pixel is 0.0075 cells, and the share changes by 0.045 over it: the tint by 2 % of all. */
  assert_in_range(warmth(&i, 1, 1.5 + 1 / 6., 0.5) + 10, 0, 20);
  assert_int_equal(warmth(&i, 1, 2.99, 0.01), warmth(&i, 1, 2.5, 0.5));
  const uint8_t *p = i.rgb + 3 * ((HEAT_TOP + HEAT / 2) * i.width + HEAT_LEFT + HEAT / 2);
  assert_in_range(p[0], 117, 119); /* 255 (0.3 + 0.55 0.299), the grey of red; the image itself, from corner to corner: */
  for (int k = 3; k < HEAT; k += HEAT - 7) {
    p = i.rgb + 3 * ((HEAT_TOP + k) * i.width + HEAT_LEFT - HEAT_STEP + k);
    assert_true(p[0] == 255 && p[1] == 0 && p[2] == 0);
  }
  image_free(&i);
}

/* Grey paper under orange from an equal share on, 0.9 of it at 4 times that, half as much at 2 times, and blue the other way. */
static void saliency_doubles_by_equal_steps(void **state) {
  (void)state;
  static const struct {
    double times, cover;
  } tints[] = {{1. / 16, -0.9}, {0.25, -0.9}, {0.5, -0.45}, {1, 0}, {2, 0.45}, {4, 0.9}, {16, 0.9}};
  const double grey = 0.3 + 0.55 * 0.299;
  for (size_t k = 0; k < sizeof tints / sizeof tints[0]; k++) {
    double share[6];
    for (int j = 0; j < 6; j++) share[j] = tints[k].times / 6;
    struct image i = draw_shares("tint.png", share, NULL);
    const double cover = fabs(tints[k].cover);
    const struct ink ink = ink_of(tints[k].cover > 0);
    const struct ink mixed = {(1 - cover) * grey + cover * ink.r, (1 - cover) * grey + cover * ink.g, (1 - cover) * grey + cover * ink.b,
                              1};
    assert_true(is_inked(&i, HEAT_LEFT / 2 + 100, HEAT_TOP / 2 + 100, mixed));
    image_free(&i);
  }
}

/* Whether a box of one picture, of a row and a network (-1: the image), is that of another picture. */
static bool same_box(const struct image *a, int row_a, int network_a, const struct image *b, int row_b, int network_b) {
  for (int y = HEAT_TOP; y < HEAT_TOP + HEAT; y++) {
    const uint8_t *p = a->rgb + 3 * ((y + row_a * ROW_STEP) * a->width + HEAT_LEFT + network_a * HEAT_STEP);
    const uint8_t *q = b->rgb + 3 * ((y + row_b * ROW_STEP) * b->width + HEAT_LEFT + network_b * HEAT_STEP);
    if (memcmp(p, q, 3 * HEAT) != 0) return false;
  }
  return true;
}

/* The same shares have the same colours beside others, also where these are larger. */
static void saliency_has_one_scale(void **state) {
  (void)state;
  const double some[6] = {1 / 3., 1 / 6., 1 / 12., 1 / 6., 1 / 8., 1 / 8.}, corner[6] = {0, 0, 1, 0, 0, 0};
  struct image alone = draw_shares("alone.png", some, NULL), beside = draw_shares("beside.png", some, corner);
  assert_int_equal(beside.width - alone.width, HEAT_STEP);
  assert_true(warmth(&alone, 0, 0.5, 0.5) > 50 && warmth(&alone, 0, 2.5, 0.5) < -40);
  assert_true(same_box(&alone, 0, 0, &beside, 0, 0));
  image_free(&alone);
  image_free(&beside);
}

/* The number after the n-th "effective regions" of what was printed; of the difference, with the words before it. */
static double printed(const char *out, const char *words, int n) {
  const char *at = out;
  for (int i = 0; i <= n; i++) {
    at = strstr(at, words);
    assert_non_null(at);
    at += strlen(words);
  }
  return strtod(at, NULL);
}

static void assert_printed_in_order(const char *out, const char *first, const char *second) {
  assert_non_null(strstr(out, first));
  assert_non_null(strstr(strstr(out, first), second));
}

#define SHOW "ediy show saliency "
#define TINY "backbone=small stem=cifar size=16 resize=16 "

/* Of two images, each alone and both: the mean, and the ends of Student's interval of two values, mean -+ 12.7062 |difference| / 2. Three
 * places are printed. */
static void saliency_prints_the_mean_of_its_images(void **state) {
  (void)state;
  assert_runs("ediy scenes out=v images=2 val=1 classes=2 size=16 && mkdir -p v1 v2 && cp v/train/00*/*.png v1 && cp v/train/01*/*.png v2");
  const char *out = assert_runs(SHOW "weights=random " TINY "data=v1 out=v1.png")->out;
  double one = printed(out, "effective regions", 0);
  assert_non_null(strstr(out, "v1.png: 1 image of v1\n"));
  assert_non_null(strstr(out, "random: small, cifar stem, input 16 x 16, 2 x 2 regions"));
  assert_non_null(strstr(out, "of 4   no interval, of one image"));
  double other = printed(assert_runs(SHOW "weights=random " TINY "data=v2 out=v2.png")->out, "effective regions", 0);
  out = assert_runs(SHOW "weights=random " TINY "data=v/train out=both.png")->out;
  assert_true(fabs(one - other) > 0.01 && one > 1 && one < 4);
  assert_true(fabs(printed(out, "effective regions", 0) - (one + other) / 2) <= 1e-3);
  double half = 12.7062 * fabs(one - other) / 2, rounded = 12.7062 * 0.0005 + 0.001;
  assert_true(fabs(printed(out, "interval", 0) - ((one + other) / 2 - half)) <= rounded);
  assert_true(fabs(printed(out, " to", 0) - ((one + other) / 2 + half)) <= rounded);
  assert_non_null(strstr(out, "(2 images)"));
  assert_non_null(strstr(assert_runs(SHOW "weights=random " TINY "data=v/train images=1 rows=1 out=few.png")->out, "1 image of v/train\n"));
}

/* Each image as the network gets it, here as it is, and its own shares beside it. */
static void saliency_draws_each_image_with_its_shares(void **state) {
  (void)state;
  assert_runs("cp v1/*.png v1.source && cp v2/*.png v2.source");
  struct image both = open_picture("both.png");
  for (int row = 0; row < 2; row++) {
    struct image alone = open_picture(row ? "v2.png" : "v1.png"), source = open_picture(row ? "v2.source" : "v1.source");
    assert_true(same_box(&both, row, -1, &alone, 0, -1) && same_box(&both, row, 0, &alone, 0, 0));
    assert_false(same_box(&both, 1 - row, -1, &alone, 0, -1) || same_box(&both, 1 - row, 0, &alone, 0, 0));
    for (int y = 0; y < 16; y++)
      for (int x = 0; x < 16; x++) {
        int down = HEAT_TOP + y * HEAT / 16 + HEAT / 32, across = HEAT_LEFT - HEAT_STEP + x * HEAT / 16 + HEAT / 32;
        assert_memory_equal(alone.rgb + 3 * (down * alone.width + across), source.rgb + 3 * (16 * y + x), 3);
      }
    image_free(&alone);
    image_free(&source);
  }
  image_free(&both);
}

/* Two networks that are one differ by nothing; fresh weights take the form of those beside them. */
static void saliency_compares_on_the_same_images(void **state) {
  (void)state;
  assert_runs("ediy scenes out=w images=6 val=1 classes=2 size=24");
  assert_runs("ediy export weights=random backbone=small stem=cifar size=24 out=w.safetensors");
  const char *out = assert_runs(SHOW "weights=w.safetensors beside=random data=w/train backbone=small stem=cifar size=24 out=a.png")->out;
  assert_true(printed(out, "second less first", 0) == 0);
  assert_non_null(strstr(out, "interval 0.000 to 0.000   (6 images)"));
  assert_true(printed(out, "effective regions", 0) == printed(out, "effective regions", 1));
  double mean = printed(out, "effective regions", 0);
  assert_runs("OMP_NUM_THREADS=1 " SHOW
              "weights=w.safetensors beside=random data=w/train backbone=small stem=cifar size=24 out=b.png && cmp a.png b.png");
  /* 4 rows and 6 images, 3 at a time: other sums in a matrix product, the same images */
  out = assert_runs(SHOW "weights=w.safetensors data=w/train batch=3 out=c.png")->out;
  assert_true(fabs(printed(out, "effective regions", 0) - mean) <= 1e-3);
  /* maps of other sizes are drawn, and not subtracted */
  assert_runs("ediy train preset=sanity lambda1=0 lambda2=0 data=w/train out=r batch=4 epochs=1 warmup=0 size=24 stem=imagenet >/dev/null");
  out = assert_runs(SHOW "weights=r/backbone.safetensors beside=w.safetensors data=w/train out=c.png")->out;
  assert_null(strstr(out, "less"));
  out = assert_runs(SHOW "weights=random beside=r/backbone.safetensors data=w/train out=c.png")->out;
  assert_non_null(strstr(out, "random: small, imagenet stem, input 24 x 24, 1 x 1 regions\n  effective regions   1.000 of 1 "));
}

/* A run's teacher and its result are what keys would name; a run without a teacher has its result alone. */
static void saliency_of_a_run_is_of_its_two_networks(void **state) {
  (void)state;
  assert_runs("ediy scenes out=x images=8 val=4 classes=2 size=32");
  assert_runs("ediy train preset=sanity stem=cifar size=16 lambda1=0 lambda2=0 data=x/train out=t epochs=1 warmup=0 batch=4 >/dev/null");
  assert_runs("ediy train preset=sanity stem=cifar size=16 teacher=t/backbone.safetensors data=x/train out=e epochs=1 warmup=0 batch=4 "
              ">/dev/null");
  assert_runs(SHOW "run=e out=run.png");
  const char *out = assert_runs(SHOW "weights=t/backbone.safetensors beside=e/backbone.safetensors data=x/train out=keys.png")->out;
  assert_non_null(strstr(out, "second less first"));
  assert_runs("cmp run.png keys.png");
  out = assert_runs(SHOW "run=t data=x/val out=t.png")->out;
  assert_non_null(strstr(out, "t.png: 4 images of x/val"));
  assert_null(strstr(out, "less"));
  /* what is named, and the run's result; each in its column, in this order */
  out = assert_runs(SHOW "run=e weights=random out=before.png")->out;
  assert_printed_in_order(out, "random: small", "e/backbone.safetensors: small");
  out = assert_runs(SHOW "run=e beside=random out=after.png")->out;
  assert_printed_in_order(out, "e/backbone.safetensors: small", "random: small");
  struct image before = open_picture("before.png"), after = open_picture("after.png");
  for (int row = 0; row < 4; row++) {
    assert_true(same_box(&before, row, 0, &after, row, 1) && same_box(&before, row, 1, &after, row, 0));
    assert_false(same_box(&before, row, 0, &before, row, 1));
  }
  image_free(&before);
  image_free(&after);
}

static void matches_do_not_write_over_the_runs_teacher(void **state) {
  (void)state;
  assert_runs("cp t/backbone.safetensors teacher.before");
  assert_refused("out=t/backbone.safetensors is read here (t/backbone.safetensors)", "ediy show matches run=e out=t/backbone.safetensors");
  assert_runs("cmp t/backbone.safetensors teacher.before");
}

/* The teacher of a run with teacher.bn=batch sees a micro-batch, as in training, and other pairs come of it; how large one is said. */
static void matches_are_of_the_statistics_of_the_run(void **state) {
  (void)state;
  assert_runs(
      "cp -r e batch && sed -i 's/^teacher.bn = running$/teacher.bn = batch/' batch/config.txt && ! cmp -s e/config.txt batch/config.txt");
  assert_null(strstr(assert_runs("ediy show matches run=e rows=4 out=of-running.png")->out, "statistics"));
  assert_runs("ediy show matches run=batch rows=4 out=of-batch.png");
  assert_true(differing("of-running.png", "of-batch.png") > 0); /* of the same images: the whole micro-batch */
  const char *out = assert_runs("ediy show matches run=batch rows=3 out=of-some.png")->out;
  assert_printed_in_order(out, "of-some.png: 3 images of ", "teacher.bn = batch: statistics of 4 images; a micro-batch of training has 4");
  out = assert_runs("ediy show matches run=batch rows=6 out=of-more.png")->out;
  assert_non_null(strstr(out, "statistics of 6 images; a micro-batch of training has 4"));
}

static void saliency_refuses_what_it_cannot_draw(void **state) {
  (void)state;
  assert_runs("ediy scenes out=y images=4 val=1 classes=2 size=32 && echo text >text.safetensors");
  assert_runs("ediy export weights=random backbone=small stem=cifar size=16 out=y.safetensors && cp y.safetensors before");
  assert_refused("show saliency: weights= is missing", SHOW "data=y/train");
  assert_refused("show saliency: data= is missing", SHOW "weights=random");
  assert_refused("nowhere", SHOW "weights=nowhere data=y/train");
  assert_refused("nowhere", SHOW "weights=random beside=nowhere data=y/train");
  assert_refused("nowhere", SHOW "weights=random backbone=small size=16 data=nowhere");
  assert_refused("nowhere/config.txt", SHOW "run=nowhere");
  assert_refused("text.safetensors", SHOW "weights=text.safetensors data=y/train");
  assert_refused("y.safetensors: ", SHOW "weights=y.safetensors backbone=resnet18 size=32 data=y/train");
  assert_refused("resize = 8", SHOW "weights=random backbone=small size=16 resize=8 data=y/train");
  assert_refused("no/such.png", SHOW "weights=random backbone=small size=16 data=y/train out=no/such.png");
  assert_runs("mkdir bad && echo text >bad/text.png"); /* what cannot be written is said before anything is read */
  assert_refused("no/such.png", SHOW "weights=random backbone=small size=16 data=bad out=no/such.png");
  assert_refused("bad/text.png", SHOW "weights=random backbone=small size=16 data=bad");
  assert_runs("test ! -e saliency.png");
  assert_refused("out=y.safetensors is the file that weights= names", SHOW "weights=y.safetensors data=y/train out=y.safetensors");
  assert_refused("out=./y.safetensors is the file that beside= names",
                 SHOW "weights=random beside=y.safetensors data=y/train out=./y.safetensors");
  assert_runs("cmp y.safetensors before");
}

/* Of a run, networks are read that no key names. */
static void saliency_of_a_run_writes_over_none_of_it(void **state) {
  (void)state;
  assert_runs("cp -r e e2 && cp t/backbone.safetensors teacher.before");
  assert_refused("out=e2/backbone.safetensors is read here (e2/backbone.safetensors)", SHOW "run=e2 out=e2/backbone.safetensors");
  assert_refused("out=t/backbone.safetensors is read here", SHOW "run=e2 out=t/backbone.safetensors");
  assert_runs("cmp e2/backbone.safetensors e/backbone.safetensors && cmp t/backbone.safetensors teacher.before");
  assert_runs("rm e2/backbone.safetensors"); /* as of a run that is not done */
  assert_refused("run=e2 (one that is not done has checkpoints: weights=CHECKPOINT): e2/backbone.safetensors", SHOW "run=e2");
  assert_runs("cd e2 && ediy show saliency weights=$(ls checkpoint-*) data=../x/train out=../checkpoint.png");
  assert_refused("is for images of 16 x 16 pixels, r/backbone.safetensors for 24 x 24; give size= for both",
                 SHOW "weights=e/backbone.safetensors beside=r/backbone.safetensors data=x/train");
  assert_runs(SHOW "weights=e/backbone.safetensors beside=r/backbone.safetensors data=x/train size=32 out=both.png");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(views_have_a_row_an_image_and_text),
                                     cmocka_unit_test(views_are_those_of_the_seed),
                                     cmocka_unit_test(views_are_of_images_spread_over_the_data),
                                     cmocka_unit_test(curves_are_drawn_while_the_run_writes),
                                     cmocka_unit_test(another_run_lies_over_the_first),
                                     cmocka_unit_test(damaged_logs_are_named_with_the_line),
                                     cmocka_unit_test(bars_are_as_long_as_their_values),
                                     cmocka_unit_test(saliency_is_warm_where_a_share_is_large),
                                     cmocka_unit_test(saliency_doubles_by_equal_steps),
                                     cmocka_unit_test(saliency_has_one_scale),
                                     cmocka_unit_test(saliency_prints_the_mean_of_its_images),
                                     cmocka_unit_test(saliency_draws_each_image_with_its_shares),
                                     cmocka_unit_test(saliency_compares_on_the_same_images),
                                     cmocka_unit_test(saliency_of_a_run_is_of_its_two_networks),
                                     cmocka_unit_test(matches_do_not_write_over_the_runs_teacher),
                                     cmocka_unit_test(matches_are_of_the_statistics_of_the_run),
                                     cmocka_unit_test(saliency_refuses_what_it_cannot_draw),
                                     cmocka_unit_test(saliency_of_a_run_writes_over_none_of_it)};
  return cmocka_run_group_tests_name("pictures", tests, program_enter, program_leave);
}
