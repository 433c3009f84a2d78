#include "program/bars.h"

#include "program/draw.h"

bool bars_write(const char *path, const char *title, const char *axis, const char *const legend[BARS], const struct bar_group *groups,
                int count, struct error *err) {
  static const double left = 150, wide = 380, right = 70, top = 76, bar = 16, between = 18, bottom = 44;
  double group = BARS * (bar + 3) + between, height = count * group;
  struct sheet s;
  if (!sheet_create(&s, left + wide + right, top + height + bottom, err)) return false;
  draw_text(&s, 24, 30, 14, true, ANCHOR_LEFT, ink_text, "%s", title);
  double at = left;
  for (int k = 0; k < BARS; k++) {
    draw_fill(&s, at, 48, 10, 10, ink_of(k));
    at += 15 + draw_text(&s, at + 15, 57, 9, false, ANCHOR_LEFT, ink_text, "%s", legend[k]) + 18;
  }
  for (int i = 0; i <= 5; i++) {
    double x = left + wide * i / 5;
    draw_line(&s, x, top - 6, x, top + height, 0.6, ink_grid);
    draw_text(&s, x, top + height + 14, 9, false, ANCHOR_MIDDLE, ink_faint, "%d %%", 20 * i);
  }
  draw_text(&s, left + wide / 2, top + height + 30, 9, false, ANCHOR_MIDDLE, ink_faint, "%s", axis);
  for (int g = 0; g < count; g++) {
    double y = top + g * group;
    draw_text(&s, left - 10, y + group / 2 - between / 2 + 3, 10.5, false, ANCHOR_RIGHT, ink_text, "%s", groups[g].name);
    for (int k = 0; k < BARS; k++) {
      struct share a = groups[g].bar[k];
      double y0 = y + k * (bar + 3), middle = y0 + bar / 2, low = left + wide * a.low, high = left + wide * a.high;
      draw_fill(&s, left, y0, wide * a.value, bar, ink_of(k));
      draw_line(&s, low, middle, high, middle, 1.4, ink_text);
      draw_line(&s, low, middle - 4, low, middle + 4, 1.4, ink_text);
      draw_line(&s, high, middle - 4, high, middle + 4, 1.4, ink_text);
      draw_text(&s, high + 8, middle + 3.2, 9, false, ANCHOR_LEFT, ink_text, "%.1f %%", 100 * a.value);
    }
  }
  bool good = sheet_write(&s, path, err);
  sheet_destroy(&s);
  return good;
}
