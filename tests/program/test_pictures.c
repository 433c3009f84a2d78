/* ediy show: pictures that can be opened, with what they promise on them; logs that are damaged are refused. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image/image.h"
#include "support/cmocka.h"
#include "support/program.h"

static struct image open_picture(const char *path) {
  struct error err;
  struct image image;
  if (!image_read(path, &image, &err)) fail_msg("%s", err.text);
  return image;
}

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
  assert_refused("nothere/log.jsonl", "ediy show curves run=run beside=nothere out=none.png && test ! -e none.png");
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

static void matches_show_every_region_of_a_small_map(void **state) {
  (void)state;
  assert_runs("ediy scenes out=u images=4 val=1 classes=2 size=40");
  assert_runs("ediy export weights=random backbone=small stem=cifar size=16 out=teacher.safetensors");
  const struct outcome *o = assert_runs("ediy show matches teacher=teacher.safetensors data=u/train rows=2 regions=7 out=m.png");
  assert_non_null(strstr(o->out, "2 images"));
  assert_non_null(strstr(o->out, "2 x 2 regions"));
  struct image image = open_picture("m.png");
  image_free(&image);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(views_have_a_row_an_image_and_text),    cmocka_unit_test(views_are_those_of_the_seed),
      cmocka_unit_test(curves_are_drawn_while_the_run_writes), cmocka_unit_test(another_run_lies_over_the_first),
      cmocka_unit_test(damaged_logs_are_named_with_the_line),  cmocka_unit_test(matches_show_every_region_of_a_small_map)};
  return cmocka_run_group_tests_name("pictures", tests, program_enter, program_leave);
}
