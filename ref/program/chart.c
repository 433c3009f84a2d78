#include "program/chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "program/draw.h"

enum { COLUMNS = 3, MOST_TICKS = 5 };
static const double panel_width = 250, panel_height = 150;                               /* the plotted area, points */
static const double left = 54, right = 18, above = 30, below = 34, head = 40, foot = 30; /* around a panel, and around all */

struct axes {
  double x, y;                         /* top left corner of the plotted area */
  double x_low, x_high, y_low, y_high; /* what it shows; y in whole steps */
  double y_step;
};

double chart_step(double range, int most) {
  double power = pow(10, floor(log10(range / most)));
  for (int i = 0; i < 3; i++) {
    double step = power * (const double[]){1, 2, 5}[i];
    if (range / step <= most) return step;
  }
  return 10 * power;
}

static double at_x(const struct axes *a, double x) { return a->x + (x - a->x_low) / (a->x_high - a->x_low) * panel_width; }
static double at_y(const struct axes *a, double y) { return a->y + (a->y_high - y) / (a->y_high - a->y_low) * panel_height; }

static void widen(double *low, double *high, double value) {
  if (!isfinite(value)) return;
  if (value < *low) *low = value;
  if (value > *high) *high = value;
}

/* The range of the data and of the chart's wishes, to whole steps; of x as it is. */
static struct axes make_axes(const struct chart *c, double x, double y) {
  struct axes a = {x, y, HUGE_VAL, -HUGE_VAL, HUGE_VAL, -HUGE_VAL, 1};
  if (c->low <= c->high) widen(&a.y_low, &a.y_high, c->low), widen(&a.y_low, &a.y_high, c->high);
  for (int s = 0; s < c->series_count; s++) {
    for (int i = 0; i < c->series[s].count; i++) {
      widen(&a.x_low, &a.x_high, c->series[s].x[i]);
      widen(&a.y_low, &a.y_high, c->series[s].y[i]);
    }
  }
  if (!(a.x_low <= a.x_high)) a.x_low = 0, a.x_high = 1; /* nothing to show */
  if (!(a.y_low <= a.y_high)) a.y_low = 0, a.y_high = 1;
  if (a.x_low == a.x_high) a.x_low -= 0.5, a.x_high += 0.5;
  double least = 1e-6 + 1e-3 * fabs(a.y_low); /* a flat line lies in the middle and does not show rounding noise */
  if (a.y_high - a.y_low < least) {
    double middle = (a.y_low + a.y_high) / 2;
    a.y_low = middle - least, a.y_high = middle + least;
  }
  double step = a.y_step = chart_step(a.y_high - a.y_low, MOST_TICKS);
  a.y_low = step * floor(a.y_low / step + 1e-9);
  a.y_high = step * ceil(a.y_high / step - 1e-9);
  return a;
}

/* Digits after the point that a step of this size needs. */
static int digits_for(double step) {
  double digits = ceil(-log10(step) - 1e-9);
  return digits < 0 ? 0 : digits > 9 ? 9 : (int)digits;
}

static void draw_axes(struct sheet *s, const struct axes *a, const struct chart *c, const char *x_label) {
  double step = a->y_step;
  int ticks = (int)lround((a->y_high - a->y_low) / step);
  for (int i = 0; i <= ticks; i++) {
    double value = a->y_low + i * step, y = at_y(a, value);
    if (fabs(value) < step / 2) value = 0; /* never "-0.0" */
    draw_line(s, a->x, y, a->x + panel_width, y, 0.6, ink_grid);
    draw_text(s, a->x - 6, y + 3.2, 9, false, ANCHOR_RIGHT, ink_faint, "%.*f", digits_for(step), value);
  }
  step = chart_step(a->x_high - a->x_low, MOST_TICKS);
  for (double first = ceil(a->x_low / step - 1e-9), i = 0; (first + i) * step <= a->x_high + 1e-9 * step; i++) {
    double value = (first + i) * step + 0.0, x = at_x(a, value); /* + 0.0: never "-0" */
    draw_line(s, x, a->y + panel_height, x, a->y + panel_height + 3.5, 0.8, ink_faint);
    draw_text(s, x, a->y + panel_height + 14, 9, false, ANCHOR_MIDDLE, ink_faint, "%.*f", digits_for(step), value);
  }
  draw_line(s, a->x, a->y + panel_height, a->x + panel_width, a->y + panel_height, 0.8, ink_faint);
  draw_text(s, a->x + panel_width / 2, a->y + panel_height + 27, 9, false, ANCHOR_MIDDLE, ink_faint, "%s", x_label);
  double w = draw_text(s, a->x, a->y - 10, 11, true, ANCHOR_LEFT, ink_text, "%s", c->title);
  if (c->unit[0]) draw_text(s, a->x + w + 6, a->y - 10, 9, false, ANCHOR_LEFT, ink_faint, "(%s)", c->unit);
}

static void draw_series(struct sheet *s, const struct axes *a, const struct series *line, struct ink ink) {
  static const double dash[] = {3, 3};
  bool down = false; /* whether the pen is on the paper */
  cairo_set_source_rgba(s->cairo, ink.r, ink.g, ink.b, ink.a);
  cairo_set_line_width(s->cairo, line->beside ? 1 : 1.4);
  cairo_set_dash(s->cairo, dash, line->beside ? 2 : 0, 0);
  for (int i = 0; i < line->count; i++) {
    double x = at_x(a, line->x[i]), y = at_y(a, line->y[i]);
    bool good = isfinite(line->y[i]);
    if (good && down) cairo_line_to(s->cairo, x, y);
    if (good && !down) cairo_move_to(s->cairo, x, y);
    down = good;
  }
  cairo_stroke(s->cairo);
  cairo_set_dash(s->cairo, dash, 0, 0);
  if (line->count == 1) draw_disc(s, at_x(a, line->x[0]), at_y(a, line->y[0]), 2, ink); /* a line of one point cannot be seen */
}

/* One entry a series, in a row right of the title's line. */
static void draw_legend(struct sheet *s, const struct axes *a, const struct chart *c) {
  double x = a->x + panel_width;
  int entries = 0;
  for (int i = 0; i < c->series_count; i++) entries += !c->series[i].beside;
  for (int i = c->series_count - 1; i >= 0 && entries > 1; i--) {
    if (c->series[i].beside) continue;
    x -= draw_text(s, x, a->y - 10, 9, false, ANCHOR_RIGHT, ink_text, "%s", c->series[i].name) + 4;
    draw_line(s, x - 12, a->y - 13, x, a->y - 13, 2, ink_of(i));
    x -= 22;
  }
}

bool chart_write(const char *path, const char *title, const char *caption, const char *x_label, const struct chart *charts, int count,
                 struct error *err) {
  int columns = count < COLUMNS ? count : COLUMNS, rows = (count + columns - 1) / columns;
  double cell_width = left + panel_width + right, cell_height = above + panel_height + below;
  struct sheet s;
  if (!sheet_create(&s, columns * cell_width, head + rows * cell_height + (caption ? foot : 8), err)) return false;
  draw_text(&s, left, 26, 14, true, ANCHOR_LEFT, ink_text, "%s", title);
  for (int i = 0; i < count; i++) {
    struct axes a = make_axes(&charts[i], left + i % columns * cell_width, head + above + i / columns * cell_height);
    draw_axes(&s, &a, &charts[i], x_label);
    for (int k = 0; k < charts[i].series_count; k++) {
      const struct series *line = &charts[i].series[k];
      draw_series(&s, &a, line, line->beside ? ink_text : ink_of(k));
    }
    draw_legend(&s, &a, &charts[i]);
  }
  if (caption) draw_text(&s, left, s.height - 12, 9, false, ANCHOR_LEFT, ink_faint, "%s", caption);
  bool good = sheet_write(&s, path, err);
  sheet_destroy(&s);
  return good;
}
