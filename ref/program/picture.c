#include "program/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/saliency.h"
#include "program/draw.h"

static const double box = 200, gap = 16, margin = 24, head = 64, caption = 34;

void picture_bytes(const float *view, int size, uint8_t *rgb) {
  static const double mean[3] = {0.485, 0.456, 0.406}, sd[3] = {0.229, 0.224, 0.225}; /* ImageNet's, as augment_apply normalises */
  for (ptrdiff_t i = 0; i < (ptrdiff_t)size * size * 3; i++) {
    double x = 255 * (view[i] * sd[i % 3] + mean[i % 3]) + 0.5;
    rgb[i] = (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
  }
}

/* ---- views ------------------------------------------------------------------------------------------------------------------------- */

/* "flip, jitter, blur 1.3, solarise" */
static void describe(const struct view *v, char *text, size_t size) {
  char blur[32] = "";
  if (v->sigma > 0) snprintf(blur, sizeof blur, ", blur %.1f", v->sigma);
  snprintf(text, size, "%s%s%s%s%s", v->flip ? ", flip" : "", v->form != JITTER_NONE ? ", jitter" : "", v->grey ? ", grey" : "", blur,
           v->solarise ? ", solarise" : "");
  if (text[0])
    memmove(text, text + 2, strlen(text + 2) + 1);
  else
    snprintf(text, size, "crop only");
}

static void draw_source(struct sheet *s, const struct views_row *r, double x, double y) {
  int most = r->source.height > r->source.width ? r->source.height : r->source.width;
  double scale = box / most, w = scale * r->source.width, h = scale * r->source.height;
  x += (box - w) / 2;
  y += (box - h) / 2;
  draw_photograph(s, x, y, w, h, r->source.rgb, r->source.height, r->source.width);
  for (int k = 0; k < 2; k++) {
    const struct view *v = &r->draw[k];
    double inset = 1.2, left = x + scale * v->left + inset, top = y + scale * v->top + inset;
    double width = scale * v->width - 2 * inset, height = scale * v->height - 2 * inset;
    draw_frame(s, left, top, width, height, 4, (struct ink){1, 1, 1, 0.85});
    draw_frame(s, left, top, width, height, 2.2, ink_of(k));
  }
}

bool picture_views(const char *path, const char *title, const struct views_row *rows, int count, struct error *err) {
  struct sheet s;
  double step = box + caption;
  if (!sheet_create(&s, 2 * margin + 3 * box + 2 * gap, head + count * step + 20, err)) return false;
  static const char *const names[3] = {"image, with both crops", "view 1  (T)", "view 2  (T')"};
  draw_text(&s, margin, 30, 14, true, ANCHOR_LEFT, ink_text, "%s", title);
  for (int k = 0; k < 3; k++) {
    double x = margin + k * (box + gap);
    draw_text(&s, x, head - 8, 11, true, ANCHOR_LEFT, k ? ink_of(k - 1) : ink_text, "%s", names[k]);
  }
  for (int i = 0; i < count; i++) {
    double y = head + i * step;
    draw_source(&s, &rows[i], margin, y);
    char text[512];
    snprintf(text, sizeof text, "%.400s, %d x %d", rows[i].name, rows[i].source.width, rows[i].source.height);
    draw_text_within(&s, margin, y + box + 14, 9, box, ink_faint, text);
    for (int k = 0; k < 2; k++) {
      double x = margin + (k + 1) * (box + gap);
      describe(&rows[i].draw[k], text, sizeof text);
      draw_photograph(&s, x, y, box, box, rows[i].view[k], rows[i].size, rows[i].size);
      draw_text(&s, x, y + box + 14, 9, false, ANCHOR_LEFT, ink_faint, "%s", text);
    }
  }
  bool good = sheet_write(&s, path, err);
  sheet_destroy(&s);
  return good;
}

/* ---- matches ----------------------------------------------------------------------------------------------------------------------- */

enum { MOST_QUERIES = 7 };

/* Regions to show: `wanted` different ones, or all where there are fewer, spread over the grid and the same in every picture. Returns how
 * many. The points k (1/g, 1/g^2) modulo 1, with g^3 = g + 1, fill a square evenly: the golden ratio's sequence in two dimensions. */
static int choose_queries(int across, int down, int wanted, int query[MOST_QUERIES]) {
  int count = 0;
  if (wanted > MOST_QUERIES) wanted = MOST_QUERIES;
  if (wanted > across * down) wanted = across * down;
  for (int k = 0; count < wanted; k++) {
    double u = 0.5 + k * 0.7548776662466927, v = 0.5 + k * 0.5698402909980532;
    int region = (int)((v - floor(v)) * down) * across + (int)((u - floor(u)) * across), i = 0;
    while (i < count && query[i] != region) i++;
    if (i == count) query[count++] = region;
  }
  return count;
}

/* Top left corner and size of a region on the sheet, for a view whose corner is (x, y). */
struct cell {
  double x, y, width, height;
};

static struct cell cell_at(const struct matches_row *r, double x, double y, int region) {
  double w = box / r->across, h = box / r->down;
  return (struct cell){x + region % r->across * w, y + region / r->across * h, w, h};
}

static void draw_view(struct sheet *s, const struct matches_row *r, int view, double x, double y) {
  draw_photograph(s, x, y, box, box, r->view[view], r->size, r->size);
  for (int i = 1; i < r->across; i++)
    draw_line(s, x + i * box / r->across, y, x + i * box / r->across, y + box, 0.5, (struct ink){1, 1, 1, 0.45});
  for (int i = 1; i < r->down; i++)
    draw_line(s, x, y + i * box / r->down, x + box, y + i * box / r->down, 0.5, (struct ink){1, 1, 1, 0.45});
}

static void frame_cell(struct sheet *s, struct cell c, struct ink ink) {
  draw_frame(s, c.x + 1, c.y + 1, c.width - 2, c.height - 2, 4.2, (struct ink){1, 1, 1, 0.9});
  draw_frame(s, c.x + 1, c.y + 1, c.width - 2, c.height - 2, 2.4, ink);
}

/* From the edge of cell a towards cell b. */
static void join_cells(struct sheet *s, struct cell a, struct cell b, double bend, struct ink ink) {
  double ax = a.x + a.width / 2, ay = a.y + a.height / 2, bx = b.x + b.width / 2, by = b.y + b.height / 2;
  draw_disc(s, ax, ay, 3.4, ink_white);
  draw_disc(s, ax, ay, 2.5, ink);
  draw_arrow(s, ax, ay, bx, by, bend, 1.6, ink);
}

static void draw_row(struct sheet *s, const struct matches_row *r, const double x[4], double y, int queries, const int *query) {
  for (int k = 0; k < 4; k++) draw_view(s, r, k % 2, x[k], y);
  for (int q = 0; q < queries; q++) {
    int from = query[q];
    for (int v = 0; v < 2; v++) {
      struct cell to = cell_at(r, x[v], y, r->diversity[v][from]);
      draw_frame(s, to.x + 1, to.y + 1, to.width - 2, to.height - 2, 1.4, ink_of(q));
      frame_cell(s, cell_at(r, x[v], y, from), ink_of(q));
    }
    frame_cell(s, cell_at(r, x[2], y, from), ink_of(q));
    frame_cell(s, cell_at(r, x[3], y, r->invariance[from]), ink_of(q));
  }
  for (int q = 0; q < queries; q++) { /* lines lie above every frame */
    int from = query[q];
    for (int v = 0; v < 2; v++) join_cells(s, cell_at(r, x[v], y, from), cell_at(r, x[v], y, r->diversity[v][from]), 0.12, ink_of(q));
    join_cells(s, cell_at(r, x[2], y, from), cell_at(r, x[3], y, r->invariance[from]), 0.04, ink_of(q));
  }
}

bool picture_matches(const char *path, const char *title, const struct matches_row *rows, int count, int queries, struct error *err) {
  struct sheet s;
  int query[MOST_QUERIES];
  queries = choose_queries(rows[0].across, rows[0].down, queries, query);
  double pair = 2 * box + gap, middle = 3 * gap, step = box + gap, top = head + 18;
  if (!sheet_create(&s, 2 * margin + 2 * pair + middle, top + count * step + 52, err)) return false;
  double x[4] = {margin, margin + box + gap, margin + pair + middle, margin + pair + middle + box + gap};
  draw_text(&s, margin, 30, 14, true, ANCHOR_LEFT, ink_text, "%s", title);
  draw_text(&s, x[0], 54, 11, true, ANCHOR_LEFT, ink_text, "Diversity (R-DEM): the most different region of the view");
  draw_text(&s, x[2], 54, 11, true, ANCHOR_LEFT, ink_text, "Invariance (R-IEM): the most similar region of the other view");
  for (int k = 0; k < 4; k++) draw_text(&s, x[k], top - 8, 9, false, ANCHOR_LEFT, ink_faint, "view %d", k % 2 + 1);
  for (int i = 0; i < count; i++) draw_row(&s, &rows[i], x, top + i * step, queries, query);
  double y = top + count * step + 14, at = margin;
  for (int q = 0; q < queries; q++) {
    draw_frame(&s, at + 1, y - 8, 8, 8, 2.2, ink_of(q));
    at += 14 + draw_text(&s, at + 14, y, 9, false, ANCHOR_LEFT, ink_text, "region %d", query[q]) + 14;
  }
  draw_text(&s, margin, y + 18, 9, false, ANCHOR_LEFT, ink_faint,
            "The frozen teacher chooses: arrows lead from a region j to D[j] = argmin cos(t[z], t[j]) on the left (Eq. 4) and to "
            "S12[j] = argmax cos(t2[z], t1[j]) on the right (Eq. 6).");
  bool good = sheet_write(&s, path, err);
  sheet_destroy(&s);
  return good;
}

/* ---- saliency ---------------------------------------------------------------------------------------------------------------------- */

enum { FINE = 400 /* pixels that a heat map has at least, those of its box */ };

/* The value at (u, v), in cells from the top left corner of the map: bilinear between the centres of cells, constant outside them. */
static double between_cells(const double *map, int across, int down, double u, double v) {
  double x = fmin(fmax(u - 0.5, 0), across - 1), y = fmin(fmax(v - 0.5, 0), down - 1);
  int left = (int)x, top = (int)y, right = left + (left + 1 < across), below = top + (top + 1 < down);
  double a = x - left, b = y - top;
  return (1 - b) * ((1 - a) * map[top * across + left] + a * map[top * across + right]) +
         b * ((1 - a) * map[below * across + left] + a * map[below * across + right]);
}

/* Grey paper behind the tint of `times` an equal share: blue below 1, orange above, stronger by the logarithm up to a factor of 4. */
static void tint(double grey, double times, uint8_t rgb[3]) {
  double strength = times > 0 ? fmin(fmax(log2(times) / 2, -1), 1) : -1, cover = 0.9 * fabs(strength);
  struct ink ink = ink_of(strength > 0);
  const double colour[3] = {ink.r, ink.g, ink.b};
  for (int k = 0; k < 3; k++) rgb[k] = (uint8_t)(255 * ((1 - cover) * grey + cover * colour[k]) + 0.5);
}

/* Every pixel of the image is repeated a whole number of times, so that the map between its cells is smooth. */
static bool draw_heat(struct sheet *s, const struct saliency_row *r, const struct saliency_column *c, const double *share, double x,
                      double y) {
  int repeat = 1 + (FINE - 1) / r->size, size = repeat * r->size, regions = c->across * c->down;
  uint8_t *heat = malloc((size_t)size * (size_t)size * 3);
  if (!heat) return false;
  for (int i = 0; i < size; i++)
    for (int j = 0; j < size; j++) {
      const uint8_t *p = r->seen + 3 * ((ptrdiff_t)(i / repeat) * r->size + j / repeat);
      double grey = (0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]) / 255;
      double at = between_cells(share, c->across, c->down, (j + 0.5) * c->across / size, (i + 0.5) * c->down / size);
      tint(0.3 + 0.55 * grey, regions * at, heat + 3 * ((ptrdiff_t)i * size + j));
    }
  draw_photograph(s, x, y, box, box, heat, size, size);
  free(heat);
  return true;
}

static void draw_scale(struct sheet *s, double x, double y, double width) {
  static const char *const names[5] = {"1/4 or less", "1/2", "an equal share", "2 times", "4 or more"};
  enum { STEPS = 200 };
  uint8_t bar[STEPS][3];
  for (int i = 0; i < STEPS; i++) tint(0.5, exp2(4.0 * (i + 0.5) / STEPS - 2), bar[i]);
  draw_photograph(s, x, y, width, 10, bar[0], 1, STEPS);
  for (int i = 0; i < 5; i++) {
    double at = x + width * i / 4;
    draw_line(s, at, y + 10, at, y + 13, 0.7, ink_faint);
    draw_text(s, at, y + 22, 8.5, false, i == 0 ? ANCHOR_LEFT : i == 4 ? ANCHOR_RIGHT : ANCHOR_MIDDLE, ink_text, "%s", names[i]);
  }
}

bool picture_saliency(const char *path, const char *title, const struct saliency_column *columns, int column_count,
                      const struct saliency_row *rows, int count, struct error *err) {
  struct sheet s;
  double step = box + caption, top = head + 16, width = 3 * box + 2 * gap, foot = top + count * step + 4;
  if (column_count == 1) width -= box + gap;
  if (!sheet_create(&s, 2 * margin + width, foot + 72, err)) return false;
  bool good = true;
  draw_text(&s, margin, 30, 14, true, ANCHOR_LEFT, ink_text, "%s", title);
  draw_text(&s, margin, head - 8, 11, false, ANCHOR_LEFT, ink_text, "image");
  draw_text(&s, margin, head + 7, 9, false, ANCHOR_LEFT, ink_faint, "as a network sees it");
  for (int k = 0; k < column_count; k++) {
    const struct saliency_column *c = &columns[k];
    double x = margin + (k + 1) * (box + gap);
    draw_text_within(&s, x, head - 8, 11, box, ink_text, c->name);
    draw_text(&s, x, head + 7, 9, false, ANCHOR_LEFT, ink_faint, "effective regions: %.2f of %d, mean of %td", c->spread.value,
              c->across * c->down, c->spread.count);
  }
  for (int i = 0; good && i < count; i++) {
    double y = top + i * step;
    draw_photograph(&s, margin, y, box, box, rows[i].seen, rows[i].size, rows[i].size);
    draw_text_within(&s, margin, y + box + 14, 9, box, ink_faint, rows[i].name);
    for (int k = 0; good && k < column_count; k++) {
      const struct saliency_column *c = &columns[k];
      double x = margin + (k + 1) * (box + gap);
      good = draw_heat(&s, &rows[i], c, rows[i].share[k], x, y) || fail(err, "%s: no memory for its heat maps", path);
      draw_text(&s, x, y + box + 14, 9, false, ANCHOR_LEFT, ink_faint, "%.1f effective regions",
                saliency_effective(c->across * c->down, rows[i].share[k]));
    }
  }
  draw_scale(&s, margin, foot, width);
  draw_text(&s, margin, foot + 42, 9, false, ANCHOR_LEFT, ink_faint,
            "Share of a region x[j] in the feature m of the image, its mean region: x[j] . m / (n |m|^2).");
  draw_text(&s, margin, foot + 56, 9, false, ANCHOR_LEFT, ink_faint,
            "Effective regions: 1 / (sum of squared shares), n where all are equal, 1 where one is all.");
  good = good && sheet_write(&s, path, err);
  sheet_destroy(&s);
  return good;
}
