/* What pictures are drawn of: lines, arrows, charts, and the views of an image, each seen where it was asked for and not beside it. */
#include <stdio.h>
#include <string.h>

#include "program/chart.h"
#include "program/drawn.h"
#include "program/picture.h"
#include "support/program.h"

/* Draws on a sheet of 200 x 120 points and looks at it. */
static struct sheet begin_sheet(void) {
  struct sheet s;
  struct error err;
  if (!sheet_create(&s, 200, 120, &err)) fail_msg("%s", err.text);
  return s;
}
static struct image end_sheet(struct sheet *s) {
  struct error err;
  if (!sheet_write(s, "sheet.png", &err)) fail_msg("%s", err.text);
  sheet_destroy(s);
  return open_picture("sheet.png");
}

static void lines_and_discs_have_their_width(void **state) {
  (void)state;
  const struct ink ink = ink_of(5), other = ink_of(6);
  struct sheet s = begin_sheet();
  draw_line(&s, 20, 30, 120, 30, 6, ink);
  draw_disc(&s, 60, 80, 10, other);
  struct image image = end_sheet(&s);
  for (double d = -12; d <= 12; d += 0.5) {
    const double beyond = fabs(d + 0.25); /* the middle of a pixel */
    if (fabs(beyond - 3) > 0.3) assert_int_equal(is_inked(&image, 70, 30 + d, ink), beyond < 3);
    if (fabs(beyond - 10) > 0.6) {
      assert_int_equal(is_inked(&image, 60, 80 + d, other), beyond < 10);
      assert_int_equal(is_inked(&image, 60 + d, 80, other), beyond < 10);
    }
  }
  assert_false(is_inked(&image, 18, 30, ink) || is_inked(&image, 122, 30, ink));
  image_free(&image);
}

/* Along and across an arrow of width 2 in any direction: its shaft from the begin on; its head of 10 points, 0.45 of what is left to the
 * tip on either side; nothing behind the tip. */
static void arrows_end_in_a_head_at_their_tip(void **state) {
  (void)state;
  static const double direction[4][2] = {{1, 0}, {-1, 0}, {0.6, 0.8}, {-0.8, -0.6}};
  const struct ink ink = ink_of(4);
  for (int i = 0; i < 4; i++) {
    const double ux = direction[i][0], uy = direction[i][1], x0 = 100 - 35 * ux, y0 = 60 - 35 * uy, x1 = 100 + 35 * ux, y1 = 60 + 35 * uy;
    struct sheet s = begin_sheet();
    draw_arrow(&s, x0, y0, x1, y1, 0, 2, ink);
    struct image image = end_sheet(&s);
    for (double left = 2; left <= 9; left += 0.5) /* to the tip */
      for (double across = -6; across <= 6; across += 0.5) {
        const double edge = 0.45 * left - fabs(across);
        if (fabs(edge) > 0.8) assert_int_equal(is_inked(&image, x1 - left * ux + across * uy, y1 - left * uy - across * ux, ink), edge > 0);
      }
    for (double along = 2; along < 58; along += 2) {
      assert_true(is_inked(&image, x0 + along * ux, y0 + along * uy, ink));
      for (int side = -1; side <= 1; side += 2)
        assert_false(is_inked(&image, x0 + along * ux + side * 2 * uy, y0 + along * uy - side * 2 * ux, ink));
    }
    assert_false(is_inked(&image, x0 - 1 * ux, y0 - 1 * uy, ink) || is_inked(&image, x1 + 1 * ux, y1 + 1 * uy, ink));
    image_free(&image);
  }
}

/* To the left of its way, which is up for one to the right: half of `bend` of its length in the middle. */
static void arrows_bend_to_the_left(void **state) {
  (void)state;
  const struct ink ink = ink_of(4);
  struct sheet s = begin_sheet();
  draw_arrow(&s, 20, 60, 120, 60, 0.3, 2, ink);
  struct image image = end_sheet(&s);
  double sum = 0;
  int inked = 0;
  for (double y = 0; y < 120; y += 0.5)
    if (is_inked(&image, 70, y, ink)) sum += y + 0.25, inked++;
  assert_true(inked >= 2 && inked <= 5 && fabs(sum / inked - 45) < 1.5);
  image_free(&image);
}

/* Also of an image that is longer than cairo takes: the first half is left, or above. */
static void photographs_fill_their_box(void **state) {
  (void)state;
  enum { LONG = 70000 };
  static uint8_t rgb[3 * LONG];
  const struct ink first = {1, 0, 0, 1}, second = {0, 0, 1, 1};
  for (int i = 0; i < LONG; i++) rgb[3 * i] = i < LONG / 2 ? 255 : 0, rgb[3 * i + 2] = i < LONG / 2 ? 0 : 255;
  struct sheet s = begin_sheet();
  draw_photograph(&s, 20, 10, 100, 20, rgb, 1, LONG);
  draw_photograph(&s, 150, 10, 20, 100, rgb, LONG, 1);
  struct image image = end_sheet(&s);
  for (int i = 2; i < 100; i += 4) { /* the middle lies at 50 */
    assert_true(is_inked(&image, 20 + i, 20, i < 50 ? first : second));
    assert_true(is_inked(&image, 160, 10 + i, i < 50 ? first : second));
  }
  assert_true(is_inked(&image, 18, 20, ink_white) && is_inked(&image, 122, 20, ink_white));
  assert_true(is_inked(&image, 160, 8, ink_white) && is_inked(&image, 160, 112, ink_white));
  image_free(&image);
}

/* A pixel is a square, of the colour that it has. */
static void small_photographs_show_their_pixels(void **state) {
  (void)state;
  static const uint8_t rgb[12] = {255, 0, 0, 0, 0, 255, 0, 255, 0, 255, 0, 0};
  const struct ink red = {1, 0, 0, 1}, blue = {0, 0, 1, 1}, green = {0, 1, 0, 1};
  struct sheet s = begin_sheet();
  draw_photograph(&s, 20, 10, 100, 100, rgb, 2, 2);
  struct image image = end_sheet(&s);
  for (int y = 1; y < 100; y += 2)
    for (int x = 1; x < 100; x += 2) assert_true(is_inked(&image, 20 + x, 10 + y, (x < 50) == (y < 50) ? red : y < 50 ? blue : green));
  image_free(&image);
}

/* From the left, in the middle or up to the right; of a text that does not fit the end is seen. */
static void text_is_where_its_anchor_says(void **state) {
  (void)state;
  struct sheet s = begin_sheet();
  double width[3];
  for (int anchor = ANCHOR_LEFT; anchor <= ANCHOR_RIGHT; anchor++)
    width[anchor] = draw_text(&s, 100, 20 + 20 * anchor, 12, false, (enum anchor)anchor, ink_text, "HHHH");
  draw_text_within(&s, 20, 90, 12, width[0] * 1.2, ink_text, "iiiiiiiiiiiiiiiiiiiiiiiiiHHHH");
  draw_text(&s, 150, 90, 12, true, ANCHOR_LEFT, ink_text, "HHHH");
  struct image image = end_sheet(&s);
  double first[4] = {200, 200, 200, 200}, last[4] = {0};
  for (int line = 0; line < 4; line++)
    for (double x = 0; x < (line < 3 ? 200 : 140); x += 0.5)
      if (!is_inked(&image, x, line < 3 ? 16 + 20 * line : 86, ink_white))
        first[line] = fmin(first[line], x), last[line] = fmax(last[line], x);
  for (int line = 0; line < 3; line++) assert_true(width[line] == width[0] && fabs(last[line] - first[line] - width[0]) < 3);
  assert_true(first[ANCHOR_LEFT] >= 100 && first[ANCHOR_LEFT] < 103 && last[ANCHOR_RIGHT] <= 100 && last[ANCHOR_RIGHT] > 97);
  assert_true(fabs((first[ANCHOR_MIDDLE] + last[ANCHOR_MIDDLE]) / 2 - 100) < 1.5);
  assert_true(first[3] >= 20 && last[3] <= 20 + width[0] * 1.2 && last[3] > 20 + width[0] / 2);
  image_free(&image);
}

/* ---- charts ------------------------------------------------------------------------------------------------------------------------ */

/* The plotted area of a chart on the sheet, and the point in it for shares of its width and height, from below. */
enum { PANEL_LEFT = 54, PANEL_TOP = 70, PANEL_WIDTH = 250, PANEL_HEIGHT = 150, CELL_WIDTH = 322, CELL_HEIGHT = 214 };
static bool at_share(const struct image *image, int chart, double x, double y, struct ink ink) {
  return is_inked(image, PANEL_LEFT + chart % 3 * CELL_WIDTH + x * PANEL_WIDTH,
                  PANEL_TOP + chart / 3 * CELL_HEIGHT + (1 - y) * PANEL_HEIGHT, ink);
}

/* Three charts in a row and a fourth below the first, each with a line from one corner to the other that is broken by what is no number. */
static void charts_show_values_where_they_are(void **state) {
  (void)state;
  static const double x[] = {0, 2, 4, 6, 8, 10}, y[] = {20, 22, 24, 26, 28, 30}, broken[] = {30, 28, 26, NAN, 22, 20};
  const struct chart one = {
      .title = "t", .unit = "u", .series = {{"a", x, y, 6, false}, {"b", x, broken, 6, false}}, .series_count = 2, .low = 1};
  const struct chart charts[4] = {one, one, one, one};
  struct error err;
  if (!chart_write("charts.png", "title", NULL, "step", charts, 4, &err)) fail_msg("%s", err.text);
  struct image image = open_picture("charts.png");
  assert_int_equal(image.width, 2 * 3 * CELL_WIDTH);
  assert_int_equal(image.height, 2 * (40 + 2 * CELL_HEIGHT + 8));
  for (int c = 0; c < 4; c++)
    for (double at = 0.05; at < 1; at += 0.1) {
      if (fabs(at - 0.5) < 0.1) continue; /* where the lines cross */
      assert_true(at_share(&image, c, at, at, ink_of(0)));
      assert_int_equal(at_share(&image, c, at, 1 - at, ink_of(1)), at < 0.4 || at > 0.8);
      assert_false(at_share(&image, c, at, at + 0.03, ink_of(0)) || at_share(&image, c, at, at - 0.03, ink_of(0)));
    }
  for (int c = 0; c < 4; c++) /* a line of the grid every 2, where both others are 15 points away; a step on the axis below it */
    for (int tick = 0; tick <= 5; tick++) {
      assert_false(at_share(&image, c, 0.3, tick / 5., ink_white));
      assert_true(at_share(&image, c, 0.3, tick / 5. + 4.0 / PANEL_HEIGHT, ink_white));
      assert_false(at_share(&image, c, tick / 5., -2.0 / PANEL_HEIGHT, ink_white));
    }
  image_free(&image);
}

/* One point is a disc; what is compared is dashed and dark, and lies where its values are. */
static void charts_show_points_and_dashes(void **state) {
  (void)state;
  static const double x[] = {0, 10}, point[] = {5}, high[] = {7.5}, flat[] = {2.5, 2.5};
  const struct chart chart = {
      .title = "t", .unit = "", .series = {{"a", point, high, 1, false}, {"b", x, flat, 2, true}}, .series_count = 2, .high = 10};
  struct error err;
  if (!chart_write("points.png", "title", "caption", "step", &chart, 1, &err)) fail_msg("%s", err.text);
  struct image image = open_picture("points.png");
  assert_true(at_share(&image, 0, 0.5, 0.75, ink_of(0)));
  assert_false(at_share(&image, 0, 0.52, 0.75, ink_of(0)) || at_share(&image, 0, 0.48, 0.75, ink_of(0)));
  int inked = 0;
  for (int i = 1; i < 250; i++) inked += !at_share(&image, 0, i / 250., 0.25, ink_white);
  assert_true(inked > 250 / 3 && inked < 250 * 2 / 3 + 5);
  image_free(&image);
}

/* From the right: the name of the last series, its line of 12 points left of it, 10 points of paper, the same of the one before it. */
static void a_legend_stands_apart(void **state) {
  (void)state;
  static const double x[] = {0, 1}, y[] = {0, 1};
  const struct chart chart = {
      .title = "", .unit = "", .series = {{"first", x, y, 2, false}, {"second", x, y, 2, false}}, .series_count = 2, .low = 1};
  struct error err;
  if (!chart_write("legend.png", "title", NULL, "step", &chart, 1, &err)) fail_msg("%s", err.text);
  struct image image = open_picture("legend.png");
  const double row = PANEL_TOP - 13.25, right = PANEL_LEFT + PANEL_WIDTH;
  double line[2][2] = {{0, 0}, {0, 0}}; /* begin and end of either */
  for (int k = 0; k < 2; k++)
    for (double at = right; at > PANEL_LEFT; at -= 0.5)
      if (is_inked(&image, at, row, ink_of(k))) line[k][0] = at, line[k][1] = fmax(line[k][1], at);
  for (int k = 0; k < 2; k++) assert_true(fabs(line[k][1] - line[k][0] - 12) <= 1);
  assert_true(line[0][1] < line[1][0] - 20 && line[1][1] < right - 20);
  for (double at = line[1][0] - 8; at < line[1][0] - 1; at += 0.5)
    for (double y_at = PANEL_TOP - 20; y_at < PANEL_TOP - 8; y_at += 0.5) assert_true(is_inked(&image, at, y_at, ink_white));
  image_free(&image);
}

/* ---- views ------------------------------------------------------------------------------------------------------------------------- */

enum { WAYS = 7, SIDE = 8, VIEWS_TOP = 64, VIEWS_LEFT = 24, VIEWS_STEP = 234, VIEWS_ACROSS = 216, VIEWS_BOX = 200 };

static void fill(uint8_t *rgb, int pixels, struct ink ink) {
  for (int i = 0; i < pixels; i++)
    rgb[3 * i] = (uint8_t)(255 * ink.r), rgb[3 * i + 1] = (uint8_t)(255 * ink.g), rgb[3 * i + 2] = (uint8_t)(255 * ink.b);
}
static struct ink colour_of(int row, int column) { return (struct ink){(row + 1) / 10., (column + 1) / 10., 0.5, 1}; }

/* Whether what is written below two of the boxes is the same. */
static bool same_caption(const struct image *i, int row, int column, int other_row, int other_column) {
  for (int y = 2; y < 2 * 30; y++) {
    const uint8_t *a =
        i->rgb + 3 * ((2 * (VIEWS_TOP + row * VIEWS_STEP + VIEWS_BOX) + y) * i->width + 2 * (VIEWS_LEFT + column * VIEWS_ACROSS));
    const uint8_t *b = i->rgb + 3 * ((2 * (VIEWS_TOP + other_row * VIEWS_STEP + VIEWS_BOX) + y) * i->width +
                                     2 * (VIEWS_LEFT + other_column * VIEWS_ACROSS));
    if (memcmp(a, b, (size_t)3 * 2 * VIEWS_BOX)) return false;
  }
  return true;
}

/* Images of 8 x 4 pixels lie in the middle of their boxes with the windows of both crops on them, views beside them, and below each view
 * what was done to it: of seven ways no two read alike. */
static void views_are_drawn_with_their_crops_and_names(void **state) {
  (void)state;
  static uint8_t source[WAYS][SIDE * SIDE / 2 * 3], view[WAYS][2][SIDE * SIDE * 3];
  struct views_row rows[WAYS];
  const struct view plain = {.size = SIDE, .left = 1, .top = 0, .width = 2, .height = 3},
                    right = {.size = SIDE, .left = 4, .top = 1, .width = 3, .height = 2};
  for (int i = 0; i < WAYS; i++) {
    fill(source[i], SIDE * SIDE / 2, colour_of(i, 0));
    for (int k = 0; k < 2; k++) fill(view[i][k], SIDE * SIDE, colour_of(i, k + 1));
    rows[i] = (struct views_row){"name", {SIDE / 2, SIDE, source[i]}, {plain, right}, {view[i][0], view[i][1]}, SIDE};
  }
  rows[1].draw[0].flip = true;
  rows[2].draw[0].form = JITTER_BYOL;
  rows[3].draw[0].grey = true;
  rows[4].draw[0].sigma = 1.3;
  rows[5].draw[0].solarise = true;
  rows[6].draw[0].flip = rows[6].draw[0].grey = true;
  struct error err;
  if (!picture_views("ways.png", "title", rows, WAYS, &err)) fail_msg("%s", err.text);
  struct image image = open_picture("ways.png");
  for (int i = 0; i < WAYS; i++) {
    const double y = VIEWS_TOP + i * VIEWS_STEP, scale = VIEWS_BOX / (double)SIDE, top = y + VIEWS_BOX / 4.;
    for (int k = 1; k < 3; k++)
      for (int corner = 0; corner < 4; corner++)
        assert_true(is_inked(&image, VIEWS_LEFT + k * VIEWS_ACROSS + (corner % 2 ? 198 : 1), y + (corner / 2 ? 198 : 1), colour_of(i, k)));
    assert_true(is_inked(&image, VIEWS_LEFT + 1, top + 2, colour_of(i, 0)) && is_inked(&image, VIEWS_LEFT + 1, top - 2, ink_white));
    assert_true(is_inked(&image, VIEWS_LEFT + 198, top + 98, colour_of(i, 0)) && is_inked(&image, VIEWS_LEFT + 198, top + 102, ink_white));
    for (int k = 0; k < 2; k++) {
      const struct view *v = &rows[i].draw[k];
      const double l = VIEWS_LEFT + scale * v->left + 1.2, r = VIEWS_LEFT + scale * (v->left + v->width) - 1.2;
      const double t = top + scale * v->top + 1.2, b = top + scale * (v->top + v->height) - 1.2;
      assert_true(is_inked(&image, l, (t + b) / 2, ink_of(k)) && is_inked(&image, r, (t + b) / 2, ink_of(k)));
      assert_true(is_inked(&image, (l + r) / 2, t, ink_of(k)) && is_inked(&image, (l + r) / 2, b, ink_of(k)));
      assert_true(is_inked(&image, (l + r) / 2, (t + b) / 2, colour_of(i, 0)));
    }
    for (int j = 0; j < WAYS; j++) assert_int_equal(same_caption(&image, i, 1, j, 1), i == j);
    assert_true(same_caption(&image, i, 2, 0, 1)); /* a crop only, as the first view of the first row */
  }
  image_free(&image);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_and_discs_have_their_width),
      cmocka_unit_test(arrows_end_in_a_head_at_their_tip),
      cmocka_unit_test(arrows_bend_to_the_left),
      cmocka_unit_test(photographs_fill_their_box),
      cmocka_unit_test(small_photographs_show_their_pixels),
      cmocka_unit_test(text_is_where_its_anchor_says),
      cmocka_unit_test(charts_show_values_where_they_are),
      cmocka_unit_test(charts_show_points_and_dashes),
      cmocka_unit_test(a_legend_stands_apart),
      cmocka_unit_test(views_are_drawn_with_their_crops_and_names),
  };
  return cmocka_run_group_tests(tests, program_enter, program_leave);
}
