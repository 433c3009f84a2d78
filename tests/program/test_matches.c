/* ediy show matches: every pair is framed, and joined by an arrow; of a run more in test_pictures.c. */
#include <string.h>

#include "program/drawn.h"
#include "program/picture.h"
#include "support/program.h"

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

enum { PAIRS_TOP = 64 + 18, PAIRS_SIDE = 200 };
static const int pairs_left[4] = {24, 24 + 216, 24 + 464, 24 + 680};

/* Whether all four sides of a cell in one of the four boxes of matches.png are drawn in the first ink. */
static bool is_framed(const struct image *i, const struct matches_row *r, int box, int cell) {
  double w = PAIRS_SIDE / (double)r->across, h = PAIRS_SIDE / (double)r->down;
  double x = pairs_left[box] + cell % r->across * w, y = PAIRS_TOP + cell / r->across * h;
  return is_inked(i, x + 1, y + h / 4, ink_of(0)) && is_inked(i, x + w - 1, y + h / 4, ink_of(0)) &&
         is_inked(i, x + w / 4, y + 1, ink_of(0)) && is_inked(i, x + w / 4, y + h - 1, ink_of(0));
}

/* Whether an arrow of the first ink begins or ends in the middle of a cell. */
static bool is_joined(const struct image *i, const struct matches_row *r, int box, int cell) {
  const double x = pairs_left[box] + (cell % r->across + 0.5) * PAIRS_SIDE / r->across;
  const double y = PAIRS_TOP + (cell / r->across + 0.5) * PAIRS_SIDE / r->down;
  bool joined = false;
  for (double down = -3; down <= 3; down += 0.5)
    for (double right = -3; right <= 3; right += 0.5) joined |= is_inked(i, x + right, y + down, ink_of(0));
  return joined;
}

/* Of 3 rows of 4 cells the one in the middle is shown first: it is framed, on the left with its D, on the right with its S12, and no other
 * cell is; arrows lead from it to these. Where there are fewer cells than regions asked for, each is shown, once. */
static void matches_frame_the_pairs(void **state) {
  (void)state;
  static uint8_t grey[8 * 8 * 3];
  enum { MIDDLE = 6, D1 = 0, D2 = 11, S12 = 9, OTHER = 3 };
  int32_t d1[12], d2[12], s12[12];
  struct error err;
  memset(grey, 128, sizeof grey);
  for (int j = 0; j < 12; j++) d1[j] = d2[j] = s12[j] = OTHER;
  d1[MIDDLE] = D1, d2[MIDDLE] = D2, s12[MIDDLE] = S12;
  const struct matches_row row = {{grey, grey}, 8, 4, 3, {d1, d2}, s12};
  const int framed[4][2] = {{MIDDLE, D1}, {MIDDLE, D2}, {MIDDLE, MIDDLE}, {S12, S12}};
  if (!picture_matches("pairs.png", "title", &row, 1, 1, &err)) fail_msg("%s", err.text);
  struct image image = open_picture("pairs.png");
  for (int box = 0; box < 3; box++) assert_true(is_joined(&image, &row, box, MIDDLE));
  assert_true(is_joined(&image, &row, 0, D1) && is_joined(&image, &row, 1, D2) && is_joined(&image, &row, 3, S12));
  assert_false(is_joined(&image, &row, 3, MIDDLE) || is_joined(&image, &row, 2, S12) || is_joined(&image, &row, 0, OTHER));
  for (int box = 0; box < 4; box++)
    for (int j = 0; j < 12; j++)
      if (is_framed(&image, &row, box, j) != (j == framed[box][0] || j == framed[box][1])) fail_msg("box %d, cell %d", box, j);
  image_free(&image);

  const struct matches_row small = {{grey, grey}, 8, 2, 2, {d1, d2}, s12};
  for (int j = 0; j < 4; j++) d1[j] = d2[j] = s12[j] = j;
  if (!picture_matches("all.png", "title", &small, 1, 7, &err)) fail_msg("%s", err.text);
  image = open_picture("all.png");
  for (int j = 0; j < 4; j++) { /* on the side of the cell where no other is */
    int inks = 0;
    for (int q = 0; q < 7; q++)
      inks += is_inked(&image, pairs_left[2] + (j % 2 ? PAIRS_SIDE - 1 : 1), PAIRS_TOP + j / 2 * 100 + 25, ink_of(q));
    assert_int_equal(inks, 1);
  }
  image_free(&image);
}

/* The inks of a side of a cell's frames, as bits; of the row-th image. */
static unsigned frame_inks(const struct image *i, int row, int box, int cell) {
  const double side = PAIRS_SIDE / 4., x = pairs_left[box] + cell % 4 * side, y = PAIRS_TOP + row * 216 + cell / 4 * side;
  unsigned inks = 0;
  for (int q = 0; q < 7; q++) inks |= (unsigned)is_inked(i, x + 1, y + side / 4, ink_of(q)) << q;
  return inks;
}

/* Of two images the second has the same matches whether the first is drawn above it or not, and other ones than the first. */
static void matches_are_each_images_own(void **state) {
  (void)state;
  assert_runs("ediy scenes out=own images=2 val=1 classes=2 size=40");
  assert_runs("ediy export weights=random backbone=small stem=cifar size=32 out=own.safetensors");
  for (int rows = 1; rows <= 2; rows++)
    assert_runs("ediy show matches teacher=own.safetensors data=own/train rows=%d regions=7 out=own%d.png", rows, rows);
  struct image one = open_picture("own1.png"), two = open_picture("own2.png");
  assert_int_equal(two.height - one.height, 2 * 216);
  int framed = 0, unlike = 0;
  for (int box = 0; box < 4; box++)
    for (int cell = 0; cell < 16; cell++) {
      const unsigned inks = frame_inks(&one, 0, box, cell);
      assert_int_equal(frame_inks(&two, 1, box, cell), inks);
      framed += inks != 0, unlike += inks != frame_inks(&two, 0, box, cell);
    }
  assert_true(framed > 20 && unlike > 0);
  image_free(&one), image_free(&two);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(matches_show_every_region_of_a_small_map), cmocka_unit_test(matches_frame_the_pairs),
                                     cmocka_unit_test(matches_are_each_images_own)};
  return cmocka_run_group_tests_name("matches", tests, program_enter, program_leave);
}
